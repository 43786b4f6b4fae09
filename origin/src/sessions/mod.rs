//! Sessions: what a login opens and a logout ends.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;

pub(crate) mod device;
mod granted;
mod refresh;
mod refresh_token;
mod restored;
pub mod routes;
mod store;
mod view;

pub use granted::Tokens;
pub(crate) use granted::Written;
pub use refresh::refresh;
pub(crate) use refresh::{end_held, end_replaced};
pub use refresh_token::RefreshToken;
pub use restored::{Since, TakenBack, restored};
pub(crate) use view::View;

use crate::abuse::place::Seen;
use crate::abuse::{anomaly, devices};
use crate::accounts::Entered;
use crate::accounts::{self, User};
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::Reaction;
use crate::error::Error;
use crate::events::{self, Actor, Event, Kind, Outcome};
use crate::ids::{SessionId, UserId};
use crate::login;
use crate::notify::Message;
use crate::request::Caller;
use crate::revocation::{self, Revoked};
use crate::tokens::{self, Grant, Issued};
use crate::vault::Purpose;
use store::{Ended, SessionRow};

/// A login that succeeded, and what is to be remembered of it.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Who logged in.
    pub user_id: UserId,
    /// The client that they used.
    pub client_id: String,
    /// The device, as the client names it.
    pub device_id: Option<String>,
    /// The address that the login came from.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The client's `X-App-Version`.
    pub app_version: Option<String>,
    /// How they proved who they are (RFC 8176: `pwd`, `otp`, …).
    pub amr: Vec<String>,
    /// When they did.
    pub auth_time: Timestamp,
    /// When they proved a second factor, if they did.
    pub second_factor_at: Option<Timestamp>,
    /// To what kind of address a code was sent, where the first factor was that.
    pub sent_to: Option<accounts::Kind>,
    /// Where they are.
    pub seen: Option<Seen>,
}

impl NewSession {
    /// A session of the first-party client, begun now by `caller`. The device is the one that the
    /// body names, else the one of the header `X-Device-ID`.
    pub fn first_party(
        state: &State,
        user_id: UserId,
        caller: &Caller,
        device_id: Option<String>,
        amr: &[&str],
    ) -> Self {
        let now = state.clock.now();
        Self {
            user_id,
            client_id: state.config.tokens.client_id.clone(),
            device_id: device_id.or_else(|| caller.device_id.clone()),
            address: caller.address,
            user_agent: caller.user_agent.clone(),
            app_version: caller.app_version.clone(),
            amr: amr.iter().map(|&word| word.to_owned()).collect(),
            auth_time: now,
            second_factor_at: None,
            sent_to: None,
            seen: Some(anomaly::seen(caller, now)),
        }
    }
}

/// Which sessions of a user are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of them.
    All,
    /// All but this one.
    AllBut(SessionId),
}

/// What a session remembers of its device; sealed in the database.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Details {
    device_id: Option<String>,
    address: Option<IpAddr>,
    user_agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    /// To what kind of address a code was sent, where it began with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_to: Option<accounts::Kind>,
    /// Where its owner was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<Seen>,
}

impl Details {
    fn of(state: &State, session: &SessionRow) -> Result<Self, Error> {
        Self::open(state, session.id, &session.details)
    }

    fn open(state: &State, id: SessionId, sealed: &[u8]) -> Result<Self, Error> {
        let json = state.vault.open(Purpose::Session, id.as_bytes(), sealed)?;
        serde_json::from_slice(&json).map_err(|_| Error::internal("details of a session"))
    }

    fn seal(&self, state: &State, id: SessionId) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::internal("session as JSON"))?;
        Ok(state.vault.seal(Purpose::Session, id.as_bytes(), &json)?)
    }
}

/// A session that was opened.
#[must_use]
pub struct Opened {
    /// Its tokens.
    pub tokens: Tokens,
    /// The ends of sessions that gave way, which the caller has to record.
    pub(crate) events: Vec<Event<'static>>,
    /// What the user must be told, which the caller has to keep.
    pub(crate) notice: Option<Message>,
    /// Where the user was last in another session, and in which.
    pub(crate) before: Option<(SessionId, Seen)>,
}

/// Opens a session within the caller's transaction; its tokens are good once that is committed.
/// The user's oldest session gives way where there are too many.
///
/// # Errors
/// When the user is not there or not active, or the database fails.
pub async fn open(
    state: &State,
    connection: &mut AnyConnection,
    new: NewSession,
) -> Result<Opened, Error> {
    let now = state.clock.now();
    let rules = &state.config.sessions;
    let user_id = new.user_id;
    let Entered { user, notice } = accounts::enter(state, connection, user_id)
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    let ground = store::ground(connection, user_id, now).await?;
    let id = SessionId::generate(&state.random);
    let details = Details {
        device_id: new.device_id.filter(|text| !text.is_empty()),
        address: new.address,
        user_agent: new.user_agent,
        app_version: new.app_version,
        sent_to: new.sent_to,
        seen: new.seen,
    };
    let absolute_expires_at = now + Duration::from_secs(rules.absolute_seconds);
    let grant = Grant {
        session_id: id,
        session_expires_at: absolute_expires_at.unix_seconds(),
        client_id: &new.client_id,
        amr: &new.amr,
        auth_time: new.auth_time.unix_seconds(),
        device_id: details.device_id.as_deref(),
    };
    let issued = tokens::issue_after(state, &user, &grant, ground.not_before).await?;
    let amr = serde_json::to_string(&new.amr).map_err(|_| Error::internal("amr as JSON"))?;
    let session = SessionRow {
        id,
        user_id,
        client_id: new.client_id,
        counter: 0,
        rotated_at: now,
        epoch: ground.epoch,
        previous_epoch: ground.epoch,
        amr,
        auth_time: new.auth_time,
        details: details.seal(state, id)?,
        created_at: now,
        last_used_at: now,
        idle_expires_at: absolute_expires_at.min(now + Duration::from_secs(rules.idle_seconds)),
        absolute_expires_at,
        access_expires_at: now.max(Timestamp::from_unix_seconds(issued.expires_at)),
        ended_at: None,
        second_factor_at: new.second_factor_at,
        ended_reason: None,
    };
    store::insert(connection, &session).await?;
    let mut others = ground.others;
    let has_room = u32::try_from(others.len()).is_ok_and(|others| others < rules.per_user);
    let over = if has_room {
        Vec::new()
    } else {
        store::end_beyond(connection, user_id, id, rules.per_user, now).await?
    };
    turn_away(state, connection, &over, "limit").await?;
    others.retain(|(other, _)| !over.iter().any(|ended| ended.id == *other));
    let before = last_seen(state, &others)?;
    Ok(Opened {
        tokens: tokens_of(state, &session, user, issued)?,
        events: ends(&over, "limit".into()).collect(),
        before,
        notice,
    })
}

/// The tokens of a session as it stands now.
async fn answer(
    state: &State,
    connection: &mut AnyConnection,
    session: &SessionRow,
    user: User,
) -> Result<Tokens, Error> {
    let details = Details::of(state, session)?;
    let amr: Vec<String> =
        serde_json::from_str(&session.amr).map_err(|_| Error::internal("amr of a session"))?;
    let grant = Grant {
        session_id: session.id,
        session_expires_at: session.absolute_expires_at.unix_seconds(),
        client_id: &session.client_id,
        amr: &amr,
        auth_time: session.auth_time.unix_seconds(),
        device_id: details.device_id.as_deref(),
    };
    let issued = tokens::issue(state, connection, &user, &grant).await?;
    let expires_at = Timestamp::from_unix_seconds(issued.expires_at);
    store::note_access_token(connection, session.id, expires_at).await?;
    tokens_of(state, session, user, issued)
}

/// What is answered with an access token of the session.
fn tokens_of(
    state: &State,
    session: &SessionRow,
    user: User,
    issued: Issued,
) -> Result<Tokens, Error> {
    let number = |value: i64| u32::try_from(value).map_err(|_| Error::internal("session counter"));
    let refresh_token = RefreshToken {
        session_id: session.id,
        counter: number(session.counter)?,
        epoch: number(session.epoch)?,
    };
    let now = state.clock.now();
    Ok(Tokens {
        access_token: issued.access_token,
        refresh_token: refresh_token.to_text(&state.vault)?.to_string(),
        token_type: "Bearer",
        expires_in: u64::try_from(issued.expires_at - now.unix_seconds()).unwrap_or(0),
        refresh_expires_in: session.idle_expires_at.since(now).as_secs(),
        session_id: session.id,
        user,
        device_token: None,
    })
}

/// Notes within the caller's transaction that the owner of a session proved again who they are, now
/// and by `methods` (RFC 8176), and answers new tokens. The refresh token of before is used up.
///
/// # Errors
/// [`Error::SessionEnded`] when the session or the account ended meanwhile.
pub async fn step_up(
    state: &State,
    connection: &mut AnyConnection,
    id: SessionId,
    methods: &[&'static str],
    is_second_factor: bool,
) -> Result<Tokens, Error> {
    let now = state.clock.now();
    for method in methods {
        store::add_method(connection, id, method).await?;
    }
    let idle_until = now + Duration::from_secs(state.config.sessions.idle_seconds);
    let session = store::step_up(connection, id, is_second_factor, now, idle_until)
        .await?
        .ok_or(Error::SessionEnded)?;
    store::note_step_up(connection, id, session.counter).await?;
    let user = accounts::find_active(state, connection, session.user_id)
        .await?
        .ok_or(Error::SessionEnded)?;
    answer(state, connection, &session, user).await
}

/// The kinds of address to which a code is no second factor in a session, because a code to the same
/// kind is all that it rests on: that would be the same proof twice.
///
/// # Errors
/// [`Error::SessionEnded`] when there is no such session; when the database or the vault fails.
pub(crate) async fn rests_on_codes_to(
    state: &State,
    connection: &mut AnyConnection,
    id: SessionId,
) -> Result<Vec<accounts::Kind>, Error> {
    let session = store::find(connection, id).await?;
    let session = session.ok_or(Error::SessionEnded)?;
    let amr: Vec<String> =
        serde_json::from_str(&session.amr).map_err(|_| Error::internal("amr of a session"))?;
    if amr.iter().any(|word| word != "otp" && word != "sms") {
        return Ok(Vec::new());
    }
    Ok(match Details::of(state, &session)?.sent_to {
        Some(kind) => vec![kind],
        // It began before this was kept.
        None => vec![accounts::Kind::Email, accounts::Kind::Phone],
    })
}

/// Where the owner of these sessions was last, and in which.
fn last_seen(
    state: &State,
    sessions: &[(SessionId, Vec<u8>)],
) -> Result<Option<(SessionId, Seen)>, Error> {
    let mut last: Option<(SessionId, Seen)> = None;
    let anomaly = &state.config.anomaly;
    if anomaly.impossible_travel < Reaction::Record && !anomaly.reacts_with(Reaction::EndSession) {
        return Ok(last);
    }
    for (id, details) in sessions {
        if let Some(seen) = Details::open(state, *id, details)?.seen
            && last.as_ref().is_none_or(|(_, held)| held.at < seen.at)
        {
            last = Some((*id, seen));
        }
    }
    Ok(last)
}

/// Remembers where the owner of a session is.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn note_seen(
    state: &State,
    connection: &mut AnyConnection,
    id: SessionId,
    seen: &Seen,
) -> Result<(), Error> {
    let Some(session) = store::find(connection, id).await? else {
        return Ok(());
    };
    let details = Details {
        seen: Some(seen.clone()),
        ..Details::of(state, &session)?
    };
    store::set_details(connection, id, details.seal(state, id)?).await
}

/// Takes back what was proved in a session: its tokens say one factor and that it was long ago, and
/// what asks for two, or for a fresh proof, is refused until its owner proves again who they are.
///
/// # Errors
/// When the database fails.
pub(crate) async fn step_down(connection: &mut AnyConnection, id: SessionId) -> Result<(), Error> {
    let Some(session) = store::find(connection, id).await? else {
        return Ok(());
    };
    let amr: Vec<String> =
        serde_json::from_str(&session.amr).map_err(|_| Error::internal("amr of a session"))?;
    let first: Vec<String> = amr.into_iter().take(1).collect();
    let json = serde_json::to_string(&first).map_err(|_| Error::internal("amr as JSON"))?;
    store::set_one_factor(connection, id, &json).await
}

/// When a second factor was last proved in the session, if it ever was.
///
/// # Errors
/// When the database fails.
pub async fn second_factor_at(
    connection: &mut AnyConnection,
    id: SessionId,
) -> Result<Option<Timestamp>, Error> {
    let session = store::find(connection, id).await?;
    Ok(session.and_then(|session| session.second_factor_at))
}

/// Whether an access token of the session may still be used: neither session nor account ended.
///
/// # Errors
/// When the database fails.
pub async fn is_live(
    connection: &mut AnyConnection,
    id: SessionId,
    user_id: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    store::is_live(connection, id, user_id, now).await
}

/// Whose session it is, if there is one.
///
/// # Errors
/// When the database fails.
pub async fn owner(connection: &mut AnyConnection, id: SessionId) -> Result<Option<UserId>, Error> {
    let session = store::find(connection, id).await?;
    Ok(session.map(|session| session.user_id))
}

/// Ended sessions in a list for people: more than anybody looks through. Each login ends one more
/// where there are as many as there may be, so there is no other bound, and each is a value to open.
pub(crate) const ENDED_SHOWN: i64 = 200;

/// The latest `limit` of a user's sessions that ended or ran out in the last 30 days, the latest
/// first.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn ended_of(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    limit: i64,
) -> Result<Vec<View>, Error> {
    let now = state.clock.now();
    let span = (now - KEPT_AFTER_END, now);
    let rows = store::ended_of(connection, user_id, span, limit).await?;
    rows.iter()
        .map(|session| View::new(state, session, None))
        .collect()
}

/// A user's sessions that can be used, the latest used first; `current` is the one that asks.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn live_of(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    current: Option<SessionId>,
) -> Result<Vec<View>, Error> {
    let rows = store::live_of(connection, user_id, state.clock.now()).await?;
    rows.iter()
        .map(|session| View::new(state, session, current))
        .collect()
}

/// Ends a user's sessions within the caller's transaction and writes what the gates are told. No
/// device is trusted any more, none but that of a session that stays is known, and no login that waits
/// for its second factor goes on: who ends sessions takes them for somebody else's, and that includes
/// what they left behind or have begun. Of which devices
/// tokens are, nobody can tell, so the caller's own is trusted again at its next login.
///
/// # Errors
/// When the database fails.
pub async fn end_all(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    ending: Ending,
) -> Result<(), Error> {
    end_of_user(state, connection, user_id, ending, "user").await
}

/// Why sessions end, and who ends them.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// The word that is kept.
    pub reason: &'a str,
    /// Who, where the reason does not tell.
    pub by: Option<Actor>,
}

impl<'a> From<&'a str> for Cause<'a> {
    fn from(reason: &'a str) -> Self {
        Self { reason, by: None }
    }
}

impl<'a> From<(&'a str, Actor)> for Cause<'a> {
    fn from((reason, by): (&'a str, Actor)) -> Self {
        let by = Some(by);
        Self { reason, by }
    }
}

/// [`end_all`] with the cause that is kept.
///
/// # Errors
/// When the database fails.
pub async fn end_of_user(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    ending: Ending,
    cause: impl Into<Cause<'_>>,
) -> Result<(), Error> {
    let cause = cause.into();
    let except = match ending {
        Ending::All => None,
        Ending::AllBut(id) => Some(id),
    };
    let spared = match except {
        Some(id) => store::find(connection, id).await?,
        None => None,
    };
    let spared = spared
        .filter(|session| session.user_id == user_id)
        .map(|session| Details::of(state, &session))
        .transpose()?;
    let told = spared
        .as_ref()
        .map(|details| (details.device_id.as_deref(), details.user_agent.as_deref()));
    anomaly::forget_devices(state, connection, user_id, told).await?;
    let by = cause.by.unwrap_or_else(|| ended_by(user_id, cause.reason));
    devices::forget_all(state, connection, user_id, by).await?;
    login::withdraw_waiting(connection, user_id).await?;
    let now = state.clock.now();
    let ended = store::end_of_user(connection, user_id, except, now, cause.reason).await?;
    revoke(state, connection, &ended, cause).await
}

/// Ends one session within the caller's transaction and writes what the gates are told; whether
/// it was there and had not ended.
///
/// # Errors
/// When the database fails.
pub async fn end(
    state: &State,
    connection: &mut AnyConnection,
    id: SessionId,
    cause: impl Into<Cause<'_>>,
) -> Result<bool, Error> {
    let cause = cause.into();
    let ended = store::end(connection, id, state.clock.now(), cause.reason).await?;
    revoke(state, connection, &ended, cause).await?;
    Ok(!ended.is_empty())
}

/// Sessions that are ended in one transaction.
const ENDED_AT_A_TIME: i64 = 100;

/// Ends every session whose refresh token was made before `instant`; how many there were.
///
/// # Errors
/// When the database fails; what was ended until then stays ended.
pub async fn end_refreshed_before(state: &State, instant: Timestamp) -> Result<u64, Error> {
    let mut count = 0;
    loop {
        let now = state.clock.now();
        let mut tx = state.db.write().await?;
        let ended =
            store::end_refreshed_before(&mut tx, instant, ENDED_AT_A_TIME, now, "operator").await?;
        revoke(state, &mut tx, &ended, "operator".into()).await?;
        tx.commit().await?;
        if ended.is_empty() {
            return Ok(count);
        }
        count += ended.len() as u64;
    }
}

/// [`end`], of a session that must be this user's.
///
/// # Errors
/// [`Error::NotFound`] for another's session and for one that is not there or has ended.
pub async fn end_own(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    id: SessionId,
) -> Result<(), Error> {
    let owner = store::find(connection, id)
        .await?
        .map(|session| session.user_id);
    if owner == Some(user_id) && end(state, connection, id, "user").await? {
        Ok(())
    } else {
        Err(Error::NotFound)
    }
}

/// Who ended a session, as far as the reason tells.
fn ended_by(user_id: UserId, reason: &str) -> Actor {
    match reason {
        "logout" | "user" | "revoked" | "factor" | "contact" | "identity" | "undone" => {
            Actor::User(user_id)
        }
        "operator" => Actor::Operator,
        _ => Actor::System,
    }
}

/// Turns away the access tokens of ended sessions, and records the end of each with its reason: no
/// session ends anywhere else before its time, but for those that give way in [`open`].
async fn revoke(
    state: &State,
    connection: &mut AnyConnection,
    ended: &[Ended],
    cause: Cause<'_>,
) -> Result<(), Error> {
    turn_away(state, connection, ended, cause.reason).await?;
    let events: Vec<_> = ends(ended, cause).collect();
    events::record_all(state, connection, &events).await
}

async fn turn_away(
    state: &State,
    connection: &mut AnyConnection,
    ended: &[Ended],
    reason: &str,
) -> Result<(), Error> {
    let now = state.clock.now();
    for session in ended {
        let until = revocation::until(session.access_expires_at);
        let revoked = Revoked::Session(session.id);
        revocation::record(&state.signal, connection, revoked, Some(until), now, reason).await?;
    }
    Ok(())
}

/// What is recorded of the end of sessions.
fn ends<'a>(ended: &[Ended], Cause { reason, by }: Cause<'a>) -> impl Iterator<Item = Event<'a>> {
    ended.iter().map(move |session| {
        let actor = by.unwrap_or_else(|| ended_by(session.user_id, reason));
        let event = Event::new(Kind::SessionEnd, Outcome::Success, actor).about(session.user_id);
        event.session(session.id).because(reason)
    })
}

/// How long a session is kept after its time, so that its tokens are told `session_ended` and its
/// owner finds it among those that ended.
const KEPT_AFTER_END: Duration = Duration::from_hours(30 * 24);

/// Removes sessions whose time was over a month ago.
///
/// # Errors
/// When the database fails.
pub async fn remove_expired(state: &State) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    let now = state.clock.now();
    store::remove_expired(&mut tx, now - KEPT_AFTER_END).await?;
    Ok(tx.commit().await?)
}
