//! A copy of everything that is held about a person, for that person.
//!
//! Secrets are not data about them: no password's hash, no token, no factor's secret is in it.
//!
//! A copy opens thousands of sealed values, so it is read beside the writer, which everybody's logins
//! wait for, and a person takes so many an hour ([`PER_HOUR`]).

use serde::Serialize;
use sqlx::{AnyConnection, Connection as _};
use utoipa::ToSchema;

use super::contacts::{self, Contact};
use super::kyc::{self, Submission};
use super::status::By;
use super::{User, store};
use crate::abuse::attempts::{self, Kind as Attempts};
use crate::abuse::{Subject, anomaly, devices};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, AuditEvent};
use crate::ids::{SessionId, UserId};
use crate::login::factors::{self, Factor};
use crate::login::passkeys::{self, PasskeyView};
use crate::sessions::{self, View};
use crate::social::{self, Identity};

/// Everything that is held about a person; instants are seconds since 1970 unless they are text.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountExport)]
pub(super) struct Export {
    /// When the copy was taken.
    exported_at: i64,
    /// The account.
    account: User,
    /// Addresses and numbers.
    contacts: Vec<Contact>,
    /// Since when the present password is set; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_set_at: Option<i64>,
    /// Passkeys: what its owner calls each, when it came and was used last.
    passkeys: Vec<PasskeyView>,
    /// Second factors, when each came and was used last.
    factors: Vec<Factor>,
    /// Identities at other providers that are linked to the account.
    identities: Vec<Identity>,
    /// Devices that are let in while strangers fail, when each was used last.
    trusted_devices: Vec<i64>,
    /// Devices that are not new any more, when somebody logged in on each last. What is kept of them
    /// is a keyed hash.
    known_devices: Vec<i64>,
    /// Sessions that can be used.
    sessions: Vec<View>,
    /// Sessions that ended in the last 30 days; at most the latest 10000.
    ended_sessions: Vec<View>,
    /// What was submitted for verification.
    kyc: Vec<Submission>,
    /// What happened around the account, the latest first; at most 10000.
    events: Vec<AuditEvent>,
}

/// Copies that one account takes in an hour. One is enough, a few are for whoever lost it; each is
/// some megabytes, and a message to the owner.
pub(super) const PER_HOUR: u32 = 5;

/// Ended sessions in a copy, as many as events.
const MOST_ENDED: i64 = 10_000;

/// Records within the caller's transaction that a copy is taken.
///
/// # Errors
/// [`Error::RateLimited`] after as many as may be in an hour; when the database fails.
pub(super) async fn note(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    (user_id, session_id): (UserId, SessionId),
) -> Result<(), Error> {
    let account = Subject::account(&state.vault, user_id)?;
    let now = state.clock.now();
    attempts::count(connection, Attempts::Export, &account, PER_HOUR, now).await?;
    let event = by.event(events::Kind::Export, user_id);
    events::record(state, connection, &event.session(session_id)).await
}

/// Reads the copy: one view of the database, of which others may write on meanwhile.
///
/// # Errors
/// When the database or the vault fails, or the account is gone.
pub(super) async fn take(
    state: &State,
    connection: &mut AnyConnection,
    whose: (UserId, SessionId),
) -> Result<Export, Error> {
    let mut view = connection.begin().await?;
    let export = read(state, &mut view, whose).await;
    view.rollback().await?;
    export
}

async fn read(
    state: &State,
    connection: &mut AnyConnection,
    (user_id, session_id): (UserId, SessionId),
) -> Result<Export, Error> {
    let account = super::load(state, connection, user_id)
        .await?
        .ok_or(Error::NotFound)?;
    Ok(Export {
        exported_at: state.clock.now().unix_seconds(),
        account,
        contacts: contacts::list(state, connection, user_id).await?,
        password_set_at: store::password_set_at(connection, user_id)
            .await?
            .map(Timestamp::unix_seconds),
        passkeys: passkeys::list(state, connection, user_id).await?,
        factors: factors::list(state, connection, user_id).await?.factors,
        identities: social::identities_of(state, connection, user_id).await?,
        trusted_devices: devices::used(connection, user_id).await?,
        known_devices: anomaly::devices_used(connection, user_id).await?,
        sessions: sessions::live_of(state, connection, user_id, Some(session_id)).await?,
        ended_sessions: sessions::ended_of(state, connection, user_id, MOST_ENDED).await?,
        kyc: kyc::submissions(state, connection, user_id).await?,
        events: events::of_account(state, connection, user_id).await?,
    })
}
