//! Sessions: refresh, its grace and its races, logout, listing, limits.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use std::collections::BTreeSet;

use axum::http::Method;
use edgekeep_origin::app::State;
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::ReuseEnds;
use edgekeep_origin::random::Random;
use edgekeep_origin::sessions::RefreshToken;
use serde_json::{Value, json};
use sqlx::Row as _;
use support::{Origin, Reply};

async fn refresh(origin: &Origin, token: &str) -> Reply {
    origin
        .post("/refresh", json!({ "refresh_token": token }))
        .await
}

async fn validate(origin: &Origin, token: &str) -> Value {
    origin
        .post("/validate-token", json!({ "token": token }))
        .await
        .body
}

async fn count(state: &State, sql: &'static str) -> i64 {
    let mut reader = state.db.read().await.unwrap();
    let row = sqlx::query(sql).fetch_one(&mut *reader).await.unwrap();
    row.try_get(0).unwrap()
}

async fn execute(state: &State, sql: &'static str) {
    let mut tx = state.db.write().await.unwrap();
    sqlx::query(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_repeated_refresh_gets_the_same_successor_within_the_grace() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let first = keep::open(&origin.state, user).await;
    let second = refresh(&origin, &first.refresh_token).await.expect(200, "");
    assert_ne!(second.text("refresh_token"), first.refresh_token);
    assert_eq!(second.text("session_id"), first.session_id.to_string());
    assert_eq!(second.body["token_type"], "Bearer");
    assert_eq!(second.body["expires_in"], 900);
    assert_eq!(second.body["refresh_expires_in"], 7 * 86_400);
    assert_eq!(second.body["user"]["id"], user.to_string());

    // Up to the last microsecond before ten seconds, and no longer.
    origin
        .clock
        .advance(std::time::Duration::from_micros(9_999_999));
    let again = refresh(&origin, &first.refresh_token).await.expect(200, "");
    assert_eq!(again.text("refresh_token"), second.text("refresh_token"));
    assert_eq!(
        validate(&origin, again.text("access_token")).await["active"],
        true
    );
    origin.clock.advance(std::time::Duration::from_micros(1));
    refresh(&origin, &first.refresh_token)
        .await
        .expect(401, "refresh_reused");
}

#[tokio::test]
async fn reuse_ends_the_session_and_is_remembered() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let other = keep::open(&origin.state, user).await;
    let first = keep::open(&origin.state, user).await;
    let second = refresh(&origin, &first.refresh_token).await.expect(200, "");
    let third = refresh(&origin, second.text("refresh_token"))
        .await
        .expect(200, "");
    // Two behind: no grace, however soon.
    refresh(&origin, &first.refresh_token)
        .await
        .expect(401, "refresh_reused");
    for token in [
        first.refresh_token.as_str(),
        second.text("refresh_token"),
        third.text("refresh_token"),
    ] {
        refresh(&origin, token).await.expect(401, "session_ended");
    }
    for token in [first.access_token.as_str(), third.text("access_token")] {
        let body = validate(&origin, token).await;
        assert_eq!(body, json!({"active": false, "code": "token_revoked"}));
    }
    assert_eq!(validate(&origin, &other.access_token).await["active"], true);
    let events = "SELECT COUNT(*) FROM audit_events WHERE kind = 'refresh_reuse'";
    assert_eq!(count(&origin.state, events).await, 1);
    let entries = "SELECT COUNT(*) FROM revocations WHERE kind = 'sid' AND reason = 'reuse'";
    assert_eq!(count(&origin.state, entries).await, 1);
}

#[tokio::test]
async fn reuse_ends_every_session_where_that_is_configured() {
    let origin = Origin::with(|config| config.sessions.reuse_ends = ReuseEnds::User).await;
    let user = keep::user(&origin.state).await;
    let other = keep::open(&origin.state, user).await;
    let first = keep::open(&origin.state, user).await;
    refresh(&origin, &first.refresh_token).await.expect(200, "");
    origin.advance(10);
    refresh(&origin, &first.refresh_token)
        .await
        .expect(401, "refresh_reused");
    refresh(&origin, &other.refresh_token)
        .await
        .expect(401, "session_ended");
}

#[tokio::test]
async fn garbage_is_refused_without_a_query() {
    let origin = Origin::new().await;
    // Whatever reached the database would now fail with a 500.
    execute(&origin.state, "DROP TABLE sessions").await;
    for token in [
        "",
        "ekr_",
        "ekr_AAAA",
        "x",
        "\u{1f511}",
        &"ekr_A".repeat(5_000),
    ] {
        refresh(&origin, token).await.expect(401, "refresh_invalid");
    }
    origin
        .post("/refresh", json!({}))
        .await
        .expect(400, "request_invalid");
    origin
        .post("/refresh", json!({"refresh_token": 7}))
        .await
        .expect(400, "request_invalid");
}

#[tokio::test]
async fn a_restored_database_raises_no_theft_alarm() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let first = keep::open(&origin.state, user).await;
    let second = refresh(&origin, &first.refresh_token).await.expect(200, "");
    let second = second.text("refresh_token").to_owned();
    // As if a copy from before the refresh were put back.
    execute(&origin.state, "UPDATE sessions SET counter = 0").await;
    execute(
        &origin.state,
        "UPDATE counters SET value = value + 1 WHERE name = 'restore_epoch'",
    )
    .await;
    refresh(&origin, &second)
        .await
        .expect(401, "refresh_invalid");
    // The token of the copy is good, and its successor belongs to the new epoch,
    let third = refresh(&origin, &first.refresh_token).await.expect(200, "");
    let third = third.text("refresh_token").to_owned();
    let read = |text: &str| RefreshToken::parse(text, &origin.state.vault).unwrap();
    assert_eq!((read(&second).counter, read(&second).epoch), (1, 0));
    assert_eq!((read(&third).counter, read(&third).epoch), (1, 1));
    // so that the one from before the restore, of the same counter, is still nobody's theft,
    refresh(&origin, &second)
        .await
        .expect(401, "refresh_invalid");
    origin.advance(11);
    let fourth = refresh(&origin, &third).await.expect(200, "");
    refresh(&origin, &second)
        .await
        .expect(401, "refresh_invalid");
    // but reuse within the epoch is.
    refresh(&origin, fourth.text("refresh_token"))
        .await
        .expect(200, "");
    refresh(&origin, &third).await.expect(401, "refresh_reused");
}

#[tokio::test]
async fn sessions_run_out_idle_and_in_any_case() {
    let origin = Origin::with(|config| {
        config.sessions.idle_seconds = 100;
        config.sessions.absolute_seconds = 250;
    })
    .await;
    let user = keep::user(&origin.state).await;
    let idle = keep::open(&origin.state, user).await;
    let mut token = keep::open(&origin.state, user).await.refresh_token;
    origin.advance(99);
    let reply = refresh(&origin, &token).await.expect(200, "");
    assert_eq!(reply.body["refresh_expires_in"], 100);
    token = reply.text("refresh_token").to_owned();
    origin.advance(1);
    refresh(&origin, &idle.refresh_token)
        .await
        .expect(401, "session_ended");
    origin.advance(98);
    let reply = refresh(&origin, &token).await.expect(200, "");
    assert_eq!(
        reply.body["refresh_expires_in"], 52,
        "never beyond the absolute end"
    );
    token = reply.text("refresh_token").to_owned();
    origin.advance(51);
    token = refresh(&origin, &token)
        .await
        .expect(200, "")
        .text("refresh_token")
        .to_owned();
    origin.advance(1);
    refresh(&origin, &token).await.expect(401, "session_ended");
}

#[tokio::test]
async fn a_disabled_account_is_refused() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    execute(&origin.state, "UPDATE users SET status = 'disabled'").await;
    refresh(&origin, &tokens.refresh_token)
        .await
        .expect(401, "session_ended");
    let body = validate(&origin, &tokens.access_token).await;
    assert_eq!(body, json!({"active": false, "code": "token_revoked"}));
    // Nothing was used up: it is good again when the account is.
    execute(&origin.state, "UPDATE users SET status = 'active'").await;
    refresh(&origin, &tokens.refresh_token)
        .await
        .expect(200, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_concurrent_refreshes_have_one_successor() {
    let origin = std::sync::Arc::new(Origin::new().await);
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(100));
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (origin, barrier) = (origin.clone(), barrier.clone());
        let token = tokens.refresh_token.clone();
        requests.spawn(async move {
            barrier.wait().await;
            refresh(&origin, &token).await
        });
    }
    let mut successors = BTreeSet::new();
    while let Some(reply) = requests.join_next().await {
        let reply = reply.unwrap().expect(200, "");
        successors.insert(reply.text("refresh_token").to_owned());
    }
    assert_eq!(successors.len(), 1);
    let counter = "SELECT counter FROM sessions";
    assert_eq!(count(&origin.state, counter).await, 1);
    let next = successors.first().unwrap();
    refresh(&origin, next).await.expect(200, "");
}

#[tokio::test]
async fn the_oldest_session_gives_way() {
    let origin = Origin::with(|config| config.sessions.per_user = 2).await;
    let user = keep::user(&origin.state).await;
    let stranger = keep::user(&origin.state).await;
    let kept = keep::open(&origin.state, stranger).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(keep::open(&origin.state, user).await);
        origin.advance(1);
    }
    for (index, session) in sessions.iter().enumerate() {
        let active = validate(&origin, &session.access_token).await["active"] == true;
        assert_eq!(active, index >= 2, "session {index}");
    }
    assert_eq!(validate(&origin, &kept.access_token).await["active"], true);
    refresh(&origin, &sessions[0].refresh_token)
        .await
        .expect(401, "session_ended");
    let entries = "SELECT COUNT(*) FROM revocations WHERE reason = 'limit'";
    assert_eq!(count(&origin.state, entries).await, 2);
}

#[tokio::test]
async fn logout_ends_one_session_or_all() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let logout = "/api/v1/auth/logout";
    let [a, b, c] = [
        keep::open(&origin.state, user).await,
        keep::open(&origin.state, user).await,
        keep::open(&origin.state, user).await,
    ];
    origin
        .call(Method::POST, logout, Some(&a.access_token), None)
        .await
        .expect(204, "");
    origin
        .call(Method::POST, logout, Some(&a.access_token), None)
        .await
        .expect(401, "token_revoked");
    refresh(&origin, &a.refresh_token)
        .await
        .expect(401, "session_ended");
    assert_eq!(validate(&origin, &b.access_token).await["active"], true);
    for body in [json!({"al": true}), json!({"all": 1}), json!([])] {
        origin
            .call(Method::POST, logout, Some(&b.access_token), Some(body))
            .await
            .expect(400, "request_invalid");
    }
    let all = Some(json!({"all": true}));
    origin
        .call(Method::POST, logout, Some(&b.access_token), all)
        .await
        .expect(204, "");
    for tokens in [&b, &c] {
        assert_eq!(
            validate(&origin, &tokens.access_token).await["active"],
            false
        );
        refresh(&origin, &tokens.refresh_token)
            .await
            .expect(401, "session_ended");
    }
    // The next login is not caught by it.
    let next = keep::open(&origin.state, user).await;
    assert_eq!(validate(&origin, &next.access_token).await["active"], true);
}

#[tokio::test]
async fn a_logout_is_there_after_a_restart() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let live = keep::open(&origin.state, user).await;
    origin
        .call(
            Method::POST,
            "/api/v1/auth/logout",
            Some(&tokens.access_token),
            None,
        )
        .await
        .expect(204, "");
    // A second process over the same files, with nothing of the first one's memory.
    let clock = Clock::fixed(support::BEGINNING);
    let config = origin.state.config.clone();
    let state = State::open(config, clock, Random::seeded(9)).await.unwrap();
    let judge = async |token: &str| {
        edgekeep_origin::tokens::judge(&state, token.as_bytes())
            .await
            .is_ok()
    };
    assert!(!judge(&tokens.access_token).await);
    assert!(judge(&live.access_token).await);
    let documents = state.publisher.current().await.unwrap();
    assert_eq!(documents.entries, 1);
}

#[tokio::test]
async fn people_see_and_end_their_own_sessions_only() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let mine = keep::open(&origin.state, user).await;
    origin.advance(1);
    let other = keep::open(&origin.state, user).await;
    let user = keep::user(&origin.state).await;
    let theirs = keep::open(&origin.state, user).await;

    let bearer = Some(mine.access_token.as_str());
    let list = origin
        .call(Method::GET, "/api/v1/auth/sessions", bearer, None)
        .await;
    let ids: Vec<_> = list.body["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["id"])
        .collect();
    assert_eq!(ids, [&json!(other.session_id), &json!(mine.session_id)]);
    assert_eq!(list.body["sessions"][1]["current"], true);
    assert_eq!(list.body["sessions"][0]["current"], false);
    let current = origin
        .call(Method::GET, "/api/v1/auth/session", bearer, None)
        .await;
    assert_eq!(current.text("address"), "192.0.2.1");
    assert_eq!(current.text("user_agent"), "test");
    assert_eq!(current.text("device_id"), "phone");

    let end = |id: String| {
        let path = format!("/api/v1/auth/sessions/{id}");
        let bearer = mine.access_token.clone();
        let origin = &origin;
        async move {
            origin
                .call(Method::DELETE, &path, Some(&bearer), None)
                .await
        }
    };
    for id in [
        theirs.session_id.to_string(),
        "00000000-0000-4000-8000-000000000000".to_owned(),
        "x".to_owned(),
    ] {
        end(id).await.expect(404, "not_found");
    }
    end(other.session_id.to_string()).await.expect(204, "");
    end(other.session_id.to_string())
        .await
        .expect(404, "not_found");
    assert_eq!(
        validate(&origin, &other.access_token).await["active"],
        false
    );
    assert_eq!(
        validate(&origin, &theirs.access_token).await["active"],
        true
    );
    end(mine.session_id.to_string()).await.expect(204, "");
    assert_eq!(validate(&origin, &mine.access_token).await["active"], false);
}
