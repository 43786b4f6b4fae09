//! `crit` and `b64`: extensions that must be understood, and none is (RFC 7515 §4.1.11, RFC 7797
//! §6, §7; CVE-2025-59420).

use crate::keys::encode;
use crate::members::text;
use crate::scene::Corpus;

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    let shapes = [
        ("empty", "[]"),
        ("unknown", r#"["x-policy"]"#),
        ("registered", r#"["alg"]"#),
        ("claim", r#"["exp"]"#),
        ("key", r#"["jwk"]"#),
        ("itself", r#"["crit"]"#),
        ("b64", r#"["b64"]"#),
        ("twice", r#"["b64","b64"]"#),
        ("empty-name", r#"[""]"#),
        ("prototype", r#"["__proto__"]"#),
        ("number", "[1]"),
        ("null-in-it", "[null]"),
        ("array-in-it", r#"[["exp"]]"#),
        ("text", r#""exp""#),
        ("null", "null"),
        ("false", "false"),
        ("zero", "0"),
        ("object", r#"{"exp":true}"#),
    ];
    let keys = corpus.keys;
    for key in &keys.three {
        for (name, value) in shapes {
            corpus.refuse(
                format!("critical/{name}-by-{}", key.kid),
                "critical_header",
                "`crit` of any shape names what is not understood, or is malformed (RFC 7515 §4.1.11)",
                key.token(&key.header().with("crit", value), &corpus.claims()),
            );
        }
        for (name, value) in [
            ("b64-true", "true"),
            ("b64-false", "false"),
            ("b64-null", "null"),
            ("b64-as-text", r#""false""#),
        ] {
            corpus.refuse(
                format!("critical/{name}-by-{}", key.kid),
                "critical_header",
                "a JWT must not have `b64` (RFC 7797 §7)",
                key.token(&key.header().with("b64", value), &corpus.claims()),
            );
        }
        let named = key
            .header()
            .with("crit", r#"["x-policy"]"#)
            .with("x-policy", "true");
        corpus.refuse(
            format!("critical/with-what-it-names-by-{}", key.kid),
            "critical_header",
            "an extension that is there and not understood (RFC 7515 §4.1.11)",
            key.token(&named, &corpus.claims()),
        );
        let unencoded = key.header().with("b64", "false").with("crit", r#"["b64"]"#);
        corpus.refuse(
            format!("critical/b64-with-encoded-payload-by-{}", key.kid),
            "critical_header",
            "a JWT must not have `b64` (RFC 7797 §7)",
            key.token(&unencoded, &corpus.claims()),
        );
        let header = encode(unencoded.json());
        corpus.refuse(
            format!("critical/b64-with-plain-payload-by-{}", key.kid),
            "token_malformed",
            "an unencoded payload (RFC 7797 §5.2) has characters of no token (RFC 8725 §3.7)",
            key.compact(&header, r#"{"sub":"admin"}"#),
        );
        corpus.refuse(
            format!("critical/b64-with-dots-in-the-payload-by-{}", key.kid),
            "token_malformed",
            "an unencoded payload with a dot makes four parts (RFC 7797 §5.2)",
            key.compact(&header, r#"{"sub":"a.b"}"#),
        );
        corpus.refuse(
            format!("critical/before-the-algorithm-by-{}", key.kid),
            "critical_header",
            "what must be understood is looked at first, also where `alg` is none",
            key.token(
                &key.header().with("alg", text("none")).with("crit", "[]"),
                &corpus.claims(),
            ),
        );
    }
}
