//! A real issuer on a database of its own, with accounts.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::Setting;
use crate::http::{self, Connection, free_address};
use crate::people;
use crate::process::Process;

/// The password of every account.
const PASSWORD: &str = "correct horse battery staple 42";

/// The bearer of the key-value listener.
const KV_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// How long codes may take from the last answer until they are all in the outbox.
const DELIVERY: Duration = Duration::from_secs(10);

/// Settings by their environment variable, beside those that every issuer of the bench has.
pub(crate) type Settings = [(&'static str, &'static str)];

/// A running issuer.
pub(crate) struct Keep {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) kv: SocketAddr,
    pub(crate) folder: TempDir,
    program: std::path::PathBuf,
    environment: BTreeMap<String, String>,
    /// How much of the outbox was read.
    outbox_read: Cell<usize>,
}

/// Tokens of one session.
pub(crate) struct Session {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Keep {
    /// Starts one as `scripts/run` does, with counting by address switched off: all load comes
    /// from one.
    pub(crate) async fn start(setting: &Setting) -> Result<Self> {
        Self::start_with(setting, 0, &[]).await
    }

    /// [`start`](Self::start), with the accounts `0..people` of [`people`] and with more settings.
    pub(crate) async fn start_with(
        setting: &Setting,
        people: usize,
        more: &Settings,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (address, kv) = (free_address()?, free_address()?);
        let settings = format!(
            "[server]\nlisten = \"{address}\"\npublic_url = \"http://{address}\"\n\
             kv_listen = \"{kv}\"\nkv_token = \"{KV_TOKEN}\"\n\
             [tokens]\naudience = \"api\"\nclient_id = \"default\"\n"
        );
        let file = folder.path().join("edgekeep.toml");
        std::fs::write(&file, settings)?;
        let environment = environment(folder.path(), more)?;
        if people > 0 {
            people::make(&file, &environment, people, PASSWORD).await?;
        }
        let mut command = Command::new(&setting.edgekeep);
        command.arg("serve").envs(&environment);
        // The log has a line for every request, on standard error.
        command.stderr(std::fs::File::create(folder.path().join("origin.log"))?);
        let mut process = Process::start("edgekeep serve", &mut command)?;
        process
            .wait_ready(address, &http::get("/ready", None))
            .await?;
        Ok(Self {
            process,
            address,
            kv,
            folder,
            program: setting.edgekeep.clone(),
            environment,
            outbox_read: Cell::new(0),
        })
    }

    /// What `edgekeep` prints for `arguments`, given `input`.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.stderr(Stdio::null());
        command.envs(&self.environment);
        let mut child = command.spawn()?;
        child
            .stdin
            .take()
            .context("no input")?
            .write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "edgekeep {arguments:?} has ended with {}",
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Makes an account and gives the body of its login request.
    pub(crate) fn create_user(&self, email: &str) -> Result<String> {
        self.run(
            &["users", "create", "--email", email, "--password-stdin"],
            PASSWORD,
        )?;
        Ok(login_body(email))
    }

    /// Has a code sent to each of `addresses` and gives them with the tokens they are bound to.
    pub(crate) async fn codes(&self, addresses: &[String]) -> Result<Vec<(String, String)>> {
        let mut tokens = HashMap::new();
        let mut connection = Connection::open(self.address).await?;
        for address in addresses {
            let body = json!({"email": address}).to_string();
            let request = http::post("/api/v1/auth/otp/send", None, &body);
            let status = connection.exchange(&request).await?;
            let answer = connection.json()?;
            let token = answer["otp_token"].as_str();
            let token = token.with_context(|| format!("/otp/send answered {status}: {answer}"))?;
            tokens.insert(address.clone(), token.to_owned());
        }
        let begun = Instant::now();
        let mut codes = Vec::with_capacity(addresses.len());
        while codes.len() < addresses.len() {
            ensure!(
                begun.elapsed() < DELIVERY,
                "codes are missing in the outbox"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            let outbox = std::fs::read(self.folder.path().join("outbox.jsonl"))?;
            let new = &outbox[self.outbox_read.get()..];
            let whole = new
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
            for line in new[..whole]
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let message: serde_json::Value = serde_json::from_slice(line)?;
                let (to, code) = (message["to"].as_str(), message["code"].as_str());
                if let (Some(to), Some(code)) = (to, code)
                    && let Some(token) = tokens.remove(to)
                {
                    codes.push((token, code.to_owned()));
                }
            }
            self.outbox_read.set(self.outbox_read.get() + whole);
        }
        Ok(codes)
    }

    /// The file that workerd's configuration embeds for its key-value namespace.
    pub(crate) fn kv_authorization() -> String {
        format!("Bearer {KV_TOKEN}")
    }
}

/// The body of the login request of an account.
pub(crate) fn login_body(identifier: &str) -> String {
    json!({"identifier": identifier, "password": PASSWORD}).to_string()
}

fn environment(folder: &Path, more: &Settings) -> Result<BTreeMap<String, String>> {
    let folder = folder.to_str().context("a folder that is not UTF-8")?;
    let common = [
        ("EDGEKEEP_LIMITS__PER_IP", "false"),
        // A few sessions and one user stand for very many.
        ("EDGEKEEP_LIMITS__REFRESH_PER_SESSION_PER_MINUTE", "1000000"),
        ("EDGEKEEP_LIMITS__API_PER_USER_PER_MINUTE", "1000000"),
        ("EDGEKEEP_LIMITS__LOGINS_PER_USER_PER_HOUR", "1000000"),
        ("EDGEKEEP_LIMITS__OTP_SEND_PER_MINUTE", "1000000000"),
        ("EDGEKEEP_OTP__SENDS_PER_HOUR", "1000"),
    ];
    let mut all: BTreeMap<String, String> = common
        .iter()
        .chain(more)
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    all.insert("EDGEKEEP_DATA_DIR".to_owned(), folder.to_owned());
    all.insert(
        "EDGEKEEP_CONFIG".to_owned(),
        format!("{folder}/edgekeep.toml"),
    );
    Ok(all)
}

/// Logs in with a body of [`Keep::create_user`].
pub(crate) async fn log_in(connection: &mut Connection, body: &str) -> Result<Session> {
    let status = connection
        .exchange(&http::post("/api/v1/auth/login", None, body))
        .await?;
    session(status, connection)
}

/// Refreshes.
pub(crate) async fn refresh(connection: &mut Connection, held: &Session) -> Result<Session> {
    let body = json!({"refresh_token": held.refresh_token}).to_string();
    let status = connection
        .exchange(&http::post("/api/v1/auth/refresh", None, &body))
        .await?;
    session(status, connection)
}

fn session(status: u16, connection: &Connection) -> Result<Session> {
    ensure!(
        status == 200,
        "the origin answered {status}: {}",
        String::from_utf8_lossy(connection.body())
    );
    let answer = connection.json()?;
    let text = |name: &str| {
        answer[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {name}"))
    };
    Ok(Session {
        access_token: text("access_token")?,
        refresh_token: text("refresh_token")?,
    })
}
