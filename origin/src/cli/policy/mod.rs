//! `edgekeep policy`: looks at a route policy without a gate. No database, no configuration, no
//! network.
//!
//! The verdicts come from the decision function that gates run ([`edgekeep_shared::gate::decide`]).
//! Where a token is only described, or given without its issuer's keys, a token that says the same
//! is signed by a key made for this run.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use edgekeep_shared::policy::Policy;

mod cases;
mod check;
mod describe;
mod explain;
mod judge;
mod notes;

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Say whether a gate would take the policy, and list its rules.
    Check {
        /// The policy (TOML).
        file: PathBuf,
    },
    /// Run the cases (`[[test]]`) that the policy carries.
    #[command(after_help = cases::HELP)]
    Test {
        /// The policy (TOML).
        file: PathBuf,
    },
    /// Say which rule decides about a request, and why.
    Explain(Box<explain::Options>),
}

pub(super) fn run(action: &Action) -> anyhow::Result<()> {
    match action {
        Action::Check { file } => check::run(file),
        Action::Test { file } => cases::run(file),
        Action::Explain(options) => explain::run(options),
    }
}

/// The text of a policy and what it compiles to; the error names file, line and column.
fn read(file: &Path) -> anyhow::Result<(String, Policy)> {
    Ok(crate::revocation::policy::read(file)?)
}
