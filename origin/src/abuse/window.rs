//! A sliding window: how many events the last while has seen, in constant memory.
//!
//! The window is cut into eight slices. Each slice keeps how many events it had and when the last
//! of them was, and counts whole until that one is as old as the window is long. So
//!
//! - never more than the limit is admitted in *any* span of the window's length: no burst at an
//!   edge, and none from refilling either;
//! - an event is forgotten no later than an eighth of the window after its time, and exactly on
//!   time when no other event of its slice came after it; no wait is longer than the window.
//!
//! The usual alternatives admit more. Two buckets weighted by time (the sliding-window counter)
//! let nearly twice the limit through when the older bucket's events came at its end, and so does
//! GCRA (the crate `governor`): a whole burst, and a whole window's refill after it. An exact log
//! costs memory by the limit, which is 3,000 a minute for some.

/// Slices that a window is cut into.
const SLICES: usize = 8;

/// One slice more than fit, because the oldest is cut by the window's edge.
const KEPT: usize = SLICES + 1;

/// Events of the last while. All times are microseconds of a clock that is never set back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    last: [u64; KEPT],
    counts: [u32; KEPT],
}

impl Window {
    /// Events that still count at `now`.
    pub(super) fn used(&self, now: u64, span: u64) -> u32 {
        let live = self.live(now, span);
        live.fold(0, |sum, slice| sum.saturating_add(self.counts[slice]))
    }

    /// Counts one event.
    pub(super) fn add(&mut self, now: u64, span: u64) {
        let slice = slice_of(now, span);
        if !self.holds(slice, now, span) {
            self.counts[slice] = 0;
        }
        self.counts[slice] = self.counts[slice].saturating_add(1);
        self.last[slice] = now;
    }

    /// Takes the count of an event back that was added `at` that time. When its slice has been
    /// used anew since, it is long forgotten.
    pub(super) fn take_back(&mut self, at: u64, span: u64) {
        let slice = slice_of(at, span);
        if self.holds(slice, at, span) {
            self.counts[slice] = self.counts[slice].saturating_sub(1);
        }
    }

    /// How long until fewer than `limit` events count; zero when it is so already.
    pub(super) fn frees_in(&self, limit: u32, now: u64, span: u64) -> u64 {
        let mut used = self.used(now, span);
        let mut ends: Vec<(u64, u32)> = self
            .live(now, span)
            .map(|slice| (self.last[slice] + span, self.counts[slice]))
            .collect();
        ends.sort_unstable();
        for (end, count) in ends {
            if used < limit {
                break;
            }
            used -= count;
            if used < limit {
                return end - now;
            }
        }
        0
    }

    /// How long until the first of the events is forgotten; the whole window when there is none.
    pub(super) fn eases_in(&self, now: u64, span: u64) -> u64 {
        self.live(now, span)
            .map(|slice| self.last[slice] + span - now)
            .min()
            .unwrap_or(span)
    }

    fn live(&self, now: u64, span: u64) -> impl Iterator<Item = usize> {
        (0..KEPT).filter(move |&slice| {
            self.counts[slice] > 0 && self.last[slice].saturating_add(span) > now
        })
    }

    /// Whether what the slice keeps is of the same slice of time as `at`. If not it is of one at
    /// least nine slices away, which is longer ago than the window.
    fn holds(&self, slice: usize, at: u64, span: u64) -> bool {
        let length = span.div_ceil(SLICES as u64).max(1);
        self.last[slice] / length == at / length
    }
}

fn slice_of(at: u64, span: u64) -> usize {
    let length = span.div_ceil(SLICES as u64).max(1);
    usize::try_from(at / length % KEPT as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Asks for one event; whether it was admitted.
    fn ask(window: &mut Window, limit: u32, now: u64, span: u64) -> bool {
        let admitted = window.used(now, span) < limit;
        if admitted {
            window.add(now, span);
        }
        admitted
    }

    #[test]
    fn a_burst_is_forgotten_exactly_when_it_is_as_old_as_the_window() {
        for (span, begin) in [(60, 7_777_777), (900, 1), (3_600, 123_456_789_012)] {
            let (mut window, span) = (Window::default(), span * SECOND);
            for _ in 0..3 {
                assert!(ask(&mut window, 3, begin, span));
            }
            for (at, admitted) in [(0, false), (span - 1, false), (span, true)] {
                assert_eq!(
                    ask(&mut window, 3, begin + at, span),
                    admitted,
                    "{span} {at}"
                );
            }
            assert_eq!(window.frees_in(1, begin + span, span), span);
        }
    }

    #[test]
    fn no_edge_lets_a_second_burst_through() {
        // A window of 60 s. A burst just before a multiple of it, and one just after.
        let (mut window, span) = (Window::default(), 60 * SECOND);
        let edge = 600 * SECOND;
        let admitted = (0..20)
            .map(|n| if n < 10 { edge - 1 } else { edge + 1 })
            .filter(|&at| ask(&mut window, 10, at, span));
        assert_eq!(admitted.count(), 10);
        assert_eq!(window.frees_in(10, edge + 1, span), span - 2);
    }

    #[test]
    fn what_was_taken_back_does_not_count() {
        let (mut window, span) = (Window::default(), 60 * SECOND);
        for at in [SECOND, 2 * SECOND, 40 * SECOND] {
            window.add(at, span);
        }
        window.take_back(2 * SECOND, span);
        assert_eq!(window.used(40 * SECOND, span), 2);
        // Its slice belongs to another time by now.
        window.add(SECOND + 9 * 7_500_000, span);
        window.take_back(SECOND, span);
        assert_eq!(window.used(SECOND + 9 * 7_500_000, span), 2);
    }

    proptest! {
        /// Against a log that forgets nothing: in no span of the window's length are more events
        /// admitted than the limit; and none is refused that even a window of an eighth more
        /// would have room for.
        #[test]
        fn keeps_its_promise_in_every_span(
            span_seconds in 1_u64..4_000,
            limit in 1_u32..30,
            steps in proptest::collection::vec((0_u64..2_000, 1_usize..6), 1..120),
        ) {
            let span = span_seconds * SECOND;
            let mut window = Window::default();
            let mut log: Vec<u64> = Vec::new();
            let mut now = 10 * span;
            for (step, burst) in steps {
                // Steps up to a fifth of the window, many of them tiny.
                now += span * step * step / (5 * 2_000 * 2_000);
                for _ in 0..burst {
                    let strict = log.iter().filter(|&&at| at + span > now).count();
                    let slack = span.div_ceil(8);
                    let lax = log.iter().filter(|&&at| at + span + slack > now).count();
                    let wait = window.frees_in(limit, now, span);
                    let admitted = ask(&mut window, limit, now, span);
                    if admitted {
                        prop_assert!(strict < limit as usize);
                        prop_assert_eq!(wait, 0);
                        log.push(now);
                    } else {
                        prop_assert!(lax >= limit as usize);
                        prop_assert!(wait > 0 && wait <= span);
                        // Neither too early nor too late.
                        prop_assert!(window.used(now + wait - 1, span) >= limit);
                        prop_assert!(window.used(now + wait, span) < limit);
                    }
                }
            }
        }
    }
}
