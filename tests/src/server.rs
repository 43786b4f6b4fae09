//! An HTTP/1.1 server in this process that keeps every request as it came, byte for byte, and
//! answers as it is told: at once, late, or never. After `101` it goes on to read requests, as a
//! server does that takes the connection for HTTP/2.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::http::{Fields, Side, find, read_body, read_head};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target of the request line.
    pub target: String,
    /// The header fields.
    pub headers: Fields,
    /// The body, without transfer coding.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name).next()
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header fields; those of the framing are added.
    pub headers: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// How long to wait before; `None` is for ever.
    pub delay: Option<Duration>,
    /// How the body is sent.
    pub framing: Framing,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Behind its length.
    #[default]
    Length,
    /// In chunks: nobody knows its length beforehand.
    Chunks,
    /// Again and again, until nobody reads on.
    Endless,
}

impl Reply {
    /// An answer with this status and body, at once.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delay: Some(Duration::ZERO),
            framing: Framing::default(),
        }
    }

    /// Sends the body in this way.
    #[must_use]
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers after `delay`; `None` is never.
    #[must_use]
    pub fn after(mut self, delay: Option<Duration>) -> Self {
        self.delay = delay;
        self
    }
}

/// What has come, and what has come to nothing.
#[derive(Default)]
struct Record {
    seen: Mutex<Vec<Request>>,
    unfinished: Mutex<Vec<Request>>,
    garbled: Mutex<Vec<String>>,
    cut_off: AtomicUsize,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server.
pub struct Server {
    address: SocketAddr,
    record: Arc<Record>,
    handler: Arc<Handler>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut server = Self {
            address: listener.local_addr().unwrap(),
            record: Arc::default(),
            handler: Arc::new(handler),
            task: None,
        };
        server.accept(listener);
        server
    }

    fn accept(&mut self, listener: TcpListener) {
        let (record, handler) = (Arc::clone(&self.record), Arc::clone(&self.handler));
        self.task = Some(tokio::spawn(async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (record, handler) = (Arc::clone(&record), Arc::clone(&handler));
                connections.spawn(async move {
                    // A connection that breaks is its peer's business; what is not HTTP is told.
                    if let Err(error) = serve(stream, &record, &*handler).await
                        && error.kind() == io::ErrorKind::InvalidData
                        && let Ok(mut garbled) = record.garbled.lock()
                    {
                        garbled.push(error.to_string());
                    }
                });
            }
        }));
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    ///
    /// # Panics
    /// When a handler has.
    pub fn seen(&self) -> Vec<Request> {
        self.record.seen.lock().unwrap().clone()
    }

    /// Takes the requests so far out of the record.
    ///
    /// # Panics
    /// When a handler has.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.record.seen.lock().unwrap())
    }

    /// The requests whose bodies broke off: they are in no other record, and were not answered.
    ///
    /// # Panics
    /// When a handler has.
    pub fn unfinished(&self) -> Vec<Request> {
        self.record.unfinished.lock().unwrap().clone()
    }

    /// What came that was not HTTP.
    ///
    /// # Panics
    /// When a handler has.
    pub fn garbled(&self) -> Vec<String> {
        self.record.garbled.lock().unwrap().clone()
    }

    /// How many answers without end have ended, since nobody reads on.
    pub fn cut_off(&self) -> usize {
        self.record.cut_off.load(Ordering::SeqCst)
    }

    /// Closes every connection and listens no more: who connects is refused.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Only a finished task has let go of its socket.
            let _ = task.await;
        }
    }

    /// Listens again, at the same address.
    ///
    /// # Panics
    /// When somebody else took it.
    pub async fn resume(&mut self) {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn serve(mut stream: TcpStream, record: &Record, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    while let Some(head) = read_head(&mut reader).await? {
        let mut body = Vec::new();
        let read = read_body(&mut reader, Side::Request, &head, &mut body).await;
        let mut words = head.start.split(' ');
        let request = Request {
            method: words.next().unwrap_or_default().to_owned(),
            target: words.next().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
        };
        if let Err(error) = read {
            if let Ok(mut unfinished) = record.unfinished.lock() {
                unfinished.push(request);
            }
            return Err(error);
        }
        let reply = handler(&request);
        let head = request.method == "HEAD";
        if let Ok(mut seen) = record.seen.lock() {
            seen.push(request);
        }
        match reply.delay {
            None => std::future::pending().await,
            Some(delay) => tokio::time::sleep(delay).await,
        }
        let mut bytes = format!("HTTP/1.1 {} Test\r\n", reply.status);
        for (name, value) in &reply.headers {
            // Writing to a String cannot fail.
            let _ = write!(bytes, "{name}: {value}\r\n");
        }
        let is_bodiless = matches!(reply.status, 101 | 204 | 304);
        if !is_bodiless {
            let _ = match reply.framing {
                Framing::Length => write!(bytes, "Content-Length: {}\r\n", reply.body.len()),
                Framing::Chunks | Framing::Endless => {
                    write!(bytes, "Transfer-Encoding: chunked\r\n")
                }
            };
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        if !head && !is_bodiless {
            match reply.framing {
                Framing::Length => bytes.extend(reply.body),
                Framing::Chunks => {
                    bytes.extend([chunk(&reply.body), chunk(b"")].concat());
                }
                Framing::Endless => {
                    writer.write_all(&bytes).await?;
                    let chunk = chunk(&reply.body);
                    loop {
                        if let Err(error) = writer.write_all(&chunk).await {
                            record.cut_off.fetch_add(1, Ordering::SeqCst);
                            return Err(error);
                        }
                    }
                }
            }
        }
        writer.write_all(&bytes).await?;
    }
    Ok(())
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let length = format!("{:x}\r\n", bytes.len());
    [length.as_bytes(), bytes, b"\r\n"].concat()
}
