//! The command line: one file for each command, all of them thin.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::app::State;
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::error::Error;
use crate::random::Random;

mod audit;
mod config;
mod doctor;
mod keys;
mod log;
mod migrate;
mod openapi;
mod policy;
mod restored;
mod revoke;
mod serve;
mod sms;
mod tune_argon2;
mod users;
mod vault;
mod verify;

pub use verify::answer_lines;

/// Edgekeep's keep: logs people in, signs their tokens, tells every gate whom to turn away.
#[derive(Debug, Parser)]
#[command(name = "edgekeep", version, arg_required_else_help = true)]
pub struct Command {
    /// Configuration file (TOML); `EDGEKEEP_CONFIG` names it too.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve the API until SIGINT or SIGTERM.
    Serve,
    /// Bring the database's schema up to this version.
    Migrate,
    /// Look at what a start needs and say what to do.
    Doctor,
    /// Print the description of the HTTP API as JSON.
    Openapi,
    /// Make accounts, look at them, change what they may do, help people who have lost their second
    /// factors, close and erase accounts.
    #[command(subcommand)]
    Users(users::Action),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Action),
    /// See, rotate and revoke signing keys.
    #[command(subcommand)]
    Keys(keys::Action),
    /// See and rotate the master key.
    #[command(subcommand)]
    Vault(vault::Action),
    /// Turn away a session, a token or a user; gates follow within seconds.
    Revoke(revoke::Options),
    /// Say, before the first start, that the database was restored from a copy: what was ended
    /// after the copy was made must not come back, so everybody logs in again.
    Restored(restored::Options),
    /// Look at the audit trail.
    #[command(subcommand)]
    Audit(audit::Action),
    /// Measure argon2 on this machine and print settings for it.
    TuneArgon2(tune_argon2::Options),
    /// See what SMS cost and whether their codes come back; close the breaker.
    #[command(subcommand)]
    Sms(sms::Action),
    /// Judge tokens from standard input.
    Verify(verify::Options),
    /// Check a route policy, run its cases, ask which rule decides; all of it offline.
    #[command(subcommand)]
    Policy(policy::Action),
}

impl Command {
    /// Runs the command; what goes wrong is said on standard error.
    pub fn run(self) -> ExitCode {
        // Whatever is made, by whichever command, is its owner's alone: the database and its log
        // hold what the master key does not cover (hashes, times), the outbox holds codes.
        #[cfg(unix)]
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&error.into()),
        };
        let file = self.config.as_deref();
        let outcome = runtime.block_on(async {
            match self.action {
                Action::Serve => serve::run(load(file)?).await,
                Action::Migrate => migrate::run(load(file)?).await,
                Action::Doctor => doctor::run(file).await,
                Action::Openapi => openapi::run(),
                Action::Users(action) => users::run(action, file).await,
                Action::Config(action) => config::run(&action, file),
                Action::Keys(action) => keys::run(action, file).await,
                Action::Vault(action) => vault::run(action, file).await,
                Action::Revoke(options) => revoke::run(options, file).await,
                Action::Restored(options) => restored::run(&options, file).await,
                Action::Audit(action) => audit::run(action, file).await,
                Action::TuneArgon2(options) => tune_argon2::run(&options),
                Action::Sms(action) => sms::run(action, file).await,
                Action::Verify(options) => verify::run(&options),
                Action::Policy(action) => policy::run(&action),
            }
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }
}

/// The runtime, with a worker less than there are cores: each statement of SQL wakes a worker, which
/// on finding something to do wakes another in vain where one is idle, and beside the workers run
/// the threads of SQLite and those that hash. On two cores it saves a login a fifth of what it costs
/// beside its hash. `TOKIO_WORKER_THREADS` says otherwise.
fn runtime() -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads(cores.saturating_sub(1).max(1));
    }
    builder.enable_all().build()
}

#[expect(
    clippy::print_stderr,
    reason = "what goes wrong is said on standard error"
)]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("edgekeep: {}", said(error));
    ExitCode::FAILURE
}

/// An error with what has caused it, each once: some say themselves what has caused them.
fn said(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The configuration of the file and this process's environment.
fn load(file: Option<&Path>) -> anyhow::Result<Config> {
    Ok(Config::load(file, &environment())?)
}

/// This process's environment; variables that are not UTF-8 are none of ours.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The text meant for the one who typed.
fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::RequestInvalid(detail) => anyhow::anyhow!("{detail}"),
        Error::Conflict(detail) => anyhow::anyhow!("{detail}"),
        other => other.into(),
    }
}

/// The state of the instance that the configuration names, for commands that act on it.
async fn open(file: Option<&Path>) -> anyhow::Result<State> {
    let config = load(file)?;
    log::set_up(&config.log)?;
    Ok(State::open(config, Clock::System, Random::Os).await?)
}
