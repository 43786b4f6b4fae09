//! The binary as an operator meets it: its memory, its files, its refusals.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A data folder, and what the binary is told beside it.
#[derive(Clone)]
struct Instance {
    folder: Arc<tempfile::TempDir>,
    environment: BTreeMap<&'static str, String>,
}

/// Ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Instance {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            environment: BTreeMap::from([
                ("EDGEKEEP_SERVER__LISTEN", address),
                ("EDGEKEEP_LOG__FILTER", "error".to_owned()),
            ]),
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.environment.insert(name, value.to_owned());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgekeep"));
        command
            .env_clear()
            .env("EDGEKEEP_DATA_DIR", self.data())
            .envs(&self.environment)
            .args(arguments);
        command
    }

    /// Whether it succeeded, and what it said on both streams.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        (status.success(), said)
    }

    fn url(&self, path: &str) -> String {
        format!(
            "http://{}{path}",
            self.environment["EDGEKEEP_SERVER__LISTEN"]
        )
    }

    async fn start(&self) -> Server {
        let server = self.command(&["serve"]).stderr(Stdio::inherit()).spawn();
        let server = Server(server.unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while reqwest::get(self.url("/ready")).await.is_err() {
            assert!(Instant::now() < deadline, "the server did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }
}

/// Resident memory of a process, in KiB.
#[cfg(target_os = "linux")]
fn resident_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .unwrap()
        .parse()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn memory_of_many_logins_is_that_of_those_that_run() {
    let mut instance = Instance::new();
    instance.set("EDGEKEEP_PASSWORD__CONCURRENCY", "4");
    instance.set("EDGEKEEP_LIMITS__PER_IP", "false");
    let server = instance.start().await;
    let client = reqwest::Client::new();
    let mut burst = tokio::task::JoinSet::new();
    for index in 0..200 {
        let request = client
            .post(instance.url("/api/v1/auth/login"))
            .header("content-type", "application/json")
            .body(format!(
                r#"{{"identifier":"nobody{index}@example.com","password":"wrong password"}}"#
            ));
        burst.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let statuses = burst.join_all().await;
    let hashed = statuses.iter().filter(|&&status| status == 401).count();
    assert!(hashed >= 100, "{statuses:?}");
    let resident = resident_kib(server.0.id());
    assert!(resident < 4 * 19_456 + 100 * 1_024, "{resident} KiB");
}

fn modes(folder: &Path) -> BTreeMap<String, u32> {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut modes = BTreeMap::from([(".".to_owned(), mode(folder))]);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        modes.insert(name, mode(&entry.path()));
    }
    modes
}

#[tokio::test]
async fn whatever_is_made_is_its_owners_alone() {
    for migrate_first in [true, false] {
        let instance = Instance::new();
        if migrate_first {
            let (done, said) = instance.run(&["migrate"]);
            assert!(done, "{said}");
        }
        let _server = instance.start().await;
        let modes = modes(&instance.data());
        assert!(modes.contains_key("edgekeep.db-wal"), "{modes:?}");
        for (name, mode) in &modes {
            let expected = if name == "." { 0o700 } else { 0o600 };
            assert_eq!(*mode, expected, "{name}, migrate first: {migrate_first}");
        }
    }
}

#[test]
fn another_master_key_is_refused_plainly_and_once() {
    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    const OTHER: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
    let mut instance = Instance::new();
    instance.set("EDGEKEEP_SECRETS__MASTER_KEY", KEY);
    let (done, said) = instance.run(&["keys", "list"]);
    assert!(done, "{said}");
    for (keys, expected) in [
        (OTHER.to_owned(), "does not open this database"),
        (format!("1:{OTHER}\n2:{KEY}"), "does not open this database"),
        (format!("2:{KEY}"), "needs master key version 1"),
        (format!("2:{OTHER}"), "needs master key version 1"),
    ] {
        instance.set("EDGEKEEP_SECRETS__MASTER_KEY", &keys);
        for arguments in [&["serve"][..], &["keys", "list"]] {
            let (done, said) = instance.run(arguments);
            assert!(!done, "{keys}");
            assert_eq!(said.matches(expected).count(), 1, "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    instance.set("EDGEKEEP_SECRETS__MASTER_KEY", &format!("1:{KEY}"));
    let (done, said) = instance.run(&["keys", "list"]);
    assert!(done, "{said}");
}

#[test]
fn a_cause_is_said_once() {
    let instance = Instance::new();
    let (done, said) = instance.run(&["--config", "/nowhere/edgekeep.toml", "config", "check"]);
    assert!(!done);
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[test]
fn tuning_measures_and_prints_settings_that_are_understood() {
    let instance = Instance::new();
    let arguments = [
        "tune-argon2",
        "--target-ms",
        "30",
        "--max-memory-mib",
        "24",
        "--concurrency",
        "1",
    ];
    let (done, printed) = instance.run(&arguments);
    assert!(done && printed.contains("logins a second"), "{printed}");
    let settings: toml::Table = toml::from_str(&printed).unwrap();
    let number = |key: &str| settings["password"][key].as_integer().unwrap();
    assert!(
        (19_456..=24 * 1_024).contains(&number("memory_kib")),
        "{printed}"
    );
    assert!(number("iterations") >= 2, "{printed}");
    let file = instance.folder.path().join("tuned.toml");
    std::fs::write(&file, &printed).unwrap();
    let (done, said) = instance.run(&["--config", file.to_str().unwrap(), "config", "check"]);
    assert!(done, "{said}");
    assert!(!instance.data().exists());
    for arguments in [
        ["--target-ms", "0"],
        ["--target-ms", "1001"],
        ["--max-memory-mib", "11"],
    ] {
        let (done, said) = instance.run(&[&["tune-argon2"][..], &arguments].concat());
        assert!(!done, "{said}");
    }
}

#[test]
fn a_password_from_standard_input_is_judged_like_any_other() {
    use std::io::Write as _;
    let instance = Instance::new();
    for (password, expected) in [
        ("anna-1990", "made of your name"),
        ("iloveyou", "most common"),
        ("correct horse battery", ""),
    ] {
        let mut command =
            instance.command(&["users", "create", "--username", "anna", "--password-stdin"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), expected.is_empty(), "{said}");
        assert!(
            said.contains(expected) && !said.contains(password),
            "{said}"
        );
    }
}

/// What an operator does, with the server running and killed in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_survives_being_killed_and_lets_the_old_key_go() {
    const OLD: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
    const ACCOUNTS: usize = 2_000;
    let mut instance = Instance::new();
    instance.set("EDGEKEEP_LIMITS__PER_IP", "false");
    instance.set("EDGEKEEP_PASSWORD__MEMORY_KIB", "64");
    instance.set("EDGEKEEP_SECRETS__MASTER_KEY", OLD);
    accounts_of(&instance, OLD, ACCOUNTS).await;
    let log_in = async |index: usize| {
        let body =
            serde_json::json!({"identifier": format!("ANNA{index}"), "password": "correct horse"});
        let request = reqwest::Client::new()
            .post(instance.url("/api/v1/auth/login"))
            .header("content-type", "application/json")
            .body(body.to_string());
        request.send().await.unwrap().status().as_u16()
    };
    let mut instance_of_both = instance.clone();
    instance_of_both.set("EDGEKEEP_SECRETS__MASTER_KEY", &format!("1:{OLD}\n2:{NEW}"));
    let both = &instance_of_both;
    for (kill, wait) in [5, 40, 150, 400].into_iter().enumerate() {
        let server = both.start().await;
        assert_eq!(log_in(kill).await, 200);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        drop(server);
    }
    let (done, said) = both.run(&["vault", "status"]);
    assert!(
        done && said.contains("older ones are being sealed anew"),
        "{said}"
    );
    assert!(said.contains("version 1: is needed"), "{said}");

    let mut of_new = instance.clone();
    of_new.set("EDGEKEEP_SECRETS__MASTER_KEY", &format!("2:{NEW}"));
    let (done, said) = of_new.run(&["serve"]);
    assert!(
        !done && said.contains("needs master key version 1"),
        "{said}"
    );

    let server = both.start().await;
    let (done, said) = both.run(&["vault", "rotate"]);
    assert!(
        done && said.contains("nothing is under an older version"),
        "{said}"
    );
    assert!(said.contains("refresh tokens until"), "{said}");
    assert_eq!(log_in(ACCOUNTS - 1).await, 200);
    let (done, said) = both.run(&["vault", "rotate", "--end-sessions"]);
    assert!(
        done && said.contains("version 1: may be taken away"),
        "{said}"
    );
    drop(server);

    let _server = of_new.start().await;
    for index in (0..ACCOUNTS).step_by(97) {
        assert_eq!(log_in(index).await, 200, "{index}");
    }
    let (done, said) = of_new.run(&["vault", "status"]);
    assert!(done && said.contains("version 1: was taken away"), "{said}");
}

/// Makes accounts as the binary would, without starting it for each.
async fn accounts_of(instance: &Instance, key: &str, count: usize) {
    use edgekeep_origin::accounts::{self, Identifier, NewAccount};
    use edgekeep_origin::app::State;
    use edgekeep_origin::clock::Clock;
    use edgekeep_origin::config::{Config, DataDir};
    use edgekeep_origin::random::Random;
    use edgekeep_origin::vault::Secret;

    let mut config = Config {
        data_dir: DataDir(instance.data()),
        ..Config::default()
    };
    config.secrets.master_key = Some(Secret::new(key.to_owned()));
    config.password.memory_kib = 64;
    let state = State::open(config, Clock::System, Random::Os)
        .await
        .unwrap();
    let password = Secret::new("correct horse".to_owned());
    let phc = state.hasher.hash(&password).await.unwrap();
    let mut tx = state.db.write().await.unwrap();
    for index in 0..count {
        let email = Identifier::email(&format!("anna{index}@example.org")).unwrap();
        let username = Identifier::username(&format!("anna{index}")).unwrap();
        let account = NewAccount {
            identifiers: &[(email, true), (username, true)],
            password: Some(&phc),
            name: Some("Anna"),
            ..NewAccount::default()
        };
        accounts::create(&state, &mut tx, &account).await.unwrap();
    }
    tx.commit().await.unwrap();
    state.db.close().await;
}

#[test]
fn doctor_looks_and_makes_nothing() {
    let instance = Instance::new();
    let (done, said) = instance.run(&["doctor"]);
    assert!(done, "{said}");
    assert!(!instance.data().exists());
    std::fs::create_dir(instance.data()).unwrap();
    std::fs::set_permissions(instance.data(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (done, said) = instance.run(&["doctor"]);
    assert!(done, "{said}");
    assert_eq!(modes(&instance.data()).len(), 1, "{said}");
    assert!(instance.run(&["keys", "list"]).0);
    let (done, said) = instance.run(&["doctor"]);
    assert!(done && said.contains("can be written"), "{said}");
}

#[test]
fn an_account_has_only_what_fits_a_token() {
    let instance = Instance::new();
    let create = |more: &[&str]| {
        let arguments = [&["users", "create", "--username", "anna"], more].concat();
        instance.run(&arguments)
    };
    for level in ["4", "4294967295", "-1"] {
        assert!(!create(&["--kyc-level", level]).0, "{level}");
    }
    let roles = ["--role", "r"].repeat(17);
    assert!(!create(&roles).0);
    let (done, said) = create(&[&["--kyc-level", "3"][..], &roles[..32]].concat());
    assert!(done, "{said}");
}

#[test]
fn a_revocation_names_what_tokens_name() {
    let instance = Instance::new();
    let (done, id) = instance.run(&["users", "create", "--username", "anna"]);
    assert!(done, "{id}");
    let id = id.trim();
    let (done, said) = instance.run(&["revoke", "--sub", &id.to_uppercase()]);
    assert_eq!(
        (done, said.trim()),
        (true, &*format!("subject {id} is revoked"))
    );
    for unknown in ["somebody", "0198c0de-0000-7000-8000-000000000000"] {
        let (done, said) = instance.run(&["revoke", "--sub", unknown]);
        assert!(done && said.contains("no such account"), "{said}");
    }
}

#[test]
fn accounts_are_looked_after_by_command() {
    let instance = Instance::new();
    let address = ["--email", "anna@example.org", "--role", "admin"];
    let (done, id) = instance.run(&[&["users", "create"], &address[..]].concat());
    assert!(done, "{id}");
    let id = id.trim();
    let list = || instance.run(&["users", "list"]).1.trim().to_owned();
    assert_eq!(list(), format!("{id}  active       admin"));
    let (done, said) = instance.run(&[
        "users",
        "grant",
        "ANNA@example.org",
        "--role",
        "editor",
        "--permission",
        "report:write",
    ]);
    assert!(done, "{said}");
    let shown = |who: &str| -> serde_json::Value {
        let (done, said) = instance.run(&["users", "show", who]);
        assert!(done, "{said}");
        serde_json::from_str(&said).unwrap()
    };
    let account = shown("anna@example.org");
    assert_eq!(account["roles"], serde_json::json!(["admin", "editor"]));
    assert_eq!(
        account["own_permissions"],
        serde_json::json!(["report:write"])
    );
    // The last administrator may go: whoever runs commands can make another.
    assert!(instance.run(&["users", "revoke-role", id, "admin"]).0);
    let (done, said) = instance.run(&["users", "revoke-role", id, "admin"]);
    assert!(!done && said.contains("does not have the role"), "{said}");
    assert!(
        instance
            .run(&["users", "disable", id, "--reason", "left"])
            .0
    );
    assert!(!instance.run(&["users", "disable", id]).0);
    assert_eq!(shown(id)["status_reason"], "left");
    assert_eq!(list(), format!("{id}  disabled     editor"));
    assert!(instance.run(&["users", "enable", id]).0);
    for wrong in [
        &["users", "grant", id][..],
        &["users", "grant", id, "--role", "a b"],
        &["users", "show", "nobody@example.org"],
        &["users", "delete", id],
    ] {
        assert!(!instance.run(wrong).0, "{wrong:?}");
    }
    assert!(instance.run(&["users", "delete", id, "--yes"]).0);
    assert_eq!(list(), "");
    let (done, said) = instance.run(&["audit", "verify"]);
    assert!(done, "{said}");
}

#[tokio::test]
async fn an_altered_trail_is_sealed_by_hand_and_both_are_reported() {
    use sqlx::Connection as _;

    let instance = Instance::new();
    assert!(instance.run(&["keys", "control", "prepare"]).0);
    let begin = ["audit", "begin", "--by", "Grace Hopper", "--yes"];
    let (done, said) = instance.run(&begin);
    assert!(!done && said.contains("holds"), "{said}");
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}/edgekeep.db", instance.data().display());
    let mut database = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE audit_events SET reason = 'nothing' WHERE sequence = 1")
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();

    let found = "event 1 was changed";
    for command in [&["audit", "verify"][..], &begin[..4]] {
        let (done, said) = instance.run(command);
        assert!(!done && said.contains(found), "{said}");
    }
    let unnamed = ["audit", "begin", "--by", " ", "--yes"];
    assert!(!instance.run(&unnamed).0);
    let (done, said) = instance.run(&begin);
    assert!(done && said.contains("event 2 begins"), "{said}");
    let (done, said) = instance.run(&["audit", "verify"]);
    assert!(done, "{said}");
    for part in ["1 events up to 1 do not hold", found, "1 events hold"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!instance.run(&begin).0);
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_a_stop() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::Write as _;

    let mut instance = Instance::new();
    let kv = TcpListener::bind("127.0.0.1:0").unwrap();
    let kv_address = kv.local_addr().unwrap().to_string();
    drop(kv);
    instance.set("EDGEKEEP_SERVER__KV_LISTEN", &kv_address);
    let mut server = instance.start().await;
    let main_address = &instance.environment["EDGEKEEP_SERVER__LISTEN"];
    let held: Vec<_> = [main_address, &kv_address]
        .into_iter()
        .flat_map(|address| ["GET /health HTTP/1.1\r\nhost: ", ""].map(|text| (address, text)))
        .map(|(address, text)| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    let status = server.0.wait().unwrap();
    let elapsed = began.elapsed();
    assert!(status.success(), "{status}");
    // Requests in flight would have ten seconds.
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    drop(held);
}

#[test]
fn impossible_limits_stop_the_start() {
    for (name, values) in [
        ("EDGEKEEP_PASSWORD__CONCURRENCY", &["257", "100000"][..]),
        ("EDGEKEEP_PASSWORD__QUEUE", &["0"]),
        ("EDGEKEEP_SERVER__MAX_CONNECTIONS", &["0", "1000001"]),
    ] {
        for value in values {
            let mut instance = Instance::new();
            instance.set(name, value);
            let (done, said) = instance.run(&["config", "check"]);
            assert!(!done && said.contains("expected"), "{name}={value}: {said}");
        }
    }
    let mut instance = Instance::new();
    instance.set("EDGEKEEP_PASSWORD__CONCURRENCY", "256");
    instance.set("EDGEKEEP_PASSWORD__QUEUE", "1");
    instance.set("EDGEKEEP_SERVER__MAX_CONNECTIONS", "1");
    let (done, said) = instance.run(&["config", "check"]);
    assert!(done, "{said}");
}
