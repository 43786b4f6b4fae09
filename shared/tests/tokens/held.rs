//! What a gate holds, at the millisecond on either side of each of its limits.

use crate::support::{Key, NOW, set};
use edgekeep_shared::{
    gate::{
        keys::{
            self, CopyNotTaken, DEFAULT_MAX_AGE, EMPTY_COOLDOWN, HARD_AGE, HeldKeys,
            LONGEST_MAX_AGE, UNKNOWN_KEY_COOLDOWN,
        },
        refresh::{Attempts, LONGEST_ATTEMPT, Millis},
    },
    jwk::JwkSet,
};

const NOW_MS: Millis = NOW.0 * 1_000;

fn keys() -> JwkSet {
    set(&[&Key::eddsa(2)])
}

fn held(max_age: Option<Millis>) -> HeldKeys {
    let mut held = HeldKeys::default();
    assert!(held.offer(keys(), NOW_MS, max_age));
    held
}

#[test]
fn limits_are_the_milliseconds_that_are_documented() {
    assert_eq!(
        (HARD_AGE, DEFAULT_MAX_AGE, LONGEST_MAX_AGE),
        (86_400_000, 300_000, 3_600_000)
    );
    assert_eq!((UNKNOWN_KEY_COOLDOWN, EMPTY_COOLDOWN), (5_000, 1_000));
    assert_eq!((keys::CLOCK_TOLERANCE, LONGEST_ATTEMPT), (60_000, 10_000));
}

#[test]
fn keys_count_from_a_minute_before_their_time_until_a_day_after() {
    let held = held(None);
    for (now, counts) in [
        (NOW_MS - 60_001, false),
        (NOW_MS - 60_000, true),
        (NOW_MS, true),
        (NOW_MS + HARD_AGE - 1, true),
        (NOW_MS + HARD_AGE, false),
    ] {
        assert_eq!(held.usable(now).is_some(), counts, "{now}");
    }
    assert_eq!(held.current_at(), NOW_MS);
    assert!(HeldKeys::default().usable(0).is_none());
}

#[test]
fn keys_are_asked_for_when_their_source_says() {
    for (max_age, due_after) in [
        (None, 300_000),
        (Some(20_000), 20_000),
        (Some(LONGEST_MAX_AGE), 3_600_000),
        (Some(LONGEST_MAX_AGE + 1), 3_600_000),
    ] {
        let held = held(max_age);
        assert!(!held.is_due(NOW_MS + due_after - 1), "{max_age:?}");
        assert!(held.is_due(NOW_MS + due_after), "{max_age:?}");
        // A clock that was set back by more than clocks differ knows nothing of their age.
        assert!(!held.is_due(NOW_MS - 60_000), "{max_age:?}");
        assert!(held.is_due(NOW_MS - 60_001), "{max_age:?}");
    }
}

#[test]
fn keys_are_asked_for_by_one_at_a_time_and_not_at_once_again() {
    let due = NOW_MS + DEFAULT_MAX_AGE;
    let mut held = held(None);
    assert!(held.is_due(due) && held.may_ask(due));
    assert!(held.begin(due, due + 1_000));
    // Under way: whoever has to may wait for it, and nobody asks beside it.
    assert!(!held.is_due(due + 1) && held.may_ask(due + 1));
    assert!(!held.begin(due + 1, due + 1_001));
    held.finish(due + 2, false);
    for (now, cooled) in [
        (due + 2, false),
        (due + 2 + UNKNOWN_KEY_COOLDOWN - 1, false),
        (due + 2 + UNKNOWN_KEY_COOLDOWN, true),
    ] {
        assert_eq!(held.is_due(now), cooled, "{now}");
        assert_eq!(held.may_ask(now), cooled, "{now}");
    }
    assert_eq!(held.attempts().ended(), 1);
}

#[test]
fn the_pause_is_what_the_source_allows_between_one_and_five_seconds() {
    for (max_age, pause) in [
        (Some(0), 1_000),
        (Some(1_000), 1_000),
        (Some(2_000), 2_000),
        (Some(5_000), 5_000),
        (Some(60_000), 5_000),
        (None, 5_000),
    ] {
        let mut held = held(max_age);
        held.finish(NOW_MS, true);
        assert!(
            !held.begin(NOW_MS + pause - 1, NOW_MS + 9_000),
            "{max_age:?}"
        );
        assert!(held.begin(NOW_MS + pause, NOW_MS + 9_000), "{max_age:?}");
    }
    // Without keys nothing can be judged: it is asked sooner.
    let mut none = HeldKeys::default();
    none.finish(NOW_MS, false);
    assert!(!none.begin(NOW_MS + 999, NOW_MS + 9_000));
    assert!(none.begin(NOW_MS + 1_000, NOW_MS + 9_000));
}

#[test]
fn a_copy_is_taken_at_either_edge_of_its_time() {
    for (issued_at, taken) in [
        (NOW_MS + 60_001, false),
        (NOW_MS + 60_000, true),
        (NOW_MS - HARD_AGE + 1, true),
        (NOW_MS - HARD_AGE, false),
    ] {
        let offered = HeldKeys::default().offer_copy(keys(), issued_at, NOW_MS);
        let expected = if taken { Ok(true) } else { Err(CopyNotTaken) };
        assert_eq!(offered, expected, "{issued_at}");
    }
    // One from the future does not keep others out for longer than until now.
    let mut held = HeldKeys::default();
    assert_eq!(held.offer_copy(keys(), NOW_MS + 60_000, NOW_MS), Ok(true));
    assert_eq!(held.current_at(), NOW_MS);
    assert_eq!(held.offer_copy(keys(), NOW_MS, NOW_MS), Ok(false));
    assert_eq!(
        held.offer_copy(keys(), NOW_MS - 1, NOW_MS),
        Err(CopyNotTaken)
    );
    assert_eq!(
        held.offer_copy(JwkSet::default(), NOW_MS, NOW_MS),
        Err(CopyNotTaken)
    );
    assert!(!held.offer(JwkSet::default(), NOW_MS + 1, None));
    assert_eq!(held.current_at(), NOW_MS);
}

#[test]
fn an_attempt_is_under_way_until_its_deadline_and_never_for_long() {
    let mut attempts = Attempts::default();
    assert!(attempts.begin(NOW_MS, NOW_MS + LONGEST_ATTEMPT, 0));
    assert!(attempts.is_under_way(NOW_MS));
    assert!(!attempts.is_under_way(NOW_MS - 1), "the clock was set back");
    assert!(attempts.is_under_way(NOW_MS + LONGEST_ATTEMPT - 1));
    assert!(!attempts.is_under_way(NOW_MS + LONGEST_ATTEMPT));
}

#[test]
fn an_attempt_has_failed_until_one_succeeds() {
    let mut attempts = Attempts::default();
    assert!(!attempts.has_failed());
    for (at, succeeded, ended) in [(1, false, 1), (2, true, 2), (3, false, 3), (4, true, 4)] {
        attempts.finish(at, succeeded);
        assert_eq!(attempts.has_failed(), !succeeded, "{at}");
        assert_eq!(attempts.ended(), ended);
        assert_eq!(
            attempts.since_success(at + 7),
            match at {
                1 => None,
                2 | 4 => Some(7),
                _ => Some(8),
            }
        );
    }
}
