//! What bare argon2 makes of the machine's cores.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::SLICE;

/// argon2id with the issuer's parameters (19 MiB, two passes, one lane), one thread for each
/// core, in memory that is allocated once: hashes a second, and processor time of one.
pub(super) fn argon2_alone() -> Result<(f64, f64)> {
    let params = argon2::Params::new(19_456, 2, 1, None)
        .map_err(|error| anyhow::anyhow!("argon2's parameters: {error}"))?;
    let blocks = params.block_count();
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let threads = std::thread::available_parallelism()?.get();
    let mut memory = vec![vec![argon2::Block::default(); blocks]; threads];
    let begun = Instant::now();
    let work = |memory: &mut [argon2::Block]| {
        let (mut done, mut hash) = (0_u32, [0; 32]);
        while begun.elapsed() < SLICE {
            let salt = b"sixteen bytes of";
            hasher
                .hash_password_into_with_memory(b"a password", salt, &mut hash, &mut *memory)
                .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
            done += 1;
        }
        // Read here: the time of a thread goes with it.
        Ok((done, thread_cpu_time()?))
    };
    let results: Vec<Result<(u32, Duration)>> = std::thread::scope(|scope| {
        let running: Vec<_> = memory
            .iter_mut()
            .map(|memory| scope.spawn(|| work(memory)))
            .collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<(u32, Duration)>>| {
            thread
                .join()
                .unwrap_or_else(|_| bail!("a thread of argon2 has panicked"))
        };
        running.into_iter().map(ended).collect()
    });
    let elapsed = begun.elapsed();
    let (mut total, mut cpu) = (0, Duration::ZERO);
    for result in results {
        let (done, time) = result?;
        total += done;
        cpu += time;
    }
    let total = f64::from(total);
    Ok((
        total / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / total,
    ))
}

/// How long this thread has run.
fn thread_cpu_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text
        .split_whitespace()
        .next()
        .context("no time in schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}
