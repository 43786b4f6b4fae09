//! A WebSocket passes the gate: judged once, at the handshake, and then both ways.

use std::sync::{Arc, Mutex};

use edgekeep_tests::gate::Gate;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};

const PROTOCOL: &str = "sec-websocket-protocol";

/// Far above what a proxy might buffer of one message.
const LARGE: usize = 512 * 1024;

/// An upstream that speaks `chat` and says every message once more; the heads of the handshakes that reached it.
async fn echo() -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heads = Arc::clone(&heads);
            tokio::spawn(async move {
                #[expect(clippy::result_large_err, reason = "the library's signature")]
                let note = |request: &Request, mut response: Response| {
                    heads.lock().unwrap().push(request.clone());
                    let offered = request.headers().get(PROTOCOL);
                    if let Some(chat) = offered.filter(|offered| *offered == "chat") {
                        response.headers_mut().insert(PROTOCOL, chat.clone());
                    }
                    Ok(response)
                };
                let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, note).await else {
                    return;
                };
                let (mut out, mut inward) = socket.split();
                while let Some(Ok(message)) = inward.next().await {
                    if (message.is_text() || message.is_binary())
                        && out.send(message).await.is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_with_the_right_token_is_opened_and_carries_messages_both_ways() {
    let (url, seen) = echo().await;
    let gate = Gate::with(|_, variables| {
        variables.insert("UPSTREAM_URL", url.clone());
    })
    .await;
    let connect = |path: &str, token: Option<String>| {
        let mut request = format!("ws://{}{path}", gate.edge.address())
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("x-user-id", "somebody-else".parse().unwrap());
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            headers.insert("authorization", bearer);
        }
        tokio_tungstenite::connect_async(request)
    };
    let (socket, answer) = connect("/api/live", Some(gate.good_token())).await.unwrap();
    assert_eq!(answer.status(), 101);
    let (mut out, mut inward) = socket.split();
    let messages = [
        Message::text("hello"),
        Message::binary(vec![0_u8, 255, 7]),
        Message::binary(vec![9_u8; LARGE]),
    ];
    for message in messages {
        out.send(message.clone()).await.unwrap();
        assert_eq!(inward.next().await.unwrap().unwrap(), message);
    }
    let head = seen.lock().unwrap().remove(0);
    assert_eq!(head.uri().path(), "/api/live");
    let names: Vec<_> = head.headers().get_all("x-user-id").iter().collect();
    assert_eq!(names, ["user-1"], "the verified one, and no other");

    for (path, token, status) in [
        ("/api/live", None, 401),
        ("/api/live", Some("garbage".to_owned()), 401),
        ("/api/admin/live", Some(gate.good_token()), 403),
        ("/elsewhere", Some(gate.good_token()), 403),
        (
            "/api/live",
            Some(gate.token(&json!({"exp": 1_000, "iat": 900, "nbf": 900}))),
            401,
        ),
    ] {
        let Err(Error::Http(refusal)) = connect(path, token).await else {
            panic!("{path}: {status} expected");
        };
        assert_eq!(refusal.status(), status, "{path}");
    }
    assert!(
        seen.lock().unwrap().is_empty(),
        "a refused handshake reached the upstream"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_brings_its_token_in_a_subprotocol_that_goes_no_further() {
    const LIVE: &str = r#"
[[route]]
match = "/live"
token_from = "websocket"
allowed_origins = ["https://app.example"]

[[route]]
match = "/api/**"
"#;
    let (url, seen) = echo().await;
    let gate = Gate::with(|_, variables| {
        variables.insert("UPSTREAM_URL", url.clone());
        variables.insert("POLICY", LIVE.to_owned());
    })
    .await;
    let token = gate.good_token();
    let connect = |path: &str, headers: &[(&'static str, String)]| {
        let mut request = format!("ws://{}{path}", gate.edge.address())
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        tokio_tungstenite::connect_async(request)
    };
    let bearing = format!("edgekeep.bearer.{token}");
    let offered = (PROTOCOL, format!("{bearing}, chat"));
    let page = ("origin", "https://app.example".to_owned());

    let (socket, answer) = connect("/live", &[offered.clone(), page.clone()])
        .await
        .unwrap();
    assert_eq!(answer.headers().get(PROTOCOL).unwrap(), "chat");
    let (mut out, mut inward) = socket.split();
    out.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        inward.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    let head = seen.lock().unwrap().remove(0);
    let reached: Vec<_> = head.headers().get_all(PROTOCOL).iter().collect();
    assert_eq!(reached, ["chat"]);
    assert_eq!(head.headers().get("x-user-id").unwrap(), "user-1");
    let signature = token.rsplit('.').next().unwrap();
    for (name, value) in head.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        assert!(!value.contains(signature), "the token is in {name}");
    }

    for (path, headers, code) in [
        ("/live", vec![offered.clone()], "token_missing"),
        (
            "/live",
            vec![
                offered.clone(),
                ("origin", "https://evil.example".to_owned()),
            ],
            "token_missing",
        ),
        (
            "/live",
            vec![page.clone(), ("authorization", format!("Bearer {token}"))],
            "token_missing",
        ),
        (
            "/live",
            vec![page.clone(), (PROTOCOL, format!("{bearing}, {bearing}"))],
            "token_malformed",
        ),
        (
            "/live",
            vec![page.clone(), (PROTOCOL, "edgekeep.bearer.a.b.c".to_owned())],
            "token_malformed",
        ),
        // A rule that wants it elsewhere.
        (
            "/api/live",
            vec![offered.clone(), page.clone()],
            "token_missing",
        ),
    ] {
        let Err(Error::Http(refusal)) = connect(path, &headers).await else {
            panic!("{path} {headers:?}: {code} expected");
        };
        assert_eq!(refusal.status(), 401, "{headers:?}");
        let body = refusal.body().clone().unwrap_or_default();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], code, "{headers:?}");
    }
    // What is no handshake has no token there.
    let call = gate.edge.call("GET", "/live").header(page.0, &page.1);
    let answer = call.header(PROTOCOL, &bearing).send().await.unwrap();
    assert_eq!(answer.verdict(), (401, "token_missing".to_owned()));
    for method in ["POST", "DELETE"] {
        let mut call = gate.edge.call(method, "/live").header(page.0, &page.1);
        for (name, value) in [
            (PROTOCOL, &*bearing),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            call = call.header(name, value);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(
            answer.verdict(),
            (401, "token_missing".to_owned()),
            "{method}"
        );
    }
    assert!(
        seen.lock().unwrap().is_empty(),
        "what was refused reached the upstream"
    );

    // Where it is the only one, the upstream is offered none. The client may give up on that.
    drop(connect("/live", &[page, (PROTOCOL, bearing)]).await);
    let head = seen.lock().unwrap().remove(0);
    assert!(head.headers().get(PROTOCOL).is_none());
}
