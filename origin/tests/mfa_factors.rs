//! Adding and removing second factors, and the fresh proof that both ask for.

mod idp;
mod person;
mod sent;
mod support;

use axum::http::Method;
use edgekeep_origin::login::{FirstFactor, LoggedIn, conclude};
use edgekeep_origin::request::Caller;
use person::{
    App, EMAIL, PASSWORD, PHONE, account, bearer, call, claims, enrol, first_step, log_in,
    log_in_fully, number, recovery_codes, second_step, with_app,
};
use sent::logged;
use serde_json::{Value, json};
use support::{Origin, Reply};

async fn reauthenticate(origin: &Origin, bearer: &str, body: Value) -> Reply {
    call(origin, Method::POST, "/reauthenticate", bearer, Some(body)).await
}

/// Every route that changes a factor, with a body that it understands.
const CHANGES: [(Method, &str); 8] = [
    (Method::POST, "/mfa/totp"),
    (Method::POST, "/mfa/totp/confirm"),
    (Method::DELETE, "/mfa/totp"),
    (Method::POST, "/mfa/recovery-codes"),
    (Method::PUT, "/mfa/email"),
    (Method::DELETE, "/mfa/email"),
    (Method::PUT, "/mfa/sms"),
    (Method::DELETE, "/mfa/sms"),
];

fn body_of(route: &str) -> Option<Value> {
    (route == "/mfa/totp/confirm").then(|| json!({"code": "123456"}))
}

#[tokio::test]
async fn factors_change_only_within_five_minutes_of_a_proof() {
    for (seconds, fresh) in [(0, true), (299, true), (300, true), (301, false)] {
        for (method, route) in CHANGES {
            let origin = Origin::new().await;
            account(&origin).await;
            let bearer = bearer(&origin).await;
            origin.advance(seconds);
            let reply = call(&origin, method, route, &bearer, body_of(route)).await;
            assert_eq!(reply.code() != "step_up_required", fresh, "{route}");
            if !fresh {
                let reply = reply.expect(401, "step_up_required");
                assert_eq!(
                    reply.headers["www-authenticate"],
                    "Bearer error=\"insufficient_user_authentication\", \
                     error_description=\"step_up_required\", max_age=\"300\""
                );
            }
        }
    }
}

#[tokio::test]
async fn with_a_second_factor_it_is_that_which_has_to_be_fresh() {
    let origin = Origin::new().await;
    account(&origin).await;
    let single = bearer(&origin).await;
    let (app, _) = enrol(&origin, &single).await;
    let refused = async |bearer: &str| {
        for (method, route) in CHANGES {
            let reply = call(&origin, method, route, bearer, body_of(route)).await;
            let reply = reply.expect(401, "step_up_required");
            assert_eq!(
                reply.headers["www-authenticate"],
                "Bearer error=\"insufficient_user_authentication\", \
                 error_description=\"step_up_required\", acr_values=\"2\", max_age=\"300\""
            );
        }
    };
    // The session that added it proved the password a moment ago: that is one factor.
    refused(&single).await;
    let body = json!({"method": "password", "password": PASSWORD});
    let stepped = reauthenticate(&origin, &single, body.clone())
        .await
        .expect(200, "");
    refused(stepped.text("access_token")).await;

    // A session that proved both, as long as that is fresh.
    let full = log_in_fully(&origin, &app).await;
    let full = full.text("access_token");
    origin.advance(270);
    call(&origin, Method::POST, "/mfa/totp", full, None)
        .await
        .expect(200, "");
    origin.advance(1);
    refused(full).await;
    // The password does not make the factor fresh; the factor does.
    let by_password = reauthenticate(&origin, full, body).await.expect(200, "");
    let full = by_password.text("access_token");
    refused(full).await;
    origin.advance(1);
    let body = json!({"method": "totp", "code": app.code(&origin, 0)});
    let by_factor = reauthenticate(&origin, full, body).await.expect(200, "");
    call(
        &origin,
        Method::POST,
        "/mfa/totp",
        by_factor.text("access_token"),
        None,
    )
    .await
    .expect(200, "");
    // A copy of a token from before does not become better by it.
    refused(full).await;
}

#[tokio::test]
async fn a_proof_within_the_session_is_said_by_its_new_tokens() {
    let origin = Origin::new().await;
    account(&origin).await;
    let opened = log_in(&origin, PASSWORD).await.expect(200, "");
    let old_refresh = opened.text("refresh_token").to_owned();
    let (app, recovery) = enrol(&origin, opened.text("access_token")).await;
    let began = claims(&origin, &opened).await;
    assert_eq!(
        (&began["amr"], &began["acr"]),
        (&json!(["pwd"]), &json!("1"))
    );
    let mut bearer = opened.text("access_token").to_owned();
    let mut refresh = old_refresh.clone();
    for (body, second) in [
        (json!({"method": "password", "password": PASSWORD}), false),
        (
            json!({"method": "totp", "code": app.code(&origin, 0)}),
            true,
        ),
        (
            json!({"method": "recovery_code", "code": recovery[0]}),
            true,
        ),
    ] {
        let stepped = reauthenticate(&origin, &bearer, body).await.expect(200, "");
        assert_eq!(stepped.body["session_id"], opened.body["session_id"]);
        assert_ne!(stepped.text("refresh_token"), refresh);
        let said = claims(&origin, &stepped).await;
        assert_eq!(said["auth_time"], origin.clock.now().unix_seconds());
        let amr = if second {
            json!(["pwd", "otp"])
        } else {
            json!(["pwd"])
        };
        assert_eq!(said["amr"], amr);
        assert_eq!(said["acr"], if second { "2" } else { "1" });
        assert_eq!(said["sid"], began["sid"]);
        stepped.text("access_token").clone_into(&mut bearer);
        stepped.text("refresh_token").clone_into(&mut refresh);
        origin.advance(10);
    }
    assert_eq!(
        origin.message(EMAIL).unwrap().subject,
        Some("A recovery code was used")
    );
    // What a session proved stays when it is refreshed.
    let body = json!({"refresh_token": refresh});
    let next = origin.post("/refresh", body).await.expect(200, "");
    let said = claims(&origin, &next).await;
    assert_eq!(
        (&said["acr"], &said["amr"]),
        (&json!("2"), &json!(["pwd", "otp"]))
    );
    // The refresh token of before the proofs ends the session: somebody has a copy.
    let body = json!({"refresh_token": old_refresh});
    origin
        .post("/refresh", body)
        .await
        .expect(401, "refresh_reused");
}

#[tokio::test]
async fn guesses_within_a_session_are_bounded_as_those_of_a_login() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let bearer = session.text("access_token");
    for _ in 0..5 {
        let body = json!({"method": "password", "password": "wrong password"});
        reauthenticate(&origin, bearer, body)
            .await
            .expect(401, "credentials_invalid");
    }
    let body = json!({"method": "password", "password": PASSWORD});
    reauthenticate(&origin, bearer, body)
        .await
        .expect(423, "account_locked");
    // Apart from those: neither holds the other up.
    log_in(&origin, PASSWORD).await.expect(200, "");
    for n in 0..11 {
        let body = json!({"method": "totp", "code": app.wrong(&origin, n)});
        reauthenticate(&origin, bearer, body)
            .await
            .expect(400, "code_invalid");
    }
    let body = json!({"method": "totp", "code": app.code(&origin, 0)});
    reauthenticate(&origin, bearer, body)
        .await
        .expect(400, "code_invalid");
    origin.advance(900);
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
    let body = json!({"method": "recovery_code", "code": recovery[0]});
    let bearer = {
        let token = first_step(&origin).await;
        second_step(&origin, &token, "recovery_code", &recovery[1]).await
    };
    let bearer = bearer.text("access_token");
    reauthenticate(&origin, bearer, body.clone())
        .await
        .expect(200, "");
    reauthenticate(&origin, bearer, body)
        .await
        .expect(400, "code_invalid");
    let code = app.code(&origin, 0);
    let body = json!({"method": "totp", "code": code});
    reauthenticate(&origin, bearer, body).await.expect(200, "");
    // One code is one proof, wherever it was given.
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &code)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn changing_the_password_asks_for_a_fresh_second_factor_where_there_is_one() {
    let origin = Origin::new().await;
    account(&origin).await;
    let change = async |bearer: &str, current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        call(
            &origin,
            Method::POST,
            "/change-password",
            bearer,
            Some(body),
        )
        .await
    };
    let next = "another horse battery";
    // Without one, the present password is the proof, however old the login.
    let alone = bearer(&origin).await;
    origin.advance(301);
    change(&alone, PASSWORD, next).await.expect(204, "");
    change(&alone, next, PASSWORD).await.expect(204, "");

    let body = json!({"method": "password", "password": PASSWORD});
    let fresh = reauthenticate(&origin, &alone, body).await.expect(200, "");
    let (app, _) = enrol(&origin, fresh.text("access_token")).await;
    let full = log_in_fully(&origin, &app).await;
    let full = full.text("access_token").to_owned();
    // A session of one factor: nothing is said about the password, wrong or right.
    for password in ["wrong password", PASSWORD] {
        change(fresh.text("access_token"), password, next)
            .await
            .expect(401, "step_up_required");
    }
    origin.advance(271);
    for password in ["wrong password", PASSWORD] {
        change(&full, password, next)
            .await
            .expect(401, "step_up_required");
    }
    // A password alone does not make it fresh; the second factor does.
    let body = json!({"method": "password", "password": PASSWORD});
    let again = reauthenticate(&origin, &full, body).await.expect(200, "");
    change(again.text("access_token"), PASSWORD, next)
        .await
        .expect(401, "step_up_required");
    let body = json!({"method": "totp", "code": app.code(&origin, 0)});
    let again = reauthenticate(&origin, &full, body).await.expect(200, "");
    change(again.text("access_token"), PASSWORD, next)
        .await
        .expect(204, "");
}

#[tokio::test]
async fn the_refresh_token_of_before_a_proof_gets_nothing_of_it() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let refresh = async |token: &str| {
        let body = json!({"refresh_token": token});
        origin.post("/refresh", body).await
    };
    // Beside a refresh, as often as one likes.
    let first = session.text("refresh_token");
    let second = refresh(first).await.expect(200, "");
    refresh(first).await.expect(200, "");
    let second = second.text("refresh_token");
    let body = json!({"method": "totp", "code": app.code(&origin, 0)});
    let proved = reauthenticate(&origin, session.text("access_token"), body).await;
    let proved = proved.expect(200, "");
    for seconds in [0, 9] {
        origin.advance(seconds);
        refresh(second).await.expect(401, "refresh_invalid");
    }
    // That has ended nothing; the grace of the refresh that follows is as any other.
    let third = proved.text("refresh_token");
    let fourth = refresh(third).await.expect(200, "");
    refresh(third).await.expect(200, "");
    refresh(second).await.expect(401, "refresh_reused");
    refresh(fourth.text("refresh_token"))
        .await
        .expect(401, "session_ended");

    // Past the grace, the one of before ends the session at once.
    origin.advance(30);
    let session = log_in_fully(&origin, &app).await;
    let body = json!({"method": "totp", "code": app.code(&origin, 0)});
    let proved = reauthenticate(&origin, session.text("access_token"), body).await;
    origin.advance(10);
    refresh(session.text("refresh_token"))
        .await
        .expect(401, "refresh_reused");
    refresh(proved.expect(200, "").text("refresh_token"))
        .await
        .expect(401, "session_ended");
}

#[tokio::test]
async fn malformed_proofs_are_refused() {
    let origin = Origin::new().await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    for body in [
        json!({}),
        json!({"method": "password"}),
        json!({"method": "password", "password": ""}),
        json!({"method": "password", "password": "x".repeat(1_025)}),
        json!({"method": "password", "code": "123456"}),
        json!({"method": "password", "password": PASSWORD, "code": "123456"}),
        json!({"method": "totp", "password": PASSWORD}),
        json!({"method": "totp", "code": ""}),
        json!({"method": "email", "code": "123456"}),
        json!({"method": "sms", "code": "123456"}),
        json!({"method": "totp", "code": "123456", "acr": "2"}),
    ] {
        reauthenticate(&origin, &bearer, body)
            .await
            .expect(400, "request_invalid");
    }
    // Without an app there is nothing to prove, and nothing is counted.
    for method in ["totp", "recovery_code"] {
        let body = json!({"method": method, "code": "123456"});
        reauthenticate(&origin, &bearer, body)
            .await
            .expect(400, "code_invalid");
    }
    let failures = "SELECT COUNT(*) FROM code_failures";
    assert_eq!(number(&origin, failures).await, 0);
    let reply = origin.post("/reauthenticate", json!({})).await;
    reply.expect(401, "token_missing");
}

#[tokio::test]
async fn another_provider_is_a_first_factor_and_its_link_changes_as_a_factor_does() {
    let provider = idp::Idp::start().await;
    let origin = Origin::with(|config| idp::add(config, "acme", &provider.issuer)).await;
    let person = json!({"email": EMAIL, "email_verified": true});
    let session = provider.enter(&origin, "acme", "1", person.clone()).await;
    let bearer = session.expect(200, "").text("access_token").to_owned();
    let (app, _) = enrol(&origin, &bearer).await;
    // The session has not used the second factor that the account has now.
    idp::start_link(&origin, "acme", &bearer)
        .await
        .expect(401, "step_up_required");
    let asked = provider.enter(&origin, "acme", "1", person).await;
    let asked = asked.expect(200, "");
    assert_eq!(asked.body["methods"], json!(["totp", "recovery_code"]));
    let token = asked.text("mfa_token");
    let session = second_step(&origin, token, "totp", &app.code(&origin, 0))
        .await
        .expect(200, "");
    // Who has the account at the provider does not have the app.
    let said = claims(&origin, &session).await;
    assert_eq!(
        (&said["amr"], &said["acr"]),
        (&json!(["fed", "otp", "mfa"]), &json!("2"))
    );
    idp::start_link(&origin, "acme", session.text("access_token"))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_secret_waits_ten_minutes_in_its_session() {
    for (seconds, status, code) in [(599, 200, ""), (600, 400, "code_expired")] {
        let origin = Origin::with(|config| config.mfa.fresh_seconds = 3_600).await;
        account(&origin).await;
        let (bearer, other) = (bearer(&origin).await, bearer(&origin).await);
        let confirm = async |bearer: &str, code: &str| {
            let body = json!({"code": code});
            call(
                &origin,
                Method::POST,
                "/mfa/totp/confirm",
                bearer,
                Some(body),
            )
            .await
        };
        confirm(&bearer, "123456").await.expect(400, "code_invalid");
        let shown = call(&origin, Method::POST, "/mfa/totp", &bearer, None)
            .await
            .expect(200, "");
        assert_eq!(shown.body["expires_in"], 600);
        let app = App {
            secret: shown.text("secret").to_owned(),
        };
        assert_eq!(app.secret.len(), 32);
        let uri = shown.text("otpauth_uri");
        assert!(
            uri.starts_with("otpauth://totp/127.0.0.1:alice%40example.org?"),
            "{uri}"
        );
        assert!(uri.contains(&format!("secret={}", app.secret)), "{uri}");
        assert!(shown.text("qr_svg").starts_with("<svg "));
        origin.advance(seconds);
        // Nothing is asked for before it is confirmed.
        let unchanged = log_in(&origin, PASSWORD).await;
        assert!(unchanged.body["access_token"].is_string());
        let totp = app.code(&origin, 0);
        confirm(&other, &totp).await.expect(400, "code_invalid");
        confirm(&bearer, &app.wrong(&origin, 1)).await.expect(
            400,
            if status == 200 {
                "code_invalid"
            } else {
                "code_expired"
            },
        );
        let spaced = format!("{} {}", &totp[..3], &totp[3..]);
        confirm(&bearer, &spaced).await.expect(status, code);
        confirm(&bearer, &totp).await.expect(
            if status == 200 { 401 } else { 400 },
            if status == 200 {
                "step_up_required"
            } else {
                code
            },
        );
    }
}

#[tokio::test]
async fn a_new_app_replaces_the_old_one_only_once_it_is_confirmed() {
    let origin = Origin::new().await;
    let (old, old_codes) = with_app(&origin).await;
    let session = log_in_fully(&origin, &old).await;
    let bearer = session.text("access_token");
    let shown = call(&origin, Method::POST, "/mfa/totp", bearer, None).await;
    let abandoned = App {
        secret: shown.text("secret").to_owned(),
    };
    log_in_fully(&origin, &old).await;
    let (new, new_codes) = enrol(&origin, bearer).await;
    for app in [&abandoned, &old] {
        let token = first_step(&origin).await;
        second_step(&origin, &token, "totp", &app.code(&origin, 0))
            .await
            .expect(400, "code_invalid");
    }
    let token = first_step(&origin).await;
    second_step(&origin, &token, "recovery_code", &old_codes[0])
        .await
        .expect(400, "code_invalid");
    second_step(&origin, &token, "recovery_code", &new_codes[0])
        .await
        .expect(200, "");
    log_in_fully(&origin, &new).await;
}

#[tokio::test]
async fn factors_are_listed_strongest_first_with_their_dates() {
    let origin = Origin::new().await;
    account(&origin).await;
    let alone = bearer(&origin).await;
    let list = async |bearer: &str| {
        call(&origin, Method::GET, "/mfa", bearer, None)
            .await
            .expect(200, "")
            .body
    };
    assert_eq!(
        list(&alone).await,
        json!({"factors": [], "recovery_codes_left": 0})
    );
    let began = origin.clock.now().unix_seconds();
    let (app, _) = enrol(&origin, &alone).await;
    let session = log_in_fully(&origin, &app).await;
    let bearer = session.text("access_token");
    for route in ["/mfa/email", "/mfa/sms"] {
        call(&origin, Method::PUT, route, bearer, None)
            .await
            .expect(200, "");
    }
    assert_eq!(
        list(bearer).await,
        json!({
            "factors": [
                {"method": "totp", "added_at": began, "last_used_at": began + 30},
                {"method": "recovery_code", "added_at": began},
                {"method": "sms", "added_at": began + 60},
                {"method": "email", "added_at": began + 60},
            ],
            "recovery_codes_left": 10,
        })
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of them are the table's")]
async fn every_change_tells_the_owner_and_may_end_the_other_sessions() {
    let origin = Origin::with(|config| config.sessions.per_user = 50).await;
    let (mut app, _) = with_app(&origin).await;
    let added = "A second factor was added";
    let removed = "A second factor was removed";
    let end = json!({"end_other_sessions": true});
    for (method, route, body, subject, words) in [
        (Method::PUT, "/mfa/email", None, added, "codes by mail"),
        (Method::PUT, "/mfa/sms", None, added, "codes by SMS"),
        (
            Method::POST,
            "/mfa/recovery-codes",
            None,
            added,
            "recovery codes",
        ),
        (Method::DELETE, "/mfa/email", None, removed, "codes by mail"),
        (
            Method::PUT,
            "/mfa/email",
            Some(end.clone()),
            added,
            "codes by mail",
        ),
        (
            Method::DELETE,
            "/mfa/email",
            Some(end.clone()),
            removed,
            "codes by mail",
        ),
        (
            Method::DELETE,
            "/mfa/sms",
            Some(end.clone()),
            removed,
            "codes by SMS",
        ),
        (
            Method::PUT,
            "/mfa/sms",
            Some(end.clone()),
            added,
            "codes by SMS",
        ),
        (
            Method::POST,
            "/mfa/recovery-codes",
            Some(end.clone()),
            added,
            "recovery codes",
        ),
        (
            Method::POST,
            "/mfa/totp/confirm",
            Some(end.clone()),
            added,
            "authenticator app",
        ),
        (
            Method::DELETE,
            "/mfa/totp",
            Some(end),
            removed,
            "authenticator app",
        ),
    ] {
        let other = log_in_fully(&origin, &app).await;
        let session = log_in_fully(&origin, &app).await;
        let bearer = session.text("access_token");
        let ends = body.is_some();
        let body = if route == "/mfa/totp/confirm" {
            let shown = call(&origin, Method::POST, "/mfa/totp", bearer, None).await;
            app = App {
                secret: shown.text("secret").to_owned(),
            };
            Some(json!({"code": app.code(&origin, 0), "end_other_sessions": true}))
        } else {
            body
        };
        let before = origin.state.mailer.sent().len();
        let reply = call(&origin, method.clone(), route, bearer, body).await;
        assert!(
            reply.status.is_success(),
            "{method} {route} {:?}",
            reply.body
        );
        let message = origin.message(EMAIL).unwrap();
        assert_eq!(origin.state.mailer.sent().len(), before + 1);
        assert_eq!(message.subject, Some(subject), "{method} {route}");
        assert!(message.text.contains(words), "{}", message.text);
        assert!(message.text.contains(" GMT"), "{}", message.text);
        assert!(
            message.text.contains("If it was not you"),
            "{}",
            message.text
        );
        let refresh = json!({"refresh_token": other.text("refresh_token")});
        let refreshed = origin.post("/refresh", refresh).await;
        assert_eq!(
            refreshed.code() == "session_ended",
            ends,
            "{method} {route}"
        );
        let refresh = json!({"refresh_token": session.text("refresh_token")});
        origin.post("/refresh", refresh).await.expect(200, "");
        origin.advance(30);
    }
}

#[tokio::test]
async fn recovery_codes_go_with_the_last_factor_and_alone_are_none() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let bearer = session.text("access_token");
    let codes = "SELECT COUNT(*) FROM recovery_codes";
    let chosen = call(&origin, Method::PUT, "/mfa/sms", bearer, None)
        .await
        .expect(200, "");
    // They are there already.
    assert!(chosen.body.get("recovery_codes").is_none());
    call(&origin, Method::DELETE, "/mfa/totp", bearer, None)
        .await
        .expect(204, "");
    assert_eq!(number(&origin, codes).await, 10);
    let token = first_step(&origin).await;
    second_step(&origin, &token, "recovery_code", &recovery[0])
        .await
        .expect(200, "");
    call(&origin, Method::DELETE, "/mfa/sms", bearer, None)
        .await
        .expect(204, "");
    assert_eq!(number(&origin, codes).await, 0);
    for route in ["/mfa/totp", "/mfa/sms", "/mfa/email"] {
        call(&origin, Method::DELETE, route, bearer, None)
            .await
            .expect(404, "not_found");
    }
    call(&origin, Method::POST, "/mfa/recovery-codes", bearer, None)
        .await
        .expect(409, "conflict");
    let reply = log_in(&origin, PASSWORD).await.expect(200, "");
    assert!(reply.body["access_token"].is_string());
    // Those that come with the first factor are answered with it, once.
    let bearer = reply.text("access_token");
    let chosen = call(&origin, Method::PUT, "/mfa/sms", bearer, None)
        .await
        .expect(200, "");
    assert_eq!(recovery_codes(&chosen).len(), 10);
}

#[tokio::test]
async fn codes_are_chosen_only_where_they_can_follow_a_first_factor() {
    // Without a proved number, without another way to log in, or where the operator offers none.
    let origin = Origin::new().await;
    let sent = origin.post("/otp/send", json!({"email": EMAIL})).await;
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(EMAIL)});
    let session = origin.post("/otp/verify", body).await.expect(200, "");
    let bearer = session.text("access_token");
    for route in ["/mfa/sms", "/mfa/email"] {
        call(&origin, Method::PUT, route, bearer, None)
            .await
            .expect(409, "conflict");
    }
    let origin = Origin::with(|config| {
        config.mfa.email = false;
        config.mfa.sms = false;
    })
    .await;
    account(&origin).await;
    let bearer = person::bearer(&origin).await;
    for route in ["/mfa/sms", "/mfa/email"] {
        call(&origin, Method::PUT, route, &bearer, None)
            .await
            .expect(409, "conflict");
    }
    // Chosen twice is chosen once.
    let origin = Origin::new().await;
    account(&origin).await;
    let bearer = person::bearer(&origin).await;
    call(&origin, Method::PUT, "/mfa/sms", &bearer, None)
        .await
        .expect(200, "");
    let token = first_step(&origin).await;
    let body = json!({"mfa_token": token, "method": "sms"});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let message = origin.message(PHONE).unwrap();
    assert_eq!(message.subject, None);
    let session = second_step(&origin, &token, "sms", &origin.code(PHONE))
        .await
        .expect(200, "");
    let before = origin.state.mailer.sent().len();
    let again = call(
        &origin,
        Method::PUT,
        "/mfa/sms",
        session.text("access_token"),
        None,
    )
    .await
    .expect(200, "");
    assert!(again.body.get("recovery_codes").is_none());
    assert_eq!(origin.state.mailer.sent().len(), before);
}

#[tokio::test]
async fn routes_about_factors_are_counted_by_ip_address() {
    let origin = Origin::with(|config| {
        config.limits.per_ip = true;
        config.limits.otp_verify_failures_per_ip_per_hour = 1;
        config.limits.otp_send_per_ip_per_hour = 1;
    })
    .await;
    for route in ["/login/mfa", "/login/mfa/send"] {
        let mut body = json!({"mfa_token": "x", "method": "email"});
        if route == "/login/mfa" {
            body["code"] = json!("123456");
        }
        origin
            .post(route, body.clone())
            .await
            .expect(400, "code_invalid");
        origin.post(route, body).await.expect(429, "rate_limited");
    }
}

#[tokio::test]
async fn what_happened_with_factors_is_in_the_persons_events() {
    let origin = Origin::with(|config| config.mfa.failures_per_day = 1).await;
    let (app, recovery) = with_app(&origin).await;
    let token = first_step(&origin).await;
    for n in 0..2 {
        second_step(&origin, &token, "totp", &app.wrong(&origin, n))
            .await
            .expect(400, "code_invalid");
    }
    let session = second_step(&origin, &token, "recovery_code", &recovery[0])
        .await
        .expect(200, "");
    let bearer = session.text("access_token");
    for (status, password) in [(401, "wrong password"), (200, PASSWORD)] {
        let body = json!({"method": "password", "password": password});
        let reply = reauthenticate(&origin, bearer, body).await;
        assert_eq!(reply.status, status);
    }
    let id = session.body["user"]["id"].as_str().unwrap();
    let route = format!("/security-events/{id}");
    let page = call(&origin, Method::GET, &route, bearer, None)
        .await
        .expect(200, "");
    let events = page.body["events"].as_array().unwrap();
    let events: Vec<[&str; 5]> = events
        .iter()
        .rev()
        .map(|event| {
            ["kind", "outcome", "method", "reason", "actor"]
                .map(|name| event[name].as_str().unwrap_or_default())
        })
        .collect();
    let me = format!("user {id}");
    let me = me.as_str();
    assert_eq!(
        events,
        [
            ["trusted_device", "success", "", "trusted", me],
            ["login", "success", "password", "", me],
            ["factor_change", "success", "totp", "added", me],
            ["login", "skipped", "password", "mfa_required", me],
            ["factor", "failure", "totp", "code_invalid", "anonymous"],
            ["factor_change", "success", "totp", "turned_off", "system"],
            ["factor", "failure", "totp", "code_invalid", "anonymous"],
            ["trusted_device", "success", "", "trusted", me],
            ["factor", "success", "recovery_code", "", me],
            ["login", "success", "password", "", me],
            [
                "reauthentication",
                "failure",
                "password",
                "credentials_invalid",
                me
            ],
            ["reauthentication", "success", "password", "", me],
        ]
    );
    assert!(!page.body.to_string().contains(&recovery[0]));
}

#[tokio::test]
async fn an_operator_removes_the_factors_of_somebody_who_lost_them() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let id = session.body["user"]["id"].as_str().unwrap();
    let folder = origin.state.config.data_dir.as_path();
    let run = |id: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_edgekeep"))
            .args(["users", "remove-factors", id])
            .env("EDGEKEEP_DATA_DIR", folder)
            .output()
            .unwrap()
    };
    for nobody in ["x", "00000000-0000-4000-8000-000000000000"] {
        assert!(!run(nobody).status.success(), "{nobody}");
    }
    let output = run(id);
    assert!(output.status.success(), "{output:?}");
    assert!(!run(id).status.success());
    let reply = log_in(&origin, PASSWORD).await.expect(200, "");
    assert!(reply.body["access_token"].is_string());
    let body = json!({"refresh_token": session.text("refresh_token")});
    origin
        .post("/refresh", body)
        .await
        .expect(401, "session_ended");
    let outbox = std::fs::read_to_string(folder.join("outbox.jsonl")).unwrap();
    let message: Value = serde_json::from_str(outbox.lines().next_back().unwrap()).unwrap();
    assert_eq!(message["to"], EMAIL);
    assert_eq!(message["subject"], "A second factor was removed");
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    logged::start();
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let bearer = session.text("access_token");
    call(&origin, Method::PUT, "/mfa/email", bearer, None)
        .await
        .expect(200, "");
    let token = first_step(&origin).await;
    let body = json!({"mfa_token": token, "method": "email"});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let mail = origin.code(EMAIL);
    // Six digits may stand in a log by chance; these are found by their neighbours.
    second_step(
        &origin,
        &token,
        "recovery_code",
        "not-a-recovery-code-at-all",
    )
    .await
    .expect(400, "code_invalid");
    second_step(&origin, &token, "recovery_code", &recovery[0])
        .await
        .expect(200, "");
    logged::holds("/api/v1/auth/login/mfa");
    logged::holds_none(&[
        &app.secret,
        &token,
        &recovery[0],
        &recovery[0].replace('-', ""),
        &recovery[1],
        "not-a-recovery-code-at-all",
        &format!("\"{mail}\""),
        PASSWORD,
        EMAIL,
    ]);
    // Nor does a type that holds one show it.
    let secret = edgekeep_origin::vault::Secret::new(token);
    assert_eq!(format!("{secret:?}"), "Secret(…)");
}

#[tokio::test]
async fn a_session_of_two_factors_in_one_may_change_factors() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let user = log_in_fully(&origin, &app).await.body["user"]["id"].clone();
    let first = FirstFactor {
        user_id: user.as_str().unwrap().parse().unwrap(),
        method: "password",
        amr: &["hwk", "pin"],
        sent_to: None,
        caller: &Caller::default(),
        device_id: None,
        device: None,
        proved_at: None,
        counted: None,
    };
    let tx = origin.state.db.write().await.unwrap();
    let Ok(LoggedIn::Tokens(tokens)) = conclude(&origin.state, tx, first).await else {
        unreachable!()
    };
    call(&origin, Method::PUT, "/mfa/sms", &tokens.access_token, None)
        .await
        .expect(200, "");
}
