//! Accounts: who people are, what they log in with, what they may do.

use serde::Serialize;

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
