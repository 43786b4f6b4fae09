//! A thousand logins at once: what they cost in memory, and what becomes of them.

use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::http::{self, Connection};
use crate::keep::{Keep, login_body};
use crate::people;

/// Logins that arrive at once, each of another person on a connection of its own.
pub(super) const BURST: usize = 1_000;

/// What a burst has shown.
pub(super) struct Burst {
    /// The most resident memory meanwhile, in MiB.
    pub(super) peak_mib: f64,
    /// How many logged in.
    pub(super) logged_in: u32,
    /// How many were told to come back (503).
    pub(super) refused: u32,
    /// Seconds until the last was answered.
    pub(super) seconds: f64,
}

/// Sends them; any other answer than tokens or `unavailable` is an error.
pub(super) async fn measure(keep: &Keep) -> Result<Burst> {
    // Connected first: it is the logins that arrive together.
    let mut connections = Vec::with_capacity(BURST);
    for _ in 0..BURST {
        connections.push(Connection::open(keep.address).await?);
    }
    keep.process.forget_peak()?;
    let begun = Instant::now();
    let mut logins = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let body = login_body(&people::address(number));
        let request = http::post("/api/v1/auth/login", None, &body);
        logins.spawn_local(async move {
            let status = connection.exchange(&request).await?;
            ensure!(
                matches!(status, 200 | 503),
                "a login of many was answered {status}: {}",
                String::from_utf8_lossy(connection.body())
            );
            Ok(status)
        });
    }
    let (mut logged_in, mut refused) = (0, 0);
    while let Some(status) = logins.join_next().await {
        match status?? {
            200 => logged_in += 1,
            _ => refused += 1,
        }
    }
    Ok(Burst {
        peak_mib: keep.process.peak_mib()?,
        logged_in,
        refused,
        seconds: begun.elapsed().as_secs_f64(),
    })
}
