//! What connections do again and again, and how often they come to do it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::SLICE;
use crate::http::{self, Connection};
use crate::keep::{Keep, Session, log_in, refresh};
use crate::load::{WARM_UP, cpu_time};

/// Codes that wait to be verified, each with its token.
pub(super) type Codes = Rc<RefCell<Vec<(String, String)>>>;

/// What one connection does again and again.
pub(super) enum Work {
    /// Log in with this body.
    LogIn(String),
    /// Refresh, each time with what the last refresh gave.
    Refresh(Session),
    /// Log in with the next of these codes.
    Code(Codes),
    /// The same request, to be answered with 200 and a body that contains the text.
    Send(Vec<u8>, &'static str),
}

impl Work {
    /// Does it; false where nothing is left to do.
    async fn once(&mut self, connection: &mut Connection) -> Result<bool> {
        match self {
            Self::LogIn(body) => {
                log_in(connection, body).await?;
            }
            Self::Refresh(session) => *session = refresh(connection, session).await?,
            Self::Code(codes) => {
                let Some((token, code)) = codes.borrow_mut().pop() else {
                    return Ok(false);
                };
                let body = json!({"otp_token": token, "code": code}).to_string();
                let request = http::post("/api/v1/auth/otp/verify", None, &body);
                expect(connection, &request, "\"access_token\"").await?;
            }
            Self::Send(request, expected) => expect(connection, request, expected).await?,
        }
        Ok(true)
    }
}

async fn expect(connection: &mut Connection, request: &[u8], expected: &str) -> Result<()> {
    let status = connection.exchange(request).await?;
    let body = String::from_utf8_lossy(connection.body());
    ensure!(
        status == 200 && body.contains(expected),
        "answered {status}: {body}"
    );
    Ok(())
}

/// What a slice has shown.
pub(super) struct Slice {
    /// How often a second it was done.
    pub(super) rate: f64,
    /// Microseconds of the origin's processor time for each.
    pub(super) cpu_us: f64,
    /// Microseconds of this process's for each: what the load takes from the same cores.
    pub(super) load_cpu_us: f64,
}

/// How often a second `works` are done, one for each connection.
pub(super) async fn slice(keep: &Keep, works: &mut Vec<Work>) -> Result<Slice> {
    let begun = Instant::now();
    let (warm, end) = (begun + WARM_UP, begun + WARM_UP + SLICE);
    let address = keep.address;
    let mut connections = JoinSet::new();
    for mut work in works.drain(..) {
        connections.spawn_local(async move {
            let mut connection = Connection::open(address).await?;
            let mut done = 0_u32;
            loop {
                let was_done = work.once(&mut connection).await?;
                let now = Instant::now();
                if now >= end || !was_done {
                    return anyhow::Ok((done, work, now.min(end)));
                }
                if now >= warm {
                    done += 1;
                }
            }
        });
    }
    tokio::time::sleep_until(warm.into()).await;
    let (pid, own) = (keep.process.pid()?, std::process::id());
    let (cpu_before, own_before) = (cpu_time(pid)?, cpu_time(own)?);
    tokio::time::sleep_until(end.into()).await;
    let cpu = cpu_time(pid)?.saturating_sub(cpu_before);
    let own_cpu = cpu_time(own)?.saturating_sub(own_before);
    let (mut total, mut last) = (0, warm);
    while let Some(connection) = connections.join_next().await {
        let (done, work, ended) = connection??;
        total += done;
        last = last.max(ended);
        works.push(work);
    }
    ensure!(total > 0, "nothing was answered in {SLICE:?}");
    let total = f64::from(total);
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / total;
    Ok(Slice {
        // Where what was to be done has run out before the end, the slice was as long as that.
        rate: total / last.duration_since(warm).as_secs_f64(),
        cpu_us: each(cpu),
        load_cpu_us: each(own_cpu),
    })
}

/// Milliseconds that `works`, one after the other by one connection with a pause between, take
/// while the origin is busy, until `until`; one list for each.
pub(super) async fn beside(
    keep: &Keep,
    works: &mut [Work],
    until: Instant,
) -> Result<Vec<Vec<f64>>> {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut connection = Connection::open(keep.address).await?;
    let mut taken = vec![Vec::new(); works.len()];
    while Instant::now() < until {
        for (work, taken) in works.iter_mut().zip(&mut taken) {
            tokio::time::sleep(PAUSE).await;
            let begun = Instant::now();
            work.once(&mut connection).await?;
            taken.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(taken)
}
