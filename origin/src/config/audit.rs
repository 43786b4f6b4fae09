//! `[audit]`: the audit trail.

use std::time::Duration;

use serde::Deserialize;

use super::check::Wrong;

/// `[audit]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Days after which events are removed. 400: somebody who looks once a year still finds them.
    pub retention_days: u32,
    /// Refusals about nobody (a name that no account has, a token of nothing) that are kept in an
    /// hour; the others are counted, and their number recorded. 1,000 are about 14 MB a day.
    pub unknown_per_hour: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            retention_days: 400,
            unknown_per_hour: 1_000,
        }
    }
}

impl Audit {
    /// How long an event is kept.
    pub const fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_days as u64 * 86_400)
    }

    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            (1..=36_500).contains(&self.retention_days),
            "audit.retention_days",
            "expected 1 to 36500",
        );
    }
}
