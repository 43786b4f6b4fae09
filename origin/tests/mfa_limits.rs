//! Guesses of second factors: how many are compared, and that each one-time thing is good once,
//! however many arrive together.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use std::time::Duration;

use axum::http::Method;
use edgekeep_origin::abuse::Subject;
use edgekeep_origin::abuse::guesses::{self, Admission};
use edgekeep_origin::config::{Channel, Mfa};
use edgekeep_origin::ids::UserId;
use edgekeep_origin::request::Caller;
use person::{
    EMAIL, NAME, PASSWORD, PHONE, call, first_step, log_in, log_in_fully, number, second_step,
    with_app,
};
use serde_json::json;
use support::{Origin, Reply, all};

/// Tokens of first steps, made without the cost of as many passwords.
async fn first_steps(origin: &Origin, how_many: usize) -> Vec<String> {
    use edgekeep_origin::login::{FirstFactor, LoggedIn, conclude};
    let mut reader = origin.state.db.read().await.unwrap();
    let user_id: UserId = sqlx::query_scalar("SELECT id FROM users")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    drop(reader);
    let mut tokens = Vec::new();
    for _ in 0..how_many {
        let first = FirstFactor {
            user_id,
            method: "password",
            amr: &["pwd"],
            sent_to: None,
            caller: &Caller::default(),
            device_id: None,
            device: None,
            proved_at: None,
            counted: None,
        };
        let tx = origin.state.db.write().await.unwrap();
        match conclude(&origin.state, tx, first).await.unwrap() {
            LoggedIn::MfaRequired(asked) => tokens.push(asked.mfa_token),
            LoggedIn::Tokens(_) => unreachable!(),
        }
    }
    tokens
}

const COMPARED: &str = "SELECT COUNT(*) FROM code_failures";

/// Uses `wrong` codes up until TOTP is off.
async fn turn_off(origin: &Origin, app: &person::App) {
    for n in 0..11 {
        let token = first_step(origin).await;
        second_step(origin, &token, "totp", &app.wrong(origin, n))
            .await
            .expect(400, "code_invalid");
    }
    assert_eq!(number(origin, COMPARED).await, 10);
}

#[tokio::test]
async fn a_year_of_guessing_totp_is_less_than_one_chance_in_a_thousand() {
    const STEPS: u32 = 3;
    let origin = Origin::new().await;
    let (state, settings) = (&origin.state, Mfa::default());
    let user_id = UserId::generate(&state.random);
    let subject = Subject::factor(&state.vault, user_id, "totp").unwrap();
    let bounds = settings.bounds();
    let mut compared = 0_u32;
    let mut tx = state.db.write().await.unwrap();
    // Whoever knows the password guesses as often as they may; the owner lifts every suspension at
    // once. Twice a day is as good as always: the bounds are windows of a day and of 30.
    for _ in 0..2 * 365 {
        let now = state.clock.now();
        loop {
            let admission =
                guesses::count(&mut tx, bounds, &state.random, &subject, true, now).await;
            if !matches!(admission.unwrap(), Admission::Counted(_)) {
                break;
            }
            compared += 1;
        }
        guesses::lift(&mut tx, &subject, now).await.unwrap();
        origin.clock.advance(Duration::from_hours(12));
    }
    assert_eq!(compared, 13 * settings.failures_per_month);
    assert!(f64::from(compared * STEPS) / 1e6 < 1e-3);
}

#[tokio::test]
async fn ten_wrong_totp_turn_it_off_until_another_proof() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    turn_off(&origin, &app).await;
    // The owner is told, once; the caller is told nothing, and the offer stays the same.
    let told = |origin: &Origin| {
        let sent = origin.state.mailer.sent();
        sent.iter()
            .filter(|message| message.subject == Some("A second factor was turned off"))
            .count()
    };
    assert_eq!(told(&origin), 1);
    let asked = log_in(&origin, PASSWORD).await;
    assert_eq!(asked.body["methods"], json!(["totp", "recovery_code"]));
    let refused = |reply: Reply| {
        let reply = reply.expect(400, "code_invalid");
        let mut body = reply.body;
        body["instance"] = json!(null);
        (body, reply.headers.get("retry-after").cloned())
    };
    let token = asked.text("mfa_token");
    let right = refused(second_step(&origin, token, "totp", &app.code(&origin, 0)).await);
    let wrong = refused(second_step(&origin, token, "totp", &app.wrong(&origin, 1)).await);
    assert_eq!(right, wrong);
    assert_eq!((told(&origin), number(&origin, COMPARED).await), (1, 10));
    // Neither a restart nor a day changes that.
    let origin = origin.restarted().await;
    origin.advance(86_401);
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
    second_step(&origin, &token, "recovery_code", &recovery[0])
        .await
        .expect(200, "");
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(200, "");
}

/// The token of a first step on a trusted device.
async fn first_step_on(origin: &Origin, device: &str) -> String {
    let body = json!({"identifier": EMAIL, "password": PASSWORD, "device_token": device});
    let asked = origin.post("/login", body).await.expect(200, "");
    asked.text("mfa_token").to_owned()
}

#[tokio::test]
async fn whoever_turns_a_factor_off_does_not_turn_it_off_on_a_trusted_device() {
    let origin = Origin::with(|config| config.otp.sends_per_hour = 100).await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let device = session.text("device_token");
    let bearer = session.text("access_token");
    call(&origin, Method::PUT, "/mfa/email", bearer, None)
        .await
        .expect(200, "");
    let send = async |token: &str| {
        let body = json!({"mfa_token": token, "method": "email"});
        origin.post("/login/mfa/send", body).await.expect(200, "");
    };
    // Somebody who knows the password uses up both.
    for n in 0..11 {
        let token = first_step(&origin).await;
        second_step(&origin, &token, "totp", &app.wrong(&origin, n))
            .await
            .expect(400, "code_invalid");
        send(&token).await;
        let wrong = (origin.code(EMAIL).parse::<u32>().unwrap() + 1) % 1_000_000;
        second_step(&origin, &token, "email", &format!("{wrong:06}"))
            .await
            .expect(400, "code_invalid");
    }
    let token = first_step(&origin).await;
    let before = origin.state.mailer.sent().len();
    send(&token).await;
    assert_eq!(origin.state.mailer.sent().len(), before);
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
    // Codes by mail first: either proof turns the other on again.
    let token = first_step_on(&origin, device).await;
    send(&token).await;
    second_step(&origin, &token, "email", &origin.code(EMAIL))
        .await
        .expect(200, "");
    turn_off_again(&origin, &app).await;
    let token = first_step_on(&origin, device).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn whoever_knows_the_password_ends_and_uses_up_no_code_of_a_trusted_device_or_a_session() {
    for (method, to) in [("email", EMAIL), ("sms", PHONE)] {
        let origin = Origin::with(|config| config.notify.sms = Channel::Memory).await;
        let (app, _) = with_app(&origin).await;
        let session = log_in_fully(&origin, &app).await;
        let device = session.text("device_token");
        let bearer = session.text("access_token");
        let route = format!("/mfa/{method}");
        call(&origin, Method::PUT, &route, bearer, None)
            .await
            .expect(200, "");
        let send = async |token: &str| {
            let body = json!({"mfa_token": token, "method": method});
            origin.post("/login/mfa/send", body).await
        };
        let ask = async || {
            let route = "/reauthenticate/code";
            let body = json!({ "method": method });
            call(&origin, Method::POST, route, bearer, Some(body)).await
        };
        // The owner waits for two codes.
        let mine = first_step_on(&origin, device).await;
        send(&mine).await.expect(200, "");
        let code = origin.code(to);
        let asked = ask().await.expect(200, "");
        let proof = json!({
            "method": method, "otp_token": asked.text("otp_token"), "code": origin.code(to),
        });
        // Somebody else asks for as many as go out in an hour.
        for status in [200, 200, 200, 429] {
            let token = first_step(&origin).await;
            assert_eq!(send(&token).await.status, status, "{method}");
        }
        second_step(&origin, &mine, method, &code)
            .await
            .expect(200, "");
        let route = "/reauthenticate";
        call(&origin, Method::POST, route, bearer, Some(proof))
            .await
            .expect(200, "");
        // Each of the owner's two has what is left of an hour's.
        for status in [200, 200, 429] {
            let token = first_step_on(&origin, device).await;
            assert_eq!(send(&token).await.status, status, "{method}");
            assert_eq!(ask().await.status, status, "{method}");
        }
    }
}

#[tokio::test]
async fn a_login_whose_device_is_trusted_no_more_has_one_code() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let bearer = session.text("access_token");
    call(&origin, Method::PUT, "/mfa/email", bearer, None)
        .await
        .expect(200, "");
    let token = first_step_on(&origin, session.text("device_token")).await;
    let send = async || {
        let body = json!({"mfa_token": token, "method": "email"});
        origin.post("/login/mfa/send", body).await.expect(200, "");
        origin.code(EMAIL)
    };
    let before = send().await;
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("DELETE FROM trusted_devices")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let after = send().await;
    let waiting = "SELECT COUNT(*) FROM one_time_codes WHERE purpose LIKE 'mfa%'";
    assert_eq!(number(&origin, waiting).await, 1);
    second_step(&origin, &token, "email", &before)
        .await
        .expect(400, "code_invalid");
    second_step(&origin, &token, "email", &after)
        .await
        .expect(200, "");
}

/// Uses wrong codes up a day later, until TOTP is off once more.
async fn turn_off_again(origin: &Origin, app: &person::App) {
    origin.advance(86_401);
    for n in 0..11 {
        let token = first_step(origin).await;
        second_step(origin, &token, "totp", &app.wrong(origin, n))
            .await
            .expect(400, "code_invalid");
    }
    let token = first_step(origin).await;
    second_step(origin, &token, "totp", &app.code(origin, 0))
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn a_stolen_device_token_is_worth_as_many_guesses_again_and_no_more() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let device = session.text("device_token");
    // Each login begins with the right password, which the thief knows.
    for n in 0..25 {
        let token = first_step_on(&origin, device).await;
        second_step(&origin, &token, "totp", &app.wrong(&origin, n))
            .await
            .expect(400, "code_invalid");
    }
    assert_eq!(number(&origin, COMPARED).await, 20);
    let token = first_step_on(&origin, device).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn a_months_share_of_wrong_totp_is_the_end_whatever_else_is_proved() {
    let origin = Origin::with(|config| {
        config.mfa.failures_per_day = 5;
        config.mfa.failures_per_month = 7;
    })
    .await;
    let (app, recovery) = with_app(&origin).await;
    for n in 0..7 {
        let token = first_step(&origin).await;
        second_step(&origin, &token, "totp", &app.wrong(&origin, n))
            .await
            .expect(400, "code_invalid");
        origin.advance(86_400);
    }
    for code in &recovery[..2] {
        let token = first_step(&origin).await;
        second_step(&origin, &token, "totp", &app.code(&origin, 0))
            .await
            .expect(400, "code_invalid");
        second_step(&origin, &token, "recovery_code", code)
            .await
            .expect(200, "");
    }
    // The first failures are 30 days old now.
    origin.advance(24 * 86_400);
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_lock_of_the_password_is_none_of_the_factor_and_the_other_way_round() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let token = first_step(&origin).await;
    for _ in 0..5 {
        log_in(&origin, "wrong password").await;
    }
    log_in(&origin, PASSWORD)
        .await
        .expect(423, "account_locked");
    // Who had proved the password before is not barred by somebody who does not know it.
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(200, "");
    // The second factor lifts no lock of the password.
    log_in(&origin, PASSWORD)
        .await
        .expect(423, "account_locked");
    origin.advance(900);

    turn_off(&origin, &app).await;
    log_in(&origin, PASSWORD).await.expect(200, "");
    let status = origin
        .get(&format!("/api/v1/auth/lock-status/{NAME}"))
        .await;
    assert_eq!(
        status.body,
        json!({"locked": false, "retry_after": 0, "failed_attempts": 0, "locked_until": null,
               "last_attempt": null})
    );
    let sent = origin
        .post("/otp/send", json!({"email": EMAIL}))
        .await
        .expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(EMAIL)});
    let asked = origin.post("/otp/verify", body).await.expect(200, "");
    assert_eq!(asked.body["mfa_required"], true);
    // Nor does the right password turn TOTP on again: the attacker has it.
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn codes_by_mail_are_counted_apart_as_first_and_as_second_factor() {
    let origin = Origin::with(|config| {
        config.otp.failures_per_day = 3;
        config.otp.sends_per_hour = 100;
    })
    .await;
    let (app, _) = with_app(&origin).await;
    let bearer = log_in_fully(&origin, &app).await;
    let bearer = bearer.text("access_token");
    call(&origin, Method::PUT, "/mfa/email", bearer, None)
        .await
        .expect(200, "");
    for _ in 0..4 {
        let token = first_step(&origin).await;
        let body = json!({"mfa_token": token, "method": "email"});
        origin.post("/login/mfa/send", body).await.expect(200, "");
        let wrong = format!(
            "{:06}",
            (origin.code(EMAIL).parse::<u32>().unwrap() + 1) % 1_000_000
        );
        second_step(&origin, &token, "email", &wrong)
            .await
            .expect(400, "code_invalid");
    }
    let subject = origin.message(EMAIL).unwrap().subject;
    assert_eq!(subject, Some("A second factor was turned off"));
    // Nothing is sent any more, which the answer does not tell.
    let token = first_step(&origin).await;
    let before = origin.state.mailer.sent().len();
    let body = json!({"mfa_token": token, "method": "email"});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    assert_eq!(origin.state.mailer.sent().len(), before);
    // Logging in by code, and the app, are as before; the app turns mail on again.
    let sent = origin
        .post("/otp/send", json!({"email": EMAIL}))
        .await
        .expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(EMAIL)});
    origin.post("/otp/verify", body).await.expect(200, "");
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(200, "");
    origin.advance(86_400);
    let token = first_step(&origin).await;
    let body = json!({"mfa_token": token, "method": "email"});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    second_step(&origin, &token, "email", &origin.code(EMAIL))
        .await
        .expect(200, "");
}

/// Under a thousand writers some may be told to come back; nobody is told anything else.
fn only_refused(replies: &[Reply]) {
    for reply in replies {
        assert!(
            ["code_invalid", "unavailable"].contains(&reply.code()),
            "{:?}",
            reply.body
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_parallel_guesses_of_totp_ten_are_compared() {
    let origin = Origin::with(|config| config.limits.logins_per_user_per_hour = 1_000).await;
    let (app, _) = with_app(&origin).await;
    let tokens = first_steps(&origin, 200).await;
    let wrong: Vec<String> = (0..1_000).map(|n| app.wrong(&origin, n)).collect();
    let guesses = wrong
        .iter()
        .enumerate()
        .map(|(n, code)| second_step(&origin, &tokens[n % 200], "totp", code));
    only_refused(&all(guesses).await);
    assert_eq!(number(&origin, COMPARED).await, 10);
    let tries = "SELECT MAX(tries) FROM mfa_tokens";
    assert!(number(&origin, tries).await <= 5);
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_parallel_guesses_with_one_token_five_are_compared() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let token = first_step(&origin).await;
    let wrong: Vec<String> = (0..1_000).map(|n| app.wrong(&origin, n)).collect();
    let guesses = wrong
        .iter()
        .map(|code| second_step(&origin, &token, "totp", code));
    let replies = all(guesses).await;
    only_refused(&replies);
    // One that was counted as a try may have got no turn at the database after that, and says so.
    let turned_away = replies.iter().filter(|reply| reply.code() == "unavailable");
    let turned_away = i64::try_from(turned_away.count()).unwrap();
    let compared = number(&origin, COMPARED).await;
    assert!(
        compared <= 5 && compared + turned_away >= 5,
        "{compared} compared, {turned_away} turned away"
    );
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
}

/// How many of these let somebody in; the others were refused.
fn succeeded(replies: Vec<Reply>) -> usize {
    let (good, bad): (Vec<_>, Vec<_>) = replies
        .into_iter()
        .partition(|reply| reply.status.is_success());
    only_refused(&bad);
    good.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_parallel_uses_of_one_thing_succeed_once() {
    let origin = Origin::with(|config| {
        config.mfa.token_tries = 10;
        config.limits.logins_per_user_per_hour = 1_000;
    })
    .await;
    let (app, recovery) = with_app(&origin).await;
    let bearer = log_in_fully(&origin, &app).await;
    let bearer = bearer.text("access_token");
    call(&origin, Method::PUT, "/mfa/email", bearer, None)
        .await
        .expect(200, "");
    let sessions = "SELECT COUNT(*) FROM sessions";
    let mut expected = number(&origin, sessions).await;
    for one_token in [true, false] {
        for method in ["totp", "recovery_code"] {
            let tokens = first_steps(&origin, if one_token { 1 } else { 100 }).await;
            let code = match method {
                "totp" => app.code(&origin, 0),
                _ => recovery[usize::from(one_token)].clone(),
            };
            let uses =
                (0..100).map(|n| second_step(&origin, &tokens[n % tokens.len()], method, &code));
            assert_eq!(succeeded(all(uses).await), 1, "{method}, {one_token}");
            expected += 1;
            assert_eq!(number(&origin, sessions).await, expected);
            // And a second time, one after the other.
            let token = first_step(&origin).await;
            second_step(&origin, &token, method, &code)
                .await
                .expect(400, "code_invalid");
            origin.advance(60);
            // Whoever was right, if not first, is counted against nobody.
            assert_eq!(number(&origin, COMPARED).await, 0, "{method}");
            let token = first_step(&origin).await;
            second_step(&origin, &token, "totp", &app.code(&origin, 0))
                .await
                .expect(200, "");
            expected += 1;
            origin.advance(30);
        }
    }
    let token = first_step(&origin).await;
    let body = json!({"mfa_token": token, "method": "email"});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let code = origin.code(EMAIL);
    let uses = (0..100).map(|_| second_step(&origin, &token, "email", &code));
    assert_eq!(succeeded(all(uses).await), 1);
    assert_eq!(number(&origin, COMPARED).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_token_opens_one_session_whatever_is_right() {
    let origin = Origin::with(|config| config.mfa.token_tries = 10).await;
    let (app, recovery) = with_app(&origin).await;
    let token = first_step(&origin).await;
    let sessions = "SELECT COUNT(*) FROM sessions";
    let before = number(&origin, sessions).await;
    let totp = app.code(&origin, 0);
    let mut codes: Vec<(&str, &String)> = recovery[1..]
        .iter()
        .map(|code| ("recovery_code", code))
        .collect();
    codes.push(("totp", &totp));
    let uses = codes
        .iter()
        .map(|(method, code)| second_step(&origin, &token, method, code));
    assert_eq!(succeeded(all(uses).await), 1);
    assert_eq!(number(&origin, sessions).await, before + 1);
    // What did not open the session was not used up.
    let left = number(&origin, "SELECT COUNT(*) FROM recovery_codes").await;
    let app_used = "SELECT COUNT(*) FROM totp_factors WHERE last_used_at IS NOT NULL";
    assert_eq!(left - number(&origin, app_used).await, 9);
    assert_eq!(number(&origin, COMPARED).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_app_is_confirmed_once_and_removed_once() {
    let origin = Origin::new().await;
    person::account(&origin).await;
    let bearer = person::bearer(&origin).await;
    let shown = call(&origin, Method::POST, "/mfa/totp", &bearer, None).await;
    let app = person::App {
        secret: shown.text("secret").to_owned(),
    };
    let body = json!({"code": app.code(&origin, 0)});
    let confirm = (0..100).map(|_| {
        let body = Some(body.clone());
        call(&origin, Method::POST, "/mfa/totp/confirm", &bearer, body)
    });
    let replies = all(confirm).await;
    let won: Vec<&Reply> = replies
        .iter()
        .filter(|reply| reply.status.is_success())
        .collect();
    assert_eq!(won.len(), 1);
    // The codes that were answered are those that are good.
    let codes = person::recovery_codes(won[0]);
    origin.advance(30);
    let token = first_step(&origin).await;
    let session = second_step(&origin, &token, "recovery_code", &codes[0])
        .await
        .expect(200, "");
    let bearer = session.text("access_token");
    let before = origin.state.mailer.sent().len();
    let remove = (0..100).map(|_| call(&origin, Method::DELETE, "/mfa/totp", bearer, None));
    let removed = all(remove).await;
    let count = |status| {
        let replies = removed.iter();
        replies.filter(|reply| reply.status == status).count()
    };
    // Once it is gone there is no second factor that could be asked for.
    assert_eq!((count(204), count(404)), (1, 99));
    assert_eq!(origin.state.mailer.sent().len(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_proofs_within_a_session_are_all_noted() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let bearer = session.text("access_token");
    let code = app.code(&origin, 0);
    let mut proofs: Vec<_> = recovery[..5]
        .iter()
        .map(|code| json!({"method": "recovery_code", "code": code}))
        .collect();
    proofs.push(json!({"method": "totp", "code": code}));
    proofs.push(json!({"method": "password", "password": PASSWORD}));
    let proofs = proofs
        .into_iter()
        .map(|body| call(&origin, Method::POST, "/reauthenticate", bearer, Some(body)));
    let mut tokens = Vec::new();
    for reply in all(proofs).await {
        let reply = reply.expect(200, "");
        tokens.push(reply.text("refresh_token").to_owned());
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 7);
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM recovery_codes").await,
        5
    );
}
