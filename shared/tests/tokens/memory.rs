//! What the cache of verified tokens counts for each.

use std::sync::Arc;

use crate::support::{AUDIENCE, Key, NOW, claims, claims_with, verifier};
use edgekeep_shared::{
    gate::cache::{TokenHash, VerifiedTokens},
    jwk::{Jwk, JwkSet},
    verifier::VerifiedToken,
};
use serde_json::{Value, json};

const KID: &str = "k";

/// Bytes that are counted for a token with these claims under a key of this identifier.
fn counted(claims: &Value, kid: &str) -> usize {
    let (hash, token) = verified(claims, kid);
    let mut cache = VerifiedTokens::new(2);
    cache.insert(hash, token);
    cache.memory()
}

fn verified(claims: &Value, kid: &str) -> (TokenHash, Arc<VerifiedToken>) {
    let key = Key::eddsa(2);
    let keys = JwkSet::new(vec![Jwk::new(kid, key.verifying())]).unwrap();
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
    let text = key.token(&header.to_string(), &claims.to_string());
    let token = verifier().verify(text.as_bytes(), &keys, NOW).unwrap();
    (TokenHash::of(text.as_bytes()), Arc::new(token))
}

/// The token of this number, for which so many bytes are counted.
fn of_bytes(number: usize, bytes: usize) -> (TokenHash, Arc<VerifiedToken>) {
    let with = |padding: usize| {
        let mut claims = claims_with("device_id", Some(json!("d".repeat(padding))));
        claims["jti"] = json!(format!("token-{number}"));
        claims
    };
    let least = counted(&with(1), KID);
    let claims = with(1 + bytes - least);
    assert_eq!(counted(&claims, KID), bytes);
    verified(&claims, KID)
}

#[test]
fn a_token_takes_its_struct_and_every_text() {
    let texts = json!(["user-1", AUDIENCE, "default", "token-1", "admin", "a", "b"]);
    let texts: usize = texts
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().len())
        .sum();
    let all = counted(&claims(), KID);
    let least = size_of::<VerifiedToken>() + texts;
    assert!((least..3 * least).contains(&all), "{least} {all}");
}

#[test]
fn a_longer_text_takes_so_much_more() {
    let usual = counted(&claims(), KID);
    for name in [
        "sub",
        "client_id",
        "jti",
        "sid",
        "acr",
        "kyc_status",
        "device_id",
        "customer_id",
    ] {
        let long = "a".repeat(1_000);
        let more = counted(&claims_with(name, Some(json!(long))), KID) - usual;
        assert!((970..=1_000).contains(&more), "{name}: {more}");
        if !["sub", "client_id", "jti"].contains(&name) {
            assert!(counted(&claims_with(name, None), KID) < usual, "{name}");
        }
    }
    let more = counted(&claims(), &"k".repeat(200)) - usual;
    assert_eq!(more, 199);
}

#[test]
fn a_list_takes_an_entry_and_an_allocation_for_each_of_its_texts() {
    let usual = counted(&claims(), KID);
    // On this machine a `String` is three words, its text of one letter in an allocation of its own.
    let each = size_of::<String>() + 1 + 24;
    let many = vec!["a"; 500];
    for (name, value) in [
        ("aud", json!([vec![AUDIENCE], many.clone()].concat())),
        ("scope", json!(many.join(" "))),
        ("roles", json!(many)),
        ("permissions", json!(many)),
        ("amr", json!(many)),
    ] {
        let more = counted(&claims_with(name, Some(value)), KID) - usual;
        // A vector that grew has room for up to as many again.
        let room = 500 * size_of::<String>();
        let least = 490 * each;
        assert!(
            (least..=500 * each + room).contains(&more),
            "{name}: {more}"
        );
    }
}

#[test]
fn a_generation_is_full_where_one_more_would_be_too_much() {
    let mut cache = VerifiedTokens::new(2);
    // 2 KiB for each of the two: exactly as much as there is.
    for (number, bytes) in [1_500, 4_096 - 1_500, 1_500, 1_500].into_iter().enumerate() {
        let (hash, token) = of_bytes(number, bytes);
        cache.insert(hash, token);
    }
    assert_eq!(cache.len(), 4);
}

#[test]
fn what_is_kept_twice_counts_once() {
    let [a, b] = [0, 1].map(|number| of_bytes(number, 1_500));
    let mut cache = VerifiedTokens::new(4);
    for (hash, token) in [&a, &b] {
        cache.insert(*hash, Arc::clone(token));
    }
    for _ in 0..20 {
        cache.insert(a.0, Arc::clone(&a.1));
    }
    assert_eq!((cache.len(), cache.memory()), (2, 3_000));
    assert!(cache.find(&b.0).is_some());

    let mut cache = VerifiedTokens::new(4);
    for number in [0, 0, 1, 2, 3, 3, 4, 5] {
        let (hash, token) = of_bytes(number, 3_000);
        cache.insert(hash, token);
        assert!(cache.memory() <= 2 * 4 * 2_048, "{number}");
    }
}

#[test]
fn texts_of_tokens_stand_apart() {
    let key = Key::eddsa(2);
    let keys = JwkSet::new(vec![Jwk::new(key.id(), key.verifying())]).unwrap();
    let mut cache = VerifiedTokens::new(1_024);
    assert!(cache.is_empty());
    let texts: Vec<String> = (0..200)
        .map(|number| key.issue(&claims_with("jti", Some(json!(format!("token-{number}"))))))
        .collect();
    for text in &texts {
        let token = Arc::new(verifier().verify(text.as_bytes(), &keys, NOW).unwrap());
        cache.insert(TokenHash::of(text.as_bytes()), Arc::clone(&token));
        cache.remember(text.as_bytes(), &token);
    }
    assert!(!cache.is_empty());
    // Of 200 in 1,024 places some 18 take another's.
    let found = texts
        .iter()
        .filter(|text| cache.recall(text.as_bytes()).is_some());
    let found = found.count();
    assert!((165..200).contains(&found), "{found}");
}
