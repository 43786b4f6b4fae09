//! Codes by mail and SMS as second factor, for those who chose them.
//!
//! Six digits, five minutes and three tries, as for logging in by code; bound to the login that
//! waits (ASVS 6.6.2): a code that was sent for another login of the same account does not match.

use crate::abuse::delay::Guessed;
use crate::abuse::{Subject, guesses, sends};
use crate::accounts::{self, Kind};
use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::login::codes::{self, CodeFor, Key};
use crate::login::messages;
use crate::request::Caller;
use crate::vault::Secret;

/// The word under which these messages are counted.
const SENDS: &str = CodeFor::SecondFactor.as_str();

/// Sends a code to the account's address of this kind for the login that `token` stands for.
///
/// # Errors
/// [`Error::RateLimited`] after as many messages as one address gets in an hour.
pub(crate) async fn send(
    state: &State,
    caller: &Caller,
    user_id: UserId,
    kind: Kind,
    token: &Secret,
) -> Result<(), Error> {
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let address = accounts::proved_address(state, &mut tx, user_id, kind).await?;
    let (blind, to) = address.ok_or(Error::CodeInvalid("no address to send a code to"))?;
    if kind == Kind::Phone {
        sends::pace(state, &mut tx, &blind, now).await?;
    }
    let limit = state.config.otp.sends_per_hour;
    sends::count(&mut tx, SENDS, &blind, limit, now).await?;
    state.limiter.message()?;
    let subject = Subject::factor(&state.vault, user_id, kind.as_str())?;
    let deliverable = !guesses::suspended(&mut tx, &subject).await?;
    let code = codes::issue_bound(
        state,
        &mut tx,
        CodeFor::SecondFactor,
        &blind,
        &[],
        &bound(kind, token),
        deliverable,
    )
    .await?;
    let asked = (kind, CodeFor::SecondFactor);
    codes::note_asked(state, &mut tx, caller, asked, Some(user_id)).await?;
    tx.commit().await?;
    if deliverable && let Some(message) = messages::second_factor_code(kind, &to, &code) {
        state.mailer.send(message.asked_by(caller.address));
    }
    Ok(())
}

/// Compares a code with the one that was sent to this kind of address for `token`, unless `guessed`
/// comes too soon.
pub(super) async fn guess(
    state: &State,
    kind: Kind,
    token: &Secret,
    code: &Secret,
    guessed: Option<&Guessed>,
) -> Result<codes::Guess, Error> {
    let token = bound(kind, token);
    let key = Key::Token(&token);
    codes::guess_delayed(state, CodeFor::SecondFactor, key, code, guessed).await
}

/// What a code is bound to: one login may have one of each kind.
fn bound(kind: Kind, token: &Secret) -> Secret {
    Secret::new(format!("{}:{}", kind.as_str(), token.expose()))
}
