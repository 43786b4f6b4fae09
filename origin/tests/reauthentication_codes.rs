//! Proving within a session who one is, by a code that is sent to an address which its owner chose as
//! second factor.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use axum::http::Method;
use edgekeep_origin::accounts::Kind;
use edgekeep_origin::config::{Channel, Config};
use edgekeep_origin::login::{FirstFactor, LoggedIn, conclude};
use edgekeep_origin::request::Caller;
use person::{
    EMAIL, PASSWORD, PHONE, account, bearer, call, claims, first_step, log_in, number,
    recovery_codes, second_step,
};
use serde_json::{Value, json};
use support::{Origin, Reply, all};

const BOTH: [(&str, &str); 2] = [("email", EMAIL), ("sms", PHONE)];

/// SMS reach the tests, and access tokens outlive the hours that the limits are counted in.
fn patient(config: &mut Config) {
    config.notify.sms = Channel::Memory;
    config.tokens.access_token_seconds = 86_400;
}

/// Such an origin, and a person's session that proved the password before it
/// chose this factor; with it, the recovery codes.
async fn chosen(method: &str) -> (Origin, String, Vec<String>) {
    let origin = Origin::with(patient).await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    let route = format!("/mfa/{method}");
    let reply = call(&origin, Method::PUT, &route, &bearer, None).await;
    let recovery = recovery_codes(&reply.expect(200, ""));
    (origin, bearer, recovery)
}

/// The access token of a login that is completed by the first of these recovery codes.
async fn log_in_token(origin: &Origin, recovery: &[String]) -> String {
    let token = first_step(origin).await;
    let reply = second_step(origin, &token, "recovery_code", &recovery[0]).await;
    reply.expect(200, "").text("access_token").to_owned()
}

async fn ask(origin: &Origin, bearer: &str, method: &str) -> Reply {
    let body = json!({"method": method});
    call(
        origin,
        Method::POST,
        "/reauthenticate/code",
        bearer,
        Some(body),
    )
    .await
}

async fn prove(origin: &Origin, bearer: &str, body: Value) -> Reply {
    call(origin, Method::POST, "/reauthenticate", bearer, Some(body)).await
}

/// The proof by the code that was sent to `to` for this answer.
fn shown(origin: &Origin, method: &str, to: &str, sent: &Reply) -> Value {
    json!({"method": method, "otp_token": sent.text("otp_token"), "code": origin.code(to)})
}

fn wrong(code: &str, n: u32) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1 + n) % 1_000_000)
}

/// Opens a session of whoever has `bearer` by a first factor that is this, sent to there.
async fn open_by(origin: &Origin, bearer: &str, amr: &[&'static str], to: Option<Kind>) -> String {
    let session = call(origin, Method::GET, "/token-info", bearer, None).await;
    open_for(origin, session.text("sub"), amr, to).await
}

async fn open_for(origin: &Origin, user: &str, amr: &[&'static str], to: Option<Kind>) -> String {
    let first = FirstFactor {
        user_id: user.parse().unwrap(),
        method: "email",
        amr,
        sent_to: to,
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
    tokens.access_token
}

#[tokio::test]
async fn accepts_a_code_that_its_session_asked_for() {
    for (method, to) in BOTH {
        let (origin, bearer, _) = chosen(method).await;
        let change = async |bearer: &str| {
            call(&origin, Method::POST, "/mfa/recovery-codes", bearer, None).await
        };
        change(&bearer).await.expect(401, "step_up_required");
        origin.advance(120);
        let sent = ask(&origin, &bearer, method).await.expect(200, "");
        assert_eq!(sent.body["expires_in"], 300);
        let text = origin.message(to).unwrap().text;
        assert!(
            text.contains("is your code to confirm that it is you"),
            "{text}"
        );
        // At its last second.
        origin.advance(299);
        let body = shown(&origin, method, to, &sent);
        let proved = prove(&origin, &bearer, body.clone()).await.expect(200, "");
        let said = claims(&origin, &proved).await;
        let word = if method == "sms" { "sms" } else { "otp" };
        assert_eq!(said["amr"], json!(["pwd", word]));
        assert_eq!(said["acr"], "2");
        assert_eq!(said["auth_time"], origin.clock.now().unix_seconds());
        change(proved.text("access_token")).await.expect(200, "");
        // A copy of a token from before does not become better by it, nor is the code good twice.
        change(&bearer).await.expect(401, "step_up_required");
        prove(&origin, &bearer, body)
            .await
            .expect(400, "code_invalid");
    }
}

#[tokio::test]
async fn a_code_is_bound_to_its_session_its_request_and_its_purpose() {
    for (method, to) in BOTH {
        let (origin, one, recovery) = chosen(method).await;
        let two = log_in_token(&origin, &recovery).await;
        let sent = ask(&origin, &one, method).await.expect(200, "");
        let body = shown(&origin, method, to, &sent);
        let other = if method == "sms" { "email" } else { "sms" };
        let mut elsewhere = body.clone();
        elsewhere["method"] = other.into();
        let mut unasked = body.clone();
        unasked["otp_token"] = "eko_nothing".into();
        for (bearer, body) in [(&two, &body), (&one, &elsewhere), (&one, &unasked)] {
            prove(&origin, bearer, body.clone())
                .await
                .expect(400, "code_invalid");
        }
        // It logs nobody in, as first factor or as second.
        let login = json!({"otp_token": sent.text("otp_token"), "code": origin.code(to)});
        origin
            .post("/otp/verify", login)
            .await
            .expect(400, "code_invalid");
        let waiting = first_step(&origin).await;
        second_step(&origin, &waiting, method, &origin.code(to))
            .await
            .expect(400, "code_invalid");
        // None of that was a try of the code.
        prove(&origin, &one, body).await.expect(200, "");

        // Nor does a login's code prove anything here, whatever it is shown with.
        origin.advance(600);
        let waiting = first_step(&origin).await;
        let body = json!({"mfa_token": waiting, "method": method});
        origin.post("/login/mfa/send", body).await.expect(200, "");
        let code = origin.code(to);
        for token in [waiting.as_str(), sent.text("otp_token")] {
            let body = json!({"method": method, "otp_token": token, "code": code});
            prove(&origin, &one, body).await.expect(400, "code_invalid");
        }
        second_step(&origin, &waiting, method, &code)
            .await
            .expect(200, "");
    }
}

#[tokio::test]
async fn of_many_that_show_a_code_at_once_one_is_believed() {
    let (origin, bearer, _) = chosen("email").await;
    let sent = ask(&origin, &bearer, "email").await.expect(200, "");
    let body = shown(&origin, "email", EMAIL, &sent);
    let replies = all((0..10).map(|_| prove(&origin, &bearer, body.clone()))).await;
    let good = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(good, 1);
    let rest = replies.iter().filter(|reply| reply.status != 200);
    for reply in rest {
        assert_eq!((reply.status.as_u16(), reply.code()), (400, "code_invalid"));
    }
}

#[tokio::test]
async fn tries_are_counted_for_the_code_and_for_the_account() {
    let (origin, bearer, recovery) = chosen("email").await;
    let mut counted = 0;
    // Three of a code; ten a day of the account, by default.
    let rounds = origin.state.config.otp.failures_per_day.div_ceil(3);
    for round in 0..rounds {
        let sent = ask(&origin, &bearer, "email").await.expect(200, "");
        let body = shown(&origin, "email", EMAIL, &sent);
        for n in 0..3 {
            let mut guess = body.clone();
            guess["code"] = wrong(body["code"].as_str().unwrap(), n).into();
            prove(&origin, &bearer, guess)
                .await
                .expect(400, "code_invalid");
            counted += 1;
        }
        // The right one comes too late.
        prove(&origin, &bearer, body)
            .await
            .expect(400, "code_invalid");
        if round + 1 < rounds {
            origin.advance(3_600);
        }
    }
    assert!(counted >= origin.state.config.otp.failures_per_day);
    origin.advance(3_600);
    // Off: no code is sent, and the answer does not say so. The owner was told.
    let off = origin.state.mailer.sent().iter().any(|message| {
        message
            .subject
            .is_some_and(|subject| subject == "A second factor was turned off")
    });
    assert!(off);
    let before = origin.state.mailer.sent().len();
    ask(&origin, &bearer, "email").await.expect(200, "");
    assert_eq!(origin.state.mailer.sent().len(), before);
    // Another proof turns it on.
    let body = json!({"method": "recovery_code", "code": recovery[0]});
    prove(&origin, &bearer, body).await.expect(200, "");
    let sent = ask(&origin, &bearer, "email").await.expect(200, "");
    let body = shown(&origin, "email", EMAIL, &sent);
    prove(&origin, &bearer, body).await.expect(200, "");
}

#[tokio::test]
async fn messages_are_counted_apart_from_those_of_logins() {
    let (origin, bearer, _) = chosen("email").await;
    for _ in 0..3 {
        let waiting = first_step(&origin).await;
        let body = json!({"mfa_token": waiting, "method": "email"});
        origin.post("/login/mfa/send", body).await.expect(200, "");
    }
    for _ in 0..3 {
        ask(&origin, &bearer, "email").await.expect(200, "");
    }
    let sent = origin.state.mailer.sent().len();
    ask(&origin, &bearer, "email")
        .await
        .expect(429, "rate_limited");
    assert_eq!(origin.state.mailer.sent().len(), sent);
    origin.advance(3_600);
    ask(&origin, &bearer, "email").await.expect(200, "");
}

#[tokio::test]
async fn messages_are_bounded_for_who_asks() {
    let origin = Origin::with(|config| {
        patient(config);
        config.limits.per_ip = true;
        config.limits.otp_send_per_ip_per_hour = 5;
    })
    .await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    // Whatever is answered, and though no message goes out.
    for _ in 0..5 {
        ask(&origin, &bearer, "sms").await.expect(409, "conflict");
    }
    ask(&origin, &bearer, "sms")
        .await
        .expect(429, "rate_limited");
}

#[tokio::test]
async fn a_new_code_ends_the_one_before_and_time_ends_it_too() {
    let (origin, bearer, _) = chosen("email").await;
    let first = ask(&origin, &bearer, "email").await.expect(200, "");
    let old = shown(&origin, "email", EMAIL, &first);
    let second = ask(&origin, &bearer, "email").await.expect(200, "");
    let new = shown(&origin, "email", EMAIL, &second);
    prove(&origin, &bearer, old)
        .await
        .expect(400, "code_invalid");
    origin.advance(300);
    prove(&origin, &bearer, new)
        .await
        .expect(400, "code_expired");
    let sql = "SELECT COUNT(*) FROM audit_events
               WHERE kind = 'reauthentication' AND outcome = 'failure'
                 AND reason IN ('code_invalid', 'code_expired')";
    assert_eq!(number(&origin, sql).await, 2);
    let sql = "SELECT COUNT(*) FROM audit_events
               WHERE kind = 'code' AND reason = 'reauthentication'";
    assert_eq!(number(&origin, sql).await, 2);
}

#[tokio::test]
async fn only_a_factor_that_was_chosen_proves_anything() {
    let (origin, bearer, _) = chosen("email").await;
    let before = origin.state.mailer.sent().len();
    for method in ["sms", "totp", "recovery_code", "passkey"] {
        let reply = ask(&origin, &bearer, method).await;
        if method == "sms" {
            reply.expect(409, "conflict");
        } else {
            reply.expect(400, "request_invalid");
        }
    }
    assert_eq!(origin.state.mailer.sent().len(), before);
    // One that was given up after the code was sent.
    let sent = ask(&origin, &bearer, "email").await.expect(200, "");
    let body = shown(&origin, "email", EMAIL, &sent);
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("DELETE FROM code_factors")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    prove(&origin, &bearer, body)
        .await
        .expect(400, "code_invalid");
    ask(&origin, &bearer, "email").await.expect(409, "conflict");
    // Nobody, without a session.
    let body = json!({"method": "email"});
    origin
        .post("/reauthenticate/code", body)
        .await
        .expect(401, "token_missing");
}

#[tokio::test]
async fn a_session_that_rests_on_a_code_is_not_proved_by_another_to_the_same_address() {
    for (began, proves) in [
        (Some(Kind::Email), &["sms"][..]),
        (Some(Kind::Phone), &["email"]),
        // It began before that was kept.
        (None, &[]),
    ] {
        let origin = Origin::with(patient).await;
        account(&origin).await;
        let owner = bearer(&origin).await;
        let by_code = open_by(&origin, &owner, &["otp"], began).await;
        let two = call(&origin, Method::PUT, "/mfa/sms", &owner, None);
        let recovery = recovery_codes(&two.await.expect(200, ""));
        let body = json!({"method": "recovery_code", "code": recovery[0]});
        let proved = prove(&origin, &owner, body).await.expect(200, "");
        let proved = proved.text("access_token");
        call(&origin, Method::PUT, "/mfa/email", proved, None)
            .await
            .expect(200, "");
        for (method, to) in BOTH {
            let sent = ask(&origin, &by_code, method).await;
            if !proves.contains(&method) {
                sent.expect(409, "conflict");
                continue;
            }
            let body = shown(&origin, method, to, &sent.expect(200, ""));
            let reply = prove(&origin, &by_code, body).await.expect(200, "");
            // Two things that one has are no factors of two kinds.
            assert_eq!(claims(&origin, &reply).await["acr"], "1");
        }
        // The password makes it a session like any other.
        origin.advance(3_600);
        let body = json!({"method": "password", "password": PASSWORD});
        let known = prove(&origin, &by_code, body).await.expect(200, "");
        let known = known.text("access_token");
        for (method, to) in BOTH {
            let sent = ask(&origin, known, method).await.expect(200, "");
            let body = shown(&origin, method, to, &sent);
            let reply = prove(&origin, known, body).await.expect(200, "");
            assert_eq!(claims(&origin, &reply).await["acr"], "2");
        }
    }
}

#[tokio::test]
async fn a_mailed_link_that_set_the_password_is_not_followed_by_a_mailed_code() {
    let (origin, owner, _) = chosen("email").await;
    let forgot = json!({"identifier": EMAIL});
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    let reset = json!({"token": origin.code(EMAIL), "password": PASSWORD});
    // What names the account is read before its sessions end.
    let session = call(&origin, Method::GET, "/token-info", &owner, None).await;
    origin.post("/reset-password", reset).await.expect(204, "");
    let user = session.text("sub");
    let later = open_for(&origin, user, &["hwk", "pin"], None).await;
    ask(&origin, &later, "email").await.expect(409, "conflict");
    // Until another second factor was used.
    origin.advance(1);
    let asked = log_in(&origin, PASSWORD).await;
    assert_eq!(asked.body["methods"], json!(["recovery_code"]));
}

#[tokio::test]
async fn malformed_proofs_by_a_sent_code_are_refused() {
    let (origin, bearer, _) = chosen("email").await;
    let long = "x".repeat(65);
    for method in ["email", "sms"] {
        for body in [
            json!({"method": method}),
            json!({"method": method, "code": "123456"}),
            json!({"method": method, "otp_token": "eko_x"}),
            json!({"method": method, "otp_token": "", "code": "123456"}),
            json!({"method": method, "otp_token": long, "code": "123456"}),
            json!({"method": method, "otp_token": "eko_x", "code": ""}),
            json!({"method": method, "otp_token": "eko_x", "code": long}),
            json!({"method": method, "otp_token": "eko_x", "code": "123456", "password": "p"}),
            json!({"method": method, "otp_token": "eko_x", "code": "123456", "credential": {}}),
            json!({"method": method, "otp_token": "eko_x", "code": "123456", "passkey_token": "t"}),
        ] {
            prove(&origin, &bearer, body)
                .await
                .expect(400, "request_invalid");
        }
    }
    for body in [
        json!({"method": "totp", "code": "123456", "otp_token": "eko_x"}),
        json!({"method": "recovery_code", "code": "123456", "otp_token": "eko_x"}),
        json!({"method": "password", "password": PASSWORD, "otp_token": "eko_x"}),
    ] {
        prove(&origin, &bearer, body)
            .await
            .expect(400, "request_invalid");
    }
}
