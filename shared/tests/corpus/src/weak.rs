//! Keys that a verifier must not use, each with a token that verifies under it: RSA without
//! security (RFC 7518 §3.3, NIST SP 800-89 §5.3.3, CVE-2017-15361), and keys that are published for
//! something else (RFC 7517 §4.2–4.4, RFC 8725 §3.1).

use crate::keys::Key;
use crate::members::{Members, text};
use crate::rsa::Pair;
use crate::scene::Corpus;

/// A key, how it is published, and why it is left out.
struct Weak {
    key: Key,
    jwk: Members,
    why: &'static str,
}

/// RSA keys by the name of their pair.
const RSA: [(&str, &str, &str); 10] = [
    ("rs256-1024", "1024", "1,024 bits (RFC 7518 §3.3)"),
    (
        "rs256-2047",
        "2047",
        "one bit less than is asked (RFC 7518 §3.3)",
    ),
    (
        "rs256-4097",
        "4097",
        "one bit more than is allowed: work that somebody else chooses",
    ),
    (
        "rs256-even-modulus",
        "even",
        "an even modulus is factored (NIST SP 800-89 §5.3.3)",
    ),
    (
        "rs256-factor-751",
        "factor_751",
        "a small factor (NIST SP 800-89 §5.3.3)",
    ),
    (
        "rs256-roca",
        "roca",
        "the fingerprint of the broken generator (CVE-2017-15361)",
    ),
    (
        "rs256-exponent-1",
        "exponent_1",
        "under 1 a message is its own signature",
    ),
    (
        "rs256-exponent-2",
        "exponent_2",
        "an even exponent is not RSA's (RFC 8017 §3.1)",
    ),
    (
        "rs256-exponent-3",
        "exponent_3",
        "3 makes forgeries of mistakes (CVE-2006-4339)",
    ),
    (
        "rs256-exponent-of-65-bits",
        "exponent_of_65_bits",
        "an exponent beyond 64 bits: work that somebody else chooses",
    ),
];

fn keys() -> Vec<Weak> {
    let mut keys: Vec<Weak> = RSA
        .into_iter()
        .map(|(kid, name, why)| {
            let pair = if name == "exponent_1" {
                Pair::named("2048").with_exponent_1()
            } else {
                Pair::named(name)
            };
            let key = Key::rs256(kid, pair);
            Weak {
                jwk: key.jwk(),
                key,
                why,
            }
        })
        .collect();
    let mut published = |key: Key, change: fn(Members) -> Members, why| {
        let jwk = change(key.jwk());
        keys.push(Weak { key, jwk, why });
    };
    let usage = "published for something else (RFC 7517 §4.2, §4.3)";
    published(
        Key::es256("es256-for-encryption", 11),
        |jwk| jwk.with("use", text("enc")),
        usage,
    );
    published(
        Key::eddsa("eddsa-for-signing-alone", 12),
        |jwk| jwk.with("key_ops", r#"["sign"]"#),
        usage,
    );
    published(
        Key::rs256("rs256-for-encryption", Pair::named("3072")),
        |jwk| jwk.with("key_ops", r#"["encrypt","wrapKey"]"#),
        usage,
    );
    let algorithm = "its own `alg` is another (RFC 7517 §4.4, RFC 8725 §3.1)";
    published(
        Key::rs256("rs256-key-for-ps256", Pair::named("2048")),
        |jwk| jwk.with("alg", text("PS256")),
        algorithm,
    );
    published(
        Key::rs256("rs256-key-for-rs512", Pair::named("2048")),
        |jwk| jwk.with("alg", text("RS512")),
        algorithm,
    );
    published(
        Key::es256("es256-key-for-ecdh", 13),
        |jwk| jwk.with("alg", text("ECDH-ES")),
        algorithm,
    );
    published(
        Key::eddsa("eddsa-key-for-es256", 14),
        |jwk| jwk.with("alg", text("ES256")),
        algorithm,
    );
    published(
        Key::es256("es256-private", 15),
        |jwk| jwk.with("d", text("Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8")),
        "whoever published the private half has lost it",
    );
    published(
        Key::es256("es256-as-p384", 16),
        |jwk| jwk.with("crv", text("P-384")),
        "a point of another curve (RFC 7518 §6.2.1.1)",
    );
    published(
        Key::eddsa("eddsa-as-x25519", 17),
        |jwk| jwk.with("crv", text("X25519")),
        "a key for agreement (RFC 8037 §2)",
    );
    keys
}

pub(crate) fn jwks() -> Vec<Members> {
    let mut jwks: Vec<Members> = keys().into_iter().map(|weak| weak.jwk).collect();
    // Whoever takes `oct` from a set of public keys takes what everybody knows as a secret.
    jwks.push(
        Members::default()
            .with("kty", text("oct"))
            .with("kid", text("hs256"))
            .with("alg", text("HS256"))
            .with("k", text("c2VjcmV0LXRoYXQtZXZlcnlib2R5LWtub3dzLXdlbGw")),
    );
    jwks
}

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    for Weak { key, why, .. } in keys() {
        // Under an exponent without inverse only some messages can be signed.
        let token = (0_u32..)
            .find_map(|turn| {
                let claims = corpus.claims().with("jti", text(&format!("weak-{turn}")));
                let token = key.token(&key.header(), &claims);
                let input = token.rsplit_once('.').unwrap().0;
                key.can_sign(input.as_bytes()).then_some(token)
            })
            .unwrap();
        corpus.refuse(format!("weak/{}", key.kid), "key_unknown", why, token);
    }
}
