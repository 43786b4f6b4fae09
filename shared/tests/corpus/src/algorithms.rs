//! `alg`: none in every spelling, HMAC with what everybody knows, other names, other types, and
//! names that are not the key's (RFC 8725 §2.1, §3.1; CVE-2015-9235, CVE-2016-10555).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::keys::{Key, Pairs, encode};
use crate::members::text;
use crate::rsa::{self, SHA_384, SHA_512};
use crate::scene::Corpus;

const NOT_ALLOWED: &str = "algorithm_not_allowed";

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    add_none(corpus);
    add_hmac(corpus);
    add_names(corpus);
    add_types(corpus);
    add_crossings(corpus);
    add_signed_otherwise(corpus);
}

fn add_none(corpus: &mut Corpus<'_>) {
    let spellings = [
        ("lower", "none"),
        ("title", "None"),
        ("upper", "NONE"),
        ("mixed", "nOnE"),
        ("mixed-end", "noNE"),
        ("trailing-space", "none "),
        ("leading-space", " none"),
        ("trailing-nul", "none\0"),
        ("trailing-newline", "none\n"),
        ("cyrillic-o", "n\u{43e}ne"),
        ("full-width", "\u{ff4e}\u{ff4f}\u{ff4e}\u{ff45}"),
        ("zero-width", "no\u{200b}ne"),
        ("list", "none,ES256"),
        ("null-as-text", "null"),
        ("empty", ""),
    ];
    for (index, (name, alg)) in spellings.into_iter().enumerate() {
        let key = corpus.keys.turn(index);
        let token = key.token(&key.header().with("alg", text(alg)), &corpus.claims());
        let why = "no signature is not a signature (RFC 8725 §3.2), in any spelling";
        let unsigned = &token[..=token.rfind('.').unwrap()];
        corpus.refuse(
            format!("algorithm/none-{name}-unsigned"),
            NOT_ALLOWED,
            why,
            unsigned,
        );
        corpus.refuse(
            format!("algorithm/none-{name}-signed"),
            NOT_ALLOWED,
            why,
            token,
        );
    }
    let key = corpus.keys.es256();
    let header = key.header().with("alg", text("none")).without("kid");
    let token = key.token(&header, &corpus.claims());
    corpus.refuse(
        "algorithm/none-without-kid",
        NOT_ALLOWED,
        "no signature is not a signature (RFC 8725 §3.2)",
        &token[..=token.rfind('.').unwrap()],
    );
}

/// Every form in which somebody may hold a public key as text or bytes, with its name.
fn forms(key: &Key) -> Vec<(&'static str, Vec<u8>)> {
    let spki = spki(key);
    let body = STANDARD.encode(&spki);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    );
    let bare = raw_public(key);
    vec![
        ("pem", pem.clone().into()),
        ("pem-without-last-newline", pem.trim_end().into()),
        (
            "pem-with-carriage-returns",
            pem.replace('\n', "\r\n").into(),
        ),
        ("pem-after-white-space", format!(" \n{pem}").into()),
        ("pem-body", body.into()),
        ("der", spki),
        ("raw", bare.clone()),
        ("raw-base64url", encode(&bare).into()),
        ("raw-hex", hex(&bare).into()),
        ("openssh", openssh(key).into()),
        ("jwk", key.jwk().json().into()),
        ("jwk-of-the-thumbprint", key.public().json().into()),
        ("kid", key.kid.into()),
        ("nothing", Vec::new()),
    ]
}

fn add_hmac(corpus: &mut Corpus<'_>) {
    let why = "HMAC keyed with what is public (RFC 8725 §2.1, CVE-2016-10555, CVE-2022-29217)";
    for key in &corpus.keys.three {
        for (index, (form, secret)) in forms(key).into_iter().enumerate() {
            // The stronger ones for a part: a verifier that takes them takes HS256.
            let algorithms: &[&str] = if index < 2 {
                &["HS256", "HS384", "HS512"]
            } else {
                &["HS256"]
            };
            for &alg in algorithms {
                let header = encode(key.header().with("alg", text(alg)).json());
                let input = format!("{header}.{}", encode(corpus.claims().json()));
                let token = format!("{input}.{}", encode(mac(alg, &secret, input.as_bytes())));
                let name = format!(
                    "algorithm/{}-keyed-with-{form}-of-{}",
                    alg.to_ascii_lowercase(),
                    key.kid
                );
                corpus.refuse(name, NOT_ALLOWED, why, token);
            }
        }
        // The name of the key's own algorithm over such a MAC: whoever looks at the key's form.
        let header = encode(key.header().json());
        let input = format!("{header}.{}", encode(corpus.claims().json()));
        let secret = spki(key);
        let token = format!(
            "{input}.{}",
            encode(mac("HS256", &secret, input.as_bytes()))
        );
        corpus.refuse(
            format!("algorithm/mac-as-signature-of-{}", key.kid),
            "signature_invalid",
            "a MAC under the public key's DER is no signature",
            token,
        );
    }
    let key = corpus.keys.es256();
    for (name, kid) in [("hs256-of-the-set", "hs256"), ("hs256-without-kid", "")] {
        let mut header = key.header().with("alg", text("HS256"));
        header = if kid.is_empty() {
            header.without("kid")
        } else {
            header.with("kid", text(kid))
        };
        let input = format!(
            "{}.{}",
            encode(header.json()),
            encode(corpus.claims().json())
        );
        let mac = mac(
            "HS256",
            b"secret-that-everybody-knows-well",
            input.as_bytes(),
        );
        corpus.refuse(
            format!("algorithm/{name}"),
            NOT_ALLOWED,
            "a symmetric key in a public set is no secret",
            format!("{input}.{}", encode(mac)),
        );
    }
}

fn add_names(corpus: &mut Corpus<'_>) {
    let es256 = 0;
    let eddsa = 1;
    let rs256 = 2;
    for (signer, alg) in [
        (es256, "es256"),
        (es256, "Es256"),
        (es256, "ES256 "),
        (es256, " ES256"),
        (es256, "ES256\0"),
        (es256, "ES\u{200b}256"),
        (es256, "\u{415}S256"),
        (es256, "ES256,RS256"),
        (es256, "ES384"),
        (es256, "ES512"),
        (es256, "ES256K"),
        (es256, "ESP256"),
        (es256, "ES256X"),
        (es256, "ES2"),
        (es256, "ECDH-ES"),
        (es256, "SHA256withECDSA"),
        (es256, "1.2.840.10045.4.3.2"),
        (eddsa, "eddsa"),
        (eddsa, "EDDSA"),
        (eddsa, "EdDsa"),
        (eddsa, "ED25519"),
        (eddsa, "ed25519"),
        (eddsa, "Ed448"),
        (eddsa, "Ed25519ph"),
        (eddsa, "ML-DSA-65"),
        (rs256, "rs256"),
        (rs256, "RS1"),
        (rs256, "RSA1_5"),
        (rs256, "RSA-OAEP"),
        (rs256, "RSA-OAEP-256"),
        (rs256, "dir"),
        (rs256, "A128KW"),
        (rs256, "PBES2-HS256+A128KW"),
        (rs256, "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
        (rs256, "SHA256withRSA"),
    ] {
        let key = &corpus.keys.three[signer];
        let token = key.token(&key.header().with("alg", text(alg)), &corpus.claims());
        corpus.refuse(
            format!("algorithm/called-{alg:?}-by-{}", key.kid),
            NOT_ALLOWED,
            "names are exact and case-sensitive (RFC 7515 §4.1.1); what is not on the list is refused",
            token,
        );
    }
}

fn add_types(corpus: &mut Corpus<'_>) {
    for key in &corpus.keys.three {
        let own = text(key.algorithm());
        for (name, alg) in [
            ("null", "null".to_owned()),
            ("true", "true".to_owned()),
            ("number", "256".to_owned()),
            ("array", format!("[{own}]")),
            ("array-of-two", format!(r#"["none",{own}]"#)),
            ("object", format!(r#"{{"name":{own}}}"#)),
            ("empty-array", "[]".to_owned()),
        ] {
            let token = key.token(&key.header().with("alg", alg), &corpus.claims());
            corpus.refuse(
                format!("algorithm/{name}-by-{}", key.kid),
                "token_malformed",
                "`alg` is a string (RFC 7515 §4.1.1)",
                token,
            );
        }
        let missing = "`alg` must be there (RFC 7515 §4.1.1), in this spelling (§4)";
        let header = key.header().without("alg");
        let token = key.token(&header, &corpus.claims());
        corpus.refuse(
            format!("algorithm/missing-by-{}", key.kid),
            "token_malformed",
            missing,
            token,
        );
        let token = key.token(&header.and("ALG", own), &corpus.claims());
        corpus.refuse(
            format!("algorithm/member-in-capitals-by-{}", key.kid),
            "token_malformed",
            missing,
            token,
        );
    }
}

/// Names of good algorithms over keys of others.
fn add_crossings(corpus: &mut Corpus<'_>) {
    let keys = corpus.keys;
    for signer in &keys.three {
        for other in &keys.three {
            if signer.kid == other.kid {
                continue;
            }
            let token = signer.token(
                &signer.header().with("alg", text(other.algorithm())),
                &corpus.claims(),
            );
            corpus.refuse(
                format!("algorithm/{}-called-{}", signer.kid, other.algorithm()),
                NOT_ALLOWED,
                "a key has one algorithm, and the header does not choose it (RFC 8725 §3.1)",
                token,
            );
            let token = signer.token(
                &signer.header().with("kid", text(other.kid)),
                &corpus.claims(),
            );
            corpus.refuse(
                format!("algorithm/{}-under-the-kid-of-{}", signer.kid, other.kid),
                NOT_ALLOWED,
                "the key that `kid` names is for another algorithm (RFC 8725 §3.1)",
                token,
            );
        }
    }
    for key in [keys.es256(), keys.rs256()] {
        let token = key.token(&key.header().with("alg", text("Ed25519")), &corpus.claims());
        corpus.refuse(
            format!("algorithm/{}-called-Ed25519", key.kid),
            NOT_ALLOWED,
            "the fully specified name of another algorithm (RFC 9864 §2.2)",
            token,
        );
    }
}

/// Good signatures of the RSA key by algorithms that it is not for.
fn add_signed_otherwise(corpus: &mut Corpus<'_>) {
    type Encoding<'e> = &'e dyn Fn(&[u8]) -> Vec<u8>;
    let key = corpus.keys.rs256();
    let Pairs::Rs256(pair) = &key.pairs else {
        unreachable!("the third key is RSA")
    };
    let sha_384 = |input: &[u8]| rsa::pkcs1(SHA_384, &Sha384::digest(input), pair.len());
    let sha_512 = |input: &[u8]| rsa::pkcs1(SHA_512, &Sha512::digest(input), pair.len());
    let pss = |input: &[u8]| rsa::pss(input, pair.len());
    let ways: [(&str, Encoding<'_>); 3] =
        [("RS384", &sha_384), ("RS512", &sha_512), ("PS256", &pss)];
    for (alg, encoded) in ways {
        for (named, code) in [(alg, NOT_ALLOWED), ("RS256", "signature_invalid")] {
            let header = key.header().with("alg", text(named));
            let input = format!(
                "{}.{}",
                encode(header.json()),
                encode(corpus.claims().json())
            );
            let signature = pair.raw(&encoded(input.as_bytes()));
            corpus.refuse(
                format!("algorithm/signed-by-{alg}-called-{named}"),
                code,
                "one key, one algorithm (RFC 8725 §3.1)",
                format!("{input}.{}", encode(signature)),
            );
        }
    }
}

fn mac(alg: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    macro_rules! mac {
        ($digest:ty) => {{
            let mut mac = Hmac::<$digest>::new_from_slice(secret).unwrap();
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    match alg {
        "HS384" => mac!(Sha384),
        "HS512" => mac!(Sha512),
        _ => mac!(Sha256),
    }
}

/// The public key as its own kind writes it: an uncompressed point, 32 bytes, a modulus.
fn raw_public(key: &Key) -> Vec<u8> {
    match &key.pairs {
        Pairs::Es256(pair) => pair
            .verifying_key()
            .to_sec1_point(false)
            .as_bytes()
            .to_vec(),
        Pairs::EdDsa(pair) => pair.verifying_key().to_bytes().to_vec(),
        Pairs::Rs256(pair) => pair.modulus.clone(),
    }
}

/// DER of one element (X.690 §8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.extend(u8::try_from(length));
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        out.push(0x80 | u8::try_from(bytes.len() - zeros).unwrap());
        out.extend(&bytes[zeros..]);
    }
    out.extend(content);
    out
}

/// A positive number, with the zero that keeps it so.
fn positive(number: &[u8]) -> Vec<u8> {
    if number.first().is_some_and(|&byte| byte >= 0x80) {
        [&[0], number].concat()
    } else {
        number.to_vec()
    }
}

/// `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7, RFC 5480, RFC 8410).
fn spki(key: &Key) -> Vec<u8> {
    const EC: &[u8] =
        b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";
    const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let raw = raw_public(key);
    let (algorithm, content) = match &key.pairs {
        Pairs::Es256(_) => (EC, raw),
        Pairs::EdDsa(_) => (ED25519, raw),
        Pairs::Rs256(pair) => {
            let numbers = [&pair.modulus, &pair.public].map(|number| der(2, &positive(number)));
            (RSA, der(0x30, &numbers.concat()))
        }
    };
    let bits = der(3, &[&[0], &content[..]].concat());
    der(0x30, &[algorithm, &bits].concat())
}

/// A line of `authorized_keys` (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).
fn openssh(key: &Key) -> String {
    let raw = raw_public(key);
    let (kind, fields) = match &key.pairs {
        Pairs::Es256(_) => ("ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), raw]),
        Pairs::EdDsa(_) => ("ssh-ed25519", vec![raw]),
        Pairs::Rs256(pair) => (
            "ssh-rsa",
            vec![positive(&pair.public), positive(&pair.modulus)],
        ),
    };
    let mut blob = Vec::new();
    for field in [kind.as_bytes().to_vec()].iter().chain(&fields) {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend(field);
    }
    format!("{kind} {}", STANDARD.encode(blob))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
