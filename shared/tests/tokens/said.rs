//! What is said to people: messages name the cause, and nothing prints what a log need not keep.

use std::collections::BTreeSet;

use crate::support::{AUDIENCE, ISSUER, Key, NOW, claims, set, verifier};
use edgekeep_shared::{
    control::{ControlError, DocumentType},
    error::Rejection,
    jwk::{Algorithm, JwkError, JwkSetError},
    revocation::NotApplied,
    time::UnixTime,
};

/// Messages, each with a word that tells its cause from the others.
fn assert_told_apart<E: std::fmt::Display>(causes: impl IntoIterator<Item = (E, &'static str)>) {
    let mut all = BTreeSet::new();
    for (error, word) in causes {
        let message = error.to_string();
        assert!(message.contains(word), "{message}: {word}");
        assert!(all.insert(message.clone()), "{message} is said twice");
    }
}

#[test]
fn messages_tell_causes_apart() {
    assert_told_apart([
        (JwkError::Malformed, "well-formed"),
        (JwkError::PrivateKey, "private"),
        (JwkError::Unsupported, "supported"),
        (JwkError::Point, "point"),
        (JwkError::Weak, "RSA"),
    ]);
    assert_told_apart([
        (JwkSetError::TooLarge, "65536"),
        (JwkSetError::Malformed, "`keys`"),
        (JwkSetError::TooManyKeys, "64"),
        (JwkSetError::DuplicateKeyId, "`kid`"),
    ]);
    assert_told_apart([
        (ControlError::Malformed, "not a control document"),
        (ControlError::TooLarge, "larger"),
        (ControlError::KeyUnknown, "pinned"),
        (ControlError::SignatureInvalid, "signature"),
        (ControlError::WrongType, "type"),
        (ControlError::IssuerMismatch, "issuer"),
        (ControlError::BodyInvalid, "body"),
    ]);
    assert_told_apart([
        (NotApplied::Older, "newer"),
        (NotApplied::Future, "future"),
        (NotApplied::Foreign, "series"),
        (NotApplied::Gap, "after"),
        (NotApplied::Diverged, "fit"),
    ]);
    assert_told_apart(
        Rejection::ALL
            .iter()
            .map(|&rejection| (rejection, rejection.code())),
    );
    assert_eq!(UnixTime(-7).to_string(), "-7");
}

#[test]
fn a_key_is_printed_by_algorithm_and_thumbprint() {
    for (key, name) in [
        (Key::es256(1), "ES256"),
        (Key::eddsa(2), "EdDSA"),
        (Key::rs256(2048), "RS256"),
    ] {
        let key = key.verifying();
        assert_eq!(
            format!("{key:?}"),
            format!("VerifyingKey({name}, {})", key.thumbprint())
        );
        assert_eq!(key.algorithm().name(), name);
        assert_eq!(Algorithm::from_name(name), Some(key.algorithm()));
    }
}

#[test]
fn names_of_documents_are_those_that_are_signed() {
    for (document_type, name) in [
        (DocumentType::Revocations, "edgekeep-revocations"),
        (DocumentType::JwkSet, "edgekeep-jwks"),
        (DocumentType::Policy, "edgekeep-policy"),
    ] {
        assert_eq!(document_type.name(), name);
    }
}

#[test]
fn a_verifier_says_whom_it_trusts() {
    let verifier = verifier();
    assert_eq!(verifier.issuer(), ISSUER);
    assert_eq!(verifier.audiences(), [AUDIENCE]);
}

/// What a rule looks at is what the token says, member by member.
#[test]
fn a_holder_is_who_the_token_says() {
    let key = Key::es256(1);
    let token = verifier()
        .verify(key.issue(&claims()).as_bytes(), &set(&[&key]), NOW)
        .unwrap();
    let holder = token.claims().holder();
    assert_eq!(holder.scopes, ["report:read", "report:write"]);
    assert_eq!(holder.roles, ["admin"]);
    assert_eq!(holder.permissions, ["a", "b"]);
    assert_eq!(holder.kyc_level, Some(2));
    assert_eq!(holder.kyc_status, Some("verified"));
    assert_eq!(holder.subject, Some("user-1"));
    assert_eq!(holder.customer_id, Some("customer-1"));
    assert_eq!(holder.amr, ["pwd", "otp"]);
    assert_eq!(holder.acr, Some("2"));
    assert_eq!(holder.auth_time, Some(NOW.0 - 60));
}
