//! How often one may ask: every default at its boundary, whom an address stands for, and what the
//! headers say.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request};
use edgekeep_origin::config::{Config, Limits};
use serde_json::{Value, json};
use sfv::{BareItem, List, ListEntry, Parser};
use support::{Origin, Reply, all};

const ALICE: &str = "alice@example.org";
const PASSWORD: &str = "correct horse battery";
const HERE: &str = "203.0.113.9";

/// An origin that counts by address.
async fn counting() -> Origin {
    counting_with(|_| {}).await
}

async fn counting_with(change: impl FnOnce(&mut Config)) -> Origin {
    Origin::with(|config| {
        config.limits.per_ip = true;
        change(config);
    })
    .await
}

async fn registered(origin: &Origin, email: &str) {
    let body = json!({"email": email, "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": email, "code": origin.code(email)});
    origin.post("/register/verify", body).await.expect(200, "");
}

async fn post(origin: &Origin, address: &str, route: &str, body: Value) -> Reply {
    origin.post_from(address, &[], route, &body).await
}

#[track_caller]
fn refused(reply: Reply, wait: &str) {
    let reply = reply.expect(429, "rate_limited");
    assert_eq!(reply.headers["retry-after"], wait);
}

/// Asks `allowed` times at once, is refused, and is refused until the window is over.
async fn boundary<F: Future<Output = Reply>>(
    origin: &Origin,
    allowed: u32,
    window: u64,
    mut ask: impl FnMut(u32) -> F,
) {
    for number in 0..allowed {
        let reply = ask(number).await;
        assert_ne!(reply.status, 429, "{number}: {:?}", reply.body);
    }
    refused(ask(allowed).await, &window.to_string());
    origin.advance(window - 1);
    refused(ask(allowed + 1).await, "1");
    origin.advance(1);
    let reply = ask(allowed + 2).await;
    assert_ne!(reply.status, 429, "{:?}", reply.body);
}

#[test]
fn the_defaults_are_those_that_are_promised() {
    let limits = Limits::default();
    assert!(limits.per_ip);
    for (value, promised) in [
        (limits.otp_send_per_ip_per_hour, 10),
        (limits.otp_send_per_minute, 1_000),
        (limits.otp_verify_failures_per_ip_per_hour, 20),
        (limits.forgot_password_per_account_per_hour, 3),
        (limits.forgot_password_per_ip_per_hour, 10),
        (limits.reset_password_per_account_per_hour, 3),
        (limits.reset_password_per_ip_per_hour, 10),
        (limits.login_failures_per_account, 5),
        (limits.login_failures_per_ip, 10),
        (limits.logins_per_user_per_hour, 60),
        (limits.refresh_per_session_per_minute, 10),
        (limits.refresh_per_ip_per_minute, 30),
        (limits.api_per_user_per_minute, 1_000),
        (limits.changes_per_user_per_hour, 300),
        (limits.api_per_ip_per_minute, 3_000),
    ] {
        assert_eq!(value, promised);
    }
}

#[tokio::test]
async fn ten_messages_an_hour_from_one_address_codes_and_registrations_together() {
    let origin = &counting().await;
    boundary(origin, 10, 3_600, |number| async move {
        let email = format!("somebody{number}@example.org");
        if number % 2 == 0 {
            post(origin, HERE, "/otp/send", json!({"email": email})).await
        } else {
            let body = json!({"email": email, "password": PASSWORD});
            post(origin, HERE, "/register", body).await
        }
    })
    .await;
}

#[tokio::test]
async fn three_messages_an_hour_to_one_recipient_whatever_they_are_called() {
    for routes in [
        ["/otp/send"; 4],
        ["/register"; 4],
        ["/register", "/otp/send", "/register", "/otp/send"],
        ["/otp/send", "/otp/send", "/otp/send", "/register"],
    ] {
        let origin = counting().await;
        let mut replies = Vec::new();
        for route in routes {
            let mut body = json!({"email": ALICE});
            if route == "/register" {
                body["password"] = json!(PASSWORD);
            }
            replies.push(post(&origin, HERE, route, body).await);
        }
        refused(replies.pop().unwrap(), "3600");
        assert!(
            replies.iter().all(|reply| reply.status.is_success()),
            "{routes:?}"
        );
        assert_eq!(origin.state.mailer.sent().len(), 3, "{routes:?}");
    }
}

#[tokio::test]
async fn a_thousand_messages_a_minute_in_all() {
    // From as many addresses, to as many recipients. The first 990 are only counted.
    let origin = &counting().await;
    for _ in 0..990 {
        origin.state.limiter.message().unwrap();
    }
    boundary(origin, 10, 60, |number| async move {
        let address = format!("198.51.100.{number}");
        let body = json!({"email": format!("somebody{number}@example.org")});
        post(origin, &address, "/otp/send", body).await
    })
    .await;
    // A registration sends one, too, and so does who forgot a password; refused, it has cost its
    // recipient nothing.
    for _ in 0..999 {
        origin.state.limiter.message().unwrap();
    }
    for _ in 0..4 {
        let body = json!({"identifier": "nobody@example.org"});
        let reply = post(origin, HERE, "/forgot-password", body).await;
        refused(reply, "60");
    }
    let body = json!({"email": ALICE, "password": PASSWORD});
    for _ in 0..3 {
        let reply = post(origin, HERE, "/register", body.clone()).await;
        refused(reply, "60");
    }
    origin.advance(60);
    for _ in 0..3 {
        let reply = post(origin, HERE, "/register", body.clone()).await;
        reply.expect(202, "");
    }
}

#[tokio::test]
async fn changes_of_ones_own_account_are_bounded_and_reading_is_not() {
    let origin = &counting_with(|config| {
        config.limits.changes_per_user_per_hour = 4;
        config.mfa.fresh_seconds = 86_400;
        config.tokens.access_token_seconds = 86_400;
    })
    .await;
    registered(origin, ALICE).await;
    registered(origin, "bob@example.org").await;
    let mut bearers = Vec::new();
    for email in [ALICE, "bob@example.org"] {
        let body = json!({"identifier": email, "password": PASSWORD});
        let tokens = post(origin, HERE, "/login", body).await.expect(200, "");
        bearers.push(tokens.text("access_token").to_owned());
    }
    let [alice, bob] = [&bearers[0], &bearers[1]];
    let call = |method: Method, route: &str, bearer: &String, body: Option<Value>| {
        let (path, bearer) = (format!("/api/v1/auth{route}"), bearer.clone());
        async move { origin.call(method, &path, Some(&bearer), body).await }
    };
    let profile = |number: u32| {
        let body = json!({"name": format!("Alice {number}")});
        call(Method::PUT, "/profile", alice, Some(body))
    };
    boundary(origin, 4, 3_600, &profile).await;
    for number in 0..3 {
        profile(number).await.expect(200, "");
    }
    refused(profile(3).await, "3600");
    // What needs a proof is counted apart, together.
    let route = "/account/export";
    boundary(origin, 4, 3_600, |number| async move {
        if number % 2 == 0 {
            call(Method::POST, "/mfa/totp", alice, None).await
        } else {
            call(Method::GET, route, alice, None).await
        }
    })
    .await;
    for number in 0..4 {
        profile(number).await;
        call(Method::POST, "/mfa/totp", alice, None).await;
    }
    refused(profile(4).await, "3600");
    refused(call(Method::GET, route, alice, None).await, "3600");
    // And what the password proves, once it was right: a token does not use that up.
    let passwords = [PASSWORD, "a quiet green harbour"];
    let change = |number: usize, current: &str| {
        let new = passwords[(number + 1) % 2];
        let body = json!({"current_password": current, "new_password": new});
        call(Method::POST, "/change-password", alice, Some(body))
    };
    for number in 0..4 {
        let wrong = change(number, "not the password").await;
        wrong.expect(401, "credentials_invalid");
        change(number, passwords[number % 2]).await.expect(204, "");
    }
    refused(change(4, passwords[0]).await, "3600");
    let read = call(Method::GET, "/profile", alice, None).await;
    read.expect(200, "");
    let anothers = call(Method::GET, route, bob, None).await;
    anothers.expect(200, "");
}

#[tokio::test]
async fn twenty_wrong_codes_an_hour_from_one_address() {
    let origin = &counting().await;
    boundary(origin, 20, 3_600, |number| async move {
        let body = json!({"otp_token": format!("eko_{number}"), "code": "123456"});
        post(origin, HERE, "/otp/verify", body).await
    })
    .await;
    // Proving an address by a code is the same sort of guess.
    for number in 0..19 {
        let body = json!({"email": format!("somebody{number}@example.org"), "code": "123456"});
        post(origin, HERE, "/register/verify", body)
            .await
            .expect(400, "code_invalid");
    }
    let body = json!({"email": ALICE, "code": "123456"});
    refused(post(origin, HERE, "/register/verify", body).await, "3600");
}

#[tokio::test]
async fn ten_reset_links_and_ten_resets_an_hour_from_one_address() {
    let origin = &counting().await;
    boundary(origin, 10, 3_600, |number| async move {
        let body = json!({"identifier": format!("somebody{number}@example.org")});
        post(origin, HERE, "/forgot-password", body).await
    })
    .await;
    boundary(origin, 10, 3_600, |number| async move {
        let body = json!({"token": format!("ekp_{number}"), "password": PASSWORD});
        post(origin, HERE, "/reset-password", body).await
    })
    .await;
}

#[tokio::test]
async fn ten_wrong_passwords_in_a_quarter_of_an_hour_from_one_address() {
    let origin = &counting().await;
    boundary(origin, 10, 900, |number| async move {
        let identifier = format!("somebody{number}@example.org");
        let body = json!({"identifier": identifier, "password": "wrong password"});
        post(origin, HERE, "/login", body).await
    })
    .await;
}

#[tokio::test]
async fn sixty_logins_an_hour_of_one_user_wherever_from() {
    let origin = &counting().await;
    registered(origin, ALICE).await;
    origin.advance(3_600);
    boundary(origin, 60, 3_600, |number| async move {
        let body = json!({"identifier": ALICE, "password": PASSWORD});
        let device = [("x-device-id", format!("device {number}"))];
        let headers = device.each_ref().map(|(name, id)| (*name, id.as_str()));
        let address = format!("198.51.100.{number}");
        origin.post_from(&address, &headers, "/login", &body).await
    })
    .await;
}

#[tokio::test]
async fn logins_on_a_trusted_device_are_counted_apart() {
    let origin = counting_with(|config| config.limits.logins_per_user_per_hour = 2).await;
    registered(&origin, ALICE).await;
    let log_in = async |email: &str, device: Option<&str>| {
        let mut body = json!({"identifier": email, "password": PASSWORD});
        if let Some(token) = device {
            body["device_token"] = json!(token);
        }
        post(&origin, HERE, "/login", body).await
    };
    let first = log_in(ALICE, None).await.expect(200, "");
    let device = first.text("device_token");
    origin.advance(3_600);
    for _ in 0..2 {
        log_in(ALICE, None).await.expect(200, "");
    }
    refused(log_in(ALICE, None).await, "3600");
    for _ in 0..2 {
        log_in(ALICE, Some(device)).await.expect(200, "");
    }
    refused(log_in(ALICE, Some(device)).await, "3600");
    // What is nobody's token is none of another's either.
    refused(log_in(ALICE, Some("ekd_nothing")).await, "3600");
    registered(&origin, "bob@example.org").await;
    log_in("bob@example.org", None).await.expect(200, "");
}

#[tokio::test]
async fn logins_on_devices_that_are_new_are_counted_with_those_that_made_them() {
    let origin = counting_with(|config| config.limits.logins_per_user_per_hour = 2).await;
    registered(&origin, ALICE).await;
    let log_in = async |device: Option<&str>| {
        let mut body = json!({"identifier": ALICE, "password": PASSWORD});
        if let Some(token) = device {
            body["device_token"] = json!(token);
        }
        post(&origin, HERE, "/login", body).await
    };
    let mut device: Option<String> = None;
    let mut logins = 0;
    for number in 0..30 {
        // A new device, and twice on it, over and over.
        let reply = log_in(device.as_deref().filter(|_| number % 3 != 0)).await;
        if reply.status == 200 {
            device = Some(reply.text("device_token").to_owned());
            logins += 1;
        } else {
            refused(reply, "3600");
        }
    }
    assert_eq!(logins, 2);
    // One has its own once it has been trusted for the hour.
    origin.advance(3_599);
    refused(log_in(device.as_deref()).await, "1");
    origin.advance(1);
    for _ in 0..2 {
        log_in(device.as_deref()).await.expect(200, "");
        log_in(None).await.expect(200, "");
    }
    refused(log_in(device.as_deref()).await, "3600");
    refused(log_in(None).await, "3600");
}

/// Logs in with a code that is sent for it.
async fn log_in_by_code(origin: &Origin) -> Reply {
    let sent = post(origin, HERE, "/otp/send", json!({"email": ALICE})).await;
    let body = json!({
        "otp_token": sent.expect(200, "").text("otp_token"), "code": origin.code(ALICE),
    });
    post(origin, HERE, "/otp/verify", body).await
}

#[tokio::test]
async fn whoever_has_learned_the_password_uses_up_no_login_by_a_code() {
    let origin = counting_with(|config| config.limits.logins_per_user_per_hour = 2).await;
    registered(&origin, ALICE).await;
    let by_password = || {
        let body = json!({"identifier": ALICE, "password": PASSWORD});
        post(&origin, HERE, "/login", body)
    };
    for _ in 0..2 {
        by_password().await.expect(200, "");
    }
    refused(by_password().await, "3600");
    // The registration was one, too.
    log_in_by_code(&origin).await.expect(200, "");
    refused(log_in_by_code(&origin).await, "3600");
    refused(by_password().await, "3600");
}

#[tokio::test]
async fn a_login_too_many_leaves_its_code_as_good_as_it_was() {
    let origin = counting_with(|config| config.limits.logins_per_user_per_hour = 1).await;
    registered(&origin, ALICE).await;
    // The second time on the device that is trusted since the first, where a code is counted.
    let mut device: Option<String> = None;
    for _ in 0..2 {
        let ask = |route: &str, mut body: Value| {
            if let Some(token) = &device {
                body["device_token"] = json!(token);
            }
            let route = route.to_owned();
            let origin = &origin;
            async move { post(origin, HERE, &route, body).await }
        };
        origin.advance(3_500);
        let sent = ask("/otp/send", json!({"email": ALICE})).await;
        let body = json!({
            "otp_token": sent.expect(200, "").text("otp_token"), "code": origin.code(ALICE),
        });
        // More often than a code may be wrong, or a device fail in a row.
        for _ in 0..6 {
            refused(ask("/otp/verify", body.clone()).await, "100");
        }
        for sql in [
            "SELECT COUNT(*) FROM code_failures",
            "SELECT COUNT(*) FROM trusted_devices WHERE failures > 0",
        ] {
            let mut reader = origin.state.db.read().await.unwrap();
            let counted: i64 = sqlx::query_scalar(sql)
                .fetch_one(&mut *reader)
                .await
                .unwrap();
            assert_eq!(counted, 0, "{sql}");
        }
        origin.advance(100);
        let reply = ask("/otp/verify", body).await.expect(200, "");
        device = Some(reply.text("device_token").to_owned());
    }
}

#[tokio::test]
async fn a_login_too_many_leaves_its_registration_as_good_as_it_was() {
    for by_token in [true, false] {
        let origin = counting_with(|config| {
            config.limits.logins_per_user_per_hour = 1;
            config.registration.require_proof = false;
            config.otp.ttl_seconds = 600;
        })
        .await;
        // There already, and not proved until somebody logs in with a code.
        let body = json!({"email": ALICE, "password": PASSWORD});
        let begun = post(&origin, HERE, "/register", body).await.expect(202, "");
        let code = origin.code(ALICE);
        log_in_by_code(&origin).await.expect(200, "");
        origin.advance(500);
        let body = if by_token {
            let token = begun.headers["x-registration-token"].to_str().unwrap();
            json!({"registration_token": token, "code": code})
        } else {
            json!({"email": ALICE, "code": code})
        };
        for _ in 0..6 {
            let reply = post(&origin, HERE, "/register/verify", body.clone()).await;
            refused(reply, "3100");
        }
        let mut reader = origin.state.db.read().await.unwrap();
        let tries: i64 = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM code_failures)
                    + (SELECT SUM(tries) + SUM(unbound_tries) FROM one_time_codes)",
        )
        .fetch_one(&mut *reader)
        .await
        .unwrap();
        assert_eq!(tries, 0, "by its token: {by_token}");
    }
}

#[tokio::test]
async fn a_login_too_many_is_no_failure_of_its_device() {
    let origin = counting_with(|config| config.limits.logins_per_user_per_hour = 1).await;
    registered(&origin, ALICE).await;
    let log_in = async |password: &str, device: Option<&str>| {
        let mut body = json!({"identifier": ALICE, "password": password});
        if let Some(token) = device {
            body["device_token"] = json!(token);
        }
        post(&origin, HERE, "/login", body).await
    };
    let tokens = log_in(PASSWORD, None).await.expect(200, "");
    let device = Some(tokens.text("device_token"));
    // A wrong one stays counted.
    let wrong = log_in("wrong password", device).await;
    wrong.expect(401, "credentials_invalid");
    for _ in 0..6 {
        refused(log_in(PASSWORD, device).await, "3600");
    }
    let mut reader = origin.state.db.read().await.unwrap();
    let failures: i64 =
        sqlx::query_scalar("SELECT failures FROM trusted_devices ORDER BY failures DESC")
            .fetch_one(&mut *reader)
            .await
            .unwrap();
    assert_eq!(failures, 1);
    drop(reader);
    origin.advance(3_600);
    for _ in 0..5 {
        let wrong = log_in("wrong password", None).await;
        wrong.expect(401, "credentials_invalid");
    }
    log_in(PASSWORD, None).await.expect(423, "account_locked");
    log_in(PASSWORD, device).await.expect(200, "");
}

#[tokio::test]
async fn thirty_refreshes_a_minute_from_one_address() {
    let origin = &counting().await;
    boundary(origin, 30, 60, |number| async move {
        let body = json!({"refresh_token": format!("ekr_{number}")});
        post(origin, HERE, "/refresh", body).await
    })
    .await;
}

#[tokio::test]
async fn ten_refreshes_a_minute_of_one_session() {
    let origin = &Origin::new().await;
    let user = keep::user(&origin.state).await;
    let mut token = keep::open(&origin.state, user).await.refresh_token;
    let other = keep::open(&origin.state, user).await.refresh_token;
    let refresh = |token: &str| origin.post("/refresh", json!({"refresh_token": token.to_owned()}));
    for number in 0..10 {
        let reply = refresh(&token).await.expect(200, "");
        let previous = std::mem::replace(&mut token, reply.text("refresh_token").to_owned());
        // An answer that was lost is given again, and counts as the one refresh that it is.
        let again = refresh(&previous).await.expect(200, "");
        assert_eq!(again.text("refresh_token"), token, "{number}");
    }
    refused(refresh(&token).await, "60");
    refresh(&other).await.expect(200, "");
    // Nothing was lost: the token is good when its time has come.
    origin.advance(59);
    refused(refresh(&token).await, "1");
    origin.advance(1);
    refresh(&token).await.expect(200, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_parallel_refreshes_of_one_token_are_one_refresh() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let mut token = keep::open(&origin.state, user).await.refresh_token;
    for _ in 0..3 {
        let body = json!({"refresh_token": token});
        let replies = all((0..100).map(|_| origin.post("/refresh", body.clone()))).await;
        let successors: std::collections::BTreeSet<String> = replies
            .into_iter()
            .map(|reply| reply.expect(200, "").text("refresh_token").to_owned())
            .collect();
        assert_eq!(successors.len(), 1);
        token = successors.into_iter().next().unwrap();
    }
}

#[tokio::test]
async fn a_thousand_requests_a_minute_of_one_user() {
    let origin = &Origin::new().await;
    let user = keep::user(&origin.state).await;
    let token = &keep::open(&origin.state, user).await.access_token;
    // Another session of the same user is the same user.
    let second = &keep::open(&origin.state, user).await.access_token;
    let path = "/api/v1/auth/token-info";
    boundary(origin, 1_000, 60, |number| {
        let token = if number % 2 == 0 { token } else { second };
        origin.call(Method::GET, path, Some(token), None)
    })
    .await;
    let stranger = keep::user(&origin.state).await;
    let other = keep::open(&origin.state, stranger).await.access_token;
    let reply = origin.call(Method::GET, path, Some(&other), None).await;
    reply.expect(200, "");
}

#[tokio::test]
async fn three_thousand_requests_a_minute_from_one_address_with_whatever_for_a_token() {
    let origin = &counting().await;
    boundary(origin, 3_000, 60, |_| {
        origin.call(Method::GET, "/api/v1/auth/profile", Some("garbage"), None)
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_about_tokens_or_revokes_them_is_bounded_like_whoever_uses_them() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let origin = &counting_with(|config| config.limits.api_per_ip_per_minute = 3).await;
    boundary(origin, 3, 60, |number| async move {
        let body = json!({"token": "garbage"});
        match number % 3 {
            0 => origin.post("/validate-token", body).await,
            1 => origin.post("/revoke-token", body).await,
            _ => {
                let request = Request::post("/oauth/revoke")
                    .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))))
                    .header("content-type", FORM)
                    .body(Body::from("token=garbage"));
                origin.send(request.unwrap()).await
            }
        }
    })
    .await;
}

#[tokio::test]
async fn three_reset_links_an_hour_for_one_account_whatever_it_is_called() {
    let origin = &Origin::new().await;
    let body = json!({"email": ALICE, "username": "alice", "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": ALICE, "code": origin.code(ALICE)});
    origin.post("/register/verify", body).await.expect(200, "");
    let sent = || origin.state.mailer.sent().len();
    let forgot = |identifier: &str| {
        let body = json!({"identifier": identifier.to_owned()});
        origin.post("/forgot-password", body)
    };
    let before = sent();
    for identifier in [ALICE, "alice", "ALICE@example.org"] {
        forgot(identifier).await.expect(202, "");
    }
    assert_eq!(sent() - before, 3);
    let newest = origin.code(ALICE);
    // Of the fourth there is an answer and no message; the last link stays good.
    forgot("alice").await.expect(202, "");
    assert_eq!(sent() - before, 3);
    // Each identifier is refused when it has been typed three times, as nobody's would be.
    forgot(ALICE).await.expect(202, "");
    for identifier in [ALICE, "nobody"] {
        for _ in 0..3 {
            forgot(identifier).await;
        }
        refused(forgot(identifier).await, "3600");
    }
    let body = json!({"token": newest, "password": "another password"});
    origin.post("/reset-password", body).await.expect(204, "");
    origin.advance(3_600);
    forgot(ALICE).await.expect(202, "");
    assert_eq!(sent() - before, 5, "a link, and word of the reset");
}

#[tokio::test]
async fn three_resets_an_hour_for_one_account() {
    let origin = &Origin::with(|config| {
        config.limits.forgot_password_per_account_per_hour = 100;
    })
    .await;
    registered(origin, ALICE).await;
    boundary(origin, 3, 3_600, |number| async move {
        let body = json!({"identifier": ALICE});
        origin.post("/forgot-password", body).await.expect(202, "");
        let link = origin.code(ALICE);
        let body = json!({"token": link, "password": format!("another password {number}")});
        let reply = origin.post("/reset-password", body).await;
        assert!(
            [204, 429].contains(&reply.status.as_u16()),
            "{:?}",
            reply.body
        );
        reply
    })
    .await;
}

#[tokio::test]
async fn successes_are_no_failures() {
    let origin = counting().await;
    registered(&origin, ALICE).await;
    for _ in 0..15 {
        let body = json!({"identifier": ALICE, "password": PASSWORD});
        post(&origin, HERE, "/login", body).await.expect(200, "");
    }
    let body = json!({"identifier": ALICE, "password": "wrong password"});
    let reply = post(&origin, HERE, "/login", body).await;
    let headers = reply.expect(401, "credentials_invalid").headers;
    assert_eq!(left(&headers, "login-failures-ip"), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_right_passwords_behind_one_address_wait_for_each_other() {
    let origin = counting().await;
    registered(&origin, ALICE).await;
    let right = json!({"identifier": ALICE, "password": PASSWORD});
    // Three times as many as may fail.
    let logins = (0..30).map(|_| post(&origin, HERE, "/login", right.clone()));
    for reply in all(logins).await {
        reply.expect(200, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_parallel_failures_from_one_address_ten_are_compared() {
    let origin = counting().await;
    let guesses = (0..1_000).map(|number| {
        let identifier = format!("somebody{number}@example.org");
        let body = json!({"identifier": identifier, "password": "wrong password"});
        post(&origin, HERE, "/login", body)
    });
    let replies = all(guesses).await;
    let compared = replies
        .iter()
        .filter(|reply| reply.code() == "credentials_invalid")
        .count();
    assert_eq!(compared, 10);
    assert!(
        replies
            .iter()
            .all(|reply| [401, 429].contains(&reply.status.as_u16()))
    );
}

#[tokio::test]
async fn without_counting_by_address_no_address_is_limited() {
    let origin = Origin::new().await;
    for number in 0..40 {
        let body = json!({"otp_token": format!("eko_{number}"), "code": "123456"});
        post(&origin, HERE, "/otp/verify", body)
            .await
            .expect(400, "code_invalid");
        let identifier = format!("somebody{number}@example.org");
        let body = json!({"identifier": identifier, "password": "wrong password"});
        let reply = post(&origin, HERE, "/login", body).await;
        let headers = reply.expect(401, "credentials_invalid").headers;
        assert!(!headers.contains_key("ratelimit"));
    }
}

#[test]
fn settings_are_read_and_impossible_ones_stop_the_start() {
    use edgekeep_origin::config::{ClientAddressHeader, Environment};
    let load = |name: &str, value: &str| {
        let pair = (format!("EDGEKEEP_{name}"), value.to_owned());
        Config::parse("".as_ref(), "", &Environment::from([pair]))
    };
    let config = load(
        "SERVER__TRUSTED_PROXIES",
        "10.0.0.0/8, 192.0.2.1, 2001:db8::/32",
    )
    .unwrap();
    assert_eq!(config.server.trusted_proxies.len(), 3);
    for (text, header) in [
        ("x-forwarded-for", ClientAddressHeader::XForwardedFor),
        ("forwarded", ClientAddressHeader::Forwarded),
        ("cf-connecting-ip", ClientAddressHeader::CfConnectingIp),
    ] {
        let config = load("SERVER__CLIENT_ADDRESS_HEADER", text).unwrap();
        assert_eq!(config.server.client_address_header, header);
    }
    for (text, delays) in [
        ("[2, 4]", &[2, 4][..]),
        ("2,4", &[2, 4]),
        ("7", &[7]),
        ("", &[]),
    ] {
        let config = load("LOCKOUT__DELAY_SECONDS", text).unwrap();
        assert_eq!(config.lockout.delay_seconds, delays);
    }
    for (name, value) in [
        ("SERVER__TRUSTED_PROXIES", "0.0.0.0/0"),
        ("SERVER__TRUSTED_PROXIES", "::/0"),
        ("SERVER__TRUSTED_PROXIES", "10.0.0.0/33"),
        ("SERVER__TRUSTED_PROXIES", "proxy.example.org"),
        ("SERVER__CLIENT_ADDRESS_HEADER", "x-real-ip"),
        ("LOCKOUT__DELAY_FOR", "nobody"),
        ("LOCKOUT__DELAY_SECONDS", "[31622401]"),
        ("LOCKOUT__LOCK_SECONDS", "0"),
        ("LOCKOUT__DEVICE_DAYS", "367"),
        ("LIMITS__LOGIN_FAILURES_PER_IP", "0"),
        ("LIMITS__API_PER_USER_PER_MINUTE", "0"),
        ("LIMITS__REFRESH_PER_SESSION_PER_MINUTE", "1000000001"),
    ] {
        let refusal = load(name, value).unwrap_err().to_string();
        assert!(refusal.contains("expected"), "{name}={value}: {refusal}");
    }
}

/// Fails from `address` with these headers; whether it was refused for its address.
async fn limited(origin: &Origin, address: &str, headers: &[(&str, &str)]) -> bool {
    let body = json!({"token": "ekp_x", "password": PASSWORD});
    let reply = origin
        .post_from(address, headers, "/reset-password", &body)
        .await;
    reply.status == 429
}

#[tokio::test]
async fn an_address_that_a_client_made_up_moves_no_counter() {
    let origin = counting().await;
    // However it is told, it is the connection that counts.
    for number in 0..10 {
        let spoofed = format!("198.51.100.{number}");
        let element = format!("for={spoofed}");
        let headers = [
            ("x-forwarded-for", spoofed.as_str()),
            ("forwarded", element.as_str()),
            ("cf-connecting-ip", spoofed.as_str()),
            ("x-real-ip", spoofed.as_str()),
        ];
        assert!(!limited(&origin, HERE, &headers).await);
    }
    assert!(limited(&origin, HERE, &[("x-forwarded-for", "192.0.2.1")]).await);
    // And those who were named have all of theirs.
    for number in 0..10 {
        assert!(!limited(&origin, &format!("198.51.100.{number}"), &[]).await);
    }
}

#[tokio::test]
async fn behind_a_proxy_its_word_counts_and_garbage_counts_as_the_proxy() {
    let origin = counting_with(|config| {
        config.server.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let from = async |address: &str, told: &str| {
        limited(&origin, address, &[("x-forwarded-for", told)]).await
    };
    // A client behind two proxies; what it wrote itself stands left.
    for number in 0..10 {
        let told = format!("192.0.2.{number}, 198.51.100.7, 10.0.0.2");
        assert!(!from("10.0.0.1", &told).await);
    }
    assert!(from("10.0.0.3", "198.51.100.7").await);
    assert!(!from("10.0.0.1", "198.51.100.8").await);
    // Whatever cannot be read shares the proxy's count, and is bounded by it.
    let garbage = [
        "unknown",
        "",
        "198.51.100.7 ",
        "_x",
        "1.2.3",
        "6.6.6.6, ?",
        "::g",
        "é",
    ];
    let mut refusals = 0;
    for told in garbage.iter().cycle().take(24) {
        if *told == "198.51.100.7 " {
            assert!(from("10.0.0.1", told).await);
        } else if from("10.0.0.1", told).await {
            refusals += 1;
        }
    }
    assert_eq!(refusals, 21 - 10);
    assert!(limited(&origin, "10.0.0.1", &[]).await, "no header at all");
}

#[tokio::test]
async fn an_ipv6_network_counts_as_one() {
    let origin = counting().await;
    for number in 0..10 {
        assert!(!limited(&origin, &format!("2001:db8::{number}:1"), &[]).await);
    }
    assert!(limited(&origin, "2001:db8::ffff:ffff:ffff:ffff", &[]).await);
    assert!(!limited(&origin, "2001:db8:0:1::1", &[]).await);
}

/// The members of a list of strings with parameters, as a client reads them.
fn items(headers: &HeaderMap, name: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let Some(value) = headers.get(name) else {
        return Vec::new();
    };
    let list: List = Parser::new(value.as_bytes()).parse().unwrap();
    let members = list.into_iter().map(|member| {
        let ListEntry::Item(item) = member else {
            unreachable!("an inner list");
        };
        let BareItem::String(name) = item.bare_item else {
            unreachable!("the name is no string");
        };
        let parameters = item.params.into_iter().map(|(key, value)| {
            let BareItem::Integer(number) = value else {
                unreachable!("{key:?} is no integer");
            };
            (key.as_str().to_owned(), number.into())
        });
        (name.as_str().to_owned(), parameters.collect())
    });
    members.collect()
}

fn left(headers: &HeaderMap, limit: &str) -> i64 {
    let states = items(headers, "ratelimit");
    let state = states.iter().find(|(name, _)| name == limit).unwrap();
    state.1.iter().find(|(key, _)| key == "r").unwrap().1
}

#[tokio::test]
async fn answers_tell_what_is_left_as_structured_fields() {
    let origin = counting().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let member = |name: &str, parameters: &[(&str, i64)]| {
        let parameters = parameters
            .iter()
            .map(|&(key, value)| (key.to_owned(), value));
        (name.to_owned(), parameters.collect::<Vec<_>>())
    };

    let body = json!({"refresh_token": tokens.refresh_token});
    let reply = post(&origin, HERE, "/refresh", body).await.expect(200, "");
    assert_eq!(
        items(&reply.headers, "ratelimit-policy"),
        [
            member("refresh-ip", &[("q", 30), ("w", 60)]),
            member("refresh-session", &[("q", 10), ("w", 60)]),
        ]
    );
    assert_eq!(
        items(&reply.headers, "ratelimit"),
        [
            member("refresh-ip", &[("r", 29), ("t", 60)]),
            member("refresh-session", &[("r", 9), ("t", 60)]),
        ]
    );
    origin.advance(20);
    let path = "/api/v1/auth/token-info";
    let bearer = Some(tokens.access_token.as_str());
    origin.call(Method::GET, path, bearer, None).await;
    origin.advance(20);
    let reply = origin.call(Method::GET, path, bearer, None).await;
    assert_eq!(
        items(&reply.headers, "ratelimit"),
        [
            member("api-ip", &[("r", 2_998), ("t", 40)]),
            member("api-user", &[("r", 998), ("t", 40)]),
        ]
    );

    // A refusal names the limit that refused, and its wait is the header's: until the refresh of
    // forty seconds ago is forgotten.
    for number in 0..30 {
        let body = json!({"refresh_token": format!("ekr_{number}")});
        post(&origin, HERE, "/refresh", body).await;
    }
    let body = json!({"refresh_token": "ekr_x"});
    let reply = post(&origin, HERE, "/refresh", body).await;
    assert_eq!(reply.headers["retry-after"], "20");
    assert_eq!(
        items(&reply.headers, "ratelimit"),
        [member("refresh-ip", &[("r", 0), ("t", 20)])]
    );
    assert_eq!(items(&reply.headers, "ratelimit-policy").len(), 1);
    // What has no limit says nothing.
    assert!(
        !origin
            .get("/health")
            .await
            .headers
            .contains_key("ratelimit")
    );
}

#[tokio::test]
async fn a_refusal_tells_of_no_limit_but_the_one_that_refused() {
    let origin = counting().await;
    let user = keep::user(&origin.state).await;
    let mut token = keep::open(&origin.state, user).await.refresh_token;
    for _ in 0..10 {
        let body = json!({"refresh_token": token});
        let reply = post(&origin, HERE, "/refresh", body).await.expect(200, "");
        reply.text("refresh_token").clone_into(&mut token);
        origin.advance(1);
    }
    // The address has 19 left, and its first is forgotten when the session's is.
    let body = json!({"refresh_token": token});
    let reply = post(&origin, HERE, "/refresh", body).await;
    let names: Vec<String> = items(&reply.headers, "ratelimit")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["refresh-session"]);
    let reply = reply.expect(429, "rate_limited");
    assert_eq!(left(&reply.headers, "refresh-session"), 0);
}

#[tokio::test]
async fn a_limit_that_let_the_last_through_is_not_named_when_another_refuses() {
    let origin = counting_with(|config| {
        config.limits.otp_send_per_ip_per_hour = 3;
        config.otp.sends_per_hour = 2;
    })
    .await;
    let send = || post(&origin, HERE, "/otp/send", json!({"email": ALICE}));
    for left_over in [2, 1] {
        let reply = send().await.expect(200, "");
        assert_eq!(left(&reply.headers, "sends-ip"), left_over);
    }
    // The address has used up its own with this one, and the recipient's are used up.
    let reply = send().await.expect(429, "rate_limited");
    assert_eq!(reply.headers["retry-after"], "3600");
    assert!(items(&reply.headers, "ratelimit").is_empty());
    assert!(items(&reply.headers, "ratelimit-policy").is_empty());
    let reply = send().await.expect(429, "rate_limited");
    assert_eq!(left(&reply.headers, "sends-ip"), 0);
}

#[tokio::test]
async fn what_is_refused_and_what_looks_like_stuffing_is_counted() {
    let origin = counting_with(|config| {
        config.limits.login_failures_per_ip = 100;
        config.lockout.delay_seconds = Vec::new();
        config.audit.unknown_per_hour = 3;
    })
    .await;
    let fail = async |address: &str, identifier: &str| {
        let body = json!({"identifier": identifier, "password": "wrong password"});
        post(&origin, address, "/login", body).await
    };
    let value = async |name: &str| {
        let text = origin.state.metrics.render(&origin.state).await;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or(0)
    };
    let accounts = "edgekeep_credential_stuffing_signs_total{sign=\"many_accounts\"}";
    let networks = "edgekeep_credential_stuffing_signs_total{sign=\"many_networks\"}";
    // Neighbours in one network, nine identifiers, one of them twice.
    for number in 0..9 {
        fail(&format!("203.0.113.{number}"), &format!("somebody{number}")).await;
    }
    fail("203.0.113.77", "somebody0").await;
    assert_eq!(value(accounts).await, 0);
    fail("203.0.113.78", "somebody9").await;
    assert_eq!((value(accounts).await, value(networks).await), (1, 0));
    // Under attack the trail keeps few of the failures, and the sign that it is one.
    let mut reader = origin.state.db.read().await.unwrap();
    let recorded = async |sql, reader: &mut sqlx::AnyConnection| {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(reader).await.unwrap();
        count
    };
    let logins = "SELECT COUNT(*) FROM audit_events WHERE kind = 'login'";
    assert_eq!(recorded(logins, &mut reader).await, 3);
    let signs = "SELECT COUNT(*) FROM audit_events WHERE reason = 'many_accounts'";
    assert_eq!(recorded(signs, &mut reader).await, 1);
    drop(reader);
    for (address, told) in [("192.0.2.1", 0), ("192.0.2.1", 0), ("198.51.100.1", 0)] {
        fail(address, ALICE).await;
        assert_eq!(value(networks).await, told);
    }
    fail("2001:db8::1", ALICE).await;
    assert_eq!((value(accounts).await, value(networks).await), (1, 1));

    for _ in 0..70 {
        let path = "/api/v1/auth/lock-status/nobody";
        origin.get(path).await;
    }
    assert_eq!(
        value("edgekeep_rate_limited_total{limit=\"lock-status-ip\"}").await,
        10
    );
}
