//! Prints the corpus for verifiers that are not written in Rust: the JWK Set on the first line, then
//! a JSON object for each case, whose token is in standard base64, since it may hold any bytes.
//!
//! `cargo run -p edgekeep-corpus --example print -- ISSUER AUDIENCE NOW`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgekeep_corpus::{Scene, corpus, jwk_set};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name: &str| arguments.next().ok_or_else(|| format!("{name} is missing"));
    let scene = Scene {
        issuer: argument("ISSUER")?,
        audience: argument("AUDIENCE")?,
        now: argument("NOW")?.parse()?,
        subject: "user-1".to_owned(),
        session: "session-1".to_owned(),
        bait: "http://127.0.0.1:9".to_owned(),
    };
    println!("{}", jwk_set());
    for case in corpus(&scene) {
        let line = serde_json::json!({
            "name": case.name,
            "expected": case.verdict.word(),
            "why": case.why,
            "token": STANDARD.encode(&case.token),
        });
        println!("{line}");
    }
    Ok(())
}
