//! `edgekeep config check`

use std::path::Path;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Read the configuration and say whether it is understood.
    Check,
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn run(action: &Action, file: Option<&Path>) -> anyhow::Result<()> {
    match action {
        Action::Check => {
            let config = super::load(file)?;
            println!("configuration is understood; issuer {}", config.issuer());
            Ok(())
        }
    }
}
