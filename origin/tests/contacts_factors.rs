//! What becomes of second factors when the addresses of an account change, and when a change is taken
//! back: nobody is left with a factor that cannot be shown.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use axum::http::Method;
use person::{EMAIL, PHONE, account, bearer, call, first_step, log_in, number, second_step};
use serde_json::{Value, json};
use support::{Origin, Reply};

const PASSWORD: &str = person::PASSWORD;
const FACTORS: &str = "SELECT COUNT(*) FROM code_factors";

async fn ask(origin: &Origin, method: Method, route: &str, bearer: &str) -> Reply {
    call(origin, method, route, bearer, None).await
}

async fn id_of(origin: &Origin, bearer: &str, address: &str) -> String {
    let list = ask(origin, Method::GET, "/contacts", bearer).await;
    let list = list.body["contacts"].as_array().unwrap().clone();
    let one = list.iter().find(|one| one["address"] == address).unwrap();
    one["id"].as_str().unwrap().to_owned()
}

async fn remove(origin: &Origin, bearer: &str, address: &str) {
    let route = format!("/contacts/{}", id_of(origin, bearer, address).await);
    let removed = ask(origin, Method::DELETE, &route, bearer).await;
    assert_eq!(removed.status, 204, "{:?}", removed.body);
}

async fn add(origin: &Origin, bearer: &str, body: Value, address: &str) {
    origin.advance(1);
    let started = call(origin, Method::POST, "/contacts", bearer, Some(body))
        .await
        .expect(202, "");
    let body = json!({
        "contact_token": started.text("contact_token"), "code": origin.code(address),
    });
    call(origin, Method::POST, "/contacts/verify", bearer, Some(body))
        .await
        .expect(200, "");
}

/// A session of both factors, the second by a code of `method`.
async fn logged_in_by(origin: &Origin, method: &str, to: &str) -> String {
    let token = first_step(origin).await;
    let body = json!({"mfa_token": token, "method": method});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let session = second_step(origin, &token, method, &origin.code(to)).await;
    session.expect(200, "").text("access_token").to_owned()
}

/// An account with codes by SMS as second factor, and a session of both.
async fn with_codes_by_sms() -> (Origin, String) {
    let origin = Origin::new().await;
    account(&origin).await;
    let first = bearer(&origin).await;
    ask(&origin, Method::PUT, "/mfa/sms", &first)
        .await
        .expect(200, "");
    let session = logged_in_by(&origin, "sms", PHONE).await;
    (origin, session)
}

/// The undo token that an address was told last.
fn undo_token(origin: &Origin, to: &str) -> String {
    let messages = origin.state.mailer.sent();
    let codes = messages
        .iter()
        .rev()
        .filter(|message| message.to == to)
        .filter_map(|message| message.code.clone());
    codes
        .into_iter()
        .find(|code| code.starts_with("eku_"))
        .unwrap()
}

#[tokio::test]
async fn codes_by_sms_go_with_the_last_number() {
    let (origin, session) = with_codes_by_sms().await;
    remove(&origin, &session, PHONE).await;

    let told = origin.message(EMAIL).unwrap();
    assert!(told.text.contains("codes by SMS"), "{}", told.text);
    let factors = ask(&origin, Method::GET, "/mfa", &session).await;
    assert_eq!(factors.body["factors"], json!([]), "{:?}", factors.body);
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM recovery_codes").await,
        0
    );
    let noted = "SELECT COUNT(*) FROM audit_events
                 WHERE kind = 'factor_change' AND reason = 'removed'";
    assert_eq!(number(&origin, noted).await, 1);
    // The password is enough again, and a number that comes later is no factor that nobody chose.
    let alone = log_in(&origin, PASSWORD).await.expect(200, "");
    let alone = alone.text("access_token");
    add(&origin, alone, json!({ "phone_number": PHONE }), PHONE).await;
    assert_eq!(number(&origin, FACTORS).await, 0);
    log_in(&origin, PASSWORD)
        .await
        .expect(200, "")
        .text("access_token");
}

#[tokio::test]
async fn codes_go_with_the_last_way_to_log_in_before_them() {
    let origin = Origin::new().await;
    account(&origin).await;
    let session = bearer(&origin).await;
    // Without a password: a code by SMS comes first, one by mail second.
    let forget = "DELETE FROM passwords";
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query(forget).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    ask(&origin, Method::PUT, "/mfa/email", &session)
        .await
        .expect(200, "");
    let sent = origin
        .post("/otp/send", json!({ "phone_number": PHONE }))
        .await;
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(PHONE)});
    let begun = origin.post("/otp/verify", body).await.expect(200, "");
    let token = begun.text("mfa_token");
    let body = json!({"mfa_token": token, "method": "email"});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let session = second_step(&origin, token, "email", &origin.code(EMAIL)).await;
    let session = session.expect(200, "").text("access_token").to_owned();
    remove(&origin, &session, PHONE).await;
    assert_eq!(number(&origin, FACTORS).await, 0);
    let sent = origin.post("/otp/send", json!({ "email": EMAIL })).await;
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(EMAIL)});
    let alone = origin.post("/otp/verify", body).await.expect(200, "");
    assert!(alone.body["access_token"].is_string(), "{:?}", alone.body);
}

#[tokio::test]
async fn another_number_keeps_codes_by_sms() {
    const OTHER: &str = "+41791234599";
    let (origin, session) = with_codes_by_sms().await;
    add(&origin, &session, json!({ "phone_number": OTHER }), OTHER).await;
    remove(&origin, &session, PHONE).await;
    assert_eq!(number(&origin, FACTORS).await, 1);
    logged_in_by(&origin, "sms", OTHER).await;
}

#[tokio::test]
async fn a_change_that_is_taken_back_leaves_its_owner_the_recovery_codes_of_before() {
    let origin = Origin::new().await;
    account(&origin).await;
    let first = bearer(&origin).await;
    let chosen = ask(&origin, Method::PUT, "/mfa/email", &first).await;
    let owners = person::recovery_codes(&chosen.expect(200, ""));
    // One was used before: it does not come back.
    let token = first_step(&origin).await;
    second_step(&origin, &token, "recovery_code", &owners[0])
        .await
        .expect(200, "");

    let thief = logged_in_by(&origin, "email", EMAIL).await;
    add(
        &origin,
        &thief,
        json!({"email": "evil@example.com"}),
        "evil@example.com",
    )
    .await;
    let undo = undo_token(&origin, EMAIL);
    origin.advance(1);
    let mut stolen = Vec::new();
    for _ in 0..2 {
        let made = ask(&origin, Method::POST, "/mfa/recovery-codes", &thief).await;
        stolen.extend(person::recovery_codes(&made.expect(200, "")));
    }
    let token = first_step(&origin).await;
    for code in [&owners[1], &stolen[0]] {
        second_step(&origin, &token, "recovery_code", code)
            .await
            .expect(400, "code_invalid");
        origin.advance(60);
    }

    let done = origin
        .post("/contacts/undo", json!({ "token": undo }))
        .await;
    assert_eq!(done.status, 204, "{:?}", done.body);
    let body = json!({"identifier": EMAIL});
    origin.post("/forgot-password", body).await.expect(202, "");
    let body = json!({"token": origin.code(EMAIL), "password": PASSWORD});
    assert_eq!(origin.post("/reset-password", body).await.status, 204);
    // The link came by mail, so a code by mail would be the same proof again.
    let begun = log_in(&origin, PASSWORD).await.expect(200, "");
    assert_eq!(begun.body["methods"], json!(["recovery_code"]));
    let token = begun.text("mfa_token");
    for code in [&owners[0], &stolen[10]] {
        second_step(&origin, token, "recovery_code", code)
            .await
            .expect(400, "code_invalid");
        origin.advance(60);
    }
    second_step(&origin, token, "recovery_code", &owners[1])
        .await
        .expect(200, "");
}

#[tokio::test]
async fn replaced_recovery_codes_are_kept_for_as_long_as_a_change_can_be_taken_back() {
    let origin = Origin::new().await;
    account(&origin).await;
    let session = bearer(&origin).await;
    let (_, _) = person::enrol(&origin, &session).await;
    let app = ask(&origin, Method::GET, "/mfa", &session).await;
    assert_eq!(app.body["recovery_codes_left"], 10);
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("UPDATE recovery_codes SET replaced_at = $1")
        .bind(origin.clock.now())
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let all = "SELECT COUNT(*) FROM recovery_codes";
    for (seconds, left) in [(72 * 3_600, 10), (1, 0)] {
        origin.advance(seconds);
        edgekeep_origin::accounts::upkeep(&origin.state)
            .await
            .unwrap();
        assert_eq!(number(&origin, all).await, left);
    }
}
