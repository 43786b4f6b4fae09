//! The real worker in `workerd`, with the configuration of a self-hosted gate.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::http::Call;
use crate::process::Process;

/// `workerd` compiles the worker before it listens; on a busy machine that takes seconds.
const START_LIMIT: Duration = Duration::from_mins(1);

/// The bearer that `workerd` shows to the key-value listener.
pub const KV_TOKEN: &str = "a-kv-token-of-the-tests";

/// The gate's variables by name.
pub type Variables = BTreeMap<&'static str, String>;

/// A running gate.
#[derive(Debug)]
pub struct Edge {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn from_environment(name: &str, what: &str) -> PathBuf {
    std::env::var_os(name).map_or_else(
        || panic!("{name} is not set: {what}; scripts/test sets it"),
        PathBuf::from,
    )
}

/// Adds the binding to a configuration; the one that is deployed has none, because outside of
/// Cloudflare there is nothing to bind.
fn bind_dataset(config: &Path, dataset: SocketAddr) {
    let service = format!("(name = \"dataset\", external = (address = \"{dataset}\", http = ()))");
    let binding = "(name = \"EDGEKEEP_ANALYTICS\", analyticsEngine = \"dataset\")";
    bind(config, &service, binding);
}

/// Adds a service to a configuration, and what binds it.
fn bind(config: &Path, service: &str, binding: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    let bound = text
        .replacen("services = [", &format!("services = [\n    {service},"), 1)
        .replacen("bindings = [", &format!("bindings = [\n    {binding},"), 1);
    std::fs::write(config, bound).unwrap();
}

/// Binds a worker of the same process as upstream; its module is `script`.
fn bind_upstream(config: &Path, script: &str) {
    let service = "(name = \"bound\", worker = (
      modules = [(name = \"bound.js\", esModule = embed \"bound.js\")],
      compatibilityDate = \"2026-04-01\",
    ))";
    bind(
        config,
        service,
        "(name = \"UPSTREAM\", service = \"bound\")",
    );
    std::fs::write(config.with_file_name("bound.js"), script).unwrap();
}

/// Binds the limiter as the configuration says that it is bound: by taking away the signs before what
/// is left out, behind the head of the file.
fn bind_limiter(config: &Path, requests: u32) {
    let text = std::fs::read_to_string(config).unwrap();
    let (head, body) = text.split_once("\nusing ").unwrap();
    let bound: Vec<String> = body
        .replacen("json = \"100\"", &format!("json = \"{requests}\""), 1)
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line).to_owned())
        .collect();
    std::fs::write(config, format!("{head}\nusing {}\n", bound.join("\n"))).unwrap();
    let limiter = root().join("deploy/workerd/limiter.js");
    std::fs::copy(limiter, config.with_file_name("limiter.js")).unwrap();
}

impl Edge {
    /// Starts a gate that reads its key-value store at `kv`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(variables: &Variables, kv: SocketAddr) -> Self {
        Self::launch(variables, kv, |_, _| {})
    }

    /// Starts a gate whose Analytics Engine dataset is the HTTP server at `dataset`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_dataset(variables: &Variables, kv: SocketAddr, dataset: SocketAddr) -> Self {
        Self::launch(variables, kv, |config, command| {
            bind_dataset(config, dataset);
            // workerd's own word for a binding that may still change.
            command.arg("--experimental");
        })
    }

    /// Starts a gate with a limiter `API_LIMIT` that allows `requests` in a minute.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_limiter(variables: &Variables, kv: SocketAddr, requests: u32) -> Self {
        Self::launch(variables, kv, |config, _| bind_limiter(config, requests))
    }

    /// Starts a gate with a service binding `UPSTREAM` to a worker, whose module is `script`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_upstream(variables: &Variables, kv: SocketAddr, script: &str) -> Self {
        Self::launch(variables, kv, |config, _| bind_upstream(config, script))
    }

    fn launch(
        variables: &Variables,
        kv: SocketAddr,
        change: impl FnOnce(&Path, &mut Command),
    ) -> Self {
        let workerd = from_environment("EDGEKEEP_WORKERD", "the workerd binary");
        let worker = std::env::var_os("EDGEKEEP_EDGE_DIR")
            .map_or_else(|| root().join("build/edge"), PathBuf::from);
        let folder = tempfile::tempdir().unwrap();
        let place = |from: PathBuf, name: &str| {
            std::fs::copy(&from, folder.path().join(name)).unwrap_or_else(|error| {
                panic!("{}: {error}; scripts/build-edge makes it", from.display())
            });
        };
        place(root().join("deploy/workerd/config.capnp"), "config.capnp");
        place(worker.join("index.js"), "index.js");
        place(worker.join("index_bg.wasm"), "index_bg.wasm");
        std::fs::write(
            folder.path().join("kv.authorization"),
            format!("Bearer {KV_TOKEN}"),
        )
        .unwrap();

        let mut command = Command::new(workerd);
        command.arg("serve");
        change(&folder.path().join("config.capnp"), &mut command);
        command
            .arg(folder.path().join("config.capnp"))
            .args(["--socket-addr", "http=127.0.0.1:0", "--control-fd=1"])
            .arg("--external-addr")
            .arg(format!("kv={kv}"))
            .env_clear()
            .envs(variables);
        let mut process = Process::start("edge", command);
        let port = process.wait_for_line(START_LIMIT, |line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            (event["event"] == "listen" && event["socket"] == "http")
                .then(|| event["port"].as_u64())?
        });
        let port = port.expect("workerd did not start");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap()));
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request to it.
    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.address, method, target)
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// The most memory that it has held so far, in bytes, as the system counts it.
    ///
    /// # Panics
    /// Where the system does not tell.
    pub fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        kibibytes.unwrap().trim().parse::<u64>().unwrap() * 1_024
    }

    /// What it has logged.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }
}
