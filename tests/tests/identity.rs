//! Identity at the upstream comes from a verified token and from nowhere else.

use edgekeep_shared::assertion::AssertionVerifier;
use edgekeep_shared::base64url;
use edgekeep_shared::error::Rejection;
use edgekeep_shared::jwk::JwkSet;
use edgekeep_tests::clock;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::server::Request;
use serde_json::{Value, json};

/// What a client sends to be taken for somebody else.
const FORGED: &str = "forged-by-the-client";

/// Spellings under which an identity or another route might reach some upstream.
const SPELLINGS: &[&str] = &[
    "X-User-ID",
    "x-user-id",
    "X-USER-ID",
    "X_User_ID",
    "x_user_id",
    "X.User.ID",
    "X-User_ID",
    "X-UserID",
    "XUserID",
    "x--user--id",
    "X-User.Id",
    "X_USER-ID",
    "X-User-ID-",
    "-X-User-ID",
    "X-User-Issuer",
    "x_user_issuer",
    "X.User.Issuer",
    "X-User-Roles",
    "x-user-roles",
    "X_User_Roles",
    "X.User.Roles",
    "X-User-Permissions",
    "x_user_permissions",
    "X-Customer-ID",
    "X_Customer_Id",
    "X-Session-ID",
    "x_session_id",
    "X-KYC-Level",
    "X_KYC_Level",
    "x.kyc.level",
    "X-Auth-Methods",
    "x_auth_methods",
    "X-Edgekeep-Assertion",
    "x_edgekeep_assertion",
    "X.Edgekeep.Assertion",
    "X-Edgekeep-Anything",
    "XEdgekeepFoo",
    "X-Original-URL",
    "X_Original_URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Rewrite-Uri",
    "X-Forwarded-Uri",
    "X-Forwarded-Prefix",
    "X-Forwarded-Method",
    "X-Forwarded-Path",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X_HTTP_Method_Override",
    "X-Middleware-Subrequest",
    "X-Original-Method",
    "X~User~ID",
    "X-User-ID!",
    "X|User|ID",
];

fn assert_no_forgery(seen: &Request, context: &str) {
    for (name, value) in &seen.headers {
        assert!(
            !value.contains(FORGED),
            "{context}: {name}: {value} has reached the upstream"
        );
    }
}

fn identity(seen: &Request) -> Vec<(String, String)> {
    let ours = |name: &str| {
        let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let folded = folded.to_ascii_lowercase();
        [
            "xuser",
            "xcustomer",
            "xsession",
            "xkyc",
            "xauth",
            "xedgekeep",
        ]
        .iter()
        .any(|p| folded.starts_with(p))
    };
    let headers = seen.headers.iter().filter(|(name, _)| ours(name));
    let mut headers: Vec<_> = headers
        .map(|(n, v)| (n.to_ascii_lowercase(), v.clone()))
        .collect();
    headers.sort();
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_identity_header_reaches_the_upstream() {
    let gate = Gate::start().await;
    let token = gate.token(&json!({"customer_id": null, "roles": []}));
    for target in ["/api/me", "/public/x", "/api/trial/x"] {
        for name in SPELLINGS {
            for value in [FORGED.to_owned(), format!("a, {FORGED}")] {
                let call = gate.call("GET", target, &token).header(name, &value);
                // workerd itself may refuse a name; then nothing reaches the upstream at all.
                let status = call.send().await.map_or(400, |answer| answer.status);
                for seen in gate.upstream.take() {
                    assert_no_forgery(&seen, &format!("{target} {name}"));
                }
                assert!(matches!(status, 200 | 400), "{name}: {status}");
            }
        }
        // All of them at once, each twice.
        let mut call = gate.call("GET", target, &token);
        for name in SPELLINGS.iter().filter(|name| !name.contains('|')) {
            call = call.header(name, FORGED).header(name, FORGED);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let seen = gate.upstream.take_one();
        assert_no_forgery(&seen, target);
        let expected: Vec<(String, String)> = if target == "/public/x" {
            Vec::new()
        } else {
            [
                ("x-auth-methods", "pwd"),
                ("x-session-id", "session-1"),
                ("x-user-id", "user-1"),
                ("x-user-permissions", "notes:read"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
        };
        assert_eq!(identity(&seen), expected, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_takes_nothing_of_the_gates_away() {
    let gate = Gate::start().await;
    for listed in [
        "X-User-ID",
        "x-user-id, X-User-Roles, X-Session-ID",
        "close, X-User-ID, Authorization, X-Request-ID",
        "keep-alive, x-user-permissions, x-auth-methods, x-customer-id",
    ] {
        let call = gate
            .call("GET", "/api/me", &gate.good_token())
            .header("Connection", listed);
        let answer = call.header("X-Hop", "1").send().await.unwrap();
        assert_eq!(answer.status, 200, "{listed}");
        let seen = gate.upstream.take_one();
        for (name, value) in [
            ("x-user-id", "user-1"),
            ("x-user-roles", "member"),
            ("x-user-permissions", "notes:read"),
            ("x-session-id", "session-1"),
            ("x-customer-id", "customer-1"),
            ("x-auth-methods", "pwd"),
        ] {
            assert_eq!(seen.header(name), Some(value), "{listed}: {name}");
        }
        assert!(seen.header("authorization").is_some(), "{listed}");
        assert!(seen.header("x-request-id").is_some(), "{listed}");
    }
    // What is for this hop only stays on this hop.
    let call = gate.call("GET", "/api/me", &gate.good_token());
    let call = call
        .header("Connection", "X-Hop")
        .header("X-Hop", "1")
        .header("X-Kept", "1");
    assert_eq!(
        call.header("TE", "trailers").send().await.unwrap().status,
        200
    );
    let seen = gate.upstream.take_one();
    assert_eq!(seen.header("x-hop"), None);
    assert_eq!(seen.header("te"), None);
    assert_eq!(seen.header("x-kept"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_headers_say_what_the_token_says_encoded() {
    let gate = Gate::start().await;
    let token = gate.token(&json!({
        "sub": "us,er 1\u{e9}", "roles": ["a,b", "c d", "100%"], "permissions": ["x:y", "\u{1f600}"],
        "customer_id": "k\u{fc}nde", "sid": "s%1", "kyc_level": 3, "amr": ["pwd", "otp"],
    }));
    assert_eq!(gate.get("/api/me", &token).await.status, 200);
    let seen = gate.upstream.take_one();
    for (name, value) in [
        ("x-user-id", "us%2Cer%201%C3%A9"),
        ("x-user-roles", "a%2Cb,c%20d,100%25"),
        ("x-user-permissions", "x:y,%F0%9F%98%80"),
        ("x-customer-id", "k%C3%BCnde"),
        ("x-session-id", "s%251"),
        ("x-kyc-level", "3"),
        ("x-auth-methods", "pwd,otp"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    // A line break in a claim must not become one in a header.
    let token = gate.token(&json!({"sub": "a\r\nX-User-Roles: admin", "roles": ["\r\n"]}));
    let answer = gate.get("/api/me", &token).await;
    if answer.status == 200 {
        let seen = gate.upstream.take_one();
        assert_eq!(
            seen.header("x-user-id"),
            Some("a%0D%0AX-User-Roles:%20admin")
        );
        assert_eq!(seen.header("x-user-roles"), Some("%0D%0A"));
    } else {
        assert_eq!(answer.verdict(), (401, "claim_invalid".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_forwarded_unless_the_rule_says_no() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    for (target, expected) in [
        ("/api/me", Some(format!("Bearer {token}"))),
        ("/public/x", Some(format!("Bearer {token}"))),
        ("/api/private/x", None),
    ] {
        assert_eq!(gate.get(target, &token).await.status, 200);
        let seen = gate.upstream.take_one();
        assert_eq!(
            seen.header("authorization"),
            expected.as_deref(),
            "{target}"
        );
        if expected.is_none() {
            assert!(
                !seen.headers.iter().any(|(_, value)| value.contains(&token)),
                "{target}"
            );
        }
    }
}

/// RFC 8037, appendix A.1.
const ASSERTION_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&base64url::decode(part.as_bytes()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_assertion_verifies_with_the_published_key_and_is_bound_to_the_request() {
    let gate = Gate::with(|_, variables| {
        variables.insert("ASSERTION_KEY", ASSERTION_KEY.to_owned());
    })
    .await;
    let published = gate
        .edge
        .call("GET", "/.well-known/edgekeep-assertion.json")
        .send()
        .await
        .unwrap();
    assert_eq!(published.status, 200);
    assert!(
        !published.text().contains("nWGxne"),
        "the private half is published"
    );
    let set = JwkSet::parse(&published.body).unwrap();

    let call = gate.call("POST", "/api//m%65?x=1", &gate.good_token());
    let call = call.header("X-Edgekeep-Assertion", FORGED).body("{}");
    assert_eq!(call.send().await.unwrap().status, 200);
    let seen = gate.upstream.take_one();
    let all: Vec<_> = edgekeep_tests::http::find(&seen.headers, "x-edgekeep-assertion").collect();
    assert_eq!(all.len(), 1);
    let assertion = all[0];
    let (header, claims) = (part(assertion, 0), part(assertion, 1));
    assert_eq!(header["typ"], "edgekeep-assertion+jwt");
    assert_eq!(header["alg"], "EdDSA");
    let key = set.find(header["kid"].as_str().unwrap()).unwrap().key();
    let (input, signature) = assertion.rsplit_once('.').unwrap();
    let signature = base64url::decode(signature.as_bytes()).unwrap();
    assert!(key.verify(input.as_bytes(), &signature));
    assert!(!key.verify(format!("{input}x").as_bytes(), &signature));

    let upstream = gate.upstream.server().url();
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["htu"], format!("{upstream}/api/me"));
    assert_eq!(claims["sub"], "user-1");
    assert_eq!(claims["sid"], "session-1");
    assert_eq!(claims["aud"], upstream);
    assert_ne!(
        claims["iss"],
        gate.issuer.url(),
        "the gate speaks for itself"
    );
    let (iat, exp) = (
        claims["iat"].as_i64().unwrap(),
        claims["exp"].as_i64().unwrap(),
    );
    assert!((clock::now().0 - iat).abs() <= 2);
    assert!(exp > iat && exp - iat <= 30, "{exp} - {iat}");
    // The helper for upstreams says the same.
    let verifier = AssertionVerifier::new(&*upstream);
    let verify = |method, path| {
        let verdict = verifier.verify(assertion.as_bytes(), &set, method, path, clock::now());
        verdict.map(|asserted| asserted.subject().to_owned())
    };
    assert_eq!(verify("POST", "/api/me"), Ok("user-1".to_owned()));
    assert_eq!(verify("POST", "/api/you"), Err(Rejection::ClaimInvalid));
    // It is no access token.
    assert_eq!(gate.get("/api/me", assertion).await.status, 401);

    // Nobody is asserted on a public route.
    assert_eq!(gate.get("/public/x", &gate.good_token()).await.status, 200);
    let seen = gate.upstream.take();
    assert!(
        seen.iter()
            .all(|request| request.header("x-edgekeep-assertion").is_none())
    );
}
