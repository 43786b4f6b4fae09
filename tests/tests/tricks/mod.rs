//! Ways to reach what the policy does not allow, or to be taken for somebody else: each with what
//! exactly must come of it, over a raw socket, through the real gate, to an upstream that records.
//!
//! - [`targets`]: how a target can be spelled.
//! - [`fields`]: what the fields of a header can claim, and how they can be written.
//! - [`credentials`]: where a token can stand.
//! - [`requests`]: methods, versions, hosts, upgrades, pipelines.
//! - [`framing`]: where a body can end.
//!
//! What comes of a trick is one line ([`Trial::expected`]); and whatever it says, each request
//! that has reached the upstream must be one that the policy allows to the credentials on that
//! very request, under their identity and no other ([`People::allows`]).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use edgekeep_tests::gate::Gate;
use edgekeep_tests::http::{self, Answer};
use edgekeep_tests::server::{Reply, Request};

use crate::paths::POLICY;

mod credentials;
mod fields;
mod framing;
mod gateways;
mod people;
mod requests;
mod targets;

pub(crate) use people::People;
use people::{Area, EVERYBODY, Who};

/// The host that the tricks name, where they have no other: gateways serve it.
const HOST: &str = "127.0.0.1";

/// What no trick may bring to the upstream for anybody but an administrator.
const HIDDEN: &str = "GET /api/admin/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\
    X-User-ID: root\r\nX-User-Roles: admin\r\n\r\n";

/// One trick, ready to be sent by somebody.
pub(crate) struct Trial {
    /// The trick as it stands in its table.
    trick: String,
    bytes: Vec<u8>,
    /// Whether its answers have no bodies.
    head: bool,
    /// The answers in turn, each its status and, where the gate has refused, the code; `closed`
    /// where there is none. Then, behind ` > ` each, what reaches the upstream.
    expected: String,
}

impl Trial {
    fn new(people: &People, trick: &str, request: &str, expected: String) -> Self {
        Self {
            trick: trick.to_owned(),
            bytes: people.write(request),
            head: request.starts_with("HEAD "),
            expected,
        }
    }
}

/// Every table.
type Table = fn(&People) -> Vec<Trial>;

const TABLES: [Table; 5] = [
    targets::trials,
    fields::trials,
    credentials::trials,
    requests::trials,
    framing::trials,
];

/// Every trick by everybody.
pub(crate) fn all(people: &People) -> Vec<Trial> {
    TABLES.iter().flat_map(|table| table(people)).collect()
}

fn answered(answer: &Answer) -> String {
    let code = answer.code();
    if code.is_empty() {
        answer.status.to_string()
    } else {
        format!("{} {code}", answer.status)
    }
}

/// Sends a trick, and says in one line what has come of it.
async fn outcome(gate: &Gate, people: &People, trial: &Trial) -> String {
    let sent = http::converse(gate.edge.address(), &trial.bytes, trial.head).await;
    let answers = match sent {
        Ok(answers) => answers,
        Err(error) => return format!("no HTTP: {error}"),
    };
    let seen = gate.upstream.take();
    let mut line: Vec<String> = answers.iter().map(answered).collect();
    if line.is_empty() {
        line.push("closed".to_owned());
    }
    let mut line = line.join(", ");
    let upstream = gate.upstream.server().address();
    for request in &seen {
        line.push_str(" > ");
        line.push_str(&people.reached(request, upstream));
        if let Err(fault) = people.allows(request) {
            let _ = write!(line, " NOT ALLOWED: {fault}");
        }
    }
    // Each answer is that to the client's own request, in turn.
    let echoed: Vec<String> = answers
        .iter()
        .filter(|answer| answer.status == 200 && !trial.head)
        .map(Answer::text)
        .collect();
    let asked: Vec<String> = seen.iter().map(echo).collect();
    if !trial.head && echoed != asked {
        let _ = write!(line, " ANSWERED {echoed:?}");
    }
    // Whoever comes next gets the answer to what was asked.
    let target = "/public/whoever-comes-next";
    let next = gate.edge.call("GET", target).send().await;
    let next = next.map_or_else(|error| error.to_string(), |answer| answer.text());
    let seen = gate.upstream.take();
    let expected = format!("GET {target}");
    if next != expected || seen.iter().map(echo).ne([expected]) {
        let _ = write!(line, " LEFT BEHIND {next:?} {seen:?}");
    }
    line
}

fn echo(request: &Request) -> String {
    format!("{} {}", request.method, request.target)
}

async fn gate() -> Gate {
    let gate = Gate::with(|_, variables| {
        variables.insert("POLICY", POLICY.to_owned());
    })
    .await;
    gate.upstream
        .answer_with(|request| Reply::new(200, echo(request)));
    gate
}

/// Tries a table, and shows every line of it that does not hold.
async fn try_all(table: Table) {
    let gate = gate().await;
    let people = People::of(&gate);
    let mut faults = String::new();
    for trial in table(&people) {
        let outcome = outcome(&gate, &people, &trial).await;
        if outcome != trial.expected {
            let _ = writeln!(
                faults,
                "{:?}\n    expected {:?}\n    came     {outcome:?}",
                trial.trick, trial.expected
            );
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    let server = gate.upstream.server();
    for request in server.unfinished() {
        people.allows(&request).unwrap();
    }
    assert_eq!(server.garbled(), Vec::<String>::new());
    assert_eq!(gate.get("/api/x", &people.member).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_target_is_read_in_two_ways() {
    try_all(targets::trials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_claims_what_only_the_gate_may_say() {
    try_all(fields::trials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_one_place_only() {
    try_all(credentials::trials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_judged_by_itself_however_it_is_made() {
    try_all(requests::trials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_framing_carries_a_second_request_past_the_gate() {
    try_all(framing::trials).await;
}

#[test]
fn there_are_far_more_than_three_hundred_tricks() {
    let people = People {
        member: "member's".to_owned(),
        admin: "administrator's".to_owned(),
    };
    let counts: Vec<usize> = TABLES
        .iter()
        .map(|table| {
            let tricks = table(&people).into_iter().map(|trial| trial.trick);
            tricks.collect::<BTreeSet<_>>().len()
        })
        .collect();
    let distinct: BTreeSet<Vec<u8>> = all(&people).into_iter().map(|trial| trial.bytes).collect();
    assert!(counts.iter().sum::<usize>() >= 400, "{counts:?}");
    assert!(distinct.len() >= 1_000, "{}", distinct.len());
}
