//! Choosing argon2's parameters for a machine, by measuring on it.
//!
//! Memory is raised before passes: it is what costs an attacker's hardware most. Never less than
//! OWASP and ASVS 5.0 (appendix C) ask for, whatever was wished.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Least passes by memory in KiB (ASVS 5.0, appendix C), the most memory first.
const MINIMA: [(u32, u32); 3] = [(47_104, 1), (19_456, 2), (12_288, 3)];

/// What `edgekeep` is set to unless told otherwise: where the search begins.
const DEFAULT: Costs = Costs {
    memory_kib: 19_456,
    iterations: 2,
};

/// Times that are compared are the middle one of so many rounds.
const ROUNDS: usize = 3;

/// After so many measurements the best one stands.
const STEPS: usize = 8;

/// Close enough below the target to stop, in percent of it.
const CLOSE: u128 = 92;

/// Memory and passes of one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Costs {
    /// In KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Tuned {
    /// The parameters.
    pub costs: Costs,
    /// How long one of them took while as many ran as may.
    pub elapsed: Duration,
    /// Hashes at a time.
    pub concurrency: usize,
}

impl Tuned {
    /// Logins a second that the machine can take, in tenths.
    pub fn logins_per_second_tenths(&self) -> u128 {
        let micros = self.elapsed.as_micros().max(1);
        self.concurrency as u128 * 10_000_000 / micros
    }
}

impl Costs {
    /// The cheapest that may be recommended with at most so much memory.
    fn least(max_memory_kib: u32) -> Self {
        let row = MINIMA.iter().find(|(memory, _)| *memory <= max_memory_kib);
        let (memory_kib, iterations) = row.copied().unwrap_or(MINIMA[MINIMA.len() - 1]);
        let least = Self {
            memory_kib,
            iterations,
        };
        // More memory and one pass is as good and costs more; the usual one where it fits.
        if max_memory_kib >= DEFAULT.memory_kib {
            DEFAULT
        } else {
            least
        }
    }

    /// As much work as `target` allows where `self` took `elapsed`, within the limits.
    fn scaled(self, target: Duration, elapsed: Duration, max_memory_kib: u32) -> Self {
        let least = Self::least(max_memory_kib);
        let work = u128::from(self.memory_kib) * u128::from(self.iterations);
        let wanted = work * target.as_micros() / elapsed.as_micros().max(1);
        let max_memory = u128::from(max_memory_kib.max(least.memory_kib));
        let passes = u128::from(least.iterations);
        let memory = (wanted / passes).clamp(u128::from(least.memory_kib), max_memory);
        let iterations = (wanted / memory).max(passes);
        Self {
            // Whole MiB read better, and the difference cannot be measured.
            memory_kib: u32::try_from(memory / 1_024 * 1_024)
                .unwrap_or(max_memory_kib)
                .max(least.memory_kib),
            iterations: u32::try_from(iterations).unwrap_or(u32::MAX),
        }
    }
}

/// Finds the most work that takes no longer than `target` while `concurrency` hashes run at once.
///
/// The cheapest that may be recommended is the answer even where it takes longer.
///
/// # Errors
/// When argon2 does not take the parameters.
pub fn tune(
    target: Duration,
    max_memory_kib: u32,
    concurrency: usize,
) -> Result<Tuned, argon2::Error> {
    let mut costs = Costs::least(max_memory_kib);
    let mut best = None;
    for _ in 0..STEPS {
        let elapsed = measure(costs, concurrency)?;
        let tuned = Tuned {
            costs,
            elapsed,
            concurrency,
        };
        let fits = elapsed <= target;
        match &best {
            None => best = Some(tuned),
            Some(held) if fits && costs > held.costs => best = Some(tuned),
            Some(_) => {}
        }
        let is_close = elapsed.as_micros() * 100 >= target.as_micros() * CLOSE;
        let next = costs.scaled(target, elapsed, max_memory_kib);
        if (fits && is_close) || next == costs {
            break;
        }
        costs = next;
    }
    best.ok_or(argon2::Error::TimeTooSmall)
}

/// How long one hash takes while `concurrency` of them run: they share the memory's bandwidth.
fn measure(costs: Costs, concurrency: usize) -> Result<Duration, argon2::Error> {
    let params = Params::new(costs.memory_kib, costs.iterations, 1, Some(32))?;
    let barrier = Barrier::new(concurrency);
    let one = || {
        let mut blocks = vec![Block::new(); params.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..=ROUNDS {
            barrier.wait();
            let started = Instant::now();
            let mut hash = [0; 32];
            argon2.hash_password_into_with_memory(
                b"a password of no one",
                b"and a plain salt",
                &mut hash,
                &mut blocks,
            )?;
            // The first round also fetches the memory.
            if round > 0 {
                times.push(started.elapsed());
            }
        }
        times.sort_unstable();
        Ok(times[ROUNDS / 2])
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..concurrency).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(argon2::Error::TimeTooSmall)))
            .try_fold(Duration::ZERO, |slowest, time| Ok(slowest.max(time?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn never_less_than_the_standards_ask_for() {
        for (max_memory, expected) in [
            (0, (12_288, 3)),
            (12_288, (12_288, 3)),
            (19_455, (12_288, 3)),
            (19_456, (19_456, 2)),
            (1_048_576, (19_456, 2)),
        ] {
            let costs = Costs::least(max_memory);
            assert_eq!(
                (costs.memory_kib, costs.iterations),
                expected,
                "{max_memory}"
            );
            // A machine a thousand times too slow.
            assert_eq!(costs.scaled(SECOND, 1_000 * SECOND, max_memory), costs);
        }
    }

    #[test]
    fn memory_grows_first_and_then_the_passes() {
        for (factor, max_memory, expected) in [
            (1, 262_144, (19_456, 2)),
            (4, 262_144, (77_824, 2)),
            (100, 262_144, (262_144, 14)),
            (100, 19_456, (19_456, 200)),
            (2, 12_288, (12_288, 6)),
        ] {
            let least = Costs::least(max_memory);
            let costs = least.scaled(factor * SECOND, SECOND, max_memory);
            assert_eq!(
                (costs.memory_kib, costs.iterations),
                expected,
                "{factor} {max_memory}"
            );
        }
    }

    #[test]
    fn what_is_found_was_measured() {
        let tuned = tune(Duration::from_millis(1), 19_456, 2).unwrap();
        assert_eq!(tuned.costs, DEFAULT);
        assert!(tuned.elapsed > Duration::from_millis(1));
        let tenths = tuned.logins_per_second_tenths();
        assert_eq!(tenths, 20_000_000 / tuned.elapsed.as_micros());
    }
}
