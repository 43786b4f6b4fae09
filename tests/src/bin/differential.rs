//! `differential [COUNT [SEED]]`: mutated tokens at the native verifier and at the same verifier as
//! WebAssembly, which must say the same of each. `scripts/differential` builds both and runs it.

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use edgekeep_tests::differential::compare;

/// How often it says how far it is.
const SAID_EVERY: u64 = 50_000;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |name, otherwise| match arguments.next() {
        None => Ok(otherwise),
        Some(text) => text
            .parse::<u64>()
            .with_context(|| format!("{name} is no number: {text}")),
    };
    let (count, seed) = (number("COUNT", 1_000_000)?, number("SEED", 1)?);
    ensure!(
        arguments.next().is_none(),
        "usage: differential [COUNT [SEED]]"
    );

    let mut out = stdout().lock();
    writeln!(out, "{count} tokens of seed {seed}")?;
    let begun = Instant::now();
    let outcome = compare(seed, count, |done| {
        if done % SAID_EVERY == 0 {
            // Progress is for a person; a closed terminal is no reason to stop.
            let _ = writeln!(stderr(), "{done} after {} s", begun.elapsed().as_secs());
        }
    });
    for (verdict, tokens) in &outcome.verdicts {
        writeln!(out, "{tokens:>9} {verdict}")?;
    }
    for one in &outcome.disagreements {
        writeln!(
            out,
            "DISAGREEMENT of token {} of seed {seed}\n  native:      {}\n  WebAssembly: {}\n  {}",
            one.number,
            one.native,
            one.webassembly,
            one.token.escape_ascii()
        )?;
    }
    let judged: u64 = outcome.verdicts.values().sum();
    let (disagreements, seconds) = (outcome.disagreements.len(), begun.elapsed().as_secs());
    writeln!(
        out,
        "{judged} judged twice in {seconds} s, {disagreements} disagreements"
    )?;
    Ok(ExitCode::from(u8::from(disagreements > 0)))
}
