//! How many tokens of which kind each peer judges otherwise than the corpus, as Markdown and JSON.

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};

use anyhow::Result;
use edgekeep_corpus::{Case, Verdict};
use serde_json::{Value, json};

use crate::Peer;

fn family(case: &Case) -> &str {
    case.name.split('/').next().unwrap_or_default()
}

fn code(case: &Case) -> &str {
    case.verdict.word()
}

fn is_hostile(case: &Case) -> bool {
    case.verdict != Verdict::Accepted
}

/// The peers' counts of what is accepted and must be refused, by family and by code, and of what is
/// refused and valid.
pub(crate) fn print(cases: &[Case], peers: &[Peer]) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "Accepted, of those that must be refused:\n")?;
    table(&mut out, "family", cases, peers, family, true)?;
    writeln!(out, "\nThe same, by the code that they get here:\n")?;
    table(&mut out, "code", cases, peers, code, true)?;
    writeln!(out, "\nRefused, of those that are valid:\n")?;
    table(&mut out, "family", cases, peers, family, false)?;
    Ok(())
}

fn table(
    out: &mut impl std::io::Write,
    title: &str,
    cases: &[Case],
    peers: &[Peer],
    row_of: fn(&Case) -> &str,
    hostile: bool,
) -> Result<()> {
    let names: Vec<&str> = peers.iter().map(|peer| &*peer.name).collect();
    writeln!(out, "| {title} | tokens | {} |", names.join(" | "))?;
    writeln!(out, "|---|{}", "---|".repeat(peers.len() + 1))?;
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        if is_hostile(case) == hostile {
            rows.entry(row_of(case)).or_default().push(index);
        }
    }
    let all: Vec<usize> = rows.values().flatten().copied().collect();
    for (row, indices) in rows.into_iter().chain([("all", all)]) {
        let counts: Vec<String> = peers
            .iter()
            .map(|peer| {
                let otherwise = |&&index: &&usize| peer.accepts[index] == hostile;
                indices.iter().filter(otherwise).count().to_string()
            })
            .collect();
        writeln!(
            out,
            "| {row} | {} | {} |",
            indices.len(),
            counts.join(" | ")
        )?;
    }
    Ok(())
}

/// The names of the tokens that each peer judges otherwise, with the code that they get here.
pub(crate) fn json(cases: &[Case], peers: &[Peer]) -> String {
    let of = |peer: &Peer| -> Value {
        let otherwise = |hostile: bool| -> BTreeMap<&str, &str> {
            let judged = cases.iter().zip(&peer.accepts);
            judged
                .filter(|(case, accepted)| is_hostile(case) == hostile && **accepted == hostile)
                .map(|(case, _)| (&*case.name, code(case)))
                .collect()
        };
        json!({"accepted": otherwise(true), "refused": otherwise(false)})
    };
    let peers: BTreeMap<&str, Value> = peers.iter().map(|peer| (&*peer.name, of(peer))).collect();
    json!(peers).to_string()
}
