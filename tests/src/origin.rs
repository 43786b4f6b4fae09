//! The real `edgekeep`: a server with a data folder of its own, and the command line on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock::eventually;
use crate::edge::KV_TOKEN;
use crate::http::{Answer, Call};
use crate::process::{self, Process};

/// A debug build makes its keys and its database in less, unless the machine is busy.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A message is sent behind the answer.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);

/// Settings by the name of their environment variable.
pub type Settings = Vec<(String, String)>;

/// An issuer with its data folder; the server may be running or not.
pub struct Origin {
    data: TempDir,
    port: u16,
    kv_port: u16,
    settings: Settings,
    server: Option<Process>,
}

/// What a login gives.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The whole answer.
    pub answer: Value,
    /// `access_token`
    pub access: String,
    /// `refresh_token`
    pub refresh: String,
    /// `session_id`
    pub session: String,
}

impl Tokens {
    /// Reads the answer of a login or a refresh.
    ///
    /// # Panics
    /// When it is none.
    pub fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "tokens expected: {}", answer.text());
        let json = answer.json();
        let text = |name: &str| {
            json[name]
                .as_str()
                .unwrap_or_else(|| panic!("{name} is missing: {json}"))
                .to_owned()
        };
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            session: text("session_id"),
            answer: json,
        }
    }

    /// The user's id.
    ///
    /// # Panics
    /// When there is none.
    pub fn user(&self) -> &str {
        self.answer["user"]["id"].as_str().unwrap()
    }
}

/// The binary.
///
/// # Panics
/// Where a test is not run from a file.
pub fn binary() -> PathBuf {
    std::env::var_os("EDGEKEEP_BIN").map_or_else(
        || {
            // The test binary lies in target/<profile>/deps.
            let test = std::env::current_exe().unwrap();
            test.parent()
                .and_then(Path::parent)
                .unwrap()
                .join("edgekeep")
        },
        PathBuf::from,
    )
}

/// The command line without an instance: nothing of this process's environment reaches it.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear();
    command
}

impl Origin {
    /// A running server with the settings of `scripts/run`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A running server with more settings.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with(more: &[(&str, &str)]) -> Self {
        let (port, kv_port) = (process::free_port(), process::free_port());
        let mut settings: Settings = [
            ("EDGEKEEP_SERVER__LISTEN", format!("127.0.0.1:{port}")),
            (
                "EDGEKEEP_SERVER__PUBLIC_URL",
                format!("http://127.0.0.1:{port}"),
            ),
            ("EDGEKEEP_SERVER__KV_LISTEN", format!("127.0.0.1:{kv_port}")),
            ("EDGEKEEP_SERVER__KV_TOKEN", KV_TOKEN.to_owned()),
            ("EDGEKEEP_KEYS__JWKS_MAX_AGE_SECONDS", "2".to_owned()),
            ("EDGEKEEP_KEYS__PROPAGATION_SECONDS", "1".to_owned()),
            ("EDGEKEEP_LIMITS__PER_IP", "false".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        settings.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut origin = Self {
            data: tempfile::tempdir().unwrap(),
            port,
            kv_port,
            settings,
            server: None,
        };
        origin.start_server().await;
        origin
    }

    /// Starts the server on the data folder.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_server(&mut self) {
        self.server = Some(Process::start("origin", self.command(&["serve"])));
        let ready = eventually(START_LIMIT, || async {
            let answer = self.call("GET", "/ready").send().await.ok()?;
            (answer.status == 200).then_some(())
        });
        assert!(ready.await.is_some(), "the origin is not ready");
    }

    /// A command on this instance.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("EDGEKEEP_DATA_DIR", self.data.path());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command on this instance.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Output {
        process::run(self.command(arguments), b"")
    }

    /// Runs a command that must succeed, and gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn must_run(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "edgekeep {arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The running server.
    ///
    /// # Panics
    /// When it does not run.
    pub const fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("the server runs")
    }

    /// Ends the server as a power cut would.
    pub fn kill9(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// The issuer's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where the key-value store listens.
    pub fn kv(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.kv_port))
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// A request to the API.
    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.address(), method, target)
    }

    /// The answer to a POST of JSON below `/api/v1/auth`.
    ///
    /// # Panics
    /// When the origin does not answer.
    pub async fn post(&self, route: &str, body: &Value) -> Answer {
        self.call("POST", &format!("/api/v1/auth{route}"))
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// The same with a token.
    ///
    /// # Panics
    /// When the origin does not answer.
    pub async fn post_as(&self, token: &str, route: &str, body: &Value) -> Answer {
        let call = self.call("POST", &format!("/api/v1/auth{route}"));
        call.bearer(token).json(body).send().await.unwrap()
    }

    /// The messages that were sent to `address`, oldest first.
    pub fn messages(&self, address: &str) -> Vec<Value> {
        let outbox = std::fs::read_to_string(self.data().join("outbox.jsonl")).unwrap_or_default();
        let messages = outbox
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages
            .filter(|message| message["to"] == address)
            .collect()
    }

    /// Waits until `count` messages were sent to `address`, and gives the last.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn message(&self, address: &str, count: usize) -> Value {
        let found = eventually(MESSAGE_LIMIT, || async {
            let messages = self.messages(address);
            (messages.len() >= count).then(|| messages.last().cloned())?
        });
        let (message, _) = found
            .await
            .unwrap_or_else(|| panic!("{count} messages to {address}"));
        message
    }

    /// The code in the `count`th message to `address`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn code(&self, address: &str, count: usize) -> String {
        let message = self.message(address, count).await;
        message["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no code: {message}"))
            .to_owned()
    }

    /// Registers an address, proves it and is logged in.
    ///
    /// # Panics
    /// When a step fails.
    pub async fn register(&self, email: &str, password: &str) -> Tokens {
        let registered = self
            .post("/register", &json!({"email": email, "password": password}))
            .await;
        assert_eq!(registered.status, 202, "{}", registered.text());
        let code = self.code(email, 1).await;
        let verified = self
            .post("/register/verify", &json!({"email": email, "code": code}))
            .await;
        Tokens::of(&verified)
    }

    /// Logs in.
    ///
    /// # Panics
    /// When that fails.
    pub async fn login(&self, email: &str, password: &str) -> Tokens {
        Tokens::of(
            &self
                .post(
                    "/login",
                    &json!({"identifier": email, "password": password}),
                )
                .await,
        )
    }
}
