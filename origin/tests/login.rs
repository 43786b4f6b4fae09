//! Passwords, lockout and one-time codes.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use axum::http::Method;
use serde_json::{Value, json};
use support::{Origin, Reply};

const ALICE: &str = "alice@example.org";
const PASSWORD: &str = "correct horse battery";

async fn registered(origin: &Origin) {
    let body = json!({"email": ALICE, "username": "alice", "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": ALICE, "code": origin.code(ALICE)});
    origin.post("/register/verify", body).await.expect(200, "");
}

async fn log_in(origin: &Origin, identifier: &str, password: &str) -> Reply {
    origin
        .post(
            "/login",
            json!({"identifier": identifier, "password": password}),
        )
        .await
}

async fn send(origin: &Origin, email: &str) -> String {
    let reply = origin
        .post("/otp/send", json!({"email": email}))
        .await
        .expect(200, "");
    assert_eq!(reply.body["expires_in"], 300);
    reply.text("otp_token").to_owned()
}

async fn verify(origin: &Origin, token: &str, code: &str) -> Reply {
    origin
        .post("/otp/verify", json!({"otp_token": token, "code": code}))
        .await
}

/// A code of six digits that is not `code`.
fn other_than(code: &str, n: u32) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1 + n) % 1_000_000)
}

#[tokio::test]
async fn five_failures_lock_for_fifteen_minutes() {
    let origin = Origin::new().await;
    registered(&origin).await;
    for spelling in [
        ALICE,
        "ALICE@example.org",
        " alice@EXAMPLE.org",
        ALICE,
        ALICE,
    ] {
        log_in(&origin, spelling, "wrong password")
            .await
            .expect(401, "credentials_invalid");
    }
    let reply = log_in(&origin, ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
    assert_eq!(reply.headers["retry-after"], "900");
    let status = origin
        .get(&format!("/api/v1/auth/lock-status/{ALICE}"))
        .await;
    assert_eq!(
        status.body,
        json!({
            "locked": true,
            "retry_after": 900,
            "failed_attempts": 5,
            "locked_until": "2026-01-01T00:15:00Z",
            "last_attempt": "2026-01-01T00:00:00Z",
        })
    );
    // The other identifier is no way round.
    log_in(&origin, "alice", PASSWORD)
        .await
        .expect(401, "credentials_invalid");
    origin.advance(899);
    log_in(&origin, ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
    origin.advance(1);
    log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn a_success_begins_the_count_anew() {
    let origin = Origin::new().await;
    registered(&origin).await;
    for _ in 0..3 {
        for _ in 0..4 {
            log_in(&origin, ALICE, "wrong password")
                .await
                .expect(401, "credentials_invalid");
        }
        log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
    }
}

#[tokio::test]
async fn unknown_accounts_fail_and_lock_alike() {
    let origin = Origin::new().await;
    registered(&origin).await;
    let mut answers = Vec::new();
    for identifier in [
        ALICE,
        "nobody@example.org",
        "nobody",
        "+41790000000",
        "!!",
        "a@@b",
    ] {
        let mut seen = Vec::new();
        for _ in 0..6 {
            let mut reply = log_in(&origin, identifier, "wrong password").await;
            reply.body["instance"] = Value::Null;
            seen.push((
                reply.status,
                reply.body,
                reply.headers.get("retry-after").cloned(),
            ));
        }
        let path = format!(
            "/api/v1/auth/lock-status/{}",
            identifier.replace('+', "%2B")
        );
        let status = origin.get(&path).await;
        seen.push((status.status, status.body, None));
        answers.push(seen);
    }
    for seen in &answers {
        assert_eq!(seen, &answers[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_guesses_compare_at_most_five_passwords() {
    let origin = Origin::new().await;
    registered(&origin).await;
    // The right password stands last of a hundred that arrive together: whether or not it is
    // among the five that are compared, no more than five failures may be.
    let guesses = (0..100).map(|n| {
        let origin = &origin;
        async move { log_in(origin, ALICE, &format!("wrong password {n}")).await }
    });
    let replies = support::all(guesses).await;
    let compared = replies
        .iter()
        .filter(|reply| reply.code() == "credentials_invalid")
        .count();
    assert_eq!(compared, 5);
    assert!(
        replies
            .iter()
            .all(|reply| ["credentials_invalid", "account_locked"].contains(&reply.code()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_logins_with_the_right_password_all_succeed() {
    let origin = Origin::new().await;
    registered(&origin).await;
    let logins = (0..30).map(|_| log_in(&origin, ALICE, PASSWORD));
    for reply in support::all(logins).await {
        reply.expect(200, "");
    }
}

/// Stores every password as another configuration would have.
async fn outdate(origin: &Origin) {
    let password = edgekeep_origin::vault::Secret::new(PASSWORD.to_owned());
    let today = origin.state.hasher.hash(&password).await.unwrap();
    assert!(today.contains("m=64,t=1,p=1"));
    let settings = edgekeep_origin::config::Password {
        memory_kib: 128,
        iterations: 1,
        ..Default::default()
    };
    let other = edgekeep_origin::login::hasher::Hasher::new(
        &settings,
        origin.state.vault.clone(),
        origin.state.random.clone(),
    )
    .await
    .unwrap();
    let phc = other.hash(&password).await.unwrap();
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("UPDATE passwords SET phc = $1")
        .bind(phc)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn stored(origin: &Origin) -> String {
    let mut reader = origin.state.db.read().await.unwrap();
    sqlx::query_scalar("SELECT phc FROM passwords")
        .fetch_one(&mut *reader)
        .await
        .unwrap()
}

#[tokio::test]
async fn new_parameters_rehash_at_the_next_login() {
    let origin = Origin::new().await;
    registered(&origin).await;
    outdate(&origin).await;
    log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
    let phc = stored(&origin).await;
    assert!(phc.contains("m=64,t=1,p=1"), "{phc}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_right_password_is_right_while_another_login_stores_it_anew() {
    let origin = Origin::new().await;
    registered(&origin).await;
    for _ in 0..3 {
        outdate(&origin).await;
        let logins = (0..10).map(|_| log_in(&origin, ALICE, PASSWORD));
        for reply in support::all(logins).await {
            reply.expect(200, "");
        }
    }
    let bearer = log_in(&origin, ALICE, PASSWORD).await;
    let bearer = bearer.text("access_token");
    outdate(&origin).await;
    let body = json!({"method": "password", "password": PASSWORD});
    let path = "/api/v1/auth/reauthenticate";
    let proofs = (0..5).map(|_| {
        let body = Some(body.clone());
        origin.call(Method::POST, path, Some(bearer), body)
    });
    for reply in support::all(proofs).await {
        reply.expect(200, "");
    }
    let phc = stored(&origin).await;
    assert!(phc.contains("m=64,t=1,p=1"), "{phc}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_changes_of_an_outdated_password_one_is_made_and_one_is_wrong() {
    let origin = Origin::new().await;
    registered(&origin).await;
    let mut bearers = Vec::new();
    for _ in 0..2 {
        let reply = log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
        bearers.push(reply.text("access_token").to_owned());
    }
    outdate(&origin).await;
    let changes = bearers.iter().map(|bearer| {
        let body = json!({"current_password": PASSWORD, "new_password": "a quiet green harbour"});
        let path = "/api/v1/auth/change-password";
        origin.call(Method::POST, path, Some(bearer), Some(body))
    });
    let replies = support::all(changes).await;
    let mut codes: Vec<_> = replies.iter().map(Reply::code).collect();
    codes.sort_unstable();
    assert_eq!(codes[0], "", "{codes:?}");
    assert!(
        ["credentials_invalid", "token_revoked"].contains(&codes[1]),
        "{codes:?}"
    );
    let mut reader = origin.state.db.read().await.unwrap();
    let refusals: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM audit_events WHERE kind = 'password' AND outcome = 'failure'",
    )
    .fetch_one(&mut *reader)
    .await
    .unwrap();
    assert_eq!(refusals == 1, codes[1] == "credentials_invalid");
}

#[tokio::test]
async fn a_code_makes_an_account_and_finds_it_again() {
    let origin = Origin::new().await;
    let token = send(&origin, "New@example.org").await;
    let first = verify(&origin, &token, &origin.code("New@example.org"))
        .await
        .expect(200, "");
    // The code goes to the spelling that was proved, not to the one typed now.
    let token = send(&origin, "new@example.org").await;
    let second = verify(&origin, &token, &origin.code("New@example.org"))
        .await
        .expect(200, "");
    assert_eq!(first.body["user"]["id"], second.body["user"]["id"]);
    assert_ne!(first.body["session_id"], second.body["session_id"]);
}

#[tokio::test]
async fn codes_expire_at_five_minutes() {
    for (seconds, status, code) in [
        (299, 200, ""),
        (300, 400, "code_expired"),
        (301, 400, "code_expired"),
    ] {
        let origin = Origin::new().await;
        let token = send(&origin, ALICE).await;
        origin.advance(seconds);
        verify(&origin, &token, &origin.code(ALICE))
            .await
            .expect(status, code);
    }
}

#[tokio::test]
async fn a_code_is_bound_to_its_token_and_the_newest_ends_the_older() {
    let origin = Origin::new().await;
    let older = send(&origin, ALICE).await;
    let old_code = origin.code(ALICE);
    let bob = send(&origin, "bob@example.org").await;
    if old_code != origin.code("bob@example.org") {
        verify(&origin, &bob, &old_code)
            .await
            .expect(400, "code_invalid");
    }
    let newer = send(&origin, ALICE).await;
    let new_code = origin.code(ALICE);
    verify(&origin, &older, &old_code)
        .await
        .expect(400, "code_invalid");
    verify(&origin, &older, &new_code)
        .await
        .expect(400, "code_invalid");
    verify(&origin, &newer, &new_code).await.expect(200, "");
    for replay in [
        new_code.clone(),
        format!(" {new_code}"),
        format!("{new_code}\n"),
    ] {
        verify(&origin, &newer, &replay)
            .await
            .expect(400, "code_invalid");
    }
}

#[tokio::test]
async fn the_fourth_guess_fails_even_if_right() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    let code = origin.code(ALICE);
    for n in 0..3 {
        verify(&origin, &token, &other_than(&code, n))
            .await
            .expect(400, "code_invalid");
    }
    verify(&origin, &token, &code)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn what_is_not_a_code_costs_no_try() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    for text in ["", "12345", "1234567", "12345a", "１２３４５６", "-12345"] {
        verify(&origin, &token, text)
            .await
            .expect(400, "code_invalid");
    }
    // As it is shown, with a space in the middle, it is one.
    let code = origin.code(ALICE);
    verify(&origin, &token, &format!(" {} {}", &code[..3], &code[3..]))
        .await
        .expect(200, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_parallel_guesses_compare_at_most_three() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    let code = origin.code(ALICE);
    let guesses = (0..100).map(|n| {
        let (origin, token, guess) = (&origin, token.clone(), other_than(&code, n));
        async move { verify(origin, &token, &guess).await }
    });
    for reply in support::all(guesses).await {
        reply.expect(400, "code_invalid");
    }
    let mut reader = origin.state.db.read().await.unwrap();
    let tries: i64 = sqlx::query_scalar("SELECT tries FROM one_time_codes")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    let counted: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM code_failures")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!((tries, counted), (3, 3));
    verify(&origin, &token, &code)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_right_code_sent_many_times_logs_in_once() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    let code = origin.code(ALICE);
    let replies = support::all((0..50).map(|_| verify(&origin, &token, &code))).await;
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.status.as_u16() == 200)
            .count(),
        1
    );
    assert!(
        replies
            .iter()
            .all(|reply| [200, 400].contains(&reply.status.as_u16()))
    );
}

#[tokio::test]
async fn ten_failures_in_a_day_turn_codes_off_until_another_proof() {
    let origin = Origin::new().await;
    registered(&origin).await;
    for n in 0..10 {
        if n % 3 == 0 {
            origin.advance(3_600);
        }
        let token = send(&origin, ALICE).await;
        let wrong = other_than(&origin.code(ALICE), 0);
        verify(&origin, &token, &wrong)
            .await
            .expect(400, "code_invalid");
    }
    origin.advance(3_600);
    // The eleventh guess is right, and is not compared.
    let token = send(&origin, ALICE).await;
    verify(&origin, &token, &origin.code(ALICE))
        .await
        .expect(400, "code_invalid");
    // From now on nothing is sent, which the answer does not tell; not even after the day is over.
    origin.advance(2 * 86_400);
    let before = origin.state.mailer.sent().len();
    let token = send(&origin, ALICE).await;
    assert_eq!(origin.state.mailer.sent().len(), before);
    verify(&origin, &token, &origin.code(ALICE))
        .await
        .expect(400, "code_invalid");
    log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
    let token = send(&origin, ALICE).await;
    verify(&origin, &token, &origin.code(ALICE))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn sixty_failures_in_a_month_are_the_end_whatever_else_is_proved() {
    let origin = Origin::with(|config| config.otp.failures_per_month = 12).await;
    registered(&origin).await;
    for _ in 0..12 {
        origin.advance(86_400);
        let token = send(&origin, ALICE).await;
        let wrong = other_than(&origin.code(ALICE), 0);
        verify(&origin, &token, &wrong)
            .await
            .expect(400, "code_invalid");
    }
    origin.advance(86_400);
    log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
    let token = send(&origin, ALICE).await;
    verify(&origin, &token, &origin.code(ALICE))
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn three_sends_an_hour_and_the_same_for_strangers() {
    let origin = Origin::new().await;
    registered(&origin).await;
    for email in [ALICE, "nobody@example.org"] {
        for _ in 0..3 {
            send(&origin, email).await;
        }
        let reply = origin.post("/otp/send", json!({"email": email})).await;
        assert_eq!(
            reply.expect(429, "rate_limited").headers["retry-after"],
            "3600"
        );
    }
}

#[tokio::test]
async fn nobody_bars_an_address_that_has_no_account_for_good() {
    let origin = Origin::new().await;
    for _ in 0..4 {
        let token = send(&origin, ALICE).await;
        let code = origin.code(ALICE);
        for n in 0..3 {
            verify(&origin, &token, &other_than(&code, n))
                .await
                .expect(400, "code_invalid");
        }
        origin.advance(1_201);
    }
    let token = send(&origin, ALICE).await;
    verify(&origin, &token, &origin.code(ALICE))
        .await
        .expect(400, "code_invalid");
    origin.advance(86_400);
    let token = send(&origin, ALICE).await;
    verify(&origin, &token, &origin.code(ALICE))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn wrong_passwords_of_strangers_hold_no_codes_up() {
    // With a password, and of somebody who has none.
    for has_password in [true, false] {
        let origin = Origin::new().await;
        let user = if has_password {
            registered(&origin).await;
            None
        } else {
            let token = send(&origin, ALICE).await;
            let reply = verify(&origin, &token, &origin.code(ALICE)).await;
            Some(reply.expect(200, "").body["user"]["id"].clone())
        };
        for _ in 0..5 {
            log_in(&origin, ALICE, "wrong password")
                .await
                .expect(401, "credentials_invalid");
        }
        log_in(&origin, ALICE, PASSWORD)
            .await
            .expect(423, "account_locked");
        let token = send(&origin, ALICE).await;
        let reply = verify(&origin, &token, &origin.code(ALICE)).await;
        let reply = reply.expect(200, "");
        assert!(user.is_none_or(|user| user == reply.body["user"]["id"]));
        // The lock of the password holds all the same.
        log_in(&origin, ALICE, PASSWORD)
            .await
            .expect(423, "account_locked");
    }
}

/// Wrong codes until they are off for the account; the clock is an hour later.
async fn turned_off(origin: &Origin) {
    for _ in 0..4 {
        let token = send(origin, ALICE).await;
        let code = origin.code(ALICE);
        for n in 0..3 {
            verify(origin, &token, &other_than(&code, n))
                .await
                .expect(400, "code_invalid");
        }
        origin.advance(1_201);
    }
}

async fn send_on(origin: &Origin, device: &str) -> Reply {
    let body = json!({"email": ALICE, "device_token": device});
    origin.post("/otp/send", body).await
}

async fn verify_on(origin: &Origin, token: &str, code: &str, device: &str) -> Reply {
    let body = json!({"otp_token": token, "code": code, "device_token": device});
    origin.post("/otp/verify", body).await
}

#[tokio::test]
async fn codes_that_strangers_turned_off_reach_a_trusted_device() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    let mine = verify(&origin, &token, &origin.code(ALICE)).await;
    let device = mine.expect(200, "").text("device_token").to_owned();
    let foreign = json!({"email": "bob@example.org"});
    let foreign = origin.post("/otp/send", foreign).await.expect(200, "");
    let code = origin.code("bob@example.org");
    let foreign = verify(&origin, foreign.text("otp_token"), &code).await;
    let foreign = foreign.expect(200, "").text("device_token").to_owned();
    origin.advance(3_600);
    turned_off(&origin).await;
    let sent = origin.state.mailer.sent().len();
    for token in ["", "ekd_", &foreign] {
        send_on(&origin, token).await.expect(200, "");
        origin.advance(1_201);
    }
    assert_eq!(origin.state.mailer.sent().len(), sent);
    let reply = send_on(&origin, &device).await.expect(200, "");
    let (token, code) = (reply.text("otp_token"), origin.code(ALICE));
    // Whoever has the code and not the device is held up.
    verify(&origin, token, &code)
        .await
        .expect(400, "code_invalid");
    let reply = verify_on(&origin, token, &code, &device).await;
    assert_eq!(reply.expect(200, "").text("device_token"), device);
    // That proof has codes on again for everywhere else.
    origin.advance(1_201);
    let token = send(&origin, ALICE).await;
    verify(&origin, &token, &origin.code(ALICE))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn wrong_codes_on_a_trusted_device_are_its_own_and_five_end_its_trust() {
    let origin = Origin::with(|config| config.otp.failures_per_day = 1).await;
    let token = send(&origin, ALICE).await;
    let mine = verify(&origin, &token, &origin.code(ALICE)).await;
    let device = mine.expect(200, "").text("device_token").to_owned();
    for wrong in [3, 2] {
        origin.advance(1_201);
        let reply = send_on(&origin, &device).await.expect(200, "");
        let (token, code) = (reply.text("otp_token"), origin.code(ALICE));
        for n in 0..wrong {
            verify_on(&origin, token, &other_than(&code, n), &device)
                .await
                .expect(400, "code_invalid");
        }
    }
    // None of the five was counted at the account: codes are on.
    origin.advance(1_201);
    let reply = send_on(&origin, &device).await.expect(200, "");
    let reply = verify_on(
        &origin,
        reply.text("otp_token"),
        &origin.code(ALICE),
        &device,
    )
    .await;
    assert_ne!(reply.expect(200, "").text("device_token"), device);
}

#[tokio::test]
async fn what_strangers_ask_for_holds_no_trusted_device_up() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    let mine = verify(&origin, &token, &origin.code(ALICE)).await;
    let device = mine.expect(200, "").text("device_token").to_owned();
    origin.advance(3_600);
    // Neither by the one door nor by the other.
    let log_in = json!({"email": ALICE});
    let register = json!({"email": ALICE, "password": "another horse battery"});
    for (route, body) in [
        ("/otp/send", &log_in),
        ("/otp/send", &log_in),
        ("/register", &register),
    ] {
        let reply = origin.post(route, body.clone()).await;
        assert!(reply.status == 200 || reply.status == 202, "{route}");
    }
    for token in ["", "ekd_nothing"] {
        send_on(&origin, token).await.expect(429, "rate_limited");
    }
    let reply = send_on(&origin, &device).await.expect(200, "");
    let code = origin.code(ALICE);
    let reply = verify_on(&origin, reply.text("otp_token"), &code, &device).await;
    assert_eq!(reply.expect(200, "").text("device_token"), device);
    // Its own are as many, and no stranger's.
    for _ in 0..2 {
        send_on(&origin, &device).await.expect(200, "");
    }
    send_on(&origin, &device).await.expect(429, "rate_limited");
    origin.advance(3_600);
    send_on(&origin, &device).await.expect(200, "");
    for _ in 0..3 {
        send(&origin, ALICE).await;
    }
}

#[tokio::test]
async fn a_strangers_code_and_that_of_a_trusted_device_leave_each_other_as_they_are() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    let mine = verify(&origin, &token, &origin.code(ALICE)).await;
    let device = mine.expect(200, "").text("device_token").to_owned();
    let reply = send_on(&origin, &device).await.expect(200, "");
    let (token, code) = (reply.text("otp_token").to_owned(), origin.code(ALICE));
    let theirs = send(&origin, ALICE).await;
    let their_code = origin.code(ALICE);
    for n in 0..3 {
        verify(&origin, &theirs, &other_than(&their_code, n))
            .await
            .expect(400, "code_invalid");
    }
    // Each is good with its own token alone.
    let crossed = verify_on(&origin, &token, &their_code, &device).await;
    crossed.expect(400, "code_invalid");
    let reply = verify_on(&origin, &token, &code, &device).await;
    assert_eq!(reply.expect(200, "").text("device_token"), device);
    // Once.
    let again = verify_on(&origin, &token, &code, &device).await;
    again.expect(400, "code_invalid");

    // The other way round.
    origin.advance(3_600);
    let elsewhere = send(&origin, ALICE).await;
    let code = origin.code(ALICE);
    send_on(&origin, &device).await.expect(200, "");
    verify(&origin, &elsewhere, &code).await.expect(200, "");

    // Of two for one device the newest ends the older, and its time is as short.
    let older = send_on(&origin, &device).await.expect(200, "");
    let code = origin.code(ALICE);
    let newer = send_on(&origin, &device).await.expect(200, "");
    let reply = verify_on(&origin, older.text("otp_token"), &code, &device).await;
    reply.expect(400, "code_invalid");
    origin.advance(300);
    let (token, code) = (newer.text("otp_token"), origin.code(ALICE));
    let reply = verify_on(&origin, token, &code, &device).await;
    reply.expect(400, "code_expired");
}

#[tokio::test]
async fn whoever_has_no_password_is_told_that_and_not_that_it_is_wrong() {
    let origin = Origin::new().await;
    let token = send(&origin, ALICE).await;
    let mine = verify(&origin, &token, &origin.code(ALICE)).await;
    let mine = mine.expect(200, "");
    let change = async || {
        let body = json!({"current_password": "correct horse battery",
            "new_password": "another horse battery"});
        let bearer = Some(mine.text("access_token"));
        let path = "/api/v1/auth/change-password";
        origin.call(Method::POST, path, bearer, Some(body)).await
    };
    for _ in 0..6 {
        let told = change().await.expect(409, "conflict");
        assert!(told.text("detail").contains("no password"));
    }
}
