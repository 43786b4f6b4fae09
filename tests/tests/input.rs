//! Any bytes get a clear refusal with a stable code, never a fault.

use edgekeep_tests::http::{self, Answer};
use edgekeep_tests::origin::Origin;
use serde_json::json;

/// The codes of the contract that an origin may give.
const CODES: &[&str] = &[
    "token_missing",
    "token_malformed",
    "token_too_large",
    "token_revoked",
    "credentials_invalid",
    "account_locked",
    "code_invalid",
    "code_expired",
    "refresh_invalid",
    "refresh_reused",
    "session_ended",
    "request_invalid",
    "request_too_large",
    "not_found",
    "conflict",
    "rate_limited",
    "key_unknown",
    "algorithm_not_allowed",
    "signature_invalid",
];

const ROUTES: &[(&str, &str)] = &[
    ("POST", "/api/v1/auth/register"),
    ("POST", "/api/v1/auth/register/verify"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/otp/send"),
    ("POST", "/api/v1/auth/otp/verify"),
    ("POST", "/api/v1/auth/refresh"),
    ("POST", "/api/v1/auth/logout"),
    ("POST", "/api/v1/auth/forgot-password"),
    ("POST", "/api/v1/auth/reset-password"),
    ("POST", "/api/v1/auth/change-password"),
    ("PUT", "/api/v1/auth/profile"),
    ("POST", "/api/v1/auth/validate-token"),
    ("POST", "/api/v1/auth/revoke-token"),
    ("POST", "/oauth/introspect"),
    ("POST", "/oauth/revoke"),
];

fn check_refusal(answer: &Answer, context: &str) {
    let text = answer.text();
    assert!(
        (400..500).contains(&answer.status),
        "{context}: {} {text}",
        answer.status
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{context}: {text}"
    );
    let body = answer.json();
    assert!(
        CODES.contains(&body["code"].as_str().unwrap_or_default()),
        "{context}: {text}"
    );
    assert_eq!(body["status"], answer.status, "{context}");
    for member in ["type", "title", "detail", "instance"] {
        assert!(body[member].is_string(), "{context}: {member} of {text}");
    }
    assert_eq!(
        answer.header("x-request-id"),
        body["instance"].as_str(),
        "{context}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_makes_the_origin_fail() {
    let origin = Origin::start().await;
    let tokens = origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let mut bodies: Vec<(&str, Vec<u8>)> = [
        "{", "}", "[]", "null", "true", "\"x\"", "1e999", "-", "{}", "{\"\":1}", "{\"unknown_field\":1}",
        r#"{"email":1,"identifier":1,"refresh_token":1,"token":1,"otp_token":1,"all":1,"name":1,"current_password":1}"#,
        r#"{"email":{},"identifier":[],"refresh_token":{},"token":[],"otp_token":{},"all":{},"name":[]}"#,
        r#"{"email":null,"identifier":null,"refresh_token":null,"token":null,"otp_token":null,"all":null,"x":null}"#,
        r#"{"email":"a@b.c","email":"a@b.c","identifier":"a","identifier":"b","token":"a","token":"b","all":true,"all":true,"name":"a","name":"b"}"#,
        r#"{"email":"\ud800","identifier":"\ud800","refresh_token":"\ud800","token":"\ud800","all":"\ud800","name":"\ud800"}"#,
        "{\"email\":\"a\u{0}b\"}", "\u{feff}{}", "{\"email\":\"a@b.c\"} trailing", "// comment\n{}",
        "{'email':'a@b.c'}", "{\"email\":\"a@b.c\",}", "<xml/>", "email=a%40b.c", "%00", "\r\n\r\n",
    ]
    .map(|text| ("text", text.as_bytes().to_vec()))
    .into();
    bodies.push(("not UTF-8", b"{\"email\":\"\xff\xfe\"}".to_vec()));
    bodies.push(("zeros", vec![0; 1_000]));
    bodies.push(("deep", vec![b'['; 30_000]));
    bodies.push(("deep objects", b"{\"a\":".repeat(10_000)));
    bodies.push((
        "digits",
        format!("{{\"all\":{}}}", "9".repeat(30_000)).into_bytes(),
    ));
    for (method, route) in ROUTES {
        for (kind, body) in &bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(50)]).into_owned();
            let context = format!("{method} {route} with {kind} {shown:?}");
            // `{}` and white space are what a logout may send.
            let is_empty = body.trim_ascii().is_empty() || body.as_slice() == b"{}";
            if is_empty && (route.ends_with("/logout") || route.ends_with("/profile")) {
                continue;
            }
            let call = origin.call(method, route).bearer(&tokens.access);
            let call = call
                .header("Content-Type", "application/json")
                .body(body.clone());
            check_refusal(&call.send().await.unwrap(), &context);
        }
        let huge = vec![b' '; 200_000];
        let call = origin
            .call(method, route)
            .bearer(&tokens.access)
            .header("Content-Type", "application/json");
        let answer = call.body(huge).send().await.unwrap();
        check_refusal(&answer, &format!("{method} {route} with 200 kB"));
        if !route.starts_with("/oauth") {
            assert_eq!(
                answer.verdict(),
                (413, "request_too_large".to_owned()),
                "{route}"
            );
        }
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "\u{1}",
            "",
        ] {
            if route.starts_with("/oauth") || route.ends_with("/logout") {
                continue;
            }
            let call = origin
                .call(method, route)
                .bearer(&tokens.access)
                .header("Content-Type", content_type);
            let answer = call.body("{}").send().await.unwrap();
            assert!(
                (400..500).contains(&answer.status),
                "{route} as {content_type:?}: {}",
                answer.text()
            );
        }
    }
    // None of that has ended the session, or anything else.
    let session = origin
        .call("GET", "/api/v1/auth/session")
        .bearer(&tokens.access)
        .send()
        .await
        .unwrap();
    assert_eq!(session.status, 200, "{}", session.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_makes_the_origin_fail() {
    let origin = Origin::start().await;
    let tokens = origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let long = "x".repeat(20_000);
    let hostile = [
        "",
        " ",
        "\u{0}",
        "a\u{0}b@example.com",
        "a@b",
        "@",
        "a@@b.c",
        "a@b.c\r\nBcc: x@y.z",
        "\u{202e}a@b.c",
        "\u{1f600}",
        "' OR '1'='1",
        "\"; DROP TABLE users; --",
        "%00",
        "../../etc/passwd",
        "${jndi:ldap://x}",
        "{{7*7}}",
        "\u{feff}",
        "a@\u{ff0e}com",
        "+0",
        "+1234567890123456789",
        "0",
        long.as_str(),
    ];
    for value in hostile {
        for (route, body) in [
            (
                "/register",
                json!({"email": value, "password": "correct horse battery staple"}),
            ),
            (
                "/register",
                json!({"phone_number": value, "password": "correct horse battery staple"}),
            ),
            (
                "/register",
                json!({"email": "x@example.com", "username": value, "password": "correct horse battery staple"}),
            ),
            (
                "/register",
                json!({"email": "x@example.com", "password": value}),
            ),
            (
                "/register/verify",
                json!({"email": value, "code": "123456"}),
            ),
            (
                "/register/verify",
                json!({"email": "x@example.com", "code": value}),
            ),
            ("/login", json!({"identifier": value, "password": "x"})),
            (
                "/login",
                json!({"identifier": "nobody@example.com", "password": value}),
            ),
            (
                "/login",
                json!({"identifier": "nobody@example.com", "password": "x", "device_id": value}),
            ),
            ("/otp/send", json!({"email": value})),
            (
                "/otp/send",
                json!({"phone_number": value, "country_code": value}),
            ),
            ("/otp/verify", json!({"otp_token": value, "code": value})),
            ("/refresh", json!({"refresh_token": value})),
            ("/forgot-password", json!({"identifier": value})),
            (
                "/reset-password",
                json!({"token": value, "password": "correct horse battery staple"}),
            ),
            ("/validate-token", json!({"token": value})),
            ("/revoke-token", json!({"token": value})),
        ] {
            let answer = origin.post_as(&tokens.access, route, &body).await;
            let shown: String = value.chars().take(20).collect();
            assert!(
                answer.status < 500,
                "{route} {shown:?}: {} {}",
                answer.status,
                answer.text()
            );
            if answer.status >= 400 {
                check_refusal(&answer, &format!("{route} with {shown:?}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_target_header_or_framing_makes_the_origin_fail() {
    let origin = Origin::start().await;
    let tokens = origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/nowhere"),
        ("GET", "/api/v1/auth"),
        ("GET", "/api/v1/auth/nowhere"),
        ("GET", "/api/v1/auth/login"),
        ("DELETE", "/api/v1/auth/refresh"),
        ("POST", "/.well-known/jwks.json"),
        ("DELETE", "/api/v1/auth/sessions/nobody"),
        ("DELETE", "/api/v1/auth/sessions/%00"),
        ("DELETE", "/api/v1/auth/sessions/%ff"),
        ("DELETE", "/api/v1/auth/sessions/..%2f..%2f"),
        (
            "DELETE",
            "/api/v1/auth/sessions/00000000-0000-0000-0000-000000000000",
        ),
        ("GET", "/api/v1/auth/lock-status/%ff%fe"),
        ("GET", "/.well-known/../.well-known/jwks.json"),
        ("GET", "/revocations"),
        ("GET", "/jwks"),
    ] {
        let answer = origin
            .call(method, target)
            .bearer(&tokens.access)
            .send()
            .await
            .unwrap();
        check_refusal(&answer, &format!("{method} {target}"));
    }
    for authorization in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Basic dTpw",
        "Bearer a b",
        "Bearer .",
        "Bearer ..",
        "Bearer a.b.c",
        "bearer \u{e9}",
        "Bearer ekr_AAAA",
        "Negotiate x",
    ] {
        let call = origin
            .call("GET", "/api/v1/auth/session")
            .header("Authorization", authorization);
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status, 401, "{authorization:?}: {}", answer.text());
        check_refusal(&answer, authorization);
        assert!(
            answer
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer "))
        );
    }
    let long = format!("Bearer {}", "a".repeat(9_000));
    let call = origin
        .call("GET", "/api/v1/auth/session")
        .header("Authorization", &long);
    assert_eq!(
        call.send().await.unwrap().verdict(),
        (401, "token_too_large".to_owned())
    );
    for raw in [
        "GET / HTTP/9.9\r\n\r\n",
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
    ] {
        // No answer at all is an answer to what is not HTTP.
        if let Ok(answer) = http::exchange(origin.address(), raw.as_bytes(), false).await {
            assert!(
                (400..500).contains(&answer.status),
                "{raw:?}: {}",
                answer.status
            );
        }
    }
    let health = origin.call("GET", "/health").send().await.unwrap();
    assert_eq!(health.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_value_listener_gives_three_keys_to_who_has_the_bearer() {
    let origin = Origin::start().await;
    let call = |method: &str, target: &str| http::Call::new(origin.kv(), method, target);
    for key in ["/revocations", "/jwks"] {
        let target = format!("{key}?urlencoded=true");
        assert_eq!(
            call("GET", &target).send().await.unwrap().status,
            401,
            "{key}"
        );
        let wrong = call("GET", &target).bearer("wrong").send().await.unwrap();
        assert_eq!(wrong.status, 401, "{key}");
        let right = call("GET", &target)
            .bearer(edgekeep_tests::edge::KV_TOKEN)
            .send()
            .await
            .unwrap();
        assert_eq!(right.status, 200, "{key}");
        assert!(right.body.starts_with(b"EKC1"), "{key}");
    }
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/policy"),
        ("GET", "/nobody"),
        ("GET", "/%2e%2e/jwks"),
        ("PUT", "/jwks"),
        ("DELETE", "/revocations"),
        ("POST", "/bulk/get"),
        ("GET", "/api/v1/auth/session"),
        ("GET", "/.well-known/jwks.json"),
    ] {
        let answer = call(method, target)
            .bearer(edgekeep_tests::edge::KV_TOKEN)
            .send()
            .await
            .unwrap();
        assert!(
            (400..500).contains(&answer.status),
            "{method} {target}: {}",
            answer.status
        );
    }
}
