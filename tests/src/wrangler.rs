//! Cloudflare's `wrangler` with the project's `wrangler.toml`: the worker in Miniflare, and the
//! key-value store that both keep in a folder of the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::edge::{Variables, root};
use crate::http::Call;
use crate::process::{self, Process};

/// wrangler has the worker built first, which may be new.
const START_LIMIT: Duration = Duration::from_mins(5);

/// How long what it has started may outlive it.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Miniflare's storage, and what wrangler keeps for itself.
pub struct Wrangler {
    folder: TempDir,
}

/// A worker in `wrangler dev`.
pub struct Dev {
    process: Process,
    address: SocketAddr,
}

impl Wrangler {
    /// With an empty storage.
    ///
    /// # Panics
    /// When there is no folder for it.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let wrangler = std::env::var_os("EDGEKEEP_WRANGLER")
            .expect("EDGEKEEP_WRANGLER is not set: the wrangler program; scripts/test sets it");
        let mut command = Command::new(wrangler);
        command
            .current_dir(root())
            .args(arguments)
            .arg("--persist-to")
            .arg(self.path().join("state"))
            // Nobody is told, nobody is asked, and nothing is written beside the test's own.
            .env("CI", "true")
            .env("NO_COLOR", "1")
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_SEND_ERROR_REPORTS", "false")
            .env("WRANGLER_HIDE_BANNER", "true")
            .env("WRANGLER_REGISTRY_PATH", self.path().join("registry"))
            .env("MINIFLARE_REGISTRY_PATH", self.path().join("registry"))
            .env("WRANGLER_LOG_PATH", self.path().join("logs"))
            .env("XDG_CONFIG_HOME", self.path().join("config"))
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
        command
    }

    /// Puts a value into the worker's key-value store.
    ///
    /// # Panics
    /// When wrangler fails.
    pub fn put(&self, key: &str, value: &[u8]) {
        let file = self.path().join(key);
        std::fs::write(&file, value).unwrap();
        let mut command = self.command(&["kv", "key", "put", key]);
        command
            .args(["--local", "--binding", "EDGEKEEP_KV", "--path"])
            .arg(file);
        let output = process::run(command, b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "wrangler kv key put {key}: {said}");
    }

    /// Starts the worker with these variables over those of `wrangler.toml`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn dev(&self, variables: &Variables) -> Dev {
        Self::start(self.command(&["dev"]), variables)
    }

    /// The same with the limiter that `wrangler.toml` shows, which allows `requests` in its minute.
    /// The worker is the one that was built before.
    ///
    /// # Panics
    /// When it does not start.
    pub fn dev_limited(&self, variables: &Variables, requests: u32) -> Dev {
        let shown = std::fs::read_to_string(root().join("wrangler.toml")).unwrap();
        let main = format!("main = '{}'", root().join("build/edge/index.js").display());
        let limit = format!("limit = {requests}");
        let (mut lines, mut is_limiter) = (Vec::new(), false);
        for line in shown.lines() {
            is_limiter = line == "# [[ratelimits]]" || is_limiter && !line.is_empty();
            let line = if is_limiter { &line[2..] } else { line };
            match line.split(' ').next() {
                // Paths count from where this file is.
                Some("main") => lines.push(main.clone()),
                Some("[build]" | "command" | "watch_dir") => {}
                _ => lines.push(line.replace("limit = 100", &limit)),
            }
        }
        let text = lines.join("\n");
        assert!(text.contains(&limit), "{text}");
        let file = self.path().join("wrangler.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = self.command(&["dev"]);
        command.arg("--config").arg(file);
        Self::start(command, variables)
    }

    fn start(mut command: Command, variables: &Variables) -> Dev {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, process::free_port()));
        command
            .args(["--ip", "127.0.0.1"])
            .args(["--port", &address.port().to_string()])
            .args(["--inspector-port", &process::free_port().to_string()])
            .arg("--show-interactive-dev-session=false");
        for (name, value) in variables {
            command.args(["--var", &format!("{name}:{value}")]);
        }
        let mut process = Process::start_group("wrangler", command);
        let ready =
            process.wait_for_line(START_LIMIT, |line| line.contains("Ready on").then_some(()));
        ready.expect("wrangler dev is not ready");
        Dev { process, address }
    }
}

impl Default for Wrangler {
    fn default() -> Self {
        Self::new()
    }
}

impl Dev {
    /// A request to the worker.
    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.address, method, target)
    }

    /// What wrangler and the worker have said.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// Ends it as Ctrl-C does, and gives what then still runs of all that it has started.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) -> Vec<u32> {
        self.process.terminate().expect("wrangler dev does not end");
        let begun = Instant::now();
        loop {
            let running = self.process.group();
            if running.is_empty() || begun.elapsed() > STOP_LIMIT {
                return running;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
