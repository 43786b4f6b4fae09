//! `edgekeep config check`

use std::path::Path;

use clap::Subcommand;

use crate::revocation::policy;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Read the configuration, and the policy that it names, and say whether they are understood.
    Check,
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn run(action: &Action, file: Option<&Path>) -> anyhow::Result<()> {
    match action {
        Action::Check => {
            let config = super::load(file)?;
            if let Some(file) = &config.gate.policy_file {
                policy::read(file).map_err(|error| anyhow::anyhow!("gate.policy_file: {error}"))?;
            }
            println!("configuration is understood; issuer {}", config.issuer());
            Ok(())
        }
    }
}
