//! Requests per second through `workerd`: a worker that judges nothing, peers, and the gate.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Setting;
use crate::http;
use crate::issuer::{self, AUDIENCE, Algorithm, Keys};
use crate::load::{Requests, slice};
use crate::process::Workerd;
use crate::report::Report;

/// Every slice is taken this often, all subjects in turn, each round beginning with another.
const ROUNDS: usize = 7;

/// Length of a slice.
const SLICE: Duration = Duration::from_millis(500);

/// Different tokens for each algorithm. A subject's cursor goes on from slice to slice, and
/// the gate's cache holds 8,192 at most: no token comes back while it is remembered.
const fn distinct(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Es256 | Algorithm::EdDsa => 30_000,
        // Signing takes six times as long.
        Algorithm::Rs256 => 12_000,
    }
}

/// How a request is answered.
struct Mode {
    /// The socket of a subject.
    socket: &'static str,
    /// What the metric ends in.
    suffix: &'static str,
    /// A path that asks for a token and nothing more.
    path: &'static str,
}

/// By the worker itself; by a second worker of the same process, reached by a service binding; by
/// an HTTP server, reached by `fetch`. The gate answers itself only to those who ask it about a
/// request, at a path that is nothing special to the others.
const MODES: [Mode; 3] = [
    Mode {
        socket: "answer",
        suffix: "",
        path: "/authz/api/orders/17",
    },
    Mode {
        socket: "bound",
        suffix: "_bound",
        path: "/api/orders/17",
    },
    Mode {
        socket: "forward",
        suffix: "_forward",
        path: "/api/orders/17",
    },
];

struct Subject {
    /// In `bench.capnp`.
    constant: &'static str,
    /// In the report.
    name: &'static str,
    /// Which requests write a line of the log; workers that know no such variable have it for nothing.
    log: &'static str,
    sockets: &'static [&'static str],
    algorithms: &'static [Algorithm],
}

const SUBJECTS: [Subject; 7] = [
    Subject {
        constant: "noop",
        name: "noop",
        log: "",
        sockets: &["answer", "bound", "forward"],
        algorithms: &Algorithm::ALL,
    },
    Subject {
        constant: "carrier",
        name: "carrier",
        log: "",
        sockets: &["answer", "bound", "forward"],
        algorithms: &Algorithm::ALL,
    },
    Subject {
        constant: "jose",
        name: "jose",
        log: "",
        sockets: &["answer", "forward"],
        algorithms: &Algorithm::ALL,
    },
    Subject {
        constant: "hono",
        name: "hono",
        log: "",
        sockets: &["answer", "forward"],
        algorithms: &Algorithm::ALL,
    },
    Subject {
        constant: "tsndr",
        name: "cloudflare-worker-jwt",
        log: "",
        sockets: &["answer", "forward"],
        // It knows no EdDSA.
        algorithms: &[Algorithm::Es256, Algorithm::Rs256],
    },
    Subject {
        constant: "gate",
        name: "edgekeep",
        log: "all",
        sockets: &["answer", "bound", "forward"],
        algorithms: &Algorithm::ALL,
    },
    Subject {
        constant: "gate",
        name: "edgekeep-refusals",
        log: "refusals",
        sockets: &["answer", "bound", "forward"],
        algorithms: &Algorithm::ALL,
    },
];

/// Measures both groups.
pub(crate) async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let keys = Rc::new(Keys::new()?);
    let issuer_address = issuer::serve(Rc::clone(&keys)).await?;
    let issuer = format!("http://{issuer_address}");
    let upstream = http::serve(|_, out| {
        http::answer(
            out,
            "200 OK",
            "Content-Type: text/plain;charset=UTF-8\r\n",
            b"ok",
        );
    })
    .await?;
    let variables = [
        ("ISSUER", issuer.clone()),
        ("AUDIENCE", AUDIENCE.to_owned()),
        ("JWKS", keys.set()?.to_json()),
        ("JWKS_URL", format!("{issuer}/.well-known/jwks.json")),
        ("ORIGIN_URL", issuer.clone()),
        ("UPSTREAM_URL", format!("http://{upstream}")),
        ("CONTROL_KEYS", keys.control_keys()),
        ("REVOCATION_SOURCES", "kv,feed".to_owned()),
        ("POLICY", std::fs::read_to_string(&setting.policy)?),
    ];
    let same: HashMap<&str, Vec<String>> = Algorithm::ALL
        .into_iter()
        .map(|a| Ok((a.name(), vec![keys.token(a, &issuer, 0)?])))
        .collect::<Result<_>>()?;
    let distinct: HashMap<&str, Vec<String>> = Algorithm::ALL
        .into_iter()
        .map(|a| Ok((a.name(), keys.tokens(a, &issuer, 1, distinct(a))?)))
        .collect::<Result<_>>()?;

    let mut running = Vec::new();
    for subject in &SUBJECTS {
        let kv = (subject.constant == "gate").then_some(issuer_address);
        let mut variables = variables.to_vec();
        variables.push(("LOG", subject.log.to_owned()));
        let mut workerd = Workerd::start(
            &setting.workerd,
            &setting.workers,
            subject.constant,
            subject.sockets,
            &variables,
            kv,
        )?;
        let token = same.get("es256").and_then(|tokens| tokens.first());
        for mode in &MODES {
            let token = token.map(String::as_str);
            workerd.wait_ready(mode.socket, mode.path, token).await?;
        }
        running.push((subject, workerd));
    }

    // A set of requests for each subject, socket and kind of token, so that none is repeated
    // because another has come by.
    let mut requests: HashMap<(&str, &str, &str, &str), Rc<Requests>> = HashMap::new();
    for round in 0..ROUNDS {
        for (group, tokens) in [
            ("edge.same_token", &same),
            ("edge.distinct_tokens", &distinct),
        ] {
            for algorithm in Algorithm::ALL {
                for mode in &MODES {
                    for offset in 0..running.len() {
                        let (subject, workerd) = &running[(round + offset) % running.len()];
                        let Some(address) = workerd.socket(mode.socket) else {
                            continue;
                        };
                        if !subject.algorithms.contains(&algorithm) {
                            continue;
                        }
                        let tokens = tokens.get(algorithm.name()).context("no tokens")?;
                        let requests = requests
                            .entry((group, algorithm.name(), subject.name, mode.socket))
                            .or_insert_with(|| Rc::new(Requests::new(mode.path, tokens.clone())));
                        let pid = workerd.process.pid()?;
                        let slice = slice(address, pid, requests, SLICE).await?;
                        let metric = format!("{}{}", algorithm.name(), mode.suffix);
                        report.add(group, subject.name, &format!("{metric}_rps"), slice.rate);
                        let metric = format!("{metric}_cpu_us");
                        report.add(group, subject.name, &metric, slice.cpu_us);
                    }
                }
            }
        }
    }
    Ok(())
}
