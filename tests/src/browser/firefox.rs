//! Firefox, driven over `WebDriver BiDi` (<https://www.w3.org/TR/webdriver-bidi/>), which it speaks
//! itself.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Browser, COMMAND_LIMIT, LOAD_LIMIT, LOADED, MARK, SCRIPT_LIMIT, Tab};
use crate::process::Process;

/// How long Firefox may take to listen.
const START_LIMIT: Duration = Duration::from_mins(1);

/// What it is started with: whatever is not of this machine goes to a proxy where nobody listens, and
/// it has nothing of its own to ask.
const PREFERENCES: &str = r#"
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.failover_direct", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("devtools.jsonview.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
"#;

/// Runs the body of an async function on arguments, and tells in JSON what comes of it.
const ASYNC: &str = r"
    async function (given) {
        try {
            const value = await (async function () { SCRIPT }).apply(null, JSON.parse(given));
            return JSON.stringify({ value: value === undefined ? null : value });
        } catch (error) {
            return JSON.stringify({ error: `${error && error.name}: ${error && error.message}` });
        }
    }
";

/// A running Firefox: `EDGEKEEP_FIREFOX`, else `firefox-esr` in the path.
#[derive(Debug)]
pub struct Firefox {
    _process: Process,
    socket: tokio::sync::Mutex<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    commands: AtomicU64,
    /// The "browsing context" that commands go to: a tab.
    context: Mutex<String>,
    _profile: TempDir,
}

impl Firefox {
    fn context(&self) -> String {
        self.context.lock().unwrap().clone()
    }

    fn go_to_context(&self, told: &Value) {
        let context = told["context"].as_str().unwrap();
        context.clone_into(&mut self.context.lock().unwrap());
    }

    /// Asks the page again and again, until what it says is `enough`.
    async fn ask_until(&self, script: &str, enough: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + LOAD_LIMIT;
        loop {
            let call = json!({
                "functionDeclaration": format!("() => {{ {script} }}"),
                "awaitPromise": false,
                "target": {"context": self.context()},
            });
            let told = self.command("script.callFunction", call);
            let told = tokio::time::timeout(Duration::from_secs(1), told).await;
            match &told {
                Ok(Ok(told)) if enough(&told["result"]["value"]) => return,
                _ => assert!(Instant::now() < deadline, "{script}: {told:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn must(&self, method: &str, parameters: Value) -> Value {
        tokio::time::timeout(COMMAND_LIMIT, self.command(method, parameters))
            .await
            .unwrap_or_else(|_| panic!("{method} has no answer"))
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The result of a command, or the message with its error.
    async fn command(&self, method: &str, parameters: Value) -> Result<Value, Value> {
        let id = self.commands.fetch_add(1, Ordering::Relaxed);
        let command = json!({"id": id, "method": method, "params": parameters});
        let mut socket = self.socket.lock().await;
        let message = Message::text(command.to_string());
        socket.send(message).await.unwrap();
        loop {
            let message = socket.next().await.expect("Firefox runs").unwrap();
            let Message::Text(text) = message else {
                continue;
            };
            let mut told: Value = serde_json::from_str(&text).unwrap();
            if told["id"] == id {
                return match told["type"].as_str() {
                    Some("success") => Ok(told["result"].take()),
                    _ => Err(told),
                };
            }
        }
    }
}

impl Browser for Firefox {
    // `network.cookie.sameSite.schemeful` is off in what is published.
    const SCHEMEFUL: bool = false;

    async fn start() -> Self {
        let program = std::env::var_os("EDGEKEEP_FIREFOX")
            .filter(|program| !program.is_empty())
            .unwrap_or_else(|| "firefox-esr".into());
        let profile = tempfile::tempdir().unwrap();
        std::fs::write(profile.path().join("user.js"), PREFERENCES).unwrap();
        let mut command = Command::new(program);
        command
            .args(["--headless", "--no-remote", "--remote-debugging-port=0"])
            .arg("--profile")
            .arg(profile.path())
            .env("HOME", profile.path());
        let mut process = Process::start_group("firefox", command);
        let address = process
            .wait_for_line(START_LIMIT, |line| {
                line.strip_prefix("WebDriver BiDi listening on ")
                    .map(str::to_owned)
            })
            .expect("Firefox listens");
        let (socket, _) = connect_async(format!("{address}/session")).await.unwrap();
        let browser = Self {
            _process: process,
            socket: tokio::sync::Mutex::new(socket),
            commands: AtomicU64::new(1),
            context: Mutex::default(),
            _profile: profile,
        };
        // Whoever names it on loopback may have made its certificate.
        let wanted = json!({"capabilities": {"alwaysMatch": {"acceptInsecureCerts": true}}});
        browser.must("session.new", wanted).await;
        let tree = browser.must("browsingContext.getTree", json!({})).await;
        browser.go_to_context(&tree["contexts"][0]);
        browser
    }

    async fn goto(&self, url: &str) {
        // A page that is on its way out, with its process, may leave a question unanswered.
        self.ask_until(MARK, |_| true).await;
        let way = json!({"context": self.context(), "url": url, "wait": "none"});
        self.must("browsingContext.navigate", way).await;
        self.ask_until(LOADED, |told| *told == true).await;
    }

    async fn url(&self) -> String {
        // Not from the page, which may be about to be another.
        let root = json!({"root": self.context(), "maxDepth": 0});
        let tree = self.must("browsingContext.getTree", root).await;
        tree["contexts"][0]["url"].as_str().unwrap().to_owned()
    }

    async fn try_async(&self, script: &str, args: &[Value]) -> Result<Value, String> {
        let call = json!({
            "functionDeclaration": ASYNC.replace("SCRIPT", script),
            "arguments": [{"type": "string", "value": Value::from(args).to_string()}],
            "awaitPromise": true,
            "target": {"context": self.context()},
        });
        let told = self.must("script.callFunction", call);
        let told = tokio::time::timeout(SCRIPT_LIMIT, told)
            .await
            .unwrap_or_else(|_| panic!("the page's script does not end: {script}"));
        let Some(outcome) = told["result"]["value"].as_str() else {
            panic!("{told}, in the page's script: {script}");
        };
        let mut outcome: Value = serde_json::from_str(outcome).unwrap();
        match outcome["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(outcome["value"].take()),
        }
    }

    async fn tab(&self) -> Tab {
        Tab {
            handle: self.context(),
        }
    }

    async fn open_tab(&self) -> Tab {
        let kind = json!({"type": "tab", "background": true});
        let opened = self.must("browsingContext.create", kind).await;
        Tab {
            handle: opened["context"].as_str().unwrap().to_owned(),
        }
    }

    async fn switch_to(&self, tab: &Tab) {
        let context = json!({"context": tab.handle});
        self.must("browsingContext.activate", context.clone()).await;
        self.go_to_context(&context);
    }

    async fn close_tab(&self) {
        let context = json!({"context": self.context()});
        self.must("browsingContext.close", context).await;
    }

    async fn cookies(&self) -> Vec<Value> {
        let host = self.run_async("return location.hostname", &[]).await;
        let asked = json!({
            "filter": {"domain": host},
            "partition": {"type": "context", "context": self.context()},
        });
        let mut told = self.must("storage.getCookies", asked).await;
        let cookies = told["cookies"].as_array_mut().unwrap();
        for cookie in &mut *cookies {
            cookie["value"] = cookie["value"]["value"].take();
            // Here it is in lower case, in WebDriver's own it is not.
            cookie["sameSite"] = match cookie["sameSite"].as_str() {
                Some("strict") => json!("Strict"),
                Some("lax") => json!("Lax"),
                _ => json!("None"),
            };
        }
        std::mem::take(cookies)
    }
}
