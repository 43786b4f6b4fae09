//! Keys change under continuous traffic, and nobody notices.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use edgekeep_tests::clock::eventually;
use edgekeep_tests::house::House;
use edgekeep_tests::origin::Tokens;
use serde_json::{Value, json};

const SENDERS: usize = 4;
const ROTATIONS: usize = 3;

fn kid(token: &str) -> String {
    let header = token.split('.').next().unwrap();
    let header = edgekeep_shared::base64url::decode(header.as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Rotates as soon as it is allowed.
async fn rotate(house: &House) {
    let rotated = eventually(Duration::from_secs(30), || async {
        let output = house.origin.run(&["keys", "rotate"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            assert!(
                said.contains("may sign from"),
                "the refusal names the earliest time: {said}"
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        output.status.success().then_some(())
    });
    assert!(rotated.await.is_some(), "no rotation in 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_valid_token_is_refused_while_keys_rotate() {
    let house = Arc::new(House::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let (house, stop, sent) = (Arc::clone(&house), Arc::clone(&stop), Arc::clone(&sent));
        let email = format!("sender{sender}@example.com");
        let mut tokens = house
            .origin
            .register(&email, "correct horse battery staple")
            .await;
        senders.spawn(async move {
            let mut kids = BTreeSet::new();
            // Signed by a key that retires meanwhile, and good until it expires.
            let oldest = tokens.clone();
            while !stop.load(Ordering::Relaxed) {
                kids.insert(kid(&tokens.access));
                for token in [&tokens, &oldest] {
                    let answer = house.get("/api/me", &token.access).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                let refresh = json!({"refresh_token": tokens.refresh});
                tokens = Tokens::of(&house.origin.post("/refresh", &refresh).await);
            }
            kids
        });
    }
    for _ in 0..ROTATIONS {
        rotate(&house).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut kids = BTreeSet::new();
    while let Some(seen) = senders.join_next().await {
        kids.extend(seen.unwrap());
    }
    assert_eq!(
        kids.len(),
        ROTATIONS + 1,
        "the traffic has seen every key sign"
    );
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 100, "only {sent} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_survives_a_kill_and_the_standby_is_always_published() {
    let mut house = House::start().await;
    let before = house
        .origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    rotate(&house).await;
    house.origin.kill9();
    house.origin.start_server().await;
    let after = house
        .origin
        .login("ada@example.com", "correct horse battery staple")
        .await;
    assert_ne!(kid(&before.access), kid(&after.access));
    for tokens in [&before, &after] {
        assert_eq!(house.get("/api/me", &tokens.access).await.status, 200);
    }
    let set = house
        .origin
        .call("GET", "/.well-known/jwks.json")
        .send()
        .await
        .unwrap();
    assert_eq!(set.header("cache-control"), Some("public, max-age=2"));
    let keys = set.json()["keys"].as_array().unwrap().len();
    assert_eq!(keys, 3, "active, retiring and standby: {}", set.text());
    assert!(!set.text().contains("\"d\""), "a private key is published");
    let tag = set.header("etag").unwrap().to_owned();
    let call = house
        .origin
        .call("GET", "/.well-known/jwks.json")
        .header("If-None-Match", &tag);
    assert_eq!(call.send().await.unwrap().status, 304);
}
