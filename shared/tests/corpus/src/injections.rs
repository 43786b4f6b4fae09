//! Keys that a token brings along or points to, and what a `kid` may do to whoever looks it up
//! (RFC 8725 §2.6, §3.10; CVE-2018-0114; RFC 7515 §10.5).

use crate::keys::{Pairs, encode};
use crate::members::text;
use crate::scene::Corpus;

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    add_keys_that_are_brought(corpus);
    add_hostile_key_ids(corpus);
    add_key_id_types(corpus);
}

/// The attacker's key signs, under the good `kid`, under its own and under none.
fn add_keys_that_are_brought(corpus: &mut Corpus<'_>) {
    let keys = corpus.keys;
    let bait = corpus.scene.bait.clone();
    for (good, attacker) in keys.three.iter().zip(&keys.strangers) {
        let jwk = attacker.jwk();
        let under_good_kid = jwk.clone().with("kid", text(good.kid)).json();
        let pointer = |path: &str| text(&format!("{bait}/{path}"));
        let members = [
            ("jwk", "jwk", jwk.json()),
            ("jwk-with-the-good-kid", "jwk", under_good_kid),
            ("jwk-as-text", "jwk", text(&jwk.json())),
            ("jwk-as-array", "jwk", format!("[{}]", jwk.json())),
            ("jwk-null", "jwk", "null".to_owned()),
            (
                "jwk-symmetric",
                "jwk",
                r#"{"kty":"oct","k":"AAAA"}"#.to_owned(),
            ),
            ("jwks", "jwks", format!(r#"{{"keys":[{}]}}"#, jwk.json())),
            ("jku", "jku", pointer("jwks.json")),
            (
                "jku-with-user",
                "jku",
                text(&bait.replace("://", "://id.example@")),
            ),
            ("jku-file", "jku", text("file:///etc/passwd")),
            (
                "jku-cloud-metadata",
                "jku",
                text("http://169.254.169.254/latest/meta-data/"),
            ),
            ("jku-data", "jku", text("data:application/json,{}")),
            ("x5u", "x5u", pointer("cert.pem")),
            ("x5c", "x5c", r#"["MIIBAAAA"]"#.to_owned()),
            ("x5c-as-text", "x5c", text("MIIBAAAA")),
            ("x5t", "x5t", text("AAAAAAAAAAAAAAAAAAAAAAAAAAA")),
            (
                "x5t-s256",
                "x5t#S256",
                text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ),
        ];
        for (name, member, value) in members {
            let header = attacker
                .header()
                .with("kid", text(good.kid))
                .with(member, value.clone());
            corpus.refuse(
                format!("injection/{name}-under-{}", good.kid),
                "signature_invalid",
                "keys come from the issuer's set alone (RFC 8725 §3.10, CVE-2018-0114)",
                attacker.token(&header, &corpus.claims()),
            );
            // The same without a word about a key of the set, for the ones that verifiers followed.
            if matches!(name, "jwk" | "jku" | "x5u" | "x5c") {
                let claims = corpus.claims();
                let own = attacker.header().with(member, value);
                corpus.refuse(
                    format!("injection/{name}-under-{}", attacker.kid),
                    "key_unknown",
                    "the `kid` of no key of the set, whatever the token brings along",
                    attacker.token(&own, &claims),
                );
                corpus.refuse(
                    format!("injection/{name}-without-kid-by-{}", attacker.kid),
                    "key_unknown",
                    "no `kid`, whatever the token brings along",
                    attacker.token(&own.without("kid"), &claims),
                );
            }
        }
        let header = attacker.header().with("kid", text(good.kid));
        corpus.refuse(
            format!("injection/nothing-but-the-kid-of-{}", good.kid),
            "signature_invalid",
            "the signature of a key that is not in the set",
            attacker.token(&header, &corpus.claims()),
        );
        corpus.refuse(
            format!("injection/nothing-but-{}", attacker.kid),
            "key_unknown",
            "a key that is not in the set",
            corpus.good(attacker),
        );
        corpus.refuse(
            format!("injection/no-kid-by-{}", good.kid),
            "key_unknown",
            "no key is the default, not even for its own token",
            good.token(&good.header().without("kid"), &corpus.claims()),
        );
    }
}

/// Signed by the good key, so that nothing but the `kid` is wrong.
fn add_hostile_key_ids(corpus: &mut Corpus<'_>) {
    let long = "k".repeat(5_000);
    let address = corpus.scene.bait.clone();
    for (index, (name, kid)) in [
        ("empty", ""),
        ("space", " "),
        ("capitals", "ES256"),
        ("trailing-space", "es256 "),
        ("leading-space", " es256"),
        ("trailing-newline", "es256\n"),
        ("trailing-nul", "es256\0"),
        ("nul-and-more", "es256\0.pem"),
        ("nul", "\0"),
        ("prefix", "es25"),
        ("longer", "es2566"),
        ("homoglyph", "\u{435}s256"),
        ("zero-width", "es256\u{200b}"),
        ("byte-order-mark", "\u{feff}es256"),
        ("percent-encoded", "%65s256"),
        ("traversal", "../../../../../../etc/passwd"),
        ("traversal-to-nothing", "../../../../../../dev/null"),
        ("traversal-on-windows", "..\\..\\..\\windows\\win.ini"),
        ("traversal-encoded", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        ("path", "/proc/sys/kernel/randomize_va_space"),
        ("file-url", "file:///dev/null"),
        ("own-path", "./es256"),
        ("url", &address),
        ("sql-or", "' OR '1'='1"),
        ("sql-union", "x' UNION SELECT 'secret' --"),
        ("sql-drop", "\"; DROP TABLE signing_keys; --"),
        ("sql-wildcard", "%"),
        ("shell-pipe", "es256 | sleep 5"),
        ("shell-substitution", "$(id)"),
        ("shell-backticks", "`id`"),
        ("ldap", "*)(uid=*))(|(uid=*"),
        ("jndi", "${jndi:ldap://127.0.0.1/a}"),
        ("template", "{{7*7}}"),
        ("format", "%s%n%x"),
        ("regular-expression", ".*"),
        ("catastrophic-expression", "(a+)+$"),
        ("xml-entity", "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///'>]>"),
        ("header-injection", "es256\r\nX-User-ID: admin"),
        ("prototype", "__proto__"),
        ("constructor", "constructor"),
        ("own-property", "hasOwnProperty"),
        ("to-string", "toString"),
        ("length", "length"),
        ("index", "0"),
        ("null-as-text", "null"),
        ("undefined", "undefined"),
        ("json", r#"{"$ne":null}"#),
        ("right-to-left", "\u{202e}652se"),
        ("replacement", "\u{fffd}"),
        ("beyond-the-first-plane", "\u{1f511}"),
        ("5000-characters", &long),
    ]
    .into_iter()
    .enumerate()
    {
        let key = corpus.keys.turn(index);
        let header = key.header().with("kid", text(kid));
        corpus.refuse(
            format!("injection/kid-{name}"),
            "key_unknown",
            "`kid` is the attacker's input and is compared, with the keys of the set (RFC 8725 §3.10)",
            key.token(&header, &corpus.claims()),
        );
    }
    // One that is an HMAC key for whoever reads the file that the `kid` names: /dev/null is empty.
    let key = corpus.keys.es256();
    let header = key
        .header()
        .with("alg", text("HS256"))
        .with("kid", text("../../../../../../dev/null"));
    corpus.refuse(
        "injection/kid-of-an-empty-secret",
        "algorithm_not_allowed",
        "`kid` names a file whose content is known, as a secret",
        key.token(&header, &corpus.claims()),
    );
    let Pairs::EdDsa(pair) = &corpus.keys.eddsa().pairs else {
        unreachable!("the second key is Ed25519")
    };
    let x = encode(pair.verifying_key().as_bytes());
    let header = corpus.keys.eddsa().header().with("kid", text(&x));
    corpus.refuse(
        "injection/kid-is-the-public-key",
        "key_unknown",
        "a `kid` names a key and is none",
        corpus.keys.eddsa().token(&header, &corpus.claims()),
    );
}

fn add_key_id_types(corpus: &mut Corpus<'_>) {
    for key in &corpus.keys.three {
        for (name, kid) in [
            ("null", "null".to_owned()),
            ("number", "1".to_owned()),
            ("true", "true".to_owned()),
            ("array", format!("[{}]", text(key.kid))),
            ("object", format!(r#"{{"kid":{}}}"#, text(key.kid))),
        ] {
            corpus.refuse(
                format!("injection/kid-{name}-by-{}", key.kid),
                "token_malformed",
                "`kid` is a string (RFC 7515 §4.1.4)",
                key.token(&key.header().with("kid", kid), &corpus.claims()),
            );
        }
    }
}
