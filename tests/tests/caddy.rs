//! The real Caddy, asking the gate by `forward_auth` as `deploy/caddy/Caddyfile` has it.

use std::path::Path;
use std::process::Command;

use crate::authz::{Gateway, every_gateway, program};

async fn start(policy: Option<&str>) -> Gateway {
    Gateway::start("forwarded", policy, &["caddy/Caddyfile"], launch).await
}

fn launch(folder: &Path) -> Command {
    let mut command = Command::new(program("EDGEKEEP_CADDY", "caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    command.arg(folder.join("Caddyfile"));
    // Where it keeps what it remembers between runs.
    command
        .env("XDG_DATA_HOME", folder)
        .env("XDG_CONFIG_HOME", folder);
    command
}

every_gateway!();
