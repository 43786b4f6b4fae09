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

/// Every reaction, weakest first.
const REACTIONS: [Reaction; 6] = [
    Reaction::Off,
    Reaction::Record,
    Reaction::Notify,
    Reaction::StepUp,
    Reaction::EndSession,
    Reaction::EndAllSessions,
];

/// Two sessions, the second used last.
async fn two_sessions(origin: &Origin, peer: &str) -> [Reply; 2] {
    let first = log_in(origin, peer, &[], "laptop").await;
    origin.advance(1);
    let second = log_in(origin, peer, &[], "laptop").await;
    origin.advance(1);
    [first, second]
}

/// That a login did what this reaction and those before it do, and no more: the sessions of before,
/// what the new one may do, and what the ended ones say.
async fn expect_followed(origin: &Origin, reaction: Reaction, before: &[Reply; 2], now: &Reply) {
    let ended = [
        reaction == Reaction::EndAllSessions,
        reaction >= Reaction::EndSession,
    ];
    for (tokens, ended) in before.iter().zip(ended) {
        let reply = refresh(origin, PROXY, &[], tokens).await;
        assert_eq!(reply.code() == "session_ended", ended, "{reaction:?}");
    }
    let count = i64::from(ended[0]) + i64::from(ended[1]);
    assert_eq!(events(origin, "anomaly").await, count, "{reaction:?}");
    let sql = "SELECT COUNT(*) FROM sessions WHERE ended_reason = 'anomaly'";
    assert_eq!(person::number(origin, sql).await, count, "{reaction:?}");
    assert_eq!(revocation_entries(origin).await, count, "{reaction:?}");
    // Nobody is refused; what asks for a fresh proof asks again.
    let bearer = now.text("access_token");
    let begun = person::call(origin, Method::POST, "/mfa/totp", bearer, None).await;
    if reaction < Reaction::StepUp {
        begun.expect(200, "");
    } else {
        begun.expect(401, "step_up_required");
        let body = json!({"method": "password", "password": PASSWORD});
        let again = person::call(origin, Method::POST, "/reauthenticate", bearer, Some(body));
        let again = again.await.expect(200, "");
        let bearer = again.text("access_token");
        let begun = person::call(origin, Method::POST, "/mfa/totp", bearer, None).await;
        begun.expect(200, "");
    }
}

#[tokio::test]
async fn new_devices_are_as_the_setting_says() {
    for reaction in REACTIONS {
        let origin = origin_with(|config| config.anomaly.new_device = reaction).await;
        let before = two_sessions(&origin, PROXY).await;
        let phone = log_in(&origin, PROXY, &[], "phone").await;
        let (recorded, mailed) = (reaction >= Reaction::Record, reaction >= Reaction::Notify);
        assert_eq!(events(&origin, "new_device").await, i64::from(recorded));
        assert_eq!(told(&origin, NEW_DEVICE), usize::from(mailed));
        expect_followed(&origin, reaction, &before, &phone).await;
    }
}

#[tokio::test]
async fn a_second_factor_on_a_new_device_is_proof_enough() {
    let origin = origin_with(|config| config.anomaly.new_device = Reaction::EndSession).await;
    let tokens = log_in(&origin, PROXY, &[], "laptop").await;
    let (app, _) = person::enrol(&origin, tokens.text("access_token")).await;
    let waiting = log_in(&origin, PROXY, &[], "phone").await;
    // A first factor alone ends nothing and makes no device known.
    assert_eq!(events(&origin, "new_device").await, 0);
    let body = json!({
        "mfa_token": waiting.text("mfa_token"), "method": "totp", "code": app.code(&origin, 0),
    });
    let phone = origin.post_from(PROXY, &[], "/login/mfa", &body).await;
    let phone = phone.expect(200, "");
    assert_eq!(events(&origin, "new_device").await, 1);
    refresh(&origin, PROXY, &[], &tokens)
        .await
        .expect(401, "session_ended");
    let bearer = phone.text("access_token");
    person::call(&origin, Method::POST, "/mfa/recovery-codes", bearer, None)
        .await
        .expect(200, "");
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

const AMONG_FAILURES: &str = "A login among many failures";

/// An origin that counts by address and holds nobody up.
async fn watching(change: impl FnOnce(&mut Config)) -> Origin {
    origin_with(|config| {
        config.limits.per_ip = true;
        config.limits.login_failures_per_ip = 1_000;
        config.limits.otp_verify_failures_per_ip_per_hour = 1_000;
        config.lockout.delay_seconds = Vec::new();
        change(config);
    })
    .await
}

async fn fail(origin: &Origin, peer: &str, identifier: &str) {
    let body = json!({"identifier": identifier, "password": "wrong horse battery"});
    let reply = origin.post_from(peer, &[], "/login", &body).await;
    reply.expect(401, "credentials_invalid");
}

#[tokio::test]
async fn an_account_that_many_networks_fail_at_is_recorded_and_told_by_setting() {
    for reaction in REACTIONS {
        let origin = watching(|config| config.anomaly.one_account_many_networks = reaction).await;
        let before = two_sessions(&origin, PROXY).await;
        // As much is recorded of a name that nobody has.
        for identifier in [EMAIL, "nobody@example.org"] {
            for network in 1..=4 {
                fail(&origin, &format!("203.0.{network}.9"), identifier).await;
            }
        }
        let (recorded, mailed) = (reaction >= Reaction::Record, reaction >= Reaction::Notify);
        assert_eq!(
            events(&origin, "many_networks").await,
            2 * i64::from(recorded)
        );
        let subject = "Somebody tries passwords of your account";
        assert_eq!(told(&origin, subject), usize::from(mailed));
        if mailed {
            // Whoever fails causes it, from the third network here: it must use up nothing of what
            // its reader is told.
            let warning = origin.message(EMAIL).unwrap();
            assert_eq!(
                (warning.subject, warning.sort),
                (Some(subject), Sort::Warned)
            );
            assert_eq!(warning.asked_by, Some([203, 0, 3, 9].into()));
        }
        // Whoever only fails ends nothing of anybody.
        assert_eq!(events(&origin, "anomaly").await, 0, "{reaction:?}");
        let now = log_in(&origin, "198.51.100.9", &[], "laptop").await;
        assert_eq!(
            events(&origin, "many_networks").await,
            3 * i64::from(recorded)
        );
        assert_eq!(told(&origin, AMONG_FAILURES), usize::from(mailed));
        expect_followed(&origin, reaction, &before, &now).await;
    }
}

#[tokio::test]
async fn logins_from_a_network_that_fails_at_many_accounts_are_as_the_setting_says() {
    for reaction in REACTIONS {
        let origin = watching(|config| config.anomaly.one_network_many_accounts = reaction).await;
        let before = two_sessions(&origin, PROXY).await;
        for n in 0..10 {
            // Neighbours within the network are one.
            fail(
                &origin,
                &format!("203.0.113.{n}"),
                &format!("nobody{n}@example.org"),
            )
            .await;
        }
        let recorded = i64::from(reaction >= Reaction::Record);
        assert_eq!(events(&origin, "many_accounts").await, recorded);
        // Elsewhere nothing is seen of it.
        log_in(&origin, "203.0.114.9", &[], "laptop").await;
        assert_eq!(events(&origin, "many_accounts").await, recorded);
        // The session used last is the one from elsewhere; so that it is the second of the two again:
        let sql = "DELETE FROM sessions WHERE created_at = (SELECT MAX(created_at) FROM sessions)";
        let mut tx = origin.state.db.write().await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let now = log_in(&origin, "203.0.113.200", &[], "laptop").await;
        assert_eq!(events(&origin, "many_accounts").await, 2 * recorded);
        let mailed = usize::from(reaction >= Reaction::Notify);
        assert_eq!(told(&origin, AMONG_FAILURES), mailed);
        expect_followed(&origin, reaction, &before, &now).await;
    }
}

#[tokio::test]
async fn failures_of_others_are_no_sign_against_a_trusted_device() {
    let origin = watching(|config| {
        config.anomaly.one_account_many_networks = Reaction::EndAllSessions;
    })
    .await;
    let mine = log_in(&origin, PROXY, &[], "laptop").await;
    for network in 1..=3 {
        fail(&origin, &format!("203.0.{network}.9"), EMAIL).await;
    }
    let body = json!({
        "identifier": EMAIL, "password": PASSWORD, "device_token": mine.text("device_token"),
    });
    let reply = origin.post_from(PROXY, &[], "/login", &body).await;
    reply.expect(200, "");
    assert_eq!(events(&origin, "many_networks").await, 1);
    refresh(&origin, PROXY, &[], &mine).await.expect(200, "");
}

#[tokio::test]
async fn how_many_are_many_and_for_how_long_is_a_setting() {
    for (networks, accounts, failing, elapsed, expected) in [
        (3, 100, 2, 0, (0, 0)),
        (3, 100, 3, 0, (1, 0)),
        (4, 100, 3, 0, (0, 0)),
        (100, 3, 2, 0, (0, 0)),
        (100, 3, 3, 0, (0, 1)),
        // The last comes a microsecond's worth before the span is over, or after it.
        (3, 100, 3, 119, (1, 0)),
        (3, 100, 3, 120, (0, 0)),
        (100, 3, 3, 119, (0, 1)),
        (100, 3, 3, 120, (0, 0)),
    ] {
        let origin = watching(|config| {
            config.anomaly.networks_per_account = networks;
            config.anomaly.accounts_per_network = accounts;
            config.anomaly.failures_seconds = 120;
        })
        .await;
        for n in 1..=failing {
            if n == failing {
                origin.advance(elapsed);
            }
            if accounts == 100 {
                fail(&origin, &format!("203.0.{n}.9"), EMAIL).await;
            } else {
                fail(&origin, PROXY, &format!("nobody{n}@example.org")).await;
            }
        }
        let seen = (
            events(&origin, "many_networks").await,
            events(&origin, "many_accounts").await,
        );
        let case = format!("{networks} {accounts} {failing} {elapsed}");
        assert_eq!(seen, expected, "{case}");
    }
}

#[tokio::test]
async fn a_sign_is_none_against_logins_once_its_time_is_over() {
    for (elapsed, ended) in [(899, true), (900, false)] {
        let origin = watching(|config| {
            config.anomaly.one_account_many_networks = Reaction::EndSession;
        })
        .await;
        let mine = log_in(&origin, PROXY, &[], "laptop").await;
        for network in 1..=3 {
            fail(&origin, &format!("203.0.{network}.9"), EMAIL).await;
        }
        origin.advance(elapsed);
        log_in(&origin, PROXY, &[], "laptop").await;
        let reply = refresh(&origin, PROXY, &[], &mine).await;
        assert_eq!(reply.code() == "session_ended", ended, "{elapsed}");
    }
}

#[tokio::test]
async fn two_names_of_one_account_are_one_account() {
    let origin = watching(|config| config.anomaly.accounts_per_network = 3).await;
    for identifier in [EMAIL, person::NAME, person::PHONE, "nobody@example.org"] {
        fail(&origin, PROXY, identifier).await;
    }
    assert_eq!(events(&origin, "many_accounts").await, 0);
    fail(&origin, PROXY, "nobody2@example.org").await;
    assert_eq!(events(&origin, "many_accounts").await, 1);
}

#[tokio::test]
async fn wrong_codes_count_like_wrong_passwords() {
    for (way, failing, expected) in [
        ("otp", 2, 0),
        ("otp", 3, 1),
        ("second", 2, 0),
        ("second", 3, 1),
        ("session", 2, 0),
        ("session", 3, 1),
    ] {
        let origin = watching(|_| {}).await;
        let tokens = log_in(&origin, PROXY, &[], "laptop").await;
        let bearer = tokens.text("access_token");
        let mut sent = json!(null);
        if way == "otp" {
            let reply = origin.post("/otp/send", json!({"email": EMAIL})).await;
            sent = reply.expect(200, "").body;
        } else {
            person::enrol(&origin, bearer).await;
        }
        let waiting = match way {
            "second" => log_in(&origin, PROXY, &[], "laptop").await.body,
            _ => json!(null),
        };
        for network in 1..=failing {
            let peer = format!("203.0.{network}.9");
            let wrong = "not a code";
            let (route, body) = match way {
                "otp" => (
                    "/otp/verify",
                    json!({"otp_token": sent["otp_token"], "code": wrong_code(&origin)}),
                ),
                "second" => (
                    "/login/mfa",
                    json!({"mfa_token": waiting["mfa_token"], "method": "recovery_code", "code": wrong}),
                ),
                _ => (
                    "/reauthenticate",
                    json!({"method": "recovery_code", "code": wrong}),
                ),
            };
            let authorization = format!("Bearer {bearer}");
            let headers: &[(&str, &str)] = match way {
                "session" => &[("authorization", &authorization)],
                _ => &[],
            };
            let reply = origin.post_from(&peer, headers, route, &body).await;
            reply.expect(400, "code_invalid");
        }
        assert_eq!(
            events(&origin, "many_networks").await,
            expected,
            "{way} {failing}"
        );
    }
}

/// A code that is not the one that was sent.
fn wrong_code(origin: &Origin) -> String {
    let right: u32 = origin.code(EMAIL).parse().unwrap();
    format!("{:06}", (right + 1) % 1_000_000)
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
