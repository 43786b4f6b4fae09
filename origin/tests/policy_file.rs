//! `gate.policy_file`: who reads it, from where, and what becomes of one that is no policy.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use edgekeep_origin::app;
use edgekeep_origin::revocation::policy::Follower;
use edgekeep_shared::control::{self, ControlKeys, DocumentType};
use support::Origin;

const OLD: &str = "[[route]]\nmatch = \"/public/**\"\naccess = \"public\"\n";
const NEW: &str = "[[route]]\nmatch = \"/new/**\"\n";
const BROKEN: &str = "[[route]]\nmatch = \"/x\"\nsurprise = 1\n";

#[tokio::test]
async fn what_is_taken_is_published_under_a_number_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, OLD).unwrap();
    let origin = Origin::with(|config| config.gate.policy_file = Some(file)).await;
    let publisher = &origin.state.publisher;
    let keys = format!("[{}]", publisher.control_jwk());
    let keys = ControlKeys::parse(keys.as_bytes()).unwrap();
    let issuer = origin.state.config.issuer();
    let told = async || {
        let documents = publisher.current().await.unwrap();
        let policy = documents.policy.as_ref().map(|policy| {
            let kind = DocumentType::Policy;
            let opened = control::open(policy.bytes(), &keys, kind, &issuer).unwrap();
            assert_eq!(opened.sequence, documents.sequence);
            String::from_utf8(opened.body.to_vec()).unwrap()
        });
        (policy, documents.policy_sequence, documents.sequence)
    };
    // A command reads none.
    let (policy, first, _) = told().await;
    assert_eq!((policy, first), (None, 0));
    assert!(Follower::begin(&origin.state).unwrap().is_some());
    let (policy, first, number) = told().await;
    assert_eq!((policy.as_deref(), first), (Some(OLD), number));
    // It is signed anew at every heartbeat and is the same policy.
    origin.advance(15);
    let (_, again, number) = told().await;
    assert!(again == first && number > first, "{first} {number}");
    publisher.refuse_policy();
    assert!(publisher.is_policy_refused());
    assert_eq!(told().await.0.as_deref(), Some(OLD));
    publisher.take_policy(NEW);
    assert!(!publisher.is_policy_refused());
    let (policy, second, number) = told().await;
    assert_eq!((policy.as_deref(), second), (Some(NEW), number));
    assert!(second > first, "{first} {second}");
}

/// A configuration and a policy in one folder, data in another, and commands that are run in a third.
struct Instance {
    folder: tempfile::TempDir,
    listen: String,
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
    fn new(policy: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        for name in ["settings", "elsewhere"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let instance = Self { folder, listen };
        let settings = format!(
            "[server]\nlisten = {:?}\n[gate]\npolicy_file = \"policy.toml\"\n",
            instance.listen
        );
        std::fs::write(instance.path("settings/edgekeep.toml"), settings).unwrap();
        instance.write(policy);
        instance
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn policy(&self) -> PathBuf {
        self.path("settings/policy.toml")
    }

    fn write(&self, policy: &str) {
        std::fs::write(self.policy(), policy).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgekeep"));
        command
            .env_clear()
            .env("EDGEKEEP_DATA_DIR", self.path("data"))
            .env("EDGEKEEP_LOG__FILTER", "error")
            .env("EDGEKEEP_CONFIG", self.path("settings/edgekeep.toml"))
            .current_dir(self.path("elsewhere"))
            .args(arguments);
        command
    }

    /// Whether it succeeded, and what it said on both streams.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }
}

/// What an operator needs when something has happened must not hang on a file that gates need.
#[test]
fn commands_run_whatever_the_policy_is() {
    let instance = Instance::new(OLD);
    for policy in [Some(OLD), Some(BROKEN), None] {
        match policy {
            Some(policy) => instance.write(policy),
            None => std::fs::remove_file(instance.policy()).unwrap(),
        }
        for arguments in [
            &["revoke", "--sub", "somebody"][..],
            &["revoke", "--sid", "0198c0de-0000-7000-8000-000000000000"],
            &["users", "list"],
            &["keys", "list"],
            &["keys", "control"],
            &["vault", "status"],
            &["sms", "status"],
        ] {
            let (done, said) = instance.run(arguments);
            assert!(done, "{arguments:?} with {policy:?}: {said}");
        }
    }
}

#[test]
fn what_looks_at_the_configuration_looks_at_the_policy_that_it_names() {
    let instance = Instance::new(OLD);
    for arguments in [&["config", "check"][..], &["doctor"]] {
        let (done, said) = instance.run(arguments);
        assert!(done, "{arguments:?}: {said}");
    }
    let missing = format!("{}: No such file", instance.policy().display());
    let wrong = format!("{}:3:1: unknown key", instance.policy().display());
    for (policy, expected) in [(Some(BROKEN), &wrong), (None, &missing)] {
        match policy {
            Some(policy) => instance.write(policy),
            None => std::fs::remove_file(instance.policy()).unwrap(),
        }
        for arguments in [&["config", "check"][..], &["doctor"], &["serve"]] {
            let (done, said) = instance.run(arguments);
            assert!(!done, "{arguments:?}: {said}");
            assert!(said.contains("gate.policy_file"), "{arguments:?}: {said}");
            assert_eq!(said.matches(expected).count(), 1, "{arguments:?}: {said}");
            assert_eq!(said.matches("policy.toml").count(), 1, "{said}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_cannot_be_understood_stops_the_start() {
    let origin = Origin::with(|config| {
        let file = config.data_dir.join("policy.toml");
        std::fs::write(&file, BROKEN).unwrap();
        config.gate.policy_file = Some(file);
    })
    .await;
    let error = app::serve(origin.state.clone()).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("policy.toml:3:1: unknown key"), "{said}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_has_the_file_published_at_once() {
    use rustix::process::{Pid, Signal, kill_process};

    let instance = Instance::new(OLD);
    let mut server = Server(instance.command(&["serve"]).spawn().unwrap());
    let sequence = async |above: u64| {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            assert!(Instant::now() < deadline, "nothing above {above}");
            let url = format!("http://{}/metrics", instance.listen);
            let text = match reqwest::get(url).await {
                Ok(answer) => answer.text().await.unwrap(),
                Err(_) => String::new(),
            };
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix("edgekeep_policy_sequence "));
            match found.map(|text| text.parse::<u64>().unwrap()) {
                Some(number) if number > above => return number,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let first = sequence(0).await;
    // The file is as it was, so that nothing but the signal can be the reason.
    kill_process(Pid::from_child(&server.0), Signal::HUP).unwrap();
    assert!(sequence(first).await > first);
    assert!(server.0.try_wait().unwrap().is_none());
}
