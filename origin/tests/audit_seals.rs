//! What follows a trail that was altered: it is sealed as it is, and another begins behind it.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use std::time::Duration;

use axum::http::Method;
use edgekeep_origin::app::State;
use edgekeep_origin::events::chain::{self, Broken, End, Sound};
use edgekeep_origin::events::seals::{self, BeginError, Seal};
use edgekeep_origin::events::{self, Event, Kind, Outcome};
use edgekeep_origin::ids::UserId;
use edgekeep_origin::revocation;
use serde_json::json;
use sqlx::AssertSqlSafe;
use support::Origin;

const DAY: u64 = 86_400;

async fn record(state: &State, user: UserId) {
    let mut tx = state.db.write().await.unwrap();
    let login = Event::own(Kind::Login, Outcome::Success, user).by("password");
    events::record(state, &mut tx, &login).await.unwrap();
    tx.commit().await.unwrap();
}

async fn verify(state: &State, noted: Option<&End>) -> Result<Sound, Broken> {
    let mut reader = state.db.read().await.unwrap();
    chain::verify(&state.vault, &mut reader, noted)
        .await
        .unwrap()
}

async fn execute(state: &State, sql: &str) {
    let mut tx = state.db.write().await.unwrap();
    let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *tx)
        .await
        .unwrap();
    assert!(done.rows_affected() > 0, "{sql} changed nothing");
    tx.commit().await.unwrap();
}

async fn begin(state: &State) -> Seal {
    seals::begin(state, "Grace", None).await.unwrap()
}

/// An origin with five events about one person.
async fn with_events() -> (Origin, UserId) {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    for _ in 0..5 {
        record(&origin.state, user).await;
    }
    (origin, user)
}

const CHANGE: &str = "UPDATE audit_events SET kind = 'logout' WHERE sequence = 3";

/// [`with_events`], of which the third was changed, sealed, with two events of another trail.
async fn sealed() -> (Origin, UserId) {
    let (origin, user) = with_events().await;
    execute(&origin.state, CHANGE).await;
    begin(&origin.state).await;
    record(&origin.state, user).await;
    (origin, user)
}

#[tokio::test]
async fn behind_whatever_was_altered_another_trail_begins() {
    for (sql, events, last, found) in [
        (CHANGE, 5, 5, "event 3 was changed"),
        (
            "DELETE FROM audit_events WHERE sequence = 3",
            4,
            5,
            "event 3 is missing",
        ),
        (
            "DELETE FROM audit_events WHERE sequence >= 4",
            3,
            5,
            "event 4 is missing",
        ),
        ("DELETE FROM audit_events", 0, 5, "event 1 is missing"),
        (
            "UPDATE audit_events SET sequence = 17 WHERE sequence = 5",
            5,
            17,
            "event 5 is missing",
        ),
        (
            "UPDATE audit_events SET details = NULL WHERE sequence = 2",
            5,
            5,
            "the details of event 2 were changed",
        ),
        (
            "UPDATE audit_head SET sequence = 0, hash = '', mac = ''",
            5,
            5,
            "the ends of the trail are not as they were signed",
        ),
        // What cannot be read is sealed as it stands.
        (
            "UPDATE audit_events SET occurred_at = 'x' WHERE sequence = 3",
            5,
            5,
            "event 3 was changed",
        ),
        (
            "UPDATE audit_events SET reason = CAST(X'FF' AS TEXT) WHERE sequence = 3",
            5,
            5,
            "event 3 was changed",
        ),
        (
            "UPDATE audit_events SET sequence = 'x' WHERE sequence = 5",
            4,
            5,
            "event 5 is missing",
        ),
        // The smallest of all numbers is none, the one behind it is.
        (
            "UPDATE audit_events SET sequence = -9223372036854775808 WHERE sequence = 5",
            4,
            5,
            "event 5 is missing",
        ),
        (
            "UPDATE audit_events SET sequence = -9223372036854775807 WHERE sequence = 5",
            5,
            5,
            "event 5 is missing",
        ),
    ] {
        let (mut origin, user) = with_events().await;
        execute(&origin.state, sql).await;
        // A server that runs holds nothing of the trail, and goes on with the new one.
        let running = origin.beside(|_| {}).await.unwrap();
        let seal = begin(&origin.state).await;
        assert_eq!(
            (seal.number, seal.last, seal.events),
            (1, last, events),
            "{sql}"
        );
        assert_eq!(seal.found, found, "{sql}");
        record(&running.state, user).await;
        revocation::clean(&running.state).await.unwrap();
        drop(running);
        origin = origin.restarted().await;
        record(&origin.state, user).await;
        let sound = verify(&origin.state, None).await.unwrap();
        assert_eq!(sound.seals, [seal], "{sql}");
        assert_eq!((sound.events, sound.end.sequence), (3, last + 3), "{sql}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_and_was_sealed_stays_as_it_was_or_it_shows() {
    for (before, after) in [
        ("occurred_at = 'x'", "occurred_at = 'y'"),
        ("occurred_at = 'x'", "occurred_at = 0"),
        ("kind = X'00'", "kind = X'01'"),
        ("kind = X'00'", "reason = X'00'"),
        ("user_id = X'00'", "user_id = NULL"),
        (
            "reason = CAST(X'FF' AS TEXT)",
            "reason = CAST(X'FE' AS TEXT)",
        ),
        ("reason = CAST(X'FF' AS TEXT)", "reason = X'FF'"),
    ] {
        let (origin, user) = with_events().await;
        let set = |change: &str| format!("UPDATE audit_events SET {change} WHERE sequence = 3");
        execute(&origin.state, &set(before)).await;
        begin(&origin.state).await;
        record(&origin.state, user).await;
        assert_eq!(verify(&origin.state, None).await.unwrap().events, 2);
        execute(&origin.state, &set(after)).await;
        let found = verify(&origin.state, None).await;
        assert_eq!(found, Err(Broken::Sealed(5)), "{before}, {after}");
    }
}

#[tokio::test]
async fn a_trail_is_judged_beside_whoever_writes() {
    let (origin, _) = with_events().await;
    let writing = origin.state.db.write().await.unwrap();
    let begun = seals::begin(&origin.state, "Grace", None);
    let refused = tokio::time::timeout(Duration::from_secs(3), begun).await;
    assert!(matches!(refused, Ok(Err(BeginError::Holds))), "{refused:?}");
    writing.rollback().await.unwrap();
}

/// Begins a trail behind one that was changed, while a writer does `meanwhile` between its look and its
/// turn to write.
async fn begin_while(origin: &Origin, meanwhile: &[&str]) -> Result<Seal, BeginError> {
    execute(&origin.state, CHANGE).await;
    let mut writing = origin.state.db.write().await.unwrap();
    let state = origin.state.clone();
    let begun = tokio::spawn(async move { seals::begin(&state, "Grace", None).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    for sql in meanwhile {
        sqlx::query(AssertSqlSafe((*sql).to_owned()))
            .execute(&mut *writing)
            .await
            .unwrap();
    }
    writing.commit().await.unwrap();
    begun.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_between_look_and_turn_is_sealed_too() {
    let (origin, user) = with_events().await;
    let append =
        "INSERT INTO audit_events (sequence, id, occurred_at, kind, outcome, reason, actor,
                                            request_id, details_hash, hash)
                  SELECT 6, X'00', occurred_at, kind, outcome, reason, actor, request_id,
                         details_hash, hash
                  FROM audit_events WHERE sequence = 5";
    let seal = begin_while(&origin, &[append]).await.unwrap();
    assert_eq!((seal.last, seal.events), (6, 6));
    record(&origin.state, user).await;
    let sound = verify(&origin.state, None).await.unwrap();
    assert_eq!((sound.events, sound.end.sequence), (2, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_of_which_a_part_was_removed_meanwhile() {
    let (origin, user) = with_events().await;
    let removal = "DELETE FROM audit_events WHERE sequence = 1";
    let refused = begin_while(&origin, &[removal]).await;
    assert!(matches!(refused, Err(BeginError::Overtaken)), "{refused:?}");
    let seal = begin(&origin.state).await;
    assert_eq!((seal.number, seal.last, seal.events), (1, 5, 4));
    record(&origin.state, user).await;
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 2);
}

#[tokio::test]
async fn a_trail_that_holds_is_not_sealed() {
    let (origin, user) = with_events().await;
    let refused = seals::begin(&origin.state, "Grace", None).await;
    assert!(matches!(refused, Err(BeginError::Holds)), "{refused:?}");
    let sound = verify(&origin.state, None).await.unwrap();
    assert_eq!((sound.events, sound.seals.len()), (5, 0));
    // Unless an end that was noted elsewhere is not in it: then an older copy was put back.
    let noted = End {
        sequence: 5,
        hash: "0".repeat(64),
    };
    let refused = seals::begin(&origin.state, "Grace", Some(&sound.end)).await;
    assert!(matches!(refused, Err(BeginError::Holds)), "{refused:?}");
    let seal = seals::begin(&origin.state, "Grace", Some(&noted)).await;
    assert!(seal.unwrap().found.contains(&noted.to_string()));
    record(&origin.state, user).await;
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 2);
    let refused = seals::begin(&origin.state, "Grace", None).await;
    assert!(matches!(refused, Err(BeginError::Holds)), "{refused:?}");
}

#[tokio::test]
async fn the_first_event_tells_what_was_found_and_who_began_it() {
    let (origin, user) = sealed().await;
    let token = keep::open(&origin.state, user).await.access_token;
    let path = "/api/v1/admin/audit?kind=audit";
    let found = origin.call(Method::GET, path, Some(&token), None).await;
    let found = found.expect(200, "");
    let events = found.body["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    for (name, value) in [
        ("reason", json!("begun")),
        ("actor", json!("operator")),
        ("old", json!("event 3 was changed")),
        ("new", json!({"by": "Grace", "events": 5, "seal": 1})),
    ] {
        assert_eq!(events[0][name], value, "{name}");
    }
    // What was sealed can be looked at like anything else.
    let path = "/api/v1/admin/audit?limit=200";
    let found = origin.call(Method::GET, path, Some(&token), None).await;
    let found = found.expect(200, "");
    assert_eq!(found.body["events"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn what_was_sealed_stays_as_it_was_or_it_shows() {
    for (sql, expected) in [
        (
            "UPDATE audit_events SET kind = 'login' WHERE sequence = 3",
            Broken::Sealed(5),
        ),
        (
            "UPDATE audit_events SET hash = 'x' WHERE sequence = 2",
            Broken::Sealed(5),
        ),
        (
            "UPDATE audit_events SET details_hash = id WHERE sequence = 2",
            Broken::Sealed(5),
        ),
        (
            "DELETE FROM audit_events WHERE sequence = 5",
            Broken::Sealed(5),
        ),
        (
            "INSERT INTO audit_events (sequence, id, occurred_at, kind, outcome, reason, actor,
                                       request_id, details_hash, hash)
             SELECT 0, X'00', occurred_at, kind, outcome, reason, actor, request_id, details_hash, hash
             FROM audit_events WHERE sequence = 5",
            Broken::Sealed(5),
        ),
        ("UPDATE audit_seals SET found = 'nothing'", Broken::Sealed(5)),
        ("UPDATE audit_seals SET sealed_at = 0", Broken::Sealed(5)),
        ("UPDATE audit_seals SET events = 4", Broken::Sealed(5)),
        ("UPDATE audit_seals SET number = 2", Broken::Sealed(5)),
        ("UPDATE audit_seals SET last_sequence = 4", Broken::Sealed(4)),
        ("UPDATE audit_seals SET mac_version = 99", Broken::Sealed(5)),
        // Without the seal its trail is one that somebody has cut.
        ("DELETE FROM audit_seals", Broken::Sealed(5)),
        (
            "UPDATE audit_events SET reason = 'x' WHERE sequence = 6",
            Broken::Changed(6),
        ),
        (
            "DELETE FROM audit_events WHERE sequence = 6",
            Broken::Missing(6),
        ),
        ("UPDATE audit_head SET mac = ''", Broken::Ends),
    ] {
        let (origin, _) = sealed().await;
        execute(&origin.state, sql).await;
        let found = verify(&origin.state, None).await;
        assert_eq!(found, Err(expected), "{sql}");
    }
}

#[tokio::test]
async fn whoever_alters_it_again_is_answered_by_one_more_seal() {
    let (origin, user) = sealed().await;
    // What was sealed, its seal, and the trail behind it.
    for (number, sql) in [
        (2, "DELETE FROM audit_events WHERE sequence = 1"),
        (
            3,
            "UPDATE audit_seals SET found = 'nothing' WHERE number = 1",
        ),
        (
            4,
            "UPDATE audit_seals SET found = 'nothing' WHERE number = 3",
        ),
        (5, "UPDATE audit_head SET mac = ''"),
    ] {
        execute(&origin.state, sql).await;
        if number == 3 {
            // The first seal is covered by the second.
            assert_eq!(verify(&origin.state, None).await, Err(Broken::Sealed(7)));
        }
        assert_eq!(begin(&origin.state).await.number, number, "{sql}");
        record(&origin.state, user).await;
        let sound = verify(&origin.state, None).await.unwrap();
        assert_eq!(sound.events, 2, "{sql}");
        let numbers: Vec<i64> = sound.seals.iter().map(|seal| seal.number).collect();
        assert_eq!(numbers, (1..=number).collect::<Vec<_>>(), "{sql}");
    }
}

#[tokio::test]
async fn what_was_sealed_is_removed_as_a_whole_when_its_time_is_over() {
    let (origin, user) = with_events().await;
    // In an altered trail nobody knows how old an event is.
    let old = "UPDATE audit_events SET occurred_at = 0 WHERE sequence <= 3";
    execute(&origin.state, old).await;
    origin.advance(399 * DAY);
    let seal = begin(&origin.state).await;
    record(&origin.state, user).await;
    let count = async || {
        let mut reader = origin.state.db.read().await.unwrap();
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM audit_events");
        count.fetch_one(&mut *reader).await.unwrap()
    };
    for days in [2, 398] {
        origin.advance(days * DAY);
        revocation::clean(&origin.state).await.unwrap();
        assert_eq!(count().await, 7);
        let sound = verify(&origin.state, None).await.unwrap();
        assert_eq!(sound.seals, std::slice::from_ref(&seal));
    }
    record(&origin.state, user).await;
    origin.advance(1);
    revocation::clean(&origin.state).await.unwrap();
    assert_eq!(count().await, 1);
    let sound = verify(&origin.state, None).await.unwrap();
    assert_eq!((sound.events, sound.seals.len()), (1, 0));
    assert_eq!(sound.end.sequence, 8);
}

#[tokio::test]
async fn the_erasure_of_a_person_leaves_what_was_sealed_sealed() {
    let (origin, user) = sealed().await;
    let mut tx = origin.state.db.write().await.unwrap();
    events::erase_details(&mut tx, user).await.unwrap();
    tx.commit().await.unwrap();
    // Of the new trail, what was taken away has to be explained as ever.
    assert_eq!(verify(&origin.state, None).await, Err(Broken::Details(7)));
    let mut tx = origin.state.db.write().await.unwrap();
    let erasure = Event::new(Kind::Erasure, Outcome::Success, events::Actor::System).about(user);
    events::record(&origin.state, &mut tx, &erasure)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 3);
}

#[tokio::test]
async fn a_number_that_leaves_no_room_is_refused() {
    let (origin, _) = with_events().await;
    let far = i64::MAX;
    let sql = format!("UPDATE audit_events SET sequence = {far} WHERE sequence = 5");
    execute(&origin.state, &sql).await;
    let refused = seals::begin(&origin.state, "Grace", None).await;
    assert!(
        matches!(refused, Err(BeginError::NoRoom(number)) if number == far),
        "{refused:?}"
    );
}
