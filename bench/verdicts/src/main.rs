//! What other verifiers say of the corpus of hostile tokens, each as strict as its documented options
//! allow; docs/benchmarks.md says how each is configured and what its differences mean.
//!
//! `edgekeep-bench-verdicts PEERS [FILE]` prints the tables. PEERS is the bundle of `peers.mjs`, run by
//! Node.js. FILE gets the name of every token that a peer judges otherwise, as JSON.

mod jsonwebtoken_peer;
mod node;
mod tables;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use edgekeep_corpus::{Case, Scene, Verdict, corpus, jwk_set};
use edgekeep_shared::{jwk::JwkSet, time::UnixTime, verifier::Verifier};

use crate::jsonwebtoken_peer::JsonWebToken;

/// The issuer of the tokens.
const ISSUER: &str = "https://id.example";

/// Their audience.
const AUDIENCE: &str = "api";

/// Seconds to make the corpus in, before its instant has come.
const LEAD: i64 = 20;

/// How often that may have been too short.
const ATTEMPTS: i64 = 5;

/// A verifier, and which tokens of the corpus it accepts.
struct Peer {
    name: String,
    accepts: Vec<bool>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let peers = arguments
        .next()
        .context("usage: edgekeep-bench-verdicts PEERS [FILE]")?;
    let file = arguments.next();
    let (scene, cases, native) = in_its_second()?;
    check_ours(&scene, &cases)?;
    let mut all = node::ask(Path::new(&peers), &scene, &cases)?;
    all.extend(native);
    tables::print(&cases, &all)?;
    if let Some(file) = file {
        std::fs::write(&file, tables::json(&cases, &all)).with_context(|| file.clone())?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "one peer judges by this clock, which nobody can set"
)]
fn clock() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// The corpus, with the verdicts of the one peer whose clock cannot be set: what a second decides is
/// judged within the second that it is made for.
fn in_its_second() -> Result<(Scene, Vec<Case>, Vec<Peer>)> {
    for attempt in 1..=ATTEMPTS {
        let now = i64::try_from(clock()?.as_secs())? + LEAD * attempt;
        let scene = Scene {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            now,
            subject: "user-1".to_owned(),
            session: "session-1".to_owned(),
            bait: "http://127.0.0.1:9".to_owned(),
        };
        let cases = corpus(&scene);
        let peer = JsonWebToken::new(&jwk_set())?;
        let begins = Duration::from_secs(u64::try_from(now)?);
        let Some(wait) = begins.checked_sub(clock()?) else {
            continue;
        };
        std::thread::sleep(wait);
        let judged: Vec<Option<[bool; 2]>> = cases
            .iter()
            .map(|case| {
                case.name
                    .starts_with("boundary/")
                    .then(|| peer.verdicts(&case.token))
            })
            .collect();
        if clock()?.as_secs() != begins.as_secs() {
            continue;
        }
        let [alone, with_checks] = [0, 1].map(|which| {
            let verdict = |(case, judged): (&Case, &Option<[bool; 2]>)| {
                judged.unwrap_or_else(|| peer.verdicts(&case.token))[which]
            };
            cases.iter().zip(&judged).map(verdict).collect()
        });
        let peers = vec![
            Peer {
                name: "jsonwebtoken".to_owned(),
                accepts: alone,
            },
            Peer {
                name: "jsonwebtoken+".to_owned(),
                accepts: with_checks,
            },
        ];
        return Ok((scene, cases, peers));
    }
    bail!("no second was long enough: the machine is too busy")
}

/// The corpus is our own yardstick: a verdict of ours that differs is a mistake, here or there.
fn check_ours(scene: &Scene, cases: &[Case]) -> Result<()> {
    let keys = JwkSet::parse(jwk_set().as_bytes())?;
    let verifier = Verifier::new(&*scene.issuer, &*scene.audience);
    for case in cases {
        let accepted = verifier
            .verify(&case.token, &keys, UnixTime(scene.now))
            .is_ok();
        let expected = case.verdict == Verdict::Accepted;
        ensure!(accepted == expected, "{} is judged otherwise", case.name);
    }
    Ok(())
}
