//! The binary itself: what the command line changes reaches the running server within a second,
//! and what was answered is there after `kill -9`.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edgekeep_origin::app::State;
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{Config, Environment};
use edgekeep_origin::random::Random;
use edgekeep_shared::control::ControlKeys;
use edgekeep_shared::revocation::{RevocationList, RevokedBy};
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::{VerifiedToken, Verifier};

/// An instance: its folder, its ports, and the server while it runs.
struct Instance {
    folder: tempfile::TempDir,
    port: u16,
    kv_port: u16,
    server: Option<Child>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Instance {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            kv_port: free_port(),
            server: None,
        }
    }

    fn environment(&self) -> Environment {
        let folder: &Path = self.folder.path();
        [
            ("EDGEKEEP_DATA_DIR", folder.to_str().unwrap().to_owned()),
            (
                "EDGEKEEP_SERVER__LISTEN",
                format!("127.0.0.1:{}", self.port),
            ),
            (
                "EDGEKEEP_SERVER__KV_LISTEN",
                format!("127.0.0.1:{}", self.kv_port),
            ),
            ("EDGEKEEP_KEYS__JWKS_MAX_AGE_SECONDS", "0".to_owned()),
            ("EDGEKEEP_KEYS__PROPAGATION_SECONDS", "0".to_owned()),
            ("EDGEKEEP_LOG__FILTER", "error".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgekeep"));
        command.env_clear().envs(self.environment());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command().args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        output
    }

    /// The instance's state in this process, as the command line opens it.
    async fn state(&self) -> State {
        let config = Config::load(None, &self.environment()).unwrap();
        State::open(config, Clock::System, Random::Os)
            .await
            .unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn start(&mut self) {
        let child = self
            .command()
            .arg("serve")
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        self.server = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while reqwest::get(self.url("/ready")).await.is_err() {
            assert!(Instant::now() < deadline, "the server did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL: nothing of the process is asked to finish.
    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    async fn list(&self, control_keys: &ControlKeys) -> RevocationList {
        let url = self.url("/.well-known/revocations");
        let bytes = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        RevocationList::open(&bytes, control_keys, &self.url("")).unwrap()
    }

    async fn info(&self, token: &str) -> u16 {
        let request = reqwest::Client::new().get(self.url("/api/v1/auth/token-info"));
        request
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    fn verified(&self, state: &State, token: &str) -> VerifiedToken {
        let now = UnixTime(state.clock.now().unix_seconds());
        Verifier::new(self.url(""), "api")
            .verify(token.as_bytes(), state.keyring.ring().set(), now)
            .unwrap()
    }
}

/// Fails unless `holds` within a second.
async fn within_a_second(what: &str, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(1), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reaches_the_running_server_within_a_second() {
    let mut instance = Instance::new();
    // Before there is a server, or anything in the folder.
    let printed = instance.run(&["keys", "control"]).stdout;
    let control_keys = ControlKeys::parse(&printed).unwrap();
    assert_eq!(instance.run(&["keys", "control"]).stdout, printed);
    instance.start().await;
    let state = instance.state().await;
    let user = keep::user(&state).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(keep::open(&state, user).await.access_token);
    }
    let verified: Vec<_> = tokens
        .iter()
        .map(|token| instance.verified(&state, token))
        .collect();
    assert!(instance.list(&control_keys).await.is_empty());

    let (instance, control_keys) = (&instance, &control_keys);
    let listed = |index: usize, by: RevokedBy| {
        let token = &verified[index];
        async move || instance.list(control_keys).await.find(token) == Some(by)
    };
    let session = verified[0].claims().session_id.clone().unwrap();
    instance.run(&["revoke", "--sid", &session]);
    within_a_second("sid", listed(0, RevokedBy::Session)).await;
    instance.run(&["revoke", "--jti", &verified[1].claims().token_id]);
    within_a_second("jti", listed(1, RevokedBy::Token)).await;
    instance.run(&["revoke", "--sub", &user.to_string()]);
    within_a_second("sub", listed(2, RevokedBy::Session)).await;
    for token in &tokens {
        assert_eq!(instance.info(token).await, 401);
    }

    let keys = async || {
        let url = instance.url("/.well-known/jwks.json");
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    let before = keys().await;
    instance.run(&["keys", "rotate"]);
    within_a_second("rotate", async || keys().await != before).await;
    let kid = verified[0].key_id();
    assert!(keys().await.contains(kid), "the retiring key stays");
    let printed = instance.run(&["keys", "list"]).stdout;
    let printed = String::from_utf8(printed).unwrap();
    let states: Vec<_> = printed
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(states, ["retiring", "active", "pending"]);
    instance.run(&["keys", "revoke", kid]);
    within_a_second("kid", listed(3, RevokedBy::Key)).await;
    within_a_second("gone", async || !keys().await.contains(kid)).await;

    // The gate's store has the same list.
    let url = format!("http://127.0.0.1:{}/revocations", instance.kv_port);
    let bytes = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    let list = RevocationList::open(&bytes, control_keys, &instance.url("")).unwrap();
    assert_eq!(list.find(&verified[3]), Some(RevokedBy::Key));

    for arguments in [
        &["revoke"][..],
        &["revoke", "--sid", ""],
        &["revoke", "--sid", "nope"],
        &["revoke", "--sid", "a", "--jti", "b"],
        &["keys", "revoke", "nobody"],
    ] {
        let output = instance.command().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    state.db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_logout_survives_a_kill() {
    let mut instance = Instance::new();
    instance.start().await;
    let state = instance.state().await;
    let user = keep::user(&state).await;
    let (out, kept) = (
        keep::open(&state, user).await,
        keep::open(&state, user).await,
    );
    assert_eq!(instance.info(&out.access_token).await, 200);
    let logout = reqwest::Client::new()
        .post(instance.url("/api/v1/auth/logout"))
        .bearer_auth(&out.access_token);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    instance.kill();

    instance.start().await;
    assert_eq!(instance.info(&out.access_token).await, 401);
    assert_eq!(instance.info(&kept.access_token).await, 200);
    let control_keys = instance.run(&["keys", "control"]).stdout;
    let control_keys = ControlKeys::parse(&control_keys).unwrap();
    let list = instance.list(&control_keys).await;
    let token = instance.verified(&state, &out.access_token);
    assert_eq!(list.find(&token), Some(RevokedBy::Session));
    assert_eq!(list.len(), 1);
    state.db.close().await;

    // Asked politely, it ends by itself and in good order.
    let mut server = instance.server.take().unwrap();
    let pid = server.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let deadline = Instant::now() + Duration::from_secs(5);
    let status = loop {
        if let Some(status) = server.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            server.kill().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
}
