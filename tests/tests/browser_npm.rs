//! The npm package in a real browser: loaded by its entry for browsers, with the issuer's documents
//! on the page's own origin, or at a real issuer that is another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgekeep_shared::control::DocumentType;
use edgekeep_shared::revocation::{Entry, HashKey, encode};
use edgekeep_tests::browser::Browser;
use edgekeep_tests::clock::{self, eventually};
use edgekeep_tests::house::REVOCATION_LIMIT;
use edgekeep_tests::keys::{self, Key, claims};
use edgekeep_tests::origin::Origin;
use edgekeep_tests::package::built;
use edgekeep_tests::server::{Reply, Request, Server};
use serde_json::{Value, json};

use crate::npm::trusting;

in_every_browser! {
    verifies_and_refuses_what_is_revoked,
    verifies_tokens_of_an_issuer_on_another_origin,
}

const START: &str = r"
    const { Verifier } = await import('/verifier/browser.js');
    window.verifier = new Verifier(arguments[0]);
";

/// What a page of another origin gets to see of a path.
const FETCH: &str = r"
    try {
        const { status } = await fetch(arguments[0]);
        return String(status);
    } catch (error) {
        return error.name;
    }
";

const VERIFY: &str = r"
    try {
        return `ok ${(await window.verifier.verify(arguments[0])).claims.sub}`;
    } catch (error) {
        return `${error.name} ${error.code}`;
    }
";

/// The package's files, the issuer's documents, and a page.
fn serve(request: &Request, set: &str, list: &[u8]) -> Reply {
    let reply =
        |media_type: &str, body: Vec<u8>| Reply::new(200, body).header("Content-Type", media_type);
    match request.path() {
        "/" => reply("text/html", b"<!doctype html><title>page</title>".to_vec()),
        "/.well-known/jwks.json" => reply("application/jwk-set+json", set.as_bytes().to_vec()),
        "/.well-known/revocations" => reply("application/octet-stream", list.to_vec()),
        path => match path.strip_prefix("/verifier/") {
            Some(file) if !file.contains("..") => match std::fs::read(built().join(file)) {
                Ok(body) if file == "wasm/edgekeep_bg.wasm" => reply("application/wasm", body),
                Ok(body) => reply("text/javascript", body),
                Err(_) => Reply::new(404, ""),
            },
            _ => Reply::new(404, ""),
        },
    }
}

async fn verifies_and_refuses_what_is_revoked<B: Browser>() {
    let (key, control) = (Key::es256(1), Key::eddsa(2));
    let list = Arc::new(Mutex::new(Vec::new()));
    let (set, served) = (keys::set(&[&key]), Arc::clone(&list));
    let page = Server::start(move |request| serve(request, &set, &served.lock().unwrap())).await;
    let url = format!("http://localhost:{}", page.address().port());
    let sign = |sequence, entries: &[Entry<'_>]| {
        let body = encode(&HashKey([3; 16]), entries.iter().copied());
        let kind = DocumentType::Revocations;
        *list.lock().unwrap() = control.document(kind, &url, sequence, clock::now(), &body);
    };
    sign(1, &[]);
    let browser = B::start().await;
    browser.goto(&url).await;
    let control_key: Value = serde_json::from_str(&control.jwk()).unwrap();
    let options = json!({
        "issuer": url, "audience": "api", "revocation": {"controlKeys": [control_key]},
    });
    browser.run_async(START, &[options]).await;
    let verdict = async |token: &str| browser.run_async(VERIFY, &[json!(token)]).await;
    let good = key.issue(&claims(&url, &json!({})));
    assert_eq!(verdict(&good).await, json!("ok user-1"));
    assert_eq!(verdict("x").await, json!("Rejection token_malformed"));
    let forged = Key::es256(9).issue(&claims(&url, &json!({})));
    assert_eq!(verdict(&forged).await, json!("Rejection key_unknown"));
    sign(2, &[Entry::Token("token-1")]);
    let refused = eventually(Duration::from_secs(5), || async {
        (verdict(&good).await == json!("Rejection token_revoked")).then_some(())
    });
    assert!(refused.await.is_some());
}

/// The documents of a real issuer are for every page, and nothing else of it is.
async fn verifies_tokens_of_an_issuer_on_another_origin<B: Browser>() {
    let origin = Origin::start().await;
    let page = Server::start(|request| serve(request, "", b"")).await;
    let browser = B::start().await;
    let url = format!("http://localhost:{}", page.address().port());
    browser.goto(&url).await;
    browser.run_async(START, &[trusting(&origin)]).await;
    let verdict = async |token: &str| browser.run_async(VERIFY, &[json!(token)]).await;
    let tokens = origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let accepted = json!(format!("ok {}", tokens.user()));
    assert_eq!(verdict(&tokens.access).await, accepted);
    for (path, expected) in [
        ("/.well-known/jwks.json", "200"),
        ("/.well-known/revocations", "200"),
        ("/.well-known/openid-configuration", "200"),
        ("/.well-known/oauth-authorization-server", "200"),
        ("/health", "TypeError"),
        ("/openapi.json", "TypeError"),
    ] {
        let target = json!(format!("{}{path}", origin.url()));
        let seen = browser.run_async(FETCH, &[target]).await;
        assert_eq!(seen, json!(expected), "{path}");
    }
    let gone = origin.post_as(&tokens.access, "/logout", &json!({})).await;
    assert_eq!(gone.status, 204);
    let refused = eventually(REVOCATION_LIMIT, || async {
        (verdict(&tokens.access).await == json!("Rejection token_revoked")).then_some(())
    });
    assert!(refused.await.is_some());
}
