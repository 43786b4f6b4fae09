//! The numbers: who may read them, what they say, and that callers cannot grow them.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![expect(clippy::panic, reason = "a failure is the test's failure")]

mod keep;
mod support;

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use edgekeep_origin::vault::Secret;
use serde_json::{Value, json};
use support::{Origin, Reply};

async fn origin() -> Origin {
    Origin::with(|config| config.server.metrics_token = Some(Secret::new("m3trics".to_owned())))
        .await
}

async fn read(origin: &Origin) -> String {
    let reply = origin
        .call(Method::GET, "/metrics", Some("m3trics"), None)
        .await;
    assert_eq!(reply.status, 200);
    let content_type = reply.headers["content-type"].to_str().unwrap();
    assert!(
        content_type.starts_with("application/openmetrics-text"),
        "{content_type}"
    );
    assert_eq!(reply.headers["cache-control"], "no-store");
    let Value::String(text) = reply.body else {
        panic!("not text");
    };
    assert!(text.ends_with("# EOF\n"));
    text
}

/// The value of a line, given as it stands before the value.
#[track_caller]
fn value(text: &str, line: &str) -> f64 {
    let found = text
        .lines()
        .find_map(|it| it.strip_prefix(line)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {line} in\n{text}"));
    found.parse().unwrap()
}

#[tokio::test]
async fn there_is_nothing_without_a_token_and_nothing_for_another() {
    let closed = Origin::new().await;
    for bearer in [None, Some(""), Some("m3trics")] {
        let reply = closed.call(Method::GET, "/metrics", bearer, None).await;
        reply.expect(404, "not_found");
    }
    // In development it is for whoever sits at the machine, and for nobody else.
    let local = [("host", "127.0.0.1:8080"), ("host", "localhost")];
    let through = [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
    ];
    for (name, value) in local
        .into_iter()
        .chain(through)
        .chain([("host", "a.example")])
    {
        let mut request = Request::get("/metrics")
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))));
        if name != "host" {
            request = request.header("host", "localhost");
        }
        let request = request.header(name, value).body(Body::empty()).unwrap();
        let expected = if local.contains(&(name, value)) {
            200
        } else {
            404
        };
        assert_eq!(
            closed.send(request).await.status,
            expected,
            "{name}: {value}"
        );
    }
    let origin = origin().await;
    let user = keep::user(&origin.state).await;
    let session = keep::open(&origin.state, user).await.access_token;
    for (bearer, code) in [
        (None, "token_missing"),
        (Some("m3tric"), "credentials_invalid"),
        (Some("m3tricsx"), "credentials_invalid"),
        (Some("M3trics"), "credentials_invalid"),
        (Some(session.as_str()), "credentials_invalid"),
    ] {
        let reply = origin.call(Method::GET, "/metrics", bearer, None).await;
        let Reply { headers, .. } = reply.expect(401, code);
        assert_eq!(headers["www-authenticate"], "Bearer realm=\"api\"");
    }
    read(&origin).await;
}

#[tokio::test]
async fn what_happens_is_counted() {
    const ADDRESS: &str = "counted@example.org";
    let origin = origin().await;
    origin.state.publisher.current().await.unwrap();
    let registration = json!({"email": ADDRESS, "password": "correct horse"});
    origin.post("/register", registration).await.expect(202, "");
    let proof = json!({"email": ADDRESS, "code": origin.code(ADDRESS)});
    origin.post("/register/verify", proof).await.expect(200, "");
    for password in ["wrong one", "wrong two", "correct horse"] {
        let body = json!({"identifier": ADDRESS, "password": password});
        origin.post("/login", body).await;
    }
    let body = json!({"identifier": ADDRESS, "password": "correct horse"});
    let tokens = origin.post("/login", body).await.expect(200, "");
    let refresh = json!({"refresh_token": tokens.text("refresh_token")});
    origin
        .post("/refresh", refresh.clone())
        .await
        .expect(200, "");
    origin.advance(60);
    origin
        .post("/refresh", refresh)
        .await
        .expect(401, "refresh_reused");
    origin
        .post("/refresh", json!({"refresh_token": "x"}))
        .await
        .expect(401, "refresh_invalid");

    let text = read(&origin).await;
    for (line, expected) in [
        (
            r#"edgekeep_logins_total{way="password",outcome="succeeded"}"#,
            2.0,
        ),
        (
            r#"edgekeep_logins_total{way="password",outcome="credentials_invalid"}"#,
            2.0,
        ),
        (
            r#"edgekeep_logins_total{way="registration",outcome="succeeded"}"#,
            1.0,
        ),
        (r#"edgekeep_refreshes_total{outcome="succeeded"}"#, 1.0),
        (r#"edgekeep_refreshes_total{outcome="refresh_reused"}"#, 1.0),
        (
            r#"edgekeep_refreshes_total{outcome="refresh_invalid"}"#,
            1.0,
        ),
        (
            r#"edgekeep_http_requests_total{method="POST",route="/api/v1/auth/login",status="401"}"#,
            2.0,
        ),
        (
            r#"edgekeep_http_request_duration_seconds_count{route="/api/v1/auth/login"}"#,
            4.0,
        ),
        (r#"edgekeep_keys{state="active"}"#, 1.0),
        (r#"edgekeep_keys{state="revoked"}"#, 0.0),
        ("edgekeep_revocation_list_age_seconds", 60.0),
        ("edgekeep_policy_sequence", 0.0),
        ("edgekeep_policy_refused", 0.0),
        ("edgekeep_password_hashes_waiting", 0.0),
        ("edgekeep_messages_waiting", 0.0),
        ("edgekeep_database_errors_total", 0.0),
    ] {
        let found = value(&text, line);
        assert!((found - expected).abs() < 1e-9, "{line}: {found}");
    }
    let before = value(&text, "edgekeep_revocation_list_sequence");
    origin.state.publisher.current().await.unwrap();
    let text = read(&origin).await;
    assert!(value(&text, "edgekeep_revocation_list_sequence") > before);
    assert!(value(&text, "edgekeep_revocation_list_entries") >= 1.0);
    assert!(value(&text, "edgekeep_revocation_list_age_seconds").abs() < 1e-9);
    origin
        .state
        .publisher
        .take_policy("[[route]]\nmatch = \"/a\"\n");
    origin.state.publisher.current().await.unwrap();
    origin.state.publisher.refuse_policy();
    let text = read(&origin).await;
    let published = value(&text, "edgekeep_revocation_list_sequence");
    let policy = value(&text, "edgekeep_policy_sequence");
    assert!((policy - published).abs() < 1e-9, "{policy} {published}");
    assert!((value(&text, "edgekeep_policy_refused") - 1.0).abs() < 1e-9);
    for secret in [ADDRESS, tokens.text("session_id"), "m3trics"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn callers_cannot_add_lines() {
    let origin = origin().await;
    origin.get("/nowhere").await;
    origin.get("/api/v1/auth/lock-status/someone").await;
    origin
        .call("BREW".parse().unwrap(), "/health", None, None)
        .await;
    read(&origin).await;
    let before = read(&origin).await.lines().count();
    for number in 0..50 {
        origin.get(&format!("/nowhere/{number}")).await;
        origin
            .get(&format!("/api/v1/auth/lock-status/someone{number}"))
            .await;
        let method: Method = format!("BREW{number}").parse().unwrap();
        origin.call(method, "/health", None, None).await;
    }
    let text = read(&origin).await;
    assert_eq!(text.lines().count(), before, "{text}");
    assert!(
        !text.contains("someone") && !text.contains("BREW"),
        "{text}"
    );
}

#[tokio::test]
async fn a_database_that_fails_is_counted() {
    let origin = origin().await;
    let user = keep::user(&origin.state).await;
    let token = keep::open(&origin.state, user).await.access_token;
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("DROP TABLE users")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let request = Request::get("/api/v1/auth/profile")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let reply = origin.send(request).await.expect(500, "unavailable");
    assert!(!reply.body.to_string().contains("users"));
    let text = read(&origin).await;
    assert!((value(&text, "edgekeep_database_errors_total") - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn the_listener_of_its_own_serves_nothing_else() {
    for token in [None, Some("m3trics")] {
        let origin = Origin::with(|config| {
            config.server.metrics_token = token.map(|text| Secret::new(text.to_owned()));
        })
        .await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(edgekeep_origin::metrics::serve(
            listener,
            origin.state.clone(),
        ));
        let client = reqwest::Client::new();
        let open = client.get(format!("{url}/metrics")).send().await.unwrap();
        assert_eq!(
            open.status().as_u16(),
            if token.is_some() { 401 } else { 200 }
        );
        let answer = client
            .get(format!("{url}/metrics"))
            .bearer_auth("m3trics")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert!(answer.text().await.unwrap().contains("edgekeep_keys{"));
        for path in ["/", "/health", "/.well-known/jwks.json", "/revocations"] {
            let answer = client.get(format!("{url}{path}")).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 404, "{path}");
        }
        serving.abort();
    }
}

#[test]
fn a_public_listener_wants_a_token() {
    use edgekeep_origin::config::{Config, Environment};
    let load = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (format!("EDGEKEEP_{name}"), (*value).to_owned()));
        Config::parse("".as_ref(), "", &pairs.collect::<Environment>())
    };
    for (pairs, good) in [
        (&[("SERVER__METRICS_LISTEN", "127.0.0.1:9091")][..], true),
        (&[("SERVER__METRICS_LISTEN", "[::1]:9091")], true),
        (&[("SERVER__METRICS_LISTEN", "0.0.0.0:9091")], false),
        (
            &[
                ("SERVER__METRICS_LISTEN", "0.0.0.0:9091"),
                ("SERVER__METRICS_TOKEN", "metrics-token-of-22-chars"),
            ],
            true,
        ),
        (&[("SERVER__METRICS_TOKEN", "")], false),
        (&[("SERVER__METRICS_TOKEN", "twenty-one-characters")], false),
        (&[("SERVER__METRICS_TOKEN", "twenty-two-characters.")], true),
        // No header could bring it.
        (
            &[("SERVER__METRICS_TOKEN", "twenty-two-characters!")],
            false,
        ),
        (&[("GATE__INTROSPECTION_TOKEN", "")], false),
    ] {
        assert_eq!(load(pairs).is_ok(), good, "{pairs:?}");
    }
}
