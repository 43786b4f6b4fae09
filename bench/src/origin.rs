//! The issuer: logins against the bare cost of argon2, refreshes, keys, judging tokens, memory.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use crate::Setting;
use crate::http::{self, Connection};
use crate::keep::{Keep, Session, log_in, refresh};
use crate::load::{CONNECTIONS, Slice, WARM_UP, cpu_time};
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
        ("logins", "login", logins),
        ("refreshes", "refresh", refreshes),
        ("jwks", "jwks", repeat(&keys, "\"kid\"")),
        (
            "validations",
            "validation",
            repeat(&validation, "\"active\":true"),
        ),
    ];

    report.add(
        GROUP,
        "edgekeep",
        "rss_rest_mb",
        keep.process.resident_mib()?,
    );
    for _ in 0..ROUNDS {
        let (hashes, hash_cpu) = tokio::task::spawn_blocking(argon2_alone).await??;
        report.add(GROUP, "argon2", "argon2_per_s", hashes);
        report.add(GROUP, "argon2", "login_cpu_us", hash_cpu);
        for (name, each, works) in &mut works {
            let slice = slice(&keep, works).await?;
            report.add(GROUP, "edgekeep", &format!("{name}_per_s"), slice.rate);
            report.add(GROUP, "edgekeep", &format!("{each}_cpu_us"), slice.cpu_us);
            if *name == "logins" {
                report.add(GROUP, "edgekeep", "logins_per_argon2", slice.rate / hashes);
            }
        }
    }
    report.add(GROUP, "edgekeep", "rss_mb", keep.process.resident_mib()?);
    Ok(())
}

/// How often a second `works` are done, one for each connection.
async fn slice(keep: &Keep, works: &mut Vec<Work>) -> Result<Slice> {
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
    tokio::time::sleep_until(warm.into()).await;
    let pid = keep.process.pid()?;
    let cpu_before = cpu_time(pid)?;
    tokio::time::sleep_until(end.into()).await;
    let cpu = cpu_time(pid)?.saturating_sub(cpu_before);
    let mut total = 0;
    while let Some(connection) = connections.join_next().await {
        let (done, work) = connection??;
        total += done;
        works.push(work);
    }
    ensure!(total > 0, "nothing was answered in {SLICE:?}");
    Ok(Slice {
        rate: f64::from(total) / SLICE.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / f64::from(total),
    })
}

/// argon2id with the issuer's parameters (19 MiB, two passes, one lane), one thread for each
/// core, in memory that is allocated once: hashes a second, and processor time of one.
fn argon2_alone() -> Result<(f64, f64)> {
    let params = argon2::Params::new(19_456, 2, 1, None)
        .map_err(|error| anyhow::anyhow!("argon2's parameters: {error}"))?;
    let blocks = params.block_count();
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let threads = std::thread::available_parallelism()?.get();
    let mut memory = vec![vec![argon2::Block::default(); blocks]; threads];
    let begun = Instant::now();
    let work = |memory: &mut [argon2::Block]| {
        let (mut done, mut hash) = (0_u32, [0; 32]);
        while begun.elapsed() < SLICE {
            let salt = b"sixteen bytes of";
            hasher
                .hash_password_into_with_memory(b"a password", salt, &mut hash, &mut *memory)
                .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
            done += 1;
        }
        // Read here: the time of a thread goes with it.
        Ok((done, thread_cpu_time()?))
    };
    let results: Vec<Result<(u32, Duration)>> = std::thread::scope(|scope| {
        let running: Vec<_> = memory
            .iter_mut()
            .map(|memory| scope.spawn(|| work(memory)))
            .collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<(u32, Duration)>>| {
            thread
                .join()
                .unwrap_or_else(|_| bail!("a thread of argon2 has panicked"))
        };
        running.into_iter().map(ended).collect()
    });
    let elapsed = begun.elapsed();
    let (mut total, mut cpu) = (0, Duration::ZERO);
    for result in results {
        let (done, time) = result?;
        total += done;
        cpu += time;
    }
    let total = f64::from(total);
    Ok((
        total / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / total,
    ))
}

/// How long this thread has run.
fn thread_cpu_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text
        .split_whitespace()
        .next()
        .context("no time in schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}
