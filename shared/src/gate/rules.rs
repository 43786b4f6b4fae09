//! The policy that a gate holds, where it comes from a store.

use alloc::rc::Rc;

use super::refresh::{Attempt, Attempts, Millis};
use crate::{policy::Policy, time::UnixTime};

/// Pause between two looks at the store while a policy is held: Workers KV answers from its cache
/// for that long.
pub const INTERVAL: Millis = 30_000;

/// Pause between two looks while there is none.
pub const EMPTY_COOLDOWN: Millis = 1_000;

/// Seconds after which a signed policy is not believed by a gate that holds none. The issuer signs
/// it anew every few hours; an older one is what somebody has put back.
pub const MAX_AGE: i64 = 24 * 60 * 60;

/// Seconds by which a policy may have been signed in the future of this clock.
pub const CLOCK_TOLERANCE: i64 = 60;

/// Why an offered policy was not taken; what was held stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Its sequence is lower than the held one's, or none is held and it is past [`MAX_AGE`].
    Older,
    /// It says that it was signed in the future.
    Future,
}

/// The last good policy. One that is held has no age: without its issuer a gate goes on by it.
#[derive(Debug, Default)]
pub struct HeldPolicy {
    policy: Option<Rc<Policy>>,
    sequence: u64,
    attempts: Attempts,
}

impl HeldPolicy {
    /// The policy.
    pub fn policy(&self) -> Option<Rc<Policy>> {
        self.policy.clone()
    }

    /// The number under which it was signed; none without a policy.
    pub fn sequence(&self) -> Option<u64> {
        self.policy.as_ref().map(|_| self.sequence)
    }

    /// Takes a policy that was signed with this sequence at this instant.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]
    pub fn offer(
        &mut self,
        policy: Policy,
        sequence: u64,
        issued_at: UnixTime,
        now: Millis,
    ) -> Result<(), NotTaken> {
        let age = UnixTime(now.div_euclid(1_000)).since(issued_at);
        if age < -CLOCK_TOLERANCE {
            return Err(NotTaken::Future);
        }
        if sequence < self.sequence || (self.policy.is_none() && age > MAX_AGE) {
            return Err(NotTaken::Older);
        }
        self.policy = Some(Rc::new(policy));
        self.sequence = sequence;
        Ok(())
    }

    /// The record of asking the source.
    pub const fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Begins an attempt; see [`Attempts::begin`].
    pub fn begin(&mut self, now: Millis, deadline: Millis) -> Option<Attempt> {
        let cooldown = if self.policy.is_some() {
            INTERVAL
        } else {
            EMPTY_COOLDOWN
        };
        self.attempts.begin(now, deadline, cooldown)
    }

    /// Ends an attempt.
    pub fn finish(&mut self, attempt: Attempt, now: Millis, succeeded: bool) {
        self.attempts.finish(attempt, now, succeeded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::parse("[[route]]\nmatch = \"/a\"").expect("a policy")
    }

    #[test]
    fn takes_what_is_newer_and_keeps_what_is_good() {
        let now = 1_800_000_000_000;
        let at = |seconds: i64| UnixTime(now / 1_000 + seconds);
        let mut held = HeldPolicy::default();
        assert_eq!(
            held.offer(policy(), 5, at(-MAX_AGE - 1), now),
            Err(NotTaken::Older)
        );
        assert_eq!(held.sequence(), None);
        assert_eq!(held.offer(policy(), 5, at(61), now), Err(NotTaken::Future));
        assert_eq!(held.offer(policy(), 5, at(-MAX_AGE), now), Ok(()));
        assert_eq!(held.offer(policy(), 4, at(0), now), Err(NotTaken::Older));
        assert_eq!(held.offer(policy(), 6, at(61), now), Err(NotTaken::Future));
        assert_eq!(held.offer(policy(), 5, at(0), now), Ok(()));
        assert_eq!(held.offer(policy(), 6, at(60), now), Ok(()));
        assert!(held.policy().is_some());
        assert_eq!(held.sequence(), Some(6));
    }

    #[test]
    fn asks_soon_while_there_is_none_and_seldom_afterwards() {
        let mut held = HeldPolicy::default();
        let attempt = held.begin(0, 1_000).expect("the first");
        held.finish(attempt, 10, false);
        assert_eq!(held.begin(1_009, 2_000), None);
        let attempt = held.begin(1_010, 2_000).expect("the second");
        assert_eq!(held.offer(policy(), 1, UnixTime(1), 1_020), Ok(()));
        held.finish(attempt, 1_020, true);
        assert_eq!(held.begin(31_019, 32_000), None);
        assert!(held.begin(31_020, 32_000).is_some());
    }
}
