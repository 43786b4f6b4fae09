//! Browser mode: the refresh token in a cookie, and which pages may use it.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod person;
mod support;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use support::{Origin, Reply};

const APP: &str = "https://app.example.org";
const NAME: &str = "__Host-edgekeep_refresh";

async fn origin() -> Origin {
    Origin::with(|config| {
        config.server.public_url = Some("https://auth.example.org".into());
        config.browser.allowed_origins = vec![APP.into(), "https://admin.example.org:8443".into()];
    })
    .await
}

/// A `POST` of a page on `APP` in browser mode, with the cookie.
async fn post(origin: &Origin, route: &str, cookie: &str, body: &Value) -> Reply {
    let cookie = format!("theme=dark; {NAME}={cookie}");
    let headers = [
        ("origin", APP),
        ("x-refresh-mode", "cookie"),
        ("sec-fetch-site", "same-site"),
        ("cookie", &cookie),
    ];
    origin.post_from("127.0.0.1", &headers, route, body).await
}

async fn with(origin: &Origin, headers: &[(&str, &str)], route: &str, body: &Value) -> Reply {
    origin.post_from("127.0.0.1", headers, route, body).await
}

/// The one cookie that an answer sets: its value and its attributes.
#[track_caller]
fn set(headers: &HeaderMap) -> (String, String) {
    let all: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(all.len(), 1, "{headers:?}");
    let text = all[0].to_str().unwrap();
    let rest = text.strip_prefix(&format!("{NAME}=")).unwrap();
    let (value, attributes) = rest.split_once("; ").unwrap();
    (value.to_owned(), attributes.to_owned())
}

async fn refresh_token(origin: &Origin) -> String {
    let user = keep::user(&origin.state).await;
    keep::open(&origin.state, user).await.refresh_token
}

#[tokio::test]
async fn a_login_puts_the_refresh_token_into_the_cookie_alone() {
    let origin = origin().await;
    person::account(&origin).await;
    let plain = person::log_in(&origin, person::PASSWORD).await;
    assert!(plain.body["refresh_token"].is_string());
    assert!(plain.headers.get("set-cookie").is_none());

    let body = json!({ "identifier": person::EMAIL, "password": person::PASSWORD });
    let headers = [("origin", APP), ("x-refresh-mode", "cookie")];
    let reply = with(&origin, &headers, "/login", &body)
        .await
        .expect(200, "");
    assert!(reply.body.get("refresh_token").is_none());
    assert!(reply.body["access_token"].is_string());
    let (value, attributes) = set(&reply.headers);
    assert!(value.starts_with("ekr_"));
    assert_eq!(
        attributes,
        "Path=/; Max-Age=604800; HttpOnly; SameSite=Strict; Secure"
    );
}

#[tokio::test]
async fn a_refresh_rotates_the_cookie_and_an_old_one_ends_the_session() {
    let origin = origin().await;
    let first = refresh_token(&origin).await;
    let reply = post(&origin, "/refresh", &first, &json!({}))
        .await
        .expect(200, "");
    let (second, _) = set(&reply.headers);
    assert_ne!(first, second);
    // Two tabs that ask at once get the same successor.
    let again = post(&origin, "/refresh", &first, &json!({}))
        .await
        .expect(200, "");
    assert_eq!(set(&again.headers).0, second);

    origin.advance(11);
    let reused = post(&origin, "/refresh", &first, &json!({})).await;
    let reused = reused.expect(401, "refresh_reused");
    let (value, attributes) = set(&reused.headers);
    assert_eq!(value, "");
    assert!(attributes.contains("Max-Age=0"));
    let ended = post(&origin, "/refresh", &second, &json!({})).await;
    set(&ended.expect(401, "session_ended").headers);
}

#[tokio::test]
async fn logout_clears_the_cookie_and_the_cookie_alone_is_no_access() {
    let origin = origin().await;
    let token = refresh_token(&origin).await;
    let alone = post(&origin, "/logout", &token, &json!({})).await;
    let alone = alone.expect(401, "token_missing");
    assert!(alone.headers.get("set-cookie").is_none());
    let reply = post(&origin, "/refresh", &token, &json!({}))
        .await
        .expect(200, "");
    let bearer = format!("Bearer {}", reply.text("access_token"));
    let headers = [
        ("origin", APP),
        ("x-refresh-mode", "cookie"),
        ("authorization", &bearer),
    ];
    let reply = with(&origin, &headers, "/logout", &json!({}))
        .await
        .expect(204, "");
    assert_eq!(set(&reply.headers).0, "");
}

#[tokio::test]
async fn refuses_pages_that_are_not_listed_and_rotates_nothing() {
    let origin = origin().await;
    let token = refresh_token(&origin).await;
    let cookie = format!("{NAME}={token}");
    let mode = ("x-refresh-mode", "cookie");
    let from = |text| ("origin", text);
    let cookie_header = ("cookie", cookie.as_str());
    let rows: &[&[(&str, &str)]] = &[
        &[mode],
        &[mode, from("null")],
        &[mode, from("*")],
        &[mode, from("https://evil.test")],
        &[mode, from("https://app.example.org.evil.test")],
        &[mode, from("https://evil-app.example.org")],
        &[mode, from("https://x.app.example.org")],
        &[mode, from("https://APP.example.org")],
        &[mode, from("https://app.example.org:443")],
        &[mode, from("https://app.example.org/")],
        &[mode, from("https://admin.example.org")],
        &[mode, from("http://app.example.org")],
        &[mode, from(APP), from(APP)],
        &[mode, from(APP), from("https://evil.test")],
        &[mode, mode, from(APP)],
        &[("x-refresh-mode", "body"), from(APP)],
        &[mode, from(APP), ("sec-fetch-site", "cross-site")],
        &[mode, from(APP), ("sec-fetch-site", "none")],
        &[mode, from(APP), ("cookie", &cookie)],
        // Without the header the cookie is not looked at.
        &[from(APP)],
        &[],
    ];
    for row in rows {
        let mut headers = row.to_vec();
        headers.push(cookie_header);
        let reply = with(&origin, &headers, "/refresh", &json!({})).await;
        assert_eq!(reply.code(), "request_invalid", "{row:?}");
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{row:?}");
        assert!(reply.headers.get("set-cookie").is_none(), "{row:?}");
    }
    let both = post(
        &origin,
        "/refresh",
        &token,
        &json!({ "refresh_token": token }),
    )
    .await;
    both.expect(400, "request_invalid");
    // Past the grace the token is still the present one.
    origin.advance(60);
    post(&origin, "/refresh", &token, &json!({}))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_foreign_page_cannot_log_somebody_in() {
    let origin = origin().await;
    person::account(&origin).await;
    let body = json!({ "identifier": person::EMAIL, "password": person::PASSWORD });
    let headers = [
        ("origin", "https://evil.test"),
        ("x-refresh-mode", "cookie"),
    ];
    let reply = with(&origin, &headers, "/login", &body).await;
    assert!(reply.headers.get("set-cookie").is_none());
    reply.expect(400, "request_invalid");
}

async fn preflight(origin: &Origin, page: &str, path: &str) -> Reply {
    let request = Request::options(path)
        .header("origin", page)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-refresh-mode");
    origin.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn preflights_are_granted_to_listed_origins_on_the_routes_for_people() {
    let origin = origin().await;
    let refresh = "/api/v1/auth/refresh";
    for (page, path, granted) in [
        (APP, refresh, true),
        ("https://admin.example.org:8443", refresh, true),
        ("https://admin.example.org", refresh, false),
        ("https://evil.test", refresh, false),
        ("null", refresh, false),
        (APP, "/api/v1/admin/users", false),
        (APP, "/oauth/introspect", false),
    ] {
        let reply = preflight(&origin, page, path).await;
        let allowed = reply.headers.get("access-control-allow-origin");
        let credentials = reply.headers.get("access-control-allow-credentials");
        assert_eq!(allowed.is_some_and(|v| v == page), granted, "{page} {path}");
        assert_eq!(allowed.is_some(), granted, "{page} {path}");
        assert_eq!(credentials.is_some(), granted, "{page} {path}");
        let vary: Vec<_> = reply.headers.get_all("vary").iter().collect();
        assert!(vary.iter().any(|v| v.to_str().unwrap().contains("origin")));
    }
    let unset = Origin::new().await;
    preflight(&unset, APP, refresh)
        .await
        .expect(405, "request_invalid");
}
