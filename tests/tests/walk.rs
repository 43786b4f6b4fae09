//! `scripts/run --check` ends well where everything holds, and not where something does not.

use std::process::{Command, Output};
use std::time::Duration;

use edgekeep_tests::house::House;
use edgekeep_tests::process::{self, Process};

/// Walks through `house`, with the demo upstream in the place of the recording one.
async fn walk(change: impl FnOnce(&mut edgekeep_tests::edge::Variables)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-upstream"));
    command.arg("0");
    let mut upstream = Process::start("upstream", command);
    let url = upstream
        .wait_for_line(Duration::from_secs(20), |line| Some(line.to_owned()))
        .unwrap();
    let policy = edgekeep_tests::edge::root().join("deploy/policy.example.toml");
    let house = House::with(&[], |variables| {
        variables.insert("UPSTREAM_URL", url.clone());
        variables.insert("POLICY", std::fs::read_to_string(policy).unwrap());
        change(variables);
    })
    .await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_walk"));
    command
        .args(["--origin", &house.origin.url()])
        .args(["--edge", &format!("http://{}", house.edge.address())])
        .args(["--upstream", &url])
        .arg("--data-dir")
        .arg(house.origin.data())
        .arg("--edgekeep")
        .arg(edgekeep_tests::origin::binary())
        .env_clear();
    let settings = house.origin.command(&[]);
    command.envs(
        settings
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    tokio::task::spawn_blocking(move || process::run(command, b""))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_well_where_every_step_holds() {
    let output = walk(|_| {}).await;
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{complained}");
    for step in [
        "register",
        "log in",
        "refresh",
        "log out",
        "rotate",
        "every step held",
    ] {
        assert!(
            said.to_lowercase().contains(step),
            "{step:?} is not in\n{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_badly_where_the_gate_does_not_listen_to_revocations() {
    let output = walk(|variables| {
        variables.insert("REVOCATION_SOURCES", "none".to_owned());
    })
    .await;
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        complained.contains("expected") && complained.contains("token_revoked"),
        "{complained}"
    );
}
