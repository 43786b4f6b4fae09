//! The real nginx, asking the gate by `auth_request` as `deploy/nginx/edgekeep.conf` has it.

use std::path::Path;
use std::process::Command;

use crate::authz::{Gateway, every_gateway, program};

async fn start(policy: Option<&str>) -> Gateway {
    Gateway::start("nginx", policy, &["nginx/edgekeep.conf"], launch).await
}

/// What a distribution's own nginx.conf says around an included file, without its privileges.
fn launch(folder: &Path) -> Command {
    let main = "daemon off;
        worker_processes 1;
        pid nginx.pid;
        error_log stderr;
        events { worker_connections 256; }
        http {
            access_log off;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            include edgekeep.conf;
        }";
    std::fs::write(folder.join("nginx.conf"), main).unwrap();
    let mut command = Command::new(program("EDGEKEEP_NGINX", "nginx"));
    command
        .arg("-p")
        .arg(folder)
        .args(["-e", "stderr", "-c", "nginx.conf"]);
    command
}

every_gateway!();
