//! What a gate holds, at the millisecond on either side of each of its limits.

use crate::support::{Key, NOW, set};
use edgekeep_shared::{
    gate::{
        keys::{
            self, DEFAULT_MAX_AGE, EMPTY_COOLDOWN, Freshness, HARD_AGE, HeldKeys, LONGEST_MAX_AGE,
            NotTaken, UNKNOWN_KEY_COOLDOWN,
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

/// An attempt of now that has ended.
fn ask(held: &mut HeldKeys, succeeded: bool) {
    let attempt = held.begin(NOW_MS, NOW_MS + 1_000).unwrap();
    held.finish(attempt, NOW_MS, succeeded);
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
    let attempt = held.begin(due, due + 1_000).unwrap();
    // Under way: whoever has to may wait for it, and nobody asks beside it.
    assert!(!held.is_due(due + 1) && held.may_ask(due + 1));
    assert!(held.begin(due + 1, due + 1_001).is_none());
    held.finish(attempt, due + 2, false);
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
        ask(&mut held, true);
        let begin = |held: &mut HeldKeys, after| held.begin(NOW_MS + after, NOW_MS + 9_000);
        assert_eq!(begin(&mut held, pause - 1), None, "{max_age:?}");
        assert!(begin(&mut held, pause).is_some(), "{max_age:?}");
    }
    // Without keys nothing can be judged: it is asked sooner.
    let mut none = HeldKeys::default();
    ask(&mut none, false);
    assert!(none.begin(NOW_MS + 999, NOW_MS + 9_000).is_none());
    assert!(none.begin(NOW_MS + 1_000, NOW_MS + 9_000).is_some());
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
        let expected = if taken { Ok(true) } else { Err(NotTaken) };
        assert_eq!(offered, expected, "{issued_at}");
    }
    // One from the future does not keep others out for longer than until now.
    let mut held = HeldKeys::default();
    assert_eq!(held.offer_copy(keys(), NOW_MS + 60_000, NOW_MS), Ok(true));
    assert_eq!(held.current_at(), NOW_MS);
    assert_eq!(held.offer_copy(keys(), NOW_MS, NOW_MS), Ok(false));
    assert_eq!(held.offer_copy(keys(), NOW_MS - 1, NOW_MS), Err(NotTaken));
    assert_eq!(
        held.offer_copy(JwkSet::default(), NOW_MS, NOW_MS),
        Err(NotTaken)
    );
    assert!(!held.offer(JwkSet::default(), NOW_MS + 1, None));
    assert_eq!(held.current_at(), NOW_MS);
}

#[test]
fn a_set_that_a_cache_has_kept_is_as_old_as_it_is() {
    let of_cache = |seconds: &str| Freshness::of("max-age=300", Some(seconds));
    // One that it gives again and again does not live on by that.
    let mut held = HeldKeys::default();
    for (age, taken) in [("86399", true), ("86400", false), ("200000", false)] {
        let offered = HeldKeys::default().offer_answer(keys(), of_cache(age), NOW_MS);
        let expected = if taken { Ok(true) } else { Err(NotTaken) };
        assert_eq!(offered, expected, "{age}");
    }
    assert_eq!(held.offer_answer(keys(), of_cache("0"), NOW_MS), Ok(true));
    for hours in 1..=24 {
        let now = NOW_MS + hours * 3_600_000;
        let age = (hours * 3_600).to_string();
        let offered = held.offer_answer(keys(), of_cache(&age), now);
        assert_eq!(held.usable(now).is_some(), hours < 24, "{hours}");
        assert_eq!(offered.is_ok(), hours < 24, "{hours}");
        assert!(held.is_due(now), "it is over: {hours}");
    }
    // What was signed later is newer, and stays.
    let mut held = HeldKeys::default();
    let newer = || set(&[&Key::eddsa(3)]);
    let hour = of_cache("3600");
    assert_eq!(held.offer_answer(keys(), hour, NOW_MS), Ok(true));
    let signed_at = NOW_MS - 10_000;
    assert_eq!(held.offer_copy(newer(), signed_at, NOW_MS), Ok(true));
    let later = NOW_MS + 1_000;
    assert_eq!(held.offer_answer(keys(), hour, later), Err(NotTaken));
    assert_eq!(held.usable(later), Some(&newer()));
    // How long it is good without asking is reckoned from the answer, and no longer than an hour.
    for (control, age, due_after) in [
        ("max-age=300", "299", 1_000),
        ("max-age=86400", "7200", LONGEST_MAX_AGE),
        ("no-cache", "7200", DEFAULT_MAX_AGE),
    ] {
        let mut held = HeldKeys::default();
        let freshness = Freshness::of(control, Some(age));
        assert_eq!(held.offer_answer(keys(), freshness, NOW_MS), Ok(true));
        assert!(!held.is_due(NOW_MS + due_after - 1), "{control} {age}");
        assert!(held.is_due(NOW_MS + due_after), "{control} {age}");
    }
}

#[test]
fn an_attempt_is_under_way_until_its_deadline_and_never_for_long() {
    let mut attempts = Attempts::default();
    assert!(
        attempts
            .begin(NOW_MS, NOW_MS + LONGEST_ATTEMPT, 0)
            .is_some()
    );
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
        let attempt = attempts.begin(at, at + 1, 0).unwrap();
        attempts.finish(attempt, at, succeeded);
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
