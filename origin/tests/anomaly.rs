//! Logins and refreshes that are unlike those before, and what follows them.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use axum::http::Method;
use edgekeep_origin::config::{Config, Reaction};
use edgekeep_origin::notify::Sort;
use person::{EMAIL, PASSWORD};
use serde_json::json;
use support::{Origin, Reply, all};

/// The proxy that every origin here trusts.
const PROXY: &str = "10.0.0.1";
const ZURICH: [(&str, &str); 3] = [
    ("cf-ipcountry", "CH"),
    ("cf-iplatitude", "47.37"),
    ("cf-iplongitude", "8.54"),
];
const TOKYO: [(&str, &str); 3] = [
    ("cf-ipcountry", "JP"),
    ("cf-iplatitude", "35.68"),
    ("cf-iplongitude", "139.69"),
];

async fn origin_with(change: impl FnOnce(&mut Config)) -> Origin {
    let origin = Origin::with(|config| {
        config.server.trusted_proxies = vec![PROXY.parse().unwrap()];
        config.anomaly.country_header = Some("cf-ipcountry".to_owned());
        config.anomaly.latitude_header = Some("cf-iplatitude".to_owned());
        config.anomaly.longitude_header = Some("cf-iplongitude".to_owned());
        change(config);
    })
    .await;
    person::account(&origin).await;
    origin
}

async fn reacting(reaction: Reaction) -> Origin {
    origin_with(|config| config.anomaly.impossible_travel = reaction).await
}

async fn log_in(origin: &Origin, peer: &str, place: &[(&str, &str)], device: &str) -> Reply {
    let body = json!({"identifier": EMAIL, "password": PASSWORD, "device_id": device});
    let reply = origin.post_from(peer, place, "/login", &body).await;
    reply.expect(200, "")
}

async fn refresh(origin: &Origin, peer: &str, place: &[(&str, &str)], tokens: &Reply) -> Reply {
    let body = json!({"refresh_token": tokens.text("refresh_token")});
    origin.post_from(peer, place, "/refresh", &body).await
}

/// Events with this reason.
async fn events(origin: &Origin, reason: &str) -> i64 {
    let mut reader = origin.state.db.read().await.unwrap();
    sqlx::query_scalar("SELECT COUNT(*) FROM audit_events WHERE reason = $1")
        .bind(reason)
        .fetch_one(&mut *reader)
        .await
        .unwrap()
}

fn told(origin: &Origin, subject: &str) -> usize {
    let sent = origin.state.mailer.sent();
    let about = |message: &&edgekeep_origin::notify::Message| message.subject == Some(subject);
    sent.iter().filter(about).count()
}

const NEW_DEVICE: &str = "A new device logged in";
const TWO_PLACES: &str = "Your account was used in two places";

#[tokio::test]
async fn a_new_device_is_told_once_and_the_first_never() {
    let origin = origin_with(|_| {}).await;
    for (device, expected) in [
        ("laptop", 0),
        ("laptop", 0),
        ("phone", 1),
        ("phone", 1),
        ("laptop", 1),
        ("tablet", 2),
    ] {
        log_in(&origin, PROXY, &[], device).await;
        assert_eq!(told(&origin, NEW_DEVICE), expected, "{device}");
        assert_eq!(
            events(&origin, "new_device").await,
            i64::try_from(expected).unwrap()
        );
    }
}

#[tokio::test]
async fn of_many_logins_at_a_time_on_a_new_device_one_is_told() {
    let origin = origin_with(|_| {}).await;
    log_in(&origin, PROXY, &[], "laptop").await;
    all((0..5).map(|_| log_in(&origin, PROXY, &[], "phone"))).await;
    assert_eq!(told(&origin, NEW_DEVICE), 1);
    assert_eq!(events(&origin, "new_device").await, 1);
}

#[tokio::test]
async fn who_got_in_before_the_password_changed_is_told_when_they_come_again() {
    let origin = origin_with(|_| {}).await;
    let mine = log_in(&origin, PROXY, &[], "laptop").await;
    log_in(&origin, PROXY, &[], "thief").await;
    assert_eq!(told(&origin, NEW_DEVICE), 1);
    for (old, new) in [
        (PASSWORD, "another horse battery"),
        ("another horse battery", PASSWORD),
    ] {
        let body = json!({"current_password": old, "new_password": new});
        let bearer = mine.text("access_token");
        let reply = person::call(
            &origin,
            Method::POST,
            "/change-password",
            bearer,
            Some(body),
        );
        reply.await.expect(204, "");
    }
    // The device that changed it stays known.
    log_in(&origin, PROXY, &[], "laptop").await;
    assert_eq!(told(&origin, NEW_DEVICE), 1);
    log_in(&origin, PROXY, &[], "thief").await;
    assert_eq!(told(&origin, NEW_DEVICE), 2);

    // A link spares none: whoever comes first afterwards is not taken for the account's first device.
    let body = json!({"identifier": EMAIL});
    origin.post("/forgot-password", body).await.expect(202, "");
    let body = json!({"token": origin.code(EMAIL), "password": PASSWORD});
    origin.post("/reset-password", body).await.expect(204, "");
    for (device, expected) in [("thief", 3), ("thief", 3), ("laptop", 4)] {
        log_in(&origin, PROXY, &[], device).await;
        assert_eq!(told(&origin, NEW_DEVICE), expected, "{device}");
    }
}

#[tokio::test]
async fn a_device_that_just_logged_in_stays_trusted_when_its_login_ends_the_others() {
    let origin = reacting(Reaction::EndAllSessions).await;
    let first = log_in(&origin, PROXY, &ZURICH, "laptop").await;
    // One that shows no token, and one that shows the token of before.
    for (shown, place) in [(None, &TOKYO), (Some(first.text("device_token")), &ZURICH)] {
        let mut body = json!({"identifier": EMAIL, "password": PASSWORD});
        if let Some(token) = shown {
            body["device_token"] = json!(token);
        }
        let reply = origin.post_from(PROXY, place, "/login", &body).await;
        let given = reply.expect(200, "").text("device_token").to_owned();
        let body = json!({"identifier": EMAIL, "password": PASSWORD, "device_token": given});
        let again = origin.post_from(PROXY, place, "/login", &body).await;
        assert_eq!(
            again.expect(200, "").text("device_token"),
            given,
            "{shown:?}"
        );
    }
}

#[tokio::test]
async fn a_trusted_device_is_never_new_nor_kept_out() {
    let origin = origin_with(|config| {
        config.anomaly.impossible_travel = Reaction::EndAllSessions;
    })
    .await;
    let first = log_in(&origin, PROXY, &ZURICH, "laptop").await;
    // The same device under another name, and from the other end of the world.
    let body = json!({
        "identifier": EMAIL, "password": PASSWORD, "device_id": "renamed",
        "device_token": first.text("device_token"),
    });
    let again = origin.post_from(PROXY, &TOKYO, "/login", &body).await;
    let again = again.expect(200, "");
    assert_eq!(told(&origin, NEW_DEVICE), 0);
    refresh(&origin, PROXY, &TOKYO, &again)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn new_devices_are_as_the_setting_says() {
    for (reaction, recorded, mailed) in [
        (Reaction::Off, 0, 0),
        (Reaction::Record, 1, 0),
        (Reaction::Notify, 1, 1),
    ] {
        let origin = origin_with(|config| config.anomaly.new_device = reaction).await;
        log_in(&origin, PROXY, &[], "laptop").await;
        log_in(&origin, PROXY, &[], "phone").await;
        assert_eq!(events(&origin, "new_device").await, recorded);
        assert_eq!(told(&origin, NEW_DEVICE), mailed);
    }
}

#[tokio::test]
async fn refreshes_out_of_reach_are_as_the_setting_says() {
    for (reaction, recorded, mailed, status, ended) in [
        (Reaction::Off, 0, 0, 200, 0),
        (Reaction::Record, 1, 0, 200, 0),
        (Reaction::Notify, 1, 1, 200, 0),
        (Reaction::StepUp, 1, 1, 200, 0),
        (Reaction::EndSession, 1, 1, 401, 1),
        (Reaction::EndAllSessions, 1, 1, 401, 2),
    ] {
        let origin = reacting(reaction).await;
        let other = log_in(&origin, PROXY, &ZURICH, "laptop").await;
        let tokens = log_in(&origin, PROXY, &ZURICH, "laptop").await;
        origin.advance(600);
        let reply = refresh(&origin, PROXY, &TOKYO, &tokens).await;
        let code = if status == 401 { "session_ended" } else { "" };
        let reply = reply.expect(status, code);
        assert_eq!(events(&origin, "impossible_travel").await, recorded);
        assert_eq!(told(&origin, TWO_PLACES), mailed, "{reaction:?}");
        assert_eq!(events(&origin, "anomaly").await, ended, "{reaction:?}");
        let sql = "SELECT COUNT(*) FROM sessions WHERE ended_reason = 'anomaly'";
        assert_eq!(person::number(&origin, sql).await, ended);
        // The gates are told of each, or of the tokens that say too much.
        let turned_away = if reaction == Reaction::StepUp {
            1
        } else {
            ended
        };
        let live = revocation_entries(&origin).await;
        assert_eq!(live, turned_away, "{reaction:?}");
        if status == 200 {
            // Who stays there is not told again.
            origin.advance(600);
            refresh(&origin, PROXY, &TOKYO, &reply)
                .await
                .expect(200, "");
            assert_eq!(events(&origin, "impossible_travel").await, recorded);
        }
        let expected = if ended == 2 { 401 } else { 200 };
        let reply = refresh(&origin, PROXY, &ZURICH, &other).await;
        assert_eq!(reply.status, expected, "{reaction:?}");
    }
}

async fn revocation_entries(origin: &Origin) -> i64 {
    let sql = "SELECT COUNT(*) FROM revocations";
    person::number(origin, sql).await
}

#[tokio::test]
async fn of_many_refreshes_out_of_reach_none_gets_tokens_and_one_is_told() {
    let origin = reacting(Reaction::EndSession).await;
    let tokens = log_in(&origin, PROXY, &ZURICH, "laptop").await;
    origin.advance(600);
    let replies = all((0..8).map(|_| refresh(&origin, PROXY, &TOKYO, &tokens))).await;
    for reply in replies {
        reply.expect(401, "session_ended");
    }
    assert_eq!(events(&origin, "impossible_travel").await, 1);
    assert_eq!(told(&origin, TWO_PLACES), 1);
}

#[tokio::test]
async fn logins_out_of_reach_are_let_in_and_sessions_of_before_end_by_setting() {
    for (reaction, ended) in [
        (Reaction::StepUp, [false, false]),
        (Reaction::EndSession, [false, true]),
        (Reaction::EndAllSessions, [true, true]),
    ] {
        let origin = reacting(reaction).await;
        let before = [log_in(&origin, PROXY, &ZURICH, "laptop").await, {
            origin.advance(1);
            log_in(&origin, PROXY, &ZURICH, "laptop").await
        }];
        origin.advance(600);
        let far = log_in(&origin, PROXY, &TOKYO, "laptop").await;
        assert_eq!(events(&origin, "impossible_travel").await, 1);
        assert_eq!(told(&origin, TWO_PLACES), 1);
        for (tokens, ended) in before.iter().zip(ended) {
            let reply = refresh(&origin, PROXY, &ZURICH, tokens).await;
            assert_eq!(reply.code() == "session_ended", ended, "{reaction:?}");
        }
        refresh(&origin, PROXY, &TOKYO, &far).await.expect(200, "");
    }
}

#[tokio::test]
async fn step_up_takes_the_second_factor_back_until_it_is_proved_again() {
    let origin = reacting(Reaction::StepUp).await;
    let (app, _) = {
        let tokens = log_in(&origin, PROXY, &ZURICH, "laptop").await;
        person::enrol(&origin, tokens.text("access_token")).await
    };
    let waiting = log_in(&origin, PROXY, &ZURICH, "laptop").await;
    let body = json!({
        "mfa_token": waiting.text("mfa_token"), "method": "totp", "code": app.code(&origin, 0),
    });
    let tokens = origin.post_from(PROXY, &ZURICH, "/login/mfa", &body).await;
    let tokens = tokens.expect(200, "");
    let amr = |claims: &serde_json::Value| claims["amr"].as_array().unwrap().len();
    assert_eq!(amr(&person::claims(&origin, &tokens).await), 2);
    origin.advance(600);
    let far = refresh(&origin, PROXY, &TOKYO, &tokens)
        .await
        .expect(200, "");
    let claims = person::claims(&origin, &far).await;
    assert_eq!(
        (&claims["amr"], &claims["auth_time"]),
        (&json!(["pwd"]), &json!(0))
    );
    // What was issued before is not as strong as before, either.
    let old = tokens.text("access_token");
    person::call(&origin, Method::GET, "/session", old, None)
        .await
        .expect(401, "token_revoked");
    let proof = json!({"method": "totp", "code": app.code(&origin, 0)});
    let bearer = far.text("access_token");
    let again = person::call(
        &origin,
        Method::POST,
        "/reauthenticate",
        bearer,
        Some(proof),
    )
    .await;
    let again = again.expect(200, "");
    assert_eq!(amr(&person::claims(&origin, &again).await), 2);
}

#[tokio::test]
async fn without_a_second_factor_step_up_asks_for_the_password_again() {
    let origin = reacting(Reaction::StepUp).await;
    let tokens = log_in(&origin, PROXY, &ZURICH, "laptop").await;
    // So soon that the login itself was fresh enough.
    origin.advance(60);
    let far = refresh(&origin, PROXY, &TOKYO, &tokens).await;
    let far = far.expect(200, "");
    let begin =
        async |bearer: &str| person::call(&origin, Method::POST, "/mfa/totp", bearer, None).await;
    begin(far.text("access_token"))
        .await
        .expect(401, "step_up_required");
    let body = json!({"method": "password", "password": PASSWORD});
    let bearer = far.text("access_token");
    let again = person::call(&origin, Method::POST, "/reauthenticate", bearer, Some(body)).await;
    begin(again.expect(200, "").text("access_token"))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn places_that_nobody_trusted_tells_do_not_count() {
    let origin = reacting(Reaction::EndSession).await;
    let stranger = "203.0.113.9";
    let tokens = log_in(&origin, stranger, &ZURICH, "laptop").await;
    let reply = refresh(&origin, stranger, &TOKYO, &tokens).await;
    let reply = reply.expect(200, "");
    // Nor does a word of a stranger make the next, true one impossible.
    origin.advance(60);
    refresh(&origin, PROXY, &ZURICH, &reply)
        .await
        .expect(200, "");
    assert_eq!(events(&origin, "impossible_travel").await, 0);
}

#[tokio::test]
async fn another_network_is_out_of_reach_only_where_that_is_set() {
    for (network_seconds, elapsed, status) in [(0, 0, 200), (60, 59, 401), (60, 60, 200)] {
        let origin = origin_with(|config| {
            config.anomaly.impossible_travel = Reaction::EndSession;
            config.anomaly.network_seconds = network_seconds;
        })
        .await;
        let tokens = log_in(&origin, "203.0.113.9", &[], "laptop").await;
        origin.advance(elapsed);
        let reply = refresh(&origin, "198.51.100.9", &[], &tokens).await;
        assert_eq!(reply.status, status, "{network_seconds} {elapsed}");
    }
}

#[tokio::test]
async fn an_account_that_many_networks_fail_at_is_recorded_and_told_by_setting() {
    for (reaction, recorded, mailed) in [
        (Reaction::Off, 0, 0),
        (Reaction::Record, 2, 0),
        (Reaction::Notify, 2, 1),
    ] {
        let origin = origin_with(|config| {
            config.limits.per_ip = true;
            config.anomaly.one_account_many_networks = reaction;
            config.lockout.delay_seconds = Vec::new();
        })
        .await;
        // As much is recorded of a name that nobody has.
        for identifier in [EMAIL, "nobody@example.org"] {
            for network in 1..=4 {
                let body = json!({"identifier": identifier, "password": "wrong horse battery"});
                let peer = format!("203.0.{network}.9");
                let reply = origin.post_from(&peer, &[], "/login", &body).await;
                reply.expect(401, "credentials_invalid");
            }
        }
        assert_eq!(events(&origin, "many_networks").await, recorded);
        let subject = "Somebody tries passwords of your account";
        assert_eq!(told(&origin, subject), mailed);
        if mailed > 0 {
            // Whoever fails causes it, from the third network here: it must use up nothing of what
            // its reader is told.
            let warning = origin.message(EMAIL).unwrap();
            assert_eq!(
                (warning.subject, warning.sort),
                (Some(subject), Sort::Warned)
            );
            assert_eq!(warning.asked_by, Some([203, 0, 3, 9].into()));
        }
    }
}

#[tokio::test]
async fn nothing_of_a_place_stands_in_the_database_in_the_clear() {
    let origin = origin_with(|_| {}).await;
    let rare = [("cf-ipcountry", "ZW")];
    log_in(&origin, PROXY, &rare, "very-rare-device").await;
    origin.state.db.close().await;
    for entry in std::fs::read_dir(origin.state.config.data_dir.as_path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&b"\"ZW\""[..], b"very-rare-device"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}
