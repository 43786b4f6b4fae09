//! Wrong codes of a second factor make the next wait, each factor of an account for itself.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use axum::http::Method;
use edgekeep_origin::config::{Channel, Config, DelayFor};
use person::{App, EMAIL, PASSWORD, call, first_step, number};
use serde_json::{Value, json};
use support::{Origin, Reply, all};

const HERE: &str = "203.0.113.9";
const ELSEWHERE: &str = "198.51.100.9";

/// An origin where a code is wrong as often as one likes, but for the delay.
async fn origin_with(change: impl FnOnce(&mut Config)) -> Origin {
    Origin::with(|config| {
        lenient(config);
        change(config);
    })
    .await
}

fn lenient(config: &mut Config) {
    config.notify.sms = Channel::Memory;
    config.limits.per_ip = true;
    config.limits.login_failures_per_ip = 1_000;
    config.limits.otp_verify_failures_per_ip_per_hour = 1_000;
    config.mfa.token_tries = 10;
    config.otp.max_tries = 10;
    config.otp.sends_per_hour = 100;
}

/// What a person can show.
struct Person {
    app: App,
    recovery: Vec<String>,
}

/// Somebody with every method that has codes.
async fn person(origin: &Origin) -> Person {
    let (app, recovery) = person::with_app(origin).await;
    let session = person::log_in_fully(origin, &app).await;
    let bearer = session.text("access_token");
    for route in ["/mfa/email", "/mfa/sms"] {
        call(origin, Method::PUT, route, bearer, None)
            .await
            .expect(200, "");
    }
    Person { app, recovery }
}

/// A code of the right form that is not the account's.
fn other(code: &str) -> String {
    let first = code.chars().next().unwrap();
    let instead = code.chars().find(|&c| c.is_alphanumeric() && c != first);
    format!("{}{}", instead.unwrap(), &code[1..])
}

impl Person {
    /// A login that waits for a code of `method`, and for nothing to be sent any more.
    async fn waiting(&self, origin: &Origin, method: &str) -> String {
        let token = first_step(origin).await;
        if ["email", "sms"].contains(&method) {
            let body = json!({"mfa_token": token, "method": method});
            origin.post("/login/mfa/send", body).await.expect(200, "");
        }
        token
    }

    fn right(&self, origin: &Origin, method: &str) -> String {
        match method {
            "totp" => self.app.code(origin, 0),
            "recovery_code" => self.recovery[0].clone(),
            "email" => origin.code(EMAIL),
            _ => origin.code(person::PHONE),
        }
    }

    /// What has to wait: any code, but of recovery codes only one that is wrong.
    fn waits(&self, origin: &Origin, method: &str) -> String {
        match method {
            "recovery_code" => self.wrong(origin, method),
            _ => self.right(origin, method),
        }
    }

    fn wrong(&self, origin: &Origin, method: &str) -> String {
        match method {
            "totp" => self.app.wrong(origin, 0),
            _ => other(&self.right(origin, method)),
        }
    }
}

async fn guess(origin: &Origin, peer: &str, token: &str, method: &str, code: &str) -> Reply {
    let body = json!({"mfa_token": token, "method": method, "code": code});
    origin.post_from(peer, &[], "/login/mfa", &body).await
}

fn expect_wait(reply: Reply, seconds: &str) {
    let reply = reply.expect(429, "rate_limited");
    assert_eq!(reply.headers["retry-after"], seconds);
}

#[tokio::test]
async fn the_delay_grows_with_the_failures_in_a_row_of_every_method() {
    for delay_for in [DelayFor::Everybody, DelayFor::Others] {
        for method in ["totp", "recovery_code", "email", "sms"] {
            let origin = origin_with(|config| config.lockout.delay_for = delay_for).await;
            let owner = person(&origin).await;
            let token = owner.waiting(&origin, method).await;
            // By default it is for those who come from another network than the last failure.
            let peers = match delay_for {
                DelayFor::Everybody => [HERE, HERE],
                DelayFor::Others => [HERE, ELSEWHERE],
            };
            let wrong = owner.wrong(&origin, method);
            guess(&origin, peers[0], &token, method, &wrong)
                .await
                .expect(400, "code_invalid");
            for (n, (wait, rest)) in [(1, None), (5, Some("1")), (30, Some("1"))]
                .into_iter()
                .enumerate()
            {
                let wrong = owner.wrong(&origin, method);
                guess(&origin, peers[n % 2], &token, method, &wrong)
                    .await
                    .expect(400, "code_invalid");
                // The next is refused whatever it is, and nothing is counted of it.
                for _ in 0..5 {
                    let waits = owner.waits(&origin, method);
                    let peer = peers[(n + 1) % 2];
                    let refused = guess(&origin, peer, &token, method, &waits).await;
                    expect_wait(refused, &wait.to_string());
                }
                origin.advance(wait - 1);
                if let Some(rest) = rest {
                    let waits = owner.waits(&origin, method);
                    let peer = peers[(n + 1) % 2];
                    expect_wait(guess(&origin, peer, &token, method, &waits).await, rest);
                }
                origin.advance(1);
            }
            assert_eq!(
                number(&origin, "SELECT MAX(tries) FROM mfa_tokens").await,
                4
            );
            let compared = number(&origin, "SELECT COUNT(*) FROM code_failures").await;
            let counted = if method == "recovery_code" { 0 } else { 4 };
            assert_eq!(compared, counted, "{method}");
            let right = owner.right(&origin, method);
            guess(&origin, ELSEWHERE, &token, method, &right)
                .await
                .expect(200, "");
            // It begins anew.
            origin.advance(60);
            let token = owner.waiting(&origin, "totp").await;
            for peer in [HERE, ELSEWHERE] {
                let wrong = owner.wrong(&origin, "totp");
                guess(&origin, peer, &token, "totp", &wrong)
                    .await
                    .expect(400, "code_invalid");
            }
        }
    }
}

#[tokio::test]
async fn whoever_fails_from_one_network_is_not_held_up_by_default_but_turned_off() {
    let origin = origin_with(|_| {}).await;
    let owner = person(&origin).await;
    for n in 0..10 {
        let token = first_step(&origin).await;
        let wrong = owner.app.wrong(&origin, n);
        guess(&origin, HERE, &token, "totp", &wrong)
            .await
            .expect(400, "code_invalid");
    }
    // What is off is not compared, so that it renews no delay.
    origin.advance(29);
    let token = first_step(&origin).await;
    for peer in [HERE, ELSEWHERE] {
        let wrong = owner.wrong(&origin, "totp");
        guess(&origin, peer, &token, "totp", &wrong)
            .await
            .expect(400, "code_invalid");
    }
    let sql = "SELECT MAX(failures) FROM lockouts";
    assert_eq!(number(&origin, sql).await, 10);
}

#[tokio::test]
async fn without_delays_nobody_waits() {
    let origin = origin_with(|config| {
        config.lockout.delay_for = DelayFor::Everybody;
        config.lockout.delay_seconds = Vec::new();
    })
    .await;
    let owner = person(&origin).await;
    let token = owner.waiting(&origin, "totp").await;
    for peer in [HERE, ELSEWHERE, HERE, ELSEWHERE] {
        let wrong = owner.wrong(&origin, "totp");
        guess(&origin, peer, &token, "totp", &wrong)
            .await
            .expect(400, "code_invalid");
    }
}

#[tokio::test]
async fn failures_are_in_a_row_for_a_quarter_of_an_hour_after_the_wait() {
    for (elapsed, expected) in [(900, 429), (901, 400)] {
        let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
        let owner = person(&origin).await;
        let mut last = Value::Null;
        // The wait after the second is a second, and the third comes so much later.
        for elapsed in [0, 0, elapsed, 0] {
            origin.advance(elapsed);
            let token = first_step(&origin).await;
            let wrong = owner.wrong(&origin, "totp");
            let reply = guess(&origin, HERE, &token, "totp", &wrong).await;
            last = json!(reply.status.as_u16());
        }
        assert_eq!(last, json!(expected), "{elapsed}");
    }
}

/// Has `method` fail until the next has to wait for 30 seconds.
async fn fail(origin: &Origin, owner: &Person, token: &str, method: &str) {
    for wait in [0, 0, 1, 5] {
        origin.advance(wait);
        let wrong = owner.wrong(origin, method);
        guess(origin, HERE, token, method, &wrong)
            .await
            .expect(400, "code_invalid");
    }
}

#[tokio::test]
async fn one_factors_failures_hold_up_no_other() {
    for (failing, others) in [
        ("totp", ["recovery_code", "email", "sms"]),
        ("recovery_code", ["totp", "email", "sms"]),
        ("email", ["totp", "recovery_code", "sms"]),
        ("sms", ["totp", "recovery_code", "email"]),
    ] {
        for other in others {
            let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
            let owner = person(&origin).await;
            let token = owner.waiting(&origin, failing).await;
            fail(&origin, &owner, &token, failing).await;
            let waits = owner.waits(&origin, failing);
            expect_wait(guess(&origin, HERE, &token, failing, &waits).await, "30");
            let token = owner.waiting(&origin, other).await;
            let right = owner.right(&origin, other);
            guess(&origin, HERE, &token, other, &right)
                .await
                .expect(200, "");
            // Its owner was there: the failing one need not wait any more.
            let token = owner.waiting(&origin, failing).await;
            let wrong = owner.wrong(&origin, failing);
            guess(&origin, HERE, &token, failing, &wrong)
                .await
                .expect(400, "code_invalid");
        }
    }
}

#[tokio::test]
async fn a_trusted_device_neither_waits_nor_makes_others_wait() {
    let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
    let owner = person(&origin).await;
    let session = person::log_in_fully(&origin, &owner.app).await;
    let device_token = session.text("device_token").to_owned();
    let on_device = async || {
        let body = json!({
            "identifier": EMAIL, "password": PASSWORD, "device_token": device_token,
        });
        let reply = origin.post("/login", body).await.expect(200, "");
        reply.text("mfa_token").to_owned()
    };
    // Its own failures are bounded by tries, by day and by month.
    let token = on_device().await;
    for _ in 0..4 {
        let wrong = owner.wrong(&origin, "totp");
        guess(&origin, HERE, &token, "totp", &wrong)
            .await
            .expect(400, "code_invalid");
    }
    let thief = first_step(&origin).await;
    let wrong = owner.wrong(&origin, "totp");
    for _ in 0..2 {
        guess(&origin, ELSEWHERE, &thief, "totp", &wrong)
            .await
            .expect(400, "code_invalid");
    }
    expect_wait(guess(&origin, ELSEWHERE, &thief, "totp", &wrong).await, "1");
    let right = owner.right(&origin, "totp");
    guess(&origin, HERE, &token, "totp", &right)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_right_recovery_code_waits_for_nobodys_wrong_ones() {
    let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
    let owner = person(&origin).await;
    // Whoever knows the password keeps the delay alive.
    let thief = owner.waiting(&origin, "recovery_code").await;
    fail(&origin, &owner, &thief, "recovery_code").await;
    let wrong = owner.wrong(&origin, "recovery_code");
    let refused = guess(&origin, ELSEWHERE, &thief, "recovery_code", &wrong).await;
    expect_wait(refused, "30");
    let token = owner.waiting(&origin, "recovery_code").await;
    let right = owner.right(&origin, "recovery_code");
    guess(&origin, HERE, &token, "recovery_code", &right)
        .await
        .expect(200, "");
    // It is used up, and its owner was there: the delay begins anew.
    let token = owner.waiting(&origin, "recovery_code").await;
    for _ in 0..2 {
        guess(&origin, HERE, &token, "recovery_code", &right)
            .await
            .expect(400, "code_invalid");
    }
    let again = guess(&origin, HERE, &token, "recovery_code", &right).await;
    expect_wait(again, "1");
}

#[tokio::test]
async fn strangers_who_know_no_first_factor_hold_nobody_up() {
    let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
    let owner = person(&origin).await;
    let made_up = "ekm_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for method in ["totp", "recovery_code", "email", "sms"] {
        for _ in 0..5 {
            let wrong = owner.wrong(&origin, "totp");
            guess(&origin, HERE, made_up, method, &wrong)
                .await
                .expect(400, "code_invalid");
        }
    }
    // Codes that log in are asked for by anybody: their tries and days are bounded, and that is all.
    let sent = origin.post("/otp/send", json!({"email": EMAIL})).await;
    let sent = sent.expect(200, "");
    for _ in 0..5 {
        let wrong = owner.wrong(&origin, "email");
        let body = json!({"otp_token": sent.text("otp_token"), "code": wrong});
        let reply = origin.post_from(HERE, &[], "/otp/verify", &body).await;
        reply.expect(400, "code_invalid");
    }
    let sql = "SELECT COUNT(*) FROM lockouts WHERE failures > 0 OR delayed_until > 0";
    assert_eq!(number(&origin, sql).await, 0);
    let token = first_step(&origin).await;
    let right = owner.right(&origin, "totp");
    guess(&origin, HERE, &token, "totp", &right)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_wait_outlives_the_process() {
    let origin = origin_with(|_| {}).await;
    let owner = person(&origin).await;
    let token = owner.waiting(&origin, "totp").await;
    fail(&origin, &owner, &token, "totp").await;
    let origin = origin.restarted().await;
    origin.advance(29);
    let right = owner.right(&origin, "totp");
    expect_wait(guess(&origin, ELSEWHERE, &token, "totp", &right).await, "1");
    origin.advance(1);
    let right = owner.right(&origin, "totp");
    guess(&origin, ELSEWHERE, &token, "totp", &right)
        .await
        .expect(200, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_parallel_guesses_two_are_compared() {
    for (delay_for, method) in [
        (DelayFor::Everybody, "totp"),
        (DelayFor::Others, "totp"),
        (DelayFor::Everybody, "email"),
        (DelayFor::Others, "recovery_code"),
    ] {
        let origin = origin_with(|config| config.lockout.delay_for = delay_for).await;
        let owner = person(&origin).await;
        let mut tokens = Vec::new();
        for _ in 0..if method == "email" { 1 } else { 12 } {
            tokens.push(owner.waiting(&origin, method).await);
        }
        let wrong = owner.wrong(&origin, method);
        let peers: Vec<String> = (0..100).map(|n| format!("203.0.{n}.9")).collect();
        let guesses = peers
            .iter()
            .enumerate()
            .map(|(n, peer)| guess(&origin, peer, &tokens[n % tokens.len()], method, &wrong));
        let replies = all(guesses).await;
        let count = |code| replies.iter().filter(|reply| reply.code() == code).count();
        let (compared, held) = (count("code_invalid"), count("rate_limited"));
        let failures = "SELECT MAX(failures) FROM lockouts";
        assert_eq!(number(&origin, failures).await, 2, "{method} {delay_for:?}");
        if method == "email" {
            // Of one token no more than ten are tried at a time.
            assert!(held > 0, "{method}");
        } else {
            let unavailable = count("unavailable");
            assert_eq!((compared, held + unavailable), (2, 98), "{method}");
        }
        if method != "recovery_code" {
            let counted = "SELECT COUNT(*) FROM code_failures";
            assert_eq!(number(&origin, counted).await, 2, "{method}");
        }
        // Those that were held up were no tries.
        let tries = "SELECT SUM(tries) FROM mfa_tokens WHERE tries > 0";
        assert_eq!(number(&origin, tries).await, 2, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_parallel_guesses_at_two_processes_two_are_compared() {
    let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
    let owner = person(&origin).await;
    let mut tokens = Vec::new();
    for _ in 0..12 {
        tokens.push(owner.waiting(&origin, "totp").await);
    }
    let beside = origin.beside(|config| {
        lenient(config);
        config.lockout.delay_for = DelayFor::Everybody;
    });
    let beside = beside.await.unwrap();
    let wrong = owner.wrong(&origin, "totp");
    let guesses = (0..100).map(|n| {
        let origin = if n % 2 == 0 { &origin } else { &beside };
        guess(origin, HERE, &tokens[n % 12], "totp", &wrong)
    });
    let replies = all(guesses).await;
    let compared = replies
        .iter()
        .filter(|reply| reply.code() == "code_invalid");
    assert_eq!(compared.count(), 2);
    let counted = "SELECT COUNT(*) FROM code_failures";
    assert_eq!(number(&origin, counted).await, 2);
}

#[tokio::test]
async fn within_a_session_codes_wait_too_and_their_owner_sees_it() {
    let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
    let owner = person(&origin).await;
    let session = person::log_in_fully(&origin, &owner.app).await;
    let bearer = session.text("access_token");
    let prove = async |method: &str, code: String| {
        let body = json!({"method": method, "code": code});
        call(&origin, Method::POST, "/reauthenticate", bearer, Some(body)).await
    };
    let shown = async || {
        let reply = call(&origin, Method::GET, "/mfa", bearer, None).await;
        let reply = reply.expect(200, "");
        let factors = reply.body["factors"].as_array().unwrap().clone();
        let told = |factor: &Value| {
            let keys = ["failed_attempts", "retry_after"];
            keys.map(|key| factor.get(key).and_then(Value::as_u64))
        };
        factors
            .iter()
            .map(|factor| (factor["method"].as_str().unwrap().to_owned(), told(factor)))
            .filter(|(_, told)| *told != [None, None])
            .collect::<Vec<_>>()
    };
    for method in ["totp", "recovery_code"] {
        assert_eq!(shown().await, []);
        for told in [[Some(1), None], [Some(2), Some(1)]] {
            let wrong = owner.wrong(&origin, method);
            prove(method, wrong).await.expect(400, "code_invalid");
            assert_eq!(shown().await, [(method.to_owned(), told)]);
        }
        expect_wait(prove(method, owner.waits(&origin, method)).await, "1");
        origin.advance(1);
        assert_eq!(shown().await, [(method.to_owned(), [Some(2), None])]);
        let proved = prove(method, owner.right(&origin, method)).await;
        proved.expect(200, "");
    }
}
