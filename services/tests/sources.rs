//! Where sources are late, wrong or gone: a good document stays until a better one comes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgekeep_shared::time::UnixTime;
use edgekeep_tests::clock::eventually;
use edgekeep_tests::faults::{of_deltas, of_lists, of_sets};
use edgekeep_tests::issuer::{Behaviour, Door, Revoked};
use edgekeep_tests::keys;
use edgekeep_tests::server::{Reply, Server};
use edgekeep_tower::Options;
use serde_json::json;

use crate::scene::Scene;

/// How long a task behind a request may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

impl Scene {
    /// Has a door behave so until it has been knocked at and answered once more.
    async fn meets(&self, door: Door, behaviour: Behaviour, what: &str) {
        let hits = self.issuer.hits(door);
        self.issuer.set(door, behaviour);
        let knocked = eventually(PATIENCE, || async {
            // What is held is due, and past every pause.
            self.pass(6);
            self.verdict(&self.good()).await;
            (self.issuer.hits(door) > hits).then_some(())
        });
        assert!(knocked.await.is_some(), "{what}: asked");
        // What was answered is taken, or not, before the next attempt can begin.
        self.pass(6);
        self.verdict(&self.good()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_set_never_replaces_a_good_one() {
    let scene = Scene::with(|issuer, _| {
        issuer.published().max_age = 1;
        let options = Options::new(issuer.url(), "api").leeway(0);
        options.without_revocation()
    })
    .await;
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    let mut faults = of_sets(&scene.key);
    faults.push(("nothing in time", Behaviour::Silent));
    for (what, behaviour) in faults {
        scene.meets(Door::Jwks, behaviour, what).await;
        assert_eq!(scene.verdict(&scene.good()).await, "ok user-1", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_list_never_replaces_a_good_one() {
    let scene = Scene::with(|_, options| options.max_stale(86_400)).await;
    let now = UnixTime(scene.clock.now() / 1_000);
    let old = scene.issuer.published().list();
    scene.issuer.revoke(Revoked::Token("revoked".to_owned()));
    let revoked = || scene.token(&json!({"jti": "revoked"}));
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    assert_eq!(scene.verdict(&revoked()).await, "token_revoked");
    let mut faults = of_lists(&scene.issuer, &scene.key, old, now);
    faults.push(("nothing in time", Behaviour::Silent));
    for (what, behaviour) in faults {
        scene.meets(Door::Feed, behaviour, what).await;
        assert_eq!(scene.verdict(&scene.good()).await, "ok user-1", "{what}");
        assert_eq!(scene.verdict(&revoked()).await, "token_revoked", "{what}");
    }
    // What comes afterwards counts.
    scene.issuer.revoke(Revoked::Token("token-1".to_owned()));
    scene
        .meets(Door::Feed, Behaviour::Honest, "a good one")
        .await;
    assert_eq!(scene.verdict(&scene.good()).await, "token_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_counts_without_a_list() {
    let scene = Scene::start().await;
    for behaviour in [
        Behaviour::Status(404),
        Behaviour::Silent,
        Behaviour::Bytes(Vec::new()),
    ] {
        scene.issuer.set(Door::Feed, behaviour.clone());
        scene.pass(6);
        let verdict = scene.verdict(&scene.good()).await;
        assert_eq!(verdict, "revocation_unavailable", "{behaviour:?}");
    }
    scene.issuer.set(Door::Feed, Behaviour::Honest);
    scene.pass(6);
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_no_redirect() {
    let scene = Scene::start().await;
    let elsewhere = format!("{}/.well-known/jwks.json", scene.issuer.url());
    let redirecting =
        Server::start(move |_| Reply::new(302, "").header("Location", &elsewhere)).await;
    let other = Scene::with(|_, options| options.jwks_url(redirecting.url())).await;
    assert_eq!(other.verdict(&other.good()).await, "keys_unavailable");
    assert_eq!(redirecting.seen().len(), 1);
    assert_eq!(scene.issuer.hits(Door::Jwks), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_has_not_changed_is_not_sent_again() {
    // The list and its tag; what has been sent with the tag is not sent again.
    let current = Arc::new(Mutex::new((Vec::new(), "\"one\"")));
    let served = Arc::clone(&current);
    let feed = Server::start(move |request| {
        let (list, tag) = served.lock().unwrap().clone();
        match request.header("if-none-match") {
            Some(known) if known == tag => Reply::new(304, ""),
            _ => Reply::new(200, list).header("ETag", tag),
        }
    })
    .await;
    let scene = Scene::with(|_, options| options.revocations_url(feed.url())).await;
    current.lock().unwrap().0 = scene.issuer.published().list();
    for _ in 0..3 {
        assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
        scene.pass(6);
    }
    let tags: Vec<Option<String>> = feed
        .take()
        .iter()
        .map(|request| request.header("if-none-match").map(str::to_owned))
        .collect();
    assert!(tags.len() >= 3, "{tags:?}");
    assert_eq!(tags[0], None);
    assert_eq!(tags[1..], vec![Some("\"one\"".to_owned()); tags.len() - 1]);
    // A list that is not taken leaves no tag behind, by which it would be confirmed afterwards.
    let good = current.lock().unwrap().0.clone();
    *current.lock().unwrap() = (b"nonsense".to_vec(), "\"two\"");
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    feed.take();
    scene.pass(6);
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    let asked_with = feed.take()[0].header("if-none-match").map(str::to_owned);
    assert_ne!(asked_with.as_deref(), Some("\"two\""));
    scene.issuer.revoke(Revoked::Token("token-1".to_owned()));
    *current.lock().unwrap() = (scene.issuer.published().list(), "\"three\"");
    scene.pass(6);
    assert_eq!(scene.verdict(&scene.good()).await, "token_revoked");
    // And the one before does not come back.
    *current.lock().unwrap() = (good, "\"one\"");
    scene.pass(6);
    assert_eq!(scene.verdict(&scene.good()).await, "token_revoked");
}

/// Has a list looked at again, and waits until it was.
async fn look(scene: &Scene) {
    let knocks = || scene.issuer.hits(Door::Feed) + scene.issuer.hits(Door::FeedDelta);
    let before = knocks();
    let looked = eventually(PATIENCE, || async {
        scene.pass(6);
        scene.verdict(&scene.good()).await;
        (knocks() > before).then_some(())
    });
    assert!(looked.await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_list_fetches_what_changed() {
    let scene = Scene::with(|issuer, options| {
        issuer.published().deltas = true;
        options
    })
    .await;
    for session in ["a", "b", "c"] {
        let token = scene.token(&json!({"sid": session}));
        assert_eq!(scene.verdict(&token).await, "ok user-1");
        scene.issuer.revoke(Revoked::Session(session.to_owned()));
        scene.pass(6);
        assert_eq!(scene.verdict(&token).await, "token_revoked", "{session}");
    }
    assert_eq!(scene.issuer.hits(Door::Feed), 1, "the list is fetched once");
    assert!(scene.issuer.hits(Door::FeedDelta) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_delta_leads_nowhere_the_list_is_fetched() {
    let scene = Scene::with(|issuer, options| {
        issuer.published().deltas = true;
        options
    })
    .await;
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    for (what, behaviour) in of_deltas(&scene.issuer) {
        scene.issuer.set(Door::FeedDelta, behaviour);
        let lists = scene.issuer.hits(Door::Feed);
        let token = scene.token(&json!({"sid": what}));
        assert_eq!(scene.verdict(&token).await, "ok user-1", "{what}");
        scene.issuer.revoke(Revoked::Session(what.to_owned()));
        look(&scene).await;
        scene.pass(6);
        assert_eq!(scene.verdict(&token).await, "token_revoked", "{what}");
        assert!(scene.issuer.hits(Door::Feed) > lists, "{what}");
    }
    // A source that fails is not asked twice at once, and takes nothing away.
    scene.issuer.set(Door::FeedDelta, Behaviour::Status(500));
    // What is under way may still ask for the list.
    look(&scene).await;
    look(&scene).await;
    let lists = scene.issuer.hits(Door::Feed);
    look(&scene).await;
    assert_eq!(scene.verdict(&scene.good()).await, "ok user-1");
    assert_eq!(scene.issuer.hits(Door::Feed), lists);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_any_more_once_the_verifier_is_gone() {
    let scene = Scene::start().await;
    let verifier = scene.verifier;
    let issuer = scene.issuer;
    let stays = verifier.clone();
    drop(verifier);
    // The other clone goes on.
    assert!(stays.verify("x").await.is_err());
    let token = scene.key.issue(&keys::claims(&issuer.url(), &json!({})));
    stays.verify(&token).await.unwrap();
    assert_eq!(issuer.hits(Door::Feed), 1);
    let watched = eventually(PATIENCE, || async {
        (issuer.hits(Door::Feed) > 1).then_some(())
    });
    assert!(watched.await.is_some(), "kept checked while it is there");
    drop(stays);
    let hits = issuer.hits(Door::Feed);
    // Two more would have come.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(issuer.hits(Door::Feed) <= hits + 1, "one was on its way");
}
