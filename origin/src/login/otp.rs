//! Logging in with a one-time code, which finds or makes the account of a proved address.

use serde::{Deserialize, Serialize};

use super::codes::{self, CodeFor, Key};
use super::conclude::{FirstFactor, LoggedIn, conclude};
use super::messages;
use crate::abuse::{Subject, captcha, guesses, lockout, sends};
use crate::accounts::{self, Identifier, Kind, NewAccount};
use crate::app::State;
use crate::error::Error;
use crate::events;
use crate::request::Caller;
use crate::vault::Secret;

/// The address, in the spelling that the code went to.
#[derive(Serialize, Deserialize)]
struct Recipient {
    kind: Kind,
    spelling: String,
}

/// Sends a code; the token that it is bound to comes back whether or not anything was sent.
pub(super) async fn send(
    state: &State,
    caller: &Caller,
    address: &Identifier,
) -> Result<Secret, Error> {
    let blind = address.blind(&state.vault)?;
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    if address.kind() == Kind::Phone {
        sends::pace(state, &mut tx, &blind, now).await?;
    }
    let limit = state.config.otp.sends_per_hour;
    sends::count(&mut tx, sends::ASKED, &blind, limit, now).await?;
    state.limiter.message()?;
    let looked_up = accounts::look_up(&state.vault, &mut tx, address.kind(), &blind).await?;
    let subject = Subject::of(&state.vault, looked_up.user_id(), &blind)?;
    let codes_off = guesses::suspended(&mut tx, &subject).await?;
    let deliverable = looked_up.holder().is_none_or(|holder| holder.active) && !codes_off;
    let recipient = Recipient {
        kind: address.kind(),
        spelling: looked_up.spelling(state, address)?,
    };
    let payload = serde_json::to_vec(&recipient).map_err(|_| Error::internal("address as JSON"))?;
    let issued = codes::issue(
        state,
        &mut tx,
        CodeFor::Login,
        &blind,
        &payload,
        deliverable,
    )
    .await?;
    let asked = (recipient.kind, CodeFor::Login);
    codes::note_asked(state, &mut tx, caller, asked, looked_up.user_id()).await?;
    tx.commit().await?;
    if let Some(message) = messages::login_code(recipient.kind, &recipient.spelling, &issued.code) {
        let message = message.asked_by(caller.address);
        if deliverable {
            state.mailer.send(message);
        } else {
            state.mailer.pretend(message);
        }
    }
    Ok(issued.token)
}

/// Logs in whoever holds the code; what is refused is in the trail.
pub(super) async fn verify(
    state: &State,
    caller: &Caller,
    token: &Secret,
    code: &Secret,
    device_id: Option<String>,
) -> Result<LoggedIn, Error> {
    let outcome = prove(state, caller, token, code, device_id).await;
    let what = (events::Kind::Login, CodeFor::Login);
    let refusal = outcome.as_ref().err();
    codes::note_refusal(state, caller, what, Key::Token(token), refusal).await?;
    outcome
}

async fn prove(
    state: &State,
    caller: &Caller,
    token: &Secret,
    code: &Secret,
    device_id: Option<String>,
) -> Result<LoggedIn, Error> {
    let guess = codes::guess(state, CodeFor::Login, Key::Token(token), code).await?;
    let recipient: Recipient = serde_json::from_slice(&guess.payload)
        .map_err(|_| Error::internal("stored address is not JSON"))?;
    let mut tx = state.db.write().await?;
    let holder = accounts::holder(&mut tx, recipient.kind, &guess.recipient).await?;
    if let Some(holder) = holder {
        // A locked account is locked on every way in; its owner may be told.
        let subject = Subject::account(&state.vault, holder.user_id)?;
        let standing = lockout::standing(&mut tx, &subject, state.clock.now()).await?;
        if let Some(wait) = standing.locked_for {
            // The guess was right: it counts against nobody.
            codes::release(&mut tx, &guess).await?;
            tx.commit().await?;
            return Err(Error::AccountLocked(wait));
        }
    }
    codes::consume(&mut tx, CodeFor::Login, &guess).await?;
    captcha::note_proof(state, &mut tx, caller, recipient.kind, &guess.recipient).await?;
    let user_id = match holder {
        Some(holder) if !holder.active => return Err(Error::CodeInvalid("account not active")),
        Some(holder) => {
            accounts::prove(
                state,
                &mut tx,
                holder.user_id,
                recipient.kind,
                &guess.recipient,
            )
            .await?;
            holder.user_id
        }
        None => {
            let identifier = match recipient.kind {
                Kind::Phone => Identifier::phone(&recipient.spelling, None)?,
                Kind::Email | Kind::Username => Identifier::email(&recipient.spelling)?,
            };
            // A registration that waited for the same address is void: its password was set
            // before the proof, by whoever.
            codes::withdraw(&mut tx, CodeFor::Registration, &guess.recipient).await?;
            let account = NewAccount {
                identifiers: &[(identifier, true)],
                ..NewAccount::default()
            };
            let user_id = accounts::create(state, &mut tx, &account).await?;
            accounts::note_made(state, &mut tx, user_id, recipient.kind.method()).await?;
            user_id
        }
    };
    let first = FirstFactor {
        user_id,
        method: recipient.kind.method(),
        amr: &["otp"],
        sent_to: Some(recipient.kind),
        caller,
        device_id,
        device_token: None,
        proved_at: None,
    };
    conclude(state, tx, first).await
}
