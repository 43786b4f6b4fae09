//! Measures Edgekeep beside its peers, all in one run, and prints a table.
//!
//! Steps: start what is measured on free loopback ports, send load to all subjects in turn,
//! round after round, take medians. The machine is shared with the load, and with whatever else
//! runs: ratios between subjects mean something, single figures little. `scripts/bench` builds
//! everything that this program is told the place of.

mod edge;
mod enumeration;
mod http;
mod issuer;
mod keep;
mod lists;
mod load;
mod origin;
mod people;
mod process;
mod report;
mod revocation;
mod size;
mod statistics;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use crate::report::Report;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One verification, in a worker and natively; sizes
    Verify,
    /// Requests per second through workerd
    Edge,
    /// The issuer
    Origin,
    /// From a logout's answer to the first refusal
    Revocation,
    /// The revocation list with 10,000 and with 250,000 entries
    List,
    /// Whether the time of an answer tells that somebody has an account; not among everything
    Enumeration,
}

/// Where things are, and what to measure.
#[derive(Debug, Parser)]
pub(crate) struct Setting {
    /// What to measure; everything where it is not said
    part: Option<Part>,
    /// Requests on each route of `enumeration`, half of them for known identifiers
    #[arg(long, default_value_t = 10_000)]
    attempts: usize,
    /// Also write the medians to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The `workerd` program
    #[arg(long)]
    workerd: PathBuf,
    /// The folder with bench.capnp and the built workers
    #[arg(long)]
    workers: PathBuf,
    /// The policy of the gate
    #[arg(long)]
    policy: PathBuf,
    /// The `edgekeep` program
    #[arg(long)]
    edgekeep: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let setting = Setting::parse();
    let tasks = tokio::task::LocalSet::new();
    let measured = tasks.run_until(async {
        let mut terminated =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            measured = measure(&setting) => measured,
            // Returning ends the children.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    });
    let report = Box::pin(measured).await?;
    let mut out = std::io::stdout().lock();
    report.print(&mut out)?;
    out.flush()?;
    if let Some(path) = &setting.json {
        report.write_json(path)?;
    }
    Ok(())
}

async fn measure(setting: &Setting) -> Result<Report> {
    let mut report = Report::default();
    let wanted = |part| setting.part.is_none_or(|only| only == part);
    if wanted(Part::Verify) {
        say("verifying");
        size::measure(setting, &mut report)?;
        verify::in_workerd(setting, &mut report).await?;
        verify::native(setting, &mut report)?;
    }
    if wanted(Part::Edge) {
        say("sending requests through workerd");
        edge::measure(setting, &mut report).await?;
    }
    if wanted(Part::Origin) {
        say("logging in, refreshing and asking at the origin");
        origin::measure(setting, &mut report).await?;
    }
    if wanted(Part::Revocation) {
        say("logging out and waiting to be refused");
        revocation::measure(setting, &mut report).await?;
    }
    if wanted(Part::List) {
        say("opening large lists and following them");
        lists::measure(setting, &mut report).await?;
    }
    // By itself only: it takes long, and tells of no speed.
    if setting.part == Some(Part::Enumeration) {
        say("asking about people who have an account and people who have none");
        enumeration::measure(setting, setting.attempts, &mut report).await?;
    }
    Ok(report)
}

fn say(what: &str) {
    // Progress is for a person; a closed terminal is no reason to stop.
    let _ = writeln!(std::io::stderr(), "bench: {what}");
}
