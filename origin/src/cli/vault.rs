//! `edgekeep vault`: the master key of the instance in the data folder.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use clap::Subcommand;
use zeroize::Zeroizing;

use crate::clock::{Clock, Timestamp};
use crate::random::Random;
use crate::tokens::keyring::rfc3339;
use crate::vault::kms::Kms;
use crate::vault::rotation::{self, Step};
use crate::vault::status::{self, Status, VersionStatus};
use crate::vault::{MasterKeys, binding, master};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Say what is under which version of the master key, and which may be taken away.
    Status,
    /// Let the highest configured version take over, and seal anew what older ones sealed.
    ///
    /// Servers go on meanwhile. May be interrupted and repeated at any time.
    Rotate {
        /// End every session whose refresh token an older version made, so that it may be taken
        /// away at once: for a master key that leaked.
        #[arg(long)]
        end_sessions: bool,
    },
    /// Have the configured key management service wrap a new master key; prints the line for
    /// `secrets.wrapped_keys`. Changes nothing.
    Wrap {
        /// Its version; one above the highest that is configured unless given.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
        version: Option<u8>,
        /// Wrap the keys on standard input, lines `<version>:<key>`, instead of making one: for
        /// moving from a file to the service.
        #[arg(long, conflicts_with = "version")]
        stdin: bool,
    },
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(action: Action, file: Option<&Path>) -> anyhow::Result<()> {
    if let Action::Wrap { version, stdin } = action {
        return wrap(version, stdin, file).await;
    }
    let state = super::open(file).await?;
    match action {
        Action::Status | Action::Wrap { .. } => {}
        Action::Rotate { end_sessions } => {
            binding::take_over(&state.db, &state.vault, &state.clock).await?;
            let sealing = state.vault.current_version();
            println!("master key version {sealing} seals");
            rotation::rotate(&state, |rotation, step| match step {
                Step::Worked => {}
                Step::Settling(_) => println!(
                    "{} values were sealed anew; look-ups go to the new index, servers follow",
                    rotation.sealed_anew
                ),
                Step::Complete => println!("nothing is under an older version"),
            })
            .await?;
            if end_sessions {
                let count = rotation::end_sessions(&state).await?;
                println!("{count} sessions were ended");
            }
        }
    }
    let mut reader = state.db.read().await?;
    let status = status::status(&mut reader, state.clock.now()).await?;
    drop(reader);
    for line in lines(&status) {
        println!("{line}");
    }
    state.db.close().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's result")]
async fn wrap(version: Option<u8>, stdin: bool, file: Option<&Path>) -> anyhow::Result<()> {
    let secrets = super::load(file)?.secrets;
    let kms = Kms::of(&secrets, &Clock::System)?
        .context("expected secrets.provider \"aws_kms\" or \"vault_transit\"")?;
    if stdin {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input")?;
        let keys = MasterKeys::parse(&text)?;
        for (version, key) in keys.versions() {
            println!("{version}:{}", kms.wrap(version, key).await?);
        }
        return Ok(());
    }
    let highest = master::wrapped(&secrets)?.into_keys().next_back();
    let version = match version {
        Some(version) => version,
        None => highest
            .unwrap_or(0)
            .checked_add(1)
            .context("version 255 is the last")?,
    };
    let key = Zeroizing::new(Random::Os.bytes::<32>());
    println!("{version}:{}", kms.wrap(version, &key).await?);
    Ok(())
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for version in &status.versions {
        lines.push(format!(
            "version {}: {}",
            version.version,
            role(status, version)
        ));
        for need in &version.needs {
            let until = need
                .until
                .map(|until| format!(" until {}", rfc3339(until)))
                .unwrap_or_default();
            lines.push(format!("  {:>9}  {}{until}", need.count, need.what));
        }
        if version.version != status.sealing && version.passwords > 0 {
            lines.push(format!(
                "  {:>9}  passwords of its pepper, which is kept",
                version.passwords
            ));
        }
    }
    lines
}

fn role(status: &Status, version: &VersionStatus) -> String {
    let since = |at: Timestamp| rfc3339(at);
    if version.version == status.sealing {
        let completed = match version.completed_at {
            Some(at) => format!("everything is under it since {}", since(at)),
            None => "older ones are being sealed anew".to_owned(),
        };
        return format!("seals since {}; {completed}", since(version.began_at));
    }
    match version.retired_at {
        Some(at) => format!("was taken away by {}", since(at)),
        None if version.needs.is_empty() => "may be taken away".to_owned(),
        None => "is needed".to_owned(),
    }
}
