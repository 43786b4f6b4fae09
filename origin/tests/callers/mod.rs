//! Requests from addresses of choice, and what tests of captchas share.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgekeep_origin::abuse::captcha::image;
use edgekeep_origin::random::Random;
use serde_json::{Value, json};
use sha2::Sha256;

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

/// Asks for a captcha.
pub(crate) async fn ask(origin: &Origin, query: &str) -> Reply {
    get_from(origin, "203.0.113.9", &format!("/captcha?{query}")).await
}

/// A challenge for `purpose` and `identifier`.
pub(crate) async fn challenge(origin: &Origin, purpose: &str, identifier: &str) -> Value {
    let query = format!("for={purpose}&target={}", target(identifier));
    ask(origin, &query).await.expect(200, "").body
}

/// What the image of the next captcha will show: the same drawing from a copy of the randomness.
pub(crate) async fn image_challenge(
    origin: &Origin,
    purpose: &str,
    identifier: &str,
) -> (Value, String) {
    let Random::Seeded(stream) = &origin.state.random else {
        unreachable!("tests are seeded");
    };
    let copy = Random::Seeded(Arc::new(Mutex::new(*stream.lock().unwrap())));
    let asked = challenge(origin, purpose, identifier).await;
    let _id: [u8; 16] = copy.bytes();
    let expected = image::draw(&copy);
    let uri = asked["image"].as_str().unwrap();
    let png = STANDARD
        .decode(uri.strip_prefix("data:image/png;base64,").unwrap())
        .unwrap();
    assert!(png == expected.png, "another image");
    (asked, expected.letters)
}

/// Does the work of a challenge, `zeros` deep, from `start` on, and gives the payload.
pub(crate) fn work(asked: &Value, zeros: usize, start: u32) -> Value {
    let parameters = &asked["parameters"];
    let bytes = |name: &str| -> Vec<u8> {
        let text = parameters[name].as_str().unwrap();
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    };
    let (nonce, salt) = (bytes("nonce"), bytes("salt"));
    let cost = u32::try_from(parameters["cost"].as_u64().unwrap()).unwrap();
    for counter in start.. {
        let password = [&nonce[..], &counter.to_be_bytes()].concat();
        let key = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&password, &salt, cost);
        let key = key.iter().map(|byte| format!("{byte:02x}"));
        let key: String = key.collect();
        if key.bytes().take_while(|&digit| digit == b'0').count() == zeros {
            return json!({
                "challenge": {"parameters": parameters, "signature": asked["signature"]},
                "solution": {"counter": counter, "derivedKey": key, "time": 1.5},
            });
        }
    }
    unreachable!("one in sixteen is right");
}

/// A proof of work as widgets send it.
pub(crate) fn payload(proof: &Value) -> String {
    STANDARD.encode(proof.to_string())
}

/// An answer to a challenge, as it stands in `captcha`.
pub(crate) fn solved(asked: &Value, answer: &str) -> Value {
    json!({"captcha_id": asked["captcha_id"], "answer": answer})
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
