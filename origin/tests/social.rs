//! Logging in at a real OpenID provider, whose pages a browser goes through.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![expect(clippy::expect_used, reason = "a failure is the test's failure")]
#![expect(clippy::panic, reason = "a failure is the test's failure")]

mod idp;
mod npm;
mod sent;
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{ClientAuth, Config, IdTokenAlgorithm};
use idp::{CLIENT, CLIENT_SECRET, Flow, add, come_back, exchange, land, returned, start};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use sent::logged;
use serde_json::{Value, json};
use support::{BEGINNING, Origin};
use url::Url;

const REDIRECT: &str = "http://127.0.0.1:8080/api/v1/auth/social/acme/callback";

/// The provider's process.
struct Provider {
    issuer: String,
    process: Child,
    _stdin: ChildStdin,
    // It says little there, but ends if nobody listens.
    _stdout: BufReader<ChildStdout>,
}

/// A provider makes its keys in a fraction of this, also on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

impl Provider {
    /// A provider at which `client` (beside its name and redirect URI) is registered.
    #[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
    fn start(client: Value, in_id_token: bool) -> Self {
        let mut registered = json!({
            "client_id": CLIENT, "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code"], "response_types": ["code"],
        });
        for (name, value) in client.as_object().unwrap().clone() {
            registered[name] = value;
        }
        let options = json!({
            "client": registered,
            "in_id_token": in_id_token,
            "claims": {
                "ada": {"email": "ada@example.org", "email_verified": true, "name": "Ada L."},
                "bob": {"email": "bob@example.org", "email_verified": false},
            },
        });
        // Node 20 now and then never comes back from making a key: a provider that does not say its
        // address in time is given up, and another started.
        let started = (0..5).find_map(|_| Self::launch(&options));
        started.expect("the provider did not start")
    }

    fn launch(options: &Value) -> Option<Self> {
        let mut process = Command::new("node")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/idp/provider.mjs"
            ))
            .args([npm::node_modules(), &options.to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let (told, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            // Nobody listens any more where it took too long.
            let _ = told.send(read.map(|_| (line, stdout)));
        });
        let Ok(Ok((line, stdout))) = said.recv_timeout(START_LIMIT) else {
            let _ = process.kill();
            let _ = process.wait();
            return None;
        };
        let line: Value = serde_json::from_str(&line).expect("the provider did not start");
        Some(Self {
            issuer: line["issuer"].as_str().unwrap().to_owned(),
            process,
            _stdin: stdin,
            _stdout: stdout,
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the person does with the provider's pages.
#[derive(Clone, Copy)]
enum Person<'a> {
    LogsIn(&'a str),
    GivesUp,
}

/// A browser at the provider: it keeps cookies and follows redirects until one leads elsewhere.
struct Browser {
    client: reqwest::Client,
    cookies: BTreeMap<String, String>,
    /// How often a page asked for a login.
    asked: usize,
}

impl Browser {
    fn new() -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            client,
            cookies: BTreeMap::new(),
            asked: 0,
        }
    }

    async fn request(&mut self, url: &Url, form: Option<&[(&str, &str)]>) -> (Option<Url>, String) {
        let mut request = match form {
            None => self.client.get(url.clone()),
            Some(fields) => {
                let body = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(fields)
                    .finish();
                let kind = "application/x-www-form-urlencoded";
                self.client
                    .post(url.clone())
                    .header("content-type", kind)
                    .body(body)
            }
        };
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        request = request.header(COOKIE, cookies.join("; "));
        let response = request.send().await.unwrap();
        for value in response.headers().get_all(SET_COOKIE) {
            let pair = value.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let next = response
            .headers()
            .get(LOCATION)
            .map(|to| url.join(to.to_str().unwrap()).unwrap());
        (next, response.text().await.unwrap())
    }

    /// Goes to `start` and through the pages, to the redirect that leads back to us.
    async fn visit(&mut self, start: &Url, person: Person<'_>) -> Vec<(String, String)> {
        let (mut url, mut form) = (start.clone(), None);
        for _ in 0..20 {
            let (next, page) = self.request(&url, form.as_deref()).await;
            form = None;
            if let Some(next) = next {
                if next.as_str().starts_with(REDIRECT) {
                    return next.query_pairs().into_owned().collect();
                }
                url = next;
                continue;
            }
            let action = page
                .split("action=\"")
                .nth(1)
                .expect("a form")
                .split('"')
                .next()
                .unwrap();
            let action = url.join(action).unwrap();
            form = match person {
                Person::GivesUp => {
                    url = Url::parse(&format!("{action}/abort")).unwrap();
                    continue;
                }
                Person::LogsIn(login) if page.contains("value=\"login\"") => {
                    self.asked += 1;
                    Some(vec![
                        ("prompt", "login"),
                        ("login", login),
                        ("password", "x"),
                    ])
                }
                Person::LogsIn(_) => Some(vec![("prompt", "consent")]),
            };
            url = action;
        }
        panic!("the provider's pages do not end at {url}");
    }
}

/// An origin whose clock shows the provider's time.
async fn origin(change: impl FnOnce(&mut Config)) -> Origin {
    let origin = Origin::with(change).await;
    origin.clock.advance(Clock::System.now().since(BEGINNING));
    origin
}

async fn back(origin: &Origin, flow: &Flow, query: &[(String, String)]) -> support::Reply {
    let query: Vec<_> = query.iter().map(|(k, v)| (&**k, &**v)).collect();
    land(origin, "acme", &query, flow.cookie.as_deref()).await
}

/// From the button to the tokens.
async fn log_in(origin: &Origin, login: &str) -> support::Reply {
    let flow = start(origin, "acme").await;
    let query = Browser::new().visit(&flow.url, Person::LogsIn(login)).await;
    let reply = back(origin, &flow, &query).await;
    exchange(origin, &flow, &returned(&reply, "code")).await
}

#[tokio::test]
async fn logs_in_with_every_algorithm_and_way_to_prove_the_client() {
    for (algorithm, only, auth, ours, in_id_token) in [
        (
            "RS256",
            IdTokenAlgorithm::Rs256,
            "client_secret_basic",
            None,
            true,
        ),
        (
            "ES256",
            IdTokenAlgorithm::Es256,
            "client_secret_post",
            Some(ClientAuth::Post),
            false,
        ),
        ("EdDSA", IdTokenAlgorithm::EdDsa, "none", None, false),
    ] {
        let mut client = json!({
            "id_token_signed_response_alg": algorithm, "token_endpoint_auth_method": auth,
        });
        if auth != "none" {
            client["client_secret"] = json!(CLIENT_SECRET);
        }
        let provider = Provider::start(client, in_id_token);
        let origin = origin(|config| {
            add(config, "acme", &provider.issuer);
            let settings = config.social.providers.get_mut("acme").unwrap();
            settings.algorithms = Some(vec![only]);
            settings.client_auth = ours;
            if auth == "none" {
                settings.client_secret = None;
            }
        })
        .await;
        let first = log_in(&origin, "ada").await.expect(200, "");
        assert_eq!(
            first.body["user"]["email"], "ada@example.org",
            "{algorithm}"
        );
        assert_eq!(first.body["user"]["email_verified"], true);
        assert_eq!(first.body["user"]["name"], "Ada L.");
        let again = log_in(&origin, "ada").await.expect(200, "");
        assert_eq!(again.body["user"]["id"], first.body["user"]["id"]);
        let bearer = Some(again.text("access_token"));
        let info = origin
            .call(
                axum::http::Method::GET,
                "/api/v1/auth/token-info",
                bearer,
                None,
            )
            .await;
        assert_eq!(info.body["amr"], json!(["fed"]));
        // The address is not verified there.
        log_in(&origin, "bob")
            .await
            .expect(401, "credentials_invalid");
    }
}

#[tokio::test]
async fn who_is_logged_in_there_comes_through_unless_they_have_to_log_in_again() {
    let client = json!({"client_secret": CLIENT_SECRET});
    let provider = Provider::start(client, true);
    let origin = origin(|config| add(config, "acme", &provider.issuer)).await;
    let mut browser = Browser::new();
    for (again, asked) in [(false, 1), (false, 1), (true, 2)] {
        let body = json!({"return_url": idp::PAGE, "reauthenticate": again});
        let flow = idp::start_with(&origin, "acme", body).await;
        let query = browser.visit(&flow.url, Person::LogsIn("ada")).await;
        assert_eq!(browser.asked, asked);
        let reply = back(&origin, &flow, &query).await;
        let code = returned(&reply, "code");
        exchange(&origin, &flow, &code).await.expect(200, "");
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_allowed_logs_nobody_in() {
    let client = json!({"id_token_signed_response_alg": "RS256", "client_secret": CLIENT_SECRET});
    let provider = Provider::start(client, true);
    let origin = origin(|config| {
        add(config, "acme", &provider.issuer);
        let settings = config.social.providers.get_mut("acme").unwrap();
        settings.algorithms = Some(vec![IdTokenAlgorithm::Es256]);
    })
    .await;
    let flow = start(&origin, "acme").await;
    let query = Browser::new().visit(&flow.url, Person::LogsIn("ada")).await;
    let reply = back(&origin, &flow, &query).await;
    assert_eq!(returned(&reply, "error"), "credentials_invalid");
}

#[tokio::test]
async fn who_gives_up_at_the_provider_comes_back_with_access_denied() {
    let client = json!({"client_secret": CLIENT_SECRET});
    let provider = Provider::start(client, true);
    let origin = origin(|config| add(config, "acme", &provider.issuer)).await;
    let flow = start(&origin, "acme").await;
    let query = Browser::new().visit(&flow.url, Person::GivesUp).await;
    let reply = back(&origin, &flow, &query).await;
    assert_eq!(returned(&reply, "error"), "access_denied");
    // The state is used up by it.
    come_back(&origin, &flow, "x")
        .await
        .expect(400, "code_invalid");
}

/// A code that was stolen on its way is put into the thief's own login (RFC 9700 §4.5): their
/// verifier is not the one that the code was asked for with.
#[tokio::test]
async fn a_code_of_another_login_is_refused_by_the_provider() {
    let client = json!({"client_secret": CLIENT_SECRET});
    let provider = Provider::start(client, true);
    let origin = origin(|config| add(config, "acme", &provider.issuer)).await;
    let theirs = start(&origin, "acme").await;
    let mut query = Browser::new()
        .visit(&theirs.url, Person::LogsIn("ada"))
        .await;
    let mine = start(&origin, "acme").await;
    for (name, value) in &mut query {
        if name == "state" {
            *value = mine.state();
        }
    }
    let reply = back(&origin, &mine, &query).await;
    assert_eq!(returned(&reply, "error"), "credentials_invalid");
}

#[tokio::test]
async fn an_answer_that_does_not_name_this_provider_is_refused() {
    let client = json!({"client_secret": CLIENT_SECRET});
    let provider = Provider::start(client, true);
    let origin = origin(|config| add(config, "acme", &provider.issuer)).await;
    for issuer in [None, Some("https://other.example"), Some("")] {
        let flow = start(&origin, "acme").await;
        let mut query = Browser::new().visit(&flow.url, Person::LogsIn("ada")).await;
        query.retain(|(name, _)| name != "iss");
        query.extend(issuer.map(|issuer| ("iss".to_owned(), issuer.to_owned())));
        let reply = back(&origin, &flow, &query).await;
        assert_eq!(
            returned(&reply, "error"),
            "credentials_invalid",
            "{issuer:?}"
        );
    }
}

#[tokio::test]
async fn neither_tokens_nor_people_are_in_the_log() {
    logged::start();
    let client = json!({"client_secret": CLIENT_SECRET});
    let provider = Provider::start(client, false);
    let origin = origin(|config| add(config, "acme", &provider.issuer)).await;
    let flow = start(&origin, "acme").await;
    let query = Browser::new().visit(&flow.url, Person::LogsIn("ada")).await;
    let reply = back(&origin, &flow, &query).await;
    let code = returned(&reply, "code");
    let tokens = exchange(&origin, &flow, &code).await.expect(200, "");
    logged::holds("answered");
    let cookie = flow.cookie.clone().unwrap();
    let cookie = cookie.split_once('=').unwrap().1;
    // The provider's code and its redirect are in what the browser of the test logs.
    logged::holds_none(&[
        CLIENT_SECRET,
        cookie,
        &code,
        tokens.text("refresh_token"),
        "ada@example.org",
    ]);
}
