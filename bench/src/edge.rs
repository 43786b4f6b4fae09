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
const ROUNDS: usize = 5;

/// Length of a slice.
const SLICE: Duration = Duration::from_millis(500);

/// Different tokens for each algorithm. A subject's cursor goes on from slice to slice, and
/// the gate's cache holds 8,192 at most: no token comes back while it is remembered.
const DISTINCT: usize = 30_000;

/// A path of the demo policy that asks for a token and nothing more.
const PATH: &str = "/api/orders/17";

/// The socket of a subject, and what the metric of its mode ends in.
const MODES: [(&str, &str); 3] = [("answer", ""), ("bound", ""), ("forward", "_forward")];

/// How subjects reach what lies behind them, and what each is called in the report.
struct Subject {
    constant: &'static str,
    sockets: &'static [&'static str],
}

const SUBJECTS: [Subject; 4] = [
    Subject {
        constant: "noop",
        sockets: &["answer", "bound", "forward"],
    },
    Subject {
        constant: "jose",
        sockets: &["answer", "forward"],
    },
    Subject {
        constant: "hono",
        sockets: &["answer", "forward"],
    },
    Subject {
        constant: "gate",
        sockets: &["answer", "forward"],
    },
];

/// What a subject's socket is called in the report.
fn reported(constant: &str, socket: &str) -> &'static str {
    match (constant, socket) {
        ("gate", _) => "edgekeep",
        ("noop", "bound") => "noop-bound",
        ("jose", _) => "jose",
        ("hono", _) => "hono",
        _ => "noop",
    }
}

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
        .map(|a| (a.name(), vec![keys.token(a, &issuer, 0)]))
        .into();
    let distinct: HashMap<&str, Vec<String>> = Algorithm::ALL
        .map(|a| (a.name(), keys.tokens(a, &issuer, 1, DISTINCT)))
        .into();

    let mut running = Vec::new();
    for subject in &SUBJECTS {
        let kv = (subject.constant == "gate").then_some(issuer_address);
        let mut workerd = Workerd::start(
            &setting.workerd,
            &setting.workers,
            subject.constant,
            subject.sockets,
            &variables,
            kv,
        )?;
        let token = same.get("es256").and_then(|tokens| tokens.first());
        workerd.wait_ready(PATH, token.map(String::as_str)).await?;
        running.push((subject.constant, workerd));
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
                for (socket, suffix) in MODES {
                    for offset in 0..running.len() {
                        let (constant, workerd) = &running[(round + offset) % running.len()];
                        let Some(address) = workerd.socket(socket) else {
                            continue;
                        };
                        let tokens = tokens.get(algorithm.name()).context("no tokens")?;
                        let requests = requests
                            .entry((group, algorithm.name(), constant, socket))
                            .or_insert_with(|| Rc::new(Requests::new(PATH, tokens.clone())));
                        let pid = workerd.process.pid()?;
                        let slice = slice(address, pid, requests, SLICE).await?;
                        let subject = reported(constant, socket);
                        let name = algorithm.name();
                        report.add(group, subject, &format!("{name}{suffix}_rps"), slice.rate);
                        let metric = format!("{name}{suffix}_cpu_us");
                        report.add(group, subject, &metric, slice.cpu_us);
                    }
                }
            }
        }
    }
    Ok(())
}
