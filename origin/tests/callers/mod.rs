//! Requests from addresses of choice, and what tests of captchas share.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use serde_json::Value;

use crate::support::{Origin, Reply};

/// A caller at `address`.
fn client(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 40_000)
}

async fn send(origin: &Origin, address: &str, request: Request<Body>) -> Reply {
    let mut request = request;
    request
        .extensions_mut()
        .insert(ConnectInfo(client(address)));
    // A name of its own, so that none is drawn.
    let headers = request.headers_mut();
    headers.insert("x-request-id", "test".parse().unwrap());
    origin.send(request).await
}

/// `GET` of a route under `/api/v1/auth`.
pub(crate) async fn get_from(origin: &Origin, address: &str, route: &str) -> Reply {
    let request = Request::get(format!("/api/v1/auth{route}"));
    send(origin, address, request.body(Body::empty()).unwrap()).await
}

/// `POST` to a route under `/api/v1/auth`.
pub(crate) async fn post_from(origin: &Origin, address: &str, route: &str, body: Value) -> Reply {
    let request = Request::post(format!("/api/v1/auth{route}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()));
    send(origin, address, request.unwrap()).await
}

/// An identifier as it stands in a query.
pub(crate) fn target(identifier: &str) -> String {
    identifier
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The token of an answer of `POST /captcha/verify`, as it stands in `captcha`.
#[track_caller]
pub(crate) fn token(reply: Reply) -> Value {
    reply.expect(200, "").body["captcha_token"].clone()
}

/// The folder of the npm packages that are pinned in `scripts/npm`, installed if need be.
pub(crate) fn node_modules() -> &'static str {
    static FOLDER: OnceLock<String> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = r#"set -eu; . scripts/env.sh; mkdir -p "$EDGEKEEP_CACHE_DIR"
            exec 9>"$EDGEKEEP_CACHE_DIR/setup.lock"; flock 9
            npm_install "$EDGEKEEP_ROOT/scripts/npm"; npm_folder "$EDGEKEEP_ROOT/scripts/npm""#;
        let output = Command::new("bash")
            .args(["-c", script])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        format!(
            "{}/node_modules",
            String::from_utf8(output.stdout).unwrap().trim()
        )
    })
}
