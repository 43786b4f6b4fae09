//! Every refusal that a gate can give: status, body, challenge.

use std::time::Duration;

use edgekeep_shared::base64url;
use edgekeep_tests::clock;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::http::Answer;
use edgekeep_tests::issuer::{Behaviour, Door, Revoked};
use edgekeep_tests::keys::{Key, claims};
use edgekeep_tests::server::Reply;
use serde_json::{Value, json};

/// What every refusal must look like, whatever its cause.
pub(crate) fn check_refusal(answer: &Answer, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "expected {code}: {text}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{code}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{code}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{code}");
    }
    // It has not come over TLS.
    assert_eq!(answer.header("strict-transport-security"), None, "{code}");
    let body = answer.json();
    assert_eq!(body["code"], code, "{text}");
    assert_eq!(body["status"], status, "{text}");
    for member in ["type", "title", "detail", "instance"] {
        assert!(
            body[member].as_str().is_some_and(|text| !text.is_empty()),
            "{member}: {text}"
        );
    }
    assert_eq!(
        answer.header("x-request-id"),
        body["instance"].as_str(),
        "{code}"
    );
    assert_eq!(
        answer.header("www-authenticate").is_some(),
        status == 401 || code == "insufficient_scope"
    );
    assert_eq!(
        answer.header("retry-after").is_some(),
        matches!(status, 429 | 503),
        "{code}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn refuses_every_faulty_token_with_its_own_code() {
    let gate = Gate::start().await;
    let (key, url) = (&gate.key, gate.issuer.url());
    let now = clock::now().0;
    let good = gate.good_token();
    let stranger = Key::es256(99);
    let payload = claims(&url, &json!({})).to_string();
    let with_header = |change: Value| {
        let mut header = key.header();
        for (name, value) in change.as_object().unwrap() {
            header[name] = value.clone();
        }
        key.token(&header.to_string(), &payload)
    };
    let (head, signature) = good.rsplit_once('.').unwrap();
    let mut flipped = base64url::decode(signature.as_bytes()).unwrap();
    flipped[20] ^= 1;
    let flipped = format!("{head}.{}", base64url::encode(&flipped));
    let eddsa_header = Key::eddsa(1).header()["alg"].clone();

    let cases: Vec<(&str, String)> = vec![
        ("token_malformed", "garbage".to_owned()),
        ("token_malformed", format!("{good}=")),
        ("token_malformed", format!("{good}.")),
        ("token_malformed", head.to_owned()),
        ("token_malformed", key.token("{}", &payload)),
        (
            "token_malformed",
            key.token(r#"{"alg":"ES256","alg":"ES256"}"#, &payload),
        ),
        (
            "token_malformed",
            key.token(&key.header().to_string(), "[]"),
        ),
        (
            "token_malformed",
            key.token(&key.header().to_string(), r#"{"iss":"a","iss":"a"}"#),
        ),
        (
            "token_too_large",
            key.issue(&claims(&url, &json!({"x": "x".repeat(9_000)}))),
        ),
        ("algorithm_not_allowed", with_header(json!({"alg": "none"}))),
        (
            "algorithm_not_allowed",
            with_header(json!({"alg": "HS256"})),
        ),
        (
            "algorithm_not_allowed",
            with_header(json!({"alg": "es256"})),
        ),
        (
            "algorithm_not_allowed",
            with_header(json!({"alg": eddsa_header})),
        ),
        ("critical_header", with_header(json!({"crit": ["exp"]}))),
        ("critical_header", with_header(json!({"b64": false}))),
        ("wrong_type", with_header(json!({"typ": "JWT"}))),
        (
            "wrong_type",
            with_header(json!({"typ": "edgekeep-assertion+jwt"})),
        ),
        ("key_unknown", with_header(json!({"kid": "nobody"}))),
        ("key_unknown", stranger.issue(&claims(&url, &json!({})))),
        ("signature_invalid", flipped),
        (
            "signature_invalid",
            stranger.token(&key.header().to_string(), &payload),
        ),
        ("claim_missing", gate.token(&json!({"jti": null}))),
        ("claim_missing", gate.token(&json!({"client_id": null}))),
        ("claim_invalid", gate.token(&json!({"exp": "soon"}))),
        ("claim_invalid", gate.token(&json!({"exp": now + 90_000}))),
        ("claim_invalid", gate.token(&json!({"roles": "admin"}))),
        (
            "issuer_mismatch",
            gate.token(&json!({"iss": "https://evil.example"})),
        ),
        (
            "issuer_mismatch",
            gate.token(&json!({"iss": format!("{url}/")})),
        ),
        ("audience_mismatch", gate.token(&json!({"aud": "other"}))),
        ("audience_mismatch", gate.token(&json!({"aud": ["API"]}))),
        (
            "token_expired",
            gate.token(&json!({"iat": now - 900, "nbf": null, "exp": now - 6})),
        ),
        ("token_not_yet_valid", gate.token(&json!({"nbf": now + 60}))),
        (
            "token_not_yet_valid",
            gate.token(&json!({"iat": now + 60, "exp": now + 600})),
        ),
    ];
    for (code, token) in &cases {
        let answer = gate.get("/api/me", token).await;
        check_refusal(&answer, 401, code);
        let challenge = answer.header("www-authenticate").unwrap();
        assert_eq!(
            challenge,
            format!(r#"Bearer error="invalid_token", error_description="{code}""#)
        );
        // The token that is refused must not come back in what the client reads.
        assert!(!answer.text().contains(token.as_str()), "{code}");
    }
    assert_eq!(
        gate.upstream.take().len(),
        0,
        "a refused request has reached the upstream"
    );
    assert_eq!(
        gate.get("/api/me", &good).await.status,
        200,
        "the good token goes on"
    );
    let log = gate.edge.log().join("\n");
    for (_, token) in &cases {
        let part = token.split('.').next_back().unwrap();
        assert!(
            part.len() < 20 || !log.contains(part),
            "a token is in the log"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_for_a_token_without_an_error_code_where_none_was_sent() {
    let gate = Gate::start().await;
    for authorization in [None, Some(""), Some("Basic dTpw"), Some("Digest x")] {
        let mut call = gate.edge.call("GET", "/api/me");
        if let Some(value) = authorization {
            call = call.header("Authorization", value);
        }
        let answer = call.send().await.unwrap();
        check_refusal(&answer, 401, "token_missing");
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Bearer realm="api""#),
            "{authorization:?}"
        );
    }
    let good = gate.good_token();
    // Which of two tokens counts must never depend on who looks.
    for call in [
        gate.call("GET", "/api/me", &good).bearer(&good),
        gate.call("GET", "/api/me", &good)
            .header("authorization", "Basic dTpw"),
        gate.edge
            .call("GET", "/api/me")
            .header("Authorization", &format!("Bearer {good}, Bearer {good}")),
        gate.edge
            .call("GET", "/api/me")
            .header("Authorization", &format!("Bearer {good} x")),
        gate.edge
            .call("GET", "/api/me")
            .header("Authorization", "Bearer"),
        gate.edge
            .call("GET", "/api/me")
            .header("Authorization", "Bearer "),
    ] {
        let answer = call.send().await.unwrap();
        check_refusal(&answer, 401, "token_malformed");
    }
    // Not from the query, not from a form.
    let answer = gate
        .edge
        .call("GET", &format!("/api/me?access_token={good}"))
        .send()
        .await
        .unwrap();
    check_refusal(&answer, 401, "token_missing");
    assert!(gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn says_what_a_token_lacks() {
    let gate = Gate::start().await;
    let now = clock::now().0;
    let cases = [
        (
            "POST",
            "/api/reports/7",
            json!({}),
            403,
            "insufficient_scope",
            json!({"scopes": ["report:write"]}),
            Some(
                r#"Bearer error="insufficient_scope", error_description="insufficient_scope", scope="report:write""#,
            ),
        ),
        (
            "GET",
            "/api/admin/users",
            json!({}),
            403,
            "insufficient_role",
            json!({"roles": ["admin"]}),
            None,
        ),
        (
            "GET",
            "/api/admin/users",
            json!({"roles": ["Admin", "administrator"]}),
            403,
            "insufficient_role",
            json!({"roles": ["admin"]}),
            None,
        ),
        (
            "GET",
            "/api/notes/1",
            json!({}),
            403,
            "insufficient_permission",
            json!({"permissions": ["notes:write"]}),
            None,
        ),
        (
            "GET",
            "/api/payments/1",
            json!({"kyc_level": 1, "amr": ["pwd", "otp"]}),
            403,
            "kyc_required",
            json!({"kyc_level": 2}),
            None,
        ),
        (
            "GET",
            "/api/payments/1",
            json!({"kyc_level": 2}),
            401,
            "step_up_required",
            json!({"acr": [], "max_age": null, "mfa": true}),
            Some(
                r#"Bearer error="insufficient_user_authentication", error_description="step_up_required""#,
            ),
        ),
        (
            "GET",
            "/api/vault/1",
            json!({}),
            401,
            "step_up_required",
            json!({"acr": ["gold"], "max_age": 300, "mfa": false}),
            Some(
                r#"Bearer error="insufficient_user_authentication", error_description="step_up_required", acr_values="gold", max_age="300""#,
            ),
        ),
        (
            "GET",
            "/api/vault/1",
            json!({"acr": "gold", "auth_time": now - 302}),
            401,
            "step_up_required",
            json!({"acr": ["gold"], "max_age": 300, "mfa": false}),
            Some(
                r#"Bearer error="insufficient_user_authentication", error_description="step_up_required", acr_values="gold", max_age="300""#,
            ),
        ),
    ];
    for (method, path, changes, status, code, required, challenge) in cases {
        let answer = gate
            .call(method, path, &gate.token(&changes))
            .send()
            .await
            .unwrap();
        check_refusal(&answer, status, code);
        assert_eq!(answer.json()["required"], required, "{code}");
        assert_eq!(answer.header("www-authenticate"), challenge, "{code}");
    }
    assert!(gate.upstream.take().is_empty());
    for (method, path, changes) in [
        (
            "POST",
            "/api/reports/7",
            json!({"scope": "a report:write b"}),
        ),
        ("GET", "/api/reports/7", json!({})),
        ("GET", "/api/admin/users", json!({"roles": ["x", "admin"]})),
        (
            "GET",
            "/api/notes/1",
            json!({"permissions": ["notes:write"]}),
        ),
        (
            "GET",
            "/api/payments/1",
            json!({"kyc_level": 2, "amr": ["pwd", "otp"]}),
        ),
        (
            "GET",
            "/api/vault/1",
            json!({"acr": "gold", "auth_time": now - 200}),
        ),
    ] {
        let answer = gate
            .call(method, path, &gate.token(&changes))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_routes_and_paths_before_it_looks_at_tokens() {
    let gate = Gate::start().await;
    let good = gate.good_token();
    for (target, status, code) in [
        ("/", 403, "route_unknown"),
        ("/nowhere", 403, "route_unknown"),
        ("/API/me", 403, "route_unknown"),
        ("/apix", 403, "route_unknown"),
        ("/public%2fx", 400, "path_invalid"),
        ("/public/%00", 400, "path_invalid"),
        ("/api/a;b", 400, "path_invalid"),
    ] {
        check_refusal(&gate.get(target, &good).await, status, code);
    }
    assert!(gate.upstream.take().is_empty());
    // The correlation id is the client's where it is a plain word, and another where it is not.
    let kept = gate
        .edge
        .call("GET", "/nowhere")
        .header("X-Request-ID", "abc-123")
        .send()
        .await
        .unwrap();
    assert_eq!(kept.header("x-request-id"), Some("abc-123"));
    let replaced = gate
        .edge
        .call("GET", "/nowhere")
        .header("X-Request-ID", "a b\"c")
        .send()
        .await
        .unwrap();
    assert_ne!(replaced.header("x-request-id"), Some("a b\"c"));
    check_refusal(&replaced, 403, "route_unknown");
}

/// It was sent and may have been carried out: it is one request, which nobody is told to send again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_passed_on_is_none_and_is_logged_once() {
    let gate = Gate::with(|_, variables| {
        variables.insert("METRICS_TOKEN", "metrics-token".to_owned());
    })
    .await;
    // Nobody can make another answer with this status, as CORS would need.
    gate.upstream
        .answer_with(|_| Reply::new(777, "from upstream"));
    let token = gate.good_token();
    for (number, given, is_kept) in [
        (1, None, false),
        (2, Some("abc-123"), true),
        (3, Some("a b"), false),
    ] {
        let mut call = gate.call("GET", "/api/pages/1?secret=1", &token);
        if let Some(given) = given {
            call = call.header("X-Request-ID", given);
        }
        let answer = call.send().await.unwrap();
        check_refusal(&answer, 502, "upstream_unavailable");
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(given == Some(&*id), is_kept, "{id}");
        let seen = gate.upstream.take_one();
        assert_eq!(seen.header("x-request-id"), Some(&*id));
        let lines = || {
            let log = gate.edge.log();
            let lines = log
                .into_iter()
                .filter(|line| line.contains("\"request_id\""));
            lines.collect::<Vec<_>>()
        };
        let said = clock::eventually(Duration::from_secs(2), || async {
            lines().iter().any(|line| line.contains(&id)).then_some(())
        });
        said.await.expect("the log does not say it");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(lines().len(), number, "{:#?}", lines());
        let line = lines().pop().unwrap();
        for part in [
            &*id,
            "/api/pages/1",
            "upstream_unavailable",
            "\"status\":502",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    let metrics = gate
        .get("/.well-known/edgekeep-metrics", "metrics-token")
        .await;
    let counted =
        "edgekeep_gate_requests_total{decision=\"forward\",code=\"upstream_unavailable\"} 3";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn says_when_to_try_again_what_cannot_be_judged() {
    let gate = Gate::with(|issuer, _| {
        issuer.set(Door::Jwks, Behaviour::Status(500));
        issuer.set(Door::KvJwks, Behaviour::Status(500));
    })
    .await;
    check_refusal(
        &gate.get("/api/me", &gate.good_token()).await,
        503,
        "keys_unavailable",
    );

    let gate = Gate::with(|issuer, _| {
        issuer.set(Door::Feed, Behaviour::Status(500));
        issuer.set(Door::KvList, Behaviour::Status(404));
    })
    .await;
    check_refusal(
        &gate.get("/api/me", &gate.good_token()).await,
        503,
        "revocation_unavailable",
    );

    let mut gate = Gate::start().await;
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    gate.issuer.revoke(Revoked::Token("token-2".to_owned()));
    gate.upstream.stop().await;
    let answer = gate.get("/api/me", &gate.good_token()).await;
    check_refusal(&answer, 502, "upstream_unavailable");
}
