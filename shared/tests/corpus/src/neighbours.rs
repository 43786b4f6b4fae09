//! Good tokens one step from the hostile ones: who refuses them refuses too much.

use crate::keys::Key;
use crate::members::text;
use crate::scene::Corpus;

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    let keys = corpus.keys;
    for key in keys.three.iter().chain(&keys.others).chain([&keys.long]) {
        corpus.accept(
            format!("good/every-claim-by-{}", key.kid),
            "what an honest issuer writes (RFC 9068 §2.2)",
            corpus.good(key),
        );
    }
    for key in &keys.three {
        add_claims(corpus, key);
        add_headers(corpus, key);
    }
    let key = corpus.keys.eddsa();
    corpus.accept(
        "good/called-Ed25519",
        "the fully specified name of the same algorithm (RFC 9864 §2.2)",
        key.token(&key.header().with("alg", text("Ed25519")), &corpus.claims()),
    );
}

fn add_claims(corpus: &mut Corpus<'_>, key: &Key) {
    let full = corpus.claims();
    let audience = text(&corpus.scene.audience);
    let many: Vec<String> = (0..200).map(|index| format!("\"role-{index}\"")).collect();
    for (name, claims) in [
        ("minimal", corpus.minimal_claims()),
        ("without-nbf", full.clone().without("nbf")),
        (
            "audience-in-a-list",
            full.clone().with("aud", format!("[{audience}]")),
        ),
        (
            "audience-among-others",
            full.clone().with("aud", format!(r#"["other",{audience}]"#)),
        ),
        (
            "empty-lists",
            full.clone().with("roles", "[]").with("amr", "[]"),
        ),
        (
            "200-roles",
            full.clone().with("roles", format!("[{}]", many.join(","))),
        ),
        ("empty-scope", full.clone().with("scope", text(""))),
        ("highest-kyc-level", full.clone().with("kyc_level", "255")),
        (
            "unknown-claims",
            full.clone()
                .and("x", r#"{"a":[null,1.5,-0,1e9,"\ud83d\ude00"]}"#),
        ),
        (
            "names-of-prototypes",
            full.clone()
                .and("__proto__", r#"{"roles":["admin"]}"#)
                .and("constructor", "1"),
        ),
        (
            "claims-called-as-headers",
            full.clone().and("alg", text("none")).and("crit", "[]"),
        ),
        (
            "name-with-an-escape",
            full.clone().without("jti").and(r"j\u0074i", text("a")),
        ),
        ("long-jti", full.with("jti", text(&"j".repeat(1_000)))),
    ] {
        corpus.accept(
            format!("good/{name}-by-{}", key.kid),
            "well-formed claims, and more than are understood are ignored (RFC 7519 §4)",
            key.token(&key.header(), &claims),
        );
    }
    let white = format!(" \n\t{}\r\n", corpus.claims().json());
    corpus.accept(
        format!("good/white-space-around-json-by-{}", key.kid),
        "white space of JSON around the object (RFC 8259 §2)",
        key.raw(key.header().json(), white),
    );
}

fn add_headers(corpus: &mut Corpus<'_>, key: &Key) {
    let header = key.header();
    let jwk = key.jwk().json();
    for (name, header) in [
        (
            "type-in-capitals",
            header.clone().with("typ", text("AT+JWT")),
        ),
        (
            "whole-media-type",
            header.clone().with("typ", text("application/at+jwt")),
        ),
        (
            "whole-media-type-in-capitals",
            header.clone().with("typ", text("Application/AT+JWT")),
        ),
        ("own-jwk", header.clone().with("jwk", jwk)),
        (
            "unknown-members",
            header.clone().and("x", r#"{"a":[1]}"#).and("Crit", "[]"),
        ),
        ("content-type", header.clone().with("cty", text("json"))),
        (
            "name-with-an-escape",
            header
                .clone()
                .without("alg")
                .and(r"\u0061lg", text(key.algorithm())),
        ),
        ("white-space-in-json", header.and("x ", "  1  ")),
    ] {
        corpus.accept(
            format!("good/header-{name}-by-{}", key.kid),
            "members that are not understood are ignored (RFC 7515 §4), media types have no case",
            key.token(&header, &corpus.claims()),
        );
    }
}
