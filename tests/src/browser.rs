//! A real browser, driven over the WebDriver protocol (<https://www.w3.org/TR/webdriver2/>): a
//! headless Chromium under a ChromeDriver of its own, with a fresh profile.
//!
//! It reaches loopback and nothing else. Dropping it ends the browser and then its driver.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Call;
use crate::process::Process;

/// How long ChromeDriver may take to listen.
const DRIVER_LIMIT: Duration = Duration::from_secs(20);

/// How many drivers are tried.
const DRIVER_TRIES: usize = 3;

/// How long one command may take: the first, which starts Chromium, is slow on a busy machine.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// How long a script may take, below [`COMMAND_LIMIT`] so that the driver says what hung.
const SCRIPT_LIMIT: Duration = Duration::from_secs(30);

/// How long a document may take from when the driver says that it is loaded.
const LOAD_LIMIT: Duration = Duration::from_secs(20);

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

/// Marks the document that is shown.
const MARK: &str = "window.edgekeepBefore = true";

/// Whether another document is shown instead, all of it.
const LOADED: &str =
    "return window.edgekeepBefore === undefined && document.readyState === 'complete'";

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

/// A running browser with one window.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

/// A tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tab {
    handle: String,
}

/// An authenticator that the browser believes to be built in.
#[derive(Clone, Debug)]
pub struct Authenticator {
    id: String,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// Where there is no ChromeDriver (`EDGEKEEP_CHROMEDRIVER`, else `chromedriver` in the path),
    /// or no Chromium.
    pub async fn start() -> Self {
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

    /// Opens `url` and waits until it is loaded. It has to be another document: a fragment of the one
    /// that is shown is not waited for.
    ///
    /// # Panics
    /// When it cannot be loaded.
    pub async fn goto(&self, url: &str) {
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

    /// The URL that the window shows.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn url(&self) -> String {
        let url = self.must("GET", "/url", None).await;
        url.as_str().unwrap().to_owned()
    }

    /// Runs `script` in the page as the body of an async function that has `args` as its
    /// `arguments`, and gives what it returns.
    ///
    /// # Panics
    /// When it throws, or what it awaits is rejected.
    pub async fn run_async(&self, script: &str, args: &[Value]) -> Value {
        self.try_async(script, args)
            .await
            .unwrap_or_else(|error| panic!("{error}, in the page's script: {script}"))
    }

    /// The same, where it may throw.
    ///
    /// # Errors
    /// With name and message of what was thrown.
    ///
    /// # Panics
    /// When the script cannot be run at all, or does not end.
    pub async fn try_async(&self, script: &str, args: &[Value]) -> Result<Value, String> {
        let body = json!({"script": ASYNC.replace("SCRIPT", script), "args": args});
        let mut outcome = self.must("POST", "/execute/async", Some(&body)).await;
        match outcome["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(outcome["value"].take()),
        }
    }

    /// The tab that commands go to.
    ///
    /// # Panics
    /// When it was closed.
    pub async fn tab(&self) -> Tab {
        let handle = self.must("GET", "/window", None).await;
        Tab {
            handle: handle.as_str().unwrap().to_owned(),
        }
    }

    /// Opens another tab beside it.
    ///
    /// # Panics
    /// When the browser does not.
    pub async fn open_tab(&self) -> Tab {
        let kind = json!({"type": "tab"});
        let opened = self.must("POST", "/window/new", Some(&kind)).await;
        Tab {
            handle: opened["handle"].as_str().unwrap().to_owned(),
        }
    }

    /// Has commands go to `tab` from now on.
    ///
    /// # Panics
    /// When it was closed.
    pub async fn switch_to(&self, tab: &Tab) {
        let handle = json!({"handle": tab.handle});
        self.must("POST", "/window", Some(&handle)).await;
    }

    /// Closes the tab that commands go to; they go nowhere until [`switch_to`](Self::switch_to).
    ///
    /// # Panics
    /// When the browser does not.
    pub async fn close_tab(&self) {
        self.must("DELETE", "/window", None).await;
    }

    /// The cookies that the browser would send to the page that is shown, those among them that no
    /// script reads, as WebDriver describes them.
    ///
    /// # Panics
    /// When the browser does not tell.
    pub async fn cookies(&self) -> Vec<Value> {
        let cookies = self.must("GET", "/cookie", None).await;
        cookies.as_array().cloned().unwrap_or_default()
    }

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

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // A driver that does not answer is ended all the same.
            let _ = self.quit();
        }
        self.driver.kill();
    }
}
