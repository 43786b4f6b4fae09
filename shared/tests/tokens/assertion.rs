//! The helper by which an upstream verifies the gate's word.

use edgekeep_shared::{
    assertion::{ASSERTION_ISSUER, ASSERTION_LIFETIME, ASSERTION_TYPE, AssertionVerifier},
    error::Rejection::{self, *},
    jwk::{Jwk, JwkSet},
    time::UnixTime,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{self, Key, NOW, set};

const UPSTREAM: &str = "https://upstream.example/v1";

fn key() -> Key {
    Key::eddsa(4)
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": ASSERTION_TYPE, "kid": key().id()})
}

fn payload() -> Value {
    json!({
        "iss": ASSERTION_ISSUER, "aud": UPSTREAM, "sub": "user-1", "sid": "session-1",
        "htm": "PUT", "htu": format!("{UPSTREAM}/api/me"),
        "iat": NOW.0, "exp": NOW.0 + ASSERTION_LIFETIME,
    })
}

fn with(name: &str, value: Value) -> String {
    let mut payload = payload();
    if value == json!("absent") {
        payload.as_object_mut().unwrap().remove(name);
    } else {
        payload[name] = value;
    }
    key().token(&header().to_string(), &payload.to_string())
}

fn with_header(name: &str, value: Value) -> String {
    let mut header = header();
    header[name] = value;
    key().token(&header.to_string(), &payload().to_string())
}

fn verifier() -> AssertionVerifier {
    AssertionVerifier::new(UPSTREAM).with_leeway(0)
}

fn verdict(assertion: &str) -> Result<String, Rejection> {
    verifier()
        .verify(
            assertion.as_bytes(),
            &set(&[&key()]),
            "PUT",
            "/v1/api/me",
            NOW,
        )
        .map(|asserted| asserted.subject().to_owned())
}

#[test]
fn says_who_asks() {
    let keys = set(&[&key()]);
    let verify = |assertion: &str| {
        verifier()
            .verify(assertion.as_bytes(), &keys, "PUT", "/v1/api/me", NOW)
            .unwrap()
    };
    let asserted = verify(&key().token(&header().to_string(), &payload().to_string()));
    assert_eq!(asserted.subject(), "user-1");
    assert_eq!(asserted.session_id(), Some("session-1"));
    assert_eq!(asserted.issuer(), None);
    assert_eq!(asserted.expires_at(), NOW.plus(ASSERTION_LIFETIME));
    let id = json!({"format": "iss_sub", "iss": "https://id.example", "sub": "user-1"});
    let asserted = verify(&with("sub_id", id));
    assert_eq!(asserted.issuer(), Some("https://id.example"));
    assert_eq!(verify(&with("sid", json!("absent"))).session_id(), None);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of what must not pass")]
fn rejects_what_the_gate_has_not_said() {
    let absent = || json!("absent");
    let id =
        |format: &str, iss: Value, sub: &str| json!({"format": format, "iss": iss, "sub": sub});
    for (name, value, expected) in [
        ("iss", absent(), ClaimMissing),
        ("iss", json!("https://id.example"), IssuerMismatch),
        ("iss", json!("edgekeep-gate "), IssuerMismatch),
        ("iss", json!([ASSERTION_ISSUER]), ClaimInvalid),
        ("aud", absent(), ClaimMissing),
        ("aud", json!([UPSTREAM]), ClaimInvalid),
        ("aud", json!("https://upstream.example"), AudienceMismatch),
        (
            "aud",
            json!("https://upstream.example/v1/"),
            AudienceMismatch,
        ),
        (
            "aud",
            json!("https://upstream.example/v11"),
            AudienceMismatch,
        ),
        ("aud", json!(null), ClaimInvalid),
        ("sub", absent(), ClaimMissing),
        ("sub", json!(""), ClaimInvalid),
        ("sub", json!(null), ClaimInvalid),
        ("sub", json!(7), ClaimInvalid),
        ("sub", json!(["user-1"]), ClaimInvalid),
        ("sid", json!(null), ClaimInvalid),
        ("sid", json!(""), ClaimInvalid),
        ("sid", json!(7), ClaimInvalid),
        ("sub_id", json!("user-1"), ClaimInvalid),
        ("sub_id", json!(null), ClaimInvalid),
        ("sub_id", json!({}), ClaimMissing),
        ("sub_id", id("opaque", json!("i"), "user-1"), ClaimInvalid),
        ("sub_id", id("iss_sub", json!("i"), "user-2"), ClaimInvalid),
        ("sub_id", id("iss_sub", json!(""), "user-1"), ClaimInvalid),
        ("sub_id", id("iss_sub", json!(7), "user-1"), ClaimInvalid),
        ("htm", absent(), ClaimMissing),
        ("htm", json!("GET"), ClaimInvalid),
        ("htm", json!("put"), ClaimInvalid),
        ("htm", json!(["PUT"]), ClaimInvalid),
        ("htu", absent(), ClaimMissing),
        ("htu", json!("/api/me"), ClaimInvalid),
        ("htu", json!(format!("{UPSTREAM}/api/me/")), ClaimInvalid),
        ("htu", json!(format!("{UPSTREAM}/api/me?x=1")), ClaimInvalid),
        ("htu", json!(format!("{UPSTREAM}/api/ME")), ClaimInvalid),
        ("htu", json!(format!("{UPSTREAM}/api/%6De")), ClaimInvalid),
        ("htu", json!("https://evil.example/v1/api/me"), ClaimInvalid),
        ("htu", json!(null), ClaimInvalid),
        ("iat", absent(), ClaimMissing),
        ("iat", json!(NOW.0 - 1), ClaimInvalid),
        ("iat", json!(NOW.0 + 1), TokenNotYetValid),
        ("iat", json!(NOW.0 + ASSERTION_LIFETIME), ClaimInvalid),
        ("iat", json!(-1), ClaimInvalid),
        ("iat", json!("1800000000"), ClaimInvalid),
        ("iat", json!(1.5), ClaimInvalid),
        ("exp", absent(), ClaimMissing),
        ("exp", json!(NOW.0), ClaimInvalid),
        ("exp", json!(NOW.0 + ASSERTION_LIFETIME + 1), ClaimInvalid),
        ("exp", json!(NOW.0 - 1), ClaimInvalid),
        ("exp", json!(u64::MAX), ClaimInvalid),
        ("exp", json!(null), ClaimInvalid),
    ] {
        let assertion = with(name, value.clone());
        assert_eq!(verdict(&assertion), Err(expected), "{name} = {value}");
    }
    for (name, value, expected) in [
        ("typ", json!("at+jwt"), WrongType),
        ("typ", json!("JWT"), WrongType),
        ("typ", json!(null), TokenMalformed),
        ("alg", json!("none"), AlgorithmNotAllowed),
        ("alg", json!("HS256"), AlgorithmNotAllowed),
        ("alg", json!("ES256"), AlgorithmNotAllowed),
        ("kid", json!("unknown"), KeyUnknown),
        ("kid", json!(["a"]), TokenMalformed),
        ("crit", json!(["exp"]), CriticalHeader),
        ("b64", json!(false), CriticalHeader),
    ] {
        let assertion = with_header(name, value.clone());
        assert_eq!(verdict(&assertion), Err(expected), "{name}: {value}");
    }
    // A key that comes with the assertion is nobody's.
    let stranger = Key::eddsa(5);
    let mut header_with_key = header();
    header_with_key["jwk"] =
        serde_json::from_str(&stranger.verifying().to_jwk(&stranger.id())).unwrap();
    let brought = stranger.token(&header_with_key.to_string(), &payload().to_string());
    assert_eq!(verdict(&brought), Err(SignatureInvalid));
    let good = key().token(&header().to_string(), &payload().to_string());
    let stranger = Key::eddsa(5).token(&header().to_string(), &payload().to_string());
    let access_token = key().issue(&support::claims());
    for (assertion, expected) in [
        (stranger, SignatureInvalid),
        (access_token, WrongType),
        (String::new(), TokenMalformed),
        ("a.b".to_owned(), TokenMalformed),
        (format!("{good}.x"), TokenMalformed),
        (format!("{good}="), TokenMalformed),
        (format!(" {good}"), TokenMalformed),
        (format!("{good},{good}"), TokenMalformed),
        ("a".repeat(9_000), TokenTooLarge),
        (key().token(&header().to_string(), "[]"), TokenMalformed),
        (
            key().token(&header().to_string(), r#"{"sub":"a","sub":"b"}"#),
            TokenMalformed,
        ),
        (good[..good.len() - 1].to_owned(), TokenMalformed),
    ] {
        assert_eq!(verdict(&assertion), Err(expected), "{assertion}");
    }
    // A key of another algorithm under the same name.
    let other = Key::es256(1);
    let keys = JwkSet::new(vec![Jwk::new(key().id(), other.verifying())]).unwrap();
    for algorithm in ["ES256", "EdDSA"] {
        let mut header = header();
        header["alg"] = json!(algorithm);
        let assertion = other.token(&header.to_string(), &payload().to_string());
        let verdict = verifier().verify(assertion.as_bytes(), &keys, "PUT", "/v1/api/me", NOW);
        assert_eq!(verdict, Err(AlgorithmNotAllowed), "{algorithm}");
    }
    // And no verifier of access tokens takes it.
    let as_token = support::verifier().verify(good.as_bytes(), &set(&[&key()]), NOW);
    assert_eq!(as_token, Err(WrongType));
}

#[test]
fn is_good_for_one_request_and_half_a_minute() {
    let assertion = key().token(&header().to_string(), &payload().to_string());
    let keys = set(&[&key()]);
    let verdict = |leeway: u32, method: &str, path: &str, seconds: i64| {
        let verifier = AssertionVerifier::new(UPSTREAM).with_leeway(leeway);
        let at = UnixTime(NOW.0 + seconds);
        verifier
            .verify(assertion.as_bytes(), &keys, method, path, at)
            .map(drop)
    };
    for (leeway, seconds, expected) in [
        (0, -1, Err(TokenNotYetValid)),
        (0, 0, Ok(())),
        (0, 29, Ok(())),
        (0, 30, Err(TokenExpired)),
        (5, -6, Err(TokenNotYetValid)),
        (5, -5, Ok(())),
        (5, 34, Ok(())),
        (5, 35, Err(TokenExpired)),
        // More is not to be had.
        (u32::MAX, 59, Ok(())),
        (u32::MAX, 60, Err(TokenExpired)),
    ] {
        let verdict = verdict(leeway, "PUT", "/v1/api/me", seconds);
        assert_eq!(verdict, expected, "{leeway} {seconds}");
    }
    for (method, path) in [
        ("GET", "/v1/api/me"),
        ("put", "/v1/api/me"),
        ("", "/v1/api/me"),
        ("PUT", "/v1/api/me/"),
        ("PUT", "/v1/api/me?x=1"),
        ("PUT", "/v1/api"),
        ("PUT", "/v1/v1/api/me"),
        ("PUT", "/api/me"),
        ("PUT", ""),
    ] {
        let verdict = verdict(0, method, path, 0);
        assert_eq!(verdict, Err(ClaimInvalid), "{method} {path}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_or_pass(bytes: Vec<u8>) {
        let verdict = verifier().verify(&bytes, &set(&[&key()]), "PUT", "/v1/api/me", NOW);
        prop_assert!(verdict.is_err());
    }

    #[test]
    fn no_payload_under_a_good_signature_panics(payload: String, now: i64) {
        let assertion = key().token(&header().to_string(), &payload);
        let keys = set(&[&key()]);
        let verdict =
            verifier().verify(assertion.as_bytes(), &keys, "PUT", "/v1/api/me", UnixTime(now));
        prop_assert!(verdict.is_err());
    }

    #[test]
    fn any_changed_character_is_noticed(at: prop::sample::Index, to in "[A-Za-z0-9_.-]") {
        let good = key().token(&header().to_string(), &payload().to_string());
        let at = at.index(good.len());
        let mut changed = good.clone();
        changed.replace_range(at..=at, &to);
        prop_assert_eq!(verdict(&changed).is_ok(), changed == good);
    }
}
