//! What every answer tells a browser: not to sniff, frame, embed, store or pass it on.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod page;
mod person;
mod support;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use edgekeep_origin::config::Channel;
use page::{APP, Browser};
use serde_json::json;
use std::net::SocketAddr;
use support::{Origin, Reply};

/// What a row of the table expects beside what all have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// JSON, or nothing.
    Data,
    /// A document that caches may keep.
    Published,
    /// One that pages of any origin may read, besides.
    Public,
    /// HTML with a style of its own.
    Page,
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "127.0.0.1:8080")
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))))
}

async fn send(origin: &Origin, method: &str, path: &str) -> Reply {
    let body = Body::empty();
    origin.send(request(method, path).body(body).unwrap()).await
}

#[track_caller]
fn check(what: &str, reply: &Reply, is: Is, is_tls: bool) {
    // Each once: two that contradict each other are whichever a browser likes.
    let one = |name: &str| {
        let mut values = reply.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{what}: {name} twice");
        value
    };
    assert_eq!(one("x-content-type-options"), Some("nosniff"), "{what}");
    assert_eq!(one("referrer-policy"), Some("no-referrer"), "{what}");
    assert_eq!(one("x-frame-options"), Some("DENY"), "{what}");
    let (embedding, reading) = match is {
        Is::Public => ("cross-origin", Some("*")),
        _ => ("same-origin", None),
    };
    assert_eq!(
        one("cross-origin-resource-policy"),
        Some(embedding),
        "{what}"
    );
    // Where CORS let a page in, the test of the page looks at whom it names.
    let named = one("access-control-allow-origin").filter(|origin| *origin != APP);
    assert_eq!(named, reading, "{what}");
    if is == Is::Public {
        // Not with anybody's cookies, and as the same to all: no cache keeps one for each page.
        assert_eq!(one("access-control-allow-credentials"), None, "{what}");
    }
    assert!(one("x-request-id").is_some(), "{what}");
    let hsts = is_tls.then_some("max-age=31536000; includeSubDomains");
    assert_eq!(one("strict-transport-security"), hsts, "{what}");

    let policy = one("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; "),
        "{what}: {policy}"
    );
    assert!(
        policy.ends_with("frame-ancestors 'none'"),
        "{what}: {policy}"
    );
    let may_style = policy.contains("style-src 'sha256-");
    assert_eq!(may_style, is == Is::Page, "{what}: {policy}");
    assert!(
        !policy.contains("unsafe") && !policy.contains("script"),
        "{what}: {policy}"
    );

    let cache = one("cache-control").unwrap();
    match is {
        Is::Data => assert_eq!(cache, "no-store", "{what}"),
        Is::Public if what.contains("revocations") => assert_eq!(cache, "no-cache", "{what}"),
        Is::Page | Is::Published | Is::Public => {
            assert!(cache.contains("max-age"), "{what}: {cache}");
        }
    }
    let is_page = is == Is::Page;
    let opener = one("cross-origin-opener-policy");
    assert_eq!(opener, is_page.then_some("same-origin"), "{what}");
    let uses = one("permissions-policy");
    assert_eq!(uses.is_some(), is_page, "{what}");
    if let Some(uses) = uses {
        for feature in uses.split(", ") {
            assert!(feature.ends_with("=()"), "{feature}");
        }
    }
    for name in ["server", "x-powered-by"] {
        assert_eq!(one(name), None, "{what}");
    }
}

#[tokio::test]
async fn every_answer_says_how_it_may_be_used() {
    for is_tls in [true, false] {
        let origin = Origin::with(|config| {
            page::serve(config);
            if !is_tls {
                config.server.public_url = Some("http://localhost:8080".into());
            }
            config.notify.email = Channel::File;
        })
        .await;
        for (method, path, status, is) in [
            ("GET", "/health", 200, Is::Data),
            ("HEAD", "/health", 200, Is::Data),
            ("GET", "/ready", 200, Is::Data),
            ("GET", "/metrics", 200, Is::Data),
            ("GET", "/.well-known/jwks.json", 200, Is::Public),
            ("GET", "/.well-known/revocations", 200, Is::Public),
            ("GET", "/.well-known/openid-configuration", 200, Is::Public),
            (
                "GET",
                "/.well-known/oauth-authorization-server",
                200,
                Is::Public,
            ),
            ("GET", "/openapi.json", 200, Is::Published),
            ("GET", "/docs", 200, Is::Page),
            ("GET", "/nothing", 404, Is::Data),
            ("GET", "/%ff", 404, Is::Data),
            ("PATCH", "/health", 405, Is::Data),
            ("GET", "/api/v1/auth/session", 401, Is::Data),
            ("GET", "/api/v1/auth/lock-status/%ff", 400, Is::Data),
            ("POST", "/api/v1/auth/login", 400, Is::Data),
            ("GET", "/api/v1/auth/captcha", 400, Is::Data),
            ("OPTIONS", "/api/v1/auth/login", 200, Is::Data),
        ] {
            let what = format!("{method} {path}, TLS {is_tls}");
            let reply = send(&origin, method, path).await;
            assert_eq!(reply.status, status, "{what}: {:?}", reply.body);
            check(&what, &reply, is, is_tls);
        }
        let outbox = send(&origin, "GET", "/dev/outbox").await;
        assert_eq!(outbox.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(outbox.headers["cache-control"], "no-store");
        assert_eq!(outbox.headers["cross-origin-opener-policy"], "same-origin");

        // What is not known again is sent with the policy that it was sent with.
        let tag = send(&origin, "GET", "/docs").await.headers["etag"].clone();
        let again = request("GET", "/docs").header(header::IF_NONE_MATCH, tag);
        let again = origin.send(again.body(Body::empty()).unwrap()).await;
        assert_eq!(again.status, 304);
        let policy = again.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("style-src 'sha256-"), "{policy}");
    }
}

/// With `Origin`, of a page that is listed or not; whole, or not again.
#[tokio::test]
async fn every_page_reads_what_tokens_are_verified_with_and_nothing_else() {
    let origin = Origin::with(page::serve).await;
    for page in [APP, "https://elsewhere.example", "null"] {
        for path in [
            "/.well-known/jwks.json",
            "/.well-known/revocations",
            "/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server",
        ] {
            let ask = |tag: &str| {
                let request = request("GET", path)
                    .header(header::ORIGIN, page)
                    .header(header::IF_NONE_MATCH, tag);
                origin.send(request.body(Body::empty()).unwrap())
            };
            let reply = ask("\"x\"").await;
            assert_eq!(reply.status, 200, "{path}");
            check(&format!("{path} for {page}"), &reply, Is::Public, true);
            let tag = reply.headers["etag"].to_str().unwrap().to_owned();
            let reply = ask(&tag).await;
            assert_eq!(reply.status, 304, "{path}");
            check(
                &format!("{path} again for {page}"),
                &reply,
                Is::Public,
                true,
            );
        }
        for path in ["/health", "/openapi.json", "/nothing"] {
            let request = request("GET", path).header(header::ORIGIN, page);
            let reply = origin.send(request.body(Body::empty()).unwrap()).await;
            let named = reply.headers.get("access-control-allow-origin");
            assert_eq!(named, None, "{path} for {page}");
        }
    }
}

#[tokio::test]
async fn answers_with_tokens_to_a_page_and_to_anybody_else_say_it_too() {
    let origin = Origin::with(page::serve).await;
    person::account(&origin).await;
    let login = json!({"identifier": person::EMAIL, "password": person::PASSWORD});
    check(
        "plain login",
        &origin.post("/login", login.clone()).await,
        Is::Data,
        true,
    );
    let mut browser = Browser::default();
    let reply = browser
        .post(&origin, "/login", &login)
        .await
        .expect(200, "");
    check("login of a page", &reply, Is::Data, true);
    // A script that was let in by CORS is not kept out by what is meant for others.
    assert_eq!(reply.headers["access-control-allow-origin"], APP);
    let reply = browser
        .post(&origin, "/logout", &json!({}))
        .await
        .expect(204, "");
    check("logout of a page", &reply, Is::Data, true);
    let reply = browser.post(&origin, "/refresh", &json!({})).await;
    check("refused refresh of a page", &reply, Is::Data, true);

    let long = json!({"identifier": "x".repeat(1 << 20), "password": "x"});
    let reply = origin
        .call(Method::POST, "/api/v1/auth/login", None, Some(long))
        .await;
    assert_eq!(reply.status, 413);
    check("a long body", &reply, Is::Data, true);
}
