//! `[lockout]`: what follows wrong passwords, and wrong codes of a second factor.

use std::time::Duration;

use serde::Deserialize;

use super::check::Wrong;

/// Whose next attempt a delay holds off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DelayFor {
    /// Those who come from another network than the failure did. Who fails again and again from
    /// one network runs into the lock, or with codes into the bounds of the day.
    #[default]
    Others,
    /// Everybody.
    Everybody,
}

/// `[lockout]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lockout {
    /// Consecutive wrong passwords that lock an account. `limits.login_failures_per_account`
    /// bounds them, too.
    pub max_failures: u32,
    /// For how long.
    pub lock_seconds: u64,
    /// How long the next attempt must stay away after the second failure in a row, the third, and
    /// so on; the last holds for all after it. One that comes sooner is answered `rate_limited`
    /// without being compared or counted. Wrong codes of a second factor wait as long, each factor
    /// for itself. Empty: no delays.
    pub delay_seconds: Vec<u64>,
    /// `others` or `everybody`: whose next attempt that is.
    pub delay_for: DelayFor,
    /// Days for which a device on which somebody logged in has failures of its own, counted from
    /// its last login: a lock that strangers caused does not lock it out. 0: no such devices.
    pub device_days: u32,
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            max_failures: 5,
            lock_seconds: 900,
            delay_seconds: vec![1, 5, 30],
            delay_for: DelayFor::default(),
            device_days: 90,
        }
    }
}

/// Longest wait that a failure can cause: a year, and no sum of it overflows.
const MAX_SECONDS: u64 = 366 * 86_400;

/// Longest list of delays: one for each failure that can be.
const MAX_DELAYS: usize = 100;

impl Lockout {
    /// How long to stay away after so many failures in a row.
    pub fn delay(&self, failures: u32) -> Duration {
        let beyond_first = usize::try_from(failures).unwrap_or(usize::MAX);
        let seconds = match beyond_first.checked_sub(2) {
            None => None,
            Some(index) => self.delay_seconds.get(index).or(self.delay_seconds.last()),
        };
        Duration::from_secs(seconds.copied().unwrap_or(0))
    }

    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            (1..=100).contains(&self.max_failures),
            "lockout.max_failures",
            "expected 1 to 100",
        );
        wrong.expect(
            (1..=MAX_SECONDS).contains(&self.lock_seconds),
            "lockout.lock_seconds",
            "expected 1 to 31622400",
        );
        wrong.expect(
            self.delay_seconds.len() <= MAX_DELAYS
                && self.delay_seconds.iter().all(|&delay| delay <= MAX_SECONDS),
            "lockout.delay_seconds",
            "expected at most 100 delays of at most 31622400",
        );
        wrong.expect(
            self.device_days <= 366,
            "lockout.device_days",
            "expected 0 to 366",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_the_second_failure_and_the_last_holds_on() {
        let lockout = Lockout::default();
        let seconds = (0..8).map(|failures| lockout.delay(failures).as_secs());
        assert_eq!(seconds.collect::<Vec<_>>(), [0, 0, 1, 5, 30, 30, 30, 30]);
        let none = Lockout {
            delay_seconds: Vec::new(),
            ..lockout
        };
        assert_eq!(none.delay(4), Duration::ZERO);
    }
}
