//! Chromium under a ChromeDriver of its own, driven over the WebDriver protocol
//! (<https://www.w3.org/TR/webdriver2/>).
//!
//! Dropping it ends the browser and then its driver.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Browser, COMMAND_LIMIT, LOAD_LIMIT, LOADED, MARK, SCRIPT_LIMIT, Tab};
use crate::http::Call;
use crate::process::Process;

/// How long ChromeDriver may take to listen.
const DRIVER_LIMIT: Duration = Duration::from_secs(20);

/// How many drivers are tried.
const DRIVER_TRIES: usize = 3;

/// How long ending the browser may take before its driver is ended without.
const QUIT_LIMIT: Duration = Duration::from_secs(10);

/// What the browser is started with: no window, nothing of its own to say to anybody, and no name
/// that resolves but this machine's.
const ARGUMENTS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
];

/// Runs the body of an async function, and hands what comes of it to WebDriver's callback.
const ASYNC: &str = r"
    const done = arguments[arguments.length - 1];
    const given = Array.prototype.slice.call(arguments, 0, -1);
    (async function () { SCRIPT }).apply(null, given).then(
        (value) => done({ value: value === undefined ? null : value }),
        (error) => done({ error: `${error && error.name}: ${error && error.message}` }),
    );
";

/// A script without arguments, for WebDriver.
fn plain(script: &str) -> Value {
    json!({"script": script, "args": []})
}

/// A driver, and where it listens. On a busy machine one hangs now and then before it does.
fn driver() -> (Process, u16) {
    let program = std::env::var_os("EDGEKEEP_CHROMEDRIVER")
        .filter(|program| !program.is_empty())
        .unwrap_or_else(|| "chromedriver".into());
    for _ in 0..DRIVER_TRIES {
        let mut command = Command::new(&program);
        command.arg("--port=0");
        let mut driver = Process::start("chromedriver", command);
        let port = driver.wait_for_line(DRIVER_LIMIT, |line| {
            let port = line.split("successfully on port ").nth(1)?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        if let Some(port) = port {
            return (driver, port);
        }
        driver.kill();
    }
    panic!("chromedriver does not listen");
}

/// A running Chromium, by the ChromeDriver of `EDGEKEEP_CHROMEDRIVER`, else `chromedriver` in the path.
#[derive(Debug)]
pub struct Chromium {
    driver: Process,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

/// An authenticator that the browser believes to be built in.
#[derive(Clone, Debug)]
pub struct Authenticator {
    id: String,
}

impl Chromium {
    /// Gives the browser an authenticator that keeps passkeys and can verify its holder, and whose
    /// holder is always there (WebAuthn, section 11). `verified` says whether that is who they
    /// should be.
    ///
    /// # Panics
    /// When the browser has no such thing.
    pub async fn virtual_authenticator(&self, verified: bool) -> Authenticator {
        let options = json!({
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": true,
            "hasUserVerification": true,
            "isUserConsenting": true,
            "isUserVerified": verified,
        });
        let id = self
            .must("POST", "/webauthn/authenticator", Some(&options))
            .await;
        Authenticator {
            id: id.as_str().unwrap().to_owned(),
        }
    }

    /// Whether the holder of an authenticator is from now on who they should be.
    ///
    /// # Panics
    /// When the browser has no such authenticator.
    pub async fn set_user_verified(&self, authenticator: &Authenticator, verified: bool) {
        let route = format!("/webauthn/authenticator/{}/uv", authenticator.id);
        self.must("POST", &route, Some(&json!({"isUserVerified": verified})))
            .await;
    }

    /// What an authenticator keeps, as WebDriver describes it.
    ///
    /// # Panics
    /// When the browser has no such authenticator.
    pub async fn credentials(&self, authenticator: &Authenticator) -> Vec<Value> {
        let route = format!("/webauthn/authenticator/{}/credentials", authenticator.id);
        let credentials = self.must("GET", &route, None).await;
        credentials.as_array().cloned().unwrap_or_default()
    }

    /// A command to the window.
    async fn must(&self, method: &str, route: &str, body: Option<&Value>) -> Value {
        let target = format!("/session/{}{route}", self.session);
        self.command(method, &target, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {route}: {error}"))
    }

    async fn command(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let mut call = Call::new(self.address, method, target).patience(COMMAND_LIMIT);
        if let Some(body) = body {
            call = call.json(body);
        }
        let answer = call.send().await.map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(answer.json()["value"].take()),
            status => Err(format!("{status} {}", answer.text())),
        }
    }

    /// Ends the browser. Its driver, ended without, would leave it running.
    fn quit(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, QUIT_LIMIT)?;
        stream.set_read_timeout(Some(QUIT_LIMIT))?;
        write!(
            stream,
            "DELETE /session/{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.session, self.address
        )?;
        // The driver answers when the browser has ended.
        stream.read_exact(&mut [0; 12])
    }
}

impl Browser for Chromium {
    const SCHEMEFUL: bool = true;

    async fn start() -> Self {
        let (driver, port) = driver();
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut browser = Self {
            driver,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            session: String::new(),
            _profile: profile,
        };
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            // Whoever names it on loopback may have made its certificate.
            "acceptInsecureCerts": true,
            "timeouts": {"script": SCRIPT_LIMIT.as_millis()},
            "webauthn:virtualAuthenticators": true,
        }}});
        let begun = browser.command("POST", "/session", Some(&capabilities));
        let begun = begun.await.expect("Chromium starts");
        begun["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        browser
    }

    async fn goto(&self, url: &str) {
        self.must("POST", "/execute/sync", Some(&plain(MARK))).await;
        self.must("POST", "/url", Some(&json!({"url": url}))).await;
        // A driver that is busy may say too early that it is loaded, while the document before is
        // shown still. A question may also be cut off by the change.
        let deadline = Instant::now() + LOAD_LIMIT;
        let target = format!("/session/{}/execute/sync", self.session);
        loop {
            let told = self.command("POST", &target, Some(&plain(LOADED))).await;
            if matches!(told, Ok(Value::Bool(true))) {
                return;
            }
            assert!(Instant::now() < deadline, "{url} is not shown: {told:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn url(&self) -> String {
        let url = self.must("GET", "/url", None).await;
        url.as_str().unwrap().to_owned()
    }

    async fn try_async(&self, script: &str, args: &[Value]) -> Result<Value, String> {
        let body = json!({"script": ASYNC.replace("SCRIPT", script), "args": args});
        let mut outcome = self.must("POST", "/execute/async", Some(&body)).await;
        match outcome["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(outcome["value"].take()),
        }
    }

    async fn tab(&self) -> Tab {
        let handle = self.must("GET", "/window", None).await;
        Tab {
            handle: handle.as_str().unwrap().to_owned(),
        }
    }

    async fn open_tab(&self) -> Tab {
        let kind = json!({"type": "tab"});
        let opened = self.must("POST", "/window/new", Some(&kind)).await;
        Tab {
            handle: opened["handle"].as_str().unwrap().to_owned(),
        }
    }

    async fn switch_to(&self, tab: &Tab) {
        let handle = json!({"handle": tab.handle});
        self.must("POST", "/window", Some(&handle)).await;
    }

    async fn close_tab(&self) {
        self.must("DELETE", "/window", None).await;
    }

    async fn cookies(&self) -> Vec<Value> {
        let cookies = self.must("GET", "/cookie", None).await;
        cookies.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // A driver that does not answer is ended all the same.
            let _ = self.quit();
        }
        self.driver.kill();
    }
}
