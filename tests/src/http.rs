//! An HTTP/1.1 client that sends exactly what it is told: no target is resolved, no header added
//! but what framing needs, no redirect followed.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;

/// No answer takes longer than the slowest deadline of origin or gate.
const PATIENCE: Duration = Duration::from_secs(20);

/// The largest body or chunk that is read: 64 MiB, far above what any test has.
const LARGEST: usize = 64 << 20;

/// Header fields in the order and spelling of the wire.
pub type Fields = Vec<(String, String)>;

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Call {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Fields,
    body: Option<Vec<u8>>,
    patience: Duration,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: Fields,
    /// The body, without transfer coding.
    pub body: Vec<u8>,
    /// From the first byte sent to the last received.
    pub took: Duration,
}

impl Call {
    /// A request of `target`, byte for byte, at `address`.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![("Host".to_owned(), address.to_string())],
            body: None,
            patience: PATIENCE,
        }
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names another host than the address.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Host");
        self.header("Host", host)
    }

    /// Adds `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Waits so long for the answer.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(body.to_string())
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// When nobody answers, or not in HTTP.
    pub async fn send(self) -> io::Result<Answer> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            // Writing to a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.unwrap_or_default());
        let head = self.method == "HEAD";
        exchange_within(self.address, &bytes, head, self.patience).await
    }
}

impl Answer {
    fn of(message: Message, took: Duration) -> io::Result<Self> {
        let status = message.head.start.split(' ').nth(1);
        let status = status.and_then(|status| status.parse().ok());
        Ok(Self {
            status: status.ok_or_else(|| malformed("status line"))?,
            headers: message.head.headers,
            body: message.body,
            took,
        })
    }

    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name).next()
    }

    /// The body as JSON, `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// `code` of a problem, else the empty text.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and code in one, for comparing.
    pub fn verdict(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

/// The values of a header field, compared without case.
pub fn find<'f>(fields: &'f Fields, name: &str) -> impl Iterator<Item = &'f str> {
    fields
        .iter()
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Sends `request` as it stands and reads one response; `head` says that it will have no body.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub async fn exchange(address: SocketAddr, request: &[u8], head: bool) -> io::Result<Answer> {
    exchange_within(address, request, head, PATIENCE).await
}

/// Sends `bytes` on a connection of its own, says that nothing follows, and gives every answer
/// until the other side closes; `head` says that they have no bodies.
///
/// A connection that is reset ends the answers as one that is closed does.
///
/// # Errors
/// When nobody listens, when what comes is not HTTP, and when the other side does not close.
pub async fn converse(address: SocketAddr, bytes: &[u8], head: bool) -> io::Result<Vec<Answer>> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let send = async {
        // Who refuses early may close before everything is sent.
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let read = async {
        let mut answers = Vec::new();
        loop {
            match read_message(&mut reader, Side::Response { head }).await {
                Ok(Some(message)) => answers.push(Answer::of(message, begun.elapsed())?),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Ok(None) | Err(_) => return Ok(answers),
            }
            // What follows is another protocol.
            if answers.last().is_some_and(|answer| answer.status == 101) {
                return Ok(answers);
            }
        }
    };
    let ((), answers) = tokio::time::timeout(PATIENCE, async { tokio::join!(send, read) })
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?;
    answers
}

async fn exchange_within(
    address: SocketAddr,
    request: &[u8],
    head: bool,
    patience: Duration,
) -> io::Result<Answer> {
    let begun = Instant::now();
    let work = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.split();
        let mut reader = BufReader::new(reader);
        // A server that refuses early may answer and close before the whole body is sent.
        let (sent, message) = tokio::join!(
            writer.write_all(request),
            read_message(&mut reader, Side::Response { head })
        );
        match message {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(sent
                .err()
                .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(error),
        }
    };
    let message = tokio::time::timeout(patience, work)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    Answer::of(message, begun.elapsed())
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response { head: bool },
}

/// What stands before the body of a message.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Fields,
}

/// A message as it was on the wire.
#[derive(Debug)]
struct Message {
    head: Head,
    body: Vec<u8>,
}

/// Reads one message; `None` where the connection ends before its first byte.
async fn read_message<R>(input: &mut R, side: Side) -> io::Result<Option<Message>>
where
    R: AsyncBufRead + Unpin,
{
    let Some(head) = read_head(input).await? else {
        return Ok(None);
    };
    let mut body = Vec::new();
    read_body(input, side, &head, &mut body).await?;
    Ok(Some(Message { head, body }))
}

/// Reads what stands before a body; `None` where the connection ends before its first byte.
pub(crate) async fn read_head<R>(input: &mut R) -> io::Result<Option<Head>>
where
    R: AsyncBufRead + Unpin,
{
    let start = read_line(input).await?;
    if start.is_empty() {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let line = read_line(input).await?;
        if line.is_empty() {
            return Ok(Some(Head { start, headers }));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("header"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Appends to `body` what follows `head`, as far as it comes.
pub(crate) async fn read_body<R>(
    input: &mut R,
    side: Side,
    head: &Head,
    body: &mut Vec<u8>,
) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
{
    let status = head.start.split(' ').nth(1).unwrap_or_default();
    let bodiless = match side {
        Side::Request => false,
        Side::Response { head } => {
            head || status.starts_with('1') || matches!(status, "204" | "304")
        }
    };
    let chunked = find(&head.headers, "transfer-encoding").any(|value| value.contains("chunked"));
    let length = find(&head.headers, "content-length").next();
    if bodiless {
        return Ok(());
    }
    if chunked {
        loop {
            let octets = read_line(input).await?;
            if octets.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let octets =
                usize::from_str_radix(octets.split(';').next().unwrap_or_default().trim(), 16)
                    .ok()
                    .filter(|octets| *octets <= LARGEST)
                    .ok_or_else(|| malformed("chunk"))?;
            let mut chunk = vec![0; octets];
            input.read_exact(&mut chunk).await?;
            body.append(&mut chunk);
            read_line(input).await?;
            if octets == 0 {
                return Ok(());
            }
        }
    }
    if let Some(length) = length {
        let length = length.parse().ok().filter(|length| *length <= LARGEST);
        let mut whole = vec![0; length.ok_or_else(|| malformed("length"))?];
        input.read_exact(&mut whole).await?;
        *body = whole;
    } else if side != Side::Request {
        input.read_to_end(body).await?;
    }
    Ok(())
}

/// A line without its end; what is not UTF-8 shows as U+FFFD.
async fn read_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).await?;
    while line
        .last()
        .is_some_and(|byte| matches!(byte, b'\r' | b'\n'))
    {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
