//! Mutated tokens at the native verifier and at the same verifier as WebAssembly: two builds of one
//! function, by two back ends of the compiler, at two widths of `usize`.

use std::collections::BTreeMap;

use edgekeep_corpus::{Scene, jwk_set};
use edgekeep_judge::{answer, batch, fields};

use crate::mutation::{Mutations, keys};
use crate::webassembly::WebAssembly;

/// Tokens that are judged at a time.
const BATCH: u64 = 1_000;

/// What is looked at of disagreements; the first ones tell the cause.
const SHOWN: usize = 10;

/// A token of which the two say different things.
#[derive(Debug)]
pub struct Disagreement {
    /// Which token of the seed it is.
    pub number: u64,
    /// The token.
    pub token: Vec<u8>,
    /// What native code says.
    pub native: String,
    /// What WebAssembly says.
    pub webassembly: String,
}

/// What was said.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many tokens got which code, or `ok`.
    pub verdicts: BTreeMap<String, u64>,
    /// The first disagreements; none ends the run.
    pub disagreements: Vec<Disagreement>,
}

/// For whom the tokens are made.
pub fn scene() -> Scene {
    Scene {
        issuer: "https://id.example".to_owned(),
        audience: "api".to_owned(),
        now: 1_800_000_000,
        subject: "user-1".to_owned(),
        session: "session-1".to_owned(),
        bait: "http://127.0.0.1:9".to_owned(),
    }
}

/// Judges the first `count` tokens of `seed` twice, and calls `progress` with how many are done.
///
/// # Panics
/// When one of the two does not answer, or panics itself.
pub fn compare(seed: u64, count: u64, mut progress: impl FnMut(u64)) -> Outcome {
    let scene = scene();
    let (mutations, keys, jwks) = (Mutations::new(seed, &scene), keys(), jwk_set());
    let now = scene.now.to_string();
    let mut webassembly = WebAssembly::start();
    let mut outcome = Outcome::default();
    let mut begin = 0;
    while begin < count && outcome.disagreements.len() < SHOWN {
        let end = count.min(begin + BATCH);
        let tokens: Vec<Vec<u8>> = (begin..end)
            .map(|number| mutations.token(&keys, number))
            .collect();
        let asked = [
            b"tokens",
            jwks.as_bytes(),
            scene.issuer.as_bytes(),
            scene.audience.as_bytes(),
            now.as_bytes(),
        ];
        let question = batch(asked.into_iter().chain(tokens.iter().map(Vec::as_slice)));
        webassembly.ask(&question);
        let native = answer(&question);
        let theirs = webassembly.answer();
        let words = |answer| -> Vec<String> {
            let words = fields(answer).expect("a batch").into_iter();
            words
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect()
        };
        let (native, theirs) = (words(&native), words(&theirs));
        assert_eq!([native.len(), theirs.len()], [tokens.len(); 2]);
        for (number, ((token, native), webassembly)) in
            (begin..).zip(tokens.into_iter().zip(native).zip(theirs))
        {
            let code = native.split(' ').next().unwrap_or_default();
            *outcome.verdicts.entry(code.to_owned()).or_default() += 1;
            if native != webassembly {
                outcome.disagreements.push(Disagreement {
                    number,
                    token,
                    native,
                    webassembly,
                });
            }
        }
        begin = end;
        progress(begin);
    }
    outcome
}
