//! `edgekeep audit`: whether the audit trail is as it was written.

use std::path::Path;

use anyhow::bail;
use clap::Subcommand;

use crate::events::chain::{self, End};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Follow the whole trail and say whether it holds; prints its end, to be noted elsewhere.
    Verify {
        /// An end that was noted before: the trail must go through it.
        #[arg(long, value_name = "NUMBER:HASH")]
        through: Option<End>,
    },
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(action: Action, file: Option<&Path>) -> anyhow::Result<()> {
    let state = super::open(file).await?;
    let Action::Verify { through } = action;
    let mut reader = state.db.read().await?;
    let outcome = chain::verify(&state.vault, &mut reader, through.as_ref()).await?;
    drop(reader);
    state.db.close().await;
    match outcome {
        Ok(sound) => {
            println!("{} events hold; the end is {}", sound.events, sound.end);
            Ok(())
        }
        Err(broken) => bail!("the audit trail does not hold: {broken}"),
    }
}
