//! A person with an authenticator app, for tests of second factors.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![allow(dead_code, reason = "each test file uses a part of this")]

use axum::http::Method;
use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::vault::Secret;
use serde_json::{Value, json};

use crate::support::{Origin, Reply};

pub(crate) const EMAIL: &str = "alice@example.org";
pub(crate) const PHONE: &str = "+41791234567";
pub(crate) const NAME: &str = "alice";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// The route of an action.
pub(crate) fn auth(route: &str) -> String {
    format!("/api/v1/auth{route}")
}

/// An account with a proved mail address and number, a user name and a password.
pub(crate) async fn account(origin: &Origin) {
    let state = &origin.state;
    let secret = Secret::new(PASSWORD.to_owned());
    let phc = state.hasher.hash(&secret).await.unwrap();
    let identifiers = [
        (Identifier::email(EMAIL).unwrap(), true),
        (Identifier::phone(PHONE, None).unwrap(), true),
        (Identifier::username(NAME).unwrap(), true),
    ];
    let mut tx = state.db.write().await.unwrap();
    let new = NewAccount {
        identifiers: &identifiers,
        password: Some(&phc),
        name: None,
        roles: &[],
        permissions: &[],
        customer_id: None,
        kyc_level: 0,
    };
    accounts::create(state, &mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
}

pub(crate) async fn log_in(origin: &Origin, password: &str) -> Reply {
    let body = json!({"identifier": EMAIL, "password": password, "device_id": "laptop"});
    origin.post("/login", body).await
}

/// The access token of a login without second factor.
pub(crate) async fn bearer(origin: &Origin) -> String {
    let reply = log_in(origin, PASSWORD).await.expect(200, "");
    reply.text("access_token").to_owned()
}

/// The token of a login's first step.
pub(crate) async fn first_step(origin: &Origin) -> String {
    let reply = log_in(origin, PASSWORD).await.expect(200, "");
    assert_eq!(reply.body["mfa_required"], true, "{:?}", reply.body);
    reply.text("mfa_token").to_owned()
}

pub(crate) async fn second_step(origin: &Origin, token: &str, method: &str, code: &str) -> Reply {
    let body = json!({"mfa_token": token, "method": method, "code": code});
    origin.post("/login/mfa", body).await
}

pub(crate) async fn call(
    origin: &Origin,
    method: Method,
    route: &str,
    bearer: &str,
    body: Option<Value>,
) -> Reply {
    origin.call(method, &auth(route), Some(bearer), body).await
}

/// An authenticator app.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) secret: String,
}

impl App {
    /// The code of the step `offset` steps from now.
    pub(crate) fn code(&self, origin: &Origin, offset: i64) -> String {
        let secret = base32::decode(base32::Alphabet::Rfc4648 { padding: false }, &self.secret);
        let totp = totp_rs::Builder::new()
            .with_secret(secret.unwrap())
            .build()
            .unwrap();
        let second = origin.clock.now().unix_seconds() + 30 * offset;
        totp.generate(second.try_into().unwrap()).to_string()
    }

    /// A code that is good for none of the steps around now.
    pub(crate) fn wrong(&self, origin: &Origin, n: u32) -> String {
        let good: Vec<String> = (-2..=2).map(|step| self.code(origin, step)).collect();
        (0..1_000_000)
            .map(|m| format!("{:06}", (n * 7 + m) % 1_000_000))
            .find(|code| !good.contains(code))
            .unwrap()
    }
}

/// Sets an app up in the session of `bearer`; recovery codes come with it.
pub(crate) async fn enrol(origin: &Origin, bearer: &str) -> (App, Vec<String>) {
    let shown = call(origin, Method::POST, "/mfa/totp", bearer, None)
        .await
        .expect(200, "");
    let app = App {
        secret: shown.text("secret").to_owned(),
    };
    let body = json!({"code": app.code(origin, 0)});
    let confirmed = call(
        origin,
        Method::POST,
        "/mfa/totp/confirm",
        bearer,
        Some(body),
    )
    .await
    .expect(200, "");
    let codes = recovery_codes(&confirmed);
    assert_eq!(codes.len(), 10);
    // The code that confirmed is used up; the next step has another.
    origin.advance(30);
    (app, codes)
}

pub(crate) fn recovery_codes(reply: &Reply) -> Vec<String> {
    let codes = reply.body["recovery_codes"].as_array().unwrap();
    codes
        .iter()
        .map(|code| code.as_str().unwrap().to_owned())
        .collect()
}

/// An account with an app, and the app and its recovery codes.
pub(crate) async fn with_app(origin: &Origin) -> (App, Vec<String>) {
    account(origin).await;
    let bearer = bearer(origin).await;
    enrol(origin, &bearer).await
}

/// Logs in with both factors.
pub(crate) async fn log_in_fully(origin: &Origin, app: &App) -> Reply {
    let token = first_step(origin).await;
    let code = app.code(origin, 0);
    let reply = second_step(origin, &token, "totp", &code)
        .await
        .expect(200, "");
    origin.advance(30);
    reply
}

/// The claims of an access token.
pub(crate) async fn claims(origin: &Origin, reply: &Reply) -> Value {
    let bearer = reply.text("access_token");
    call(origin, Method::GET, "/token-info", bearer, None)
        .await
        .expect(200, "")
        .body
}

/// The token behind `page` in the newest message to `to`.
pub(crate) fn link(origin: &Origin, to: &str, page: &str) -> Option<String> {
    let text = origin.message(to)?.text;
    let (_, rest) = text.split_once(&format!("{page}#token="))?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// One number that SQL answers.
pub(crate) async fn number(origin: &Origin, sql: &'static str) -> i64 {
    let mut reader = origin.state.db.read().await.unwrap();
    sqlx::query_scalar(sql)
        .fetch_one(&mut *reader)
        .await
        .unwrap()
}
