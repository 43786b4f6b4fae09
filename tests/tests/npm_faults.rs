//! The npm package where its sources are late, wrong or gone: a good document stays until a better
//! one comes, and where nothing counts, nothing passes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edgekeep_tests::clock::{self, eventually};
use edgekeep_tests::faults::{of_deltas, of_lists, of_sets};
use edgekeep_tests::issuer::{Behaviour, Door, Issuer, Revoked};
use edgekeep_tests::keys::{Key, claims};
use edgekeep_tests::package::{HOSTS, Host, Package, options};
use edgekeep_tests::server::{Reply, Server};
use serde_json::{Value, json};

/// A verifier and the issuer that it trusts.
struct Pair {
    issuer: Issuer,
    package: Package,
    key: Key,
}

impl Pair {
    async fn start(host: Host, changes: &Value) -> Self {
        let key = Key::es256(1);
        let issuer = Issuer::start(&key).await;
        let package = Package::start(host, &json!([options(&issuer, changes)]));
        Self {
            issuer,
            package,
            key,
        }
    }

    fn token(&self, jti: &str) -> String {
        let changes = json!({"jti": jti});
        self.key.issue(&claims(&self.issuer.url(), &changes))
    }

    /// Has a door behave so until it has been knocked at and answered once more.
    async fn meets(&self, door: Door, behaviour: Behaviour, what: &str) {
        let hits = self.issuer.hits(door);
        self.issuer.set(door, behaviour);
        let knocked = eventually(Duration::from_secs(5), || async {
            // Whoever uses what is held has it asked for again.
            self.package.verdict(&self.token("t")).await;
            (self.issuer.hits(door) > hits).then_some(())
        });
        assert!(knocked.await.is_some(), "{what}: asked");
        // The answer is read behind the verdict.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Waits until a token that is revoked is turned away.
    async fn turns_away(&self, token: &str) {
        let refused = eventually(Duration::from_secs(6), || async {
            (self.package.verdict(token).await == "token_revoked").then_some(())
        });
        assert!(refused.await.is_some());
    }
}

/// Both hosts at once: most of the time they wait.
async fn on_each_host<F: Future<Output = ()>>(check: impl Fn(Host) -> F) {
    futures_util::future::join_all(HOSTS.map(check)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_set_never_replaces_a_good_one() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({"revocation": "none"})).await;
        pair.issuer.published().max_age = 1;
        let good = pair.token("t");
        assert_eq!(pair.package.verdict(&good).await, "ok user-1");
        let mut faults = of_sets(&pair.key);
        faults.push(("nothing in time", Behaviour::Late(Duration::from_secs(3))));
        for (what, behaviour) in faults {
            pair.meets(Door::Jwks, behaviour, what).await;
            assert_eq!(
                pair.package.verdict(&good).await,
                "ok user-1",
                "{host:?}: {what}"
            );
        }
        let stranger = Key::es256(9).issue(&claims(&pair.issuer.url(), &json!({})));
        let cause = pair.package.cause(&stranger).await;
        assert!(
            cause.starts_with("Rejection key_unknown 401 "),
            "{host:?}: {cause}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_a_cache_has_kept_is_good_for_what_is_left() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({"revocation": "none"})).await;
        pair.issuer.published().age = Some(299);
        let good = pair.token("t");
        assert_eq!(pair.package.verdict(&good).await, "ok user-1");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let asked = eventually(Duration::from_secs(3), || async {
            assert_eq!(pair.package.verdict(&good).await, "ok user-1");
            (pair.issuer.hits(Door::Jwks) > 1).then_some(())
        });
        assert!(asked.await.is_some(), "{host:?}");
    })
    .await;
}

/// What a cache gives again and again is as old as it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_a_cache_has_kept_for_a_day_does_not_count() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({"revocation": "none"})).await;
        let good = pair.token("t");
        for (age, expected) in [
            (Some(86_399), "ok user-1"),
            (Some(86_400), "keys_unavailable"),
            (None, "ok user-1"),
        ] {
            pair.issuer.published().age = age;
            let verdict = pair.package.verdict(&good).await;
            assert_eq!(verdict, expected, "{host:?} {age:?}");
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_list_never_replaces_a_good_one() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({})).await;
        let old = pair.issuer.published().list();
        pair.issuer.revoke(Revoked::Token("revoked".to_owned()));
        let (good, revoked) = (pair.token("t"), pair.token("revoked"));
        assert_eq!(pair.package.verdict(&good).await, "ok user-1");
        assert_eq!(pair.package.verdict(&revoked).await, "token_revoked");
        for (what, behaviour) in of_lists(&pair.issuer, &pair.key, old, clock::now()) {
            pair.meets(Door::Feed, behaviour, what).await;
            assert_eq!(
                pair.package.verdict(&good).await,
                "ok user-1",
                "{host:?}: {what}"
            );
            assert_eq!(
                pair.package.verdict(&revoked).await,
                "token_revoked",
                "{host:?}: {what}"
            );
        }
        // What comes afterwards counts.
        pair.issuer.revoke(Revoked::Token("t".to_owned()));
        pair.issuer.set(Door::Feed, Behaviour::Honest);
        pair.turns_away(&good).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_counts_without_keys_and_says_why() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({"revocation": "none"})).await;
        let good = pair.token("t");
        pair.issuer.set(Door::Jwks, Behaviour::Status(500));
        let url = format!("{}/.well-known/jwks.json", pair.issuer.url());
        let cause = pair.package.cause(&good).await;
        let expected = format!("Rejection keys_unavailable 503 {url}: answered 500");
        assert_eq!(cause, expected, "{host:?}");
        // What is malformed is said to be, keys or not.
        assert_eq!(pair.package.verdict("x").await, "token_malformed");
        pair.issuer.set(Door::Jwks, Behaviour::Honest);
        let accepted = eventually(Duration::from_secs(3), || async {
            (pair.package.verdict(&good).await == "ok user-1").then_some(())
        });
        assert!(accepted.await.is_some(), "{host:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_counts_without_a_list_unless_it_is_gone_without() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({})).await;
        let good = pair.token("t");
        pair.issuer.set(Door::Feed, Behaviour::Silent);
        let begun = Instant::now();
        let cause = pair.package.cause(&good).await;
        assert!(
            cause.starts_with("Rejection revocation_unavailable 503 ")
                && cause.ends_with("/.well-known/revocations: no answer within 1000 ms"),
            "{host:?}: {cause}"
        );
        assert!(begun.elapsed() < Duration::from_millis(2_500), "{host:?}");
        // Nobody waits for what has just failed.
        let begun = Instant::now();
        assert_eq!(pair.package.verdict(&good).await, "revocation_unavailable");
        assert!(begun.elapsed() < Duration::from_millis(500), "{host:?}");
        pair.issuer.set(Door::Feed, Behaviour::Honest);
        let accepted = eventually(Duration::from_secs(4), || async {
            (pair.package.verdict(&good).await == "ok user-1").then_some(())
        });
        assert!(accepted.await.is_some(), "{host:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_list_counts_for_as_long_as_it_was_told_to() {
    let denying = json!({"revocation": {"maxStale": 60}});
    let allowing = json!({"revocation": {"maxStale": 60, "onStale": "allow", "allowStaleFor": 60}});
    for (changes, age, expected) in [
        (&denying, 50, "ok user-1"),
        (&denying, 70, "revocation_unavailable"),
        (&allowing, 70, "ok user-1"),
        (&allowing, 130, "revocation_unavailable"),
        // From the future by more than clocks differ.
        (&allowing, -90, "revocation_unavailable"),
    ] {
        let pair = Pair::start(Host::Node, changes).await;
        pair.issuer.published().signed_at = Some(clock::now().minus(age));
        pair.issuer.revoke(Revoked::Token("revoked".to_owned()));
        let verdict = pair.package.verdict(&pair.token("t")).await;
        assert_eq!(verdict, expected, "{changes}: {age}");
        if age > 0 {
            // What an old list says is revoked stays revoked.
            let verdict = pair.package.verdict(&pair.token("revoked")).await;
            assert_eq!(verdict, "token_revoked", "{changes}: {age}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_no_redirect() {
    on_each_host(|host| async move {
        let key = Key::es256(1);
        let issuer = Issuer::start(&key).await;
        let elsewhere = format!("{}/.well-known/jwks.json", issuer.url());
        let redirecting =
            Server::start(move |_| Reply::new(302, "").header("Location", &elsewhere)).await;
        let changes = json!({"jwksUrl": redirecting.url(), "revocation": "none"});
        let package = Package::start(host, &json!([options(&issuer, &changes)]));
        let good = key.issue(&claims(&issuer.url(), &json!({})));
        let cause = package.cause(&good).await;
        let expected = format!(
            "Rejection keys_unavailable 503 {}: answered 302",
            redirecting.url()
        );
        assert_eq!(cause, expected, "{host:?}");
        assert_eq!(issuer.hits(Door::Jwks), 0, "{host:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_no_more_than_a_document_may_have() {
    on_each_host(|host| async move {
        for (door, changes, expected) in [
            (
                Door::Jwks,
                json!({"revocation": "none"}),
                "longer than 65536 bytes",
            ),
            (Door::Feed, json!({}), "longer than 26214400 bytes"),
        ] {
            let pair = Pair::start(host, &changes).await;
            let endless = Behaviour::Bytes(vec![b' '; 30 << 20]);
            pair.issuer.set(door, endless);
            // A busy machine may not send so much in time.
            let said = eventually(Duration::from_secs(20), || async {
                let cause = pair.package.cause(&pair.token("t")).await;
                assert!(cause.contains("_unavailable 503 "), "{host:?}: {cause}");
                cause.ends_with(expected).then_some(())
            });
            assert!(said.await.is_some(), "{host:?}: {expected}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_has_not_changed_is_not_sent_again() {
    on_each_host(|host| async move {
        let key = Key::es256(1);
        let issuer = Issuer::start(&key).await;
        // The list and its tag; what has been sent with the tag is not sent again.
        let current = Arc::new(Mutex::new((issuer.published().list(), "\"one\"")));
        let served = Arc::clone(&current);
        let feed = Server::start(move |request| {
            let (list, tag) = served.lock().unwrap().clone();
            match request.header("if-none-match") {
                Some(known) if known == tag => Reply::new(304, ""),
                _ => Reply::new(200, list).header("ETag", tag),
            }
        })
        .await;
        let changes = json!({"revocation": {"url": feed.url()}});
        let package = Package::start(host, &json!([options(&issuer, &changes)]));
        let good = key.issue(&claims(&issuer.url(), &json!({})));
        assert_eq!(package.verdict(&good).await, "ok user-1");
        let asked = eventually(Duration::from_secs(6), || async {
            assert_eq!(package.verdict(&good).await, "ok user-1");
            (feed.seen().len() >= 3).then_some(())
        });
        assert!(asked.await.is_some(), "{host:?}");
        let tags: Vec<Option<String>> = feed
            .take()
            .iter()
            .map(|request| request.header("if-none-match").map(str::to_owned))
            .collect();
        assert_eq!(tags[0], None, "{host:?}");
        assert_eq!(
            tags[1..],
            vec![Some("\"one\"".to_owned()); tags.len() - 1],
            "{host:?}"
        );
        issuer.revoke(Revoked::Token("token-1".to_owned()));
        *current.lock().unwrap() = (issuer.published().list(), "\"two\"");
        let refused = eventually(Duration::from_secs(5), || async {
            (package.verdict(&good).await == "token_revoked").then_some(())
        });
        assert!(refused.await.is_some(), "{host:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_list_fetches_what_changed() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({})).await;
        pair.issuer.published().deltas = true;
        for id in ["a", "b"] {
            let token = pair.token(id);
            assert_eq!(pair.package.verdict(&token).await, "ok user-1", "{host:?}");
            pair.issuer.revoke(Revoked::Token(id.to_owned()));
            pair.turns_away(&token).await;
        }
        assert_eq!(pair.issuer.hits(Door::Feed), 1, "{host:?}: fetched once");
        assert!(pair.issuer.hits(Door::FeedDelta) >= 2, "{host:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_delta_leads_nowhere_the_list_is_fetched() {
    on_each_host(|host| async move {
        let pair = Pair::start(host, &json!({})).await;
        pair.issuer.published().deltas = true;
        assert_eq!(pair.package.verdict(&pair.token("t")).await, "ok user-1");
        for (what, behaviour) in of_deltas(&pair.issuer) {
            pair.issuer.set(Door::FeedDelta, behaviour);
            let token = pair.token(what);
            assert_eq!(pair.package.verdict(&token).await, "ok user-1", "{host:?}");
            let lists = pair.issuer.hits(Door::Feed);
            pair.issuer.revoke(Revoked::Token(what.to_owned()));
            pair.turns_away(&token).await;
            assert!(pair.issuer.hits(Door::Feed) > lists, "{host:?}: {what}");
        }
    })
    .await;
}
