//! How long a token goes on passing at the edge after the answer to its logout.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::Setting;
use crate::http::{self, Connection, free_address};
use crate::keep::{Keep, log_in};
use crate::process::Process;
use crate::report::{Report, percentile};

const GROUP: &str = "revocation";

/// Accounts and their sessions: as many as one may have, 200 in all.
const USERS: usize = 40;
const SESSIONS_EACH: usize = 5;

/// Logouts under way at a time.
const LANES: usize = 8;

/// Pause between two questions of one lane at the edge.
const PAUSE: Duration = Duration::from_millis(1);

/// A gate asks for the list at most every 2 s. A lane is free again just after it has, so the
/// next logout waits for a moment that is spread over twice that; else all would be measured
/// from the same point of the gate's rhythm.
const SPREAD: Duration = Duration::from_secs(4);

/// After this long without a refusal, something is broken.
const LIMIT: Duration = Duration::from_secs(30);

const PATH: &str = "/api/orders/17";

/// Measures the group.
pub(crate) async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let keep = Keep::start(setting).await?;
    let mut connection = Connection::open(keep.address).await?;
    let mut tokens = Vec::new();
    for user in 0..USERS {
        let body = keep.create_user(&format!("user-{user}@example.com"))?;
        for _ in 0..SESSIONS_EACH {
            tokens.push(log_in(&mut connection, &body).await?.access_token);
        }
    }
    let (mut gate, edge) = start_gate(setting, &keep).await?;
    let first = tokens.first().context("no tokens")?;
    gate.wait_ready(edge, &http::get(PATH, Some(first))).await?;

    let total = tokens.len();
    let tokens = Rc::new(RefCell::new(tokens));
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let tokens = Rc::clone(&tokens);
        let origin = keep.address;
        lanes.spawn_local(async move {
            let mut waits = Vec::new();
            // Knuth's multiplicative hash: waits that are spread, and the same in every run.
            let mut spread = u32::try_from(lane)?.wrapping_mul(0x9E37_79B9);
            loop {
                let Some(token) = tokens.borrow_mut().pop() else {
                    return anyhow::Ok(waits);
                };
                spread = spread.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let share = f64::from(spread >> 8) / f64::from(1 << 24);
                tokio::time::sleep(SPREAD.mul_f64(share)).await;
                waits.push(log_out(origin, edge, &token).await?);
            }
        });
    }
    let mut waits = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        waits.extend(lane??);
    }
    ensure!(
        waits.len() == total,
        "{} of {total} logouts were measured",
        waits.len()
    );
    report.add(GROUP, "edgekeep", "p50_ms", percentile(&waits, 50));
    report.add(GROUP, "edgekeep", "p99_ms", percentile(&waits, 99));
    report.add(GROUP, "edgekeep", "max_ms", percentile(&waits, 100));
    Ok(())
}

/// Milliseconds from the logout's answer to the first refusal of a token that passed before.
async fn log_out(origin: SocketAddr, edge: SocketAddr, token: &str) -> Result<f64> {
    let mut origin = Connection::open(origin).await?;
    let mut edge = Connection::open(edge).await?;
    let call = http::get(PATH, Some(token));
    let status = edge.exchange(&call).await?;
    ensure!(
        status == 200,
        "the edge answered {status} before the logout"
    );
    let status = origin
        .exchange(&http::post("/api/v1/auth/logout", Some(token), "{}"))
        .await?;
    ensure!(status == 204, "the logout was answered with {status}");
    let begun = Instant::now();
    loop {
        match edge.exchange(&call).await? {
            200 if begun.elapsed() < LIMIT => tokio::time::sleep(PAUSE).await,
            200 => bail!("still not refused after {LIMIT:?}"),
            401 => {
                let wait = begun.elapsed();
                ensure!(
                    edge.json()?["code"] == "token_revoked",
                    "refused for another reason"
                );
                return Ok(wait.as_secs_f64() * 1e3);
            }
            status => bail!("the edge answered {status}"),
        }
    }
}

/// The gate as it is deployed, with the issuer's feed and key-value listener.
async fn start_gate(setting: &Setting, keep: &Keep) -> Result<(Process, SocketAddr)> {
    let upstream = http::serve(|_, out| http::answer(out, "200 OK", "", b"ok")).await?;
    let folder = keep.folder.path().join("edge");
    std::fs::create_dir(&folder)?;
    for file in ["config.capnp", "index.js", "index_bg.wasm"] {
        std::fs::copy(setting.workers.join("gate").join(file), folder.join(file))?;
    }
    std::fs::write(folder.join("kv.authorization"), Keep::kv_authorization())?;
    let edge = free_address()?;
    let origin = format!("http://{}", keep.address);
    let mut command = Command::new(&setting.workerd);
    command
        .arg("serve")
        .arg(folder.join("config.capnp"))
        .arg("--socket-addr")
        .arg(format!("http={edge}"))
        .arg("--external-addr")
        .arg(format!("kv={}", keep.kv))
        .env("ISSUER", &origin)
        .env("AUDIENCE", "api")
        .env("JWKS_URL", format!("{origin}/.well-known/jwks.json"))
        .env("UPSTREAM_URL", format!("http://{upstream}"))
        .env("ORIGIN_URL", &origin)
        .env("CONTROL_KEYS", keep.run(&["keys", "control"], "")?.trim())
        .env("REVOCATION_SOURCES", "kv,feed")
        .env("POLICY", std::fs::read_to_string(&setting.policy)?);
    Ok((Process::start("workerd", &mut command)?, edge))
}
