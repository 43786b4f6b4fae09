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
    let key = Key::eddsa(2);
    let keys = JwkSet::new(vec![Jwk::new(kid, key.verifying())]).unwrap();
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
    let text = key.token(&header.to_string(), &claims.to_string());
    let token = verifier().verify(text.as_bytes(), &keys, NOW).unwrap();
    let mut cache = VerifiedTokens::new(2);
    cache.insert(TokenHash::of(text.as_bytes()), Arc::new(token));
    cache.memory()
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
