//! The same tricks behind a gateway that asks: what it makes of a request is its own affair, but
//! the upstream gets nothing that is not allowed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgekeep_tests::server::{Reply, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{HIDDEN, People, all};
use crate::authz::Gateway;

/// A gateway that waits for the rest of a body is not waited for longer than this.
const SILENCE: Duration = Duration::from_millis(300);

const AT_A_TIME: usize = 16;

/// Whoever shares the connection: a trick may take it into a body, or put something before it.
const NEXT: &[u8] = b"GET /public/next HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/// Offers of another protocol that are none of a WebSocket alone.
const OFFERS: &[&str] = &[
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade\r\n",
    "Upgrade: H2C\r\nConnection: keep-alive, upgrade\r\n",
    "Upgrade: h2c\r\n",
    "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
    "Upgrade: h2c, websocket\r\nConnection: Upgrade\r\n",
    "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    "Upgrade: websocket/13\r\nConnection: Upgrade\r\n",
    "Upgrade: xwebsocket\r\nConnection: Upgrade\r\n",
    "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "Upgrade: anything\r\nConnection: Upgrade\r\n",
];

/// An upstream that takes up every protocol that it is offered.
fn take_up(request: &Request) -> Reply {
    match request.header("upgrade") {
        Some(protocol) if !protocol.is_empty() => Reply::new(101, "")
            .header("Connection", "Upgrade")
            .header("Upgrade", protocol),
        _ => Reply::new(200, "from upstream"),
    }
}

impl Gateway {
    /// Whatever a connection carries after `101` is judged by nobody.
    pub(crate) async fn opens_no_tunnel_but_a_websocket(&self) {
        let upstream = &self.gate.upstream;
        upstream.answer_with(take_up);
        for offer in OFFERS {
            let answer = open(self.address, offer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{offer:?}: {answer}");
            let seen = upstream.take();
            let targets: Vec<_> = seen.iter().map(|seen| &*seen.target).collect();
            assert_eq!(targets, ["/public/x"], "{offer:?}");
            for name in ["upgrade", "http2-settings"] {
                let said = seen[0].header(name).unwrap_or_default();
                assert_eq!(said, "", "{offer:?}: {name}");
            }
        }
        for (protocol, connection) in [("websocket", "Upgrade"), ("WebSocket", "upgrade")] {
            let offer = format!("Upgrade: {protocol}\r\nConnection: {connection}\r\n");
            let answer = open(self.address, &offer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 101"), "{offer:?}: {answer}");
            let seen = upstream.take();
            assert_eq!(seen[0].header("upgrade"), Some("websocket"));
        }
    }

    /// None of the tricks brings to the upstream what its sender may not have there.
    pub(crate) async fn no_trick_gets_by(&self) {
        let people = People::of(&self.gate);
        let server = self.gate.upstream.server();
        self.gate.upstream.answer_with(|request| {
            // A WebSocket carries what it will: only its handshake is judged.
            match request.header("upgrade") {
                Some("websocket") => Reply::new(200, "from upstream"),
                _ => take_up(request),
            }
        });
        let tricks: Arc<Vec<Vec<u8>>> =
            Arc::new(all(&people).into_iter().map(|trial| trial.bytes).collect());
        let mut senders = JoinSet::new();
        for first in 0..AT_A_TIME {
            let (tricks, address) = (Arc::clone(&tricks), self.address);
            senders.spawn(async move {
                for trick in tricks.iter().skip(first).step_by(AT_A_TIME) {
                    // A connection that breaks is an answer.
                    let _ = send(address, trick).await;
                }
            });
        }
        senders.join_all().await;
        let seen = server.take();
        // Among them are many that may pass; where none has, nothing has been tried.
        let at = |path: &str| seen.iter().filter(|seen| seen.path() == path).count();
        let passed = [at("/public/x"), at("/api/x"), at("/public/next")];
        assert!(passed.iter().all(|count| *count > 50), "{passed:?}");
        assert!(at("/api/admin/users") > 0, "the administrator is refused");
        for request in seen.iter().chain(&server.unfinished()) {
            people.allows(request).unwrap();
        }
        assert_eq!(server.garbled(), Vec::<String>::new());
    }
}

/// Offers another protocol, and sends a request behind the answer; the answers.
async fn open(address: SocketAddr, offer: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n{offer}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answers = vec![0; 4_096];
    let length = stream.read(&mut answers).await?;
    answers.truncate(length);
    stream.write_all(HIDDEN.as_bytes()).await?;
    let mut more = [0; 4_096];
    while let Ok(Ok(length @ 1..)) = tokio::time::timeout(SILENCE, stream.read(&mut more)).await {
        answers.extend(&more[..length]);
    }
    Ok(String::from_utf8_lossy(&answers).into_owned())
}

async fn send(address: SocketAddr, trick: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.split();
    let write = async {
        writer.write_all(trick).await?;
        writer.write_all(NEXT).await
    };
    let read = async {
        let mut answer = [0; 4_096];
        while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, reader.read(&mut answer)).await {}
    };
    let (written, ()) = tokio::join!(write, read);
    written
}
