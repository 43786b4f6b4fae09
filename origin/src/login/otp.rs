//! Logging in with a one-time code, which finds or makes the account of a proved address.

use serde::{Deserialize, Serialize};

use super::codes::{self, Bond, CodeFor, Key, On};
use super::conclude::{Counted, FirstFactor, LoggedIn, conclude};
use super::messages;
use crate::abuse::{Subject, captcha, devices, guesses, sends};
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

/// The device on which somebody logs in.
#[derive(Default)]
pub(super) struct Device {
    /// As the client names it.
    pub(super) id: Option<String>,
    /// What an earlier login on it has answered.
    pub(super) token: Option<Secret>,
}

/// Sends a code; the token that it is bound to comes back whether or not anything was sent. Where the
/// device has a name, the code is good on no other.
///
/// To a device that is trusted codes are sent though strangers' guesses have turned them off, and are
/// counted apart from those that strangers ask for, neither of which ends the other: three requests
/// an hour by anybody must not keep out somebody who has no other way in.
pub(super) async fn send(
    state: &State,
    caller: &Caller,
    address: &Identifier,
    device: &Device,
) -> Result<Secret, Error> {
    let blind = address.blind(&state.vault)?;
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let looked_up = accounts::look_up(&state.vault, &mut tx, address.kind(), &blind).await?;
    let user_id = looked_up.user_id();
    // Before anything is counted: what is counted depends on it.
    let trusted = match &device.token {
        Some(token) => devices::is_trusted(state, &mut tx, token, user_id).await?,
        None => false,
    };
    let purpose = if trusted {
        CodeFor::TrustedLogin
    } else {
        CodeFor::Login
    };
    match address.kind() {
        Kind::Phone if trusted => {
            sends::pace_own(state, &mut tx, sends::TRUSTED, &blind, now).await?;
        }
        Kind::Phone => sends::pace(state, &mut tx, &blind, now).await?,
        Kind::Email | Kind::Username => {}
    }
    let limit = state.config.otp.sends_per_hour;
    sends::count(&mut tx, purpose.as_str(), &blind, limit, now).await?;
    state.limiter.message()?;
    let subject = Subject::of(&state.vault, user_id, &blind)?;
    let is_off = guesses::suspended(&mut tx, &subject).await?;
    let deliverable = looked_up.holder().is_none_or(|holder| holder.active) && (trusted || !is_off);
    let recipient = Recipient {
        kind: address.kind(),
        spelling: looked_up.spelling(state, address)?,
    };
    let payload = serde_json::to_vec(&recipient).map_err(|_| Error::internal("address as JSON"))?;
    let token = codes::new_token(state);
    let named = device.id.as_deref().or(caller.device_id.as_deref());
    let bond = Bond {
        token: &token,
        device: named,
        place: None,
    };
    let code =
        codes::issue_bound(state, &mut tx, purpose, &blind, &payload, bond, deliverable).await?;
    let asked = (recipient.kind, CodeFor::Login);
    codes::note_asked(state, &mut tx, caller, asked, user_id).await?;
    tx.commit().await?;
    if let Some(message) = messages::login_code(recipient.kind, &recipient.spelling, &code) {
        let message = message.asked_by(caller.address);
        let message = if trusted {
            message.on_trusted_device()
        } else {
            message
        };
        if deliverable {
            state.mailer.send(message);
        } else {
            state.mailer.pretend(message);
        }
    }
    Ok(token)
}

/// Logs in whoever holds the code; what is refused is in the trail.
pub(super) async fn verify(
    state: &State,
    caller: &Caller,
    token: &Secret,
    code: &Secret,
    device: Device,
) -> Result<LoggedIn, Error> {
    let purpose = codes::login_purpose(state, token).await?;
    let outcome = prove(state, caller, (purpose, token), code, device).await;
    let what = (events::Kind::Login, purpose);
    let refusal = outcome.as_ref().err();
    codes::note_refusal(state, caller, what, Key::Token(token), refusal).await?;
    outcome
}

async fn prove(
    state: &State,
    caller: &Caller,
    (purpose, token): (CodeFor, &Secret),
    code: &Secret,
    device: Device,
) -> Result<LoggedIn, Error> {
    let on = On {
        token: device.token.as_ref(),
        names: [device.id.as_deref(), caller.device_id.as_deref()],
    };
    let guess = codes::guess_on(state, purpose, Key::Token(token), code, on).await?;
    let recipient: Recipient = serde_json::from_slice(&guess.payload)
        .map_err(|_| Error::internal("stored address is not JSON"))?;
    let mut tx = state.db.write().await?;
    // Wrong passwords lock passwords: codes have bounds of their own, and whoever can lock the one by
    // failing at it must not bar the other, too.
    let holder = accounts::holder(&mut tx, recipient.kind, &guess.recipient).await?;
    codes::consume(&mut tx, purpose, &guess).await?;
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
    let known = match (&guess.device, &device.token) {
        (Some(trusted), Some(token)) => devices::renew(state, &mut tx, trusted, token).await?,
        _ => None,
    };
    if known.is_some() {
        // What its owner has proved on it says that the guesses were not theirs.
        let subject = Subject::account(&state.vault, user_id)?;
        guesses::lift(&mut tx, &subject, state.clock.now()).await?;
    }
    let first = FirstFactor {
        user_id,
        method: recipient.kind.method(),
        amr: &["otp"],
        sent_to: Some(recipient.kind),
        caller,
        device_id: device.id,
        device: known,
        proved_at: None,
        counted: Some(Counted::Code(&guess)),
    };
    conclude(state, tx, first).await
}
