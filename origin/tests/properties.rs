//! What holds for any input: paths on both listeners, and the configuration.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request, Uri};
use edgekeep_origin::config::{Config, Environment};
use edgekeep_origin::revocation::kv;
use proptest::prelude::*;
use support::Origin;
use tower::ServiceExt as _;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Parts that paths go wrong with.
const PARTS: &str = "(revocations|jwks|policy|keys|%2e|%2f|%00|%ff|%|\\.\\.|//|;|\\?urlencoded=true|\\?|[a-zé~%]{0,3}|/){0,5}";

#[test]
fn the_key_value_listener_has_three_keys_and_never_fails() {
    let runtime = runtime();
    let origin = runtime.block_on(Origin::new());
    let app = kv::app(origin.state.clone());
    proptest!(|(path in PARTS, post: bool)| {
        let Ok(uri) = format!("/{path}").parse::<Uri>() else { return Ok(()) };
        let method = if post { Method::POST } else { Method::GET };
        let key = uri.path().to_owned();
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        let status = runtime.block_on(app.clone().oneshot(request)).unwrap().status();
        prop_assert!(!status.is_server_error(), "{key}: {status}");
        if status == 200 {
            prop_assert!(!post && ["/revocations", "/jwks"].contains(&key.as_str()), "{key}");
        }
    });
    for key in ["/revocations", "/jwks", "/jwks?urlencoded=true"] {
        let request = Request::get(key).body(Body::empty()).unwrap();
        let status = runtime
            .block_on(app.clone().oneshot(request))
            .unwrap()
            .status();
        assert_eq!(status, 200, "{key}");
    }
}

#[test]
fn no_path_or_header_makes_the_api_fail() {
    let runtime = runtime();
    let origin = runtime.block_on(Origin::new());
    proptest!(|(
        prefix in "(|/api/v1/auth/sessions|/api/v1/auth/lock-status|/api/v1/auth|/oauth|/.well-known)",
        path in PARTS,
        method in "(GET|PUT|POST|DELETE|PATCH|OPTIONS|HEAD|BREW)",
        name in "(authorization|x-forwarded-for|x-request-id|if-none-match|content-type|user-agent)",
        value: Vec<u8>,
    )| {
        let Ok(uri) = format!("{prefix}/{path}").parse::<Uri>() else { return Ok(()) };
        let mut request = Request::builder().method(method.as_str()).uri(uri);
        if let Ok(value) = axum::http::HeaderValue::from_bytes(&value) {
            request = request.header(name, value);
        }
        let reply = runtime.block_on(origin.send(request.body(Body::empty()).unwrap()));
        prop_assert!(!reply.status.is_server_error(), "{:?}", reply);
        prop_assert!(reply.headers.contains_key("x-request-id"));
        if reply.status.is_client_error() {
            prop_assert_eq!(&reply.headers["content-type"], "application/problem+json");
        }
    });
}

fn read(text: &str, variables: &[(String, String)]) -> Result<Config, String> {
    let environment: Environment = variables.iter().cloned().collect();
    Config::parse(Path::new("test.toml"), text, &environment).map_err(|error| error.to_string())
}

/// Keys of the example with their sections, as variables name them.
fn variables() -> Vec<String> {
    let example = include_str!("../../edgekeep.example.toml");
    let mut section = String::new();
    let mut found = Vec::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').replace('.', "__").to_uppercase();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" =")
            && !section.is_empty()
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            found.push(format!("EDGEKEEP_{section}__{}", key.to_uppercase()));
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_panics_the_configuration(text: String, toml in "(\\[?[a-z_.]{1,9}\\]?( = (\"[a-z]*\"|[0-9]{1,20}|\\[\\]|\\{\\}|true))?\n){0,6}") {
        for text in [text, toml] {
            if let Err(error) = read(&text, &[]) {
                prop_assert!(!error.is_empty());
            }
        }
    }

    #[test]
    fn no_variable_panics_the_configuration(
        known in proptest::sample::select(variables()),
        value in "(\\PC{0,20}|[0-9]{1,21}|-1|true|\\[\"a\"\\]|\\{ a = 1 \\}|a,b|\"|''')",
        name in "EDGEKEEP_[A-Z_]{0,20}",
        other: String,
    ) {
        for (name, value) in [(known, value.clone()), (name, value), ("EDGEKEEP_DATA_DIR__X".to_owned(), other)] {
            if let Err(error) = read("", &[(name, value)]) {
                prop_assert!(!error.is_empty());
            }
        }
    }

    /// A wrong value may be a secret in the wrong place.
    #[test]
    fn refusals_do_not_repeat_secrets(
        name in proptest::sample::select(vec![
            "EDGEKEEP_SECRETS__MASTER_KEY", "EDGEKEEP_SERVER__KV_TOKEN",
            "EDGEKEEP_GATE__INTROSPECTION_TOKEN", "EDGEKEEP_NOTIFY__EMAIL__PASSWORD",
            "EDGEKEEP_REVOCATION__KV_REST__API_TOKEN", "EDGEKEEP_TOKENS__ACCESS_TOKEN_SECONDS",
            "EDGEKEEP_SERVER__LISTEN", "EDGEKEEP_SERVER__TRUSTED_PROXIES", "EDGEKEEP_LIMITS__PER_IP",
            "EDGEKEEP_PASSWORD", "EDGEKEEP_PASSWORD__PASSWORD", "EDGEKEEP_NOTIFY__SMS",
            "EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__CLIENT_SECRET",
            "EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE", "EDGEKEEP_SOCIAL__PROVIDERS__GOOGLE__KIND",
        ]),
        secret in "s3cret[a-z0-9]{8}",
    ) {
        for value in [secret.clone(), format!("[\"{secret}\"]"), format!("{{ a = \"{secret}\" }}")] {
            if let Err(error) = read("", &[(name.to_owned(), value)]) {
                prop_assert!(!error.contains(&secret), "{error}");
            }
        }
    }
}
