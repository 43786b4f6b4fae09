//! The commands of README.md do what README.md says.

use std::process::Command;

use edgekeep_tests::edge::root;
use edgekeep_tests::house::House;
use edgekeep_tests::process;

/// The block of README.md that holds `first`, without what stands behind `#`.
fn block(first: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.starts_with(first));
    block.unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_by_hand_ends_as_it_says() {
    let house = House::start().await;
    let port = |address: std::net::SocketAddr| address.port().to_string();
    let script = block("curl -s localhost:8080/api/v1/auth/register")
        .replace(
            "data/outbox.jsonl",
            house.origin.data().join("outbox.jsonl").to_str().unwrap(),
        )
        .replace(
            "localhost:8080",
            &format!("127.0.0.1:{}", port(house.origin.address())),
        )
        .replace(
            "localhost:8787",
            &format!("127.0.0.1:{}", port(house.edge.address())),
        );
    // What each call through the gate is to answer stands behind it.
    let calls: Vec<&str> = script
        .lines()
        .filter(|line| line.contains("/api/hello"))
        .collect();
    assert_eq!(calls.len(), 2, "{script}");
    assert!(calls[0].contains("# 200"), "{script}");
    assert!(calls[1].contains("# 401 token_revoked"), "{script}");
    let shown = script.replace(
        "curl -s",
        "curl -s -w '\\nstatus %{http_code}\\n' -o /dev/stderr",
    );
    // Answers that are read by `$(…)` stay as they are.
    let shown = shown.replace(
        "$(curl -s -w '\\nstatus %{http_code}\\n' -o /dev/stderr",
        "$(curl -s",
    );
    let mut command = Command::new("bash");
    command.args(["-euc", &shown]);
    let output = tokio::task::spawn_blocking(move || process::run(command, b""))
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let answers = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{answers}");
    let statuses: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("status "))
        .collect();
    assert_eq!(statuses, ["202", "200", "204", "401"], "{said}\n{answers}");
    assert!(answers.contains("token_revoked"), "{answers}");
    let seen = house.upstream.take_one();
    assert!(seen.header("x-user-id").is_some());
}

#[test]
fn the_two_commands_are_there() {
    for script in block("./scripts/run --check").lines() {
        let file = script.split_whitespace().next().unwrap();
        assert!(root().join(file).is_file(), "{file}");
    }
}
