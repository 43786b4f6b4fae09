//! Load: a fixed number of kept-alive connections, each with one request under way.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use crate::http::Connection;

/// Connections of a slice: enough to keep one worker thread busy, few enough that its queue
/// does not become what is measured.
pub(crate) const CONNECTIONS: usize = 8;

/// Time at the start of a slice that does not count.
pub(crate) const WARM_UP: Duration = Duration::from_millis(100);

/// Requests that differ in their token only.
pub(crate) struct Requests {
    before: Vec<u8>,
    tokens: Vec<String>,
    next: Cell<usize>,
}

impl Requests {
    /// GET requests for `path`, each with the next of `tokens`, from the first again after the
    /// last.
    pub(crate) fn new(path: &str, tokens: Vec<String>) -> Self {
        let before =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ").into();
        Self {
            before,
            tokens,
            next: Cell::new(0),
        }
    }

    fn write_next(&self, out: &mut Vec<u8>) {
        let at = self.next.get();
        self.next.set(if at + 1 == self.tokens.len() {
            0
        } else {
            at + 1
        });
        out.clear();
        out.extend_from_slice(&self.before);
        out.extend_from_slice(self.tokens[at].as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// What a slice has shown.
pub(crate) struct Slice {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds of processor time per request that the measured process took, of all its
    /// threads. Unlike the rate, it hardly depends on what else the machine does.
    pub(crate) cpu_us: f64,
}

/// Sends requests to `address` for `length` and counts the answers, all of which must have
/// status 200. `pid` is the process that is measured.
pub(crate) async fn slice(
    address: SocketAddr,
    pid: u32,
    requests: &std::rc::Rc<Requests>,
    length: Duration,
) -> Result<Slice> {
    let begun = Instant::now();
    let (warm, end) = (begun + WARM_UP, begun + WARM_UP + length);
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let requests = std::rc::Rc::clone(requests);
        connections.spawn_local(async move {
            let mut connection = Connection::open(address).await?;
            let mut request = Vec::with_capacity(2_048);
            let mut answered = 0_u32;
            loop {
                requests.write_next(&mut request);
                let status = connection.exchange(&request).await?;
                if status != 200 {
                    let body = String::from_utf8_lossy(connection.body()).into_owned();
                    bail!("{address} answered {status}: {body}");
                }
                let now = Instant::now();
                if now >= end {
                    return Ok(answered);
                }
                if now >= warm {
                    answered += 1;
                }
            }
        });
    }
    tokio::time::sleep_until(warm.into()).await;
    let cpu_before = cpu_time(pid)?;
    tokio::time::sleep_until(end.into()).await;
    let cpu = cpu_time(pid)?.saturating_sub(cpu_before);
    let mut answered = 0_u32;
    while let Some(connection) = connections.join_next().await {
        answered += connection??;
    }
    if answered == 0 {
        bail!("{address} answered nothing in {length:?}");
    }
    let answered = f64::from(answered);
    Ok(Slice {
        rate: answered / length.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / answered,
    })
}

/// Processor time that the threads of `pid` have taken so far.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while the folder is read.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split_whitespace().next().unwrap_or_default();
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
