//! HTTP/1.1 as light as it gets: the load must not compete with what it measures.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// More than any message here has.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A loopback address with a port that nobody listens on at the moment.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

/// A GET request with an optional bearer token.
pub(crate) fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n").into_bytes()
}

/// A POST request with a JSON body and an optional bearer token.
pub(crate) fn post(path: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         {authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    /// Connects to `address`.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4_096),
            body: Vec::new(),
        })
    }

    /// Sends `request` and reads the whole answer; gives its status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.buffer.clear();
        self.body.clear();
        self.stream.write_all(request).await?;
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head = std::str::from_utf8(&self.buffer[..head_end])?;
        let status: u16 = head
            .get(9..12)
            .context("no status line")?
            .parse()
            .context("no status")?;
        let length = header(head, "content-length")
            .map(str::parse::<usize>)
            .transpose()?;
        let chunked = header(head, "transfer-encoding").is_some();
        if chunked {
            self.read_chunks(head_end).await?;
        } else if status != 204 && status != 304 {
            let end = head_end + length.context("an answer without a length")?;
            while self.buffer.len() < end {
                self.read_more().await?;
            }
            self.body.extend_from_slice(&self.buffer[head_end..end]);
        }
        Ok(status)
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body of the last answer as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).context("the answer is not JSON")
    }

    async fn read_chunks(&mut self, mut at: usize) -> Result<()> {
        loop {
            let line_end = loop {
                if let Some(end) = find(&self.buffer[at..], b"\r\n") {
                    break at + end;
                }
                self.read_more().await?;
            };
            let size = std::str::from_utf8(&self.buffer[at..line_end])?;
            let size = usize::from_str_radix(size.trim(), 16).context("no chunk size")?;
            let end = line_end + 2 + size;
            while self.buffer.len() < end + 2 {
                self.read_more().await?;
            }
            if size == 0 {
                return Ok(());
            }
            self.body.extend_from_slice(&self.buffer[line_end + 2..end]);
            at = end + 2;
        }
    }

    async fn read_more(&mut self) -> Result<()> {
        if self.buffer.len() > MAX_MESSAGE_BYTES {
            bail!("an answer without an end");
        }
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        Ok(())
    }
}

/// What a handler of [`serve`] sees of a request; bodies are not read, only GET is served.
pub(crate) struct Head<'a> {
    pub(crate) path: &'a str,
    pub(crate) if_none_match: Option<&'a str>,
}

/// Serves GET requests on a free loopback port for as long as the runtime lives.
pub(crate) async fn serve(
    handler: impl Fn(&Head<'_>, &mut Vec<u8>) + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let handler = Rc::new(handler);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = Rc::clone(&handler);
            tokio::task::spawn_local(async move {
                // The other side may go away at any time; what it waited for is its loss.
                let _ = serve_connection(stream, &*handler).await;
            });
        }
    });
    Ok(address)
}

async fn serve_connection(
    mut stream: TcpStream,
    handler: &impl Fn(&Head<'_>, &mut Vec<u8>),
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4_096);
    let mut answer = Vec::with_capacity(4_096);
    loop {
        let Some(end) = find(&buffer, b"\r\n\r\n").map(|at| at + 4) else {
            if buffer.len() > MAX_MESSAGE_BYTES || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        answer.clear();
        {
            let text = std::str::from_utf8(&buffer[..end])?;
            let path = text.split(' ').nth(1).context("no request line")?;
            let if_none_match = header(text, "if-none-match");
            handler(
                &Head {
                    path,
                    if_none_match,
                },
                &mut answer,
            );
        }
        stream.write_all(&answer).await?;
        buffer.drain(..end);
    }
}

/// Writes an answer with `headers`, each of which ends in a line break.
pub(crate) fn answer(out: &mut Vec<u8>, status: &str, headers: &str, body: &[u8]) {
    out.extend_from_slice(
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    out.extend_from_slice(body);
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
