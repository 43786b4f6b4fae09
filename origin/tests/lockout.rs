//! Wrong passwords: delays, the lock, what survives, and devices that are trusted.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::http::Method;
use edgekeep_origin::accounts::Identifier;
use edgekeep_origin::app::{State, app};
use edgekeep_origin::config::{Config, DelayFor};
use edgekeep_origin::login::codes::{CodeFor, issue};
use edgekeep_origin::random::Random;
use serde_json::{Value, json};
use support::{Origin, Reply, all, until_judged};
use tower::ServiceExt as _;

const ALICE: &str = "alice@example.org";
const PASSWORD: &str = "correct horse battery";
const HOME: &str = "203.0.113.9";
const ELSEWHERE: &str = "198.51.100.7";

/// An origin that tells networks apart, and limits none of them.
async fn origin() -> Origin {
    origin_with(|_| {}).await
}

async fn origin_with(change: impl FnOnce(&mut Config)) -> Origin {
    Origin::with(|config| {
        config.limits.per_ip = true;
        config.limits.login_failures_per_ip = 100_000;
        config.limits.otp_send_per_ip_per_hour = 100_000;
        config.limits.forgot_password_per_ip_per_hour = 100_000;
        change(config);
    })
    .await
}

/// Registers; the device token of the device on which that was done.
async fn registered(origin: &Origin, email: &str, username: &str) -> String {
    let body = json!({"email": email, "username": username, "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": email, "code": origin.code(email)});
    let reply = origin.post("/register/verify", body).await.expect(200, "");
    reply.text("device_token").to_owned()
}

async fn log_in(origin: &Origin, address: &str, identifier: &str, password: &str) -> Reply {
    let body = json!({"identifier": identifier, "password": password});
    origin.post_from(address, &[], "/login", &body).await
}

async fn log_in_on(origin: &Origin, device_token: &str, password: &str) -> Reply {
    let body = json!({"identifier": ALICE, "password": password, "device_token": device_token});
    origin.post_from(HOME, &[], "/login", &body).await
}

async fn fail(origin: &Origin, address: &str, times: u32) {
    for _ in 0..times {
        log_in(origin, address, ALICE, "wrong password")
            .await
            .expect(401, "credentials_invalid");
    }
}

async fn status(origin: &Origin, identifier: &str) -> Value {
    let reply = origin
        .get(&format!("/api/v1/auth/lock-status/{identifier}"))
        .await;
    reply.expect(200, "").body
}

#[tokio::test]
async fn five_failures_one_after_the_other_lock_at_once() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    fail(&origin, HOME, 5).await;
    for address in [HOME, ELSEWHERE] {
        let reply = log_in(&origin, address, ALICE, PASSWORD).await;
        let reply = reply.expect(423, "account_locked");
        assert_eq!(reply.headers["retry-after"], "900");
    }
    origin.advance(899);
    log_in(&origin, HOME, ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
    origin.advance(1);
    log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn after_a_failure_other_networks_must_wait_longer_and_longer() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    for (failures, delay) in [(1, 0), (2, 1), (3, 5), (4, 30)] {
        fail(&origin, HOME, 1).await;
        if delay > 0 {
            // Neither compared nor counted, however often and whatever the password.
            for password in [PASSWORD, "wrong password", PASSWORD] {
                let reply = log_in(&origin, ELSEWHERE, ALICE, password).await;
                let reply = reply.expect(429, "rate_limited");
                assert_eq!(reply.headers["retry-after"], delay.to_string());
            }
            origin.advance(delay - 1);
            let reply = log_in(&origin, ELSEWHERE, ALICE, PASSWORD).await;
            assert_eq!(
                reply.expect(429, "rate_limited").headers["retry-after"],
                "1"
            );
            origin.advance(1);
        }
        assert_eq!(status(&origin, ALICE).await["failed_attempts"], failures);
    }
    log_in(&origin, ELSEWHERE, ALICE, PASSWORD)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_delay_can_be_for_everybody() {
    let origin = origin_with(|config| config.lockout.delay_for = DelayFor::Everybody).await;
    registered(&origin, ALICE, "alice").await;
    fail(&origin, HOME, 2).await;
    for delay in [1, 5, 30] {
        let reply = log_in(&origin, HOME, ALICE, PASSWORD).await;
        let wait = reply.expect(429, "rate_limited").headers["retry-after"].clone();
        assert_eq!(wait, delay.to_string());
        origin.advance(delay);
        fail(&origin, HOME, 1).await;
    }
    log_in(&origin, HOME, ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
}

#[tokio::test]
async fn five_failures_in_a_quarter_of_an_hour_are_enough_whoever_succeeds_between() {
    let origin = origin_with(|config| config.lockout.delay_seconds = Vec::new()).await;
    registered(&origin, ALICE, "alice").await;
    fail(&origin, ELSEWHERE, 3).await;
    // The owner's success ends the row, not the count of somebody else's guesses.
    origin.advance(100);
    log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
    fail(&origin, ELSEWHERE, 2).await;
    let reply = log_in(&origin, ELSEWHERE, ALICE, PASSWORD).await;
    assert_eq!(
        reply.expect(429, "rate_limited").headers["retry-after"],
        "800"
    );
    origin.advance(799);
    log_in(&origin, ELSEWHERE, ALICE, "wrong password")
        .await
        .expect(429, "rate_limited");
    origin.advance(1);
    log_in(&origin, ELSEWHERE, ALICE, PASSWORD)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn after_a_short_lock_everything_begins_anew() {
    let origin = origin_with(|config| config.lockout.lock_seconds = 2).await;
    registered(&origin, ALICE, "alice").await;
    for _ in 0..3 {
        fail(&origin, HOME, 5).await;
        let reply = log_in(&origin, HOME, ALICE, PASSWORD).await;
        assert_eq!(
            reply.expect(423, "account_locked").headers["retry-after"],
            "2"
        );
        origin.advance(2);
    }
    log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn ones_own_typing_errors_are_forgotten_with_the_right_password() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    for _ in 0..5 {
        fail(&origin, HOME, 4).await;
        log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
    }
}

#[tokio::test]
async fn every_spelling_is_one_count() {
    let spellings = [
        ALICE,
        " ALICE@Example.ORG ",
        "\u{ff21}lice@example.org",
        "Alice@EXAMPLE.org",
        "aLICE@example.org",
    ];
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    for spelling in spellings {
        log_in(&origin, HOME, spelling, "wrong password")
            .await
            .expect(401, "credentials_invalid");
    }
    for spelling in spellings {
        log_in(&origin, HOME, spelling, PASSWORD)
            .await
            .expect(423, "account_locked");
    }
    assert_eq!(
        status(&origin, "ALICE%40Example.org%20").await["failed_attempts"],
        5
    );
    // Names, too: composed, decomposed, wide.
    for spelling in [
        "\u{e9}mile",
        "e\u{301}MILE",
        "\u{c9}mile",
        "\u{ff25}\u{301}mile",
        "E\u{301}MILE",
    ] {
        log_in(&origin, HOME, spelling, "wrong password")
            .await
            .expect(401, "credentials_invalid");
    }
    log_in(&origin, HOME, "\u{e9}mile", "wrong password")
        .await
        .expect(423, "account_locked");
}

#[tokio::test]
async fn the_lock_status_of_nobody_is_that_of_somebody() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    let mut seen = BTreeSet::new();
    for identifier in [ALICE, "nobody@example.org", "nobody", "!!"] {
        let mut history = vec![status(&origin, identifier).await];
        for attempt in 0..7 {
            log_in(&origin, HOME, identifier, "wrong password").await;
            let now = status(&origin, identifier).await;
            assert_eq!(now["failed_attempts"], (attempt + 1).min(5));
            history.push(now);
        }
        seen.insert(Value::from(history).to_string());
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    let before = json!({
        "locked": false, "retry_after": 0, "failed_attempts": 0,
        "locked_until": null, "last_attempt": null,
    });
    assert_eq!(status(&origin, "somebody-else").await, before);
    // Once the lock is over the count is, and when the last failure was is still known.
    origin.advance(900);
    let after = json!({
        "locked": false, "retry_after": 0, "failed_attempts": 0,
        "locked_until": null, "last_attempt": "2026-01-01T00:00:00Z",
    });
    for identifier in [ALICE, "nobody"] {
        assert_eq!(status(&origin, identifier).await, after);
    }
    // A success looks like that as well.
    log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
    assert_eq!(status(&origin, ALICE).await, after);
}

#[tokio::test]
async fn a_restart_lifts_neither_lock_nor_delay_nor_window() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    registered(&origin, "bob@example.org", "bob").await;
    registered(&origin, "carol@example.org", "carol").await;
    for (address, password) in [(HOME, "wrong"), (ELSEWHERE, PASSWORD)] {
        for _ in 0..3 {
            log_in(&origin, address, "carol", password).await;
        }
        origin.advance(5);
    }
    for _ in 0..2 {
        log_in(&origin, HOME, "carol", "wrong").await;
        origin.advance(5);
    }
    fail(&origin, HOME, 5).await;
    for _ in 0..4 {
        log_in(&origin, HOME, "bob", "wrong password").await;
    }
    let again = State::open(
        origin.state.config.clone(),
        origin.clock.clone(),
        Random::seeded(2),
    )
    .await
    .unwrap();
    for (identifier, code, wait) in [
        (ALICE, 423, "900"),
        ("bob", 429, "30"),
        ("carol", 429, "880"),
    ] {
        let body = json!({"identifier": identifier, "password": PASSWORD});
        let request = axum::http::Request::post("/api/v1/auth/login")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let reply = app(again.clone()).oneshot(request).await.unwrap();
        assert_eq!(reply.status().as_u16(), code, "{identifier}");
        assert_eq!(reply.headers()["retry-after"], wait, "{identifier}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_parallel_guesses_from_everywhere_at_most_five_are_compared() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    let busy = AtomicBool::new(false);
    let guesses = (0..1_000).map(|number| {
        let (origin, busy) = (&origin, &busy);
        async move {
            let address = format!("198.51.{}.{}", number / 250, number % 250);
            let password = format!("wrong password {number}");
            until_judged(busy, async || {
                log_in(origin, &address, ALICE, &password).await
            })
            .await
        }
    });
    let replies = all(guesses).await;
    let compared = replies
        .iter()
        .filter(|reply| reply.code() == "credentials_invalid")
        .count();
    assert!(
        replies
            .iter()
            .all(|reply| [401, 423, 429].contains(&reply.status.as_u16()))
    );
    // Two at least: the others may have come while those were under way. Who was counted may have been told
    // afterwards that the machine is busy.
    let failures = status(&origin, ALICE).await["failed_attempts"].as_u64();
    let failures = usize::try_from(failures.unwrap()).unwrap();
    assert!((2..=5).contains(&failures), "{failures}");
    assert!(
        compared == failures || compared < failures && busy.load(Relaxed),
        "{compared} of {failures}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_parallel_guesses_from_one_network_five_are_compared() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    let guess = || log_in(&origin, HOME, ALICE, "wrong password");
    let busy = AtomicBool::new(false);
    let replies = all((0..1_000).map(|_| until_judged(&busy, guess))).await;
    let count = |status: u16| {
        let of_it = replies.iter().filter(|reply| reply.status == status);
        of_it.count()
    };
    let compared = count(401);
    assert!(
        compared == 5 || compared < 5 && busy.load(Relaxed),
        "{compared}"
    );
    // Too many may wait at one address, which is told so.
    assert_eq!(compared + count(423) + count(429), 1_000);
}

#[tokio::test]
async fn the_status_tells_nobody_when_somebody_logs_in() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    let nobody = "nobody@example.org";
    for identifier in [ALICE, nobody] {
        for _ in 0..2 {
            let reply = log_in(&origin, ELSEWHERE, identifier, "wrong password").await;
            reply.expect(401, "credentials_invalid");
        }
    }
    origin.advance(60);
    log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
    for (seconds, failures) in [(0, 2), (839, 2), (1, 0)] {
        origin.advance(seconds);
        let told = status(&origin, ALICE).await;
        assert_eq!(told["failed_attempts"], failures);
        assert_eq!(told, status(&origin, nobody).await);
    }
    // A new count, and what locks is another: a success begins that one anew.
    for failures in 1..=4 {
        fail(&origin, HOME, 1).await;
        assert_eq!(status(&origin, ALICE).await["failed_attempts"], failures);
    }
    log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
    fail(&origin, HOME, 1).await;
    log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn changing_the_password_is_no_way_round() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    let tokens = log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
    let bearer = tokens.text("access_token");
    let change = async |current: &str| {
        let body = json!({"current_password": current, "new_password": "another password"});
        let path = "/api/v1/auth/change-password";
        origin
            .call(Method::POST, path, Some(bearer), Some(body))
            .await
    };
    for _ in 0..5 {
        change("wrong password")
            .await
            .expect(401, "credentials_invalid");
    }
    change(PASSWORD).await.expect(423, "account_locked");
    // Nor is it a way to lock the login, and no login takes this lock back.
    for identifier in [ALICE, "alice"] {
        log_in(&origin, HOME, identifier, PASSWORD)
            .await
            .expect(200, "");
    }
    change(PASSWORD).await.expect(423, "account_locked");
    // A new password by a link does: what was guessed at is no more.
    let forgot = json!({"identifier": ALICE});
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    let reset = json!({"token": origin.code(ALICE), "password": "the next password"});
    origin.post("/reset-password", reset).await.expect(204, "");
    let tokens = log_in(&origin, HOME, ALICE, "the next password").await;
    let tokens = tokens.expect(200, "");
    let body = json!({"current_password": "the next password", "new_password": "another password"});
    let bearer = Some(tokens.text("access_token"));
    let path = "/api/v1/auth/change-password";
    let changed = origin.call(Method::POST, path, bearer, Some(body)).await;
    changed.expect(204, "");
}

#[tokio::test]
async fn a_reset_lifts_the_lock_of_whatever_name_was_typed() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    registered(&origin, "bob@example.org", "bob").await;
    for name in ["alice", "bob"] {
        for _ in 0..5 {
            log_in(&origin, HOME, name, "wrong password")
                .await
                .expect(401, "credentials_invalid");
        }
    }
    // The link goes to the address, whatever it was asked for by.
    let forgot = json!({"identifier": "alice"});
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    let reset = json!({"token": origin.code(ALICE), "password": "the next password"});
    origin.post("/reset-password", reset).await.expect(204, "");
    for name in ["alice", ALICE] {
        log_in(&origin, ELSEWHERE, name, "the next password")
            .await
            .expect(200, "");
    }
    log_in(&origin, HOME, "bob", PASSWORD)
        .await
        .expect(423, "account_locked");
}

#[tokio::test]
async fn a_lock_that_strangers_caused_keeps_nobody_from_confirming_a_password() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    let tokens = log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
    for network in 0..5 {
        fail(&origin, &format!("203.0.{network}.1"), 1).await;
        origin.advance(31);
    }
    log_in(&origin, HOME, ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
    let ask = |route: &str, bearer: String, body: Value| {
        let path = format!("/api/v1/auth{route}");
        let origin = &origin;
        async move {
            origin
                .call(Method::POST, &path, Some(&bearer), Some(body))
                .await
        }
    };
    let bearer = tokens.text("access_token").to_owned();
    let proof = json!({"method": "password", "password": PASSWORD});
    let proved = ask("/reauthenticate", bearer, proof).await.expect(200, "");
    let bearer = proved.text("access_token").to_owned();
    let body = json!({"current_password": PASSWORD, "new_password": "another password"});
    let changed = ask("/change-password", bearer, body).await;
    changed.expect(204, "");
    // The lock holds for whoever caused it.
    log_in(&origin, HOME, ALICE, "another password")
        .await
        .expect(423, "account_locked");
}

#[tokio::test]
async fn a_lock_that_strangers_caused_does_not_lock_out_a_trusted_device() {
    let origin = origin().await;
    let device = registered(&origin, ALICE, "alice").await;
    assert!(device.starts_with("ekd_"));
    fail(&origin, ELSEWHERE, 5).await;
    log_in(&origin, HOME, ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
    let reply = log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
    assert_eq!(
        reply.text("device_token"),
        device,
        "it is the same device still"
    );
    // For everybody else the lock holds.
    log_in(&origin, HOME, ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
    assert_eq!(status(&origin, ALICE).await["failed_attempts"], 5);
    // Delays and the window of the account do not reach it either.
    log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn a_devices_failures_are_its_own_and_five_end_its_trust() {
    let origin = origin().await;
    let device = registered(&origin, ALICE, "alice").await;
    for _ in 0..3 {
        for _ in 0..4 {
            log_in_on(&origin, &device, "wrong password")
                .await
                .expect(401, "credentials_invalid");
        }
        log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
    }
    assert_eq!(status(&origin, ALICE).await["failed_attempts"], 0);
    fail(&origin, ELSEWHERE, 5).await;
    for _ in 0..5 {
        log_in_on(&origin, &device, "wrong password")
            .await
            .expect(401, "credentials_invalid");
    }
    // It is a stranger now, and the account is locked.
    log_in_on(&origin, &device, PASSWORD)
        .await
        .expect(423, "account_locked");
    origin.advance(900);
    let reply = log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
    assert_ne!(reply.text("device_token"), device);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_guesses_with_a_stolen_token_five_more_are_compared() {
    let origin = origin().await;
    let device = registered(&origin, ALICE, "alice").await;
    fail(&origin, ELSEWHERE, 5).await;
    let guesses = (0..200).map(|_| log_in_on(&origin, &device, "wrong password"));
    let replies = all(guesses).await;
    let compared = replies
        .iter()
        .filter(|reply| reply.code() == "credentials_invalid");
    assert_eq!(compared.count(), 5);
    assert!(
        replies
            .iter()
            .all(|reply| [401, 423].contains(&reply.status.as_u16()))
    );
}

#[tokio::test]
async fn a_token_that_is_not_good_here_is_as_if_absent() {
    let origin = origin().await;
    let device = registered(&origin, ALICE, "alice").await;
    let foreign = registered(&origin, "bob@example.org", "bob").await;
    let mut flipped = device.clone();
    flipped.replace_range(10..11, if &device[10..11] == "A" { "B" } else { "A" });
    let long = "ekd_".repeat(5_000);
    fail(&origin, ELSEWHERE, 5).await;
    for token in [
        foreign.as_str(),
        flipped.as_str(),
        "",
        "ekd_",
        &device[..device.len() - 1],
        &device.to_uppercase(),
        &format!("{device}="),
        &long,
    ] {
        let reply = log_in_on(&origin, token, PASSWORD).await;
        let mut told = reply.expect(423, "account_locked").body;
        told["instance"] = Value::Null;
        let mut absent = log_in(&origin, HOME, ALICE, PASSWORD).await.body;
        absent["instance"] = Value::Null;
        assert_eq!(told, absent);
    }
    // The foreign one has lost nothing by it.
    let body = json!({"identifier": "bob", "password": PASSWORD, "device_token": foreign});
    let reply = origin.post_from(HOME, &[], "/login", &body).await;
    assert_eq!(reply.expect(200, "").text("device_token"), foreign);
}

#[tokio::test]
async fn trust_lasts_ninety_days_from_the_last_login() {
    const DAY: u64 = 86_400;
    let origin = origin().await;
    let device = registered(&origin, ALICE, "alice").await;
    origin.advance(89 * DAY);
    log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
    for (seconds, code) in [(90 * DAY - 1, 200), (90 * DAY, 423)] {
        origin.advance(seconds - 1);
        fail(&origin, ELSEWHERE, 5).await;
        origin.advance(1);
        let reply = log_in_on(&origin, &device, PASSWORD).await;
        assert_eq!(reply.status, code);
    }
}

#[tokio::test]
async fn ending_one_session_leaves_the_trust_in_a_device() {
    let origin = origin().await;
    let device = registered(&origin, ALICE, "alice").await;
    let reply = log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
    let bearer = Some(reply.text("access_token"));
    let path = "/api/v1/auth/logout";
    origin
        .call(Method::POST, path, bearer, None)
        .await
        .expect(204, "");
    let reply = log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
    assert_eq!(reply.text("device_token"), device);
}

#[tokio::test]
async fn trust_ends_where_sessions_are_ended_for_whatever_left_it_behind() {
    for how in [
        "logout of all",
        "end of the others",
        "change of the password",
        "reset",
    ] {
        let origin = origin().await;
        let device = registered(&origin, ALICE, "alice").await;
        let reply = log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
        let bearer = Some(reply.text("access_token"));
        let call = async |method: Method, route: &str, body: Value| {
            let path = format!("/api/v1/auth{route}");
            let body = Some(body).filter(|body| !body.is_null());
            origin
                .call(method, &path, bearer, body)
                .await
                .expect(204, "");
        };
        match how {
            "logout of all" => call(Method::POST, "/logout", json!({"all": true})).await,
            "end of the others" => call(Method::DELETE, "/sessions", Value::Null).await,
            "change of the password" => {
                for (old, new) in [
                    (PASSWORD, "another horse battery"),
                    ("another horse battery", PASSWORD),
                ] {
                    let body = json!({"current_password": old, "new_password": new});
                    call(Method::POST, "/change-password", body).await;
                }
            }
            _ => {
                let body = json!({"identifier": ALICE});
                origin.post("/forgot-password", body).await.expect(202, "");
                let body = json!({"token": origin.code(ALICE), "password": PASSWORD});
                origin.post("/reset-password", body).await.expect(204, "");
            }
        }
        fail(&origin, ELSEWHERE, 5).await;
        let reply = log_in_on(&origin, &device, PASSWORD).await;
        assert_eq!(reply.code(), "account_locked", "{how}");
        // At its next login it is trusted anew.
        origin.advance(900);
        let reply = log_in_on(&origin, &device, PASSWORD).await.expect(200, "");
        assert_ne!(reply.text("device_token"), device, "{how}");
    }
}

#[tokio::test]
async fn a_restored_database_trusts_no_device() {
    use edgekeep_origin::sessions::{Since, restored};
    for (since, code) in [(Since::Nothing, 200), (Since::Unknown, 423)] {
        let origin = origin().await;
        let device = registered(&origin, ALICE, "alice").await;
        restored(&origin.state, since).await.unwrap();
        fail(&origin, ELSEWHERE, 5).await;
        assert_eq!(log_in_on(&origin, &device, PASSWORD).await.status, code);
    }
}

#[tokio::test]
async fn an_account_has_ten_devices_and_none_where_they_are_off() {
    let origin = origin().await;
    registered(&origin, ALICE, "alice").await;
    let mut tokens = Vec::new();
    for _ in 0..11 {
        origin.advance(1);
        let reply = log_in(&origin, HOME, ALICE, PASSWORD).await.expect(200, "");
        tokens.push(reply.text("device_token").to_owned());
    }
    fail(&origin, ELSEWHERE, 5).await;
    log_in_on(&origin, &tokens[0], PASSWORD)
        .await
        .expect(423, "account_locked");
    log_in_on(&origin, &tokens[1], PASSWORD)
        .await
        .expect(200, "");

    let origin = Origin::with(|config| config.lockout.device_days = 0).await;
    let body = json!({"email": ALICE, "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": ALICE, "code": origin.code(ALICE)});
    let reply = origin.post("/register/verify", body).await.expect(200, "");
    assert!(reply.body.get("device_token").is_none());
}

/// Proves the address by a registration that waited while it got its account, on the device of `token`;
/// the device token that comes back.
#[expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
async fn proved(origin: &Origin, token: Option<&str>) -> String {
    let state = &origin.state;
    let blind = Identifier::email(ALICE).unwrap().blind(&state.vault);
    let pending = json!({
        "kind": "email", "spelling": ALICE, "username": null, "name": null, "phc": null,
        "password_mac": [],
    });
    let pending = pending.to_string().into_bytes();
    let mut tx = state.db.write().await.unwrap();
    let purpose = CodeFor::Registration;
    let issued = issue(state, &mut tx, purpose, &blind.unwrap(), &pending, true).await;
    tx.commit().await.unwrap();
    let issued = issued.unwrap();
    let body = json!({
        "registration_token": issued.token.expose(), "code": issued.code.expose(),
        "device_token": token,
    });
    let reply = origin.post("/register/verify", body).await;
    reply.expect(200, "").text("device_token").to_owned()
}

#[tokio::test]
async fn a_device_is_known_again_by_a_registration_of_its_account_and_of_no_other() {
    let origin = origin().await;
    let mine = registered(&origin, ALICE, "alice").await;
    let foreign = registered(&origin, "bob@example.org", "bobby").await;
    let devices = async || {
        let mut reader = origin.state.db.read().await.unwrap();
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM trusted_devices");
        count.fetch_one(&mut *reader).await.unwrap()
    };
    // A day before its time is over: with this login it begins anew.
    origin.advance(89 * 86_400);
    assert_eq!(proved(&origin, Some(&mine)).await, mine);
    assert_eq!(devices().await, 2);
    origin.advance(2 * 86_400);
    assert_eq!(proved(&origin, Some(&mine)).await, mine);
    for token in [None, Some(foreign.as_str()), Some("ekd_nothing")] {
        let before = devices().await;
        assert_ne!(Some(proved(&origin, token).await.as_str()), token);
        assert_eq!(devices().await, before + 1, "{token:?}");
    }
    // One whose tries strangers or a thief have used up is none any more.
    for _ in 0..5 {
        log_in_on(&origin, &mine, "wrong password").await;
    }
    assert_ne!(proved(&origin, Some(&mine)).await, mine);
}

#[tokio::test]
async fn the_database_knows_neither_tokens_nor_addresses() {
    let origin = origin().await;
    let device = registered(&origin, ALICE, "alice").await;
    fail(&origin, HOME, 3).await;
    let mut reader = origin.state.db.read().await.unwrap();
    let (hash, source): (Vec<u8>, Vec<u8>) = sqlx::query_as(
        "SELECT token_hash, (SELECT source FROM attempts LIMIT 1) FROM trusted_devices",
    )
    .fetch_one(&mut *reader)
    .await
    .unwrap();
    assert_eq!((hash.len(), source.len()), (32, 32));
    assert!(
        !device
            .as_bytes()
            .windows(8)
            .any(|part| hash.starts_with(part))
    );
    let v4: std::net::Ipv4Addr = HOME.parse().unwrap();
    assert!(!source.windows(4).any(|part| part == v4.octets()));
}
