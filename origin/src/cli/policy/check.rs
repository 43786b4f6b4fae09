//! `edgekeep policy check`.

use std::path::Path;

use anyhow::Context as _;

use super::{cases, describe, notes, read};

#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let (text, policy) = read(file)?;
    let cases = cases::parse(&text).with_context(|| file.display().to_string())?;
    for rule in policy.rules() {
        println!("{}", describe::rule(rule));
        for demand in describe::demands(rule) {
            println!("    {demand}");
        }
        for effect in describe::effects(rule) {
            println!("    then {effect}");
        }
    }
    println!();
    for note in notes::of(&policy) {
        println!("note: {note}");
    }
    println!(
        "{}: {} rules, {} cases; what no rule matches is refused (route_unknown)",
        file.display(),
        policy.rules().len(),
        cases.len()
    );
    Ok(())
}
