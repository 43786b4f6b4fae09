//! What every request passes through: correlation ids, problems, limits.

mod support;

use axum::body::Body;
use axum::http::{Method, Request};
use support::Origin;

#[tokio::test]
async fn health_and_readiness_answer() {
    let origin = Origin::new().await;
    assert_eq!(origin.get("/health").await.body["status"], "ok");
    assert_eq!(origin.get("/ready").await.body["status"], "ready");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let origin = Origin::new().await;
    let reply = origin.get("/nowhere").await.expect(404, "not_found");
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.body["status"], 404);
    assert_eq!(
        reply.body["instance"],
        reply.headers["x-request-id"].to_str().unwrap()
    );
    let reply = origin.call(Method::POST, "/health", None, None).await;
    let reply = reply.expect(405, "request_invalid");
    assert!(reply.headers.contains_key("allow"));
}

#[tokio::test]
async fn correlation_ids_are_taken_over_only_when_they_are_plain() {
    let origin = Origin::new().await;
    let longest = "a".repeat(128);
    let too_long = "a".repeat(129);
    for (given, kept) in [
        ("abc-1.2_X", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("a b", false),
        ("a\"b", false),
        ("é", false),
    ] {
        let request = Request::get("/nowhere")
            .header("x-request-id", given)
            .body(Body::empty())
            .unwrap();
        let reply = origin.send(request).await;
        let instance = reply.text("instance");
        assert_eq!(instance == given, kept, "{given:?} gave {instance:?}");
        assert!(!instance.is_empty());
    }
}

#[test]
fn the_example_configuration_is_understood_and_says_the_defaults() {
    use edgekeep_origin::config::{Config, Environment};
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../edgekeep.example.toml");
    let read = Config::load(Some(example.as_ref()), &Environment::new()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
}

#[test]
fn variables_override_and_unknown_ones_are_named() {
    use edgekeep_origin::config::{Config, Environment};
    let load = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let folder = [("EDGEKEEP_DATA_DIR".to_owned(), "/nonexistent".to_owned())];
        Config::load(None, &pairs.chain(folder).collect::<Environment>())
    };
    let config = load(&[
        ("EDGEKEEP_TOKENS__AUDIENCE", "12"),
        ("EDGEKEEP_LIMITS__PER_IP", "false"),
        ("EDGEKEEP_SERVER__TRUSTED_PROXIES", "10.0.0.1, 10.0.0.2"),
        ("EDGEKEEP_NOTIFY__EMAIL__FROM", "a@example.org"),
        ("EDGEKEEP_NOTIFY__EMAIL__HOST", "localhost"),
        ("EDGEKEEP_NOTIFY__EMAIL__KIND", "smtp"),
        ("EDGEKEEP_ORIGIN_PORT", "not ours"),
        (
            "EDGEKEEP_SOCIAL__RETURN_URLS",
            "https://app.example.com/a,http://localhost:3000/b",
        ),
        ("EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__CLIENT_SECRET", "s"),
        ("EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__CLIENT_ID", "12"),
        (
            "EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__ISSUER",
            "https://accounts.google.com",
        ),
        (
            "EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__REQUIRE__HD",
            "example.com,example.org",
        ),
    ])
    .unwrap();
    assert_eq!(config.social.return_urls.len(), 2);
    assert_eq!(config.social.providers["google"].client_id, "12");
    assert_eq!(config.social.providers["google"].require["hd"].len(), 2);
    assert_eq!(config.tokens.audience, "12");
    assert!(!config.limits.per_ip);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    for (name, value) in [
        ("EDGEKEEP_TOKENS__AUDIENC", "api"),
        ("EDGEKEEP_NOWHERE__KEY", "1"),
        ("EDGEKEEP_TOKENS__ACCESS_TOKEN_SECONDS", "hunter2"),
        ("EDGEKEEP_DATA_DIR__X", "1"),
    ] {
        let error = load(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for (name, value) in [
        ("EDGEKEEP_TOKENS__ACCESS_TOKEN_SECONDS", "86401"),
        ("EDGEKEEP_SERVER__PUBLIC_URL", "https://a.example/"),
        ("EDGEKEEP_MODE", "production"),
        ("EDGEKEEP_SOCIAL__RETURN_URLS", "com.example.app:/b"),
        ("EDGEKEEP_SOCIAL__APP_RETURN_URLS", "javascript:alert(1)"),
        ("EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__CLIENT_ID", "12"),
        ("EDGEKEEP_SOCIAL__PROVIDERS__LINK__KIND", "github"),
        ("EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__CLIENT_SECRETS", "s"),
    ] {
        assert!(load(&[(name, value)]).is_err(), "{name}={value}");
    }
}
