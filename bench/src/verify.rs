//! The time of one verification, uncached: inside a worker, and natively.

use std::collections::HashMap;
use std::collections::HashSet;
use std::hint::black_box;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use edgekeep_shared::{jwk::JwkSet, verifier::Verifier};
use serde_json::json;

use crate::Setting;
use crate::http::Connection;
use crate::issuer::{self, AUDIENCE, Algorithm, Keys};
use crate::process::Workerd;
use crate::report::Report;

const ISSUER: &str = "https://id.example";

/// Rounds, in each of which every subject has its turn.
const ROUNDS: usize = 5;

/// Verifications of the two requests whose difference is measured inside a worker: what they
/// have in common, the request itself, falls out.
const FEW: u32 = 100;
const MANY: u32 = 1_100;

/// Verifications of one native sample.
const NATIVE: u32 = 1_000;

/// Inside `workerd`.
pub(crate) async fn in_workerd(setting: &Setting, report: &mut Report) -> Result<()> {
    let keys = Keys::new()?;
    let variables = [
        ("ISSUER", ISSUER.to_owned()),
        ("AUDIENCE", AUDIENCE.to_owned()),
        ("JWKS", keys.set()?.to_json()),
        ("CONTROL_KEYS", keys.control_keys()),
    ];
    let mut workerd = Workerd::start(
        &setting.workerd,
        &setting.workers,
        "verify",
        &["answer"],
        &variables,
        None,
    )?;
    let address = workerd.socket("answer").context("no socket")?;
    let ready = request("edgekeep", 0, "");
    workerd.process.wait_ready(address, &ready).await?;
    let mut connection = Connection::open(address).await?;
    let subjects = [
        "webcrypto",
        "jose",
        "hono",
        "cloudflare-worker-jwt",
        "edgekeep",
    ];
    for round in 0..=ROUNDS {
        for algorithm in Algorithm::ALL {
            let token = keys.token(algorithm, ISSUER, 0)?;
            for subject in subjects {
                // It knows no EdDSA.
                if subject == "cloudflare-worker-jwt" && algorithm == Algorithm::EdDsa {
                    continue;
                }
                let few = time(&mut connection, subject, FEW, &token).await?;
                let many = time(&mut connection, subject, MANY, &token).await?;
                let each = (many - few) / f64::from(MANY - FEW);
                // The first round is for the compilers of the engine.
                if round > 0 {
                    let metric = format!("{}_us", algorithm.name());
                    report.add("verify.workerd", subject, &metric, each);
                }
            }
        }
    }
    Ok(())
}

fn request(subject: &str, count: u32, token: &str) -> Vec<u8> {
    format!(
        "POST /{subject}?n={count} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{token}",
        token.len()
    )
    .into_bytes()
}

/// Microseconds that `count` verifications take, all of which must be good.
async fn time(connection: &mut Connection, subject: &str, count: u32, token: &str) -> Result<f64> {
    let request = request(subject, count, token);
    let begun = Instant::now();
    let status = connection.exchange(&request).await?;
    let elapsed = begun.elapsed().as_secs_f64() * 1e6;
    let answer = String::from_utf8_lossy(connection.body());
    ensure!(
        status == 200 && answer == count.to_string(),
        "{subject} verified {answer} of {count} (status {status})"
    );
    Ok(elapsed)
}

/// Natively: this project's verifier, the `jsonwebtoken` crate, and jose and fast-jwt in Node.
pub(crate) fn native(setting: &Setting, report: &mut Report) -> Result<()> {
    let keys = Keys::new()?;
    let set = keys.set()?;
    let verifier = Verifier::new(ISSUER, AUDIENCE);
    let tokens: HashMap<Algorithm, String> = Algorithm::ALL
        .into_iter()
        .map(|algorithm| Ok((algorithm, keys.token(algorithm, ISSUER, 0)?)))
        .collect::<Result<_>>()?;
    let peer = JsonWebToken::new(&set)?;
    for round in 0..=ROUNDS {
        for algorithm in Algorithm::ALL {
            let token = tokens.get(&algorithm).context("no token")?;
            let ours = sample(|| {
                verifier
                    .verify(token.as_bytes(), &set, issuer::now())
                    .is_ok()
            })?;
            let theirs = sample(|| peer.verify(token))?;
            if round > 0 {
                let metric = format!("{}_us", algorithm.name());
                report.add("verify.native", "edgekeep", &metric, ours);
                report.add("verify.native", "jsonwebtoken", &metric, theirs);
            }
        }
        if round > 0 {
            let measured = in_node(setting, &set, &tokens)?;
            for subject in ["jose", "fast-jwt"] {
                for (metric, microseconds) in measured.get(subject).context("not measured")? {
                    report.add("verify.native", subject, metric, *microseconds);
                }
            }
        }
    }
    Ok(())
}

/// Microseconds per call of `verify`, which must hold every time.
fn sample(verify: impl Fn() -> bool) -> Result<f64> {
    let begun = Instant::now();
    let mut good = 0;
    for _ in 0..NATIVE {
        good += u32::from(black_box(verify()));
    }
    let taken = begun.elapsed().as_secs_f64() * 1e6;
    ensure!(good == NATIVE, "a good token was refused");
    Ok(taken / f64::from(NATIVE))
}

/// The `jsonwebtoken` crate as its documentation uses it, with the key found by `kid`.
struct JsonWebToken {
    keys: HashMap<String, (jsonwebtoken::DecodingKey, jsonwebtoken::Validation)>,
}

impl JsonWebToken {
    fn new(set: &JwkSet) -> Result<Self> {
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&set.to_json())?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let algorithm = match &jwk.algorithm {
                jsonwebtoken::jwk::AlgorithmParameters::EllipticCurve(_) => {
                    jsonwebtoken::Algorithm::ES256
                }
                jsonwebtoken::jwk::AlgorithmParameters::OctetKeyPair(_) => {
                    jsonwebtoken::Algorithm::EdDSA
                }
                jsonwebtoken::jwk::AlgorithmParameters::RSA(_) => jsonwebtoken::Algorithm::RS256,
                _ => bail!("a key of no algorithm that is measured"),
            };
            let mut validation = jsonwebtoken::Validation::new(algorithm);
            validation.set_issuer(&[ISSUER]);
            validation.set_audience(&[AUDIENCE]);
            validation.required_spec_claims =
                HashSet::from(["exp", "iss", "aud"].map(str::to_owned));
            validation.leeway = 0;
            let key = jsonwebtoken::DecodingKey::from_jwk(jwk)?;
            keys.insert(
                jwk.common.key_id.clone().context("no kid")?,
                (key, validation),
            );
        }
        Ok(Self { keys })
    }

    fn verify(&self, token: &str) -> bool {
        let key = jsonwebtoken::decode_header(token)
            .ok()
            .and_then(|header| self.keys.get(&header.kid?));
        key.is_some_and(|(key, validation)| {
            jsonwebtoken::decode::<serde_json::Value>(token, key, validation).is_ok()
        })
    }
}

/// Microseconds by subject and metric.
fn in_node(
    setting: &Setting,
    set: &JwkSet,
    tokens: &HashMap<Algorithm, String>,
) -> Result<HashMap<String, HashMap<String, f64>>> {
    let set: serde_json::Value = serde_json::from_str(&set.to_json())?;
    let tokens: HashMap<String, &String> = tokens
        .iter()
        .map(|(algorithm, token)| (format!("{}_us", algorithm.name()), token))
        .collect();
    let input = json!({
        "jwks": set, "issuer": ISSUER, "audience": AUDIENCE, "count": NATIVE, "tokens": tokens,
    });
    let mut node = std::process::Command::new("node")
        .arg(setting.workers.join("node.mjs"))
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
    Ok(serde_json::from_slice(&output.stdout)?)
}
