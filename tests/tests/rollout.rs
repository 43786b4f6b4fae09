//! A new policy is rolled out: its file changes at the keep, and a gate with none of its own follows.

use std::path::Path;
use std::time::Duration;

use edgekeep_tests::clock::eventually;
use edgekeep_tests::house::House;
use edgekeep_tests::http::Answer;

const METRICS_TOKEN: &str = "metrics-token-of-the-tests";

const OLD: &str = "[[route]]\nmatch = \"/api/**\"\n";
const NEW: &str = "[[route]]\nmatch = \"/new/**\"\n";
const BROKEN: &str = "[[route]]\nmatch = \"/**\"\nacces = \"public\"\n";

/// The keep looks every 2 s, and takes what it has read twice.
const KEEP_LOOKS: Duration = Duration::from_secs(10);

/// The gate looks at its store once in 30 seconds.
const GATE_LOOKS: Duration = Duration::from_secs(40);

/// The value of a metric in an answer.
fn metric(answer: &Answer, name: &str) -> Option<u64> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

async fn at_keep(house: &House, name: &str) -> u64 {
    let answer = house.origin.call("GET", "/metrics").send().await.unwrap();
    metric(&answer, name).unwrap()
}

async fn at_gate(house: &House) -> u64 {
    let path = "/.well-known/edgekeep-metrics";
    let answer = house.get(path, METRICS_TOKEN).await;
    metric(&answer, "edgekeep_gate_policy_sequence").unwrap()
}

/// As an operator should do it: nobody sees half of it.
fn move_into_place(file: &Path, policy: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, policy).unwrap();
    std::fs::rename(beside, file).unwrap();
}

/// Asks by `token` until the gate goes by the policy whose number is `published`, during which it may
/// answer by `before` or `after` and in no other way.
async fn followed(house: &House, token: &str, published: u64, before: u16, after: u16) {
    let follows = eventually(GATE_LOOKS, || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let status = house.get("/api/me", token).await.status;
        assert!([before, after].contains(&status), "{status}");
        (status == after && at_gate(house).await >= published).then_some(())
    });
    assert!(follows.await.is_some(), "the gate does not follow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_follows_the_file_and_never_one_that_is_no_policy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, OLD).unwrap();
    let settings = [("EDGEKEEP_GATE__POLICY_FILE", file.to_str().unwrap())];
    let mut house = House::with(&settings, |variables| {
        variables.remove("POLICY");
        variables.insert("METRICS_TOKEN", METRICS_TOKEN.to_owned());
    })
    .await;
    let registered = house
        .origin
        .register("ada@example.com", "correct horse battery");
    // It lives for 15 minutes.
    let token = registered.await.access;
    assert_eq!(house.get("/api/me", &token).await.status, 200);
    assert_eq!(house.get("/new/x", &token).await.status, 403);

    let published_above = async |house: &House, before: u64| {
        let published = eventually(KEEP_LOOKS, || async {
            let number = at_keep(house, "edgekeep_policy_sequence").await;
            (number > before).then_some(number)
        });
        published.await.expect("the keep does not publish it").0
    };
    let old = at_keep(&house, "edgekeep_policy_sequence").await;
    assert!(old > 0);
    move_into_place(&file, NEW);
    let new = published_above(&house, old).await;
    followed(&house, &token, new, 200, 403).await;
    assert_eq!(house.get("/new/x", &token).await.status, 200);

    // The gate looks once more, and finds what it has.
    std::fs::write(&file, BROKEN).unwrap();
    let refused = eventually(KEEP_LOOKS, || async {
        (at_keep(&house, "edgekeep_policy_refused").await == 1).then_some(())
    });
    assert!(refused.await.is_some(), "the keep does not say so");
    let held = at_gate(&house).await;
    let looked = eventually(GATE_LOOKS, || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(house.get("/api/me", &token).await.status, 403);
        assert_eq!(house.get("/new/x", &token).await.status, 200);
        (at_gate(&house).await > held).then_some(())
    });
    assert!(looked.await.is_some(), "the gate has not looked again");
    assert_eq!(at_keep(&house, "edgekeep_policy_sequence").await, new);
    let log = house.origin.server().log();
    let warned = log
        .iter()
        .filter(|line| line.contains("policy file is refused"));
    let warned: Vec<_> = warned.collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("policy.toml:3:1: unknown key"),
        "{warned:?}"
    );

    move_into_place(&file, OLD);
    let again = published_above(&house, new).await;
    assert_eq!(at_keep(&house, "edgekeep_policy_refused").await, 0);
    followed(&house, &token, again, 403, 200).await;
    assert_eq!(house.get("/new/x", &token).await.status, 403);
}
