//! Who is revoked is turned away within seconds, everybody else goes on.

use std::time::{Duration, Instant};

use edgekeep_shared::time::UnixTime;
use edgekeep_tests::clock::{self, eventually};
use edgekeep_tests::gate::Gate;
use edgekeep_tests::issuer::{Behaviour, Door, Revoked};
use edgekeep_tests::keys::{self, Key, claims};
use serde_json::json;

/// A gate uses a list for two seconds without asking, and fetches the next behind an answer.
const LIMIT: Duration = Duration::from_secs(3);

/// A source that hangs may cost its deadline on top.
const LIMIT_WITH_A_BROKEN_SOURCE: Duration = Duration::from_secs(5);

/// Waits until `token` is refused; meanwhile `other` must pass.
async fn turned_away(gate: &Gate, token: &str, other: &str) {
    turned_away_within(LIMIT, gate, token, other).await;
}

async fn turned_away_within(limit: Duration, gate: &Gate, token: &str, other: &str) {
    let refused = eventually(limit, || async {
        assert_eq!(
            gate.get("/api/me", other).await.status,
            200,
            "who is not revoked goes on"
        );
        let answer = gate.get("/api/me", token).await;
        (answer.status != 200).then_some(answer)
    });
    let (answer, _) = refused.await.unwrap();
    assert_eq!(answer.verdict(), (401, "token_revoked".to_owned()));
    assert_eq!(
        gate.get("/api/me", other).await.status,
        200,
        "who is not revoked goes on"
    );
}

async fn every_kind(sources: &'static str) {
    let second = Key::eddsa(2);
    let gate = Gate::with(|issuer, variables| {
        variables.insert("REVOCATION_SOURCES", sources.to_owned());
        let mut published = issuer.published();
        published.jwks = keys::set(&[&Key::es256(1), &Key::eddsa(2)]);
    })
    .await;
    let other = gate.token(&json!({"jti": "other", "sid": "other", "sub": "other"}));
    assert_eq!(gate.get("/api/me", &other).await.status, 200);

    let by_token = gate.token(&json!({"jti": "t-1", "sid": "s-1", "sub": "u-1"}));
    let sibling = gate.token(&json!({"jti": "t-2", "sid": "s-1", "sub": "u-1"}));
    for token in [&by_token, &sibling] {
        assert_eq!(gate.get("/api/me", token).await.status, 200, "before");
    }
    gate.issuer.revoke(Revoked::Token("t-1".to_owned()));
    turned_away(&gate, &by_token, &sibling).await;

    gate.issuer.revoke(Revoked::Session("s-1".to_owned()));
    turned_away(&gate, &sibling, &other).await;

    let now = clock::now().0;
    let subject = |jti: &str, iat: i64| {
        gate.token(&json!({"jti": jti, "sid": jti, "sub": "u-2", "iat": iat, "nbf": null}))
    };
    let (before, at, after) = (
        subject("b", now - 11),
        subject("at", now - 10),
        subject("a", now - 9),
    );
    for token in [&before, &at, &after] {
        assert_eq!(gate.get("/api/me", token).await.status, 200, "before");
    }
    gate.issuer
        .revoke(Revoked::Subject("u-2".to_owned(), UnixTime(now - 10)));
    turned_away(&gate, &at, &after).await;
    turned_away(&gate, &before, &after).await;

    let url = gate.issuer.url();
    let by_key = second.issue(&claims(&url, &json!({"jti": "k", "sid": "k", "sub": "k"})));
    assert_eq!(gate.get("/api/me", &by_key).await.status, 200);
    gate.issuer.revoke(Revoked::Key(second.id()));
    turned_away(&gate, &by_key, &other).await;

    // A session called like a token is another thing, and so is a subject.
    gate.issuer.revoke(Revoked::Session("name".to_owned()));
    let witness = gate.token(&json!({"jti": "w", "sid": "w"}));
    gate.issuer.revoke(Revoked::Token("w".to_owned()));
    turned_away(&gate, &witness, &other).await;
    let namesake = gate.token(&json!({"jti": "name", "sid": "x", "sub": "name"}));
    assert_eq!(gate.get("/api/me", &namesake).await.status, 200);
    let prefix = gate.token(&json!({"jti": "t-1x", "sid": "s-1x", "sub": "u-1"}));
    assert_eq!(gate.get("/api/me", &prefix).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_every_kind_of_entry_over_the_feed() {
    every_kind("feed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_every_kind_of_entry_over_kv() {
    every_kind("kv").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_no_source_that_is_not_named() {
    for (sources, asked, not_asked) in [
        ("kv", Door::KvList, Door::Feed),
        ("feed", Door::Feed, Door::KvList),
    ] {
        let gate = Gate::with(|_, variables| {
            variables.insert("REVOCATION_SOURCES", sources.to_owned());
        })
        .await;
        assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
        assert!(gate.issuer.hits(asked) > 0, "{sources}");
        assert_eq!(gate.issuer.hits(not_asked), 0, "{sources}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_working_source_of_two_is_enough() {
    for broken in [Door::Feed, Door::KvList] {
        let gate = Gate::start().await;
        let (token, other) = (
            gate.good_token(),
            gate.token(&json!({"jti": "o", "sid": "o", "sub": "o"})),
        );
        assert_eq!(gate.get("/api/me", &token).await.status, 200);
        gate.issuer.set(broken, Behaviour::Silent);
        gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
        turned_away_within(LIMIT_WITH_A_BROKEN_SOURCE, &gate, &token, &other).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolate_that_slept_looks_before_it_answers() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    let other = gate.token(&json!({"jti": "o", "sid": "o", "sub": "o"}));
    assert_eq!(gate.get("/api/me", &token).await.status, 200);
    // Longer than the list is kept checked behind the request, and than it is used after that.
    tokio::time::sleep(Duration::from_millis(17_500)).await;
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    // The very first request after the sleep.
    let answer = gate.get("/api/me", &token).await;
    assert_eq!(answer.verdict(), (401, "token_revoked".to_owned()));
    assert_eq!(gate.get("/api/me", &other).await.status, 200);
}

/// The one request after a pause is judged by what was revoked in the pause: a gate that is asked
/// seldom keeps its list checked meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_request_seconds_after_the_last_is_judged_by_a_list_of_now() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    assert_eq!(gate.get("/api/me", &token).await.status, 200);
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let answer = gate.get("/api/me", &token).await;
    assert_eq!(answer.verdict(), (401, "token_revoked".to_owned()));
}

/// Whoever watches the list is relieved before their time is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_late_in_a_watch_is_followed_by_checks_as_any_other() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    for wait in [9, 9, 0] {
        assert_eq!(gate.get("/api/me", &token).await.status, 200);
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let answer = gate.get("/api/me", &token).await;
    assert_eq!(answer.verdict(), (401, "token_revoked".to_owned()));
}

/// Nobody is asked for ever because somebody came by once.
#[tokio::test(flavor = "multi_thread")]
async fn stops_asking_for_the_list_some_time_after_the_last_request() {
    let gate = Gate::start().await;
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    tokio::time::sleep(Duration::from_secs(13)).await;
    let so_far = gate.issuer.hits(Door::Feed);
    assert!((3..=7).contains(&so_far), "{so_far} questions in 13 s");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(gate.issuer.hits(Door::Feed), so_far);
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_the_sources_no_more_than_it_must() {
    let gate = Gate::start().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    }
    // Once at the start, then every two seconds.
    let hits = gate.issuer.hits(Door::Feed);
    assert!((2..=5).contains(&hits), "{hits} questions in 5 s");
    assert!(gate.issuer.hits(Door::Jwks) <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_do_without_or_ask_the_issuer() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    let other = gate.token(&json!({"jti": "o", "sid": "o", "sub": "o"}));
    assert_eq!(gate.get("/api/strict/1", &token).await.status, 200);
    assert_eq!(gate.issuer.hits(Door::Introspection), 1);
    assert_eq!(gate.get("/api/strict/1", &token).await.status, 200);
    assert_eq!(
        gate.issuer.hits(Door::Introspection),
        2,
        "on every request, cached token or not"
    );

    gate.issuer.published().active = false;
    let answer = gate.get("/api/strict/1", &token).await;
    assert_eq!(
        answer.verdict(),
        (401, "token_revoked".to_owned()),
        "at once"
    );

    for behaviour in [
        Behaviour::Status(500),
        Behaviour::Status(401),
        Behaviour::Bytes(b"{}".to_vec()),
        Behaviour::Bytes(br#"{"active":"true"}"#.to_vec()),
        Behaviour::Bytes(b"\xff".to_vec()),
        Behaviour::Silent,
    ] {
        gate.issuer.set(Door::Introspection, behaviour.clone());
        let answer = gate.get("/api/strict/1", &token).await;
        assert_eq!(
            answer.verdict(),
            (503, "revocation_unavailable".to_owned()),
            "{behaviour:?}"
        );
        assert!(
            answer.took < Duration::from_millis(2_500),
            "{behaviour:?} took {:?}",
            answer.took
        );
    }

    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    turned_away(&gate, &token, &other).await;
    assert_eq!(
        gate.get("/api/off/1", &token).await.status,
        200,
        "this route does not ask"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn says_which_secret_the_issuer_does_not_take() {
    for (secret, said) in [
        (None, "401: ORIGIN_TOKEN is not set"),
        (Some("wrong"), "401: it does not take ORIGIN_TOKEN"),
    ] {
        let gate = Gate::with(|issuer, variables| {
            issuer.set(Door::Introspection, Behaviour::Status(401));
            if let Some(secret) = secret {
                variables.insert("ORIGIN_TOKEN", secret.to_owned());
            }
        })
        .await;
        let answer = gate.get("/api/strict/1", &gate.good_token()).await;
        assert_eq!(answer.verdict(), (503, "revocation_unavailable".to_owned()));
        let heard = eventually(Duration::from_secs(2), || async {
            let log = gate.edge.log().join("\n");
            log.contains(said).then_some(())
        });
        assert!(heard.await.is_some(), "{said}: {:?}", gate.edge.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_the_issuer_with_its_secret_and_the_token() {
    let gate = Gate::with(|_, variables| {
        variables.insert("ORIGIN_TOKEN", "secret-of-the-gate".to_owned());
    })
    .await;
    let token = gate.good_token();
    assert_eq!(gate.get("/api/strict/1", &token).await.status, 200);
    let requests = gate.issuer.requests();
    let asked = requests
        .iter()
        .find(|request| request.path() == "/oauth/introspect")
        .unwrap();
    assert_eq!(asked.method, "POST");
    assert_eq!(
        asked.header("authorization"),
        Some("Bearer secret-of-the-gate")
    );
    assert_eq!(
        asked.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(
        String::from_utf8_lossy(&asked.body),
        format!("token={token}")
    );
    let seen = gate.upstream.take_one();
    assert!(
        !seen
            .headers
            .iter()
            .any(|(_, value)| value.contains("secret-of-the-gate"))
    );
    assert!(!gate.edge.log().join("\n").contains("secret-of-the-gate"));
}
