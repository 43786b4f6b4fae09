//! `[sessions]`: sessions and refresh tokens.

use serde::Deserialize;

use super::check::Wrong;

/// What a reused refresh token ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReuseEnds {
    /// The session it belongs to.
    #[default]
    Session,
    /// Every session of the user.
    User,
}

/// `[sessions]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// A session ends after this long without a refresh.
    pub idle_seconds: u64,
    /// A session ends after this long in any case.
    pub absolute_seconds: u64,
    /// Sessions a user may have; the oldest gives way.
    pub per_user: u32,
    /// How long a repeated refresh gets the same successor: a lost answer must not end a session.
    pub refresh_grace_seconds: u64,
    /// `session` or `user`.
    pub reuse_ends: ReuseEnds,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            idle_seconds: 7 * 86_400,
            absolute_seconds: 30 * 86_400,
            per_user: 5,
            refresh_grace_seconds: 10,
            reuse_ends: ReuseEnds::default(),
        }
    }
}

impl Sessions {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            self.per_user >= 1,
            "sessions.per_user",
            "expected at least 1",
        );
        wrong.expect(
            self.idle_seconds >= 1 && self.absolute_seconds >= self.idle_seconds,
            "sessions.absolute_seconds",
            "expected at least sessions.idle_seconds, which is at least 1",
        );
    }
}
