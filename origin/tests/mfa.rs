//! Logging in with a second factor: what is asked for, what completes it, what does not.

mod person;
mod support;

use axum::http::Method;
use edgekeep_origin::accounts::Identifier;
use edgekeep_origin::login::codes::{CodeFor, issue};
use edgekeep_origin::login::{FirstFactor, LoggedIn, conclude};
use edgekeep_origin::request::Caller;
use edgekeep_shared::policy::Requirement;
use person::{
    App, EMAIL, PASSWORD, PHONE, call, claims, first_step, log_in, log_in_fully, number,
    second_step, with_app,
};
use serde_json::{Value, json};
use support::{Origin, Reply};

/// The first step by this way.
async fn first(origin: &Origin, way: &str) -> Reply {
    let address = match way {
        "password" => return log_in(origin, PASSWORD).await,
        "otp sms" => json!({"phone_number": PHONE}),
        _ => json!({"email": EMAIL}),
    };
    let sent = origin.post("/otp/send", address).await.expect(200, "");
    let to = if way == "otp sms" { PHONE } else { EMAIL };
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(to)});
    origin.post("/otp/verify", body).await
}

#[tokio::test]
async fn every_first_factor_leads_to_every_second_that_proves_something_else() {
    let password = ["totp", "recovery_code", "sms", "email"];
    // amr and acr as the gate sees them: two proofs of possession are not factors of two kinds.
    for (way, methods, amr, acr) in [
        ("password", &password[..], ["pwd", "otp"], "2"),
        (
            "otp email",
            &["totp", "recovery_code", "sms"],
            ["otp", ""],
            "1",
        ),
        (
            "otp sms",
            &["totp", "recovery_code", "email"],
            ["otp", ""],
            "1",
        ),
    ] {
        for method in password {
            let origin = Origin::new().await;
            let (app, recovery) = with_app(&origin).await;
            let bearer = log_in_fully(&origin, &app).await;
            let bearer = bearer.text("access_token");
            for route in ["/mfa/sms", "/mfa/email"] {
                call(&origin, Method::PUT, route, bearer, None)
                    .await
                    .expect(200, "");
            }
            let asked = first(&origin, way).await.expect(200, "");
            assert_eq!(asked.body["methods"], json!(methods), "{way}");
            assert_eq!(asked.body["expires_in"], 300);
            assert!(asked.body.get("access_token").is_none());
            let token = asked.text("mfa_token");
            let to = if method == "sms" { PHONE } else { EMAIL };
            let code = match method {
                "totp" => app.code(&origin, 0),
                "recovery_code" => recovery[0].clone(),
                _ => {
                    let body = json!({"mfa_token": token, "method": method});
                    let sent = origin.post("/login/mfa/send", body).await;
                    if methods.contains(&method) {
                        assert_eq!(sent.expect(200, "").body, json!({"expires_in": 300}));
                        origin.code(to)
                    } else {
                        sent.expect(400, "request_invalid");
                        "123456".to_owned()
                    }
                }
            };
            let reply = second_step(&origin, token, method, &code).await;
            if !methods.contains(&method) {
                reply.expect(400, "code_invalid");
                continue;
            }
            let reply = reply.expect(200, "");
            let claims = claims(&origin, &reply).await;
            let mut expected: Vec<&str> = amr.into_iter().filter(|word| !word.is_empty()).collect();
            if method == "sms" {
                expected.truncate(1);
                expected.push("sms");
            }
            assert_eq!(claims["amr"], json!(expected), "{way}, {method}");
            assert_eq!(claims["acr"], acr, "{way}, {method}");
            assert_eq!(
                claims["auth_time"],
                origin.clock.now().unix_seconds(),
                "{way}, {method}"
            );
            if way == "password" {
                assert_eq!(claims["device_id"], "laptop");
            }
        }
    }
}

#[tokio::test]
async fn a_repeated_registration_does_not_go_round_the_second_factor() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    // The code of a registration that waited while the address got its account and its factor.
    let state = &origin.state;
    let blind = Identifier::email(EMAIL).unwrap().blind(&state.vault);
    let pending = json!({
        "kind": "email", "spelling": EMAIL, "username": null, "name": null, "phc": null,
        "password_mac": [],
    });
    let pending = pending.to_string().into_bytes();
    let mut tx = state.db.write().await.unwrap();
    let purpose = CodeFor::Registration;
    let issued = issue(state, &mut tx, purpose, &blind.unwrap(), &pending, true)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let proof = json!({"email": EMAIL, "code": issued.code.expose()});
    let reply = origin.post("/register/verify", proof).await.expect(200, "");
    assert_eq!(reply.body["mfa_required"], true);
    assert_eq!(reply.body["methods"], json!(["totp", "recovery_code"]));
    let code = app.code(&origin, 0);
    second_step(&origin, reply.text("mfa_token"), "totp", &code)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_factor_that_is_two_in_one_asks_for_no_second() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let user = log_in_fully(&origin, &app).await.body["user"]["id"].clone();
    for (amr, complete) in [
        (&["hwk", "pin"][..], true),
        (&["hwk", "mfa"], true),
        (&["hwk"], false),
        (&["hwk", "otp"], false),
        (&[], false),
    ] {
        let first = FirstFactor {
            user_id: user.as_str().unwrap().parse().unwrap(),
            method: "password",
            amr,
            sent_to: None,
            caller: &Caller::default(),
            device_id: None,
            device: None,
            proved_at: None,
            counted: None,
        };
        let tx = origin.state.db.write().await.unwrap();
        let outcome = conclude(&origin.state, tx, first).await.ok().unwrap();
        assert_eq!(matches!(outcome, LoggedIn::Tokens(_)), complete, "{amr:?}");
    }
}

#[tokio::test]
async fn a_code_is_good_one_step_back_and_forward() {
    for (offset, good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
        for seconds in [0, 29] {
            let origin = Origin::new().await;
            let (app, _) = with_app(&origin).await;
            origin.advance(60 + seconds);
            let token = first_step(&origin).await;
            let reply = second_step(&origin, &token, "totp", &app.code(&origin, offset)).await;
            if good {
                reply.expect(200, "");
            } else {
                reply.expect(400, "code_invalid");
            }
        }
    }
}

#[tokio::test]
async fn a_code_at_or_before_the_accepted_step_is_refused() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    origin.advance(60);
    let token = first_step(&origin).await;
    let code = app.code(&origin, 0);
    let spaced = format!(" {} {}\t", &code[..3], &code[3..]);
    second_step(&origin, &token, "totp", &spaced)
        .await
        .expect(200, "");
    for replay in [
        code.clone(),
        spaced,
        format!("\u{2009}{code}"),
        app.code(&origin, -1),
    ] {
        let token = first_step(&origin).await;
        second_step(&origin, &token, "totp", &replay)
            .await
            .expect(400, "code_invalid");
    }
    // A replay is no guess: nothing was counted.
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM code_failures").await,
        0
    );
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &app.code(&origin, 1))
        .await
        .expect(200, "");
    // The step beside it is spent; the code of the present one comes after it no more.
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &code)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn the_code_that_confirmed_an_app_does_not_log_in() {
    let origin = Origin::new().await;
    person::account(&origin).await;
    let bearer = person::bearer(&origin).await;
    let shown = call(&origin, Method::POST, "/mfa/totp", &bearer, None).await;
    let app = App {
        secret: shown.text("secret").to_owned(),
    };
    let code = app.code(&origin, 0);
    let body = json!({"code": code});
    call(
        &origin,
        Method::POST,
        "/mfa/totp/confirm",
        &bearer,
        Some(body),
    )
    .await
    .expect(200, "");
    let token = first_step(&origin).await;
    second_step(&origin, &token, "totp", &code)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn the_token_of_the_first_step_lives_five_minutes_and_once() {
    for (seconds, status, code) in [
        (299, 200, ""),
        (300, 400, "code_expired"),
        (301, 400, "code_expired"),
        (300 + 3_601, 400, "code_expired"),
    ] {
        let origin = Origin::new().await;
        let (app, _) = with_app(&origin).await;
        let token = first_step(&origin).await;
        origin.advance(seconds);
        let totp = app.code(&origin, 0);
        second_step(&origin, &token, "totp", &totp)
            .await
            .expect(status, code);
        origin.advance(30);
        let again = second_step(&origin, &token, "totp", &app.code(&origin, 0)).await;
        assert_eq!(again.status, 400);
    }
}

#[tokio::test]
async fn five_tries_of_one_token_whatever_the_method() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    let token = first_step(&origin).await;
    for (method, code) in [
        ("totp", app.wrong(&origin, 1)),
        ("recovery_code", "0000-0000-0000-0000-0000-0000".to_owned()),
        ("recovery_code", "nonsense".to_owned()),
        ("email", "123456".to_owned()),
        ("sms", "123456".to_owned()),
    ] {
        second_step(&origin, &token, method, &code)
            .await
            .expect(400, "code_invalid");
    }
    second_step(&origin, &token, "recovery_code", &recovery[0])
        .await
        .expect(400, "code_invalid");
    let token = first_step(&origin).await;
    second_step(&origin, &token, "recovery_code", &recovery[0])
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_recovery_code_is_good_once_however_it_is_typed_and_its_owner_is_told() {
    let origin = Origin::new().await;
    let (_, recovery) = with_app(&origin).await;
    let token = first_step(&origin).await;
    let typed = recovery[3].to_lowercase().replace('-', " ");
    second_step(&origin, &token, "recovery_code", &typed)
        .await
        .expect(200, "");
    let message = origin.message(EMAIL).unwrap();
    assert_eq!(message.subject, Some("A recovery code was used"));
    assert!(message.text.contains("9 are left"), "{}", message.text);
    assert!(
        message.text.contains("Thu, 01 Jan 2026 00:00:30 GMT"),
        "{}",
        message.text
    );
    let token = first_step(&origin).await;
    second_step(&origin, &token, "recovery_code", &recovery[3])
        .await
        .expect(400, "code_invalid");
    second_step(&origin, &token, "recovery_code", &recovery[4])
        .await
        .expect(200, "");
    assert!(origin.message(EMAIL).unwrap().text.contains("8 are left"));
}

#[tokio::test]
async fn nothing_works_out_of_order_or_for_another_account() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    for token in ["", "ekm_", "ekm_AAAA", &"x".repeat(5_000)] {
        for (method, code) in [
            ("totp", &app.code(&origin, 0)),
            ("recovery_code", &recovery[0]),
        ] {
            second_step(&origin, token, method, code)
                .await
                .expect(400, "code_invalid");
        }
        let body = json!({"mfa_token": token, "method": "email"});
        origin
            .post("/login/mfa/send", body)
            .await
            .expect(400, "code_invalid");
    }
    // A code is not sent for a method that was not chosen, nor for one that sends none.
    let token = first_step(&origin).await;
    for method in ["email", "sms", "totp", "recovery_code"] {
        let body = json!({"mfa_token": token, "method": method});
        let reply = origin.post("/login/mfa/send", body).await;
        reply.expect(400, "request_invalid");
    }
    // Another person's factors are no help.
    let body = json!({"email": "bob@example.org", "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": "bob@example.org", "code": origin.code("bob@example.org")});
    let bob = origin.post("/register/verify", body).await.expect(200, "");
    let (bobs, bobs_codes) = person::enrol(&origin, bob.text("access_token")).await;
    for (method, code) in [
        ("totp", &bobs.code(&origin, 0)),
        ("recovery_code", &bobs_codes[0]),
    ] {
        second_step(&origin, &token, method, code)
            .await
            .expect(400, "code_invalid");
    }
    // A one-time code for logging in is none for the second step, nor the other way round.
    let sent = origin.post("/otp/send", json!({"email": EMAIL})).await;
    second_step(&origin, &token, "email", &origin.code(EMAIL))
        .await
        .expect(400, "code_invalid");
    let body = json!({"otp_token": token, "code": origin.code(EMAIL)});
    origin
        .post("/otp/verify", body)
        .await
        .expect(400, "code_invalid");
    assert_eq!(sent.status, 200);
}

#[tokio::test]
async fn a_sent_code_is_bound_to_its_login() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let bearer = log_in_fully(&origin, &app).await;
    let bearer = bearer.text("access_token");
    call(&origin, Method::PUT, "/mfa/email", bearer, None)
        .await
        .expect(200, "");
    let (one, other) = (first_step(&origin).await, first_step(&origin).await);
    let body = json!({"mfa_token": one, "method": "email"});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let code = origin.code(EMAIL);
    second_step(&origin, &other, "email", &code)
        .await
        .expect(400, "code_invalid");
    second_step(&origin, &one, "sms", &code)
        .await
        .expect(400, "code_invalid");
    // Three tries of the code within the five of the token.
    for n in 0..3 {
        let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1 + n) % 1_000_000);
        second_step(&origin, &one, "email", &wrong)
            .await
            .expect(400, "code_invalid");
    }
    second_step(&origin, &one, "email", &code)
        .await
        .expect(400, "code_invalid");
    // A fresh code for another login, at its last second.
    let body = json!({"mfa_token": other, "method": "email"});
    origin
        .post("/login/mfa/send", body.clone())
        .await
        .expect(200, "");
    origin.advance(299);
    second_step(&origin, &other, "email", &origin.code(EMAIL))
        .await
        .expect(200, "");
    origin
        .post("/login/mfa/send", body)
        .await
        .expect(400, "code_invalid");
    // Three messages an hour.
    let token = first_step(&origin).await;
    let body = json!({"mfa_token": token, "method": "email"});
    origin
        .post("/login/mfa/send", body.clone())
        .await
        .expect(200, "");
    origin
        .post("/login/mfa/send", body)
        .await
        .expect(429, "rate_limited");
}

#[tokio::test]
async fn an_account_that_is_disabled_between_the_steps_is_not_let_in() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    let token = first_step(&origin).await;
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("UPDATE users SET status = 'disabled'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for (method, code) in [
        ("totp", &app.code(&origin, 0)),
        ("recovery_code", &recovery[0]),
    ] {
        second_step(&origin, &token, method, code)
            .await
            .expect(400, "code_invalid");
    }
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM recovery_codes").await,
        10
    );
    log_in(&origin, PASSWORD)
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn a_reset_password_is_a_first_factor_and_no_more() {
    let origin = Origin::new().await;
    let (app, recovery) = with_app(&origin).await;
    let before = first_step(&origin).await;
    let forgot = json!({"identifier": EMAIL});
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    let reset = json!({"token": origin.code(EMAIL), "password": "battery staple"});
    origin.post("/reset-password", reset).await.expect(204, "");
    // A login that had got half-way with the old password goes no further.
    second_step(&origin, &before, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
    let reply = log_in(&origin, "battery staple").await.expect(200, "");
    assert_eq!(reply.body["methods"], json!(["totp", "recovery_code"]));
    second_step(
        &origin,
        reply.text("mfa_token"),
        "recovery_code",
        &recovery[0],
    )
    .await
    .expect(200, "");
}

#[tokio::test]
async fn a_link_by_mail_and_a_code_by_mail_are_not_two_factors() {
    let origin = Origin::new().await;
    person::account(&origin).await;
    let bearer = person::bearer(&origin).await;
    let chosen = call(&origin, Method::PUT, "/mfa/email", &bearer, None)
        .await
        .expect(200, "");
    let recovery = person::recovery_codes(&chosen);
    assert!(chosen.text("note").contains("stronger"));
    let asked = log_in(&origin, PASSWORD).await;
    assert_eq!(asked.body["methods"], json!(["recovery_code", "email"]));
    let forgot = json!({"identifier": EMAIL});
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    let reset = json!({"token": origin.code(EMAIL), "password": PASSWORD});
    origin.post("/reset-password", reset).await.expect(204, "");
    let asked = log_in(&origin, PASSWORD).await;
    assert_eq!(asked.body["methods"], json!(["recovery_code"]));
    let token = asked.text("mfa_token");
    let body = json!({"mfa_token": token, "method": "email"});
    origin
        .post("/login/mfa/send", body)
        .await
        .expect(400, "request_invalid");
    second_step(&origin, token, "recovery_code", &recovery[0])
        .await
        .expect(200, "");
    // The other proof was given: mail is a second factor again.
    let asked = log_in(&origin, PASSWORD).await;
    assert_eq!(asked.body["methods"], json!(["recovery_code", "email"]));
}

#[tokio::test]
async fn a_first_factor_is_refused_where_the_second_would_be_the_same_again() {
    let origin = Origin::new().await;
    person::account(&origin).await;
    let bearer = person::bearer(&origin).await;
    call(&origin, Method::PUT, "/mfa/email", &bearer, None)
        .await
        .expect(200, "");
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("DELETE FROM recovery_codes")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let before = number(&origin, "SELECT COUNT(*) FROM sessions").await;
    let refused = first(&origin, "otp email").await;
    let refused = refused.expect(403, "mfa_required");
    assert!(refused.text("detail").starts_with("Log in in another way"));
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM sessions").await,
        before
    );
    // The code was right: it is used up and counts against nobody.
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM one_time_codes").await,
        0
    );
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM code_failures").await,
        0
    );
    let asked = first(&origin, "otp sms").await.expect(200, "");
    assert_eq!(asked.body["methods"], json!(["email"]));
}

#[tokio::test]
async fn the_gates_rule_on_several_factors_is_met_by_two_kinds() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let rule = Requirement {
        mfa: true,
        acr: ["2".into()].into(),
        max_age: Some(60),
        ..Requirement::default()
    };
    let judged = async |reply: &Reply| {
        let token = reply.text("access_token").as_bytes();
        let token = edgekeep_origin::tokens::judge(&origin.state, token)
            .await
            .unwrap();
        let now = origin.clock.now().unix_seconds();
        rule.check(&token.claims().holder(), |_| None, now).is_ok()
    };
    let token = first_step(&origin).await;
    let both = second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(200, "");
    assert!(judged(&both).await);
    // A refresh keeps what the session proved.
    let refresh = json!({"refresh_token": both.text("refresh_token")});
    let refreshed = origin.post("/refresh", refresh).await.expect(200, "");
    assert!(judged(&refreshed).await);
    // A code by mail, then an app: two factors of one kind. The password makes them two.
    origin.advance(30);
    let asked = first(&origin, "otp email").await;
    let possession = second_step(
        &origin,
        asked.text("mfa_token"),
        "totp",
        &app.code(&origin, 0),
    )
    .await
    .expect(200, "");
    assert!(!judged(&possession).await);
    let body = json!({"method": "password", "password": PASSWORD});
    let bearer = possession.text("access_token");
    let stepped = call(&origin, Method::POST, "/reauthenticate", bearer, Some(body))
        .await
        .expect(200, "");
    assert!(judged(&stepped).await);
}

#[tokio::test]
async fn the_first_proof_of_an_address_removes_factors_that_were_there_before() {
    let origin = Origin::with(|config| config.registration.require_proof = false).await;
    let body = json!({"email": EMAIL, "password": "the squatter's"});
    origin.post("/register", body).await.expect(202, "");
    let waiting = origin.code(EMAIL);
    let squatter = log_in(&origin, "the squatter's").await.expect(200, "");
    let (app, _) = person::enrol(&origin, squatter.text("access_token")).await;
    let half_way = log_in(&origin, "the squatter's").await.expect(200, "");
    let body = json!({"email": EMAIL, "code": waiting});
    let owner = origin.post("/register/verify", body).await.expect(200, "");
    assert!(owner.body["access_token"].is_string());
    second_step(
        &origin,
        half_way.text("mfa_token"),
        "totp",
        &app.code(&origin, 0),
    )
    .await
    .expect(400, "code_invalid");
    let list = call(
        &origin,
        Method::GET,
        "/mfa",
        owner.text("access_token"),
        None,
    )
    .await;
    assert_eq!(list.body, json!({"factors": [], "recovery_codes_left": 0}));
}

#[tokio::test]
async fn a_restored_database_forgets_logins_and_secrets_that_waited() {
    use edgekeep_origin::sessions::{Since, restored};
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let bearer = session.text("access_token");
    call(&origin, Method::POST, "/mfa/totp", bearer, None)
        .await
        .expect(200, "");
    let token = first_step(&origin).await;
    restored(&origin.state, Since::Unknown).await.unwrap();
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_invalid");
    let waiting = "SELECT (SELECT COUNT(*) FROM mfa_tokens) + (SELECT COUNT(*) FROM totp_pending)";
    assert_eq!(number(&origin, waiting).await, 0);
}

#[tokio::test]
async fn malformed_second_steps_are_refused_before_anything_is_counted() {
    let origin = Origin::new().await;
    with_app(&origin).await;
    let token = first_step(&origin).await;
    for body in [
        json!({}),
        json!({"mfa_token": token, "method": "totp"}),
        json!({"mfa_token": token, "method": "password", "code": "1"}),
        json!({"mfa_token": token, "method": "totp", "code": ""}),
        json!({"mfa_token": token, "method": "totp", "code": "1".repeat(65)}),
        json!({"mfa_token": token, "method": "totp", "code": 123_456}),
        json!({"mfa_token": token, "method": "totp", "code": "123456", "user_id": "x"}),
        json!({"mfa_token": [token], "method": "totp", "code": "123456"}),
        Value::Null,
    ] {
        let reply = origin.post("/login/mfa", body).await;
        reply.expect(400, "request_invalid");
    }
    assert_eq!(
        number(&origin, "SELECT SUM(tries) FROM mfa_tokens").await,
        0
    );
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM code_failures").await,
        0
    );
}

#[tokio::test]
async fn a_first_factor_that_waits_for_the_second_is_in_the_trail_of_its_owner() {
    let origin = Origin::new().await;
    let (app, _) = with_app(&origin).await;
    let waiting = "SELECT COUNT(*) FROM audit_events
                   WHERE kind = 'login' AND outcome = 'skipped' AND reason = 'mfa_required'";
    log_in(&origin, "wrong password").await;
    assert_eq!(number(&origin, waiting).await, 0);
    // By a password, and by a code.
    first_step(&origin).await;
    assert_eq!(number(&origin, waiting).await, 1);
    let body = json!({"email": EMAIL});
    let sent = origin.post("/otp/send", body).await.expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(EMAIL)});
    let asked = origin.post("/otp/verify", body).await.expect(200, "");
    assert_eq!(asked.body["mfa_required"], true);
    assert_eq!(number(&origin, waiting).await, 2);
    let session = log_in_fully(&origin, &app).await;
    let id = session.body["user"]["id"].as_str().unwrap();
    let route = format!("/security-events/{id}?kind=login&outcome=skipped");
    let bearer = session.text("access_token");
    let seen = call(&origin, Method::GET, &route, bearer, None).await;
    let seen = seen.expect(200, "").body;
    let methods: Vec<&str> = seen["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods, ["password", "email", "password"]);
}

#[tokio::test]
async fn half_a_login_is_not_counted_as_one() {
    use edgekeep_origin::vault::Secret;
    let token = "m3trics";
    let origin = Origin::with(|config| {
        config.server.metrics_token = Some(Secret::new(token.to_owned()));
    })
    .await;
    let (app, _) = with_app(&origin).await;
    log_in_fully(&origin, &app).await;
    let asked = first_step(&origin).await;
    second_step(&origin, &asked, "totp", &app.wrong(&origin, 1))
        .await
        .expect(400, "code_invalid");
    let metrics = origin
        .call(Method::GET, "/metrics", Some(token), None)
        .await;
    let Value::String(text) = metrics.body else {
        unreachable!()
    };
    for (way, outcome, count) in [
        // The session in which the app was set up.
        ("password", "succeeded", 1),
        ("password", "mfa_required", 2),
        ("second_factor", "succeeded", 1),
        ("second_factor", "code_invalid", 1),
    ] {
        let line =
            format!("edgekeep_logins_total{{way=\"{way}\",outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&line), "{line}");
    }
}
