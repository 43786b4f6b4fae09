//! Accounts: who people are, what they log in with, what they may do.

use serde::Serialize;
use sqlx::{AnyConnection, Row as _};

use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;

/// What a person sees of their account.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// The account's id: `sub` of its tokens.
    pub id: UserId,
    /// The proved e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The proved telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// The user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The name by which they want to be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Permissions.
    pub permissions: Vec<String>,
    /// To what level they were verified, 0 if not.
    pub kyc_level: i64,
    /// `none`, `pending`, `verified` or `rejected`.
    pub kyc_status: String,
    /// The customer they belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
}

/// An account that may log in; none if there is no such account or it is disabled.
///
/// # Errors
/// When the database fails.
pub async fn find_active(
    _state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<User>, Error> {
    let row = sqlx::query(
        "SELECT roles, permissions, kyc_level, kyc_status, customer_id
         FROM users WHERE id = $1 AND status = 'active'",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let list = |text: String| {
        serde_json::from_str(&text).map_err(|_| Error::internal("roles of an account"))
    };
    Ok(Some(User {
        id,
        email: None,
        phone_number: None,
        username: None,
        name: None,
        roles: list(row.try_get("roles")?)?,
        permissions: list(row.try_get("permissions")?)?,
        kyc_level: row.try_get("kyc_level")?,
        kyc_status: row.try_get("kyc_status")?,
        customer_id: row.try_get("customer_id")?,
    }))
}
