//! A real issuer on a database of its own, with accounts.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::Setting;
use crate::http::{self, Connection, free_address};
use crate::process::Process;

/// The password of every account.
const PASSWORD: &str = "correct horse battery staple 42";

/// The bearer of the key-value listener.
const KV_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A running issuer.
pub(crate) struct Keep {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) kv: SocketAddr,
    pub(crate) folder: TempDir,
    program: std::path::PathBuf,
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
        let folder = tempfile::tempdir()?;
        let (address, kv) = (free_address()?, free_address()?);
        let settings = format!(
            "[server]\nlisten = \"{address}\"\npublic_url = \"http://{address}\"\n\
             kv_listen = \"{kv}\"\nkv_token = \"{KV_TOKEN}\"\n\
             [tokens]\naudience = \"api\"\nclient_id = \"default\"\n"
        );
        std::fs::write(folder.path().join("edgekeep.toml"), settings)?;
        let mut command = Command::new(&setting.edgekeep);
        command.arg("serve");
        environment(command.as_std_mut(), folder.path());
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
        environment(&mut command, self.folder.path());
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
        Ok(json!({"identifier": email, "password": PASSWORD}).to_string())
    }

    /// The file that workerd's configuration embeds for its key-value namespace.
    pub(crate) fn kv_authorization() -> String {
        format!("Bearer {KV_TOKEN}")
    }
}

fn environment(command: &mut std::process::Command, folder: &std::path::Path) {
    command
        .env("EDGEKEEP_DATA_DIR", folder)
        .env("EDGEKEEP_CONFIG", folder.join("edgekeep.toml"))
        .env("EDGEKEEP_LIMITS__PER_IP", "false")
        // A few sessions and one user stand for very many.
        .env("EDGEKEEP_LIMITS__REFRESH_PER_SESSION_PER_MINUTE", "1000000")
        .env("EDGEKEEP_LIMITS__API_PER_USER_PER_MINUTE", "1000000");
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
