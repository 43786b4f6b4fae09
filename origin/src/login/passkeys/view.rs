//! What the owner of a passkey sees of it.

use serde::Serialize;
use sqlx::AnyConnection;
use utoipa::ToSchema;

use super::all;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{PasskeyId, UserId};

/// A passkey; instants are seconds since 1970.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasskeyView {
    #[schema(value_type = String)]
    id: PasskeyId,
    /// What its owner calls it.
    name: String,
    /// Whether it can be copied to the owner's other devices.
    backup_eligible: bool,
    /// Whether it is, as of its last use.
    backed_up: bool,
    added_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<i64>,
}

/// The passkeys of an account, the oldest first.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn list(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<PasskeyView>, Error> {
    let own = all(state, connection, user_id).await?;
    let views = own.into_iter().map(|(row, details)| PasskeyView {
        id: row.id,
        backup_eligible: details.is_backup_eligible(),
        backed_up: details.is_backed_up(),
        name: details.name,
        added_at: row.added_at.unix_seconds(),
        last_used_at: row.last_used_at.map(Timestamp::unix_seconds),
    });
    Ok(views.collect())
}
