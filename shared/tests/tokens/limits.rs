//! Limits: their numbers, written out once more, and what lies on either side of each.

use crate::support::{ISSUER, Key, NOW, claims, claims_with, set, verifier};
use edgekeep_shared::{
    assertion, base64url,
    control::{
        self, ControlError, ControlKeys, DocumentType, MAX_CONTROL_KEYS, MAX_DOCUMENT_BYTES,
        MAX_HEADER_BYTES,
    },
    error::Rejection::{self, ClaimInvalid, TokenExpired, TokenNotYetValid, TokenTooLarge},
    gate::{issuers::MAX_FOREIGN_ISSUERS, list, refusal, rules},
    json::{self, MAX_DEPTH, MAX_MEMBERS, Value},
    jwk::{Jwk, JwkError, JwkSet, JwkSetError, MAX_KEY_ID_BYTES, MAX_KEYS, MAX_SET_BYTES},
    path::{MAX_PATH_BYTES, MAX_PATH_SEGMENTS},
    policy::{MAX_POLICY_BYTES, MAX_RULES},
    revocation::{MAX_DELTA_BYTES, SMALL_LIST_BYTES},
    rsa::{MAX_MODULUS_BITS, MIN_MODULUS_BITS},
    time::UnixTime,
    token::MAX_TOKEN_BYTES,
    verifier::{MAX_LEEWAY, MAX_LIFETIME},
};
use serde_json::json;

/// The documentation and what other programs configure themselves by say these numbers too.
#[test]
fn limits_are_the_numbers_that_are_documented() {
    assert_eq!(MAX_TOKEN_BYTES, 8_192);
    assert_eq!((MAX_LIFETIME, MAX_LEEWAY), (86_400, 300));
    assert_eq!(
        (MAX_SET_BYTES, MAX_KEYS, MAX_KEY_ID_BYTES),
        (65_536, 64, 256)
    );
    assert_eq!((MAX_HEADER_BYTES, MAX_DOCUMENT_BYTES), (4_096, 26_214_400));
    assert_eq!(MAX_CONTROL_KEYS, 2);
    assert_eq!((MAX_DEPTH, MAX_MEMBERS), (16, 128));
    assert_eq!((MIN_MODULUS_BITS, MAX_MODULUS_BITS), (2_048, 4_096));
    assert_eq!(UnixTime::MAX, UnixTime(253_402_300_799));
    assert_eq!((MAX_DELTA_BYTES, SMALL_LIST_BYTES), (524_288, 32_768));
    assert_eq!((MAX_PATH_BYTES, MAX_PATH_SEGMENTS), (8_192, 128));
    assert_eq!((MAX_POLICY_BYTES, MAX_RULES), (262_144, 1_000));
    assert_eq!(MAX_FOREIGN_ISSUERS, 16);
    assert_eq!(
        (
            list::FRESH,
            list::USABLE,
            list::KEPT,
            list::DEADLINE,
            list::FAILED_COOLDOWN
        ),
        (2_000, 5_000, 10_000, 1_000, 2_000)
    );
    assert_eq!((rules::INTERVAL, rules::MAX_AGE), (30_000, 86_400));
    assert_eq!((refusal::RETRY_AFTER, refusal::RETRY_AFTER_LIMIT), (2, 10));
    assert_eq!(
        (
            assertion::ASSERTION_LIFETIME,
            assertion::MAX_LEEWAY,
            assertion::DEFAULT_LEEWAY
        ),
        (30, 30, 5)
    );
}

fn judge(claims: &serde_json::Value, leeway: u32) -> Result<(), Rejection> {
    let key = Key::es256(1);
    let token = key.issue(claims);
    let verifier = verifier().with_leeway(leeway);
    verifier
        .verify(token.as_bytes(), &set(&[&key]), NOW)
        .map(|_| ())
}

#[test]
fn no_more_leeway_is_given_than_the_most() {
    for leeway in [300, 301, 86_400, u32::MAX] {
        for (claim, offset, expected) in [
            ("exp", -299, Ok(())),
            ("exp", -300, Err(TokenExpired)),
            ("nbf", 300, Ok(())),
            ("nbf", 301, Err(TokenNotYetValid)),
        ] {
            let mut claims = claims_with(claim, Some(json!(NOW.0 + offset)));
            claims["iat"] = json!(NOW.0 - 600);
            assert_eq!(
                judge(&claims, leeway),
                expected,
                "{claim} {offset} {leeway}"
            );
        }
    }
}

/// `nbf` or `iat`, whichever is later: neither may hide the other.
#[test]
fn a_token_begins_when_the_later_of_two_instants_says() {
    for (nbf, iat, expected) in [
        (0, 0, Ok(())),
        (1, 0, Err(TokenNotYetValid)),
        (0, 1, Err(TokenNotYetValid)),
        (-50, -1, Ok(())),
    ] {
        let mut claims = claims_with("nbf", Some(json!(NOW.0 + nbf)));
        claims["iat"] = json!(NOW.0 + iat);
        assert_eq!(judge(&claims, 0), expected, "{nbf} {iat}");
    }
}

#[test]
fn the_time_of_a_token_is_judged_again_as_it_was_at_first() {
    let key = Key::es256(1);
    let verifier = verifier().with_leeway(5);
    let token = key.issue(&claims());
    let token = verifier
        .verify(token.as_bytes(), &set(&[&key]), NOW)
        .unwrap();
    for (now, expected) in [
        (NOW, Ok(())),
        (NOW.minus(65), Ok(())),
        (NOW.minus(66), Err(TokenNotYetValid)),
        (NOW.plus(844), Ok(())),
        (NOW.plus(845), Err(TokenExpired)),
    ] {
        assert_eq!(verifier.verify_time(&token, now), expected, "{now}");
    }
}

#[test]
fn instants_lie_between_1970_and_the_year_9999() {
    for (at, expected) in [
        (0, Ok(())),
        (-1, Err(ClaimInvalid)),
        (UnixTime::MAX.0, Ok(())),
        (UnixTime::MAX.0 + 1, Err(ClaimInvalid)),
    ] {
        assert_eq!(
            judge(&claims_with("auth_time", Some(json!(at))), 0),
            expected,
            "{at}"
        );
    }
}

#[test]
fn a_token_may_be_as_long_as_the_limit_and_no_longer() {
    // What is too long is not read, so it need not be a token.
    let refusal = |length: usize| {
        let bytes = vec![b'.'; length];
        verifier()
            .verify(&bytes, &JwkSet::default(), NOW)
            .unwrap_err()
    };
    assert_eq!(refusal(MAX_TOKEN_BYTES), Rejection::TokenMalformed);
    assert_eq!(refusal(MAX_TOKEN_BYTES + 1), TokenTooLarge);
}

#[test]
fn a_set_may_be_as_long_and_as_wide_as_its_limits() {
    let padded = |length: usize| format!("{{\"keys\":[]{}}}", " ".repeat(length - 11));
    assert_eq!(
        JwkSet::parse(padded(MAX_SET_BYTES).as_bytes()),
        Ok(JwkSet::default())
    );
    assert_eq!(
        JwkSet::parse(padded(MAX_SET_BYTES + 1).as_bytes()),
        Err(JwkSetError::TooLarge)
    );
    let key = Key::eddsa(2).verifying();
    let keys = |count: usize| -> Vec<Jwk> {
        (0..count)
            .map(|index| Jwk::new(index.to_string(), key.clone()))
            .collect()
    };
    assert_eq!(JwkSet::new(keys(MAX_KEYS)).unwrap().keys().len(), MAX_KEYS);
    assert_eq!(
        JwkSet::new(keys(MAX_KEYS + 1)),
        Err(JwkSetError::TooManyKeys)
    );
    let twice = [keys(2), keys(1)].concat();
    assert_eq!(JwkSet::new(twice), Err(JwkSetError::DuplicateKeyId));
    assert!(JwkSet::new(Vec::new()).unwrap().is_empty());
    assert!(!JwkSet::new(keys(1)).unwrap().is_empty());
}

#[test]
fn a_set_that_names_a_key_by_another_s_thumbprint_is_refused() {
    let (one, other) = (Key::eddsa(2).verifying(), Key::eddsa(3).verifying());
    let nameless = one.to_jwk("x").replacen("\"kid\":\"x\",", "", 1);
    let named = other.to_jwk(&one.thumbprint());
    for keys in [[&nameless, &named], [&named, &nameless]] {
        let set = format!("{{\"keys\":[{},{}]}}", keys[0], keys[1]);
        assert_eq!(
            JwkSet::parse(set.as_bytes()),
            Err(JwkSetError::DuplicateKeyId)
        );
    }
}

#[test]
fn a_name_of_a_key_has_one_to_256_bytes() {
    let parse = |kid: &str| Jwk::parse(Key::eddsa(2).verifying().to_jwk(kid).as_bytes());
    assert!(parse("k").is_ok());
    assert!(parse(&"k".repeat(256)).is_ok());
    assert_eq!(parse(&"k".repeat(257)), Err(JwkError::Malformed));
    assert_eq!(parse(""), Err(JwkError::Malformed));
}

/// A document with a header of `length` bytes and a body of `body` bytes, rightly signed.
fn document(key: &Key, length: usize, body: usize) -> Vec<u8> {
    let header =
        json!({"typ": "edgekeep-policy", "iss": ISSUER, "kid": key.id(), "seq": 1, "iat": 1});
    let mut header = header.to_string();
    header.push_str(&" ".repeat(length - header.len()));
    let mut document = b"EKC1".to_vec();
    document.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    document.extend_from_slice(header.as_bytes());
    document.resize(document.len() + body, b'x');
    let signature = key.sign(&document);
    document.extend_from_slice(&signature);
    document
}

fn open(key: &Key, document: &[u8]) -> Result<usize, ControlError> {
    let keys = ControlKeys::new(vec![Jwk::new(key.id(), key.verifying())]).unwrap();
    control::open(document, &keys, DocumentType::Policy, ISSUER).map(|opened| opened.body.len())
}

#[test]
fn a_control_document_may_be_as_long_as_its_limits() {
    let key = Key::eddsa(3);
    assert_eq!(open(&key, &document(&key, MAX_HEADER_BYTES, 7)), Ok(7));
    assert_eq!(
        open(&key, &document(&key, MAX_HEADER_BYTES + 1, 7)),
        Err(ControlError::Malformed)
    );
    // All of it may be header.
    assert_eq!(open(&key, &document(&key, 200, 0)), Ok(0));
    let rest = MAX_DOCUMENT_BYTES - 8 - 200 - 64;
    assert_eq!(open(&key, &document(&key, 200, rest)), Ok(rest));
    assert_eq!(
        open(&key, &document(&key, 200, rest + 1)),
        Err(ControlError::TooLarge)
    );
}

#[test]
fn a_control_header_ends_within_its_document() {
    let key = Key::eddsa(3);
    let whole = document(&key, 200, 0);
    let mut signed = whole[..whole.len() - 64].to_vec();
    signed[4..8].copy_from_slice(&201_u32.to_le_bytes());
    let signature = key.sign(&signed);
    signed.extend_from_slice(&signature);
    assert_eq!(open(&key, &signed), Err(ControlError::Malformed));
    let mut magic = whole[..whole.len() - 64].to_vec();
    magic[3] = b'2';
    let signature = key.sign(&magic);
    magic.extend_from_slice(&signature);
    assert_eq!(open(&key, &magic), Err(ControlError::Malformed));
}

/// Two letters that are none could cancel each other out where they are looked at together.
#[test]
fn letters_outside_the_alphabet_are_refused_however_many() {
    let good = b"AAAAAAAA";
    for length in [2, 3, 4, 6, 7, 8] {
        for bad in 1..1_u16 << length {
            let mut text = good[..length].to_vec();
            for (at, letter) in text.iter_mut().enumerate() {
                if bad >> at & 1 == 1 {
                    *letter = b'!';
                }
            }
            assert!(base64url::decode(&text).is_err(), "{length} {bad:b}");
        }
    }
    // Each single bit behind the last byte, in both lengths of a tail.
    for text in ["AB", "AC", "AE", "AI", "AAB", "AAC"] {
        assert!(base64url::decode(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!(base64url::decode(b"AQ"), Ok(vec![1]));
    assert_eq!(base64url::decode(b"AAE"), Ok(vec![0, 1]));
}

#[test]
fn numbers_are_integers_as_far_as_they_fit() {
    for (text, expected) in [
        ("9223372036854775807", Value::Integer(i64::MAX)),
        ("-9223372036854775808", Value::Integer(i64::MIN)),
        ("9223372036854775808", Value::OtherNumber),
        ("18446744073709551616", Value::OtherNumber),
        ("-9223372036854775809", Value::OtherNumber),
        ("1.0", Value::OtherNumber),
        ("1e2", Value::OtherNumber),
        ("true", Value::Bool(true)),
        ("false", Value::Bool(false)),
    ] {
        assert_eq!(json::parse(text.as_bytes()), Ok(expected), "{text}");
    }
}
