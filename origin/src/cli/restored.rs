//! `edgekeep restored`

use std::path::Path;

use clap::Args;

use crate::sessions::{self, Since};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Nothing happened since the copy was made (a stopped server that moved): keep its sessions.
    #[arg(long)]
    keep_sessions: bool,
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(options: &Options, file: Option<&Path>) -> anyhow::Result<()> {
    let state = super::open(file).await?;
    let since = if options.keep_sessions {
        Since::Nothing
    } else {
        Since::Unknown
    };
    let taken = sessions::restored(&state, since).await?;
    state.db.close().await;
    match since {
        Since::Unknown => println!(
            "{} sessions ended and {} keys revoked: everybody logs in again",
            taken.sessions, taken.keys
        ),
        Since::Nothing => println!("a new restore epoch began; sessions stay"),
    }
    Ok(())
}
