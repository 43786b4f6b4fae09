//! `edgekeep tune-argon2`: measures on this machine, changes nothing.

use std::time::Duration;

use clap::Args;

use crate::login::tuning;

/// What the measurement is to find.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// How long one hash may take; OWASP asks for less than a second.
    #[arg(long, value_name = "MS", default_value_t = 250,
          value_parser = clap::value_parser!(u64).range(1..=1_000))]
    target_ms: u64,
    /// Most memory of one hash. As much is held for each that runs at a time.
    #[arg(long, value_name = "MIB", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(12..=1_024))]
    max_memory_mib: u32,
    /// Hashes at a time; as many as there are cores unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Option<u16>,
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let concurrency = options.concurrency.map_or(cores, usize::from);
    let target = Duration::from_millis(options.target_ms);
    let max_memory_kib = options.max_memory_mib * 1_024;
    let tuned = tuning::tune(target, max_memory_kib, concurrency)
        .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    let tenths = tuned.logins_per_second_tenths();
    let memory_kib = tuned.costs.memory_kib;
    println!(
        "# Measured here with {concurrency} at a time: {} ms each, of {} ms wished.",
        tuned.elapsed.as_millis(),
        options.target_ms
    );
    println!(
        "# {}.{} logins a second at most; {} MiB of memory while they run.",
        tenths / 10,
        tenths % 10,
        concurrency as u64 * u64::from(memory_kib) / 1_024
    );
    if tuned.elapsed > target {
        println!("# Slower than wished: this is the least that OWASP and ASVS accept.");
    }
    println!("[password]");
    println!("memory_kib = {memory_kib}");
    println!("iterations = {}", tuned.costs.iterations);
    println!("parallelism = 1");
    println!("concurrency = {}", options.concurrency.unwrap_or(0));
    Ok(())
}
