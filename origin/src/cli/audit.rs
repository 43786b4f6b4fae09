//! `edgekeep audit`: whether the audit trail is as it was written, and what to do where it is not.

use std::path::Path;

use anyhow::{bail, ensure};
use clap::Subcommand;

use crate::app::State;
use crate::events::chain::{self, Broken, End, Sound};
use crate::events::seals::{self, BeginError, Seal};
use crate::tokens::keyring::rfc3339;

/// Longest name of who begins a trail, in bytes.
const MAX_NAME: usize = 200;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Follow the whole trail and say whether it holds; prints its end, to be noted elsewhere.
    Verify {
        /// An end that was noted before: the trail must go through it.
        #[arg(long, value_name = "NUMBER:HASH")]
        through: Option<End>,
    },
    /// Seal a trail that does not hold as it is, and begin another behind it.
    ///
    /// What was altered stays to be looked at, and is not made good by this: `verify` tells of it from
    /// then on, beside the new trail, whose first event says what was found and who began it.
    Begin {
        /// Who begins it.
        #[arg(long, value_name = "NAME")]
        by: String,
        /// Do it; without this it is only said what is wrong.
        #[arg(long)]
        yes: bool,
        /// An end that was noted before: the trail does not hold where it does not go through it.
        #[arg(long, value_name = "NUMBER:HASH")]
        through: Option<End>,
    },
}

pub(super) async fn run(action: Action, file: Option<&Path>) -> anyhow::Result<()> {
    let state = super::open(file).await?;
    let done = match action {
        Action::Verify { through } => verify(&state, through.as_ref()).await,
        Action::Begin { by, yes, through } => begin(&state, by.trim(), yes, through.as_ref()).await,
    };
    state.db.close().await;
    done
}

async fn follow(state: &State, through: Option<&End>) -> anyhow::Result<Result<Sound, Broken>> {
    let mut reader = state.db.read().await?;
    Ok(chain::verify(&state.vault, &mut reader, through).await?)
}

#[expect(clippy::print_stdout, reason = "the command's result")]
async fn verify(state: &State, through: Option<&End>) -> anyhow::Result<()> {
    match follow(state, through).await? {
        Ok(sound) => {
            for seal in &sound.seals {
                println!("{}", line(seal));
            }
            println!("{} events hold; the end is {}", sound.events, sound.end);
            Ok(())
        }
        Err(broken) => bail!("the audit trail does not hold: {broken}"),
    }
}

#[expect(clippy::print_stdout, reason = "the command's result")]
async fn begin(state: &State, by: &str, yes: bool, through: Option<&End>) -> anyhow::Result<()> {
    ensure!(
        (1..=MAX_NAME).contains(&by.len()) && !by.contains(char::is_control),
        "--by: expected 1 to {MAX_NAME} printable bytes"
    );
    if !yes {
        // Nothing is sealed that was not said first, whatever becomes of the trail meanwhile.
        match follow(state, through).await? {
            Ok(_) => return Err(BeginError::Holds.into()),
            Err(broken) => bail!(
                "the audit trail does not hold: {broken}. Keep a copy of the database to look at; \
                 with --yes the trail is sealed as it is, and another begins behind it"
            ),
        }
    }
    let seal = seals::begin(state, by, through).await?;
    println!("{}", line(&seal));
    println!("event {} begins another trail", seal.last + 1);
    Ok(())
}

fn line(seal: &Seal) -> String {
    format!(
        "{} events up to {} do not hold and are as they were sealed on {}: {}",
        seal.events,
        seal.last,
        rfc3339(seal.sealed_at),
        seal.found
    )
}
