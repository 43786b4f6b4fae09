//! The signed list: what is on it, how it is numbered, who may read it and how.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use edgekeep_origin::app::{State, app};
use edgekeep_origin::clock::{Clock, Timestamp};
use edgekeep_origin::events::Actor;
use edgekeep_origin::random::Random;
use edgekeep_origin::revocation::policy::Follower;
use edgekeep_origin::revocation::{self, Revoked, kv};
use edgekeep_origin::sessions;
use edgekeep_origin::vault::Secret;
use edgekeep_shared::control::{self, ControlKeys, DocumentType};
use edgekeep_shared::jwk::JwkSet;
use edgekeep_shared::revocation::{RevocationList, RevokedBy};
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::{VerifiedToken, Verifier};
use serde_json::json;
use support::Origin;
use tower::ServiceExt as _;

fn control_keys(state: &State) -> ControlKeys {
    ControlKeys::parse(format!("[{}]", state.publisher.control_jwk()).as_bytes()).unwrap()
}

/// The list as a gate fetches and opens it.
async fn list(state: &State) -> RevocationList {
    let request = Request::get("/.well-known/revocations")
        .body(Body::empty())
        .unwrap();
    let response = app(state.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.edgekeep.revocations"
    );
    assert_eq!(response.headers()["cache-control"], "no-cache");
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    RevocationList::open(&bytes, &control_keys(state), &state.config.issuer()).unwrap()
}

/// What a gate has verified, which knows the list and nothing of the database.
fn verified(state: &State, token: &str) -> VerifiedToken {
    let now = UnixTime(state.clock.now().unix_seconds());
    Verifier::new(state.config.issuer(), "api")
        .with_leeway(5)
        .verify(token.as_bytes(), state.keyring.ring().set(), now)
        .unwrap()
}

#[tokio::test]
async fn a_logout_is_on_the_next_list() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let out = keep::open(&origin.state, user).await;
    let kept = keep::open(&origin.state, user).await;
    let before = list(&origin.state).await;
    assert!(before.is_empty());
    origin
        .call(
            Method::POST,
            "/api/v1/auth/logout",
            Some(&out.access_token),
            None,
        )
        .await
        .expect(204, "");
    let after = list(&origin.state).await;
    assert!(after.sequence() > before.sequence());
    let out = verified(&origin.state, &out.access_token);
    assert_eq!(after.find(&out), Some(RevokedBy::Session));
    assert_eq!(
        after.find(&verified(&origin.state, &kept.access_token)),
        None
    );
}

#[tokio::test]
async fn each_kind_of_entry_is_folded_in() {
    let origin = Origin::new().await;
    let state = &origin.state;
    let user = keep::user(state).await;
    let tokens = keep::open(state, user).await;
    let token = verified(state, &tokens.access_token);
    let now = state.clock.now();
    let subject = user.to_string();
    let seconds = now.unix_seconds();
    let until = Some(revocation::until(now));
    let kid = token.key_id().to_owned();
    for (entry, by) in [
        (Revoked::Subject(&subject, UnixTime(seconds - 1)), None),
        (
            Revoked::Subject(&subject, UnixTime(seconds)),
            Some(RevokedBy::Subject),
        ),
        // An earlier instant does not undo a later one.
        (
            Revoked::Subject(&subject, UnixTime(0)),
            Some(RevokedBy::Subject),
        ),
        (
            Revoked::Token(&token.claims().token_id),
            Some(RevokedBy::Token),
        ),
        (
            Revoked::Session(tokens.session_id),
            Some(RevokedBy::Session),
        ),
        (Revoked::Key(&kid), Some(RevokedBy::Key)),
    ] {
        let mut tx = state.db.write().await.unwrap();
        revocation::record(&state.signal, &mut tx, entry, until, now, "test")
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(list(state).await.find(&token), by, "{entry:?}");
    }
}

#[tokio::test]
async fn a_token_issued_after_its_subject_was_revoked_is_not_caught() {
    let origin = Origin::new().await;
    let state = &origin.state;
    let user = keep::user(state).await;
    let before = keep::open(state, user).await;
    let subject = user.to_string();
    let now = state.clock.now();
    let mut tx = state.db.write().await.unwrap();
    let entry = Revoked::Subject(&subject, UnixTime(now.unix_seconds()));
    let until = Some(now + std::time::Duration::from_mins(20));
    revocation::record(&state.signal, &mut tx, entry, until, now, "test")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // In the very same second.
    let after = keep::open(state, user).await;
    let list = list(state).await;
    let (before, after) = (
        verified(state, &before.access_token),
        verified(state, &after.access_token),
    );
    assert_eq!(list.find(&before), Some(RevokedBy::Subject));
    assert_eq!(list.find(&after), None);
    assert_eq!(after.claims().issued_at.0, now.unix_seconds() + 1);
}

#[tokio::test]
async fn entries_leave_the_list_when_no_token_can_be_about() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    origin
        .call(
            Method::POST,
            "/api/v1/auth/logout",
            Some(&tokens.access_token),
            None,
        )
        .await
        .expect(204, "");
    // 900 of token life and 300 of the largest leeway.
    origin.advance(1_199);
    assert_eq!(list(&origin.state).await.len(), 1);
    origin.state.publisher.remove_expired().await.unwrap();
    origin.advance(1);
    origin.state.publisher.remove_expired().await.unwrap();
    origin.advance(15);
    assert_eq!(list(&origin.state).await.len(), 0);
}

#[tokio::test]
async fn the_list_is_signed_again_at_every_heartbeat_and_not_in_between() {
    let origin = Origin::new().await;
    let first = list(&origin.state).await;
    origin.advance(14);
    let same = list(&origin.state).await;
    assert_eq!(
        (same.sequence(), same.issued_at()),
        (first.sequence(), first.issued_at())
    );
    origin.advance(1);
    let next = list(&origin.state).await;
    assert!(next.sequence() > first.sequence());
    assert_eq!(next.issued_at(), first.issued_at().plus(15));
    let milliseconds = u64::try_from(origin.clock.now().micros() / 1_000).unwrap();
    assert_eq!(next.sequence(), milliseconds);
}

#[tokio::test]
async fn the_sequence_never_goes_back() {
    let origin = Origin::new().await;
    let first = list(&origin.state).await.sequence();
    // A restart, with a clock that was set back by a day.
    let yesterday = Timestamp::from_unix_seconds(support::BEGINNING.unix_seconds() - 86_400);
    let config = origin.state.config.clone();
    let state = State::open(config, Clock::fixed(yesterday), Random::seeded(2))
        .await
        .unwrap();
    let second = list(&state).await.sequence();
    assert_eq!(second, first + 1);
    // A database from before: the time in milliseconds is ahead of every number given out.
    let mut tx = state.db.write().await.unwrap();
    sqlx::query("UPDATE counters SET value = 5 WHERE name = 'control_sequence'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    origin.advance(60);
    assert!(list(&origin.state).await.sequence() > second);
}

#[tokio::test]
async fn what_another_process_revokes_is_seen_at_the_next_look() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let token = verified(&origin.state, &tokens.access_token);
    assert!(list(&origin.state).await.is_empty());
    let config = origin.state.config.clone();
    let other = State::open(config, origin.clock.clone(), Random::seeded(2))
        .await
        .unwrap();
    let mut tx = other.db.write().await.unwrap();
    assert!(
        sessions::end(&other, &mut tx, tokens.session_id, "operator")
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    origin.state.publisher.look().await.unwrap();
    assert_eq!(
        list(&origin.state).await.find(&token),
        Some(RevokedBy::Session)
    );

    other
        .keyring
        .revoke(token.key_id(), Actor::Operator)
        .await
        .unwrap();
    origin.state.publisher.look().await.unwrap();
    assert_eq!(list(&origin.state).await.find(&token), Some(RevokedBy::Key));
    assert!(
        origin
            .state
            .keyring
            .ring()
            .set()
            .find(token.key_id())
            .is_none()
    );
}

#[tokio::test]
async fn the_list_is_not_sent_twice() {
    let origin = Origin::new().await;
    let request = |tag: &str| {
        Request::get("/.well-known/revocations")
            .header("if-none-match", tag)
            .body(Body::empty())
            .unwrap()
    };
    let first = origin.send(request("\"x\"")).await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(origin.send(request(&tag)).await.status, 304);
    origin.advance(15);
    assert_eq!(origin.send(request(&tag)).await.status, 200);
}

#[tokio::test]
async fn the_control_key_is_not_in_the_jwk_set_and_stays() {
    let origin = Origin::new().await;
    let jwk = origin.state.publisher.control_jwk();
    let config = origin.state.config.clone();
    let other = State::open(config, origin.clock.clone(), Random::seeded(2))
        .await
        .unwrap();
    assert_eq!(other.publisher.control_jwk(), jwk);
    let kid = serde_json::from_str::<serde_json::Value>(&jwk).unwrap()["kid"].clone();
    let published = origin.get("/.well-known/jwks.json").await.body.to_string();
    assert!(!published.contains(kid.as_str().unwrap()));
    assert!(!jwk.contains("\"d\""));
}

const POLICY: &str = "[[route]]\nmatch = \"/public/**\"\naccess = \"public\"\n";

#[tokio::test]
async fn the_key_value_listener_serves_three_signed_documents_and_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let origin = Origin::with(|config| {
        config.gate.policy_file = Some(policy);
        config.server.kv_token = Some(Secret::new("kv-secret".to_owned()));
    })
    .await;
    Follower::begin(&origin.state).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(kv::serve(listener, origin.state.clone()));
    let client = reqwest::Client::new();
    let get = |key: &str| {
        let url = format!("{base}/{key}?urlencoded=true&cache_ttl=30");
        client.get(url).bearer_auth("kv-secret").send()
    };
    let keys = control_keys(&origin.state);
    let issuer = origin.state.config.issuer();
    let body = async |key| {
        let response = get(key).await.unwrap();
        assert_eq!(response.status(), 200, "{key}");
        response.bytes().await.unwrap()
    };
    let list = body("revocations").await;
    assert!(
        RevocationList::open(&list, &keys, &issuer)
            .unwrap()
            .is_empty()
    );
    let jwks = body("jwks").await;
    let jwks = control::open(&jwks, &keys, DocumentType::JwkSet, &issuer).unwrap();
    assert_eq!(
        &JwkSet::parse(jwks.body).unwrap(),
        origin.state.keyring.ring().set()
    );
    let policy = body("policy").await;
    assert!(control::open(&policy, &keys, DocumentType::JwkSet, &issuer).is_err());
    let policy = control::open(&policy, &keys, DocumentType::Policy, &issuer).unwrap();
    assert_eq!(policy.body, POLICY.as_bytes());

    for (key, status) in [("other", 404), ("", 404), ("a/b", 404), ("policy%00", 404)] {
        assert_eq!(get(key).await.unwrap().status(), status, "{key}");
    }
    for method in [Method::PUT, Method::DELETE, Method::POST] {
        let request = client
            .request(method.clone(), format!("{base}/revocations"))
            .bearer_auth("kv-secret")
            .body("x");
        assert_eq!(request.send().await.unwrap().status(), 405, "{method}");
    }
    let url = format!("{base}/revocations");
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    let wrong = client.get(&url).bearer_auth("kv-secre");
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    server.abort();
}

#[tokio::test]
async fn introspection_asks_for_its_bearer_and_says_no_more_than_no() {
    let origin = Origin::with(|config| {
        config.gate.introspection_token = Some(Secret::new("gate-secret".to_owned()));
    })
    .await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let introspect = |bearer: &str, form: String| {
        let request = Request::post("/oauth/introspect")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", format!("Bearer {bearer}"))
            .body(Body::from(form))
            .unwrap();
        origin.send(request)
    };
    let form = format!("token={}", tokens.access_token);
    introspect("gate-secre", form.clone())
        .await
        .expect(401, "credentials_invalid");
    introspect(&tokens.access_token, form.clone())
        .await
        .expect(401, "credentials_invalid");
    let reply = introspect("gate-secret", form.clone())
        .await
        .expect(200, "");
    assert_eq!(reply.body["active"], true);
    assert_eq!(reply.text("sub"), user.to_string());
    assert_eq!(reply.text("client_id"), "default");
    for form in [
        "token=x".to_owned(),
        "token=".to_owned(),
        format!("token={}", tokens.refresh_token),
    ] {
        let reply = introspect("gate-secret", form).await.expect(200, "");
        assert_eq!(reply.body, json!({"active": false}));
    }
    for form in ["", "token=a&token=b", "tokens=a"] {
        introspect("gate-secret", form.to_owned())
            .await
            .expect(400, "request_invalid");
    }
    let revoke = |form: String| {
        let request = Request::post("/oauth/revoke")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        origin.send(request)
    };
    revoke("token=nonsense&token_type_hint=nonsense".to_owned())
        .await
        .expect(200, "");
    revoke(format!("{form}&client_id=other"))
        .await
        .expect(401, "credentials_invalid");
    assert_eq!(
        introspect("gate-secret", form.clone()).await.body["active"],
        true
    );
    revoke(format!(
        "{form}&client_id=default&token_type_hint=refresh_token"
    ))
    .await
    .expect(200, "");
    let reply = introspect("gate-secret", form).await;
    assert_eq!(reply.body, json!({"active": false}));
    let token = verified(&origin.state, &tokens.access_token);
    assert_eq!(
        list(&origin.state).await.find(&token),
        Some(RevokedBy::Token)
    );

    // The session goes on until its refresh token is revoked, here by the JSON route.
    let refresh = json!({"refresh_token": tokens.refresh_token});
    let next = origin.post("/refresh", refresh).await.expect(200, "");
    let next = next.text("refresh_token").to_owned();
    origin
        .post("/revoke-token", json!({"token": next}))
        .await
        .expect(204, "");
    origin
        .post("/refresh", json!({"refresh_token": next}))
        .await
        .expect(401, "session_ended");
}

#[tokio::test]
async fn introspection_without_a_configured_bearer_is_refused_to_everybody() {
    let origin = Origin::new().await;
    for bearer in ["", "x", "null"] {
        let request = Request::post("/oauth/introspect")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", format!("Bearer {bearer}"))
            .body(Body::from("token=x"))
            .unwrap();
        assert_eq!(origin.send(request).await.status, 401);
    }
}

#[tokio::test]
async fn a_token_that_is_given_back_again_makes_no_further_list() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let ended = keep::open(&origin.state, user).await;
    let bearer = Some(ended.access_token.as_str());
    origin
        .call(Method::POST, "/api/v1/auth/logout", bearer, None)
        .await
        .expect(204, "");
    let changes = async || -> i64 {
        let mut reader = origin.state.db.read().await.unwrap();
        let sql = "SELECT value FROM counters WHERE name = 'revocations'";
        sqlx::query_scalar(sql)
            .fetch_one(&mut *reader)
            .await
            .unwrap()
    };
    let events = async || -> i64 {
        let mut reader = origin.state.db.read().await.unwrap();
        let sql = "SELECT COUNT(*) FROM audit_events WHERE kind = 'revocation'";
        sqlx::query_scalar(sql)
            .fetch_one(&mut *reader)
            .await
            .unwrap()
    };
    let before = (changes().await, events().await);
    for _ in 0..5 {
        for token in [&tokens.access_token, &ended.access_token] {
            origin
                .post("/revoke-token", json!({"token": token}))
                .await
                .expect(204, "");
        }
    }
    assert_eq!(
        (changes().await, events().await),
        (before.0 + 1, before.1 + 1)
    );
    let token = verified(&origin.state, &tokens.access_token);
    assert_eq!(
        list(&origin.state).await.find(&token),
        Some(RevokedBy::Token)
    );
    // Together they are one, too.
    let one = keep::open(&origin.state, user).await.access_token;
    let replies = support::all((0..20).map(|_| {
        let body = json!({"token": one});
        origin.post("/revoke-token", body)
    }))
    .await;
    for reply in replies {
        reply.expect(204, "");
    }
    assert_eq!(
        (changes().await, events().await),
        (before.0 + 2, before.1 + 2)
    );
}
