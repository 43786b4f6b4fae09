//! Browser mode: the session in a cookie, and which pages may use it.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod page;
mod person;
mod support;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use page::{APP, Browser, REFRESH, cookies, only_refresh};
use serde_json::{Value, json};
use support::{Origin, Reply, all};

const MODE: (&str, &str) = ("x-refresh-mode", "cookie");

async fn origin() -> Origin {
    Origin::with(page::serve).await
}

async fn with(origin: &Origin, headers: &[(&str, &str)], route: &str, body: &Value) -> Reply {
    origin.post_from("127.0.0.1", headers, route, body).await
}

/// A browser in which somebody has logged in.
async fn logged_in(origin: &Origin) -> Browser {
    let user = keep::user(&origin.state).await;
    again(origin, user).await
}

async fn again(origin: &Origin, user: edgekeep_origin::ids::UserId) -> Browser {
    let tokens = keep::open(&origin.state, user).await;
    Browser {
        bearer: Some(tokens.access_token),
        ..Browser::with(&tokens.refresh_token)
    }
}

/// Whether a session can go on, which takes its next step where it can.
async fn goes_on(origin: &Origin, browser: &mut Browser) -> bool {
    let reply = browser.post(origin, "/refresh", &json!({})).await;
    reply.status == StatusCode::OK
}

#[tokio::test]
async fn without_the_header_tokens_are_in_the_body_and_no_cookie_is_set() {
    let origin = origin().await;
    person::account(&origin).await;
    let body = json!({ "identifier": person::EMAIL, "password": person::PASSWORD });
    for headers in [&[][..], &[("origin", APP)]] {
        let reply = with(&origin, headers, "/login", &body)
            .await
            .expect(200, "");
        assert!(reply.text("refresh_token").starts_with("ekr_"));
        assert!(reply.text("device_token").starts_with("ekd_"));
        assert_eq!(reply.headers["content-type"], "application/json");
        assert!(cookies(&reply.headers).is_empty());
    }
}

#[tokio::test]
async fn a_refresh_rotates_the_cookie_and_an_old_one_ends_the_session() {
    let origin = origin().await;
    let first = logged_in(&origin).await;
    let mut second = first.clone();
    assert!(goes_on(&origin, &mut second).await);
    assert_ne!(first.refresh_token(), second.refresh_token());
    // Two tabs that ask at once get the same successor.
    let mut other = first.clone();
    assert!(goes_on(&origin, &mut other).await);
    assert_eq!(other.refresh_token(), second.refresh_token());

    origin.advance(11);
    let reused = first.clone().post(&origin, "/refresh", &json!({})).await;
    let reused = only_refresh(&reused.expect(401, "refresh_reused"));
    assert_eq!(reused.value, "");
    assert!(reused.attributes.contains("Max-Age=0"));
    let ended = second.clone().post(&origin, "/refresh", &json!({})).await;
    let ended = only_refresh(&ended.expect(401, "session_ended"));
    assert_eq!(ended.value, "");
}

#[tokio::test]
async fn a_refresh_that_may_be_tried_again_leaves_the_cookie() {
    let origin = Origin::with(|config| {
        page::serve(config);
        config.limits.refresh_per_session_per_minute = 1;
    })
    .await;
    let mut browser = logged_in(&origin).await;
    assert!(goes_on(&origin, &mut browser).await);
    let reply = browser.post(&origin, "/refresh", &json!({})).await;
    assert!(cookies(&reply.expect(429, "rate_limited").headers).is_empty());
}

#[tokio::test]
async fn a_login_in_the_same_browser_ends_the_session_of_the_cookie_that_it_replaces() {
    let origin = origin().await;
    person::account(&origin).await;
    let login = json!({ "identifier": person::EMAIL, "password": person::PASSWORD });
    let wrong = json!({ "identifier": person::EMAIL, "password": "wrong password" });
    let before = logged_in(&origin).await;
    let mut browser = before.clone();
    let reply = browser.post(&origin, "/login", &wrong).await;
    assert!(cookies(&reply.expect(401, "credentials_invalid").headers).is_empty());
    assert!(goes_on(&origin, &mut browser).await);
    let bearer = browser.bearer.clone();
    browser
        .post(&origin, "/login", &login)
        .await
        .expect(200, "");
    // Its access tokens, too.
    let path = "/api/v1/auth/session";
    let reply = origin
        .call(Method::GET, path, bearer.as_deref(), None)
        .await;
    reply.expect(401, "token_revoked");
    let reply = before.clone().post(&origin, "/refresh", &json!({})).await;
    reply.expect(401, "session_ended");
    assert!(goes_on(&origin, &mut browser).await);
    // A cookie that is nothing keeps nobody out.
    for nothing in ["", "ekr_", "ekr_AAAA", "\"", "a=b"] {
        let reply = Browser::with(nothing).post(&origin, "/login", &login).await;
        reply.expect(200, "");
    }
}

/// What is sent to log out: the cookie is the first session's, the bearer by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearer {
    None,
    Own,
    Expired,
    Garbage,
    OfAnother,
}

#[tokio::test]
async fn logout_ends_whatever_the_browser_holds_and_needs_no_access_token_for_it() {
    for (bearer, all, others_end) in [
        (Bearer::None, false, false),
        (Bearer::None, true, true),
        (Bearer::Own, false, false),
        (Bearer::Own, true, true),
        (Bearer::Expired, false, false),
        (Bearer::Expired, true, true),
        (Bearer::Garbage, false, false),
        (Bearer::Garbage, true, true),
        // `all` is about the account of the token; of the cookie's, the session.
        (Bearer::OfAnother, false, false),
        (Bearer::OfAnother, true, false),
    ] {
        let row = format!("{bearer:?} {all}");
        let origin = origin().await;
        let user = keep::user(&origin.state).await;
        let mut browser = again(&origin, user).await;
        let mut elsewhere = again(&origin, user).await;
        let mut stranger = logged_in(&origin).await;
        let mut strangers_phone = stranger.clone();
        match bearer {
            Bearer::None => browser.bearer = None,
            Bearer::Own => {}
            Bearer::Expired => origin.advance(901),
            Bearer::Garbage => browser.bearer = Some("garbage".to_owned()),
            Bearer::OfAnother => browser.bearer.clone_from(&stranger.bearer),
        }
        let held = browser.clone();
        let reply = browser.post(&origin, "/logout", &json!({"all": all})).await;
        assert_eq!(only_refresh(&reply.expect(204, "")).value, "", "{row}");
        assert!(browser.jar.is_empty(), "{row}");
        let after = held.clone().post(&origin, "/refresh", &json!({})).await;
        assert_eq!(after.code(), "session_ended", "{row}");
        assert_eq!(goes_on(&origin, &mut elsewhere).await, !others_end, "{row}");
        let is_over = bearer == Bearer::OfAnother;
        assert_eq!(goes_on(&origin, &mut stranger).await, !is_over, "{row}");
        assert_eq!(
            goes_on(&origin, &mut strangers_phone).await,
            !is_over,
            "{row}"
        );
        // Again: there is nothing left to end, and nothing wrong with that.
        let again = Browser {
            bearer: None,
            ..held
        };
        let reply = again.clone().post(&origin, "/logout", &json!({})).await;
        assert_eq!(only_refresh(&reply.expect(204, "")).value, "", "{row}");
    }
}

#[tokio::test]
async fn a_cookie_that_is_not_good_ends_no_more_than_a_refresh_with_it_would() {
    let origin = origin().await;
    let user = keep::user(&origin.state).await;
    let all = json!({"all": true});
    let mut elsewhere = again(&origin, user).await;

    // Of a session that is over: nothing, and not every session of its owner.
    let ended = Browser {
        bearer: None,
        ..again(&origin, user).await
    };
    ended
        .clone()
        .post(&origin, "/logout", &json!({}))
        .await
        .expect(204, "");
    let reply = ended.clone().post(&origin, "/logout", &all).await;
    assert_eq!(only_refresh(&reply.expect(204, "")).value, "");
    assert!(goes_on(&origin, &mut elsewhere).await);

    // The one before, while an answer may have been lost.
    let old = Browser {
        bearer: None,
        ..again(&origin, user).await
    };
    assert!(goes_on(&origin, &mut old.clone()).await);
    old.clone()
        .post(&origin, "/logout", &json!({}))
        .await
        .expect(204, "");
    old.clone()
        .post(&origin, "/refresh", &json!({}))
        .await
        .expect(401, "session_ended");

    // Used up: somebody has a copy. That session, and the alarm.
    let stolen = Browser {
        bearer: None,
        ..again(&origin, user).await
    };
    let mut owner = stolen.clone();
    assert!(goes_on(&origin, &mut owner).await);
    origin.advance(11);
    let reuses = "SELECT COUNT(*) FROM audit_events WHERE kind = 'refresh_reuse'";
    assert_eq!(person::number(&origin, reuses).await, 0);
    let reply = stolen.clone().post(&origin, "/logout", &all).await;
    assert_eq!(only_refresh(&reply.expect(401, "refresh_reused")).value, "");
    assert_eq!(person::number(&origin, reuses).await, 1);
    assert!(!goes_on(&origin, &mut owner).await);
    assert!(goes_on(&origin, &mut elsewhere).await);

    // Nobody's.
    for nothing in ["ekr_", "ekr_AAAA", "garbage"] {
        let reply = Browser::with(nothing).post(&origin, "/logout", &all).await;
        assert_eq!(only_refresh(&reply.expect(204, "")).value, "");
    }
    assert!(goes_on(&origin, &mut elsewhere).await);
}

#[tokio::test]
async fn logout_without_cookie_or_browser_mode_asks_for_the_access_token() {
    let origin = origin().await;
    let browser = logged_in(&origin).await;
    let reply = Browser::default()
        .post(&origin, "/logout", &json!({}))
        .await;
    assert!(cookies(&reply.expect(401, "token_missing").headers).is_empty());
    let cookie = format!("{REFRESH}={}", browser.refresh_token());
    let cookie = ("cookie", cookie.as_str());
    for (headers, code) in [
        (&[cookie][..], "token_missing"),
        (&[cookie, ("origin", APP)], "token_missing"),
        (
            &[cookie, ("origin", "https://evil.test"), MODE],
            "request_invalid",
        ),
        (&[cookie, MODE], "request_invalid"),
        (
            &[
                cookie,
                MODE,
                ("origin", APP),
                ("sec-fetch-site", "cross-site"),
            ],
            "request_invalid",
        ),
    ] {
        let reply = with(&origin, headers, "/logout", &json!({})).await;
        assert_eq!(reply.code(), code, "{headers:?}");
        assert!(cookies(&reply.headers).is_empty(), "{headers:?}");
    }
    assert!(goes_on(&origin, &mut browser.clone()).await);
    // The cookie is no access to anything else.
    let headers = [cookie, MODE, ("origin", APP)];
    let reply = with(&origin, &headers, "/reauthenticate", &json!({})).await;
    reply.expect(401, "token_missing");
    // Two bearers are one that is not good, which keeps nobody from logging out by the cookie.
    let [a, b] = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    let without = with(&origin, &[cookie, a, b], "/logout", &json!({})).await;
    without.expect(401, "token_malformed");
    let headers = [cookie, MODE, ("origin", APP), a, b];
    let reply = with(&origin, &headers, "/logout", &json!({})).await;
    reply.expect(204, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tabs_that_refresh_at_once_and_one_that_logs_out_leave_no_session() {
    let origin = origin().await;
    let browser = logged_in(&origin).await;
    let tabs = (0..20).map(|n| {
        let mut tab = browser.clone();
        let origin = &origin;
        async move {
            let route = if n == 10 { "/logout" } else { "/refresh" };
            let reply = tab.post(origin, route, &json!({})).await;
            (n, reply.status.as_u16(), reply.code().to_owned(), tab)
        }
    });
    let mut holding = Vec::new();
    for (n, status, code, tab) in all(tabs).await {
        match (n, status, code.as_str()) {
            (10, 204, _) | (_, 401, "session_ended") => assert!(tab.jar.is_empty(), "{n}"),
            (_, 200, "") if n != 10 => holding.push(tab),
            _ => unreachable!("{n}: {status} {code}"),
        }
    }
    for mut tab in holding {
        assert!(!goes_on(&origin, &mut tab).await);
    }
    let reuses = "SELECT COUNT(*) FROM audit_events WHERE kind = 'refresh_reuse'";
    assert_eq!(person::number(&origin, reuses).await, 0);
}

#[tokio::test]
async fn refuses_pages_that_are_not_listed_and_rotates_nothing() {
    let origin = origin().await;
    let browser = logged_in(&origin).await;
    let token = browser.refresh_token().to_owned();
    let cookie = format!("{REFRESH}={token}");
    let from = |text| ("origin", text);
    let cookie_header = ("cookie", cookie.as_str());
    let rows: &[&[(&str, &str)]] = &[
        &[MODE],
        &[MODE, from("null")],
        &[MODE, from("*")],
        &[MODE, from("https://evil.test")],
        &[MODE, from("https://app.example.org.evil.test")],
        &[MODE, from("https://evil-app.example.org")],
        &[MODE, from("https://x.app.example.org")],
        &[MODE, from("https://APP.example.org")],
        &[MODE, from("https://app.example.org:443")],
        &[MODE, from("https://app.example.org/")],
        &[MODE, from("https://admin.example.org")],
        &[MODE, from("http://app.example.org")],
        &[MODE, from(APP), from(APP)],
        &[MODE, from(APP), from("https://evil.test")],
        &[MODE, MODE, from(APP)],
        &[("x-refresh-mode", "body"), from(APP)],
        &[MODE, from(APP), ("sec-fetch-site", "cross-site")],
        &[MODE, from(APP), ("sec-fetch-site", "none")],
        &[MODE, from(APP), ("cookie", &cookie)],
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
    let named = json!({ "refresh_token": token });
    let both = browser.clone().post(&origin, "/refresh", &named).await;
    both.expect(400, "request_invalid");
    // Past the grace the token is still the present one.
    origin.advance(60);
    assert!(goes_on(&origin, &mut browser.clone()).await);
}

/// A script that sends the header with whatever it asks is not held up: a `GET` to one's own host
/// has no `Origin`, and to no `GET` or `DELETE` a cookie means anything.
#[tokio::test]
async fn requests_that_have_nothing_to_do_with_cookies_are_not_refused_for_the_header() {
    let origin = origin().await;
    let browser = logged_in(&origin).await;
    let bearer = format!("Bearer {}", browser.bearer.as_deref().unwrap());
    for (method, route, headers, status) in [
        (
            "GET",
            "/session",
            &[("sec-fetch-site", "same-origin")][..],
            200,
        ),
        ("GET", "/session", &[("origin", APP)], 200),
        ("GET", "/session", &[("origin", "https://evil.test")], 200),
        ("GET", "/refresh", &[("origin", APP)], 405),
        ("DELETE", "/sessions", &[("origin", APP)], 204),
    ] {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/auth{route}"))
            .header("authorization", &bearer)
            .header("cookie", format!("{REFRESH}={}", browser.refresh_token()))
            .header(MODE.0, MODE.1);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = origin.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, status, "{method} {route} {headers:?}");
        assert!(cookies(&reply.headers).is_empty(), "{method} {route}");
    }
    // A page on the issuer's own host is one of a listed origin like any other.
    let cookie = format!("{REFRESH}={}", browser.refresh_token());
    let own = [
        MODE,
        ("origin", APP),
        ("sec-fetch-site", "same-origin"),
        ("cookie", &cookie),
    ];
    with(&origin, &own, "/refresh", &json!({}))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_foreign_page_cannot_log_somebody_in() {
    let origin = origin().await;
    person::account(&origin).await;
    let body = json!({ "identifier": person::EMAIL, "password": person::PASSWORD });
    let headers = [("origin", "https://evil.test"), MODE];
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
        (APP, "/.well-known/jwks.json", false),
    ] {
        let reply = preflight(&origin, page, path).await;
        let allowed = reply.headers.get("access-control-allow-origin");
        let credentials = reply.headers.get("access-control-allow-credentials");
        assert_eq!(allowed.is_some_and(|v| v == page), granted, "{page} {path}");
        assert_eq!(allowed.is_some(), granted, "{page} {path}");
        assert_eq!(credentials.is_some(), granted, "{page} {path}");
        assert!(varies_by_origin(&reply.headers), "{page} {path}");
    }
    let unset = Origin::new().await;
    preflight(&unset, APP, refresh)
        .await
        .expect(405, "request_invalid");
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    let mut vary = headers.get_all("vary").iter();
    vary.any(|value| value.to_str().unwrap().contains("origin"))
}
