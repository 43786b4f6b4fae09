//! The issuer: logins against the bare cost of argon2, refreshes, keys, judging tokens, memory.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use crate::Setting;
use crate::http::{self, Connection};
use crate::keep::{Keep, Session, log_in, refresh};
use crate::load::{CONNECTIONS, WARM_UP};
use crate::report::Report;

const GROUP: &str = "origin";

/// Rounds, in each of which everything has its turn.
const ROUNDS: usize = 5;

/// Length of a slice.
const SLICE: Duration = Duration::from_millis(1_500);

/// What one connection does again and again.
enum Work {
    /// Log in with this body.
    LogIn(String),
    /// Refresh, each time with what the last refresh gave.
    Refresh(Session),
    /// The same request, to be answered with 200 and a body that contains the text.
    Send(Vec<u8>, &'static str),
}

impl Work {
    async fn once(&mut self, connection: &mut Connection) -> Result<()> {
        match self {
            Self::LogIn(body) => {
                log_in(connection, body).await?;
            }
            Self::Refresh(session) => *session = refresh(connection, session).await?,
            Self::Send(request, expected) => {
                let status = connection.exchange(request).await?;
                let body = String::from_utf8_lossy(connection.body());
                ensure!(
                    status == 200 && body.contains(*expected),
                    "answered {status}: {body}"
                );
            }
        }
        Ok(())
    }
}

/// Measures the group.
pub(crate) async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let keep = Keep::start(setting).await?;
    // Those who log in are not those who refresh: a user has five sessions, the oldest goes.
    let mut logins = Vec::new();
    let mut refreshes = Vec::new();
    let mut connection = Connection::open(keep.address).await?;
    for n in 0..CONNECTIONS {
        logins.push(Work::LogIn(
            keep.create_user(&format!("login-{n}@example.com"))?,
        ));
        let body = keep.create_user(&format!("refresh-{n}@example.com"))?;
        refreshes.push(Work::Refresh(log_in(&mut connection, &body).await?));
    }
    let body = keep.create_user("api@example.com")?;
    let token = log_in(&mut connection, &body).await?.access_token;
    let keys = http::get("/.well-known/jwks.json", None);
    let validation = json!({"token": token}).to_string();
    let validation = http::post("/api/v1/auth/validate-token", None, &validation);
    let repeat = |request: &Vec<u8>, expected| {
        (0..CONNECTIONS)
            .map(|_| Work::Send(request.clone(), expected))
            .collect::<Vec<_>>()
    };
    let mut works = [
        ("logins_per_s", logins),
        ("refreshes_per_s", refreshes),
        ("jwks_per_s", repeat(&keys, "\"kid\"")),
        ("validations_per_s", repeat(&validation, "\"active\":true")),
    ];

    report.add(
        GROUP,
        "edgekeep",
        "rss_rest_mb",
        keep.process.resident_mib()?,
    );
    for _ in 0..ROUNDS {
        let hashes = tokio::task::spawn_blocking(argon2_rate).await??;
        report.add(GROUP, "argon2", "argon2_per_s", hashes);
        for (metric, works) in &mut works {
            let rate = slice(&keep, works).await?;
            report.add(GROUP, "edgekeep", metric, rate);
            if *metric == "logins_per_s" {
                report.add(GROUP, "edgekeep", "logins_per_argon2", rate / hashes);
            }
        }
    }
    report.add(GROUP, "edgekeep", "rss_mb", keep.process.resident_mib()?);
    Ok(())
}

/// How often a second `works` are done, one for each connection.
async fn slice(keep: &Keep, works: &mut Vec<Work>) -> Result<f64> {
    let begun = Instant::now();
    let (warm, end) = (begun + WARM_UP, begun + WARM_UP + SLICE);
    let address = keep.address;
    let mut connections = JoinSet::new();
    for mut work in works.drain(..) {
        connections.spawn_local(async move {
            let mut connection = Connection::open(address).await?;
            let mut done = 0_u32;
            loop {
                work.once(&mut connection).await?;
                let now = Instant::now();
                if now >= end {
                    return anyhow::Ok((done, work));
                }
                if now >= warm {
                    done += 1;
                }
            }
        });
    }
    let mut total = 0;
    while let Some(connection) = connections.join_next().await {
        let (done, work) = connection??;
        total += done;
        works.push(work);
    }
    Ok(f64::from(total) / SLICE.as_secs_f64())
}

/// argon2id hashes a second with the issuer's parameters (19 MiB, two passes, one lane), one
/// thread for each core.
fn argon2_rate() -> Result<f64> {
    let params = argon2::Params::new(19_456, 2, 1, None)
        .map_err(|error| anyhow::anyhow!("argon2's parameters: {error}"))?;
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let threads = std::thread::available_parallelism()?.get();
    let (done, failed) = (AtomicU32::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut hash = [0; 32];
                while begun.elapsed() < SLICE {
                    let salt = b"sixteen bytes of";
                    if hasher
                        .hash_password_into(b"a password", salt, &mut hash)
                        .is_err()
                    {
                        failed.store(true, Ordering::Relaxed);
                        return;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    ensure!(!failed.into_inner(), "argon2 failed");
    Ok(f64::from(done.into_inner()) / begun.elapsed().as_secs_f64())
}
