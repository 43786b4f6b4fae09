//! `edgekeep vault`: the master key of the instance in the data folder.

use std::path::Path;

use clap::Subcommand;

use crate::clock::Timestamp;
use crate::tokens::keyring::rfc3339;
use crate::vault::binding;
use crate::vault::rotation::{self, Step};
use crate::vault::status::{self, Status, VersionStatus};

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
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(action: Action, file: Option<&Path>) -> anyhow::Result<()> {
    let state = super::open(file).await?;
    match action {
        Action::Status => {}
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
