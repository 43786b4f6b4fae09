//! What holds while the database is locked, over a year, and between processes of other settings.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use std::time::{Duration, Instant};

use edgekeep_origin::app::State;
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{Channel, Config, DataDir};
use edgekeep_origin::events::Actor;
use edgekeep_origin::random::Random;
use edgekeep_origin::revocation;
use edgekeep_origin::tokens::keyring::RotateError;
use edgekeep_origin::vault::Secret;
use sqlx::Row as _;
use support::{BEGINNING, Origin, all};

#[tokio::test]
async fn gates_get_the_list_that_is_held_while_the_database_is_locked() {
    let origin = Origin::new().await;
    let before = origin.get("/.well-known/revocations").await;
    assert_eq!(before.status, 200);
    let locked = origin.state.db.write().await.unwrap();
    // Old enough to be signed again.
    origin.advance(3_600);
    let began = Instant::now();
    let replies = all((0..8).map(|_| origin.get("/.well-known/revocations"))).await;
    let elapsed = began.elapsed();
    for reply in replies {
        assert_eq!(reply.headers["etag"], before.headers["etag"]);
    }
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    locked.rollback().await.unwrap();
    let after = origin.get("/.well-known/revocations").await;
    assert_ne!(after.headers["etag"], before.headers["etag"]);
}

#[tokio::test]
async fn one_probe_answers_everybody_for_a_second() {
    let origin = Origin::new().await;
    assert_eq!(origin.get("/ready").await.status, 200);
    let locked = origin.state.db.write().await.unwrap();
    assert_eq!(origin.get("/ready").await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let began = Instant::now();
    let replies = all((0..4).map(|_| origin.get("/ready"))).await;
    for reply in replies {
        reply.expect(503, "unavailable");
    }
    // One wait for the writer, not four.
    assert!(began.elapsed() < Duration::from_secs(9));
    locked.rollback().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(origin.get("/ready").await.status, 200);
}

#[tokio::test]
async fn no_token_outlives_its_session() {
    let origin = Origin::with(|config| {
        config.sessions.idle_seconds = 100;
        config.sessions.absolute_seconds = 100;
    })
    .await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    assert_eq!(tokens.expires_in, 100);
    origin.advance(70);
    let refreshed = origin
        .post(
            "/refresh",
            serde_json::json!({"refresh_token": tokens.refresh_token}),
        )
        .await
        .expect(200, "");
    assert_eq!(refreshed.body["expires_in"], 30);
}

#[tokio::test]
async fn metadata_names_introspection_where_somebody_may_ask() {
    let path = "/.well-known/oauth-authorization-server";
    let document = Origin::new().await.get(path).await.body;
    assert!(document.get("introspection_endpoint").is_none());
    assert!(document.get("revocation_endpoint").is_some());
    let origin = Origin::with(|config| {
        config.gate.introspection_token = Some(Secret::new("t".to_owned()));
    })
    .await;
    let document = origin.get(path).await.body;
    assert!(document["introspection_endpoint"].is_string());
}

#[tokio::test]
async fn old_events_and_lifted_suspensions_go() {
    let origin = Origin::new().await;
    suspensions_go(&origin).await;
}

/// Who can write to the database must not make it keep what is to be forgotten.
#[tokio::test]
async fn upkeep_that_fails_in_one_part_is_done_in_the_others() {
    let origin = Origin::new().await;
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("UPDATE audit_head SET sequence = 'x'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(revocation::clean(&origin.state).await.is_err());
    suspensions_go(&origin).await;
}

/// Of three suspensions the one that was lifted two days ago goes.
async fn suspensions_go(origin: &Origin) {
    let now = BEGINNING.micros();
    let day = 86_400_000_000;
    let mut tx = origin.state.db.write().await.unwrap();
    for (subject, suspended, lifted_at) in
        [(1_u8, 0_i64, now - 2 * day), (2, 0, now - 1), (3, 1, 0)]
    {
        sqlx::query(
            "INSERT INTO code_suspensions (subject, suspended, lifted_at) VALUES ($1, $2, $3)",
        )
        .bind(vec![subject])
        .bind(suspended)
        .bind(lifted_at)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    // Whether all of it succeeds is another question.
    let _ = revocation::clean(&origin.state).await;
    let mut reader = origin.state.db.read().await.unwrap();
    for (sql, left) in [(
        "SELECT subject FROM code_suspensions ORDER BY subject",
        &[2_u8, 3][..],
    )] {
        let rows = sqlx::query(sql).fetch_all(&mut *reader).await.unwrap();
        let ids: Vec<Vec<u8>> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
        assert_eq!(ids.concat(), left, "{sql}");
    }
}

#[tokio::test]
async fn a_command_with_other_settings_keeps_the_servers_rules() {
    let folder = tempfile::tempdir().unwrap();
    let config = |token, max_age| {
        let mut config = Config {
            data_dir: DataDir(folder.path().into()),
            ..Config::default()
        };
        config.notify.email = Channel::Memory;
        config.password.memory_kib = 64;
        config.password.iterations = 1;
        config.tokens.access_token_seconds = token;
        config.keys.jwks_max_age_seconds = max_age;
        config.keys.propagation_seconds = 0;
        config
    };
    let open = |config| State::open(config, Clock::fixed(BEGINNING), Random::Os);
    let server = open(config(3_600, 300)).await.unwrap();
    server.keyring.record(&server.config).await.unwrap();
    let command = open(config(60, 0)).await.unwrap();
    let active = command.keyring.ring().active().unwrap().0.to_owned();
    command
        .keyring
        .revoke(&active, Actor::Operator)
        .await
        .unwrap();
    let mut reader = command.db.read().await.unwrap();
    let row = sqlx::query("SELECT token_seconds FROM signing_keys WHERE state = 'active'")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(row.try_get::<i64, _>(0).unwrap(), 3_600);
    // The standby that the command made is as unknown to verifiers as one of the server's.
    let refused = command.keyring.rotate(Actor::Operator).await;
    assert!(
        matches!(refused, Err(RotateError::TooEarly { wait: 300, .. })),
        "{refused:?}"
    );
}
