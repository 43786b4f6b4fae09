//! The real Traefik, asking the gate by `forwardAuth` as the files in `deploy/traefik` have it.

use std::path::Path;
use std::process::Command;

use crate::authz::{Gateway, every_gateway, program};

const CONFIGURATION: &[&str] = &["traefik/traefik.yml", "traefik/edgekeep.yml"];

async fn start(policy: Option<&str>) -> Gateway {
    Gateway::start("forwarded", policy, CONFIGURATION, launch).await
}

fn launch(folder: &Path) -> Command {
    let mut command = Command::new(program("EDGEKEEP_TRAEFIK", "traefik"));
    command.arg("--configfile=traefik.yml").current_dir(folder);
    command
}

every_gateway!();
