//! The same tricks behind a gateway that asks: what it makes of a request is its own affair, but
//! the upstream gets nothing that is not allowed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{People, all};
use crate::authz::Gateway;

/// A gateway that waits for the rest of a body is not waited for longer than this.
const SILENCE: Duration = Duration::from_millis(300);

const AT_A_TIME: usize = 16;

/// Whoever shares the connection: a trick may take it into a body, or put something before it.
const NEXT: &[u8] = b"GET /public/next HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

impl Gateway {
    /// None of the tricks brings to the upstream what its sender may not have there.
    pub(crate) async fn no_trick_gets_by(&self) {
        let people = People::of(&self.gate);
        let server = self.gate.upstream.server();
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
