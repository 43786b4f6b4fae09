//! The peers that are written in JavaScript.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use edgekeep_corpus::{Case, Scene, jwk_set};
use serde_json::{Value, json};

use crate::Peer;

/// Asks `script`, whose clock is set to the instant of the corpus.
pub(crate) fn ask(script: &Path, scene: &Scene, cases: &[Case]) -> Result<Vec<Peer>> {
    let jwks: Value = serde_json::from_str(&jwk_set())?;
    // As a header arrives in Node.js: a character for each byte.
    let tokens: Vec<String> = cases
        .iter()
        .map(|case| case.token.iter().map(|&byte| char::from(byte)).collect())
        .collect();
    let input = json!({
        "jwks": jwks, "issuer": scene.issuer, "audience": scene.audience, "now": scene.now,
        "tokens": tokens,
    });
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start node")?;
    // Taken, so that it is closed and node sees the end of its input.
    node.stdin
        .take()
        .context("no input")?
        .write_all(input.to_string().as_bytes())?;
    let output = node.wait_with_output()?;
    ensure!(
        output.status.success(),
        "node has ended with {}",
        output.status
    );
    let verdicts: BTreeMap<String, Vec<bool>> = serde_json::from_slice(&output.stdout)?;
    let mut peers = Vec::new();
    for (name, accepts) in verdicts {
        ensure!(
            accepts.len() == cases.len(),
            "{name} has not judged every token"
        );
        peers.push(Peer { name, accepts });
    }
    Ok(peers)
}
