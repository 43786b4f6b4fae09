//! A copy of everything that is held about a person, for that person.
//!
//! Secrets are not data about them: no password's hash, no token, no factor's secret is in it.

use serde::Serialize;
use sqlx::AnyConnection;
use utoipa::ToSchema;

use super::contacts::{self, Contact};
use super::kyc::{self, Submission};
use super::status::By;
use super::{User, store};
use crate::abuse::{anomaly, devices};
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
    /// Sessions that ended in the last 30 days.
    ended_sessions: Vec<View>,
    /// What was submitted for verification.
    kyc: Vec<Submission>,
    /// What happened around the account, the latest first; at most 10000.
    events: Vec<AuditEvent>,
}

/// Takes the copy, and records that it was taken.
pub(super) async fn take(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    (user_id, session_id): (UserId, SessionId),
) -> Result<Export, Error> {
    events::record(
        state,
        connection,
        &by.event(events::Kind::Export, user_id).session(session_id),
    )
    .await?;
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
        ended_sessions: sessions::ended_of(state, connection, user_id).await?,
        kyc: kyc::submissions(state, connection, user_id).await?,
        events: events::of_account(state, connection, user_id).await?,
    })
}
