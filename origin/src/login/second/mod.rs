//! The second step of a login: a token stands for the first factor, a second one completes it.
//!
//! The token is bound to the account, to what its first factor was and to the device that was
//! named with it. It is good for five minutes and five tries, of whatever method, each counted and
//! committed before a factor is looked at (given back where none was, since it came too soon), and once: the statement that deletes it decides which
//! of many requests opens the session.

use serde_json::Value;
use sqlx::AnyConnection;
use webauthn_rs::prelude::PublicKeyCredential;

use super::factors::{self, Method};
use super::note_held_up;
use super::passkeys::{self, For};
use crate::abuse::{Subject, anomaly, devices};
use crate::accounts;
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::request::Caller;
use crate::sessions::{self, NewSession, Tokens};
use crate::vault::Secret;

pub(super) mod routes;
mod token;

use token::Found;
pub(super) use token::{Waiting, issue};

/// Voids the logins of an account that wait for their second factor.
///
/// # Errors
/// When the database fails.
pub(crate) async fn withdraw(connection: &mut AnyConnection, user_id: UserId) -> Result<(), Error> {
    token::delete_of(connection, user_id).await
}

/// Voids every login that waits.
///
/// # Errors
/// When the database fails.
pub(super) async fn withdraw_all(connection: &mut AnyConnection) -> Result<(), Error> {
    token::delete_all(connection).await
}

/// Sends a code for a login that waits.
async fn send(state: &State, caller: &Caller, token: &Secret, method: Method) -> Result<(), Error> {
    let mut reader = state.db.read().await?;
    let found = token::find(state, &mut reader, token).await?;
    let after = found.waiting.sent_to;
    let offered = factors::offered(state, &mut reader, found.user_id, after).await?;
    drop(reader);
    let kind = method.kind().filter(|_| offered.contains(&method));
    let kind = kind.ok_or(Error::invalid(
        "method: expected one of `methods` that a code is sent for.",
    ))?;
    let request = factors::Request::Login(token);
    let device = found.waiting.device();
    let asked = (request, device.as_ref());
    factors::send(state, caller, found.user_id, kind, asked).await
}

/// Makes the challenge of a passkey for a login that waits.
async fn begin_passkey(state: &State, token: &Secret) -> Result<(Secret, Value), Error> {
    let mut reader = state.db.read().await?;
    let found = token::find(state, &mut reader, token).await?;
    drop(reader);
    let what = For::SecondFactor(found.user_id, token);
    passkeys::begin_of(state, found.user_id, what).await
}

/// What is shown as second factor.
enum Shown {
    Code(Method, Secret),
    Passkey(Secret, Box<PublicKeyCredential>),
}

impl Shown {
    const fn method(&self) -> Method {
        match self {
            Self::Code(method, _) => *method,
            Self::Passkey(..) => Method::Passkey,
        }
    }
}

/// Completes a login with a second factor.
///
/// # Errors
/// [`Error::CodeInvalid`] whatever is wrong with token or code, [`Error::CodeExpired`] when the
/// time of either is over; [`Error::RateLimited`] for a code that comes too soon after wrong ones,
/// which is no try.
async fn verify(
    state: &State,
    caller: &Caller,
    token: &Secret,
    shown: &Shown,
) -> Result<Tokens, Error> {
    let found = token::count(state, token).await;
    let whose = if let Ok(found) = &found {
        Some(found.user_id)
    } else {
        // Used, late, or tried too often: whose it was is known as long as the row is there.
        let mut reader = state.db.read().await?;
        token::owner(state, &mut reader, token).await?
    };
    let outcome = match found {
        Ok(found) => {
            let outcome = complete(state, caller, token, &found, shown).await;
            if let Err(Error::RateLimited(_)) = &outcome {
                token::give_back(state, &found).await?;
            }
            outcome
        }
        Err(refusal) => Err(refusal),
    };
    let failure = Event::new(events::Kind::Factor, Outcome::Failure, Actor::Anonymous)
        .about_whoever(whose)
        .by(shown.method().as_str())
        .from(caller);
    if let Some(user_id) = whose {
        let account = Subject::account(&state.vault, user_id)?;
        note_held_up(state, &outcome, &account, failure.clone()).await?;
    }
    events::note_refusal(state, &outcome, failure).await?;
    if let (Err(Error::CodeInvalid(_)), Some(user_id)) = (&outcome, whose) {
        let account = Subject::account(&state.vault, user_id)?;
        state
            .watch
            .failed(state, caller, &account, Some(user_id))
            .await?;
    }
    outcome
}

async fn complete(
    state: &State,
    caller: &Caller,
    token: &Secret,
    found: &Found,
    shown: &Shown,
) -> Result<Tokens, Error> {
    let method = shown.method();
    let user_id = found.user_id;
    let mut reader = state.db.read().await?;
    let after = found.waiting.sent_to;
    let offered = factors::offered(state, &mut reader, user_id, after).await?;
    drop(reader);
    if !offered.contains(&method) {
        return Err(Error::CodeInvalid("a method that was not offered"));
    }
    let proof = match shown {
        Shown::Code(method, code) => {
            // Whoever knows the password does not hold up a device that its owner logged in on.
            let device = found.waiting.device();
            let by = factors::Guesser {
                device: device.as_ref(),
                ..factors::Guesser::anywhere(caller)
            };
            let request = factors::Request::Login(token);
            factors::guess(state, user_id, *method, code, Some(request), by).await?
        }
        Shown::Passkey(challenge, credential) => {
            let what = For::SecondFactor(user_id, token);
            let shown = (challenge, credential.as_ref());
            let asserted = passkeys::assert_of(state, caller, user_id, what, shown);
            factors::Proof::Passkey(asserted.await?)
        }
    };
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let consumed = token::consume(&mut tx, found, now).await?
        && factors::consume(state, &mut tx, user_id, &proof).await?;
    if !consumed {
        tx.rollback().await?;
        factors::release(state, &proof).await?;
        return Err(Error::CodeInvalid("token or factor used meanwhile"));
    }
    if accounts::find_active(state, &mut tx, user_id)
        .await?
        .is_none()
    {
        return Err(Error::CodeInvalid("account not active"));
    }
    let mut amr = found.waiting.amr.clone();
    for word in proof.amr(&found.waiting.amr) {
        if !amr.iter().any(|held| held == word) {
            amr.push(word.to_owned());
        }
    }
    let device_id = found.waiting.device_id.clone();
    let mut session = NewSession::first_party(state, user_id, caller, device_id, &[]);
    session.amr = amr;
    session.second_factor_at = Some(now);
    session.sent_to = found.waiting.sent_to;
    let named = found.waiting.device_id.as_deref();
    let trusted = found.waiting.device_token.is_some();
    let arriving = anomaly::Arriving {
        user_id,
        caller,
        device_id: named.or(caller.device_id.as_deref()),
        trusted,
    };
    // The second factor was proved now: no sign asks for more.
    let signs = anomaly::look(state, &mut tx, &arriving).await?;
    let opened = sessions::open(state, &mut tx, session).await?;
    let (mut tokens, mut events) = (opened.tokens, opened.events);
    tokens.device_token = found.waiting.device_token.clone();
    if !trusted && let Some((token, event)) = devices::trust(state, &mut tx, user_id).await? {
        tokens.device_token = Some(token);
        events.push(event);
    }
    for (kind, by) in [
        (events::Kind::Factor, method.as_str()),
        (events::Kind::Login, &found.waiting.method),
    ] {
        let event = Event::own(kind, Outcome::Success, user_id);
        events.push(event.session(tokens.session_id).by(by).from(caller));
    }
    events::record_all(state, &mut tx, &events).await?;
    let message = factors::recovery_code_used(state, &mut tx, user_id, proof.method()).await?;
    let entering = anomaly::Entering {
        arriving,
        signs,
        session_id: tokens.session_id,
        before: opened.before,
    };
    let messages = anomaly::login(state, &mut tx, entering).await?;
    let shown = tokens.device_token;
    tokens.device_token = devices::trust_still(state, &mut tx, user_id, shown, trusted).await?;
    let messages = opened.notice.into_iter().chain(message).chain(messages);
    let told = state.mailer.keep(&mut tx, user_id, messages).await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    Ok(tokens)
}
