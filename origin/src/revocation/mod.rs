//! Revocation: what was turned away before its time, and telling the gates.
//!
//! An entry is written in the transaction of the change that causes it, so that neither is there
//! without the other. The publisher folds the live entries into one signed list.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::{MAX_LEEWAY, VerifiedToken};
use sqlx::AnyConnection;
use tokio::sync::Notify;

pub mod control_key;
pub mod kv;
pub mod kv_rest;
mod ledger;
pub mod list;
pub mod lists;
pub mod order;
pub mod policy;
pub mod routes;
mod store;

pub use order::turn_away_tokens;
pub use store::Listed;

use crate::abuse::{devices, guesses};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::SessionId;
use crate::{accounts, events, sessions, tokens};

/// Tells the publisher of this process that something was, or is about to be, committed.
#[derive(Debug, Default)]
pub struct Signal {
    raised: AtomicU64,
    notify: Notify,
}

impl Signal {
    /// Says that there is something to publish.
    pub fn raise(&self) {
        self.raised.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// How often it was raised.
    pub fn count(&self) -> u64 {
        self.raised.load(Ordering::SeqCst)
    }

    /// Waits until it is raised.
    pub async fn raised(&self) {
        self.notify.notified().await;
    }
}

/// What is revoked.
#[derive(Clone, Copy, Debug)]
pub enum Revoked<'a> {
    /// One token, by its `jti`.
    Token(&'a str),
    /// Every token of a session.
    Session(SessionId),
    /// Every token of a session that this database may not know.
    SessionNamed(&'a str),
    /// Every token of a subject issued at or before the second.
    Subject(&'a str, UnixTime),
    /// Every token signed by a key.
    Key(&'a str),
}

impl Revoked<'_> {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "jti",
            Self::Session(_) | Self::SessionNamed(_) => "sid",
            Self::Subject(..) => "sub",
            Self::Key(_) => "kid",
        }
    }
}

/// When an entry no longer matters whose last token expires at `token_expires_at`: no verifier
/// accepts it later than with the largest leeway.
pub fn until(token_expires_at: Timestamp) -> Timestamp {
    token_expires_at + Duration::from_secs(u64::from(MAX_LEEWAY))
}

/// Writes an entry within the caller's transaction; it is published when that is committed.
///
/// `until` is when it no longer matters, as of [`until`]; none for what never expires. An entry
/// that is there already is only ever widened.
///
/// # Errors
/// When the database fails.
pub async fn record(
    signal: &Signal,
    connection: &mut AnyConnection,
    revoked: Revoked<'_>,
    until: Option<Timestamp>,
    now: Timestamp,
    reason: &str,
) -> Result<(), Error> {
    if until.is_some_and(|until| until <= now) {
        return Ok(());
    }
    let change = tokens::store::raise(connection, "revocations").await?;
    let session_text;
    let (value, not_before) = match revoked {
        Revoked::Token(text) | Revoked::SessionNamed(text) | Revoked::Key(text) => (text, 0),
        Revoked::Session(id) => {
            session_text = id.to_string();
            (session_text.as_str(), 0)
        }
        Revoked::Subject(text, UnixTime(seconds)) => (text, seconds),
    };
    let row = store::Row {
        kind: revoked.kind().to_owned(),
        value: value.to_owned(),
        not_before,
        expires_at: until,
        change,
    };
    store::upsert(connection, &row, now, reason).await?;
    // Before the commit, which is the caller's: the publisher waits its turn behind it.
    signal.raise();
    Ok(())
}

/// The second of the last revocation of a whole subject that still matters.
///
/// # Errors
/// When the database fails.
pub async fn subject_not_before(
    connection: &mut AnyConnection,
    subject: &str,
) -> Result<Option<i64>, Error> {
    store::subject_not_before(connection, subject).await
}

/// Whether a token was revoked, by itself, its session, its subject or its key.
///
/// # Errors
/// When the database fails.
pub async fn is_revoked(
    connection: &mut AnyConnection,
    token: &VerifiedToken,
) -> Result<bool, Error> {
    let claims = token.claims();
    store::is_revoked(
        connection,
        &claims.token_id,
        claims.session_id.as_deref().unwrap_or_default(),
        token.key_id(),
        &claims.subject,
        claims.issued_at.0,
    )
    .await
}

/// Entries that still matter, the latest change first, before the change `before`.
///
/// # Errors
/// When the database fails.
pub async fn entries(
    connection: &mut AnyConnection,
    before: Option<i64>,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Listed>, Error> {
    store::page(connection, before.unwrap_or(i64::MAX), limit, now).await
}

/// Revocations that come within this time share a list, unless a gate asks meanwhile: it is answered
/// with what is current ([`Publisher::current_soon`](list::Publisher::current_soon)). Each list is a
/// transaction and all its entries hashed anew; a tenth of a second is little beside the two that
/// gates let pass between two looks.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// How often what no longer matters is removed from the database.
const CLEANING_INTERVAL: Duration = Duration::from_hours(1);

/// Keeps what the gates are told current, and cleans up; never returns.
///
/// What fails is logged and tried again at the next look: the gates see the list's age.
pub async fn keep_current(state: State) {
    let poll = Duration::from_millis(state.config.revocation.poll_milliseconds);
    let mut cleaned = Instant::now();
    loop {
        let outcome = tokio::select! {
            () = state.signal.raised() => state.publisher.current().await.map(drop),
            () = tokio::time::sleep(poll) => state.publisher.look().await,
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "the gates could not be told what is new");
        }
        if cleaned.elapsed() >= CLEANING_INTERVAL {
            cleaned = Instant::now();
            if let Err(error) = clean(&state).await {
                tracing::error!(%error, "cleaning failed");
            }
        }
        tokio::time::sleep(SHORTEST_INTERVAL).await;
    }
}

/// Removes what no longer matters, of every slice, whichever of them fails.
///
/// # Errors
/// The first, when the database fails.
pub async fn clean(state: &State) -> Result<(), Error> {
    let outcomes = [
        state.publisher.remove_expired().await,
        sessions::remove_expired(state).await,
        events::remove_expired(state).await,
        accounts::upkeep(state).await,
        remove_counts(state).await,
    ];
    outcomes.into_iter().collect()
}

async fn remove_counts(state: &State) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    let now = state.clock.now();
    guesses::remove_lifted(&mut tx, now).await?;
    devices::remove_expired(&mut tx, now).await?;
    Ok(tx.commit().await?)
}
