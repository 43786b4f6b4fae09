//! A database that was restored from a copy, and a control key that is replaced.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use edgekeep_origin::app::State;
use edgekeep_origin::random::Random;
use edgekeep_origin::revocation::control_key::{self, ActivateError};
use edgekeep_origin::sessions::{Since, TakenBack, restored};
use edgekeep_shared::control::ControlKeys;
use edgekeep_shared::revocation::{RevocationList, RevokedBy};
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::Verifier;
use serde_json::json;
use support::Origin;

async fn count(state: &State, sql: &'static str) -> i64 {
    let mut reader = state.db.read().await.unwrap();
    let row: (i64,) = sqlx::query_as(sql).fetch_one(&mut *reader).await.unwrap();
    row.0
}

/// The list that `state` publishes now, as a gate that pins `pinned` opens it.
async fn list(state: &State, pinned: &str) -> Option<RevocationList> {
    let list = state.publisher.lists().await.unwrap().list().await.unwrap();
    let keys = ControlKeys::parse(pinned.as_bytes()).unwrap();
    RevocationList::open(list.document.bytes(), &keys, &state.config.issuer()).ok()
}

#[tokio::test]
async fn nothing_that_a_copy_knows_is_good_after_the_restore() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let first = keep::open(&origin.state, user).await;
    let second = keep::open(&origin.state, user).await;
    let rotated_from = origin.state.keyring.ring().set().keys().len();
    let forgot = json!({"identifier": "nobody@example.com"});
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    origin
        .post("/otp/send", json!({"email": "ada@example.com"}))
        .await
        .expect(200, "");

    let outcome = restored(&origin.state, Since::Unknown).await.unwrap();
    assert_eq!(
        outcome,
        TakenBack {
            sessions: 2,
            keys: rotated_from
        }
    );
    for tokens in [&first, &second] {
        let refresh = json!({"refresh_token": tokens.refresh_token});
        origin
            .post("/refresh", refresh)
            .await
            .expect(401, "session_ended");
        let token = json!({"token": tokens.access_token});
        let judged = origin
            .post("/validate-token", token)
            .await
            .expect(200, "key_unknown");
        assert_eq!(judged.body["active"], false);
    }
    for table in [
        "SELECT COUNT(*) FROM one_time_codes",
        "SELECT COUNT(*) FROM password_resets",
    ] {
        assert_eq!(count(&origin.state, table).await, 0, "{table}");
    }

    // A gate that still holds the old JWK Set turns the old tokens away by the list.
    let pinned = control_key::to_pin(&origin.state).await.unwrap();
    let list = list(&origin.state, &pinned).await.unwrap();
    assert_eq!(list.len(), rotated_from);

    // Who logs in anew is served by a new key, which has a standby.
    let anew = keep::open(&origin.state, user).await;
    let ring = origin.state.keyring.ring();
    assert_eq!(ring.set().keys().len(), 2);
    let now = UnixTime(origin.clock.now().unix_seconds());
    let verified = Verifier::new(origin.state.config.issuer(), "api")
        .verify(anew.access_token.as_bytes(), ring.set(), now)
        .unwrap();
    assert_eq!(list.find(&verified), None);
    let refresh = json!({"refresh_token": anew.refresh_token});
    origin.post("/refresh", refresh).await.expect(200, "");
}

#[tokio::test]
async fn a_server_that_only_moved_keeps_its_sessions() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let taken = restored(&origin.state, Since::Nothing).await.unwrap();
    assert_eq!((taken.sessions, taken.keys), (0, 0));
    let refresh = json!({"refresh_token": tokens.refresh_token});
    origin.post("/refresh", refresh).await.expect(200, "");
    let epoch = "SELECT value FROM counters WHERE name = 'restore_epoch'";
    assert_eq!(count(&origin.state, epoch).await, 1);
}

#[tokio::test]
async fn another_control_key_signs_once_it_is_activated_and_not_before() {
    let origin = Origin::new().await;
    let old = control_key::to_pin(&origin.state).await.unwrap();
    assert!(list(&origin.state, &old).await.is_some());

    let kid = control_key::prepare(&origin.state).await.unwrap();
    assert_eq!(
        control_key::prepare(&origin.state).await.unwrap(),
        kid,
        "one waits at a time"
    );
    let both = control_key::to_pin(&origin.state).await.unwrap();
    assert!(both.contains(&kid) && !old.contains(&kid));
    assert!(!both.contains("\"d\""));
    origin.advance(20);
    assert!(
        list(&origin.state, &old).await.is_some(),
        "it signs already"
    );

    // Another process activates it; this one follows at its next look.
    let other = State::open(
        origin.state.config.clone(),
        origin.clock.clone(),
        Random::seeded(9),
    )
    .await
    .unwrap();
    let unknown = control_key::activate(&other, "nobody", true)
        .await
        .unwrap_err();
    assert!(matches!(unknown, ActivateError::NotWaiting(kid) if kid == "nobody"));
    let before = list(&origin.state, &both).await.unwrap().sequence();
    origin.advance(279);
    let early = control_key::activate(&other, &kid, false)
        .await
        .unwrap_err();
    assert!(matches!(early, ActivateError::TooEarly(_)), "{early}");
    origin.advance(1);
    control_key::activate(&other, &kid, false).await.unwrap();
    origin.state.publisher.look().await.unwrap();
    let after = list(&origin.state, &both).await.unwrap();
    assert!(after.sequence() > before);
    assert!(
        list(&origin.state, &old).await.is_none(),
        "the old key still signs"
    );
    let new = control_key::to_pin(&origin.state).await.unwrap();
    assert!(new.contains(&kid) && list(&origin.state, &new).await.is_some());
    assert_eq!(
        count(&origin.state, "SELECT COUNT(*) FROM control_keys").await,
        1
    );

    // Once more changes nothing, and a restart signs with it.
    assert!(control_key::activate(&other, &kid, true).await.is_err());
    let again = State::open(
        origin.state.config.clone(),
        origin.clock.clone(),
        Random::seeded(10),
    )
    .await
    .unwrap();
    assert!(list(&again, &new).await.is_some());
}

#[tokio::test]
async fn a_key_that_waits_is_not_lost_to_a_refused_activation() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let kid = control_key::prepare(&origin.state).await.unwrap();
    assert!(
        control_key::activate(&origin.state, "x", true)
            .await
            .is_err()
    );
    let pinned = control_key::to_pin(&origin.state).await.unwrap();
    assert!(pinned.contains(&kid));
    // What is revoked around the change is on the list of the new key.
    origin
        .call(
            axum::http::Method::POST,
            "/api/v1/auth/logout",
            Some(&tokens.access_token),
            None,
        )
        .await
        .expect(204, "");
    control_key::activate(&origin.state, &kid, true)
        .await
        .unwrap();
    let list = list(&origin.state, &pinned).await.unwrap();
    let ring = origin.state.keyring.ring();
    let now = UnixTime(origin.clock.now().unix_seconds());
    let verified = Verifier::new(origin.state.config.issuer(), "api")
        .verify(tokens.access_token.as_bytes(), ring.set(), now)
        .unwrap();
    assert_eq!(list.find(&verified), Some(RevokedBy::Session));
}
