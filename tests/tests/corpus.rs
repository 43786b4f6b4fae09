//! The corpus of hostile tokens at the doors that processes have: `edgekeep verify` and the worker
//! in `workerd`. The native verifier and the origin's routes have it in their own tests, so all of
//! them say the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use edgekeep_corpus::{Carrier, Case, Scene, Verdict, boundaries, corpus, jwk_set};
use edgekeep_tests::clock;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::http::exchange;
use edgekeep_tests::keys::{self, Key, claims};
use edgekeep_tests::origin::command;
use edgekeep_tests::process::run;
use edgekeep_tests::server::{Reply, Server};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

/// Requests at a time.
const AT_ONCE: usize = 32;

/// How often a second may end before all its verdicts are there.
const ATTEMPTS: usize = 10;

fn scene(issuer: &str, now: i64, bait: &str) -> Scene {
    Scene {
        issuer: issuer.to_owned(),
        audience: "api".to_owned(),
        now,
        subject: "user-1".to_owned(),
        session: "session-1".to_owned(),
        bait: bait.to_owned(),
    }
}

/// What `edgekeep verify` says, one word for each line of `input`.
fn verified(scene: &Scene, more: &[&str], input: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, jwk_set()).unwrap();
    let now = scene.now.to_string();
    let mut arguments = vec!["verify", "--jwks", file.to_str().unwrap()];
    arguments.extend(["--issuer", &scene.issuer, "--audience", &scene.audience]);
    arguments.extend(["--now", &now]);
    arguments.extend(more);
    let output = run(command(&arguments), input);
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let word = |line: &str| match line {
        "ok user-1" => "ok".to_owned(),
        _ => line["reject ".len()..].to_owned(),
    };
    lines.lines().map(word).collect()
}

fn assert_verdicts(cases: &[&Case], words: &[String]) {
    assert_eq!(cases.len(), words.len(), "one verdict for each line");
    let wrong: Vec<String> = cases
        .iter()
        .zip(words)
        .filter(|(case, word)| case.verdict.word() != *word)
        .map(|(case, word)| format!("{}: {word} for {}", case.name, case.verdict.word()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_command_line_gives_the_verdict_of_the_corpus() {
    let scene = scene("https://id.example", 1_800_000_000, "http://127.0.0.1:9");
    let cases = corpus(&scene);
    // As lines: whatever has no line feed in it.
    let lines: Vec<&Case> = cases
        .iter()
        .filter(|case| !case.token.contains(&b'\n'))
        .collect();
    let input: Vec<&[u8]> = lines.iter().map(|case| &*case.token).collect();
    let mut input = input.join(&b'\n');
    input.push(b'\n');
    assert_verdicts(&lines, &verified(&scene, &[], &input));
    // As JSON strings: whatever is UTF-8. Together that is everything.
    let texts: Vec<&Case> = cases
        .iter()
        .filter(|case| std::str::from_utf8(&case.token).is_ok())
        .collect();
    let strings: Vec<String> = texts
        .iter()
        .map(|case| Value::from(std::str::from_utf8(&case.token).unwrap()).to_string())
        .collect();
    let input = strings.join("\n");
    assert_verdicts(&texts, &verified(&scene, &["--json"], input.as_bytes()));
    for case in &cases {
        assert!(
            !case.token.contains(&b'\n') || std::str::from_utf8(&case.token).is_ok(),
            "{} comes by neither",
            case.name
        );
    }
}

/// What the gate says of a token in a header, or the status where it does not say anything.
async fn asked(gate: SocketAddr, token: &[u8]) -> String {
    let request = [
        b"GET /api/me HTTP/1.1\r\nHost: gate.example\r\nConnection: close\r\nAuthorization: Bearer ",
        token,
        b"\r\n\r\n",
    ]
    .concat();
    match exchange(gate, &request, false).await {
        Ok(answer) if answer.status == 200 => "ok".to_owned(),
        Ok(answer) if answer.status == 401 => answer.code(),
        Ok(answer) => answer.status.to_string(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Asks about all, many at a time; verdicts in the order of `cases`.
async fn asked_all(gate: SocketAddr, cases: &[Case]) -> Vec<String> {
    stream::iter(cases)
        .map(|case| asked(gate, &case.token))
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// Whether this may be the answer of a gate that gets the token in a header.
fn may_be_said(case: &Case, word: &str) -> bool {
    let token = &*case.token;
    match case.carrier {
        Carrier::Any => word == case.verdict.word(),
        Carrier::Empty => word == "token_malformed",
        // What is left without the space is the good token; a tab does not divide scheme and token.
        Carrier::OuterSpace if token.trim_ascii().is_empty() || token.starts_with(b"\t") => {
            word == "token_malformed"
        }
        Carrier::OuterSpace => word == "ok",
        // A line end behind the token ends the field, and what is left is the good one.
        Carrier::Control if is_good_before_a_line_end(token) => matches!(word, "ok" | "400"),
        // The server refuses the request, or cuts the field and the gate refuses what is left.
        Carrier::Control => matches!(word, "400" | "token_malformed" | "signature_invalid"),
        Carrier::Large => {
            matches!(word, "431" | "400" | "413" | "token_too_large")
                || matches!(word, "ConnectionReset" | "BrokenPipe" | "UnexpectedEof")
        }
    }
}

fn is_good_before_a_line_end(token: &[u8]) -> bool {
    let ends = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
    let behind = token.iter().rev().take_while(ends).count();
    behind > 0
        && !token[..token.len() - behind]
            .iter()
            .any(u8::is_ascii_control)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_gives_the_verdict_of_the_corpus() {
    let bait = Server::start(|_| Reply::new(200, jwk_set())).await;
    let gate = Gate::with(|issuer, variables| {
        issuer.published().jwks = jwk_set();
        variables.insert("ALGORITHMS", "ES256,EdDSA,RS256".to_owned());
        variables.insert("LEEWAY", "0".to_owned());
    })
    .await;
    let scene = scene(&gate.issuer.url(), clock::now().0, &bait.url());
    let mut cases = corpus(&scene);
    cases.retain(|case| !case.name.starts_with("boundary/"));
    let words = asked_all(gate.edge.address(), &cases).await;
    let wrong: Vec<String> = cases
        .iter()
        .zip(&words)
        .filter(|(case, word)| !may_be_said(case, word))
        .map(|(case, word)| format!("{}: {word} for {}", case.name, case.verdict.word()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What was refused has not come to the upstream in any other form.
    let passed = words.iter().filter(|word| *word == "ok").count();
    assert_eq!(gate.upstream.take().len(), passed);
    // Whoever is asked for keys by a token is not asked (RFC 8725 §3.10).
    assert!(bait.seen().is_empty(), "{:?}", bait.seen());
    // Carried as they are, all but a few: the others are refused before, or are other tokens.
    let mut carried = BTreeMap::new();
    for case in &cases {
        *carried.entry(format!("{:?}", case.carrier)).or_insert(0) += 1;
    }
    assert!(carried["Any"] > cases.len() - 60, "{carried:?}");
}

/// The clock of a gate does not stand still: the tokens are made for a second to come, and all of
/// them are judged within it.
#[tokio::test(flavor = "multi_thread")]
async fn the_gate_judges_the_boundary_second() {
    let gate = Gate::with(|issuer, variables| {
        issuer.published().jwks = jwk_set();
        variables.insert("LEEWAY", "0".to_owned());
    })
    .await;
    let url = gate.issuer.url();
    assert_eq!(asked(gate.edge.address(), b"x").await, "token_malformed");
    for _ in 0..ATTEMPTS {
        let (at, cases) = tokio::task::spawn_blocking({
            let url = url.clone();
            move || {
                let at = clock::now().0 + 6;
                let cases = boundaries(&scene(&url, at, "http://127.0.0.1:9"));
                (at, cases)
            }
        })
        .await
        .unwrap();
        while clock::now().0 < at {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let words = asked_all(gate.edge.address(), &cases).await;
        if clock::now().0 == at {
            assert_verdicts(&cases.iter().collect::<Vec<_>>(), &words);
            return;
        }
    }
    panic!("no second was long enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_takes_the_algorithms_that_it_is_told_of() {
    let rsa = [2048, 3072, 4096].map(Key::rs256);
    let (ec, ed) = (Key::es256(1), Key::eddsa(2));
    for (algorithms, takes_rsa) in [
        (Some("RS256"), true),
        (Some("ES256,EdDSA,RS256"), true),
        (None, true),
        (Some("ES256,Ed25519"), false),
    ] {
        let gate = Gate::with(|issuer, variables| {
            let keys: Vec<&Key> = rsa.iter().chain([&ec, &ed]).collect();
            issuer.published().jwks = keys::set(&keys);
            if let Some(algorithms) = algorithms {
                variables.insert("ALGORITHMS", algorithms.to_owned());
            }
        })
        .await;
        let address = gate.edge.address();
        let issue = |key: &Key| key.issue(&claims(&gate.issuer.url(), &json!({})));
        for (index, key) in rsa.iter().enumerate() {
            let expected = if takes_rsa {
                Verdict::Accepted
            } else {
                Verdict::Refused("algorithm_not_allowed")
            };
            let token = issue(key);
            for _ in 0..2 {
                let word = asked(address, token.as_bytes()).await;
                assert_eq!(word, expected.word(), "{algorithms:?} {index}");
            }
        }
        let takes_curves = algorithms != Some("RS256");
        for key in [&ec, &ed] {
            let word = asked(address, issue(key).as_bytes()).await;
            assert_eq!(word == "ok", takes_curves, "{algorithms:?}: {word}");
        }
    }
}
