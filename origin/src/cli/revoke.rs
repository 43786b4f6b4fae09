//! `edgekeep revoke`: turns away a session, a token or a whole subject.

use std::path::Path;

use anyhow::bail;
use clap::Args;

use crate::accounts::status::By;
use crate::ids::SessionId;
use crate::revocation::order::{self, Target};

/// One of the three.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Options {
    /// The session with this `sid`: it ends, and its tokens are turned away.
    #[arg(long, value_name = "ID")]
    sid: Option<String>,
    /// The access token with this `jti`.
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// The user with this `sub`: their sessions end, and every token issued until now is turned away.
    #[arg(long, value_name = "ID")]
    sub: Option<String>,
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(options: Options, file: Option<&Path>) -> anyhow::Result<()> {
    let target = match (&options.sid, &options.jti, &options.sub) {
        (Some(sid), ..) => Target::Session(sid),
        (_, Some(jti), _) => Target::Token(jti),
        (.., Some(sub)) => Target::Subject(sub),
        (None, None, None) => bail!("expected --sid, --jti or --sub"),
    };
    // Before anything is opened: what cannot be an identifier is not worth a database.
    order::check(target).map_err(super::plain)?;
    // The form alone: after a restore, a session to turn away may be younger than the database.
    if let Target::Session(sid) = target
        && sid.parse::<SessionId>().is_err()
    {
        bail!("{sid:?} cannot be a session: give the `sid` claim of its tokens, a UUID");
    }
    let state = super::open(file).await?;
    let mut tx = state.db.write().await?;
    let done = order::revoke(&state, &mut tx, By::OPERATOR, target).await?;
    tx.commit().await?;
    let unknown = match (done.known, target) {
        (Some(false), Target::Session(_)) => " (this database has no such session that is open)",
        (Some(false), _) => " (this database has no such account that is active)",
        _ => "",
    };
    println!("{} is revoked{unknown}", done.what);
    state.db.close().await;
    Ok(())
}
