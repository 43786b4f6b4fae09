//! Refreshing: one refresh token of a session is good at a time, and using it makes the next.
//!
//! | the token's counter is | answer |
//! |---|---|
//! | the row's | rotated; the successor |
//! | one less, within the grace | the same successor again: an answer was lost, or a client asked twice |
//! | the same, but the successor was made by a proof within the session | `refresh_invalid`; the session stays: who has proved nothing must not get what the proof was worth |
//! | less | `refresh_reused`: somebody has a copy; the session ends, the event is kept |
//! | more, or of another restore epoch | `refresh_invalid`: the database was restored, nobody stole anything |
//! | any, but the session ended or ran out | `session_ended` |
//! | the row's, but the session rotated too often lately | `rate_limited`; it stays good |

use std::time::Duration;

use super::refresh_token::RefreshToken;
use super::store::{self, SessionRow};
use super::{Ending, Tokens};
use crate::abuse::anomaly;
use crate::accounts;
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::ReuseEnds;
use crate::db::Tx;
use crate::error::Error;
use crate::events::{self, Actor, Event, Kind, Outcome};
use crate::notify::Message;
use crate::request::Caller;

/// What a token that did not rotate its session is.
enum Repeated {
    /// The same successor may be given again.
    Within(SessionRow),
    /// Its successor was used: somebody has a copy.
    Reused(SessionRow),
}

/// Exchanges a refresh token for its successor and a new access token.
///
/// # Errors
/// As in the table above; what must be remembered is committed before.
pub async fn refresh(state: &State, caller: &Caller, text: &str) -> Result<Tokens, Error> {
    let token =
        RefreshToken::parse(text, &state.vault).ok_or(Error::RefreshInvalid("not one of ours"))?;
    state
        .limiter
        .refresh(caller, token.session_id, token.counter)?;
    let now = state.clock.now();
    let idle_until = now + Duration::from_secs(state.config.sessions.idle_seconds);
    let mut tx = state.db.write().await?;
    let rotated = store::rotate(
        &mut tx,
        token.session_id,
        i64::from(token.counter),
        i64::from(token.epoch),
        now,
        idle_until,
    )
    .await?;
    let session = match rotated {
        Some(session) => session,
        None => match repeated(state, &mut tx, token, now).await? {
            Repeated::Within(session) => session,
            Repeated::Reused(session) => {
                end_reused(state, &mut tx, &session).await?;
                tx.commit().await?;
                return Err(Error::RefreshReused);
            }
        },
    };
    let user = accounts::find_active(state, &mut tx, session.user_id)
        .await?
        .ok_or(Error::SessionEnded)?;
    let whose = (session.user_id, session.id);
    let before = super::Details::open(state, &session)?.seen;
    let looked = anomaly::refresh(state, &mut tx, caller, whose, before.as_ref()).await?;
    if looked.ended {
        tx.commit().await?;
        tell(state, looked.message);
        return Err(Error::SessionEnded);
    }
    // What was found may have changed what the tokens say.
    let session = store::find(&mut tx, session.id).await?;
    let session = session.ok_or(Error::SessionEnded)?;
    let tokens = super::answer(state, &mut tx, &session, user).await?;
    tx.commit().await?;
    tell(state, looked.message);
    Ok(tokens)
}

fn tell(state: &State, message: Option<Message>) {
    if let Some(message) = message {
        state.mailer.send(message);
    }
}

/// Why nothing was rotated.
async fn repeated(
    state: &State,
    tx: &mut Tx,
    token: RefreshToken,
    now: Timestamp,
) -> Result<Repeated, Error> {
    let session = store::find(tx, token.session_id)
        .await?
        .ok_or(Error::RefreshInvalid("no such session"))?;
    let (counter, epoch) = (i64::from(token.counter), i64::from(token.epoch));
    // The present token would have rotated: it is the account that is not active.
    let is_present = counter == session.counter && epoch == session.epoch;
    if is_present || !session.is_live(now) {
        return Err(Error::SessionEnded);
    }
    if counter >= session.counter {
        return Err(Error::RefreshInvalid("ahead of its session"));
    }
    let is_previous = counter + 1 == session.counter && epoch == session.previous_epoch;
    let grace = Duration::from_secs(state.config.sessions.refresh_grace_seconds);
    if is_previous && now < session.rotated_at + grace {
        if store::was_stepped_up_to(tx, session.id, session.counter).await? {
            return Err(Error::RefreshInvalid("of before a proof in its session"));
        }
        return Ok(Repeated::Within(session));
    }
    if is_previous || epoch == session.epoch {
        return Ok(Repeated::Reused(session));
    }
    Err(Error::RefreshInvalid("of another restore epoch"))
}

async fn end_reused(state: &State, tx: &mut Tx, session: &SessionRow) -> Result<(), Error> {
    super::end(state, tx, session.id, "reuse").await?;
    if state.config.sessions.reuse_ends == ReuseEnds::User {
        super::end_of_user(state, tx, session.user_id, Ending::All, "reuse").await?;
    }
    let event = Event::new(Kind::RefreshReuse, Outcome::Failure, Actor::Anonymous)
        .about(session.user_id)
        .session(session.id);
    events::record(state, tx, &event).await?;
    tracing::warn!(session = %session.id, "refresh token reused; session ended");
    Ok(())
}
