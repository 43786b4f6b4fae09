//! Logins and refreshes that are unlike those before: a new device, a place out of reach, many
//! failures at the account or from the network.
//!
//! All are signs and no proofs. What a client says of its device can be copied, so that a thief
//! who knows it is not noticed; a place is guessed from an address, and whoever turns a VPN on
//! leaps; failures may be another's. So no login is refused for any: its owner is told, an account
//! with a second factor has to prove it (every login of such an account does), one without begins
//! a session in which nothing was freshly proved, and by setting the sessions of before end. A
//! device that is trusted is never new, and others' failures are no sign against it.
//!
//! Failing alone has no consequence beyond an event and a message: what ends sessions follows a
//! login that succeeds while the sign stands, or strangers could log anybody out.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::place::{Place, Seen};
use super::{Subject, stuffing};
use crate::accounts;
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::{Anomaly, Reaction};
use crate::error::Error;
use crate::events::{self, Actor, Event, Kind, Outcome};
use crate::ids::{SessionId, UserId};
use crate::login::messages;
use crate::notify::Message;
use crate::request::Caller;
use crate::revocation;
use crate::sessions::{self, Ending, device};
use crate::vault::Purpose;

/// Devices of one account that are remembered; the one that was used longest ago gives way.
const DEVICES: i64 = 50;

/// A device is forgotten when nobody logged in on it for this long.
const REMEMBERED: Duration = Duration::from_hours(366 * 24);

/// A login whose session is about to be opened.
pub(crate) struct Arriving<'a> {
    /// Whose it is.
    pub(crate) user_id: UserId,
    /// Who logs in.
    pub(crate) caller: &'a Caller,
    /// The device, as the client names it.
    pub(crate) device_id: Option<&'a str>,
    /// Whether the device was trusted before.
    pub(crate) trusted: bool,
}

/// What there is to a login, as far as it can be seen before its session is opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Signs {
    new_device: bool,
    failures: stuffing::Standing,
}

impl Signs {
    /// Whether the session begins without a fresh proof: what asks for one asks again.
    pub(crate) fn ask_again(self, settings: &Anomaly) -> bool {
        self.reactions(settings)
            .any(|reaction| reaction >= Reaction::StepUp)
    }

    fn reactions(self, settings: &Anomaly) -> impl Iterator<Item = Reaction> {
        [
            (self.new_device, settings.new_device),
            (
                self.failures.many_networks,
                settings.one_account_many_networks,
            ),
            (
                self.failures.many_accounts,
                settings.one_network_many_accounts,
            ),
        ]
        .into_iter()
        .filter_map(|(seen, reaction)| seen.then_some(reaction))
    }
}

/// A login that is about to be answered.
pub(crate) struct Entering<'a> {
    /// Who arrived.
    pub(crate) arriving: Arriving<'a>,
    /// What was seen of it before.
    pub(crate) signs: Signs,
    /// The session that it opened.
    pub(crate) session_id: SessionId,
    /// Where its owner was last in another session, and in which.
    pub(crate) before: Option<(SessionId, Seen)>,
}

/// What became of a session that was refreshed.
pub(crate) struct Refreshed {
    /// Whether it ended.
    pub(crate) ended: bool,
    /// What its owner is told once that is committed.
    pub(crate) message: Option<Message>,
}

/// That a caller was seen now, and where.
pub(crate) fn seen(caller: &Caller, now: Timestamp) -> Seen {
    let mut place: Place = caller.place.clone();
    place.network = caller.address.map(device::network);
    Seen {
        place,
        at: now.micros(),
    }
}

/// Looks at a login before its session is opened, within its transaction, and remembers its device.
/// What strangers do elsewhere is no sign against a device that is trusted.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn look(
    state: &State,
    connection: &mut AnyConnection,
    arriving: &Arriving<'_>,
) -> Result<Signs, Error> {
    let new_device = is_new_device(state, connection, arriving).await?;
    if arriving.trusted {
        return Ok(Signs::default());
    }
    let account = Subject::account(&state.vault, arriving.user_id)?;
    Ok(Signs {
        new_device,
        failures: state.watch.standing(state, arriving.caller, &account),
    })
}

/// Does what follows a login within its transaction; the messages are for its owner once it is
/// committed.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn login(
    state: &State,
    connection: &mut AnyConnection,
    entering: Entering<'_>,
) -> Result<Vec<Message>, Error> {
    let settings = &state.config.anomaly;
    let now = state.clock.now();
    let Entering {
        arriving,
        signs,
        session_id,
        before,
    } = entering;
    let (user_id, caller) = (arriving.user_id, arriving.caller);
    let place = seen(caller, now).place;
    let out_of_reach = settings.impossible_travel >= Reaction::Record
        && before
            .as_ref()
            .is_some_and(|(_, before)| place.is_out_of_reach(before, now, settings));
    let among = |kind, to: &str| messages::login_among_failures(kind, to, now);
    let device = device::of(caller.user_agent.as_deref()).name;
    let on_new = |kind, to: &str| messages::new_device(kind, to, device.as_deref(), now);
    let travel = |kind, to: &str| messages::impossible_travel(kind, to, now);
    let (networks, accounts) = (signs.failures.many_networks, signs.failures.many_accounts);
    let found: [(bool, Reaction, Kind, &'static str, &Words<'_>); 4] = [
        (
            signs.new_device,
            settings.new_device,
            Kind::NewDevice,
            "new_device",
            &on_new,
        ),
        (
            networks,
            settings.one_account_many_networks,
            Kind::Anomaly,
            "many_networks",
            &among,
        ),
        (
            accounts,
            settings.one_network_many_accounts,
            Kind::Anomaly,
            "many_accounts",
            &among,
        ),
        (
            out_of_reach,
            settings.impossible_travel,
            Kind::Anomaly,
            "impossible_travel",
            &travel,
        ),
    ];
    let mut messages: Vec<Message> = Vec::new();
    let mut strongest = Reaction::Off;
    for (_, reaction, kind, sign, words) in found.into_iter().filter(|(seen, ..)| *seen) {
        strongest = strongest.max(reaction);
        if reaction >= Reaction::Record {
            note(state, connection, kind, sign, (user_id, session_id), caller).await?;
        }
        if reaction >= Reaction::Notify
            && let Some((kind, _, to)) = accounts::contact(state, connection, user_id).await?
        {
            // Of two signs of the same kind one message tells.
            let message = words(kind, &to);
            let is_told = |told: &Message| {
                let subject = message.as_ref().and_then(|message| message.subject);
                told.subject.is_some() && told.subject == subject
            };
            if !messages.iter().any(is_told) {
                messages.extend(message);
            }
        }
    }
    match (strongest, before) {
        (Reaction::EndSession, Some((other, _))) => {
            sessions::end(state, connection, other, "anomaly").await?;
        }
        (Reaction::EndAllSessions, _) => {
            let others = Ending::AllBut(session_id);
            sessions::end_of_user(state, connection, user_id, others, "anomaly").await?;
        }
        _ => {}
    }
    Ok(messages)
}

/// What the owner is told, at an address of this kind.
type Words<'a> = dyn Fn(accounts::Kind, &str) -> Option<Message> + Send + Sync + 'a;

/// Looks at a refresh within its transaction.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn refresh(
    state: &State,
    connection: &mut AnyConnection,
    caller: &Caller,
    (user_id, session_id): (UserId, SessionId),
    before: Option<&Seen>,
) -> Result<Refreshed, Error> {
    let settings = &state.config.anomaly;
    let now = state.clock.now();
    let seen = seen(caller, now);
    let mut refreshed = Refreshed {
        ended: false,
        message: None,
    };
    if settings.impossible_travel >= Reaction::Record
        && before.is_some_and(|before| seen.place.is_out_of_reach(before, now, settings))
    {
        note(
            state,
            connection,
            Kind::Anomaly,
            "impossible_travel",
            (user_id, session_id),
            caller,
        )
        .await?;
        refreshed.message = tell(state, connection, user_id, now).await?;
        match settings.impossible_travel {
            Reaction::StepUp => {
                sessions::step_down(connection, session_id).await?;
                // Those of before say what is no longer so.
                revocation::turn_away_tokens(state, connection, user_id, "anomaly").await?;
            }
            Reaction::EndSession => {
                refreshed.ended = true;
                sessions::end(state, connection, session_id, "anomaly").await?;
            }
            Reaction::EndAllSessions => {
                refreshed.ended = true;
                let all = Ending::All;
                sessions::end_of_user(state, connection, user_id, all, "anomaly").await?;
            }
            _ => {}
        }
    }
    if !refreshed.ended {
        sessions::note_seen(state, connection, session_id, &seen).await?;
    }
    Ok(refreshed)
}

/// Records that an account is failed at from many networks, whether or not there is one.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn many_networks(
    state: &State,
    caller: &Caller,
    user_id: Option<UserId>,
) -> Result<(), Error> {
    let reaction = state.config.anomaly.one_account_many_networks;
    if reaction < Reaction::Record {
        return Ok(());
    }
    let event = Event::new(Kind::Anomaly, Outcome::Failure, Actor::Anonymous);
    let mut event = event.because("many_networks").from(caller);
    event.user = user_id;
    events::refused(state, &event).await?;
    state.metrics.count_anomaly("many_networks");
    // Nobody has the id of zeroes: an unknown account costs the same look-up.
    let looked_up = user_id.unwrap_or(UserId::from_bytes([0; 16]));
    let mut reader = state.db.read().await?;
    let contact = accounts::contact(state, &mut reader, looked_up).await?;
    drop(reader);
    if reaction >= Reaction::Notify
        && let Some((kind, _, to)) = contact
        && let Some(message) = messages::many_failures(kind, &to, state.clock.now())
    {
        state.mailer.send(message.asked_by(caller.address));
    }
    Ok(())
}

/// Records that one network fails at many accounts.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn many_accounts(state: &State, caller: &Caller) -> Result<(), Error> {
    if state.config.anomaly.one_network_many_accounts < Reaction::Record {
        return Ok(());
    }
    let event = Event::new(Kind::Anomaly, Outcome::Failure, Actor::Anonymous);
    let event = event.because("many_accounts").from(caller);
    // Not as one of the refusals about nobody, of which an attack uses up the hour's in seconds:
    // there is one for a network and a quarter of an hour.
    let mut tx = state.db.write().await?;
    events::record(state, &mut tx, &event).await?;
    tx.commit().await?;
    state.metrics.count_anomaly("many_accounts");
    Ok(())
}

async fn note(
    state: &State,
    connection: &mut AnyConnection,
    kind: Kind,
    sign: &'static str,
    (user_id, session_id): (UserId, SessionId),
    caller: &Caller,
) -> Result<(), Error> {
    state.metrics.count_anomaly(sign);
    let event = Event::own(kind, Outcome::Success, user_id)
        .session(session_id)
        .because(sign)
        .from(caller);
    tracing::warn!(sign, session = %session_id, "anomaly");
    events::record(state, connection, &event).await
}

async fn tell(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    now: Timestamp,
) -> Result<Option<Message>, Error> {
    if state.config.anomaly.impossible_travel < Reaction::Notify {
        return Ok(None);
    }
    let contact = accounts::contact(state, connection, user_id).await?;
    Ok(contact.and_then(|(kind, _, to)| messages::impossible_travel(kind, &to, now)))
}

/// What a client says of its device: its name for it, and its `User-Agent`.
pub(crate) type Told<'a> = (Option<&'a str>, Option<&'a str>);

/// By what a device is known, as far as its client tells of it.
fn known_as(state: &State, user_id: UserId, (id, user_agent): Told<'_>) -> Result<[u8; 32], Error> {
    let agent = device::of(user_agent).name;
    let parts: [&[u8]; 4] = [
        b"known",
        user_id.as_bytes(),
        id.unwrap_or_default().as_bytes(),
        agent.as_deref().unwrap_or_default().as_bytes(),
    ];
    Ok(state.vault.mac(Purpose::Device, &parts)?)
}

/// No device has it: it stands for those that were forgotten where no other is left, so that the
/// next login is a new device's and not the account's first.
const FORGOTTEN: [u8; 32] = [0; 32];

/// When a user logged in last on each known device, in seconds since 1970.
///
/// # Errors
/// When the database fails.
pub(crate) async fn devices_used(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<i64>, Error> {
    let rows = sqlx::query(
        "SELECT used_at FROM known_devices WHERE user_id = $1 AND device <> $2 ORDER BY used_at",
    )
    .bind(user_id)
    .bind(FORGOTTEN.as_slice())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok(row.try_get::<Timestamp, _>("used_at")?.unix_seconds()))
        .collect()
}

/// Forgets on which devices a user logged in, but for the one of which that was told: whoever got in
/// once is announced when they come again.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn forget_devices(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    but: Option<Told<'_>>,
) -> Result<(), Error> {
    let kept = match but {
        Some(told) => known_as(state, user_id, told)?,
        None => FORGOTTEN,
    };
    let removed = sqlx::query("DELETE FROM known_devices WHERE user_id = $1 AND device <> $2")
        .bind(user_id)
        .bind(kept.as_slice())
        .execute(&mut *connection)
        .await?;
    let left = sqlx::query("SELECT 1 FROM known_devices WHERE user_id = $1 LIMIT 1")
        .bind(user_id)
        .fetch_optional(&mut *connection)
        .await?;
    if removed.rows_affected() > 0 && left.is_none() {
        sqlx::query("INSERT INTO known_devices (user_id, device, used_at) VALUES ($1, $2, $3)")
            .bind(user_id)
            .bind(FORGOTTEN.as_slice())
            .bind(state.clock.now())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Remembers the device; whether it is new, and not the account's first. One statement decides of
/// many logins at a time which of them is told.
async fn is_new_device(
    state: &State,
    connection: &mut AnyConnection,
    arriving: &Arriving<'_>,
) -> Result<bool, Error> {
    let now = state.clock.now();
    let told = (arriving.device_id, arriving.caller.user_agent.as_deref());
    let device = known_as(state, arriving.user_id, told)?;
    let known = sqlx::query(
        "UPDATE known_devices SET used_at = $3
         WHERE user_id = $1 AND device = $2 AND used_at >= $4",
    )
    .bind(arriving.user_id)
    .bind(device.as_slice())
    .bind(now)
    .bind(now - REMEMBERED)
    .execute(&mut *connection)
    .await?;
    if known.rows_affected() == 1 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM known_devices WHERE user_id = $1 AND used_at < $2")
        .bind(arriving.user_id)
        .bind(now - REMEMBERED)
        .execute(&mut *connection)
        .await?;
    let others = sqlx::query("SELECT 1 FROM known_devices WHERE user_id = $1 LIMIT 1")
        .bind(arriving.user_id)
        .fetch_optional(&mut *connection)
        .await?;
    let added = sqlx::query(
        "INSERT INTO known_devices (user_id, device, used_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, device) DO NOTHING",
    )
    .bind(arriving.user_id)
    .bind(device.as_slice())
    .bind(now)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM known_devices WHERE user_id = $1 AND device IN (
             SELECT device FROM known_devices WHERE user_id = $1
             ORDER BY used_at DESC, device LIMIT 1000000 OFFSET $2)",
    )
    .bind(arriving.user_id)
    .bind(DEVICES)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1 && others.is_some())
}
