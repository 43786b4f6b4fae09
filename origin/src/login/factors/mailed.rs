//! Codes by mail and SMS as second factor, for those who chose them.
//!
//! Six digits, five minutes and three tries, as for logging in by code; bound to the request that
//! asked for it (ASVS 6.6.2): a code that was sent for another login of the same account, or within
//! another of its sessions, does not match. They are counted and paced apart from what strangers have
//! sent to the same address, and those on a device that is trusted, and those within a session, apart from
//! what anybody has sent who knows the password: three [`Way`]s, of which none ends or uses up another's.

use crate::abuse::delay::Guessed;
use crate::abuse::{Subject, devices, guesses, sends};
use crate::accounts::{self, Kind};
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Event, Outcome};
use crate::ids::{SessionId, UserId};
use crate::login::codes::{self, Bond, CodeFor, Key};
use crate::login::messages;
use crate::notify::Sort;
use crate::request::Caller;
use crate::vault::Secret;

/// What asks for a code as second factor, and is what the code is bound to.
#[derive(Clone, Copy)]
pub(in crate::login) enum Request<'a> {
    /// The login that waits with this token.
    Login(&'a Secret),
    /// A proof within a session, begun with this token.
    Session(SessionId, &'a Secret),
}

impl Request<'_> {
    /// What the code is found by. One request may have one of each kind; a session's id has no form
    /// that a token has, so that neither request is the other.
    fn bound(self, kind: Kind) -> Secret {
        let kind = kind.as_str();
        Secret::new(match self {
            Self::Login(token) => format!("{kind}:{}", token.expose()),
            Self::Session(id, token) => format!("{kind}:{id}:{}", token.expose()),
        })
    }
}

/// Of which messages a code is one, and among which codes it waits.
#[derive(Clone, Copy)]
enum Way {
    /// Behind a first factor that was right, which may be another's doing.
    Login,
    /// The same on a device that is trusted.
    TrustedLogin,
    /// Within a session.
    Session,
}

impl Way {
    /// The word under which its messages are counted, and its code waits.
    const fn word(self) -> &'static str {
        match self {
            Self::Login => sends::SECOND_FACTOR,
            Self::TrustedLogin => sends::TRUSTED_SECOND_FACTOR,
            Self::Session => sends::REAUTHENTICATION,
        }
    }

    const fn sort(self) -> Sort {
        match self {
            Self::Login => Sort::SecondFactorCode,
            Self::TrustedLogin => Sort::TrustedSecondFactorCode,
            Self::Session => Sort::ReauthenticationCode,
        }
    }
}

/// Sends a code to the account's address of this kind; to whoever asks on a `device` that is trusted also
/// where others' guesses have turned such codes off.
///
/// # Errors
/// [`Error::RateLimited`] after as many messages as one address gets in an hour.
pub(in crate::login) async fn send(
    state: &State,
    caller: &Caller,
    user_id: UserId,
    kind: Kind,
    (request, device): (Request<'_>, Option<&Secret>),
) -> Result<(), Error> {
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let address = accounts::proved_address(state, &mut tx, user_id, kind).await?;
    let (blind, to) = address.ok_or(Error::CodeInvalid("no address to send a code to"))?;
    // Before anything is counted: what is counted depends on it.
    let trusted = match device {
        Some(token) => devices::is_trusted(state, &mut tx, token, Some(user_id)).await?,
        None => false,
    };
    let way = match request {
        Request::Login(_) if trusted => Way::TrustedLogin,
        Request::Login(_) => Way::Login,
        Request::Session(..) => Way::Session,
    };
    if kind == Kind::Phone {
        sends::pace_own(state, &mut tx, way.word(), &blind, now).await?;
    }
    let limit = state.config.otp.sends_per_hour;
    sends::count(&mut tx, way.word(), &blind, limit, now).await?;
    state.limiter.message()?;
    let subject = Subject::factor(&state.vault, user_id, kind.as_str())?;
    let deliverable = trusted || !guesses::suspended(&mut tx, &subject).await?;
    let token = request.bound(kind);
    // The request is a login or a session, which is a device's already.
    let bond = Bond {
        token: &token,
        device: None,
        place: Some(way.word()),
    };
    let code = codes::issue_bound(
        state,
        &mut tx,
        CodeFor::SecondFactor,
        &blind,
        &[],
        bond,
        deliverable,
    )
    .await?;
    match request {
        Request::Login(_) => {
            let asked = (kind, CodeFor::SecondFactor);
            codes::note_asked(state, &mut tx, caller, asked, Some(user_id)).await?;
        }
        Request::Session(id, _) => {
            let asked = Event::own(events::Kind::Code, Outcome::Success, user_id)
                .session(id)
                .by(kind.as_str())
                .because("reauthentication")
                .from(caller);
            events::record(state, &mut tx, &asked).await?;
        }
    }
    tx.commit().await?;
    let message = match request {
        Request::Login(_) => messages::second_factor_code(kind, &to, &code),
        Request::Session(..) => messages::reauthentication_code(kind, &to, &code),
    };
    if deliverable && let Some(message) = message {
        let message = message
            .as_second_factor(way.sort())
            .asked_by(caller.address);
        state.mailer.send(message);
    }
    Ok(())
}

/// Compares a code with the one that was sent to this kind of address for `request`, unless it comes too
/// soon; beside who guesses it stands the token of the device, where that may be trusted.
pub(super) async fn guess(
    state: &State,
    kind: Kind,
    request: Request<'_>,
    code: &Secret,
    guessed: (&Guessed, Option<&Secret>),
) -> Result<codes::Guess, Error> {
    let key = request.bound(kind);
    codes::guess_second(state, Key::Token(&key), code, guessed).await
}
