//! `edgekeep revoke`: turns away a session, a token or a whole subject.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use edgekeep_shared::time::UnixTime;
use serde_json::Value;

use crate::accounts;
use crate::app::State;
use crate::events::{self, Actor, Change, Event, Kind, Outcome};
use crate::ids::{SessionId, UserId};
use crate::revocation::{self, Revoked};
use crate::sessions::{self, Ending};

/// Longest identifier taken, in bytes: ours have 36.
const MAX_ID_BYTES: usize = 256;

/// One of the three.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Target {
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
pub(super) async fn run(target: Target, file: Option<&Path>) -> anyhow::Result<()> {
    let ids = [&target.sid, &target.jti, &target.sub];
    if ids
        .into_iter()
        .flatten()
        .any(|id| id.is_empty() || id.len() > MAX_ID_BYTES)
    {
        bail!("expected an identifier of 1 to {MAX_ID_BYTES} bytes");
    }
    let state = super::open(file).await?;
    println!("{}", revoke(&state, &target).await?);
    state.db.close().await;
    Ok(())
}

/// Writes the entry whether or not the database knows what it names: after a restore, what is to
/// be turned away may be younger than the database.
async fn revoke(state: &State, target: &Target) -> anyhow::Result<String> {
    let now = state.clock.now();
    let life = state.keyring.ring().longest_token_seconds();
    let life = Duration::from_secs(u64::try_from(life).unwrap_or(0));
    // A second more: a token issued right after a subject's revocation begins in the next one.
    let until = Some(revocation::until(now + life + Duration::from_secs(1)));
    let mut tx = state.db.write().await?;
    let mut unknown = "";
    // As tokens spell it, however it was typed: the entry is compared as text.
    let canonical;
    let (what, entry) = match (&target.sid, &target.jti, &target.sub) {
        (Some(sid), _, _) => {
            let id = sid.parse::<SessionId>().ok();
            let known = match id {
                Some(id) => sessions::end(state, &mut tx, id, "operator").await?,
                None => false,
            };
            if !known {
                unknown = " (this database has no such session that is open)";
            }
            canonical = id.map_or_else(|| sid.clone(), |id| id.to_string());
            (
                format!("session {canonical}"),
                Revoked::SessionNamed(&canonical),
            )
        }
        (_, Some(jti), _) => (format!("token {jti}"), Revoked::Token(jti)),
        (_, _, Some(sub)) => {
            let id = sub.parse::<UserId>().ok();
            let known = match id {
                Some(id) => {
                    sessions::end_of_user(state, &mut tx, id, Ending::All, "operator").await?;
                    accounts::find_active(state, &mut tx, id).await?.is_some()
                }
                None => false,
            };
            if !known {
                unknown = " (this database has no such account that is active)";
            }
            canonical = id.map_or_else(|| sub.clone(), |id| id.to_string());
            let entry = Revoked::Subject(&canonical, UnixTime(now.unix_seconds()));
            (format!("subject {canonical}"), entry)
        }
        (None, None, None) => bail!("expected --sid, --jti or --sub"),
    };
    revocation::record(&state.signal, &mut tx, entry, until, now, "operator").await?;
    let event = Event::new(Kind::Revocation, Outcome::Success, Actor::Operator)
        .changing(Change::new(Value::Null, what.as_str()));
    events::record(state, &mut tx, &event).await?;
    tx.commit().await?;
    Ok(format!("{what} is revoked{unknown}"))
}
