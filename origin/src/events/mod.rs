//! The audit trail: what happened, to whom, by whom, from where, and how it ended.
//!
//! An event is written in the transaction of what it tells of, so that neither is there without
//! the other; a failure's with the counting of the failure. Events are only ever added: each is
//! chained to the one before by a hash, and the end of the chain is held by a MAC ([`chain`]).
//! Addresses, user agents and values are sealed. No secret, no code and no token is in an event.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AnyConnection, Connection as _};

use crate::app::State;
use crate::clock::Clock;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::random::Random;
use crate::request::Caller;
use crate::vault::{Purpose, Vault};

pub mod chain;
mod routes;
pub mod seals;
mod store;

pub(crate) use routes::{AuditEvent, of_account};
pub use routes::{admin, auth};

use chain::Link;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$item])* $variant,)+ }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that the database keeps and the API shows.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The one with this word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.as_str() == word)
            }
        }
    };
}

words! {
    /// What happened.
    Kind {
        /// Somebody registered, or an account was made for them.
        Registration = "registration",
        /// Somebody logged in, or tried to.
        Login = "login",
        /// A further factor was shown, was wrong, or was not asked for.
        Factor = "factor",
        /// A code or a link to log in was asked for.
        Code = "code",
        /// A captcha was not solved.
        Captcha = "captcha",
        /// A device is trusted from now on, was used as such, or is trusted no longer.
        TrustedDevice = "trusted_device",
        /// Somebody proved again who they are, within a session.
        Reauthentication = "reauthentication",
        /// A factor was added, removed or turned off.
        FactorChange = "factor_change",
        /// A password was set.
        Password = "password",
        /// A link that sets a new password was asked for.
        PasswordReset = "password_reset",
        /// A session ended.
        SessionEnd = "session_end",
        /// A refresh token came back after its successor was used.
        RefreshReuse = "refresh_reuse",
        /// An account or an identifier was locked, or the lock was lifted.
        Lock = "lock",
        /// Somebody logged in from a device or a network that is new for them.
        NewDevice = "new_device",
        /// A pattern of an attack.
        Anomaly = "anomaly",
        /// An address was added, proved, replaced or removed.
        Contact = "contact",
        /// An identity of another provider was linked or unlinked.
        Identity = "identity",
        /// Profile data changed.
        Profile = "profile",
        /// Roles changed.
        Roles = "roles",
        /// Permissions changed.
        Permissions = "permissions",
        /// The customer changed.
        Customer = "customer",
        /// A submission for verification, or its review.
        Kyc = "kyc",
        /// An account was disabled, enabled, or is to be deleted.
        Status = "status",
        /// An account's personal data was erased.
        Erasure = "erasure",
        /// Somebody took a copy of what is held about them.
        Export = "export",
        /// Signing keys or the control key changed.
        Keys = "keys",
        /// A token, a session or a subject was revoked by an operator.
        Revocation = "revocation",
        /// The database was restored from a copy.
        Restore = "restore",
        /// The trail was sealed as it was found, and this one begun behind it.
        Audit = "audit",
    }
}

words! {
    /// How it ended.
    Outcome {
        /// It was done.
        Success = "success",
        /// It was refused.
        Failure = "failure",
        /// It was not asked for, or not carried through: a login whose second factor is still to come.
        Skipped = "skipped",
    }
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An account.
    User(UserId),
    /// Whoever may run commands on the server.
    Operator,
    /// The server itself: a schedule, a limit.
    System,
    /// Somebody who has not proved who they are.
    Anonymous,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Operator => f.write_str("operator"),
            Self::System => f.write_str("system"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// A value that changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// What it was.
    pub old: Value,
    /// What it is.
    pub new: Value,
}

impl Change {
    /// From `old` to `new`.
    pub fn new(old: impl Into<Value>, new: impl Into<Value>) -> Self {
        Self {
            old: old.into(),
            new: new.into(),
        }
    }
}

/// What is recorded. Begin with [`Event::new`] and say what is known.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a word of the code; empty where there is nothing to say.
    pub reason: &'a str,
    /// Who did it.
    pub actor: Actor,
    /// Whom it is about.
    pub user: Option<UserId>,
    /// The session that it is about.
    pub session: Option<SessionId>,
    /// By which method: `password`, `totp`, `email`, …
    pub method: Option<&'a str>,
    /// Where the request came from.
    pub caller: Option<&'a Caller>,
    /// What changed.
    pub change: Option<Change>,
}

impl<'a> Event<'a> {
    /// An event of nobody in particular.
    pub const fn new(kind: Kind, outcome: Outcome, actor: Actor) -> Self {
        Self {
            kind,
            outcome,
            reason: "",
            actor,
            user: None,
            session: None,
            method: None,
            caller: None,
            change: None,
        }
    }

    /// What an account did to itself.
    pub const fn own(kind: Kind, outcome: Outcome, user: UserId) -> Self {
        let event = Self::new(kind, outcome, Actor::User(user));
        event.about(user)
    }

    /// Whom it is about.
    #[must_use]
    pub const fn about(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Whom it is about, as far as that is known.
    #[must_use]
    pub const fn about_whoever(mut self, user: Option<UserId>) -> Self {
        self.user = user;
        self
    }

    /// Which session.
    #[must_use]
    pub const fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// Why.
    #[must_use]
    pub const fn because(mut self, reason: &'a str) -> Self {
        self.reason = reason;
        self
    }

    /// By which method.
    #[must_use]
    pub const fn by(mut self, method: &'a str) -> Self {
        self.method = Some(method);
        self
    }

    /// From where.
    #[must_use]
    pub const fn from(mut self, caller: &'a Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// What changed.
    #[must_use]
    pub fn changing(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }
}

/// What of an event is sealed.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Details {
    /// Random: without it the hash of so short a text would be a way to guess it.
    salt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<Value>,
}

tokio::task_local! {
    /// Who asks, for events far below a handler: the end of a session is recorded where sessions
    /// end, whoever ends them.
    static CALLER: Arc<Caller>;
}

/// Runs what answers a request of `caller`: its events say who asked.
pub async fn on_behalf<F: Future>(caller: Caller, answering: F) -> F::Output {
    CALLER.scope(Arc::new(caller), answering).await
}

fn of_request() -> Option<Arc<Caller>> {
    CALLER.try_with(Arc::clone).ok()
}

/// Records a refusal in a transaction of its own, before it is answered.
///
/// Whether or not there is an account, the same is written: the event, and the count of the hour.
/// Of events that are about nobody only `audit.unknown_per_hour` stay, so that a flood of made-up
/// names does not fill the disk; what is over is taken back within the transaction, and counted.
///
/// # Errors
/// As [`record`].
pub async fn refused(state: &State, event: &Event<'_>) -> Result<(), Error> {
    let hour = state.clock.now().unix_seconds().div_euclid(3_600);
    let most = i64::from(state.config.audit.unknown_per_hour);
    let mut tx = state.db.write().await?;
    let used = store::count_refusal(&mut tx, hour, event.user.is_none()).await?;
    let mut inner = tx.begin().await?;
    record(state, &mut inner, event).await?;
    let withheld = event.user.is_none() && used > most;
    if withheld {
        inner.rollback().await?;
    } else {
        inner.commit().await?;
    }
    store::count_withheld(&mut tx, hour, withheld).await?;
    Ok(tx.commit().await?)
}

/// Records `event` with the reason of a proof that was refused, as [`refused`] does; what failed
/// otherwise (a limit, a request that cannot be understood, a fault of ours) is in the log.
///
/// No transaction of the caller's may be open: the one that writes is waited for.
///
/// # Errors
/// As [`record`].
pub async fn note_refusal<T>(
    state: &State,
    outcome: &Result<T, Error>,
    event: Event<'_>,
) -> Result<(), Error> {
    match outcome {
        Err(
            refusal @ (Error::CredentialsInvalid
            | Error::CodeInvalid(_)
            | Error::CodeExpired
            | Error::IdentityRefused(_)),
        ) => refused(state, &event.because(refusal.code().0)).await,
        _ => Ok(()),
    }
}

/// Says how many events about nobody were not kept in the hours that are over.
async fn tell_withheld(state: &State, connection: &mut AnyConnection) -> Result<(), Error> {
    let hour = state.clock.now().unix_seconds().div_euclid(3_600);
    let withheld = store::take_withheld(connection, hour).await?;
    if withheld > 0 {
        let event = Event::new(Kind::Anomaly, Outcome::Skipped, Actor::System);
        let event = event.because("events_withheld");
        record(state, connection, &event.changing(Change::new(0, withheld))).await?;
    }
    Ok(())
}

/// Records an event within the caller's transaction, which must be one that writes.
///
/// One that names no caller is of whoever sent the request that is being answered.
///
/// # Errors
/// When the database or the vault fails: what cannot be recorded is not to happen.
pub async fn record(
    state: &State,
    connection: &mut AnyConnection,
    event: &Event<'_>,
) -> Result<(), Error> {
    record_all(state, connection, std::slice::from_ref(event)).await
}

/// [`record`] of several events, in order: the chain's end is read and written once for all.
///
/// # Errors
/// As [`record`].
pub async fn record_all(
    state: &State,
    connection: &mut AnyConnection,
    events: &[Event<'_>],
) -> Result<(), Error> {
    let means = (&state.vault, &state.clock, &state.random);
    record_by(means, connection, events).await
}

/// [`record_all`] for a part of the state, which has its own means.
///
/// # Errors
/// As [`record`].
pub async fn record_by(
    means: (&Vault, &Clock, &Random),
    connection: &mut AnyConnection,
    events: &[Event<'_>],
) -> Result<(), Error> {
    let within = of_request();
    let rows = events
        .iter()
        .map(|event| row(means, within.as_deref(), event))
        .collect::<Result<Vec<_>, Error>>()?;
    store::append(means.0, connection, rows).await
}

/// What is kept of an event: its link of the chain, and what is sealed beside it.
fn row(
    (vault, clock, random): (&Vault, &Clock, &Random),
    within: Option<&Caller>,
    event: &Event<'_>,
) -> Result<(Link, Vec<u8>), Error> {
    let caller = event.caller.or(within);
    let details = Details {
        salt: edgekeep_shared::base64url::encode(&random.bytes::<16>()),
        method: event.method.map(str::to_owned),
        address: caller
            .and_then(|caller| caller.address)
            .map(|address| address.to_string()),
        user_agent: caller.and_then(|caller| caller.user_agent.clone()),
        old: event.change.as_ref().map(|change| change.old.clone()),
        new: event.change.as_ref().map(|change| change.new.clone()),
    };
    let json = serde_json::to_vec(&details).map_err(|_| Error::internal("event as JSON"))?;
    let id: [u8; 16] = random.bytes();
    let sealed = vault.seal(Purpose::Audit, &id, &json)?;
    let link = Link {
        id: id.to_vec(),
        occurred_at: clock.now(),
        kind: event.kind.as_str().to_owned(),
        outcome: event.outcome.as_str().to_owned(),
        reason: event.reason.to_owned(),
        actor: event.actor.to_string(),
        user_id: event.user,
        session_id: event.session,
        request_id: caller
            .and_then(|caller| caller.request_id.clone())
            .unwrap_or_default(),
        details_hash: chain::hash_details(&json),
    };
    Ok((link, sealed))
}

/// Erases what is sealed beside the events about a person, within the caller's transaction. That
/// something happened, and when, stays; the chain holds.
///
/// # Errors
/// When the database fails.
pub async fn erase_details(connection: &mut AnyConnection, user_id: UserId) -> Result<(), Error> {
    store::erase_details(connection, user_id).await
}

/// Removes events that are older than the configured retention, and logs where the trail ends: a
/// copy of the log tells an older copy of the database from the database.
///
/// # Errors
/// When the database fails.
pub async fn remove_expired(state: &State) -> Result<(), Error> {
    let retention = state.config.audit.retention();
    let mut tx = state.db.write().await?;
    tell_withheld(state, &mut tx).await?;
    store::remove_until(&state.vault, &mut tx, state.clock.now() - retention).await?;
    let (end, signed) = chain::end(&state.vault, &mut tx).await?;
    tx.commit().await?;
    if signed {
        tracing::info!(%end, "audit trail");
    } else {
        tracing::error!(%end, "audit trail: its ends are not as they were signed");
    }
    Ok(())
}
