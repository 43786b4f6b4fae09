//! Keys change under continuous traffic, and nobody notices.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use edgekeep_tests::clock::eventually;
use edgekeep_tests::edge::{Edge, Variables};
use edgekeep_tests::house::{House, REVOCATION_LIMIT};
use edgekeep_tests::origin::{Origin, Tokens};
use serde_json::{Value, json};

const SENDERS: usize = 4;
const ROTATIONS: usize = 3;

fn header(token: &str, name: &str) -> String {
    let header = token.split('.').next().unwrap();
    let header = edgekeep_shared::base64url::decode(header.as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header[name].as_str().unwrap().to_owned()
}

pub(crate) fn kid(token: &str) -> String {
    header(token, "kid")
}

fn alg(token: &str) -> String {
    header(token, "alg")
}

/// Rotates as soon as it is allowed.
pub(crate) async fn rotate(origin: &Origin) {
    let rotated = eventually(Duration::from_secs(30), || async {
        let output = origin.run(&["keys", "rotate"]);
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
    // A few sessions that refresh without pause stand for very many.
    let settings = [("EDGEKEEP_LIMITS__REFRESH_PER_SESSION_PER_MINUTE", "1000000")];
    let house = Arc::new(House::with(&settings, |_| {}).await);
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
        rotate(&house.origin).await;
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
async fn an_issuer_that_signs_with_rsa_is_followed_by_a_gate_that_takes_nothing_else() {
    let settings = [("EDGEKEEP_TOKENS__ALGORITHM", "RS256")];
    let only_rsa = |variables: &mut Variables| {
        variables.insert("ALGORITHMS", "RS256".to_owned());
    };
    let house = House::with(&settings, only_rsa).await;
    let list = house.origin.must_run(&["keys", "list"]);
    assert_eq!(list.matches("  RS256  ").count(), 2, "{list}");
    let (email, password) = ("ada@example.com", "correct horse battery staple");
    let before = house.origin.register(email, password).await;
    assert_eq!(alg(&before.access), "RS256");
    // 3,072 bits are 384 bytes, 512 characters.
    assert_eq!(before.access.rsplit('.').next().map(str::len), Some(512));
    rotate(&house.origin).await;
    // The server follows the command within a second.
    let followed = eventually(Duration::from_secs(10), || async {
        let tokens = house.origin.login(email, password).await;
        if kid(&tokens.access) != kid(&before.access) {
            return Some(tokens);
        }
        // The cap of sessions would otherwise end the first one.
        let origin = &house.origin;
        origin.post_as(&tokens.access, "/logout", &json!({})).await;
        None
    });
    let (after, _) = followed.await.expect("the old key still signs");
    for tokens in [&before, &after] {
        let answer = house.get("/api/me", &tokens.access).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for (algorithms, status) in [("ES256,EdDSA", 401), ("ES256,RS256", 200)] {
        let mut variables = house.edge_variables();
        variables.insert("ALGORITHMS", algorithms.to_owned());
        let edge = Edge::start(&variables, house.origin.kv());
        let call = edge.call("GET", "/api/me");
        let answer = call.bearer(&after.access).send().await.unwrap();
        assert_eq!(answer.status, status, "{algorithms}: {}", answer.text());
    }
    let origin = &house.origin;
    origin.post_as(&after.access, "/logout", &json!({})).await;
    house.refused(&after.access).await;
    assert_eq!(house.get("/api/me", &before.access).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_survives_a_kill_and_the_standby_is_always_published() {
    let mut house = House::start().await;
    let before = house
        .origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    rotate(&house.origin).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn gates_that_pin_both_follow_from_one_control_key_to_the_next() {
    let house = House::with(&[], |_| {}).await;
    let old = house.origin.must_run(&["keys", "control"]);
    let both = house.origin.must_run(&["keys", "control", "prepare"]);
    let pinned: Vec<Value> = serde_json::from_str(&both).unwrap();
    assert_eq!(pinned.len(), 2);
    assert!(both.starts_with(old.trim().trim_end_matches(']')), "{both}");
    let kid = pinned[1]["kid"].as_str().unwrap();

    // A second gate, deployed with both; the first goes on with the old one.
    let mut variables = house.edge_variables();
    variables.insert("CONTROL_KEYS", both.clone());
    let edge = Edge::start(&variables, house.origin.kv());
    let tokens = house
        .origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let through = |edge: &Edge, token: &str| edge.call("GET", "/api/me").bearer(token).send();
    assert_eq!(through(&edge, &tokens.access).await.unwrap().status, 200);
    assert_eq!(house.get("/api/me", &tokens.access).await.status, 200);

    let early = house.origin.run(&["keys", "control", "activate", kid]);
    let complained = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(
        !early.status.success() && complained.contains("--now"),
        "{complained}"
    );
    let said = house
        .origin
        .must_run(&["keys", "control", "activate", "--now", kid]);
    assert!(said.contains(kid), "{said}");
    house
        .origin
        .post_as(&tokens.access, "/logout", &json!({}))
        .await;
    // What is said with the new key reaches the gate that pins it,
    let refused = eventually(REVOCATION_LIMIT, || async {
        let answer = through(&edge, &tokens.access).await.unwrap();
        (answer.code() == "token_revoked").then_some(())
    });
    assert!(refused.await.is_some(), "the gate does not follow");
    // and not the one that does not: it holds what it knew, until that is too old.
    let answer = house.get("/api/me", &tokens.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let left = house.origin.must_run(&["keys", "control"]);
    let left: Vec<Value> = serde_json::from_str(&left).unwrap();
    assert_eq!(left, pinned[1..]);
    let again = house.origin.run(&["keys", "control", "activate", kid]);
    assert!(!again.status.success());
    let complained = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(complained.contains("prepare"), "{complained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_nothing_from_before_passes_the_gate() {
    let mut house = House::start().await;
    let (email, password) = ("ada@example.com", "correct horse battery staple");
    let tokens = house.origin.register(email, password).await;
    assert_eq!(house.get("/api/me", &tokens.access).await.status, 200);
    house.origin.kill9();
    let said = house.origin.must_run(&["restored"]);
    assert!(
        said.contains("1 sessions ended and 2 keys revoked"),
        "{said}"
    );
    house.origin.start_server().await;
    house
        .refused_as(&tokens.access, &["token_revoked", "key_unknown"])
        .await;
    let refresh = json!({"refresh_token": tokens.refresh});
    let refresh = house.origin.post("/refresh", &refresh).await;
    assert_eq!(refresh.verdict(), (401, "session_ended".to_owned()));
    let anew = house.origin.login(email, password).await;
    assert_eq!(house.get("/api/me", &anew.access).await.status, 200);
}
