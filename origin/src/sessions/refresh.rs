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
use super::{Details, Ending, Tokens};
use crate::abuse::anomaly;
use crate::accounts;
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::ReuseEnds;
use crate::db::Tx;
use crate::error::Error;
use crate::events::{self, Actor, Event, Kind, Outcome};
use crate::ids::SessionId;
use crate::request::Caller;
use crate::vault::Secret;

/// How a token stands to its session, which is live.
enum Standing {
    /// It is the one that is good.
    Present,
    /// Its successor was made within the grace.
    Previous,
    /// Its successor was made before: somebody has a copy.
    UsedUp,
    /// The database was restored since, or it was made by one that is not here any more.
    Foreign(&'static str),
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
    let session = if let Some(session) = rotated {
        session
    } else {
        let session = live(&mut tx, token, now).await?;
        match standing(state, &session, token, now) {
            // It would have rotated: it is the account that is not active.
            Standing::Present => return Err(Error::SessionEnded),
            Standing::Previous => {
                if store::was_stepped_up_to(&mut tx, session.id, session.counter).await? {
                    return Err(Error::RefreshInvalid("of before a proof in its session"));
                }
                session
            }
            Standing::UsedUp => {
                end_reused(state, &mut tx, &session).await?;
                tx.commit().await?;
                return Err(Error::RefreshReused);
            }
            Standing::Foreign(why) => return Err(Error::RefreshInvalid(why)),
        }
    };
    let user = accounts::find_active(state, &mut tx, session.user_id)
        .await?
        .ok_or(Error::SessionEnded)?;
    let whose = (session.user_id, session.id);
    let before = Details::of(state, &session)?.seen;
    let looked = anomaly::refresh(state, &mut tx, caller, whose, before.as_ref()).await?;
    if looked.ended {
        let told = state
            .mailer
            .keep(&mut tx, session.user_id, looked.message)
            .await?;
        tx.commit().await?;
        state.mailer.deliver(told);
        return Err(Error::SessionEnded);
    }
    // What was found may have changed what the tokens say.
    let session = store::find(&mut tx, session.id).await?;
    let session = session.ok_or(Error::SessionEnded)?;
    let session = with_app_version(state, &mut tx, session, caller).await?;
    let tokens = super::answer(state, &mut tx, &session, user).await?;
    let told = state
        .mailer
        .keep(&mut tx, session.user_id, looked.message)
        .await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    Ok(tokens)
}

/// The session, which remembers the version of the application that refreshes it: an application is
/// brought up to date more often than its owner logs in.
async fn with_app_version(
    state: &State,
    tx: &mut Tx,
    session: SessionRow,
    caller: &Caller,
) -> Result<SessionRow, Error> {
    if caller.app_version.is_none() {
        return Ok(session);
    }
    let details = Details::of(state, &session)?;
    if details.app_version == caller.app_version {
        return Ok(session);
    }
    let details = Details {
        app_version: caller.app_version.clone(),
        ..details
    }
    .seal(state, session.id)?;
    store::set_details(tx, session.id, details.clone()).await?;
    Ok(SessionRow { details, ..session })
}

/// Ends the session of the refresh token that a browser holds, or every session of its owner, for
/// whoever logs out with nothing else; whether the token was used up.
///
/// A token that is nobody's, or whose session is over, has nothing to end.
///
/// # Errors
/// When the database fails.
pub(crate) async fn end_held(
    state: &State,
    tx: &mut Tx,
    held: &Secret,
    all: bool,
) -> Result<bool, Error> {
    let Some(token) = RefreshToken::parse(held.expose(), &state.vault) else {
        return Ok(false);
    };
    let now = state.clock.now();
    let session = match live(tx, token, now).await {
        Ok(session) => session,
        Err(Error::RefreshInvalid(_) | Error::SessionEnded) => return Ok(false),
        Err(error) => return Err(error),
    };
    match standing(state, &session, token, now) {
        Standing::Present | Standing::Previous if all => {
            super::end_of_user(state, tx, session.user_id, Ending::All, "logout").await?;
        }
        Standing::Present | Standing::Previous => {
            super::end(state, tx, session.id, "logout").await?;
        }
        // Whoever shows it may be the thief: it is worth no more than at a refresh.
        Standing::UsedUp => {
            end_reused(state, tx, &session).await?;
            return Ok(true);
        }
        Standing::Foreign(_) => {}
    }
    Ok(false)
}

/// Ends the session of the refresh token that a browser held until it got that of session `by`:
/// nobody could refresh it or log it out any more (ASVS 7.2.4).
///
/// # Errors
/// When the database fails.
pub(crate) async fn end_replaced(state: &State, held: &Secret, by: SessionId) -> Result<(), Error> {
    let token = RefreshToken::parse(held.expose(), &state.vault);
    if let Some(token) = token.filter(|token| token.session_id != by) {
        let mut tx = state.db.write().await?;
        super::end(state, &mut tx, token.session_id, "replaced").await?;
        tx.commit().await?;
    }
    Ok(())
}

/// The session of a token that did not rotate it.
async fn live(tx: &mut Tx, token: RefreshToken, now: Timestamp) -> Result<SessionRow, Error> {
    let session = store::find(tx, token.session_id)
        .await?
        .ok_or(Error::RefreshInvalid("no such session"))?;
    if session.is_live(now) {
        Ok(session)
    } else {
        Err(Error::SessionEnded)
    }
}

fn standing(state: &State, session: &SessionRow, token: RefreshToken, now: Timestamp) -> Standing {
    let (counter, epoch) = (i64::from(token.counter), i64::from(token.epoch));
    if counter == session.counter && epoch == session.epoch {
        return Standing::Present;
    }
    if counter >= session.counter {
        return Standing::Foreign("ahead of its session");
    }
    let is_previous = counter + 1 == session.counter && epoch == session.previous_epoch;
    let grace = Duration::from_secs(state.config.sessions.refresh_grace_seconds);
    if is_previous && now < session.rotated_at + grace {
        return Standing::Previous;
    }
    if is_previous || epoch == session.epoch {
        return Standing::UsedUp;
    }
    Standing::Foreign("of another restore epoch")
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
