//! A login that waits for its second factor, and a code to log in with, are over with whatever ends the
//! sessions of their account: who ends them takes them for somebody else's.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod people;
mod person;
mod support;

use axum::http::Method;
use people::Person;
use person::{App, EMAIL, call, first_step, log_in_fully, second_step, with_app};
use serde_json::json;
use support::Origin;

/// Method and route of the account's owner, or of an administrator, of the account that stands for `{id}`.
const ENDINGS: [(&str, Method, &str, Option<&str>); 6] = [
    ("left", Method::POST, "/account/deactivate", None),
    ("deleted", Method::DELETE, "/account", None),
    (
        "logged out",
        Method::POST,
        "/logout",
        Some(r#"{"all": true}"#),
    ),
    ("others ended", Method::DELETE, "/sessions", None),
    ("closed", Method::POST, "/users/{id}/disable", None),
    (
        "logged out by an administrator",
        Method::POST,
        "/users/{id}/logout",
        None,
    ),
];

/// Ends sessions in one of the ways; an account that was closed is opened again.
async fn end(origin: &Origin, app: &App, admin: &Person, ending: usize) {
    let (name, method, route, body) = ENDINGS[ending].clone();
    let body = body.map(|body| serde_json::from_str(body).unwrap());
    let session = log_in_fully(origin, app).await;
    let reply = if route.contains("{id}") {
        let id = session.body["user"]["id"].as_str().unwrap();
        let route = route.replace("{id}", id);
        let ended = admin.administer(origin, method, &route, body).await;
        if name == "closed" {
            let route = format!("/users/{id}/enable");
            let opened = admin.administer(origin, Method::POST, &route, None).await;
            assert_eq!(opened.status, 204, "{:?}", opened.body);
        }
        ended
    } else {
        call(origin, method, route, session.text("access_token"), body).await
    };
    assert!(reply.status.is_success(), "{name}: {:?}", reply.body);
}

#[tokio::test]
async fn a_login_that_waits_is_over_with_the_sessions() {
    for (ending, (name, ..)) in ENDINGS.iter().enumerate() {
        let origin = Origin::new().await;
        let (app, _) = with_app(&origin).await;
        let admin = Person::new_admin(&origin, "admin@example.org").await;
        let waiting = first_step(&origin).await;
        let code = app.code(&origin, 0);
        end(&origin, &app, &admin, ending).await;
        let refused = second_step(&origin, &waiting, "totp", &app.code(&origin, 0)).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (400, "code_invalid"),
            "{name}"
        );
        assert_ne!(code, app.code(&origin, 0));
        // A login that is begun now is one.
        log_in_fully(&origin, &app).await;
    }
}

#[tokio::test]
async fn a_code_to_log_in_with_is_void_once_the_account_was_left_or_closed() {
    for (ending, (name, ..)) in ENDINGS.iter().enumerate() {
        if !["left", "deleted", "closed"].contains(name) {
            continue;
        }
        let origin = Origin::new().await;
        let (app, _) = with_app(&origin).await;
        let admin = Person::new_admin(&origin, "admin@example.org").await;
        let sent = origin.post("/otp/send", json!({ "email": EMAIL })).await;
        let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(EMAIL)});
        end(&origin, &app, &admin, ending).await;
        let refused = origin.post("/otp/verify", body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (400, "code_invalid"),
            "{name}"
        );
    }
}
