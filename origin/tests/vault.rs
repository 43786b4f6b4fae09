//! Rotating the master key while people register and log in.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::app::{StartError, State};
use edgekeep_origin::error::Error;
use edgekeep_origin::events::chain::{self, Broken};
use edgekeep_origin::events::{self, Actor, Event, Kind, Outcome};
use edgekeep_origin::vault::master::MasterKeyError;
use edgekeep_origin::vault::rotation::{self, Rotation, Step};
use edgekeep_origin::vault::sealed::{Part, SEALED, Sealed};
use edgekeep_origin::vault::status::{self, Status};
use edgekeep_origin::vault::{Purpose, Secret, binding};
use serde_json::json;
use sqlx::Row as _;
use support::Origin;

const ONE: &str = "1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const TWO: &str = "2:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
const THREE: &str = "3:AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM";
const PASSWORD: &str = "correct horse battery";

/// Every way in that an account of [`create`] has.
fn ways(index: usize) -> [String; 3] {
    [
        format!("Anna.{index}@Example.org"),
        format!("+41790000{index:03}"),
        format!("anna{index}"),
    ]
}

/// Every step is looked at through logins in three ways.
const OFTEN: u32 = 1_000;

async fn with(keys: &str) -> Origin {
    let keys = Secret::new(keys.to_owned());
    Origin::with(|config| {
        config.secrets.master_key = Some(keys);
        config.limits.logins_per_user_per_hour = OFTEN;
    })
    .await
}

async fn beside(origin: &Origin, keys: &[&str]) -> Result<Origin, StartError> {
    let keys = Secret::new(keys.join("\n"));
    origin
        .beside(|config| {
            config.secrets.master_key = Some(keys);
            config.limits.logins_per_user_per_hour = OFTEN;
        })
        .await
}

async fn create(state: &State, index: usize) {
    let [email, phone, username] = ways(index);
    let identifiers = [
        (Identifier::email(&email).unwrap(), true),
        (Identifier::phone(&phone, None).unwrap(), true),
        (Identifier::username(&username).unwrap(), true),
    ];
    let phc = state
        .hasher
        .hash(&Secret::new(PASSWORD.to_owned()))
        .await
        .unwrap();
    let account = NewAccount {
        identifiers: &identifiers,
        password: Some(&phc),
        name: Some("Anna"),
        ..NewAccount::default()
    };
    let mut tx = state.db.write().await.unwrap();
    accounts::create(state, &mut tx, &account).await.unwrap();
    tx.commit().await.unwrap();
}

async fn log_in(origin: &Origin, identifier: &str) -> String {
    let body = json!({"identifier": identifier, "password": PASSWORD});
    let reply = origin.post("/login", body).await.expect(200, "");
    let user = &reply.body["user"];
    assert_eq!(user["name"], "Anna");
    assert!(
        user["email"].as_str().unwrap().starts_with("Anna."),
        "{user}"
    );
    reply.text("refresh_token").to_owned()
}

async fn log_in_every_way(origin: &Origin, index: usize) {
    for identifier in ways(index) {
        log_in(origin, &identifier).await;
    }
}

async fn take_over(origin: &Origin) {
    let state = &origin.state;
    let began = binding::take_over(&state.db, &state.vault, &state.clock).await;
    assert!(began.unwrap());
}

/// Steps until everything is done; `each` is called after each.
async fn finish(origin: &Origin, rotation: &mut Rotation, mut each: impl AsyncFnMut(Step)) {
    for _ in 0..10_000 {
        let step = rotation.step(&origin.state).await.unwrap();
        each(step).await;
        match step {
            Step::Worked => {}
            Step::Settling(wait) => origin.clock.advance(wait),
            Step::Complete => return,
        }
    }
    unreachable!("the rotation does not end");
}

async fn rotate(origin: &Origin) {
    finish(origin, &mut Rotation::default(), async |_| {}).await;
}

async fn status(origin: &Origin) -> Status {
    let mut reader = origin.state.db.read().await.unwrap();
    status::status(&mut reader, origin.clock.now())
        .await
        .unwrap()
}

async fn count(origin: &Origin, sql: &'static str) -> i64 {
    let mut reader = origin.state.db.read().await.unwrap();
    let row = sqlx::query(sql).fetch_one(&mut *reader).await.unwrap();
    row.try_get(0).unwrap()
}

/// The text of a refused start.
fn refusal(opened: Result<Origin, StartError>) -> String {
    match opened {
        Ok(_) => String::new(),
        Err(StartError::MasterKey(error)) => error.to_string(),
        Err(other) => unreachable!("{other}"),
    }
}

#[tokio::test]
async fn everybody_gets_in_before_during_and_after_a_rotation_and_without_the_old_key() {
    let old = with(ONE).await;
    for index in 0..3 {
        create(&old.state, index).await;
    }
    let refresh_token = log_in(&old, &ways(1)[0]).await;

    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    log_in_every_way(&both, 0).await;
    take_over(&both).await;
    log_in_every_way(&both, 0).await;
    // Made under both, like the third one nobody's until the old key is gone.
    create(&both.state, 3).await;
    let mut rotation = Rotation::default();
    finish(&both, &mut rotation, async |_| {
        log_in_every_way(&both, 0).await;
    })
    .await;
    assert!(
        rotation.sealed_anew >= 3 * 4 + 2,
        "{}",
        rotation.sealed_anew
    );
    log_in_every_way(&both, 0).await;

    // A refresh token of the old key is good, and becomes one of the new.
    let body = json!({"refresh_token": refresh_token});
    both.post("/refresh", body).await.expect(200, "");

    let refused = refusal(beside(&old, &[TWO]).await);
    assert!(refused.contains("needs master key version 1"), "{refused}");
    assert!(
        refused.contains("refresh tokens until 2026-01-08"),
        "{refused}"
    );
    both.advance(7 * 86_400);
    let new = beside(&old, &[TWO]).await.unwrap();
    for index in 0..4 {
        log_in_every_way(&new, index).await;
    }
    let status = status(&new).await;
    assert_eq!((status.sealing, status.indexing), (2, 2));
    assert!(status.versions[0].retired_at.is_some());
    assert_eq!(
        status.versions[0].passwords, 0,
        "each was hashed anew by its login"
    );
    assert_eq!(status.indexes, [(2, 12)]);

    // And once more, to a third.
    let next = beside(&old, &[TWO, THREE]).await.unwrap();
    take_over(&next).await;
    rotate(&next).await;
    next.advance(7 * 86_400);
    let last = beside(&old, &[THREE]).await.unwrap();
    for index in 0..4 {
        log_in_every_way(&last, index).await;
    }
}

#[tokio::test]
async fn the_audit_trail_holds_without_the_key_that_it_was_begun_under() {
    let old = with(ONE).await;
    for _ in 0..3 {
        record(&old.state).await;
    }
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&both).await;
    rotate(&both).await;
    // Nothing was recorded since: its ends are held by a MAC of the old key still.
    let new = beside(&old, &[TWO]).await.unwrap();
    assert_eq!(events(&new.state).await, Ok(3));
    record(&new.state).await;
    assert_eq!(events(&new.state).await, Ok(4));
    assert_eq!(events(&both.state).await, Ok(4));
}

async fn record(state: &State) {
    let event = Event::new(Kind::Login, Outcome::Failure, Actor::Anonymous).by("password");
    let mut tx = state.db.write().await.unwrap();
    events::record(state, &mut tx, &event).await.unwrap();
    tx.commit().await.unwrap();
}

/// How many events the trail has, if it holds, with their details.
async fn events(state: &State) -> Result<u64, Broken> {
    let mut reader = state.db.read().await.unwrap();
    let verdict = chain::verify(&state.vault, &mut reader, None)
        .await
        .unwrap();
    verdict.map(|sound| sound.events)
}

#[tokio::test]
async fn a_password_outlives_the_key_that_peppered_it() {
    let old = with(ONE).await;
    create(&old.state, 0).await;
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&both).await;
    rotate(&both).await;
    // No session was opened, so nothing needs the old key any more.
    let new = beside(&old, &[TWO]).await.unwrap();
    assert_eq!(status(&new).await.versions[0].passwords, 1);
    let wrong = json!({"identifier": ways(0)[0], "password": "correct horse batter"});
    new.post("/login", wrong)
        .await
        .expect(401, "credentials_invalid");
    log_in_every_way(&new, 0).await;
    assert_eq!(status(&new).await.versions[0].passwords, 0);
}

#[tokio::test]
async fn second_factors_outlive_the_key_that_they_were_made_under() {
    let old = with(ONE).await;
    let (app, recovery) = person::with_app(&old).await;
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&both).await;
    rotate(&both).await;
    // Refresh tokens would need the old key.
    let mut tx = both.state.db.write().await.unwrap();
    sqlx::query("DELETE FROM sessions")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let new = beside(&both, &[TWO]).await.unwrap();
    let prove = async |method: &str, code: &str| {
        let token = person::first_step(&new).await;
        person::second_step(&new, &token, method, code).await
    };
    let session = prove("totp", &app.code(&new, 0)).await.expect(200, "");
    let bearer = session.text("access_token");
    prove("recovery_code", &recovery[0]).await.expect(200, "");
    prove("recovery_code", &recovery[0])
        .await
        .expect(400, "code_invalid");
    let replaced = person::call(
        &new,
        axum::http::Method::POST,
        "/mfa/recovery-codes",
        bearer,
        None,
    )
    .await
    .expect(200, "");
    let replaced = person::recovery_codes(&replaced);
    prove("recovery_code", &recovery[1])
        .await
        .expect(400, "code_invalid");
    prove("recovery_code", &replaced[0]).await.expect(200, "");
}

#[tokio::test]
async fn codes_and_links_work_while_values_are_sealed_anew() {
    let old = with(ONE).await;
    create(&old.state, 0).await;
    let [email, _, _] = ways(0);
    let body = json!({"email": email.to_lowercase()});
    let sent = old.post("/otp/send", body).await.expect(200, "");
    let body = json!({"email": "new@example.org", "password": PASSWORD});
    old.post("/register", body).await.expect(202, "");
    let (login, registration) = (old.code(&email), old.code("new@example.org"));

    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&both).await;
    let mut rotation = Rotation::default();
    // Up to the verdict, which lets look-ups go to the new index.
    while rotation.sealed_anew < 7 {
        rotation.step(&both.state).await.unwrap();
    }
    let body = json!({"otp_token": sent.text("otp_token"), "code": login});
    both.post("/otp/verify", body).await.expect(200, "");
    let body = json!({"email": "NEW@example.org", "code": registration});
    both.post("/register/verify", body).await.expect(200, "");
    let body = json!({"identifier": "new@example.org", "password": PASSWORD});
    both.post("/login", body).await.expect(200, "");
    let body = json!({"identifier": email});
    both.post("/forgot-password", body).await.expect(202, "");
    // To the address that was proved, found by an index that its row is not named by.
    let message = both.message(&email).unwrap();
    let token = message.text.split("token=").nth(1).unwrap();
    let token = token.split_whitespace().next().unwrap();
    let body = json!({"token": token, "password": "another good one"});
    both.post("/reset-password", body).await.expect(204, "");
    finish(&both, &mut rotation, async |_| {}).await;
    let body = json!({"identifier": email, "password": "another good one"});
    both.post("/login", body).await.expect(200, "");
}

#[tokio::test]
async fn counters_of_accounts_go_on_under_another_key() {
    let old = with(ONE).await;
    create(&old.state, 0).await;
    let wrong = json!({"identifier": ways(0)[2], "password": "wrong words"});
    for _ in 0..5 {
        old.post("/login", wrong.clone())
            .await
            .expect(401, "credentials_invalid");
    }
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&both).await;
    rotate(&both).await;
    let new = beside(&old, &[TWO]).await.unwrap();
    // Locked by whatever identifier; which one was tried is forgotten.
    for identifier in ways(0) {
        let right = json!({"identifier": identifier, "password": PASSWORD});
        new.post("/login", right)
            .await
            .expect(401, "credentials_invalid");
    }
    new.advance(900);
    log_in_every_way(&new, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_accounts_get_one_identifier_while_keys_change() {
    const NAMES: usize = 60;
    let old = with(ONE).await;
    let both = [
        beside(&old, &[ONE, TWO]).await.unwrap(),
        beside(&old, &[ONE, TWO]).await.unwrap(),
    ];
    let over = AtomicBool::new(false);
    let register = async |origin: &Origin, index: usize| {
        let name = Identifier::username(&format!("name{index}")).unwrap();
        let account = NewAccount {
            identifiers: &[(name, true)],
            ..NewAccount::default()
        };
        let mut tx = origin.state.db.write().await?;
        accounts::create(&origin.state, &mut tx, &account).await?;
        Ok::<_, Error>(tx.commit().await?)
    };
    let all_names = async |origin: &Origin, reversed: bool| {
        for index in 0..NAMES {
            let index = if reversed { NAMES - 1 - index } else { index };
            match register(origin, index).await {
                Ok(()) => {}
                // The process that has only the old key, once the new one seals.
                Err(Error::Unavailable(_)) if origin.state.vault.highest() == 1 => {
                    assert!(over.load(Ordering::SeqCst));
                }
                Err(error) => unreachable!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    let rotating = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        over.store(true, Ordering::SeqCst);
        take_over(&both[0]).await;
        rotate(&both[0]).await;
    };
    tokio::join!(
        all_names(&old, false),
        all_names(&both[0], true),
        all_names(&both[1], false),
        rotating,
    );
    rotate(&both[1]).await;
    let names = i64::try_from(NAMES).unwrap();
    assert_eq!(count(&old, "SELECT COUNT(*) FROM identifiers").await, names);
    let status = status(&both[0]).await;
    assert_eq!(status.indexes, [(2, names)]);
    let distinct = "SELECT COUNT(DISTINCT holder) FROM identifier_blinds";
    assert_eq!(count(&old, distinct).await, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_register_and_log_in_while_two_processes_rotate() {
    let old = with(ONE).await;
    for index in 0..150 {
        create(&old.state, index).await;
    }
    let origins = [
        beside(&old, &[ONE, TWO]).await.unwrap(),
        beside(&old, &[ONE, TWO]).await.unwrap(),
    ];
    take_over(&origins[0]).await;
    let people = async |origin: &Origin, first: usize| {
        for index in first..first + 12 {
            log_in_every_way(origin, index).await;
            let email = format!("new{index}@example.org");
            let body =
                json!({"email": email, "password": PASSWORD, "username": format!("new{index}")});
            origin.post("/register", body).await.expect(202, "");
            // A code that was sent before look-ups changed over is void: its owner asks again.
            for attempt in 0..3 {
                let body = json!({"email": email, "code": origin.code(&email)});
                let reply = origin.post("/register/verify", body).await;
                if reply.status == 200 {
                    break;
                }
                assert!(attempt < 2, "{:?}", reply.body);
                let body = json!({"email": email, "password": PASSWORD, "username": format!("new{index}")});
                origin.post("/register", body).await.expect(202, "");
            }
            let body = json!({"identifier": format!("NEW{index}"), "password": PASSWORD});
            origin.post("/login", body).await.expect(200, "");
        }
    };
    // As `serve` does, in both. The clock goes five times as fast as the one by which they follow
    // each other.
    let serving: Vec<_> = origins
        .iter()
        .map(|origin| tokio::spawn(rotation::keep(origin.state.clone())))
        .collect();
    let clock = origins[0].clock.clone();
    let ticking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            clock.advance(Duration::from_secs(1));
        }
    });
    tokio::join!(people(&origins[0], 0), people(&origins[1], 100));
    for _ in 0..1_500 {
        if status(&origins[0]).await.versions[1].completed_at.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ticking.abort();
    for task in serving {
        assert!(!task.is_finished());
        task.abort();
    }
    let end = rotation::end_sessions(&origins[0].state).await.unwrap();
    assert!(end > 0);
    let new = beside(&old, &[TWO]).await.unwrap();
    for index in [0, 11, 50, 100, 149] {
        log_in_every_way(&new, index).await;
    }
    let total = "SELECT COUNT(*) FROM identifiers";
    assert_eq!(count(&new, total).await, 150 * 3 + 24 * 2);
    assert_eq!(status(&new).await.indexes, [(2, 150 * 3 + 24 * 2)]);
}

#[tokio::test]
async fn an_interrupted_rotation_goes_on_where_anything_is_left() {
    let old = with(ONE).await;
    for index in 0..40 {
        create(&old.state, index).await;
    }
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&both).await;
    // Every number of steps that a rotation can be interrupted after.
    let mut steps = 0;
    loop {
        let again = beside(&old, &[ONE, TWO]).await.unwrap();
        assert_eq!(again.state.vault.current_version(), 2);
        let mut rotation = Rotation::default();
        let mut complete = false;
        for _ in 0..steps {
            match rotation.step(&again.state).await.unwrap() {
                Step::Settling(wait) => again.clock.advance(wait),
                Step::Complete => complete = true,
                Step::Worked => {}
            }
        }
        log_in_every_way(&again, steps % 40).await;
        again.state.db.close().await;
        if complete {
            break;
        }
        steps += 1;
    }
    assert!(steps > SEALED.len());
    assert_eq!(status(&both).await.indexes, [(2, 120)]);
}

#[tokio::test]
async fn a_value_that_does_not_open_is_named_and_keeps_nothing_else() {
    let old = with(ONE).await;
    for index in 0..3 {
        create(&old.state, index).await;
    }
    let mut tx = old.state.db.write().await.unwrap();
    sqlx::query(
        "UPDATE users SET profile = $1 WHERE id = (SELECT id FROM users ORDER BY id LIMIT 1)",
    )
    .bind([&[1_u8][..], &[7; 40]].concat())
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&both).await;
    let refused = rotation::rotate(&both.state, |_, _| {}).await.unwrap_err();
    assert!(refused.to_string().contains("1 users.profile"), "{refused}");
    let needs = &status(&both).await.versions[0].needs;
    let users = needs.iter().find(|need| need.what == "users.profile");
    assert_eq!(users.unwrap().count, 1);
    let refused = refusal(beside(&old, &[TWO]).await);
    assert!(refused.contains("1 users.profile"), "{refused}");
}

#[tokio::test]
async fn keys_that_are_not_the_databases_are_refused() {
    let old = with(ONE).await;
    create(&old.state, 0).await;
    let other_one = TWO.replace("2:", "1:");
    let other_two = ONE.replace("1:", "2:");
    let wrong = refusal(beside(&old, &[&other_one]).await);
    assert!(wrong.contains("does not open this database"), "{wrong}");
    let missing = refusal(beside(&old, &[TWO]).await);
    assert!(missing.contains("needs master key version 1"), "{missing}");
    for what in [
        "control_keys.private_key",
        "1 users.profile",
        "3 identifiers.spelling",
    ] {
        assert!(missing.contains(what), "{missing}");
    }
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    // A key that only stands ready is not the database's yet.
    assert_eq!(refusal(beside(&old, &[ONE, &other_two]).await), "");
    take_over(&both).await;
    let gone = refusal(beside(&old, &[ONE]).await);
    assert!(gone.contains("needs master key version 2"), "{gone}");
    for keys in [[ONE, &*other_two], [&*other_one, TWO]] {
        let wrong = refusal(beside(&old, &keys).await);
        assert!(wrong.contains("does not open this database"), "{wrong}");
    }
    let half = refusal(beside(&old, &[TWO]).await);
    assert!(half.contains("needs master key version 1"), "{half}");
    assert!(matches!(
        beside(&old, &[TWO]).await.err(),
        Some(StartError::MasterKey(MasterKeyError::Needed {
            version: 1,
            ..
        }))
    ));
    rotate(&both).await;
    assert_eq!(refusal(beside(&old, &[TWO]).await), "");
}

#[tokio::test]
async fn a_process_without_the_new_key_stops_and_changes_nothing() {
    let old = with(ONE).await;
    create(&old.state, 0).await;
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    let watching = tokio::spawn(rotation::keep(old.state.clone()));
    let following = tokio::spawn(rotation::keep(both.state.clone()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let other = beside(&old, &[ONE, TWO]).await.unwrap();
    take_over(&other).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), watching).await;
    ended.unwrap().unwrap();
    // The one that has it followed, and rotates; the clock has to be moved for it.
    for _ in 0..600 {
        both.advance(1);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if status(&both).await.versions[1].completed_at.is_some() {
            break;
        }
    }
    assert_eq!(status(&both).await.indexes, [(2, 3)]);
    assert_eq!(both.state.vault.standing().indexing, 2);
    assert!(!following.is_finished());
    following.abort();
    log_in_every_way(&both, 0).await;
}

#[tokio::test]
async fn a_database_from_before_rotation_is_taken_up() {
    let old = with(ONE).await;
    create(&old.state, 0).await;
    let subject = old.state.vault.mac(Purpose::Abuse, &[b"x"]).unwrap();
    let mut tx = old.state.db.write().await.unwrap();
    for sql in [
        "DELETE FROM master_keys",
        "DELETE FROM kept_keys",
        "UPDATE identifier_blinds SET version = 0",
    ] {
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let other_one = TWO.replace("2:", "1:");
    let wrong = refusal(beside(&old, &[&other_one]).await);
    assert!(wrong.contains("does not open this database"), "{wrong}");
    let missing = refusal(beside(&old, &[TWO]).await);
    assert!(missing.contains("needs master key version 1"), "{missing}");
    let both = beside(&old, &[ONE, TWO]).await.unwrap();
    assert_eq!(both.state.vault.current_version(), 1);
    assert_eq!(status(&both).await.indexes, [(1, 3)]);
    log_in_every_way(&both, 0).await;
    take_over(&both).await;
    rotate(&both).await;
    log_in_every_way(&both, 0).await;
    assert_eq!(
        both.state.vault.mac(Purpose::Abuse, &[b"x"]).unwrap(),
        subject
    );
}

/// Columns of bytes that are not sealed, and what they are instead.
const NOT_SEALED: &[(&str, &[&str])] = &[
    (
        "ids",
        &[
            "users.id",
            "identifiers.user_id",
            "passwords.user_id",
            "code_failures.id",
            "password_resets.user_id",
            "sessions.id",
            "sessions.user_id",
            "audit_events.id",
            "audit_events.user_id",
            "audit_events.session_id",
            "sent_messages.id",
            "trusted_devices.user_id",
            "social_identities.id",
            "social_identities.user_id",
            "social_flows.user_id",
            "social_flows.session_id",
            "totp_factors.user_id",
            "totp_pending.user_id",
            "totp_pending.session_id",
            "recovery_codes.user_id",
            "code_factors.user_id",
            "mfa_tokens.user_id",
            "kyc_submissions.id",
            "kyc_submissions.user_id",
            "kyc_submissions.decided_by",
            "contact_undos.user_id",
            "notices.id",
            "notices.user_id",
            "known_devices.user_id",
            "captcha_challenges.id",
            "passkeys.id",
            "passkeys.user_id",
            "passkey_ceremonies.user_id",
            // What an authenticator calls its key: random, and useless without it.
            "passkeys.credential_id",
        ],
    ),
    (
        "keyed hashes",
        &[
            "identifiers.blind",
            "identifier_blinds.blind",
            "identifier_blinds.holder",
            "one_time_codes.recipient",
            "one_time_codes.token_hash",
            "one_time_codes.code_mac",
            "one_time_codes.link_hash",
            "message_sends.recipient",
            "code_failures.subject",
            "code_suspensions.subject",
            "lockouts.subject",
            "password_resets.token_hash",
            "password_resets.recipient",
            "master_keys.check_value",
            "audit_events.details_hash",
            "captcha_challenges.target",
            "captcha_challenges.answer_mac",
            "captcha_passes.token_hash",
            "captcha_passes.target",
            "captcha_spent.token_hash",
            "captcha_proofs.number_and_network",
            "attempts.source",
            "attempts.subject",
            "lockouts.source",
            "sent_messages.network",
            "sent_messages.prefix",
            "sent_messages.recipient",
            "trusted_devices.token_hash",
            "known_devices.device",
            "social_identities.blind",
            "social_flows.state_hash",
            "social_flows.binding",
            "social_flows.code_hash",
            "recovery_codes.code_mac",
            "mfa_tokens.token_hash",
            "passkey_ceremonies.token_hash",
            "passkey_ceremonies.bound_to",
            "contact_undos.token_hash",
        ],
    ),
    ("sqlx's own", &["_sqlx_migrations.checksum"]),
];

#[tokio::test]
async fn every_column_of_bytes_is_listed_as_sealed_or_known_not_to_be() {
    let origin = with(ONE).await;
    let mut reader = origin.state.db.read().await.unwrap();
    let rows = sqlx::query(
        "SELECT m.name || '.' || c.name, c.type FROM sqlite_master AS m, pragma_table_info(m.name) AS c
         WHERE m.type = 'table'",
    )
    .fetch_all(&mut *reader)
    .await
    .unwrap();
    let types: BTreeMap<String, String> = rows
        .iter()
        .map(|row| (row.try_get(0).unwrap(), row.try_get(1).unwrap()))
        .collect();
    let bytes: BTreeSet<&str> = types
        .iter()
        .filter(|(_, kind)| *kind == "BLOB")
        .map(|(name, _)| name.as_str())
        .collect();
    let sealed: Vec<String> = SEALED.iter().map(Sealed::name).collect();
    let known = NOT_SEALED
        .iter()
        .flat_map(|(_, names)| names.iter().copied());
    let listed: BTreeSet<&str> = known.chain(sealed.iter().map(String::as_str)).collect();
    assert_eq!(bytes, listed, "list the column in vault/sealed.rs, or here");
    for column in SEALED {
        for part in column.key.iter().chain(column.aad) {
            let (name, expected) = match part {
                Part::Text(name) => (name, "TEXT"),
                Part::Bytes(name) => (name, "BLOB"),
                Part::Fixed(_) => continue,
            };
            assert_eq!(
                types[&format!("{}.{name}", column.table)],
                expected,
                "{name}"
            );
        }
    }
}
