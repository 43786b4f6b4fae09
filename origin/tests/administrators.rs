//! What administrators have to prove: lately for a change, and a second factor where they have one
//! or the configuration wants one.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod people;
mod person;
mod support;

use axum::http::Method;
use edgekeep_origin::config::{Config, Mode};
use people::Person;
use person::{App, enrol};
use serde_json::{Value, json};
use support::{Origin, Reply};

const ROOT: &str = "root@example.org";

/// Every route of administration in the API's own description, with its method.
async fn routes(origin: &Origin, wanted: impl Fn(&Method) -> bool) -> Vec<(Method, String)> {
    let document = origin.get("/openapi.json").await.body;
    let paths = document["paths"].as_object().unwrap();
    let admin = paths
        .iter()
        .filter(|(path, _)| path.starts_with("/api/v1/admin/"));
    let mut routes = Vec::new();
    for (path, item) in admin {
        let nobody = "00000000-0000-4000-8000-000000000000";
        let path = path.replace("{id}", nobody).replace("{kid}", "none");
        assert!(!path.contains('{'), "{path}");
        for name in item.as_object().unwrap().keys() {
            if let Ok(method) = Method::from_bytes(name.to_uppercase().as_bytes())
                && wanted(&method)
            {
                routes.push((method, path.clone()));
            }
        }
    }
    routes
}

async fn ask(origin: &Origin, bearer: &str, (method, path): &(Method, String)) -> Reply {
    let body = (*method != Method::GET).then(|| json!({}));
    origin.call(method.clone(), path, Some(bearer), body).await
}

async fn reauthenticate(origin: &Origin, bearer: &str, body: Value) -> String {
    let path = "/api/v1/auth/reauthenticate";
    let reply = origin
        .call(Method::POST, path, Some(bearer), Some(body))
        .await
        .expect(200, "");
    reply.text("access_token").to_owned()
}

async fn by_app(origin: &Origin, app: &App, bearer: &str) -> String {
    origin.advance(30);
    let body = json!({"method": "totp", "code": app.code(origin, 0)});
    reauthenticate(origin, bearer, body).await
}

#[tokio::test]
async fn every_change_asks_for_a_proof_of_the_last_quarter_of_an_hour_and_no_reading_does() {
    let origin = Origin::with(|config| config.tokens.access_token_seconds = 3_600).await;
    let root = Person::new_admin(&origin, ROOT).await;
    let changes = routes(&origin, |method| *method != Method::GET).await;
    let readings = routes(&origin, |method| *method == Method::GET).await;
    assert!(changes.len() >= 12 && readings.len() >= 6);
    origin.advance(900);
    for change in &changes {
        let reply = ask(&origin, &root.access, change).await;
        assert_ne!(reply.code(), "step_up_required", "{change:?}");
        // The last of them may have changed the keys.
        assert_ne!(reply.code(), "insufficient_role", "{change:?}");
    }
    origin.advance(1);
    for change in &changes {
        let reply = ask(&origin, &root.access, change).await;
        let said = (reply.status.as_u16(), reply.code());
        assert_eq!(said, (401, "step_up_required"), "{change:?}");
    }
    for reading in &readings {
        let reply = ask(&origin, &root.access, reading).await;
        assert!([200, 404].contains(&reply.status.as_u16()), "{reading:?}");
    }
    let body = json!({"method": "password", "password": people::PASSWORD});
    let again = reauthenticate(&origin, &root.access, body).await;
    // The token of before tells of no proof; the new one does.
    let logout = format!("/api/v1/admin/users/{}/logout", root.id);
    let logout = (Method::POST, logout);
    ask(&origin, &root.access, &logout)
        .await
        .expect(401, "step_up_required");
    ask(&origin, &again, &logout).await.expect(204, "");
}

#[tokio::test]
async fn who_is_no_administrator_is_told_that_and_nothing_else() {
    let origin = Origin::with(|config| config.access.require_mfa = Some(true)).await;
    let user = Person::new_user(&origin, "user@example.org").await;
    origin.advance(600);
    for route in routes(&origin, |_| true).await {
        let reply = ask(&origin, &user.access, &route).await;
        assert_eq!(reply.code(), "insufficient_role", "{route:?}");
    }
}

#[tokio::test]
async fn a_second_factor_is_what_has_to_be_fresh_where_there_is_one() {
    let origin = Origin::new().await;
    let root = Person::new_admin(&origin, ROOT).await;
    let (app, _) = enrol(&origin, &root.access).await;
    let logout = (
        Method::POST,
        "/api/v1/admin/users/00000000-0000-4000-8000-000000000000/logout".to_owned(),
    );
    let users = (Method::GET, "/api/v1/admin/users".to_owned());
    // This session was opened before there was one, and a password does not make up for it.
    let body = json!({"method": "password", "password": people::PASSWORD});
    let by_password = reauthenticate(&origin, &root.access, body).await;
    for bearer in [&root.access, &by_password] {
        ask(&origin, bearer, &logout)
            .await
            .expect(401, "step_up_required");
        ask(&origin, bearer, &users).await.expect(200, "");
    }
    let both = by_app(&origin, &app, &by_password).await;
    ask(&origin, &both, &logout).await.expect(404, "not_found");
}

#[tokio::test]
async fn where_a_second_factor_is_required_a_password_opens_nothing() {
    let origin = Origin::with(|config| {
        config.access.require_mfa = Some(true);
        config.tokens.access_token_seconds = 3_600;
    })
    .await;
    let root = Person::new_admin(&origin, ROOT).await;
    let all = routes(&origin, |_| true).await;
    for route in &all {
        let reply = ask(&origin, &root.access, route).await;
        let said = (reply.status.as_u16(), reply.code());
        assert_eq!(said, (403, "mfa_required"), "{route:?}");
        assert!(reply.text("detail").ends_with("Add one first."));
    }
    let (app, _) = enrol(&origin, &root.access).await;
    for route in &all {
        let reply = ask(&origin, &root.access, route).await;
        let said = (reply.status.as_u16(), reply.code());
        assert_eq!(said, (401, "step_up_required"), "{route:?}");
    }
    let both = by_app(&origin, &app, &root.access).await;
    let users = (Method::GET, "/api/v1/admin/users".to_owned());
    let rotate = (Method::POST, "/api/v1/admin/keys/rotate".to_owned());
    ask(&origin, &both, &users).await.expect(200, "");
    // Reading asks for a proof within the session, a change for one of the last minutes.
    origin.advance(901);
    ask(&origin, &both, &users).await.expect(200, "");
    ask(&origin, &both, &rotate)
        .await
        .expect(401, "step_up_required");
}

#[tokio::test]
async fn other_peoples_events_are_administration_wherever_they_are_read() {
    let origin = Origin::with(|config| config.access.require_mfa = Some(true)).await;
    let root = Person::new_admin(&origin, ROOT).await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let of = |person: &Person| {
        let path = format!("/api/v1/auth/security-events/{}", person.id);
        (Method::GET, path)
    };
    ask(&origin, &root.access, &of(&root)).await.expect(200, "");
    ask(&origin, &root.access, &of(&user))
        .await
        .expect(403, "mfa_required");
    ask(&origin, &user.access, &of(&root))
        .await
        .expect(404, "not_found");
    let (app, _) = enrol(&origin, &root.access).await;
    ask(&origin, &root.access, &of(&user))
        .await
        .expect(401, "step_up_required");
    let both = by_app(&origin, &app, &root.access).await;
    ask(&origin, &both, &of(&user)).await.expect(200, "");
    ask(&origin, &user.access, &of(&user)).await.expect(200, "");
}

#[test]
fn a_second_factor_is_required_in_production_unless_said_otherwise() {
    for (mode, set, required) in [
        (Mode::Development, None, false),
        (Mode::Production, None, true),
        (Mode::Development, Some(true), true),
        (Mode::Production, Some(false), false),
    ] {
        let mut config = Config {
            mode,
            ..Config::default()
        };
        config.access.require_mfa = set;
        assert_eq!(
            config.administrators_need_mfa(),
            required,
            "{mode:?} {set:?}"
        );
    }
}
