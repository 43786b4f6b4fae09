//! The audit trail: what is in it, who may read it, and that tampering shows.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod sent;
mod support;

use axum::http::Method;
use edgekeep_origin::app::State;
use edgekeep_origin::events::chain::{self, Broken, End, Sound};
use edgekeep_origin::events::{self, Actor, Change, Event, Kind, Outcome};
use edgekeep_origin::ids::{SessionId, UserId};
use edgekeep_origin::request::Caller;
use edgekeep_origin::revocation;
use sent::logged;
use serde_json::json;
use sqlx::AssertSqlSafe;
use support::{Origin, all};

async fn record(state: &State, event: &Event<'_>) {
    let mut tx = state.db.write().await.unwrap();
    events::record(state, &mut tx, event).await.unwrap();
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

fn login(user: UserId) -> Event<'static> {
    Event::own(Kind::Login, Outcome::Success, user).by("password")
}

/// An origin with `count` events about one person.
async fn with_events(count: usize) -> (Origin, UserId) {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    for _ in 0..count {
        record(&origin.state, &login(user)).await;
    }
    (origin, user)
}

#[tokio::test]
async fn a_trail_that_nobody_touched_holds() {
    let origin = Origin::new().await;
    let empty = verify(&origin.state, None).await.unwrap();
    assert_eq!((empty.events, empty.end.to_string().as_str()), (0, "0:"));
    let user = keep::user(&origin.state).await;
    record(&origin.state, &login(user)).await;
    let noted = verify(&origin.state, None).await.unwrap().end;
    record(&origin.state, &login(user)).await;
    let sound = verify(&origin.state, Some(&noted)).await.unwrap();
    assert_eq!((sound.events, sound.end.sequence), (2, 2));
    assert_eq!(
        verify(&origin.state, Some(&sound.end)).await.unwrap(),
        sound
    );
    let other = End {
        hash: "0".repeat(64),
        ..noted
    };
    assert!(matches!(
        verify(&origin.state, Some(&other)).await,
        Err(Broken::NotThrough(_))
    ));
}

#[tokio::test]
async fn whatever_is_changed_in_the_database_shows() {
    for (sql, expected) in [
        ("UPDATE audit_events SET occurred_at = occurred_at + 1 WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET kind = 'logout' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET outcome = 'failure' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET reason = 'x' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET actor = 'system' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET user_id = NULL WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET session_id = id WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET request_id = 'x' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET details_hash = id WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET hash = 'x' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET details = id WHERE sequence = 3", Broken::Details(3)),
        // What SQLite keeps in a column whatever its type, and no event was ever written with.
        ("UPDATE audit_events SET occurred_at = 'x' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET id = 'x' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET kind = X'00' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET hash = X'00' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET user_id = X'00' WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET session_id = 1.5 WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET reason = CAST(X'FF' AS TEXT) WHERE sequence = 3", Broken::Changed(3)),
        ("UPDATE audit_events SET details = 'x' WHERE sequence = 3", Broken::Details(3)),
        (
            "UPDATE audit_events SET details = CAST(X'FF' AS TEXT) WHERE sequence = 3",
            Broken::Details(3),
        ),
        ("UPDATE audit_events SET sequence = 'x' WHERE sequence = 3", Broken::Missing(3)),
        ("UPDATE audit_events SET sequence = 1.5 WHERE sequence = 3", Broken::Missing(3)),
        (
            "UPDATE audit_events SET details =
                 (SELECT details FROM audit_events AS other WHERE other.sequence = 2)
             WHERE sequence = 3",
            Broken::Details(3),
        ),
        ("DELETE FROM audit_events WHERE sequence = 3", Broken::Missing(3)),
        ("DELETE FROM audit_events WHERE sequence = 5", Broken::Missing(5)),
        ("DELETE FROM audit_events WHERE sequence = 1", Broken::Missing(1)),
        ("DELETE FROM audit_events", Broken::Missing(1)),
        ("UPDATE audit_events SET sequence = 6 WHERE sequence = 5", Broken::Missing(5)),
        (
            "INSERT INTO audit_events (sequence, id, occurred_at, kind, outcome, reason, actor,
                                       request_id, details_hash, hash)
             SELECT 6, X'00', occurred_at, kind, outcome, reason, actor, request_id, details_hash, hash
             FROM audit_events WHERE sequence = 5",
            Broken::Behind(6),
        ),
        (
            "UPDATE audit_head SET sequence = 4,
                 hash = (SELECT hash FROM audit_events WHERE audit_events.sequence = 4)",
            Broken::Ends,
        ),
        (
            "UPDATE audit_head SET start_sequence = 1,
                 start_hash = (SELECT hash FROM audit_events WHERE audit_events.sequence = 1)",
            Broken::Ends,
        ),
        ("UPDATE audit_head SET mac = '', sequence = 0, hash = ''", Broken::Ends),
        ("UPDATE audit_head SET mac_version = 99", Broken::Ends),
        ("UPDATE audit_head SET mac_version = -1", Broken::Ends),
        ("UPDATE audit_events SET details = NULL WHERE sequence = 3", Broken::Details(3)),
        ("UPDATE audit_events SET details = NULL WHERE sequence >= 4", Broken::Details(4)),
    ] {
        let (origin, _) = with_events(5).await;
        execute(&origin.state, sql).await;
        let found = verify(&origin.state, None).await;
        assert_eq!(found, Err(expected), "{sql}");
    }
}

/// Takes the trail away as whoever can write to the database would, to before the first event.
const EMPTYING: &[&str] = &[
    "DELETE FROM audit_events",
    "UPDATE audit_head SET start_sequence = 0, start_hash = '', sequence = 0, hash = '', mac = '',
         mac_version = 0",
];

/// Cuts the last event off, and lets the trail end before it.
const CUTTING: &[&str] = &[
    "DELETE FROM audit_events WHERE sequence = 5",
    "UPDATE audit_head SET sequence = 4,
         hash = (SELECT hash FROM audit_events WHERE audit_events.sequence = 4)",
];

#[tokio::test]
async fn what_was_altered_is_never_signed_again() {
    // Also what makes events old, so that retention takes away what was changed.
    for (alterations, what_follows) in [
        (EMPTYING, "an event"),
        (EMPTYING, "a restart"),
        (EMPTYING, "the upkeep"),
        (CUTTING, "an event"),
        (CUTTING, "the upkeep"),
        (
            &["UPDATE audit_head SET start_sequence = 1,
                   start_hash = (SELECT hash FROM audit_events WHERE audit_events.sequence = 1)"],
            "an event",
        ),
        (
            &["UPDATE audit_events SET occurred_at = 0 WHERE sequence <= 3"],
            "the upkeep",
        ),
        (
            &["UPDATE audit_events SET occurred_at = 0, kind = 'logout' WHERE sequence <= 5"],
            "the upkeep",
        ),
        (
            &[
                "UPDATE audit_events SET occurred_at = 0 WHERE sequence <= 3",
                "DELETE FROM audit_events WHERE sequence = 2",
            ],
            "the upkeep",
        ),
    ] {
        let (mut origin, user) = with_events(5).await;
        for sql in alterations {
            execute(&origin.state, sql).await;
        }
        match what_follows {
            "a restart" => origin = origin.restarted().await,
            "the upkeep" => revocation::clean(&origin.state).await.unwrap(),
            _ => record(&origin.state, &login(user)).await,
        }
        let found = verify(&origin.state, None).await;
        assert_eq!(found, Err(Broken::Ends), "{alterations:?}, {what_follows}");
        // Nor by what happens after.
        record(&origin.state, &login(user)).await;
        revocation::clean(&origin.state).await.unwrap();
        let beside = origin.beside(|_| {}).await.unwrap();
        record(&beside.state, &login(user)).await;
        let found = verify(&origin.state, None).await;
        assert_eq!(found, Err(Broken::Ends), "{alterations:?}, {what_follows}");
    }
}

#[tokio::test]
async fn a_row_before_the_beginning_is_not_of_the_trail() {
    let (origin, _) = with_events(5).await;
    execute(
        &origin.state,
        "INSERT INTO audit_events (sequence, id, occurred_at, kind, outcome, reason, actor,
                                   request_id, details_hash, hash)
         SELECT 0, X'00', 0, kind, outcome, reason, actor, request_id, details_hash, hash
         FROM audit_events WHERE sequence = 5",
    )
    .await;
    revocation::clean(&origin.state).await.unwrap();
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 5);
}

#[tokio::test]
async fn what_is_sealed_is_erased_with_the_person_and_the_chain_holds() {
    let (origin, user) = with_events(3).await;
    let erase = async || {
        let mut tx = origin.state.db.write().await.unwrap();
        events::erase_details(&mut tx, user).await.unwrap();
        tx.commit().await.unwrap();
    };
    erase().await;
    let found = verify(&origin.state, None).await;
    assert_eq!(found, Err(Broken::Details(1)), "nothing says why");
    let erasure = Event::new(Kind::Erasure, Outcome::Success, Actor::System).about(user);
    record(&origin.state, &erasure).await;
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 4);
    // An erasure explains what is before it, of the same person.
    let other = keep::user(&origin.state).await;
    record(&origin.state, &login(other)).await;
    record(&origin.state, &login(user)).await;
    for sequence in [5, 6] {
        let sql = format!("UPDATE audit_events SET details = NULL WHERE sequence = {sequence}");
        execute(&origin.state, &sql).await;
        let found = verify(&origin.state, None).await;
        assert_eq!(found, Err(Broken::Details(5)), "{sequence}");
    }
}

#[tokio::test]
async fn retention_takes_from_the_beginning_and_the_rest_holds() {
    let (origin, user) = with_events(3).await;
    origin.advance(399 * 86_400);
    record(&origin.state, &login(user)).await;
    revocation::clean(&origin.state).await.unwrap();
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 4);
    origin.advance(86_400 + 1);
    revocation::clean(&origin.state).await.unwrap();
    let sound = verify(&origin.state, None).await.unwrap();
    assert_eq!((sound.events, sound.end.sequence), (1, 4));
    execute(&origin.state, "DELETE FROM audit_events WHERE sequence = 4").await;
    assert_eq!(verify(&origin.state, None).await, Err(Broken::Missing(4)));
    // Everything may have had its time.
    let (origin, _) = with_events(2).await;
    origin.advance(401 * 86_400);
    revocation::clean(&origin.state).await.unwrap();
    let sound = verify(&origin.state, None).await.unwrap();
    assert_eq!((sound.events, sound.end.sequence), (0, 2));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_hides_no_other_and_outlives_none() {
    for change in [
        "id = 'x'",
        "occurred_at = 'x'",
        "kind = X'00'",
        "reason = CAST(X'FF' AS TEXT)",
        "session_id = X'00'",
        "details_hash = 'x'",
        "details = 'x'",
        "details = X'00'",
        "details = CAST(X'FF' AS TEXT)",
        "hash = X'00'",
        "sequence = 'x'",
        "sequence = 1.5",
        "sequence = -9223372036854775808",
        "sequence = 'x', occurred_at = 'x'",
    ] {
        let (origin, user) = with_events(3).await;
        let token = keep::open(&origin.state, user).await.access_token;
        let sql = format!("UPDATE audit_events SET {change} WHERE sequence = 2");
        execute(&origin.state, &sql).await;
        for path in [
            format!("/api/v1/auth/security-events/{user}"),
            "/api/v1/admin/audit".to_owned(),
        ] {
            let reply = origin.call(Method::GET, &path, Some(&token), None).await;
            let reply = reply.expect(200, "");
            let found = reply.body["events"].as_array().unwrap();
            let numbers: Vec<i64> = found
                .iter()
                .filter(|event| event.get("unreadable").is_none())
                .map(|event| event["sequence"].as_i64().unwrap())
                .collect();
            assert_eq!(numbers, [3, 1], "{change}");
            // One without a number, or at no time, is nowhere in an order by number or time.
            let is_placeless = change.starts_with("sequence") || change.starts_with("occurred_at");
            let event = found.iter().find(|event| event["sequence"] == 2);
            assert_eq!(event.is_none(), is_placeless, "{change}");
            assert!(event.is_none_or(|event| event["unreadable"] == true));
        }
        let copy = "/api/v1/auth/account/export";
        let copy = origin.call(Method::GET, copy, Some(&token), None).await;
        assert_ne!(copy.status, 500, "{change}");
        // Also where the last event that is removed is this one.
        execute(
            &origin.state,
            "UPDATE audit_events SET occurred_at = 0 WHERE sequence = 1",
        )
        .await;
        revocation::clean(&origin.state).await.unwrap();
        origin.advance(401 * 86_400);
        revocation::clean(&origin.state).await.unwrap();
        // Nothing is left but what the upkeep itself may have written.
        let mut reader = origin.state.db.read().await.unwrap();
        let left: Vec<(String, String)> = sqlx::query_as(
            "SELECT CAST(sequence AS TEXT), CAST(occurred_at AS TEXT) FROM audit_events
             WHERE typeof(occurred_at) <> 'integer' OR occurred_at < $1",
        )
        .bind(origin.clock.now())
        .fetch_all(&mut *reader)
        .await
        .unwrap();
        assert_eq!(left, [], "{change}");
    }
}

#[tokio::test]
async fn what_does_not_open_is_told_to_the_log_once_an_answer() {
    logged::start_at(tracing::Level::ERROR);
    let (origin, user) = with_events(3).await;
    let token = keep::open(&origin.state, user).await.access_token;
    let sql = "UPDATE audit_events SET details = X'00' WHERE sequence >= 2";
    execute(&origin.state, sql).await;
    let path = format!("/api/v1/auth/security-events/{user}");
    let reply = origin.call(Method::GET, &path, Some(&token), None).await;
    reply.expect(200, "");
    logged::holds("does not open why=sealed value does not open unopened=2");
}

#[tokio::test]
async fn events_that_come_together_are_chained_one_after_another() {
    let (origin, user) = with_events(0).await;
    let state = &origin.state;
    let event = login(user);
    all((0..100).map(|_| record(state, &event))).await;
    assert_eq!(verify(state, None).await.unwrap().events, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trail_that_grows_meanwhile_holds() {
    let (origin, user) = with_events(1_000).await;
    let state = origin.state.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let mut written = 0_u64;
        while stopped.try_recv().is_err() {
            record(&state, &login(user)).await;
            written += 1;
        }
        written
    });
    let mut last = 0;
    for _ in 0..20 {
        let sound = verify(&origin.state, None).await.unwrap();
        assert!(sound.events >= last);
        last = sound.events;
    }
    stop.send(()).unwrap();
    let written = writer.await.unwrap();
    assert!(written > 0);
    assert_eq!(
        verify(&origin.state, None).await.unwrap().events,
        1_000 + written
    );
}

#[tokio::test]
async fn a_change_that_is_rolled_back_leaves_no_event() {
    let (origin, user) = with_events(1).await;
    let mut tx = origin.state.db.write().await.unwrap();
    events::record(&origin.state, &mut tx, &login(user))
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 1);
    record(&origin.state, &login(user)).await;
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 2);
}

#[tokio::test]
async fn people_read_their_own_events_and_administrators_all() {
    let origin = Origin::new().await;
    let admin = keep::user(&origin.state).await;
    let admin_token = keep::open(&origin.state, admin).await.access_token;
    let person = keep::user(&origin.state).await;
    execute(
        &origin.state,
        "UPDATE users SET roles = '[]' WHERE created_at = 0 AND id <> (SELECT MIN(user_id) FROM sessions)",
    )
    .await;
    let token = keep::open(&origin.state, person).await.access_token;
    let caller = Caller {
        request_id: Some("request-17".to_owned()),
        address: Some([198, 51, 100, 7].into()),
        user_agent: Some("agent".to_owned()),
        ..Caller::default()
    };
    let change = Event::new(Kind::Roles, Outcome::Success, Actor::User(admin))
        .about(person)
        .from(&caller)
        .changing(Change::new(json!(["a"]), json!(["a", "b"])));
    record(&origin.state, &change).await;
    for _ in 0..3 {
        record(&origin.state, &login(person)).await;
    }
    record(&origin.state, &login(admin)).await;

    let get = |token: &str, path: String| {
        let token = token.to_owned();
        let origin = &origin;
        async move { origin.call(Method::GET, &path, Some(&token), None).await }
    };
    let own = format!("/api/v1/auth/security-events/{person}");
    let reply = get(&token, own.clone()).await.expect(200, "");
    let found = reply.body["events"].as_array().unwrap();
    assert_eq!(found.len(), 4);
    let first = &found[3];
    assert_eq!(first["kind"], "roles");
    assert_eq!(first["actor"], format!("user {admin}"));
    assert_eq!(first["request_id"], "request-17");
    // From where an administrator acted is not the person's to know.
    assert_eq!(first.get("ip_address"), None);
    assert_eq!(first.get("user_agent"), None);
    assert_eq!(
        (&first["old"], &first["new"]),
        (&json!(["a"]), &json!(["a", "b"]))
    );
    assert_eq!(found[0]["method"], "password");
    // By pages, and by kind.
    let page = get(&token, format!("{own}?limit=2")).await.expect(200, "");
    let next = page.body["next"].as_i64().unwrap();
    let rest = get(&token, format!("{own}?limit=3&before={next}"))
        .await
        .expect(200, "");
    assert_eq!(rest.body["events"].as_array().unwrap().len(), 2);
    assert_eq!(rest.body["next"], json!(null));
    let logins = get(&token, format!("{own}?kind=login&outcome=success")).await;
    assert_eq!(logins.body["events"].as_array().unwrap().len(), 3);
    for wrong in [
        "limit=0",
        "limit=201",
        "kind=x",
        "outcome=x",
        "limit=x",
        "who=x",
        "before=x",
    ] {
        let reply = get(&token, format!("{own}?{wrong}")).await;
        assert_eq!(reply.status.as_u16(), 400, "{wrong}");
    }
    // Another's: not for a person, for an administrator.
    let other = format!("/api/v1/auth/security-events/{admin}");
    get(&token, other).await.expect(404, "not_found");
    get(&token, "/api/v1/auth/security-events/x".to_owned())
        .await
        .expect(404, "not_found");
    let seen = get(&admin_token, own).await.expect(200, "");
    assert_eq!(seen.body["events"].as_array().unwrap().len(), 4);
    let everything = "/api/v1/admin/audit".to_owned();
    get(&token, everything.clone())
        .await
        .expect(403, "insufficient_role");
    let seen = get(&admin_token, everything).await.expect(200, "");
    assert_eq!(seen.body["events"].as_array().unwrap().len(), 5);
    for (filter, count) in [
        ("request_id=request-17".to_owned(), 1),
        (format!("actor=user%20{admin}"), 2),
        (format!("actor=user%20{admin}&kind=roles"), 1),
        ("actor=operator".to_owned(), 0),
        (format!("session_id={}", SessionId::from_bytes([7; 16])), 0),
    ] {
        let path = format!("/api/v1/admin/audit?{filter}");
        let seen = get(&admin_token, path).await.expect(200, "");
        let seen = seen.body["events"].as_array().unwrap();
        assert_eq!(seen.len(), count, "{filter}");
        if filter.starts_with("request_id") {
            assert_eq!(seen[0]["ip_address"], "198.51.100.7");
        }
    }
    // A person who is no longer an administrator is none, whatever their token says.
    execute(&origin.state, "UPDATE users SET roles = '[]'").await;
    get(&admin_token, "/api/v1/admin/audit".to_owned())
        .await
        .expect(403, "insufficient_role");
}

#[tokio::test]
async fn where_somebody_acted_from_who_cannot_be_read_is_not_shown() {
    let (origin, person) = with_events(0).await;
    let token = keep::open(&origin.state, person).await.access_token;
    let caller = Caller {
        address: Some([198, 51, 100, 7].into()),
        user_agent: Some("agent".to_owned()),
        ..Caller::default()
    };
    let administrator = keep::user(&origin.state).await;
    let change = Event::new(Kind::Roles, Outcome::Success, Actor::User(administrator));
    record(&origin.state, &change.about(person).from(&caller)).await;
    for actor in ["X'00'", "CAST(X'FF' AS TEXT)", "'somebody'"] {
        let sql = format!("UPDATE audit_events SET actor = {actor}");
        execute(&origin.state, &sql).await;
        let path = format!("/api/v1/auth/security-events/{person}");
        let reply = origin.call(Method::GET, &path, Some(&token), None).await;
        let reply = reply.expect(200, "");
        let event = &reply.body["events"][0];
        assert_eq!(event["sequence"], 1, "{event}");
        for hidden in ["ip_address", "user_agent"] {
            assert_eq!(event.get(hidden), None, "{actor}");
        }
    }
}

#[tokio::test]
async fn the_erasure_of_a_person_does_not_say_from_where() {
    let origin = Origin::with(|config| config.accounts.deletion_grace_seconds = 0).await;
    let admin = keep::user(&origin.state).await;
    let admin_token = keep::open(&origin.state, admin).await.access_token;
    let person = keep::user(&origin.state).await;
    let token = keep::open(&origin.state, person).await.access_token;
    let path = "/api/v1/auth/account";
    let left = origin.call(Method::DELETE, path, Some(&token), None).await;
    left.expect(202, "");
    let path = "/api/v1/admin/audit?kind=erasure";
    let found = origin
        .call(Method::GET, path, Some(&admin_token), None)
        .await;
    let found = found.expect(200, "");
    let event = &found.body["events"][0];
    assert_eq!(event["user_id"], person.to_string());
    assert_eq!(
        (&event["ip_address"], &event["user_agent"]),
        (&json!(null), &json!(null))
    );
    assert!(
        event["request_id"]
            .as_str()
            .is_some_and(|id| !id.is_empty())
    );
}

#[tokio::test]
async fn nothing_of_a_person_stands_in_the_trail_in_the_clear() {
    let (origin, user) = with_events(0).await;
    let caller = Caller {
        address: Some([198, 51, 100, 77].into()),
        user_agent: Some("very-rare-agent".to_owned()),
        ..Caller::default()
    };
    let event = login(user)
        .from(&caller)
        .changing(Change::new("ada@example.com", "ada@example.org"));
    record(&origin.state, &event).await;
    origin.state.db.close().await;
    let folder = origin.state.config.data_dir.as_path();
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["ada@example", "very-rare-agent", "198.51.100.77"] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
}

#[tokio::test]
async fn passwords_that_were_tried_changed_and_reset_are_in_the_trail() {
    const EMAIL: &str = "ada@example.org";
    let origin = Origin::new().await;
    let register = json!({"email": EMAIL, "password": "correct horse battery"});
    origin.post("/register", register).await.expect(202, "");
    let proof = json!({"email": EMAIL, "code": origin.code(EMAIL)});
    let tokens = origin.post("/register/verify", proof).await.expect(200, "");
    let user: UserId = tokens.body["user"]["id"].as_str().unwrap().parse().unwrap();
    for (identifier, password) in [
        (EMAIL, "wrong horse battery"),
        ("nobody@example.org", "wrong horse battery"),
    ] {
        let body = json!({"identifier": identifier, "password": password});
        let reply = origin.post("/login", body).await;
        reply.expect(401, "credentials_invalid");
    }
    for (current, status) in [("wrong horse battery", 401), ("correct horse battery", 204)] {
        let change = json!({"current_password": current, "new_password": "another horse battery"});
        let path = "/api/v1/auth/change-password";
        let token = Some(tokens.text("access_token"));
        let reply = origin.call(Method::POST, path, token, Some(change)).await;
        assert_eq!(reply.status, status);
    }
    for identifier in [EMAIL, "nobody@example.org"] {
        let body = json!({"identifier": identifier});
        let reply = origin.post("/forgot-password", body).await;
        reply.expect(202, "");
    }
    let mail = origin.message(EMAIL).unwrap().text;
    let token = mail.split("token=").nth(1).unwrap();
    let token = token.split([' ', '\n']).next().unwrap();
    let reset = json!({"token": token, "password": "a third horse battery"});
    origin.post("/reset-password", reset).await.expect(204, "");

    let mut reader = origin.state.db.read().await.unwrap();
    let rows: Vec<(String, String, String, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT kind, outcome, reason, user_id FROM audit_events ORDER BY sequence")
            .fetch_all(&mut *reader)
            .await
            .unwrap();
    let seen: Vec<(&str, &str, &str, bool)> = rows
        .iter()
        .map(|(kind, outcome, reason, about)| {
            let known = about.as_deref() == Some(user.as_bytes().as_slice());
            assert!(known || about.is_none());
            (kind.as_str(), outcome.as_str(), reason.as_str(), known)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("code", "success", "register", false),
            ("registration", "success", "", true),
            ("trusted_device", "success", "trusted", true),
            ("login", "success", "", true),
            ("login", "failure", "credentials_invalid", true),
            ("login", "failure", "credentials_invalid", false),
            ("password", "failure", "credentials_invalid", true),
            ("password", "success", "changed", true),
            ("trusted_device", "success", "removed", true),
            ("password_reset", "success", "asked", true),
            ("password_reset", "success", "asked", false),
            ("session_end", "success", "user", true),
            ("password", "success", "reset", true),
        ]
    );
    drop(reader);
    assert_eq!(verify(&origin.state, None).await.unwrap().events, 13);
}
