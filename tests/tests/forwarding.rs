//! What passes, passes unharmed: methods, bodies, redirects, CORS, cookies.

use edgekeep_tests::clock;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::server::Reply;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn method_query_headers_and_body_arrive_as_they_were_sent() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        let mut call = gate.call(method, "/api/things/1?a=b", &token);
        call = call
            .header("Content-Type", "application/json")
            .header("X-Own", "kept");
        if method != "GET" {
            call = call.body(format!("{{\"method\":\"{method}\"}}"));
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        assert_eq!(answer.text(), "from upstream");
        let seen = gate.upstream.take_one();
        assert_eq!(seen.method, method);
        assert_eq!(seen.target, "/api/things/1?a=b");
        assert_eq!(seen.header("x-own"), Some("kept"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        if method != "GET" {
            assert_eq!(seen.body, format!("{{\"method\":\"{method}\"}}").as_bytes());
        }
    }
    let answer = gate
        .call("HEAD", "/api/things/1", &token)
        .send()
        .await
        .unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(gate.upstream.take_one().method, "HEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_both_ways() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    let large: Vec<u8> = (0..1_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    gate.upstream
        .answer_with(|request| Reply::new(200, request.body.clone()));
    let answer = gate
        .call("POST", "/api/upload", &token)
        .body(large.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.body == large,
        "{} bytes came back",
        answer.body.len()
    );
    assert!(gate.upstream.take_one().body == large);
    let answer = gate
        .edge
        .call("PUT", "/public/upload")
        .body(large.clone())
        .send()
        .await
        .unwrap();
    assert!(answer.body == large);
    // A refusal does not depend on the body.
    let answer = gate
        .edge
        .call("POST", "/api/upload")
        .body(large)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.verdict(), (401, "token_missing".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_answer_is_passed_on_unfollowed() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    for status in [301, 302, 303, 307, 308] {
        gate.upstream.answer_with(move |_| {
            Reply::new(status, "moved").header("Location", "http://127.0.0.1:1/elsewhere")
        });
        let answer = gate.get("/api/me", &token).await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("location"),
            Some("http://127.0.0.1:1/elsewhere")
        );
        assert_eq!(gate.upstream.take().len(), 1);
    }
    for status in [201, 204, 304, 400, 401, 404, 418, 500, 503] {
        gate.upstream.answer_with(move |_| {
            Reply::new(status, "from upstream")
                .header("X-From", "upstream")
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2")
                .header("ETag", "\"e\"")
        });
        let answer = gate.get("/api/me", &token).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-from"), Some("upstream"), "{status}");
        let cookies = edgekeep_tests::http::find(&answer.headers, "set-cookie").count();
        assert_eq!(cookies, 2, "{status}");
        if !matches!(status, 204 | 304) {
            assert_eq!(answer.text(), "from upstream");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_down_is_a_502_and_comes_back() {
    let mut gate = Gate::start().await;
    let token = gate.good_token();
    assert_eq!(gate.get("/api/me", &token).await.status, 200);
    gate.upstream.stop().await;
    for target in ["/api/me", "/public/x"] {
        let answer = gate.get(target, &token).await;
        assert_eq!(answer.verdict(), (502, "upstream_unavailable".to_owned()));
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert!(
            !answer.text().contains("127.0.0.1"),
            "the upstream's address is nobody's business"
        );
    }
    // Who may not pass is told so, not what state the upstream is in.
    assert_eq!(gate.get("/api/me", "garbage").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_at_the_gate() {
    let gate = Gate::start().await;
    let ask = |target: &str, origin: &str, method: &str, headers: &str| {
        let call = gate.edge.call("OPTIONS", target).header("Origin", origin);
        let call = call.header("Access-Control-Request-Method", method);
        if headers.is_empty() {
            call
        } else {
            call.header("Access-Control-Request-Headers", headers)
        }
    };
    let app = "https://app.example";
    let answer = ask("/api/pages/1", app, "PUT", "content-type,authorization")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(app));
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    assert!(
        answer
            .header("access-control-allow-methods")
            .is_some_and(|v| v.contains("PUT"))
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .is_some_and(|v| v.contains("authorization"))
    );
    let vary: Vec<_> = edgekeep_tests::http::find(&answer.headers, "vary").collect();
    assert!(
        vary.join(",").to_ascii_lowercase().contains("origin"),
        "{vary:?}"
    );
    for (target, origin, method, headers) in [
        ("/api/pages/1", "https://evil.example", "PUT", ""),
        (
            "/api/pages/1",
            "https://app.example.evil.example",
            "PUT",
            "",
        ),
        ("/api/pages/1", "null", "PUT", ""),
        ("/api/pages/1", "http://app.example", "PUT", ""),
        ("/api/pages/1", app, "DELETE", ""),
        ("/api/pages/1", app, "PUT", "x-other"),
        ("/api/me", app, "GET", ""),
    ] {
        let answer = ask(target, origin, method, headers).send().await.unwrap();
        assert_ne!(answer.status, 204, "{target} {origin} {method} {headers}");
        // A page of another origin must not even read why it was refused.
        if origin != app || target == "/api/me" {
            assert_eq!(
                answer.header("access-control-allow-origin"),
                None,
                "{origin}"
            );
        }
    }
    assert!(
        gate.upstream.take().is_empty(),
        "no preflight reaches the upstream"
    );

    gate.upstream
        .answer_with(|_| Reply::new(200, "page").header("ETag", "\"e\""));
    let answer = gate
        .call("GET", "/api/pages/1", &gate.good_token())
        .header("Origin", app)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), Some(app));
    assert_eq!(answer.header("access-control-expose-headers"), Some("etag"));
    assert_eq!(answer.text(), "page");
    // The page may read why it was refused.
    let answer = gate
        .edge
        .call("GET", "/api/pages/1")
        .header("Origin", app)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some(app));
    let call = gate
        .call("GET", "/api/pages/1", &gate.good_token())
        .header("Origin", "https://evil.example");
    assert_eq!(
        call.send()
            .await
            .unwrap()
            .header("access-control-allow-origin"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_cookie_needs_the_pages_origin_to_change_anything() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    let cookie = format!("__Host-at={token}");
    let (ok, missing, malformed) = (
        (200, String::new()),
        (401, "token_missing".to_owned()),
        (401, "token_malformed".to_owned()),
    );
    let app = "https://app.example";
    for (method, cookies, origin, expected) in [
        ("GET", cookie.clone(), None, &ok),
        ("HEAD", cookie.clone(), None, &ok),
        ("GET", format!("a=1; {cookie}; b=2"), None, &ok),
        ("GET", cookie.clone(), Some("https://evil.example"), &ok),
        ("POST", cookie.clone(), Some(app), &ok),
        ("DELETE", cookie.clone(), Some(app), &ok),
        ("POST", cookie.clone(), None, &missing),
        ("POST", cookie.clone(), Some("null"), &missing),
        (
            "POST",
            cookie.clone(),
            Some("https://evil.example"),
            &missing,
        ),
        (
            "POST",
            cookie.clone(),
            Some("https://app.example.evil.example"),
            &missing,
        ),
        ("POST", cookie.clone(), Some("http://app.example"), &missing),
        ("GET", "a=1".to_owned(), None, &missing),
        ("GET", format!("__host-at={token}"), None, &missing),
        ("GET", "__Host-at=".to_owned(), None, &missing),
        ("GET", format!("{cookie}; {cookie}"), None, &malformed),
        ("GET", format!("__Host-at=\"{token}\""), None, &malformed),
    ] {
        let mut call = gate.edge.call(method, "/app/x").header("Cookie", &cookies);
        if let Some(origin) = origin {
            call = call.header("Origin", origin);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(&answer.verdict(), expected, "{method} {origin:?} {cookies}");
    }
    // A page of any origin may open a WebSocket, and browsers send the cookie along.
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let call = gate.edge.call("GET", "/app/x").header("Cookie", &cookie);
        let mut call = call
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade");
        call = call.header("Sec-WebSocket-Version", "13");
        call = call.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        if let Some(origin) = origin {
            call = call.header("Origin", origin);
        }
        assert_eq!(call.send().await.unwrap().verdict(), missing, "{origin:?}");
    }
    // Exactly one place: the header does not count here, nor the cookie elsewhere.
    assert_eq!(gate.get("/app/x", &token).await.verdict(), missing);
    let answer = gate
        .edge
        .call("GET", "/api/me")
        .header("Cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.verdict(), missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_only_reports_lets_pass_and_says_so_in_the_log() {
    let gate = Gate::start().await;
    let admin = gate.token(&json!({"roles": ["admin"]}));
    assert_eq!(gate.get("/api/trial/1", &admin).await.status, 200);
    assert_eq!(gate.upstream.take_one().header("x-user-id"), Some("user-1"));
    // Who lacks a role is known all the same; whose token does not count is nobody.
    let past = clock::now().0 - 1_000;
    let expired = gate.token(&json!({"iat": past - 900, "nbf": past - 900, "exp": past}));
    for (token, code, person) in [
        (gate.good_token(), "insufficient_role", Some("user-1")),
        (expired, "token_expired", None),
        ("garbage".to_owned(), "token_malformed", None),
    ] {
        assert_eq!(gate.get("/api/trial/1", &token).await.status, 200);
        let seen = gate.upstream.take_one();
        assert_eq!(seen.header("x-user-id"), person, "{code}");
        let said = clock::eventually(Duration::from_secs(2), || async {
            gate.edge
                .log()
                .iter()
                .any(|line| line.contains("\"report\"") && line.contains(code))
                .then_some(())
        });
        assert!(said.await.is_some(), "{code} is not in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_says_who_may_read_and_the_upstream_is_not_heard_beside_it() {
    const POLICY: &str = r#"
[[route]]
match = "/named/**"
access = "public"
[route.cors]
origins = ["https://app.example"]
methods = ["GET"]

[[route]]
match = "/all/**"
access = "public"
[route.cors]
origins = ["*"]

[[route]]
match = "/own/**"
access = "public"
"#;
    let gate = Gate::with(|_, variables| {
        variables.insert("POLICY", POLICY.to_owned());
    })
    .await;
    let (app, evil) = ("https://app.example", "https://evil.example");
    // One that lets in whoever asks.
    gate.upstream.answer_with(|request| {
        let origin = request.header("origin").unwrap_or_default();
        Reply::new(200, "page")
            .header("access-control-allow-origin", origin)
            .header("Access-Control-Allow-Credentials", "true")
            .header("Access-Control-Allow-Methods", "DELETE")
            .header("Access-Control-Allow-Headers", "x-other")
            .header("Access-Control-Expose-Headers", "x-secret")
            .header("Access-Control-Allow-Private-Network", "true")
    });
    for (method, path, origin, expected) in [
        ("GET", "/named/x", evil, None),
        ("GET", "/named/x", app, Some(app)),
        ("GET", "/all/x", evil, Some("*")),
        ("GET", "/all/x", "null", Some("*")),
        // A preflight that the rule does not allow goes on as what it is.
        ("OPTIONS", "/named/x", evil, None),
        ("OPTIONS", "/named/x", app, Some(app)),
    ] {
        let call = gate.edge.call(method, path).header("Origin", origin);
        let call = call.header("Access-Control-Request-Method", "DELETE");
        let answer = call.send().await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "page".to_owned()));
        let said: Vec<_> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
            .filter(|(name, _)| name.starts_with("access-control-"))
            .collect();
        let allowed = "access-control-allow-origin".to_owned();
        let expected = Vec::from_iter(expected.map(|value| (allowed, value)));
        assert_eq!(said, expected, "{method} {path} {origin}");
    }
    let call = gate.edge.call("GET", "/own/x").header("Origin", evil);
    let answer = call.send().await.unwrap();
    for (name, value) in [
        ("access-control-allow-origin", evil),
        ("access-control-allow-credentials", "true"),
    ] {
        assert_eq!(answer.header(name), Some(value), "no rule has a word on it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_pages_may_read_is_otherwise_unchanged() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    for status in [200, 204, 206, 302, 304, 404, 500] {
        gate.upstream.answer_with(move |_| {
            Reply::new(status, "from upstream")
                .header("Location", "/elsewhere")
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2")
                .header("Vary", "Accept")
                .header("Access-Control-Allow-Origin", "*")
        });
        let call = gate.call("GET", "/api/pages/1", &token);
        let answer = call
            .header("Origin", "https://app.example")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("location"), Some("/elsewhere"));
        let all = |name: &str| {
            let values = edgekeep_tests::http::find(&answer.headers, name);
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(all("set-cookie"), ["a=1", "b=2"], "{status}");
        // The rule decides who may read, not the upstream.
        assert_eq!(
            all("access-control-allow-origin"),
            ["https://app.example"],
            "{status}"
        );
        let vary = all("vary").join(", ");
        assert!(vary.contains("Accept") && vary.contains("Origin"), "{vary}");
        if !matches!(status, 204 | 304) {
            assert_eq!(answer.text(), "from upstream");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_cookie_is_cut_out_for_an_upstream_that_is_not_to_have_it() {
    let policy = r#"
        [[route]]
        match = "/theirs/**"
        token_from = { cookie = "at" }
        allowed_origins = ["https://app.example"]
        forward_authorization = false

        [[route]]
        match = "/ours/**"
        token_from = { cookie = "at" }
        allowed_origins = ["https://app.example"]
    "#;
    let gate = Gate::with(|_, variables| {
        variables.insert("POLICY", policy.to_owned());
    })
    .await;
    let token = gate.good_token();
    let all = format!("a=1; at={token}; b=2");
    let alone = format!("at={token}");
    for (target, cookies, arrives) in [
        ("/theirs/1", &all, Some("a=1; b=2")),
        ("/theirs/1", &alone, None),
        ("/ours/1", &all, Some(&*all)),
    ] {
        let call = gate.edge.call("GET", target).header("Cookie", cookies);
        assert_eq!(call.send().await.unwrap().status, 200, "{target}");
        let seen = gate.upstream.take_one();
        assert_eq!(seen.header("cookie"), arrives, "{target}");
        assert_eq!(seen.header("x-user-id"), Some("user-1"));
    }
}
