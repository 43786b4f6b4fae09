//! Bodies pass as they come: no piece waits for the next, and none is kept.

use std::time::Duration;

use edgekeep_tests::gate::Gate;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A piece that has not come by then is held back.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent piece by piece, each only when the one before has arrived.
const PIECES: [&str; 3] = ["first piece,", "second piece,", "third piece."];

/// Far more than whoever keeps a body could hide in its memory.
const LARGE: usize = 1 << 30;

/// What the gate may take for itself meanwhile.
const MEMORY: u64 = 64 << 20;

/// What both sides and their sockets hold of a body that nobody reads.
const HELD: usize = 64 << 20;

/// A gate, the upstream that it has, and who may send where.
async fn gate() -> (Gate, TcpListener, Vec<(&'static str, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let gate = Gate::with(|_, variables| {
        variables.insert("UPSTREAM_URL", upstream);
    })
    .await;
    let known = format!("Authorization: Bearer {}\r\n", gate.good_token());
    // The last one's answer is made anew, to say who may read it.
    let senders = vec![
        ("/public/x", String::new()),
        ("/api/x", known.clone()),
        (
            "/api/pages/x",
            format!("{known}Origin: https://app.example\r\n"),
        ),
    ];
    (gate, listener, senders)
}

/// Reads until `text` has come.
async fn wait_for(input: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut read = Vec::new();
    let find = async {
        let mut octet = [0];
        while !read.ends_with(text.as_bytes()) {
            assert_eq!(
                input.read(&mut octet).await.unwrap(),
                1,
                "the connection is closed"
            );
            read.push(octet[0]);
        }
    };
    let found = tokio::time::timeout(PATIENCE, find).await;
    let read = String::from_utf8_lossy(&read);
    assert!(found.is_ok(), "{text:?} is held back; there is {read:?}");
}

/// The fields and the pieces of a body, by its length and in chunks.
fn framings() -> [(String, Vec<String>, &'static str); 2] {
    let whole: usize = PIECES.iter().map(|piece| piece.len()).sum();
    let chunk = |piece: &str| format!("{:x}\r\n{piece}\r\n", piece.len());
    [
        (
            format!("Content-Length: {whole}\r\n\r\n"),
            PIECES.map(str::to_owned).into(),
            "",
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            PIECES.map(chunk).into(),
            "0\r\n\r\n",
        ),
    ]
}

async fn connect(gate: &Gate) -> TcpStream {
    let stream = TcpStream::connect(gate.edge.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The next connection of the gate, nothing of it read yet.
async fn accept(listener: &TcpListener) -> TcpStream {
    let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
    let (stream, _) = accepted.unwrap().unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn write(output: &mut (impl AsyncWrite + Unpin), text: &str) {
    output.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_of_a_request_arrives_before_the_next_is_sent() {
    let (gate, listener, senders) = gate().await;
    for (target, fields) in &senders {
        for (framing, pieces, end) in framings() {
            let mut client = connect(&gate).await;
            let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}{framing}");
            write(&mut client, &head).await;
            write(&mut client, &pieces[0]).await;
            let mut upstream = accept(&listener).await;
            wait_for(&mut upstream, PIECES[0]).await;
            for (piece, sent) in PIECES.iter().zip(&pieces).skip(1) {
                write(&mut client, sent).await;
                wait_for(&mut upstream, piece).await;
            }
            write(&mut client, end).await;
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone";
            write(&mut upstream, answer).await;
            wait_for(&mut client, "done").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_of_an_answer_arrives_before_the_next_is_sent() {
    let (gate, listener, senders) = gate().await;
    let until_closed: (String, Vec<String>, &str) =
        ("\r\n".to_owned(), PIECES.map(str::to_owned).into(), "");
    for (target, fields) in &senders {
        for (framing, pieces, end) in framings().into_iter().chain([until_closed.clone()]) {
            let mut client = connect(&gate).await;
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            write(&mut client, &head).await;
            let mut upstream = accept(&listener).await;
            wait_for(&mut upstream, "\r\n\r\n").await;
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}");
            write(&mut upstream, &head).await;
            for (piece, sent) in PIECES.iter().zip(&pieces) {
                write(&mut upstream, sent).await;
                wait_for(&mut client, piece).await;
            }
            write(&mut upstream, end).await;
            drop(upstream);
            let mut rest = String::new();
            client.shutdown().await.unwrap();
            client.read_to_string(&mut rest).await.unwrap();
            assert!(rest.is_empty() || rest.ends_with("0\r\n\r\n"), "{rest:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_pass_at_the_same_time() {
    let (gate, listener, senders) = gate().await;
    for (target, fields) in &senders {
        let mut client = connect(&gate).await;
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"
        );
        write(&mut client, &head).await;
        let mut upstream = accept(&listener).await;
        wait_for(&mut upstream, "\r\n\r\n").await;
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        write(&mut upstream, head).await;
        for piece in PIECES {
            let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
            write(&mut client, &chunk).await;
            wait_for(&mut upstream, piece).await;
            write(&mut upstream, &chunk).await;
            wait_for(&mut client, piece).await;
        }
    }
}

/// Octets that do not repeat where buffers do: a block of a prime length, twice.
fn pattern() -> Vec<u8> {
    const PRIME: usize = 65_521;
    let mut state = 1_u32;
    let mut block: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(PRIME)
    .collect();
    block.extend_from_within(..);
    block
}

async fn send_large(output: &mut (impl AsyncWrite + Unpin), pattern: &[u8]) {
    let block = &pattern[..pattern.len() / 2];
    let mut left = LARGE;
    while left > 0 {
        let length = left.min(block.len());
        output.write_all(&block[..length]).await.unwrap();
        left -= length;
    }
}

async fn receive_large(input: &mut (impl AsyncRead + Unpin), pattern: &[u8]) {
    let length = pattern.len() / 2;
    let mut buffer = vec![0; length];
    let mut at = 0;
    while at < LARGE {
        let room = buffer.len().min(LARGE - at);
        let count = input.read(&mut buffer[..room]).await.unwrap();
        assert!(count > 0, "the body ends after {at} octets");
        let from = at % length;
        assert!(
            buffer[..count] == pattern[from..from + count],
            "another octet after {at}"
        );
        at += count;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_passes_both_ways_and_is_not_kept() {
    let (gate, listener, senders) = gate().await;
    let pattern = pattern();
    let (target, fields) = &senders[1];
    let mut client = connect(&gate).await;
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {LARGE}\r\n\r\n");
    write(&mut client, &head).await;
    let mut upstream = accept(&listener).await;
    wait_for(&mut upstream, "\r\n\r\n").await;
    let before = gate.edge.peak_memory();
    tokio::join!(
        send_large(&mut client, &pattern),
        receive_large(&mut upstream, &pattern)
    );
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    write(&mut upstream, &head).await;
    wait_for(&mut client, "\r\n\r\n").await;
    tokio::join!(
        send_large(&mut upstream, &pattern),
        receive_large(&mut client, &pattern)
    );
    let grown = gate.edge.peak_memory() - before;
    assert!(grown < MEMORY, "the gate has grown by {grown} bytes");
}

/// Writes until nobody takes any more.
async fn write_until_it_stands(output: &mut (impl AsyncWrite + Unpin)) -> usize {
    const STANDS: Duration = Duration::from_secs(1);
    let block = vec![b'x'; 64 << 10];
    let mut written = 0;
    while written < LARGE {
        match tokio::time::timeout(STANDS, output.write(&block)).await {
            Ok(count) => written += count.unwrap(),
            Err(_) => break,
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_not_read_for() {
    let (gate, listener, senders) = gate().await;
    for (target, fields) in &senders {
        let mut client = connect(&gate).await;
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {LARGE}\r\n\r\n");
        write(&mut client, &head).await;
        let mut upstream = accept(&listener).await;
        let taken = write_until_it_stands(&mut client).await;
        assert!(
            taken < HELD,
            "{target}: {taken} octets of a request are held"
        );
        drop(client);
        drop(upstream);

        let mut client = connect(&gate).await;
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        write(&mut client, &head).await;
        upstream = accept(&listener).await;
        wait_for(&mut upstream, "\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        write(&mut upstream, &head).await;
        let taken = write_until_it_stands(&mut upstream).await;
        assert!(
            taken < HELD,
            "{target}: {taken} octets of an answer are held"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interim_answer_is_nobodys_answer() {
    let (gate, listener, senders) = gate().await;
    for (target, fields) in &senders {
        for interim in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
        ] {
            let mut client = connect(&gate).await;
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
            );
            write(&mut client, &head).await;
            let mut upstream = accept(&listener).await;
            wait_for(&mut upstream, "body").await;
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfinal";
            write(&mut upstream, &format!("{interim}{answer}")).await;
            wait_for(&mut client, "final").await;
            drop(upstream);
            // On the same connection, the next one has its own.
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            write(&mut client, &head).await;
            let mut upstream = accept(&listener).await;
            wait_for(&mut upstream, "\r\n\r\n").await;
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext";
            write(&mut upstream, answer).await;
            wait_for(&mut client, "next").await;
        }
    }
}
