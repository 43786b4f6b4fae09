//! The life of signing keys: boundaries, races, restarts.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use std::sync::Arc;
use std::time::Duration;

use edgekeep_origin::app::State;
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{Algorithm, Config};
use edgekeep_origin::events::Actor;
use edgekeep_origin::random::Random;
use edgekeep_origin::revocation;
use edgekeep_origin::tokens::judge;
use edgekeep_origin::tokens::keyring::{self, Key, KeyState, RotateError};
use support::Origin;

fn only(state: &State, wanted: KeyState) -> Key {
    let ring = state.keyring.ring();
    let mut keys = ring.keys().iter().filter(|key| key.state == wanted);
    let key = keys.next().unwrap().clone();
    assert!(keys.next().is_none(), "one {wanted:?}");
    key
}

fn published(state: &State) -> Vec<String> {
    let ring = state.keyring.ring();
    ring.set()
        .keys()
        .iter()
        .map(|jwk| jwk.key_id().to_owned())
        .collect()
}

/// A second process over the same data folder.
async fn restart(config: Config, clock: &Clock, seed: u64) -> State {
    State::open(config, clock.clone(), Random::seeded(seed))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_standby_signs_only_when_every_verifier_must_have_seen_it() {
    let origin = Origin::new().await;
    let active = only(&origin.state, KeyState::Active);
    let standby = only(&origin.state, KeyState::Pending);
    assert_eq!(
        published(&origin.state),
        [active.kid.clone(), standby.kid.clone()]
    );

    // 300 seconds of max-age and 60 of propagation.
    for left in [360, 1] {
        match origin.state.keyring.rotate(Actor::Operator).await {
            Err(RotateError::TooEarly {
                kid,
                earliest,
                wait,
            }) => {
                assert_eq!(kid, standby.kid);
                assert_eq!(earliest, support::BEGINNING + Duration::from_mins(6));
                assert_eq!(wait, left);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(only(&origin.state, KeyState::Active).kid, active.kid);
        origin
            .clock
            .advance(Duration::from_micros(359_999_999 * u64::from(left == 360)));
    }
    origin.clock.advance(Duration::from_micros(1));
    origin.state.keyring.rotate(Actor::Operator).await.unwrap();
    assert_eq!(only(&origin.state, KeyState::Active).kid, standby.kid);
    assert_eq!(only(&origin.state, KeyState::Retiring).kid, active.kid);
    let next = only(&origin.state, KeyState::Pending).kid;
    assert_eq!(published(&origin.state), [standby.kid, active.kid, next]);
    assert!(matches!(
        origin.state.keyring.rotate(Actor::Operator).await,
        Err(RotateError::TooEarly { wait: 360, .. })
    ));
}

#[tokio::test]
async fn a_raised_max_age_applies_to_the_key_that_waits() {
    let origin = Origin::new().await;
    let mut config = origin.state.config.clone();
    config.keys.jwks_max_age_seconds = 3_600;
    let state = restart(config, &origin.clock, 2).await;
    origin.advance(360);
    assert!(matches!(
        state.keyring.rotate(Actor::Operator).await,
        Err(RotateError::TooEarly { wait: 3_300, .. })
    ));
}

#[tokio::test]
async fn a_retiring_key_is_published_until_its_last_token_has_expired_everywhere() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    origin.advance(360);
    let tokens = keep::open(&origin.state, user).await;
    let old = only(&origin.state, KeyState::Active).kid;
    origin.state.keyring.rotate(Actor::Operator).await.unwrap();
    assert!(
        judge(&origin.state, tokens.access_token.as_bytes())
            .await
            .is_ok()
    );

    // 900 of token life, 300 of the largest leeway, 60 of margin.
    origin.clock.advance(Duration::from_micros(1_259_999_999));
    origin.state.keyring.maintain().await.unwrap();
    assert!(published(&origin.state).contains(&old));
    origin.clock.advance(Duration::from_micros(1));
    origin.state.keyring.maintain().await.unwrap();
    assert!(!published(&origin.state).contains(&old));
    assert_eq!(only(&origin.state, KeyState::Retired).kid, old);
}

#[tokio::test]
async fn a_shorter_token_life_does_not_retire_keys_of_longer_tokens_early() {
    let origin = Origin::with(|config| config.tokens.access_token_seconds = 7_200).await;
    let mut config = origin.state.config.clone();
    config.tokens.access_token_seconds = 60;
    let state = restart(config, &origin.clock, 2).await;
    origin.advance(360);
    let old = only(&state, KeyState::Active).kid;
    state.keyring.rotate(Actor::Operator).await.unwrap();
    origin.advance(7_200 + 359);
    state.keyring.maintain().await.unwrap();
    assert!(published(&state).contains(&old));
    origin.advance(1);
    state.keyring.maintain().await.unwrap();
    assert!(!published(&state).contains(&old));
}

#[tokio::test]
async fn the_schedule_rotates_once_and_survives_a_restart() {
    let origin = Origin::with(|config| config.keys.rotation_seconds = 86_400).await;
    let first = only(&origin.state, KeyState::Active).kid;
    origin.advance(86_399);
    origin.state.keyring.maintain().await.unwrap();
    assert_eq!(only(&origin.state, KeyState::Active).kid, first);
    // The age is the key's, not the process's.
    let other = restart(origin.state.config.clone(), &origin.clock, 2).await;
    origin.advance(1);
    other.keyring.maintain().await.unwrap();
    let second = only(&other, KeyState::Active).kid;
    assert_ne!(second, first);
    // The first process still holds the old snapshot and is due, too: it changes nothing.
    origin.state.keyring.maintain().await.unwrap();
    assert_eq!(only(&origin.state, KeyState::Active).kid, second);
    assert_eq!(published(&origin.state), published(&other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_origins_that_rotate_at_once_rotate_once() {
    for round in 0..5 {
        let origin = Origin::new().await;
        let other = restart(origin.state.config.clone(), &origin.clock, 2).await;
        origin.advance(360);
        let barrier = Arc::new(tokio::sync::Barrier::new(8));
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..8 {
            let state = if index % 2 == 0 {
                &origin.state
            } else {
                &other
            }
            .clone();
            let barrier = barrier.clone();
            tasks.spawn(async move {
                barrier.wait().await;
                state.keyring.rotate(Actor::Operator).await
            });
        }
        let mut rotated = 0;
        while let Some(outcome) = tasks.join_next().await {
            match outcome.unwrap() {
                Ok(()) => rotated += 1,
                Err(RotateError::Overtaken | RotateError::TooEarly { .. }) => {}
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        assert_eq!(rotated, 1, "round {round}");
        origin.state.keyring.refresh().await.unwrap();
        other.keyring.refresh().await.unwrap();
        assert_eq!(published(&origin.state), published(&other));
        assert_eq!(published(&other).len(), 3);
    }
}

#[tokio::test]
async fn keys_and_tokens_survive_a_restart() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let other = restart(origin.state.config.clone(), &origin.clock, 2).await;
    assert_eq!(published(&origin.state), published(&other));
    assert!(judge(&other, tokens.access_token.as_bytes()).await.is_ok());
}

/// Which algorithm signs, by the words of the published set: active first.
fn algorithms(state: &State) -> Vec<&'static str> {
    let ring = state.keyring.ring();
    let keys = ring.set().keys().iter();
    keys.map(|jwk| jwk.key().algorithm().name()).collect()
}

#[tokio::test]
async fn algorithms_follow_each_other_and_what_the_old_ones_signed_stays_good() {
    let origin = Origin::with(|config| config.tokens.access_token_seconds = 7_200).await;
    let user = keep::user(&origin.state).await;
    let mut issued = vec![keep::open(&origin.state, user).await.access_token];
    let mut state = origin.state.clone();
    for (seed, algorithm, name) in [
        (2, Algorithm::RS256, "RS256"),
        (3, Algorithm::EdDSA, "EdDSA"),
    ] {
        let mut config = origin.state.config.clone();
        config.tokens.algorithm = algorithm;
        config.tokens.rsa_bits = 2048;
        state = restart(config, &origin.clock, seed).await;
        // The standby is of before; the one that is made behind it is the first of the new sort.
        for _ in 0..2 {
            origin.advance(360);
            state.keyring.rotate(Actor::Operator).await.unwrap();
        }
        assert_eq!(algorithms(&state)[0], name);
        issued.push(keep::open(&state, user).await.access_token);
    }
    assert_eq!(
        algorithms(&state),
        ["EdDSA", "ES256", "ES256", "RS256", "RS256", "EdDSA"],
        "the active one, those that retire, the standby"
    );
    origin.state.keyring.refresh().await.unwrap();
    for judging in [&state, &origin.state] {
        for token in &issued {
            assert!(judge(judging, token.as_bytes()).await.is_ok());
        }
    }
    // The private half of an RSA key, too, is erased with its last signature, and not before.
    let mut reader = origin.state.db.read().await.unwrap();
    let left: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM signing_keys WHERE algorithm = 'RS256' AND private_key IS NOT NULL",
    )
    .fetch_one(&mut *reader)
    .await
    .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_rsa_key_survives_a_restart_sealed_and_has_the_length_that_was_set() {
    let origin = Origin::with(|config| {
        config.tokens.algorithm = Algorithm::RS256;
        config.tokens.rsa_bits = 2048;
    })
    .await;
    let user = keep::user(&origin.state).await;
    let token = keep::open(&origin.state, user).await.access_token;
    let mut config = origin.state.config.clone();
    config.tokens.rsa_bits = 3072;
    let other = restart(config, &origin.clock, 2).await;
    assert!(judge(&other, token.as_bytes()).await.is_ok());
    let later = keep::open(&other, user).await.access_token;
    assert!(judge(&origin.state, later.as_bytes()).await.is_ok());
    origin.advance(360);
    other.keyring.rotate(Actor::Operator).await.unwrap();
    let set: serde_json::Value =
        serde_json::from_slice(other.keyring.ring().document().bytes()).unwrap();
    let lengths: Vec<usize> = set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            assert_eq!((&key["alg"], &key["e"]), (&"RS256".into(), &"AQAB".into()));
            key["n"].as_str().unwrap().len() * 6 / 8
        })
        .collect();
    assert_eq!(lengths, [256, 256, 384]);
    let mut reader = origin.state.db.read().await.unwrap();
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT private_key FROM signing_keys WHERE private_key IS NOT NULL")
            .fetch_all(&mut *reader)
            .await
            .unwrap();
    assert_eq!(rows.len(), 2, "the active key and its standby");
    // PKCS#8 is a DER sequence, of a length in two bytes, and says `rsaEncryption`.
    let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    for sealed in rows {
        assert!(!sealed.windows(oid.len()).any(|window| window == oid));
    }
}

#[tokio::test]
async fn revoking_the_active_key_promotes_the_standby_at_once() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let (active, standby) = (
        only(&origin.state, KeyState::Active).kid,
        only(&origin.state, KeyState::Pending).kid,
    );
    origin
        .state
        .keyring
        .revoke(&active, Actor::Operator)
        .await
        .unwrap();
    assert_eq!(only(&origin.state, KeyState::Active).kid, standby);
    assert_eq!(only(&origin.state, KeyState::Revoked).kid, active);
    let next = only(&origin.state, KeyState::Pending).kid;
    assert_eq!(published(&origin.state), [standby.clone(), next.clone()]);
    assert!(
        judge(&origin.state, tokens.access_token.as_bytes())
            .await
            .is_err()
    );
    let later = keep::open(&origin.state, user).await;
    assert!(
        judge(&origin.state, later.access_token.as_bytes())
            .await
            .is_ok()
    );

    // Again, and of a key that waits.
    origin
        .state
        .keyring
        .revoke(&active, Actor::Operator)
        .await
        .unwrap();
    assert_eq!(only(&origin.state, KeyState::Active).kid, standby);
    origin
        .state
        .keyring
        .revoke(&next, Actor::Operator)
        .await
        .unwrap();
    assert_ne!(only(&origin.state, KeyState::Pending).kid, next);
    assert_eq!(only(&origin.state, KeyState::Active).kid, standby);
    assert!(matches!(
        origin.state.keyring.revoke("nobody", Actor::Operator).await,
        Err(RotateError::Unknown(_))
    ));
    // Its entry never expires.
    origin.advance(10 * 365 * 86_400);
    origin.state.publisher.remove_expired().await.unwrap();
    assert_eq!(origin.state.publisher.current().await.unwrap().entries, 2);
}

#[tokio::test]
async fn a_revocation_does_not_wait_for_the_key_of_rsa_that_is_made_after_it() {
    let origin = Origin::with(|config| {
        config.tokens.algorithm = Algorithm::RS256;
        config.tokens.rsa_bits = 2048;
    })
    .await;
    let keyring = &origin.state.keyring;
    let waiting = || {
        let ring = keyring.ring();
        let pending = ring.keys().iter();
        pending.filter(|key| key.state == KeyState::Pending).count()
    };
    let active = only(&origin.state, KeyState::Active).kid;
    let standby = only(&origin.state, KeyState::Pending).kid;
    keyring.revoke(&active, Actor::Operator).await.unwrap();
    assert_eq!(only(&origin.state, KeyState::Active).kid, standby);
    assert_eq!(waiting(), 0);
    // Without one to take its place another is made first: something has to sign.
    keyring.revoke(&standby, Actor::Operator).await.unwrap();
    let made = only(&origin.state, KeyState::Active).kid;
    assert!(made != active && made != standby);
    assert_eq!((waiting(), published(&origin.state).len()), (0, 1));
    keyring.maintain().await.unwrap();
    assert_eq!((waiting(), published(&origin.state).len()), (1, 2));
    assert_eq!(only(&origin.state, KeyState::Active).kid, made);
}

#[tokio::test]
async fn nobody_waits_for_a_key_that_a_revocation_makes_first() {
    let origin = Origin::new().await;
    let active = only(&origin.state, KeyState::Active).kid;
    let (keyring, db) = (&origin.state.keyring, &origin.state.db);
    // Another process takes the standby while the revocation waits for its turn to write.
    let mut writing = db.write().await.unwrap();
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        sqlx::query("DELETE FROM signing_keys WHERE state = 'pending'")
            .execute(&mut *writing)
            .await
            .unwrap();
        writing.commit().await.unwrap();
        // Who comes next finds nothing done yet.
        let mut next = db.write().await.unwrap();
        let signing: String =
            sqlx::query_scalar("SELECT kid FROM signing_keys WHERE state = 'active'")
                .fetch_one(&mut *next)
                .await
                .unwrap();
        next.rollback().await.unwrap();
        signing
    };
    let (revoked, signing) = tokio::join!(keyring.revoke(&active, Actor::Operator), meanwhile);
    revoked.unwrap();
    assert_eq!(signing, active);
    assert_ne!(only(&origin.state, KeyState::Active).kid, active);
}

#[tokio::test]
async fn what_is_missing_since_a_process_was_killed_is_made_once() {
    for lost in [KeyState::Pending, KeyState::Active] {
        let origin = Origin::new().await;
        let other = restart(origin.state.config.clone(), &origin.clock, 2).await;
        let mut tx = origin.state.db.write().await.unwrap();
        sqlx::query("DELETE FROM signing_keys WHERE state = $1")
            .bind(lost.name())
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'keyring'")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        for state in [&origin.state, &other] {
            state.keyring.refresh().await.unwrap();
        }
        for state in [&origin.state, &other] {
            state.keyring.maintain().await.unwrap();
            only(state, KeyState::Active);
            only(state, KeyState::Pending);
        }
        assert_eq!(published(&origin.state), published(&other));
    }
}

/// A key of RSA takes seconds to make.
#[tokio::test]
async fn whoever_tells_the_gates_makes_no_keys() {
    let origin = Origin::with(|config| {
        config.keys.rotation_seconds = 86_400;
        config.revocation.poll_milliseconds = 10;
    })
    .await;
    let first = only(&origin.state, KeyState::Active).kid;
    origin.advance(86_400);
    let telling = tokio::spawn(revocation::keep_current(origin.state.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(origin.state.publisher.held().is_some());
    assert_eq!(only(&origin.state, KeyState::Active).kid, first);
    let keeping = tokio::spawn(keyring::keep(origin.state.clone()));
    for _ in 0..100 {
        if only(&origin.state, KeyState::Active).kid != first {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(only(&origin.state, KeyState::Active).kid, first);
    for task in [telling, keeping] {
        assert!(!task.is_finished());
        task.abort();
    }
}

#[tokio::test]
async fn private_halves_are_sealed_and_gone_when_they_sign_nothing_more() {
    let origin = Origin::new().await;
    origin.advance(360);
    origin.state.keyring.rotate(Actor::Operator).await.unwrap();
    let mut reader = origin.state.db.read().await.unwrap();
    let rows = sqlx::query("SELECT state, private_key FROM signing_keys")
        .fetch_all(&mut *reader)
        .await
        .unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        use sqlx::Row as _;
        let state: String = row.try_get("state").unwrap();
        let sealed: Option<Vec<u8>> = row.try_get("private_key").unwrap();
        assert_eq!(sealed.is_some(), state != "retiring", "{state}");
        // Version, nonce, 32 bytes and a tag: nothing that is a key as it stands.
        assert!(sealed.is_none_or(|bytes| bytes.len() == 1 + 12 + 32 + 16));
    }
}

#[tokio::test]
async fn a_public_half_changed_in_the_database_is_not_published() {
    let origin = Origin::new().await;
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query(
        "UPDATE signing_keys SET public_jwk =
             (SELECT public_jwk FROM signing_keys WHERE state = 'pending')
         WHERE state = 'active'",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let opened = State::open(
        origin.state.config.clone(),
        origin.clock.clone(),
        Random::seeded(2),
    )
    .await;
    assert!(opened.is_err());
}
