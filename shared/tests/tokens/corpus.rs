//! The corpus of hostile tokens through the native verifier.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use edgekeep_corpus::{Case, Scene, Verdict, boundaries, corpus, good_jwks, jwk_set};
use edgekeep_shared::{
    error::Rejection,
    jwk::{Jwk, JwkError, JwkSet},
    token::UnverifiedToken,
};

use crate::support::{AUDIENCE, ISSUER, NOW, verifier};

fn scene() -> Scene {
    Scene {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        now: NOW.0,
        subject: "user-1".into(),
        session: "session-1".into(),
        bait: "http://127.0.0.1:9".into(),
    }
}

/// Making it takes seconds: once for all tests.
pub(crate) static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| corpus(&scene()));

fn keys() -> JwkSet {
    JwkSet::parse(jwk_set().as_bytes()).unwrap()
}

/// What is said of a token, as the corpus writes it.
fn word(case: &Case, keys: &JwkSet) -> &'static str {
    match verifier().verify(&case.token, keys, NOW) {
        Ok(_) => "ok",
        Err(rejection) => rejection.code(),
    }
}

#[test]
fn every_token_of_the_corpus_gets_its_verdict() {
    let keys = keys();
    let mut wrong = Vec::new();
    for case in CASES.iter() {
        let word = word(case, &keys);
        if word != case.verdict.word() {
            wrong.push(format!(
                "{}: {word}: {} ({})",
                case.name,
                case.verdict.word(),
                case.why
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_corpus_is_as_large_and_as_varied_as_it_says() {
    let cases = &*CASES;
    let names: BTreeSet<&str> = cases.iter().map(|case| &*case.name).collect();
    assert_eq!(names.len(), cases.len(), "names are unique");
    let tokens: BTreeSet<&[u8]> = cases.iter().map(|case| &*case.token).collect();
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        *groups
            .entry(case.name.split('/').next().unwrap())
            .or_default() += 1;
        *codes.entry(case.verdict.word()).or_default() += 1;
        assert!(!case.why.is_empty(), "{}", case.name);
    }
    let hostile = cases.len() - codes["ok"];
    assert!(hostile >= 400 && codes["ok"] >= 50, "{groups:?} {codes:?}");
    assert!(tokens.len() >= 400, "{} different ones", tokens.len());
    for group in [
        "algorithm",
        "injection",
        "critical",
        "signature",
        "ed25519",
        "weak",
        "encoding",
        "claim",
        "boundary",
        "type",
        "structure",
        "good",
    ] {
        assert!(
            groups.get(group).is_some_and(|&count| count >= 15),
            "{group}: {groups:?}"
        );
    }
    // Every code that a verifier without a list has is expected somewhere, and no other.
    let possible: BTreeSet<&str> = [
        Rejection::TokenMalformed,
        Rejection::TokenTooLarge,
        Rejection::AlgorithmNotAllowed,
        Rejection::CriticalHeader,
        Rejection::WrongType,
        Rejection::KeyUnknown,
        Rejection::SignatureInvalid,
        Rejection::ClaimMissing,
        Rejection::ClaimInvalid,
        Rejection::IssuerMismatch,
        Rejection::AudienceMismatch,
        Rejection::TokenExpired,
        Rejection::TokenNotYetValid,
    ]
    .map(Rejection::code)
    .into_iter()
    .chain(["ok"])
    .collect();
    assert_eq!(codes.keys().copied().collect::<BTreeSet<_>>(), possible);
}

#[test]
fn the_corpus_is_the_same_each_time() {
    let tokens = |cases: &[Case]| -> Vec<(String, Vec<u8>)> {
        let token = |case: &Case| (case.name.clone(), case.token.clone());
        cases.iter().map(token).collect()
    };
    assert!(tokens(&CASES) == tokens(&corpus(&scene())));
    let edges = boundaries(&scene());
    assert!(tokens(&CASES[CASES.len() - edges.len()..]) == tokens(&edges));
}

/// The set of the corpus has as many keys that must be left out as it has good ones, and a cause
/// for each.
#[test]
fn keys_without_security_are_left_out_by_cause() {
    let keys = keys();
    let kids: BTreeSet<&str> = keys.keys().iter().map(Jwk::key_id).collect();
    let good: BTreeSet<&str> = good_jwks().iter().map(|(kid, _)| *kid).collect();
    assert_eq!(kids, good);
    let document: serde_json::Value = serde_json::from_str(&jwk_set()).unwrap();
    let causes: BTreeMap<&str, JwkError> = keys
        .refused()
        .iter()
        .map(|&(index, cause)| (document["keys"][index]["kid"].as_str().unwrap(), cause))
        .collect();
    assert_eq!(causes.len(), keys.refused().len());
    for (kid, cause) in [
        ("rs256-1024", JwkError::Weak),
        ("rs256-2047", JwkError::Weak),
        ("rs256-4097", JwkError::Weak),
        ("rs256-even-modulus", JwkError::Weak),
        ("rs256-factor-751", JwkError::Weak),
        ("rs256-roca", JwkError::Weak),
        ("rs256-exponent-1", JwkError::Weak),
        ("rs256-exponent-2", JwkError::Weak),
        ("rs256-exponent-3", JwkError::Weak),
        ("rs256-exponent-of-65-bits", JwkError::Weak),
        ("rs256-key-for-ps256", JwkError::Unsupported),
        ("rs256-key-for-rs512", JwkError::Unsupported),
        ("rs256-for-encryption", JwkError::Unsupported),
        ("es256-for-encryption", JwkError::Unsupported),
        ("es256-key-for-ecdh", JwkError::Unsupported),
        ("es256-as-p384", JwkError::Unsupported),
        ("eddsa-for-signing-alone", JwkError::Unsupported),
        ("eddsa-key-for-es256", JwkError::Unsupported),
        ("eddsa-as-x25519", JwkError::Unsupported),
        ("eddsa-identity", JwkError::Point),
        ("eddsa-order-2", JwkError::Point),
        ("eddsa-order-4", JwkError::Point),
        ("eddsa-order-8", JwkError::Point),
        ("eddsa-identity-beyond-p", JwkError::Point),
        ("eddsa-identity-signed", JwkError::Point),
        ("es256-private", JwkError::PrivateKey),
        ("hs256", JwkError::PrivateKey),
    ] {
        assert_eq!(causes.get(kid), Some(&cause), "{kid}");
    }
    assert_eq!(causes.len(), 27);
}

/// Nothing but `kid` and the set decides about the key: without the set, nothing is accepted.
#[test]
fn no_token_is_accepted_without_keys() {
    for case in CASES.iter() {
        let verdict = verifier().verify(&case.token, &JwkSet::default(), NOW);
        assert!(verdict.is_err(), "{}", case.name);
        // What is good, and what is refused for its key or later, is well-formed.
        if case.verdict == Verdict::Accepted {
            assert!(UnverifiedToken::parse(&case.token).is_ok(), "{}", case.name);
            assert_eq!(verdict, Err(Rejection::KeyUnknown), "{}", case.name);
        }
    }
}
