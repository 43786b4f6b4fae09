//! The real Caddy, asking the gate by `forward_auth` as `deploy/caddy/Caddyfile` has it.

use std::path::Path;
use std::process::Command;

use crate::authz::{Gateway, SPELLINGS_POLICY, program};

async fn start(policy: Option<&str>) -> Gateway {
    Gateway::start("forwarded", policy, "caddy/Caddyfile", launch).await
}

fn launch(folder: &Path, config: String) -> Command {
    std::fs::write(folder.join("Caddyfile"), config).unwrap();
    let mut command = Command::new(program("EDGEKEEP_CADDY", "caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    command.arg(folder.join("Caddyfile"));
    // Where it keeps what it remembers between runs.
    command
        .env("XDG_DATA_HOME", folder)
        .env("XDG_CONFIG_HOME", folder);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_pass_what_the_policy_allows() {
    start(None).await.lets_pass_what_the_policy_allows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_the_rest() {
    start(None).await.refuses_the_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_no_claim_of_the_client_pass() {
    start(None).await.lets_no_claim_of_the_client_pass().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_turned_away() {
    start(None).await.a_revoked_token_is_turned_away().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_gets_by() {
    start(SPELLINGS_POLICY).await.no_spelling_gets_by().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_down_lets_nothing_pass() {
    start(None)
        .await
        .a_gate_that_is_down_lets_nothing_pass()
        .await;
}
