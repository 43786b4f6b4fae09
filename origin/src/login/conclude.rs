//! Where every login ends whose first factor was proved: in tokens, or in the wait for a second
//! factor. No other place opens a session for somebody who logs in.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::codes::{self, Guess};
use super::factors::{self, Method};
use super::note_held_up;
use super::second::{self, Waiting};
use crate::abuse::{Limit, Subject, anomaly, devices};
use crate::accounts::{self, Kind};
use crate::app::State;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Error;
use crate::events::{self, Actor, Event};
use crate::ids::UserId;
use crate::metrics::Outcome;
use crate::request::{Caller, Json};
use crate::sessions::{self, NewSession, Tokens};
use crate::tokens;

/// A first factor that was proved and used up.
pub struct FirstFactor<'a> {
    /// Whose it is.
    pub user_id: UserId,
    /// What the audit trail calls it: `password`, `email`, `sms`, …
    pub method: &'static str,
    /// What `amr` says of it (RFC 8176).
    pub amr: &'a [&'static str],
    /// To what kind of address a code or link was sent, where it was that.
    pub sent_to: Option<Kind>,
    /// Who proved it.
    pub caller: &'a Caller,
    /// A name for the device.
    pub device_id: Option<String>,
    /// The device, where it is trusted already; otherwise it is from the end of the login on.
    pub device: Option<devices::Known>,
    /// When it was proved, where that was earlier than now.
    pub proved_at: Option<Timestamp>,
    /// As what it was counted before it was looked at.
    pub counted: Option<Counted<'a>>,
}

/// What counts as a failure until it was looked at, and is taken back where something else than the proof
/// is in the way.
pub enum Counted<'a> {
    /// A password, at the device that is trusted.
    Password(&'a devices::Trusted),
    /// A code.
    Code(&'a Guess),
}

/// What a login answers once its first factor is proved.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum LoggedIn {
    /// The login is complete.
    Tokens(Box<Tokens>),
    /// The account has a second factor.
    MfaRequired(MfaRequired),
}

/// That a second factor is asked for, and by what.
#[derive(Serialize, ToSchema)]
pub struct MfaRequired {
    /// Always true.
    pub mfa_required: bool,
    /// For `POST /login/mfa`: good once, and for a few tries.
    pub mfa_token: String,
    /// What is accepted, the strongest first.
    pub methods: Vec<Method>,
    /// Seconds for which the token is good.
    pub expires_in: u64,
}

impl IntoResponse for LoggedIn {
    fn into_response(self) -> Response {
        match self {
            Self::Tokens(tokens) => tokens.into_response(),
            Self::MfaRequired(required) => {
                let mut response = Json(required).into_response();
                response.extensions_mut().insert(Outcome("mfa_required"));
                response
            }
        }
    }
}

/// Concludes a login whose first factor was proved in `tx`, and commits it.
///
/// A first factor that is two in one (a passkey that verified its holder) asks for no second.
///
/// # Errors
/// [`Error::MfaRequired`] where the only second factor would prove the same as the first; the
/// first is then used up all the same. [`Error::RateLimited`] and [`Error::CredentialsInvalid`], both
/// noted, when there were too many logins and when the account is not active; what was done
/// in `tx` is then undone, and a proof that comes too often was no failure.
pub async fn conclude(state: &State, tx: Tx, first: FirstFactor<'_>) -> Result<LoggedIn, Error> {
    let (user_id, caller) = (first.user_id, first.caller);
    let failed = Event::new(
        events::Kind::Login,
        events::Outcome::Failure,
        Actor::Anonymous,
    );
    let failed = failed.about(user_id).by(first.method).from(caller);
    let subject = counted_at(state, &first)?;
    let limit = Limit::LoginsByUser;
    if let Err(refusal) = state.limiter.by_subject(caller, limit, &subject) {
        tx.rollback().await?;
        take_back(state, first.counted).await?;
        let account = Subject::account(&state.vault, user_id)?;
        let refused = Err(refusal);
        note_held_up(state, &refused, &account, failed).await?;
        return refused;
    }
    let outcome = let_in(state, tx, first).await;
    if let Err(refusal @ Error::CredentialsInvalid) = &outcome {
        events::refused(state, &failed.because(refusal.code().0)).await?;
    }
    outcome
}

/// Where a login is counted: with those by the same factor, so that whoever has learned the password
/// uses up nothing of what its owner does by code, passkey or provider; or at the device.
fn counted_at(state: &State, first: &FirstFactor<'_>) -> Result<Subject, Error> {
    if let Some(device) = &first.device
        && let Some(subject) = device.logins(state)?
    {
        return Ok(subject);
    }
    Ok(Subject::factor(&state.vault, first.user_id, first.method)?)
}

/// Lets a right proof that could not be used be none that failed.
async fn take_back(state: &State, counted: Option<Counted<'_>>) -> Result<(), Error> {
    let Some(counted) = counted else {
        return Ok(());
    };
    let mut tx = state.db.write().await?;
    match counted {
        Counted::Password(device) => devices::take_back(&mut tx, device).await?,
        Counted::Code(guess) => codes::release(&mut tx, guess).await?,
    }
    Ok(tx.commit().await?)
}

async fn let_in(state: &State, mut tx: Tx, first: FirstFactor<'_>) -> Result<LoggedIn, Error> {
    let user_id = first.user_id;
    let now = state.clock.now();
    let has_second = factors::any(&mut tx, user_id).await?;
    let is_two = tokens::used_several_factors(first.amr);
    let event = |kind, outcome| {
        let event = Event::own(kind, outcome, user_id);
        event.by(first.method).from(first.caller)
    };
    if is_two || !has_second {
        let device_id = first.device_id.clone();
        let trusted = first.device.is_some();
        let mut session =
            NewSession::first_party(state, user_id, first.caller, first.device_id, first.amr);
        session.second_factor_at = is_two.then_some(now);
        session.sent_to = first.sent_to;
        if let Some(at) = first.proved_at {
            session.auth_time = session.auth_time.min(at);
        }
        let arriving = anomaly::Arriving {
            user_id,
            caller: first.caller,
            device_id: device_id.as_deref().or(first.caller.device_id.as_deref()),
            trusted,
        };
        let signs = anomaly::look(state, &mut tx, &arriving).await?;
        if !is_two && signs.ask_again(&state.config.anomaly) {
            session.auth_time = Timestamp::from_unix_seconds(0);
        }
        let opened = sessions::open(state, &mut tx, session).await?;
        let (mut tokens, mut events) = (opened.tokens, opened.events);
        tokens.device_token = first.device.map(|device| device.token);
        if !trusted && let Some((token, event)) = devices::trust(state, &mut tx, user_id).await? {
            tokens.device_token = Some(token);
            events.push(event);
        }
        if has_second {
            let skipped = event(events::Kind::Factor, events::Outcome::Skipped);
            let skipped = skipped.session(tokens.session_id).because("two_in_one");
            events.push(skipped);
        }
        let done = event(events::Kind::Login, events::Outcome::Success);
        events.push(done.session(tokens.session_id));
        events::record_all(state, &mut tx, &events).await?;
        let entering = anomaly::Entering {
            arriving,
            signs,
            session_id: tokens.session_id,
            before: opened.before,
        };
        let messages = anomaly::login(state, &mut tx, entering).await?;
        let shown = tokens.device_token;
        tokens.device_token = devices::trust_still(state, &mut tx, user_id, shown, false).await?;
        let messages = opened.notice.into_iter().chain(messages);
        let told = state.mailer.keep(&mut tx, user_id, messages).await?;
        tx.commit().await?;
        state.mailer.deliver(told);
        return Ok(LoggedIn::Tokens(Box::new(tokens)));
    }
    // As when a session is opened: whoever is not active is not asked for more.
    if accounts::find_active(state, &mut tx, user_id)
        .await?
        .is_none()
    {
        return Err(Error::CredentialsInvalid);
    }
    let methods = factors::offered(state, &mut tx, user_id, first.sent_to).await?;
    if methods.is_empty() {
        let refused = event(events::Kind::Login, events::Outcome::Failure);
        events::record(state, &mut tx, &refused.because("mfa_required")).await?;
        tx.commit().await?;
        return Err(Error::MfaRequired(
            "Log in in another way: the second factor that is left would prove the same again.",
        ));
    }
    let waiting = Waiting {
        method: first.method.to_owned(),
        amr: first.amr.iter().map(|&word| word.to_owned()).collect(),
        sent_to: first.sent_to,
        device_id: first.device_id,
        device_token: first.device.map(|device| device.token),
    };
    let token = second::issue(state, &mut tx, user_id, &waiting).await?;
    // Who has the first factor and not the second stops here: their owner is to see it.
    let waits = event(events::Kind::Login, events::Outcome::Skipped);
    events::record(state, &mut tx, &waits.because("mfa_required")).await?;
    tx.commit().await?;
    Ok(LoggedIn::MfaRequired(MfaRequired {
        mfa_required: true,
        mfa_token: token.expose().to_owned(),
        methods,
        expires_in: state.config.mfa.token_seconds,
    }))
}
