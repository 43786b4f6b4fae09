//! `[access]` and `[accounts]`: roles and what they bring, and how an account ends.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::check::{Wrong, is_secure_page};
use crate::access::names;

/// `[access]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// The role whose holders may use the administration API.
    pub administrator: String,
    /// Whether the administration API is open only to a session in which a second factor was proved.
    /// Unset: in production it is, in development it is open to a password.
    pub require_mfa: Option<bool>,
    /// Seconds since the last proof within which an administrator may change something: by the
    /// second factor, where the account has one.
    pub fresh_seconds: u64,
    /// What a role brings: `[access.roles.NAME]`.
    pub roles: BTreeMap<String, Role>,
}

/// `[access.roles.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Role {
    /// Permissions that whoever has the role has, beside their own.
    pub permissions: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            administrator: "admin".to_owned(),
            require_mfa: None,
            fresh_seconds: 900,
            roles: BTreeMap::new(),
        }
    }
}

impl Access {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            names::is_name(&self.administrator),
            "access.administrator",
            "expected 1 to 64 letters, digits, '.', '_', ':' or '-'",
        );
        wrong.expect(
            (30..=3_600).contains(&self.fresh_seconds),
            "access.fresh_seconds",
            "expected 30 to 3600",
        );
        wrong.expect(
            self.roles.keys().all(|name| names::is_name(name)),
            "access.roles",
            "expected names of 1 to 64 letters, digits, '.', '_', ':' or '-'",
        );
        let fits = |role: &Role| {
            role.permissions.len() <= names::MAX_PERMISSIONS
                && role.permissions.iter().all(|name| names::is_name(name))
        };
        wrong.expect(
            self.roles.values().all(fits),
            "access.roles.….permissions",
            "expected at most 32 names of 1 to 64 letters, digits, '.', '_', ':' or '-'",
        );
    }
}

/// `[accounts]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// How long an account that its owner deleted can be had back by logging in; 0: not at all.
    pub deletion_grace_seconds: u64,
    /// The page of your application where a change of addresses is taken back, which is given
    /// `#token=`: https, or http on loopback. Unset: a page of the keep's own.
    pub undo_url: Option<String>,
    /// The page of your application that adds a mail address by the link in the mail: it is given
    /// `#token=`, and sends that to `POST /contacts/verify` in the session that asked. https, or http on
    /// loopback; unset: the mail has a code only.
    pub contact_url: Option<String>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            deletion_grace_seconds: 30 * 86_400,
            undo_url: None,
            contact_url: None,
        }
    }
}

/// GDPR Art. 12 (3): what a person asked for is done within a month, or at most three.
const MAX_GRACE_SECONDS: u64 = 90 * 86_400;

impl Accounts {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            self.deletion_grace_seconds <= MAX_GRACE_SECONDS,
            "accounts.deletion_grace_seconds",
            "expected at most 7776000 (90 days)",
        );
        wrong.expect(
            self.undo_url.as_deref().is_none_or(is_secure_page),
            "accounts.undo_url",
            "expected an https URL (or http on loopback) without query and fragment",
        );
        wrong.expect(
            self.contact_url.as_deref().is_none_or(is_secure_page),
            "accounts.contact_url",
            "expected an https URL (or http on loopback) without query and fragment",
        );
    }
}
