//! Captchas that a provider judges, with a server on loopback in the provider's place.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod callers;
mod sent;
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callers::{get_from, post_from, target, token};
use edgekeep_origin::config::{
    Captcha, CaptchaFail, CaptchaKind, CaptchaWhen, Config, Environment,
};
use edgekeep_origin::vault::Secret;
use sent::logged;
use serde_json::{Value, json};
use support::{Origin, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ALICE: &str = "alice@example.org";
const CALLER: &str = "203.0.113.9";

/// What the server at the provider's place does with a question.
#[derive(Clone, Debug)]
enum Manner {
    /// Answers with this status and body.
    Say(u16, String),
    /// Judges as providers do: a token that begins with `good` is right, once.
    Judge,
    /// Answers after a while.
    Slow(Duration),
    /// Closes the connection.
    HangUp,
    /// Sends elsewhere.
    Redirect,
    /// Answers without end.
    Endless,
}

#[derive(Clone)]
struct Provider {
    questions: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    manner: Arc<Mutex<Manner>>,
    url: String,
}

fn said(body: &Value) -> Manner {
    Manner::Say(200, body.to_string())
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            questions: Arc::default(),
            manner: Arc::new(Mutex::new(Manner::Judge)),
            url: format!("http://{}/siteverify", listener.local_addr().unwrap()),
        };
        let this = provider.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(this.clone().answer(stream));
            }
        });
        provider
    }

    async fn answer(self, mut stream: TcpStream) {
        let Some(fields) = read_form(&mut stream).await else {
            return;
        };
        let seen = {
            let mut questions = self.questions.lock().unwrap();
            let response = fields.get("response").cloned();
            let seen = questions
                .iter()
                .any(|earlier| earlier.get("response") == response.as_ref());
            questions.push(fields.clone());
            seen
        };
        let manner = self.manner.lock().unwrap().clone();
        let (status, body) = match manner {
            Manner::Say(status, body) => (status, body),
            Manner::Judge if !fields["response"].starts_with("good") => {
                let body = json!({"success": false, "error-codes": ["invalid-input-response"]});
                (200, body.to_string())
            }
            Manner::Judge if seen => {
                let body = json!({"success": false, "error-codes": ["timeout-or-duplicate"]});
                (200, body.to_string())
            }
            Manner::Judge => {
                let body = json!({
                    "success": true, "hostname": "app.example.com", "action": "otp",
                    "challenge_ts": "2026-01-01T00:00:00Z", "error-codes": [], "metadata": {},
                });
                (200, body.to_string())
            }
            Manner::Slow(pause) => {
                tokio::time::sleep(pause).await;
                (200, json!({"success": true}).to_string())
            }
            Manner::HangUp => return,
            Manner::Redirect => {
                let head = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\n\
                            content-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                return;
            }
            Manner::Endless => {
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                let mut sent = stream.write_all(head.as_bytes()).await;
                while sent.is_ok() {
                    sent = stream.write_all(&[b' '; 4_096]).await;
                }
                return;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    }

    fn is(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn asked(&self) -> usize {
        self.questions.lock().unwrap().len()
    }

    async fn origin(&self, kind: CaptchaKind, change: impl FnOnce(&mut Captcha)) -> Origin {
        Origin::with(|config| {
            config.captcha = Captcha {
                kind,
                when: CaptchaWhen::Always,
                site_key: "site-key".to_owned(),
                secret: Some(Secret::new("pr0vider-s3cret".to_owned())),
                verify_url: Some(self.url.clone()),
                timeout_milliseconds: 1_000,
                ..Captcha::default()
            };
            config.otp.sends_per_hour = 1_000;
            change(&mut config.captcha);
        })
        .await
    }
}

/// Reads one request, by hand: what is sent is looked at as it is.
async fn read_form(stream: &mut TcpStream) -> Option<BTreeMap<String, String>> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1)?;
        let length: usize = length.lines().next()?.parse().ok()?;
        if body.len() < length {
            continue;
        }
        assert!(head.starts_with("post /siteverify http/1.1"), "{head}");
        assert!(head.contains("content-type: application/x-www-form-urlencoded"));
        let fields = body.split('&').map(|field| {
            let (name, value) = field.split_once('=').unwrap();
            (name.to_owned(), unescaped(value))
        });
        return Some(fields.collect());
    }
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = String::from_utf8(digits.to_vec()).unwrap();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

async fn send(origin: &Origin, captcha: Value) -> Reply {
    let body = json!({"email": ALICE, "captcha": captcha});
    post_from(origin, CALLER, "/otp/send", body).await
}

#[tokio::test]
async fn each_provider_is_asked_in_its_way_and_believed() {
    logged::start();
    for (kind, name, more) in [
        (CaptchaKind::Turnstile, "turnstile", &[][..]),
        (
            CaptchaKind::Hcaptcha,
            "hcaptcha",
            &[("sitekey", "site-key")],
        ),
        (CaptchaKind::Recaptcha, "recaptcha", &[]),
    ] {
        let provider = Provider::start().await;
        let origin = provider.origin(kind, |_| {}).await;
        let query = format!("/captcha?for=otp&target={}", target(ALICE));
        let asked = get_from(&origin, CALLER, &query).await.expect(200, "").body;
        assert_eq!(asked["type"], name);
        assert_eq!(asked["site_key"], "site-key");
        assert_eq!(asked["action"], "otp");
        assert!(asked["alternative"].is_null());
        // The token of a provider may hold whatever it likes.
        let response = "good.0_-~ &=%+ü";
        send(&origin, json!(response)).await.expect(200, "");
        let mut expected = BTreeMap::from([
            ("secret", "pr0vider-s3cret"),
            ("response", response),
            ("remoteip", CALLER),
        ]);
        expected.extend(more.iter().copied());
        let questions = provider.questions.lock().unwrap().clone();
        let question: BTreeMap<&str, &str> = questions[0]
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(question, expected);
        send(&origin, json!("wrong-t0ken"))
            .await
            .expect(400, "captcha_invalid");
        // What is not its token is not sent to it.
        for other in [json!("ekc_x"), json!({"token": "good"})] {
            send(&origin, other).await.expect(400, "captcha_invalid");
        }
        assert_eq!(provider.asked(), 2);
    }
    logged::holds_none(&["pr0vider-s3cret", "wrong-t0ken", "good.0_"]);
}

#[tokio::test]
async fn a_token_is_exchanged_for_one_that_is_bound_to_the_target() {
    let provider = Provider::start().await;
    let origin = provider.origin(CaptchaKind::Turnstile, |_| {}).await;
    let mut passes = Vec::new();
    for number in 0..3 {
        let query = format!("/captcha?for=otp&target={}", target(ALICE));
        let asked = get_from(&origin, CALLER, &query).await.expect(200, "").body;
        let answer = json!({"captcha_id": asked["captcha_id"], "answer": format!("good {number}")});
        let reply = post_from(&origin, CALLER, "/captcha/verify", answer.clone()).await;
        passes.push(token(reply));
        // The same token, for the same and for another captcha.
        post_from(&origin, CALLER, "/captcha/verify", answer)
            .await
            .expect(400, "captcha_invalid");
        let asked = get_from(&origin, CALLER, &query).await.expect(200, "").body;
        let answer = json!({"captcha_id": asked["captcha_id"], "answer": format!("good {number}")});
        post_from(&origin, CALLER, "/captcha/verify", answer.clone())
            .await
            .expect(400, "captcha_invalid");
        send(&origin, answer).await.expect(400, "captcha_invalid");
        send(&origin, json!(format!("good {number}")))
            .await
            .expect(400, "captcha_invalid");
    }
    assert_eq!(
        provider.asked(),
        3,
        "a token that was taken is not asked about"
    );
    let body = json!({"email": "bob@example.org", "captcha": passes[0]});
    post_from(&origin, CALLER, "/otp/send", body)
        .await
        .expect(400, "captcha_invalid");
    let body = json!({"identifier": ALICE, "captcha": passes[1]});
    post_from(&origin, CALLER, "/forgot-password", body)
        .await
        .expect(400, "captcha_invalid");
    send(&origin, passes[2].clone()).await.expect(200, "");
    send(&origin, passes[2].clone())
        .await
        .expect(400, "captcha_invalid");
}

/// Even of a provider that would say yes each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_counts_once_whatever_the_provider_says() {
    let provider = Provider::start().await;
    provider.is(said(&json!({"success": true})));
    let origin = provider.origin(CaptchaKind::Turnstile, |_| {}).await;
    let all = (0..60).map(|_| send(&origin, json!("good")));
    let mut passed = 0;
    for reply in support::all(all).await {
        if reply.status == 200 {
            passed += 1;
        } else {
            reply.expect(400, "captcha_invalid");
        }
    }
    assert_eq!(passed, 1);
    let asked = provider.asked();
    origin.advance(899);
    send(&origin, json!("good"))
        .await
        .expect(400, "captcha_invalid");
    assert_eq!(provider.asked(), asked);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn what_the_provider_says_is_judged() {
    type Change = fn(&mut Captcha);
    let hosts: Change = |captcha| {
        captcha.hostnames = vec!["app.example.com".to_owned(), "example.org".to_owned()];
    };
    let action: Change = |captcha| captcha.check_action = true;
    let score: Change = |captcha| captcha.min_score = 0.5;
    let plain: Change = |_| {};
    let cases: Vec<(&str, CaptchaKind, Change, Value, bool)> = vec![
        (
            "success",
            CaptchaKind::Turnstile,
            plain,
            json!({"success": true}),
            true,
        ),
        (
            "failure",
            CaptchaKind::Turnstile,
            plain,
            json!({"success": false}),
            false,
        ),
        (
            "a host that is known",
            CaptchaKind::Hcaptcha,
            hosts,
            json!({"success": true, "hostname": "App.Example.com"}),
            true,
        ),
        (
            "a host below one that is known",
            CaptchaKind::Hcaptcha,
            hosts,
            json!({"success": true, "hostname": "evil.example.org"}),
            false,
        ),
        (
            "a host that begins like one",
            CaptchaKind::Turnstile,
            hosts,
            json!({"success": true, "hostname": "example.org.evil"}),
            false,
        ),
        (
            "no host",
            CaptchaKind::Turnstile,
            hosts,
            json!({"success": true}),
            false,
        ),
        (
            "a failure from the right host",
            CaptchaKind::Turnstile,
            hosts,
            json!({"success": false, "hostname": "example.org"}),
            false,
        ),
        (
            "the action",
            CaptchaKind::Turnstile,
            action,
            json!({"success": true, "action": "otp"}),
            true,
        ),
        (
            "another action",
            CaptchaKind::Recaptcha,
            action,
            json!({"success": true, "action": "login", "score": 1.0}),
            false,
        ),
        (
            "no action",
            CaptchaKind::Turnstile,
            action,
            json!({"success": true}),
            false,
        ),
        (
            "the least score",
            CaptchaKind::Recaptcha,
            score,
            json!({"success": true, "score": 0.5}),
            true,
        ),
        (
            "a lower score",
            CaptchaKind::Recaptcha,
            score,
            json!({"success": true, "score": 0.499}),
            false,
        ),
        (
            "an impossible score",
            CaptchaKind::Recaptcha,
            score,
            json!({"success": true, "score": 1.1}),
            false,
        ),
        (
            "no score",
            CaptchaKind::Recaptcha,
            score,
            json!({"success": true}),
            false,
        ),
    ];
    let provider = Provider::start().await;
    for (what, kind, change, answer, good) in cases {
        let origin = provider.origin(kind, change).await;
        provider.is(said(&answer));
        let reply = send(&origin, json!("token")).await;
        let expected = if good {
            (200, "")
        } else {
            (400, "captcha_invalid")
        };
        assert_eq!((reply.status.as_u16(), reply.code()), expected, "{what}");
    }
}

/// Only what the provider does opens, never what a caller makes it do.
#[tokio::test]
async fn a_provider_that_fails_closes_or_opens_as_configured() {
    logged::start();
    let down = [
        Manner::Say(500, "{}".to_owned()),
        Manner::Say(503, json!({"success": true}).to_string()),
        Manner::Say(429, json!({"success": false}).to_string()),
        Manner::Say(200, String::new()),
        Manner::Say(200, "<html>".to_owned()),
        Manner::Say(200, "null".to_owned()),
        Manner::Say(200, json!({"success": "true"}).to_string()),
        Manner::Say(200, json!({"ok": true}).to_string()),
        Manner::Say(200, json!([true]).to_string()),
        said(&json!({"success": false, "error-codes": ["internal-error"]})),
        Manner::Slow(Duration::from_secs(3)),
        Manner::HangUp,
        Manner::Redirect,
        Manner::Endless,
    ];
    let refused = [
        Manner::Say(400, json!({"success": false}).to_string()),
        Manner::Say(400, "<html>".to_owned()),
        Manner::Say(403, json!({"success": true}).to_string()),
        Manner::Say(414, String::new()),
        said(&json!({"success": false, "error-codes": ["bad-request"]})),
        said(&json!({"success": false, "error-codes": ["timeout-or-duplicate"]})),
    ];
    let unknown = [
        said(&json!({"success": false, "error-codes": ["invalid-input-secret"]})),
        Manner::Say(
            400,
            json!({"success": false, "error-codes": ["missing-input-secret"]}).to_string(),
        ),
    ];
    let provider = Provider::start().await;
    for fail in [CaptchaFail::Closed, CaptchaFail::Open] {
        let origin = provider.origin(CaptchaKind::Turnstile, |captcha| captcha.fail = fail);
        let origin = origin.await;
        let mut number = 0;
        let mut next = || {
            number += 1;
            json!(format!("f0rgotten {number}"))
        };
        for manner in &down {
            provider.is(manner.clone());
            let started = Instant::now();
            let reply = send(&origin, next()).await;
            assert!(
                started.elapsed() < Duration::from_millis(2_500),
                "{manner:?}"
            );
            let expected = match fail {
                CaptchaFail::Closed => (503, "unavailable"),
                CaptchaFail::Open => (200, ""),
            };
            assert_eq!(
                (reply.status.as_u16(), reply.code()),
                expected,
                "{manner:?}"
            );
        }
        for manner in &refused {
            provider.is(manner.clone());
            let reply = send(&origin, next()).await;
            assert_eq!(reply.code(), "captcha_invalid", "{manner:?}");
        }
        for manner in &unknown {
            provider.is(manner.clone());
            let reply = send(&origin, next()).await;
            assert_eq!(reply.code(), "unavailable", "{manner:?}");
        }
        // One that was down judges the same token later.
        provider.is(Manner::HangUp);
        let again = json!("good, in the end");
        if fail == CaptchaFail::Closed {
            send(&origin, again.clone())
                .await
                .expect(503, "unavailable");
            provider.is(said(&json!({"success": true})));
            send(&origin, again).await.expect(200, "");
        }
    }
    logged::holds("the captcha provider cannot be asked");
    logged::holds("the captcha provider does not accept the secret");
    logged::holds_none(&["f0rgotten", "pr0vider-s3cret"]);
}

#[tokio::test]
async fn questions_at_a_time_are_bounded() {
    let provider = Provider::start().await;
    provider.is(Manner::Slow(Duration::from_millis(600)));
    let origin = provider.origin(CaptchaKind::Turnstile, |_| {}).await;
    let all = (0..80).map(|number| send(&origin, json!(format!("token {number}"))));
    let mut busy = 0;
    for reply in support::all(all).await {
        if reply.status == 503 {
            busy += 1;
        } else {
            reply.expect(200, "");
        }
    }
    assert_eq!((provider.asked(), busy), (64, 16));
}

#[test]
fn impossible_settings_stop_the_start() {
    let read = |text: &str| {
        let text = format!("[captcha]\n{text}");
        let read = Config::parse("t.toml".as_ref(), &text, &Environment::new());
        read.map_err(|error| error.to_string())
    };
    let keys = "site_key = \"k\"\nsecret = \"s\"\n";
    for good in [
        "kind = \"image\"".to_owned(),
        "kind = \"pow\"\nroutes = []".to_owned(),
        format!("kind = \"turnstile\"\n{keys}verify_url = \"http://127.0.0.1:1/x\""),
        format!("kind = \"recaptcha\"\nmin_score = 0.5\ncheck_action = true\n{keys}"),
        format!("kind = \"hcaptcha\"\nhostnames = [\"a.example\"]\n{keys}"),
    ] {
        assert!(read(&good).is_ok(), "{good}: {:?}", read(&good).err());
    }
    for (bad, named) in [
        ("kind = \"audio\"".to_owned(), "kind"),
        ("colour = 1".to_owned(), "colour"),
        ("routes = [\"refresh\"]".to_owned(), "routes"),
        ("alternative = \"image\"".to_owned(), "captcha.alternative"),
        ("failures = 0".to_owned(), "captcha.failures"),
        ("ttl_seconds = 29".to_owned(), "captcha.ttl_seconds"),
        ("ttl_seconds = 3601".to_owned(), "captcha.ttl_seconds"),
        ("pow_cost = 0".to_owned(), "captcha.pow_cost"),
        ("pow_cost = 100001".to_owned(), "captcha.pow_cost"),
        ("pow_zeros = 0".to_owned(), "captcha.pow_zeros"),
        ("pow_zeros = 9".to_owned(), "captcha.pow_zeros"),
        ("kind = \"turnstile\"".to_owned(), "captcha"),
        ("kind = \"hcaptcha\"\nsecret = \"s\"".to_owned(), "captcha"),
        (
            format!("kind = \"hcaptcha\"\n{keys}check_action = true"),
            "captcha.check_action",
        ),
        (
            format!("kind = \"turnstile\"\n{keys}min_score = 0.5"),
            "captcha.min_score",
        ),
        (
            format!("kind = \"recaptcha\"\n{keys}min_score = 1.5"),
            "captcha.min_score",
        ),
        (
            format!("kind = \"recaptcha\"\n{keys}min_score = nan"),
            "captcha.min_score",
        ),
        ("secret = \"\"".to_owned(), "captcha.secret"),
        (
            "verify_url = \"http://10.0.0.1/x\"".to_owned(),
            "captcha.verify_url",
        ),
        (
            "verify_url = \"http://127.0.0.1.evil/\"".to_owned(),
            "captcha.verify_url",
        ),
        ("hostnames = [\"\"]".to_owned(), "captcha.hostnames"),
        (
            "timeout_milliseconds = 99".to_owned(),
            "captcha.timeout_milliseconds",
        ),
    ] {
        let error = read(&bad).err().unwrap_or_default();
        assert!(error.contains(named), "{bad}: {error}");
    }
}
