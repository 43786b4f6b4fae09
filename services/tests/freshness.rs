//! How often the issuer is asked, and for how long what it said counts.

use std::time::{Duration, Instant};

use edgekeep_shared::base64url;
use edgekeep_shared::time::UnixTime;
use edgekeep_tests::clock::eventually;
use edgekeep_tests::issuer::{Behaviour, Door, Revoked};
use edgekeep_tests::keys::{self, Key, claims};
use edgekeep_tower::Options;
use futures_util::future::join_all;
use serde_json::json;

use crate::scene::Scene;

impl Scene {
    /// The list says that it was signed now, by the clock of the scene.
    fn sign_now(&self) {
        self.issuer.published().signed_at = Some(UnixTime(self.clock.now() / 1_000));
    }
}

/// A token that names a key which nobody has.
fn stranger(number: usize) -> String {
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": format!("kid-{number}")});
    let payload = claims("x", &json!({})).to_string();
    [
        header.to_string().as_bytes(),
        payload.as_bytes(),
        &[1; 64][..],
    ]
    .map(base64url::encode)
    .join(".")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_unknown_keys_cost_one_fetch() {
    let scene = Scene::start().await;
    let good = scene.good();
    assert_eq!(scene.verdict(&good).await, "ok user-1");
    assert_eq!(scene.issuer.hits(Door::Jwks), 1);
    // Within the pause after the first fetch none is made, after it one.
    for expected in [1, 2] {
        let tokens: Vec<String> = (0..10_000).map(stranger).collect();
        for verdict in join_all(tokens.iter().map(|token| scene.verdict(token))).await {
            assert_eq!(verdict, "key_unknown");
        }
        assert_eq!(scene.verdict(&good).await, "ok user-1");
        assert_eq!(scene.issuer.hits(Door::Jwks), expected);
        scene.pass(5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_verifier_asks_once_for_everybody() {
    let scene = Scene::start().await;
    let late = Behaviour::Late(Duration::from_millis(200));
    for door in [Door::Jwks, Door::Feed] {
        scene.issuer.set(door, late.clone());
    }
    let tokens: Vec<String> = (0..100)
        .map(|number| scene.token(&json!({"jti": format!("t{number}")})))
        .collect();
    let begun = Instant::now();
    for verdict in join_all(tokens.iter().map(|token| scene.verdict(token))).await {
        assert_eq!(verdict, "ok user-1");
    }
    assert_eq!(scene.issuer.hits(Door::Jwks), 1);
    // While it is used the list is asked for every 2 s besides.
    let watched = usize::try_from(begun.elapsed().as_secs() / 2).unwrap();
    let asked = scene.issuer.hits(Door::Feed);
    assert!((1..=1 + watched).contains(&asked), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_the_issuers_keys() {
    let scene = Scene::start().await;
    scene.issuer.published().max_age = 60;
    let old = scene.good();
    assert_eq!(scene.verdict(&old).await, "ok user-1");
    let new_key = Key::eddsa(2);
    scene.issuer.published().jwks = keys::set(&[&new_key]);
    scene.pass(6);
    // The old one from memory, for as long as nobody has a reason to ask.
    assert_eq!(scene.verdict(&old).await, "ok user-1");
    let now = scene.clock.now() / 1_000;
    let times = json!({"iat": now, "nbf": now, "exp": now + 900});
    let new = new_key.issue(&claims(&scene.issuer.url(), &times));
    assert_eq!(scene.verdict(&new).await, "ok user-1");
    // A key that is gone serves nobody, verified before or not.
    assert_eq!(scene.verdict(&old).await, "key_unknown");
    assert_eq!(scene.issuer.hits(Door::Jwks), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_a_cache_has_kept_is_good_for_what_is_left() {
    let scene = Scene::start().await;
    scene.issuer.published().age = Some(299);
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    scene.pass(1);
    let asked = eventually(Duration::from_secs(10), || async {
        assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
        (scene.issuer.hits(Door::Jwks) > 1).then_some(())
    });
    assert!(asked.await.is_some());
}

/// What a cache gives again and again is as old as it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_a_cache_has_kept_for_a_day_does_not_count() {
    let scene = Scene::with(|issuer, _| {
        let options = Options::new(issuer.url(), "api").leeway(0);
        options.without_revocation()
    })
    .await;
    for (age, expected) in [
        (Some(86_399), "ok user-1"),
        (Some(86_400), "keys_unavailable"),
        (None, "ok user-1"),
    ] {
        scene.issuer.published().age = age;
        assert_eq!(scene.verdict(&scene.good()).await, expected, "{age:?}");
        scene.pass(1);
    }
}

/// The answer was under way while the list may have changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_as_old_as_the_question_for_it() {
    let scene = Scene::start().await;
    let late = Behaviour::Late(Duration::from_millis(500));
    scene.issuer.set(Door::Feed, late);
    let good = scene.good();
    let (verdict, ()) = tokio::join!(scene.verdict(&good), async {
        let asked = eventually(Duration::from_secs(10), || async {
            (scene.issuer.hits(Door::Feed) > 0).then_some(())
        });
        assert!(asked.await.is_some());
        // Less than an attempt has.
        scene.pass(1);
    });
    assert_eq!(verdict, "ok user-1");
    scene.issuer.set(Door::Feed, Behaviour::Honest);
    scene.issuer.revoke(Revoked::Token("token-1".to_owned()));
    // 5 s after the answer, and 6 after the question.
    scene.clock.set(scene.clock.now() + 5_000);
    assert_eq!(scene.verdict(&good).await, "token_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_cannot_be_refreshed_counts_for_a_day() {
    let scene = Scene::with(|issuer, _| {
        let options = Options::new(issuer.url(), "api").leeway(0);
        options.without_revocation()
    })
    .await;
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    assert_eq!(scene.issuer.hits(Door::Feed), 0, "by the caller's word");
    scene.issuer.set(Door::Jwks, Behaviour::Status(500));
    for (seconds, expected) in [(24 * 3_600 - 1, "ok user-1"), (1, "keys_unavailable")] {
        scene.pass(seconds);
        assert_eq!(scene.verdict(&scene.good()).await, expected, "{seconds}");
    }
    // What is malformed is said to be, keys or not.
    assert_eq!(scene.verdict("x").await, "token_malformed");
    scene.issuer.set(Door::Jwks, Behaviour::Honest);
    scene.pass(1);
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_list_counts_for_as_long_as_it_was_told_to() {
    for (max_stale, allow_for, age, expected) in [
        (60, 0, 60, "ok user-1"),
        (60, 0, 61, "revocation_unavailable"),
        (60, 60, 120, "ok user-1"),
        (60, 60, 121, "revocation_unavailable"),
        // From the future by as much as clocks differ, and by more.
        (60, 0, -60, "ok user-1"),
        (60, 60, -61, "revocation_unavailable"),
    ] {
        let scene =
            Scene::with(|_, options| options.max_stale(max_stale).allow_stale_for(allow_for)).await;
        let signed_at = UnixTime(scene.clock.now() / 1_000).minus(age);
        scene.issuer.published().signed_at = Some(signed_at);
        scene.issuer.revoke(Revoked::Token("revoked".to_owned()));
        let row = format!("{max_stale} {allow_for} {age}");
        assert_eq!(scene.verdict(&scene.good()).await, expected, "{row}");
        if age > 0 {
            // What an old list says is revoked stays revoked.
            let revoked = scene.token(&json!({"jti": "revoked"}));
            assert_eq!(scene.verdict(&revoked).await, "token_revoked", "{row}");
        }
    }
}

/// The issuer goes away: by default nobody passes once its last word is older than a token.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_issuer_its_last_word_counts_for_as_long_as_a_token_lives() {
    let mut scene = Scene::start().await;
    scene.sign_now();
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    scene.issuer.stop_origin().await;
    for (seconds, expected) in [
        (3, "ok user-1"),
        (897, "ok user-1"),
        (1, "revocation_unavailable"),
    ] {
        scene.pass(seconds);
        assert_eq!(scene.verdict(&scene.good()).await, expected, "{seconds}");
    }
    scene.issuer.resume().await;
    scene.sign_now();
    scene.pass(2);
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_what_was_verified_before_by_the_list_and_the_time_of_now() {
    let scene = Scene::start().await;
    scene.sign_now();
    let [session, other] = ["s1", "s2"].map(|sid| scene.token(&json!({"sid": sid})));
    for token in [&session, &other] {
        assert_eq!(scene.verdict(token).await, "ok user-1");
    }
    scene.issuer.revoke(Revoked::Session("s1".to_owned()));
    scene.pass(6);
    scene.sign_now();
    assert_eq!(scene.verdict(&session).await, "token_revoked");
    assert_eq!(scene.verdict(&other).await, "ok user-1");
    scene.pass(893);
    scene.sign_now();
    assert_eq!(scene.verdict(&other).await, "ok user-1");
    scene.pass(1);
    assert_eq!(scene.verdict(&other).await, "token_expired");
}
