//! The npm package as its users have it, installed by its name and loaded by its own entry for each
//! host, behind a few questions over HTTP (`npm/tests/answers.mjs`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::edge::root;
use crate::http::Call;
use crate::issuer::Issuer;
use crate::process::{self, Process};

/// A host starts in less, unless the machine is busy.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Where the package runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Node.js
    Node,
    /// Deno
    Deno,
    /// Bun
    Bun,
    /// `workerd`
    Workerd,
}

/// The two hosts that differ: promises are shared between requests, or are not. The others run what
/// Node.js runs.
pub const HOSTS: [Host; 2] = [Host::Node, Host::Workerd];

/// A running host with one verifier in it.
#[derive(Debug)]
pub struct Package {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

/// A program or folder that `scripts/test` names.
///
/// # Panics
/// When it does not.
fn named(variable: &str) -> PathBuf {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map_or_else(
        || panic!("{variable} is not set; scripts/env.sh sets it"),
        PathBuf::from,
    )
}

/// The built package.
///
/// # Panics
/// When it was not built.
pub fn built() -> PathBuf {
    let folder = std::env::var_os("EDGEKEEP_NPM_PACKAGE")
        .map_or_else(|| root().join("build/npm"), PathBuf::from);
    assert!(
        folder.join("package.json").is_file(),
        "{} is not there; scripts/build-npm makes it",
        folder.display()
    );
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// A project that depends on the package, with the scripts of `npm/tests` in it.
///
/// # Panics
/// When it cannot be made.
pub fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &built(),
        &folder.path().join("node_modules/@edgekeep/verifier"),
    );
    copy(&root().join("npm/tests"), folder.path());
    let package = json!({"type": "module", "dependencies": {"@edgekeep/verifier": "0.1.0"}});
    std::fs::write(folder.path().join("package.json"), package.to_string()).unwrap();
    folder
}

/// A program with nothing of this process's environment but where programs are.
fn program(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// A script of `npm/tests` in a [`project`], run by `host`; by Node.js where that is `workerd`.
///
/// # Panics
/// When there is no such host.
pub fn script(host: Host, folder: &Path, script: &str) -> Command {
    match host {
        Host::Deno => {
            let mut command = program(named("EDGEKEEP_DENO"), folder);
            // No more is allowed to it than it says that it needs.
            command
                .args(["run", "--no-remote", "--node-modules-dir=manual", "--quiet"])
                .args(["--allow-net=127.0.0.1", "--allow-env", "--allow-read=."])
                .arg(script)
                .env("DENO_DIR", folder.join(".deno"))
                .env("DENO_NO_UPDATE_CHECK", "1");
            command
        }
        Host::Bun => {
            let mut command = program(named("EDGEKEEP_BUN"), folder);
            command
                .args(["--no-install", script])
                .env("DO_NOT_TRACK", "1");
            command
        }
        Host::Node | Host::Workerd => {
            let mut command = program("node", folder);
            command.arg(script);
            command
        }
    }
}

/// Bundles the worker as wrangler does: by esbuild, under the condition `workerd`.
fn bundle(folder: &Path) {
    let mut command = program(named("ESBUILD_BIN"), folder);
    command
        .args(["worker.js", "--bundle", "--format=esm", "--outdir=bundle"])
        .args(["--conditions=workerd", "--external:cloudflare:workers"])
        .args(["--loader:.wasm=copy", "--asset-names=[name]"])
        .arg("--log-level=warning");
    let output = process::run(command, b"");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::copy(
        folder.join("worker.capnp"),
        folder.join("bundle/worker.capnp"),
    )
    .unwrap();
}

impl Package {
    /// Starts `host` with a verifier of these issuers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(host: Host, issuers: &Value) -> Self {
        let (folder, options) = (project(), issuers.to_string());
        if host == Host::Workerd {
            return Self::in_workerd(folder, &[("OPTIONS", options)]);
        }
        let mut command = script(host, folder.path(), "serve.mjs");
        command.env("EDGEKEEP_OPTIONS", options);
        Self::listening(command, folder)
    }

    /// Starts the `worker.js` of a [`project`] by its `worker.capnp`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn in_workerd(folder: TempDir, variables: &[(&str, String)]) -> Self {
        bundle(folder.path());
        let mut command = program(named("EDGEKEEP_WORKERD"), &folder.path().join("bundle"));
        command
            .args(["serve", "worker.capnp", "--control-fd=1"])
            .envs(variables.iter().map(|(name, value)| (name, value)));
        Self::listening(command, folder)
    }

    /// Starts what says where it listens: `ready PORT`, or as `workerd` says it.
    ///
    /// # Panics
    /// When it does not.
    pub fn listening(command: Command, folder: TempDir) -> Self {
        let mut process = Process::start("package", command);
        let port = process.wait_for_line(START_LIMIT, |line| {
            if let Some(port) = line.strip_prefix("ready ") {
                return port.parse().ok();
            }
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == "listen").then(|| event["port"].as_u64())?
        });
        let port = port.expect("the package's host did not start");
        Self {
            process,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap())),
            _folder: folder,
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A question to it.
    pub fn call(&self, question: &str, body: &str) -> Call {
        Call::new(self.address, "POST", question).body(body.as_bytes())
    }

    /// Its answer to a question.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn ask(&self, question: &str, body: &str) -> String {
        let answer = self.call(question, body).send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// `ok` with the subject, or the code, for each token; all are judged at once.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn verdicts(&self, tokens: &[String]) -> Vec<String> {
        self.lines("/verify", tokens).await
    }

    /// The same for values of `Authorization`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn header_verdicts(&self, headers: &[String]) -> Vec<String> {
        self.lines("/header", headers).await
    }

    async fn lines(&self, question: &str, texts: &[String]) -> Vec<String> {
        let lines: Vec<String> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| format!("{number}\t{}", json!(text)))
            .collect();
        let answer = self.ask(question, &lines.join("\n")).await;
        let verdicts: Vec<String> = answer
            .lines()
            .enumerate()
            .map(|(number, line)| {
                let (name, verdict) = line.split_once('\t').unwrap();
                assert_eq!(name, number.to_string(), "{answer}");
                verdict.to_owned()
            })
            .collect();
        assert_eq!(verdicts.len(), texts.len(), "{answer}");
        verdicts
    }

    /// `ok` with the subject, or the code.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn verdict(&self, token: &str) -> String {
        self.verdicts(&[token.to_owned()]).await.remove(0)
    }

    /// The rejection with what is behind it: name, code, status, cause.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn cause(&self, token: &str) -> String {
        self.ask("/cause", token).await
    }

    /// What it has said on its console.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }
}

/// Options for an issuer of this process, with `changes` to those of the issuer.
///
/// # Panics
/// When `changes` is not an object.
pub fn options(issuer: &Issuer, changes: &Value) -> Value {
    let control: Value = serde_json::from_str(&issuer.published().control_key.jwk()).unwrap();
    let mut options = json!({
        "issuer": issuer.url(), "audience": "api",
        "revocation": {"controlKeys": [control]},
    });
    merge(&mut options, changes);
    options
}

/// Lays `changes` over `value`, object by object.
fn merge(value: &mut Value, changes: &Value) {
    match (value.as_object_mut(), changes.as_object()) {
        (Some(members), Some(changes)) => {
            for (name, change) in changes {
                merge(members.entry(name).or_insert(Value::Null), change);
            }
        }
        _ => *value = changes.clone(),
    }
}
