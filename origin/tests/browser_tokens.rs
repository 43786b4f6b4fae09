//! Every answer with tokens, in browser mode: what outlives the page is in cookies and nowhere else.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod authenticator;
mod idp;
mod page;
mod person;
mod support;

use std::collections::BTreeSet;

use authenticator::Authenticator;
use axum::http::Method;
use edgekeep_origin::ids::SessionId;
use idp::{Idp, returned, start};
use page::{Browser, DEVICE, REFRESH, cookies};
use person::{EMAIL, PASSWORD, call, enrol};
use serde_json::{Value, json};
use support::Origin;

const ATTRIBUTES: &str = "HttpOnly; SameSite=Strict; Secure";

/// An answer with tokens as a page may see it; `Login` makes the browser a trusted device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Login,
    Renewal,
}

/// The origin, and the routes that have answered tokens.
struct House {
    origin: Origin,
    seen: BTreeSet<String>,
}

impl House {
    /// Expects tokens of `route`, and that the browser can go on with what it holds.
    async fn tokens(&mut self, browser: &mut Browser, route: &str, body: &Value, kind: Kind) {
        let reply = browser.post(&self.origin, route, body).await;
        let reply = reply.expect(200, "");
        self.seen.insert(route.to_owned());
        assert_eq!(reply.headers["content-type"], "application/json", "{route}");
        assert_eq!(reply.headers["cache-control"], "no-store", "{route}");
        let text = reply.body.to_string();
        assert!(
            !text.contains("ekr_") && !text.contains("ekd_"),
            "{route}: {text}"
        );
        let members: Vec<&String> = reply.body.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            [
                "access_token",
                "expires_in",
                "refresh_expires_in",
                "session_id",
                "token_type",
                "user"
            ],
            "{route}"
        );
        let set = cookies(&reply.headers);
        let refresh = &set[REFRESH];
        assert!(refresh.value.starts_with("ekr_"), "{route}");
        let week = format!("Path=/; Max-Age=604800; {ATTRIBUTES}");
        assert_eq!(refresh.attributes, week, "{route}");
        assert_eq!(set.contains_key(DEVICE), kind == Kind::Login, "{route}");
        if let Some(device) = set.get(DEVICE) {
            assert!(device.value.starts_with("ekd_"), "{route}");
            let days = format!("Path=/; Max-Age=7776000; {ATTRIBUTES}");
            assert_eq!(device.attributes, days, "{route}");
        }
        // What the cookie holds is what the answer is about.
        let mut reloaded = Browser::with(browser.refresh_token());
        let next = reloaded.post(&self.origin, "/refresh", &json!({})).await;
        let next = next.expect(200, "");
        assert_eq!(next.body["session_id"], reply.body["session_id"], "{route}");
        browser
            .jar
            .insert(REFRESH.to_owned(), reloaded.refresh_token().to_owned());
    }
}

/// The routes whose answer, by the document, can be tokens.
async fn documented(origin: &Origin) -> BTreeSet<String> {
    let document = origin.get("/openapi.json").await.body;
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            let name = schema["$ref"].as_str().unwrap_or_default();
            if ["Tokens", "LoggedIn"]
                .iter()
                .any(|kind| name.ends_with(&format!("/{kind}")))
            {
                let route = path.strip_prefix("/api/v1/auth").unwrap();
                routes.insert(route.to_owned());
            }
        }
    }
    routes
}

async fn register_passkey(origin: &Origin, bearer: &str, passkey: &mut Authenticator) {
    let begun = call(origin, Method::POST, "/passkeys/registration", bearer, None).await;
    let begun = begun.expect(200, "");
    let body = json!({
        "passkey_token": begun.text("passkey_token"),
        "credential": passkey.create(&begun.body["options"]),
        "name": "laptop",
    });
    let added = call(origin, Method::POST, "/passkeys", bearer, Some(body)).await;
    added.expect(200, "");
}

#[tokio::test]
async fn no_answer_with_tokens_lets_a_script_read_what_outlives_its_page() {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| {
        page::serve(config);
        idp::add(config, "acme", &idp.issuer);
    })
    .await;
    person::account(&origin).await;
    let mut house = House {
        origin,
        seen: BTreeSet::new(),
    };
    let login = json!({"identifier": EMAIL, "password": PASSWORD});

    let mut new = Browser::default();
    let body = json!({"email": "bob@example.org", "password": PASSWORD});
    let reply = new.post(&house.origin, "/register", &body).await;
    reply.expect(202, "");
    let body = json!({"email": "bob@example.org", "code": house.origin.code("bob@example.org")});
    house
        .tokens(&mut new, "/register/verify", &body, Kind::Login)
        .await;

    let mut by_code = Browser::default();
    let sent = by_code
        .post(&house.origin, "/otp/send", &json!({"email": EMAIL}))
        .await;
    let sent = sent.expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": house.origin.code(EMAIL)});
    house
        .tokens(&mut by_code, "/otp/verify", &body, Kind::Login)
        .await;

    let mut browser = Browser::default();
    house
        .tokens(&mut browser, "/login", &login, Kind::Login)
        .await;
    house
        .tokens(&mut browser, "/refresh", &json!({}), Kind::Renewal)
        .await;
    let proof = json!({"method": "password", "password": PASSWORD});
    house
        .tokens(&mut browser, "/reauthenticate", &proof, Kind::Renewal)
        .await;

    let mut elsewhere = Browser::default();
    let flow = start(&house.origin, "acme").await;
    elsewhere.keep(flow.cookie.as_deref().unwrap());
    let more = json!({"email": "carol@example.org", "email_verified": true});
    let back = idp.log_in(&house.origin, &flow, "1", more).await;
    let body = json!({"code": returned(&back, "code")});
    let before = elsewhere.jar.len();
    let reply = elsewhere
        .clone()
        .post(&house.origin, "/social/exchange", &body)
        .await;
    // The flow's own cookie is cleared beside ours being set.
    assert_eq!((before, cookies(&reply.headers).len()), (1, 3));
    house.origin.advance(1);
    let flow = start(&house.origin, "acme").await;
    elsewhere.keep(flow.cookie.as_deref().unwrap());
    let back = idp.log_in(&house.origin, &flow, "1", json!({})).await;
    let body = json!({"code": returned(&back, "code")});
    // The browser that logs in there again is the device that it was.
    let device = cookies(&reply.headers)[DEVICE].value.clone();
    elsewhere.jar.insert(DEVICE.to_owned(), device.clone());
    house
        .tokens(&mut elsewhere, "/social/exchange", &body, Kind::Login)
        .await;
    assert_eq!(elsewhere.jar[DEVICE], device);

    let bearer = browser.bearer.clone().unwrap();
    let (app, _) = enrol(&house.origin, &bearer).await;
    let mut second = Browser::default();
    let first = second
        .post(&house.origin, "/login", &login)
        .await
        .expect(200, "");
    assert!(cookies(&first.headers).is_empty());
    let code = app.code(&house.origin, 0);
    let body = json!({"mfa_token": first.text("mfa_token"), "method": "totp", "code": code});
    house
        .tokens(&mut second, "/login/mfa", &body, Kind::Login)
        .await;

    let mut passkey = Authenticator::new(7);
    let bearer = second.bearer.clone().unwrap();
    register_passkey(&house.origin, &bearer, &mut passkey).await;
    let mut by_passkey = Browser::default();
    let begun = by_passkey
        .post(&house.origin, "/login/passkey/begin", &json!({}))
        .await;
    let begun = begun.expect(200, "");
    let credential = passkey.get(&begun.body["options"]);
    let body = json!({"passkey_token": begun.text("passkey_token"), "credential": credential});
    house
        .tokens(&mut by_passkey, "/login/passkey", &body, Kind::Login)
        .await;

    assert_eq!(house.seen, documented(&house.origin).await);
}

#[tokio::test]
async fn other_answers_pass_as_they_are_however_long() {
    let origin = Origin::with(page::serve).await;
    person::account(&origin).await;
    let mut browser = Browser::default();
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    let reply = browser
        .post(&origin, "/login", &login)
        .await
        .expect(200, "");
    let session: SessionId = reply.text("session_id").parse().unwrap();
    // Two megabytes about oneself.
    Browser::default()
        .post(&origin, "/login", &login)
        .await
        .expect(200, "");
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query(
        "UPDATE sessions SET ended_at = 0 + last_used_at, ended_reason = $1 WHERE id <> $2",
    )
    .bind("x".repeat(2 << 20))
    .bind(session)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let bearer = format!("Bearer {}", browser.bearer.unwrap());
    let headers = [("origin", page::APP), ("authorization", &bearer)];
    let path = "/api/v1/auth/account/export";
    let mode = [&headers[..], &[("x-refresh-mode", "cookie")]].concat();
    for headers in [&headers[..], &mode] {
        let reply = idp::send(&origin, Method::GET, path, headers, None).await;
        let reply = reply.expect(200, "");
        assert!(reply.body.to_string().len() > 2 << 20);
        assert_eq!(reply.body["account"]["email"], EMAIL);
        assert!(cookies(&reply.headers).is_empty());
    }
}

#[tokio::test]
async fn the_browser_is_a_trusted_device_by_its_cookie_alone() {
    let origin = Origin::with(page::serve).await;
    person::account(&origin).await;
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    let wrong = json!({"identifier": EMAIL, "password": "wrong password"});
    let mut browser = Browser::default();
    browser
        .post(&origin, "/login", &login)
        .await
        .expect(200, "");
    let device = browser.jar[DEVICE].clone();

    // Strangers lock the account, and not this browser.
    for _ in 0..5 {
        let reply = Browser::default().post(&origin, "/login", &wrong).await;
        reply.expect(401, "credentials_invalid");
        origin.advance(31);
    }
    let stranger = Browser::default().post(&origin, "/login", &login).await;
    assert!(cookies(&stranger.headers).is_empty());
    stranger.expect(423, "account_locked");
    let reply = browser
        .post(&origin, "/login", &login)
        .await
        .expect(200, "");
    assert_eq!(cookies(&reply.headers)[DEVICE].value, device);

    // Without browser mode the cookie is not looked at.
    let cookie = format!("{DEVICE}={device}");
    let headers = [("origin", page::APP), ("cookie", cookie.as_str())];
    let plain = origin
        .post_from("127.0.0.1", &headers, "/login", &login)
        .await;
    plain.expect(423, "account_locked");
    // In browser mode a body that has one is a mistake, whatever the cookie holds.
    let mut named = login.clone();
    named["device_token"] = json!(device);
    for mut browser in [browser.clone(), Browser::default()] {
        let reply = browser.post(&origin, "/login", &named).await;
        reply.expect(400, "request_invalid");
    }
    // Twice is not to be told apart.
    let twice = format!("{cookie}; {cookie}");
    let mode = ("x-refresh-mode", "cookie");
    let headers = [("origin", page::APP), mode, ("cookie", twice.as_str())];
    let reply = origin
        .post_from("127.0.0.1", &headers, "/login", &login)
        .await;
    reply.expect(400, "request_invalid");
}

#[tokio::test]
async fn the_browser_is_that_device_however_somebody_logs_in() {
    let origin = Origin::with(page::serve).await;
    person::account(&origin).await;
    let mut browser = Browser::default();
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    let reply = browser.post(&origin, "/login", &login).await;
    reply.expect(200, "");
    let device = browser.jar[DEVICE].clone();

    // Strangers use up what they may have sent; a page without the cookie is one of them.
    let body = json!({"email": EMAIL});
    for status in [200, 200, 200, 429] {
        let reply = Browser::default().post(&origin, "/otp/send", &body).await;
        assert_eq!(reply.status, status);
    }
    let sent = browser.post(&origin, "/otp/send", &body).await;
    let sent = sent.expect(200, "");
    let code = json!({"otp_token": sent.text("otp_token"), "code": origin.code(EMAIL)});
    let reply = browser.post(&origin, "/otp/verify", &code).await;
    let reply = reply.expect(200, "");
    assert_eq!(cookies(&reply.headers)[DEVICE].value, device);

    let mut passkey = Authenticator::new(7);
    let bearer = browser.bearer.clone().unwrap();
    register_passkey(&origin, &bearer, &mut passkey).await;
    for _ in 0..5 {
        origin.advance(31);
        let wrong = json!({"identifier": EMAIL, "password": "wrong password"});
        Browser::default().post(&origin, "/login", &wrong).await;
    }
    let begun = browser
        .post(&origin, "/login/passkey/begin", &json!({}))
        .await;
    let begun = begun.expect(200, "");
    let credential = passkey.get(&begun.body["options"]);
    let assertion = json!({
        "passkey_token": begun.text("passkey_token"), "credential": credential,
    });
    let reply = browser.post(&origin, "/login/passkey", &assertion).await;
    let reply = reply.expect(200, "");
    assert_eq!(cookies(&reply.headers)[DEVICE].value, device);

    // A body that has one beside is a mistake wherever one is taken.
    for (route, mut body) in [
        ("/login", login),
        ("/otp/send", body),
        ("/otp/verify", code),
        ("/login/passkey", assertion),
        (
            "/register/verify",
            json!({"email": EMAIL, "code": "000000"}),
        ),
        ("/social/exchange", json!({"code": "eks_nothing"})),
    ] {
        body["device_token"] = json!(device);
        for mut browser in [browser.clone(), Browser::default()] {
            let reply = browser.post(&origin, route, &body).await;
            reply.expect(400, "request_invalid");
        }
    }
}
