//! What the judge says of tokens, and when it wants a source asked.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it must be"
)]

use edgekeep_npm::{
    answer::{Answer, Verdict},
    judge::{Judge, Waited},
};
use edgekeep_shared::{
    base64url,
    gate::{
        keys::Freshness,
        refresh::{Attempt, Millis},
    },
    jwk::{MAX_SET_BYTES, VerifyingKey},
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::json;

const NOW: Millis = 1_800_000_000_000;

/// An answer that says nothing of its age.
const FRESH: Freshness = Freshness {
    age: 0,
    good_for: None,
};

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32].into()).unwrap()
}

fn jwk(seed: u8) -> serde_json::Value {
    let key = VerifyingKey::Es256(*signing_key(seed).verifying_key());
    serde_json::from_str(&key.to_jwk(&format!("key-{seed}"))).unwrap()
}

fn set(seed: u8) -> String {
    json!({"keys": [jwk(seed)]}).to_string()
}

fn token(seed: u8, issuer: &str) -> String {
    let now = NOW / 1_000;
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": format!("key-{seed}")});
    let claims = json!({
        "iss": issuer, "sub": "user-1", "aud": "api", "client_id": "default",
        "iat": now - 1, "exp": now + 899, "jti": "token-1",
    });
    let part = |json: serde_json::Value| base64url::encode(json.to_string().as_bytes());
    let input = format!("{}.{}", part(header), part(claims));
    let signature: Signature = signing_key(seed).sign(input.as_bytes());
    format!("{input}.{}", base64url::encode(&signature.to_bytes()))
}

fn judge(issuers: &[&str]) -> Judge {
    let options = issuers.iter().map(|issuer| {
        json!({"issuer": format!("https://{issuer}.example"), "audience": "api",
               "revocation": "none"})
    });
    let options: serde_json::Value = options.collect();
    Judge::new(&options.to_string()).unwrap()
}

fn said(answer: &Answer) -> String {
    match &answer.verdict {
        Verdict::Accept { token } => token.claims().subject.clone(),
        Verdict::Reject { code, .. } => (*code).to_owned(),
        Verdict::Wait { wait } => format!("wait {wait}"),
    }
}

#[test]
fn waits_for_keys_once_and_then_says_what_it_knows() {
    let mut judge = judge(&["a"]);
    let token = token(1, "https://a.example");
    assert_eq!(said(&judge.judge(&token, Waited(0), NOW)), "wait 0");
    assert!(judge.begin(0, NOW).is_some());
    assert_eq!(judge.begin(0, NOW), None, "one attempt at a time");
    judge.give_up(0, Attempt(NOW), NOW);
    assert_eq!(
        said(&judge.judge(&token, Waited(1), NOW)),
        "keys_unavailable"
    );
    assert_eq!(judge.begin(0, NOW), None, "not at once again");
    let later = NOW + 1_000;
    assert!(judge.begin(0, later).is_some());
    judge
        .offer(0, Attempt(later), set(1).as_bytes(), FRESH, later)
        .unwrap();
    assert_eq!(said(&judge.judge(&token, Waited(1), later)), "user-1");
}

#[test]
fn has_the_issuer_judge_that_the_token_names_and_no_other() {
    let mut judge = judge(&["a", "b"]);
    for (source, seed) in [(0, 1), (2, 2)] {
        assert!(judge.begin(source, NOW).is_some());
        judge
            .offer(source, Attempt(NOW), set(seed).as_bytes(), FRESH, NOW)
            .unwrap();
    }
    let all = Waited(u32::MAX);
    for (seed, issuer, expected) in [
        (1, "https://a.example", "user-1"),
        (2, "https://b.example", "user-1"),
        (1, "https://b.example", "key_unknown"),
        (2, "https://a.example", "key_unknown"),
        (1, "https://c.example", "issuer_mismatch"),
        (2, "https://c.example", "key_unknown"),
    ] {
        let answer = judge.judge(&token(seed, issuer), all, NOW);
        assert_eq!(said(&answer), expected, "{seed} {issuer}");
    }
}

#[test]
fn asks_no_source_that_is_none() {
    let mut judge = judge(&["a"]);
    for source in [1, 2, 3, usize::MAX] {
        assert_eq!(judge.begin(source, NOW), None, "{source}");
    }
    judge.confirm(usize::MAX, Attempt(NOW), NOW);
    judge.give_up(7, Attempt(NOW), NOW);
    assert!(judge.offer(7, Attempt(NOW), b"", FRESH, NOW).is_ok());
    assert!(judge.offer(1, Attempt(NOW), b"", FRESH, NOW).is_err());
}

#[test]
fn keys_that_were_handed_over_never_grow_old() {
    let options = json!([{
        "issuer": "https://a.example", "audience": "api", "revocation": "none",
        "leeway": 0, "jwks": {"keys": [jwk(1)]},
    }]);
    let mut judge = Judge::new(&options.to_string()).unwrap();
    let stranger = token(2, "https://a.example");
    assert_eq!(said(&judge.judge(&stranger, Waited(0), NOW)), "key_unknown");
    let week = 7 * 24 * 3_600_000;
    let good = token(1, "https://a.example");
    for (now, expected) in [
        (NOW - week, "token_not_yet_valid"),
        (NOW, "user-1"),
        (NOW + week, "token_expired"),
    ] {
        let answer = judge.judge(&good, Waited(0), now);
        assert_eq!(said(&answer), expected, "{now}");
        assert!(answer.due.is_empty());
    }
    assert_eq!(judge.begin(0, NOW), None);
}

#[test]
fn a_set_that_is_over_is_asked_for_behind_the_answer() {
    let mut judge = judge(&["a"]);
    let token = token(1, "https://a.example");
    let earlier = NOW - 3_000;
    assert!(judge.begin(0, earlier).is_some());
    let two_seconds = Freshness::of("max-age=2", None);
    judge
        .offer(0, Attempt(earlier), set(1).as_bytes(), two_seconds, earlier)
        .unwrap();
    let answer = judge.judge(&token, Waited(0), NOW);
    assert_eq!((said(&answer).as_str(), answer.due), ("user-1", vec![0]));
    let too_large = vec![b' '; MAX_SET_BYTES + 1];
    for bad in [&b"{\"keys\":[]}"[..], b"", b"{}", &too_large] {
        assert!(judge.offer(0, Attempt(NOW), bad, FRESH, NOW).is_err());
        assert_eq!(said(&judge.judge(&token, Waited(0), NOW)), "user-1");
    }
    // One that a cache has kept since before then is none either.
    let kept = Freshness::of("max-age=2", Some("4"));
    let offered = judge.offer(0, Attempt(NOW), set(2).as_bytes(), kept, NOW);
    assert!(offered.is_err());
    assert_eq!(said(&judge.judge(&token, Waited(0), NOW)), "user-1");
    let offered = judge.offer(0, Attempt(NOW), set(2).as_bytes(), FRESH, NOW);
    assert!(offered.is_ok());
    let answer = judge.judge(&token, Waited(1), NOW);
    assert_eq!(
        said(&answer),
        "key_unknown",
        "nor does the cache remember it"
    );
}

#[test]
fn reads_a_header_as_the_gate_does() {
    let mut judge = judge(&["a"]);
    judge
        .offer(0, Attempt(NOW), set(1).as_bytes(), FRESH, NOW)
        .unwrap();
    let token = token(1, "https://a.example");
    for (header, expected) in [
        (format!("Bearer {token}"), "user-1"),
        (format!("bearer  {token}"), "user-1"),
        (token.clone(), "token_missing"),
        (format!("Basic {token}"), "token_missing"),
        (String::new(), "token_missing"),
        ("Bearer".to_owned(), "token_malformed"),
        (format!("Bearer {token}, Bearer {token}"), "token_malformed"),
        (format!("Bearer {token} x"), "token_malformed"),
    ] {
        let answer = judge.judge_header(&header, Waited(u32::MAX), NOW);
        assert_eq!(said(&answer), expected, "{header}");
    }
}
