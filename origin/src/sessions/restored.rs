//! After a restore: the database is a copy from the past, and what was ended since looks alive.
//!
//! Nothing here can know what happened after the copy was made. So everything that could have been
//! taken back since is: every session ends, every key that the copy knows is revoked, and with it
//! every access token, whether or not its revocation is still known; codes and links that wait are
//! void, and no device is trusted. People log in again.
//!
//! A new restore epoch tells refresh tokens of before and after apart, so that one that is ahead
//! of the copy is refused without an alarm of theft.

use super::store;
use crate::abuse::{captcha, devices};
use crate::accounts::contacts;
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Actor, Event, Kind, Outcome};
use crate::notify::notices;
use crate::{login, tokens};

/// Whether anything happened between the copy and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Something may have: the copy is older than the last request.
    Unknown,
    /// Nothing did, as when a stopped server moved to another machine: sessions stay.
    Nothing,
}

/// What was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenBack {
    /// Sessions that were ended.
    pub sessions: u64,
    /// Keys that were revoked.
    pub keys: usize,
}

/// Tells the database that it was restored. Repeating it takes back what has begun since.
///
/// # Errors
/// When the database fails; then it is to be repeated.
pub async fn restored(state: &State, since: Since) -> Result<TakenBack, Error> {
    let mut tx = state.db.write().await?;
    tokens::store::raise(&mut tx, "restore_epoch").await?;
    if since == Since::Nothing {
        tx.commit().await?;
        return Ok(TakenBack {
            sessions: 0,
            keys: 0,
        });
    }
    let event = Event::new(Kind::Restore, Outcome::Success, Actor::Operator);
    events::record(state, &mut tx, &event).await?;
    let sessions = store::end_every(&mut tx, state.clock.now(), "restored").await?;
    login::forget_pending(&mut tx).await?;
    devices::forget_every(&mut tx).await?;
    contacts::void_all(&mut tx).await?;
    captcha::withdraw_all(&mut tx).await?;
    notices::forget_all(&mut tx).await?;
    tx.commit().await?;
    let keys = state.keyring.replace_all().await?;
    tracing::warn!(sessions, keys, "the database was restored; sessions ended");
    Ok(TakenBack { sessions, keys })
}
