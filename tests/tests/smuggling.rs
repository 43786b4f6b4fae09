//! Two readings of one connection: what the gate has not judged must not reach the upstream.

use std::io;
use std::time::Duration;

use edgekeep_tests::gate::Gate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Where only administrators may go.
const HIDDEN: &str = "/api/admin/smuggled";

/// Sends everything at once and reads until the gate closes or falls silent.
async fn send(gate: &Gate, bytes: &[u8]) -> io::Result<Vec<u8>> {
    const SILENCE: Duration = Duration::from_millis(400);
    let mut stream = tokio::net::TcpStream::connect(gate.edge.address()).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(SILENCE, stream.read(&mut chunk)).await {
        answer.extend_from_slice(&chunk[..count]);
    }
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_framing_carries_a_second_request_past_the_gate() {
    let gate = Gate::start().await;
    let member = gate.good_token();
    let inner = format!("GET {HIDDEN} HTTP/1.1\r\nHost: x\r\nX-User-Roles: admin\r\n\r\n");
    let length = inner.len();
    let framings = [
        format!("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!(
            "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n0\r\n\r\n{inner}",
            length + 5
        ),
        format!("Content-Length: {length}\r\nTransfer-Encoding: identity\r\n\r\n{inner}"),
        format!("Content-Length: {length}\r\nTransfer-Encoding: xchunked\r\n\r\n{inner}"),
        format!("Content-Length: {length}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("Content-Length: {length}\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{inner}"),
        format!("Content-Length: +0\r\n\r\n{inner}"),
        format!("Content-Length: 0x0\r\n\r\n{inner}"),
        format!("Content-Length: 0, {length}\r\n\r\n{inner}"),
        format!("Content-Length: {length}\r\nConnection: Content-Length\r\n\r\n{inner}"),
        format!("Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n{inner}"),
        format!(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{inner}"
        ),
        format!("Transfer-Encoding: chunked\r\n\r\n0;ext=\"\r\n\r\n{inner}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n"),
        format!("X: y\r\n\r\n{inner}"),
        format!("X: y\n\n{inner}"),
        format!("X: y\r\r\n{inner}"),
        format!("X-User-ID: a\u{b}\r\nUpgrade: websocket\r\n\r\n{inner}"),
        format!(
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n{inner}"
        ),
    ];
    for (who, authorization) in [
        ("nobody", String::new()),
        ("a member", format!("Authorization: Bearer {member}\r\n")),
    ] {
        for method in ["GET", "POST"] {
            for path in ["/public/x", "/api/me"] {
                for framing in &framings {
                    let request =
                        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}{framing}");
                    // A connection that the gate closes is an answer.
                    let _ = send(&gate, request.as_bytes()).await;
                    for seen in gate.upstream.take() {
                        assert!(
                            !seen.target.contains(HIDDEN),
                            "{who} has smuggled a request: {framing:?}"
                        );
                        assert!(
                            seen.header("x-user-roles")
                                .is_none_or(|roles| roles == "member")
                        );
                    }
                }
            }
        }
    }
    // The connections to the upstream that the gate keeps are still clean.
    for _ in 0..5 {
        assert_eq!(gate.get("/api/me", &member).await.status, 200);
        assert_eq!(gate.upstream.take_one().target, "/api/me");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_one_connection_is_judged_by_itself() {
    let gate = Gate::start().await;
    let member = gate.good_token();
    let with =
        format!("GET /api/me?1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member}\r\n\r\n");
    let without = "GET /api/me?2 HTTP/1.1\r\nHost: x\r\n\r\n";
    let admin =
        format!("GET {HIDDEN} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member}\r\n\r\n");
    let answer = send(&gate, format!("{with}{without}{admin}{with}").as_bytes())
        .await
        .unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let statuses: Vec<&str> = answer
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|rest| &rest[..3])
        .collect();
    assert_eq!(statuses, ["200", "401", "403", "200"], "{answer}");
    let seen = gate.upstream.take();
    let targets: Vec<_> = seen.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/api/me?1", "/api/me?1"]);
}
