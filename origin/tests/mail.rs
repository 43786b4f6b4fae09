//! Mail through a real mail server.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![expect(clippy::expect_used, reason = "a failure is the test's failure")]

mod npm;
mod sent;
mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use axum::http::Method;
use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::config::{Channel, Smtp, SmtpTls};
use edgekeep_origin::ids::UserId;
use edgekeep_origin::notify::{Medium, Message, Sort, notices};
use edgekeep_origin::vault::Secret;
use npm::node_modules;
use sent::logged;
use serde_json::{Value, json};
use support::{Origin, all};

/// Longest wait for something that should happen: three attempts and their pauses, and some.
const PATIENCE: Duration = Duration::from_secs(20);

struct MailServer {
    port: u16,
    events: Receiver<Value>,
    process: Child,
    _stdin: ChildStdin,
}

impl MailServer {
    #[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
    fn start(options: Value) -> Self {
        let mut process = Command::new("node")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/mail/server.mjs"
            ))
            .args([node_modules(), &options.to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let mut server = Self {
            port: 0,
            events,
            process,
            _stdin: stdin,
        };
        let listening = server.next().expect("the mail server did not start");
        server.port = u16::try_from(listening["port"].as_u64().unwrap()).unwrap();
        server
    }

    fn next(&self) -> Option<Value> {
        self.events.recv_timeout(PATIENCE).ok()
    }

    /// The next event without keeping the runtime from sending.
    async fn event(&self) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(event) = self.events.try_recv() {
                return event;
            }
            assert!(Instant::now() < until, "nothing happened");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn settings(&self) -> Smtp {
        Smtp {
            host: "127.0.0.1".to_owned(),
            port: Some(self.port),
            tls: SmtpTls::None,
            username: None,
            password: None,
            from: "Edgekeep <login@example.org>".to_owned(),
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn origin(smtp: Smtp) -> Origin {
    Origin::with(|config| {
        config.notify.email = Channel::Smtp(smtp);
        config.notify.sms = Channel::Off;
    })
    .await
}

fn message(to: &str, code: &str) -> Message {
    Message {
        channel: Medium::Email,
        to: to.to_owned(),
        subject: Some("Your code"),
        text: format!("Your code is {code}.\n.\nA line of one dot stands above."),
        code: Some(code.to_owned()),
        sort: Sort::Code,
        asked_by: None,
        good_until: None,
    }
}

#[tokio::test]
async fn a_registration_by_mail_arrives_and_its_code_is_good() {
    const ADDRESS: &str = "arrives@example.org";
    logged::start();
    let server = MailServer::start(json!({"user": "edgekeep", "password": "smtp-s3cret"}));
    let smtp = Smtp {
        username: Some("edgekeep".to_owned()),
        password: Some(Secret::new("smtp-s3cret".to_owned())),
        ..server.settings()
    };
    let origin = origin(smtp).await;
    let registration = json!({"email": ADDRESS, "password": "correct horse"});
    origin.post("/register", registration).await.expect(202, "");
    let login = server.event().await;
    assert_eq!(
        login,
        json!({"event": "login", "user": "edgekeep", "known": true})
    );
    let mail = server.event().await;
    assert_eq!(mail["from"], "login@example.org");
    assert_eq!(mail["to"], json!([ADDRESS]));
    let data = mail["data"].as_str().unwrap();
    let (headers, body) = data.split_once("\r\n\r\n").unwrap();
    assert!(
        headers.contains("From: Edgekeep <login@example.org>"),
        "{headers}"
    );
    assert!(headers.contains(&format!("To: {ADDRESS}")), "{headers}");
    let digits = |text: &str| -> Option<String> {
        text.split(|c: char| !c.is_ascii_digit())
            .find(|part| part.len() == 6)
            .map(str::to_owned)
    };
    let code = digits(body).expect("a code in the mail");
    let proof = json!({"email": ADDRESS, "code": code});
    origin.post("/register/verify", proof).await.expect(200, "");
    logged::holds_none(&[ADDRESS, &code, "smtp-s3cret", "correct horse"]);
}

#[tokio::test]
async fn a_link_arrives_whole_and_is_good() {
    const ADDRESS: &str = "follows@example.org";
    const PAGE: &str = "https://a-long-name-of-an-application.example.org/registration/verify";
    logged::start();
    let server = MailServer::start(json!({}));
    let smtp = server.settings();
    let origin = Origin::with(|config| {
        config.notify.email = Channel::Smtp(smtp);
        config.notify.sms = Channel::Off;
        config.registration.verify_url = Some(PAGE.to_owned());
    })
    .await;
    let registration = json!({"email": ADDRESS, "password": "correct horse"});
    origin.post("/register", registration).await.expect(202, "");
    let mail = server.event().await;
    let data = mail["data"].as_str().unwrap();
    let (_, body) = data.split_once("\r\n\r\n").unwrap();
    // As a mail program reads a long line (quoted-printable, RFC 2045 §6.7).
    let body = body.replace("=\r\n", "").replace("=3D", "=");
    let (_, rest) = body.split_once(PAGE).expect("a link in the mail");
    let token = rest.strip_prefix("#token=").unwrap();
    let token = token.split_whitespace().next().unwrap();
    let proof = json!({"token": token, "password": "correct horse"});
    origin.post("/register/verify", proof).await.expect(200, "");
    logged::holds_none(&[ADDRESS, token, "correct horse"]);
}

#[tokio::test]
async fn a_refused_message_is_sent_again_and_arrives_whole() {
    logged::start();
    let server = MailServer::start(json!({"refuse": 2}));
    let origin = origin(server.settings()).await;
    origin
        .state
        .mailer
        .send(message("müller@example.org", "314159"));
    for _ in 0..2 {
        assert_eq!(server.event().await["event"], "refused");
    }
    let mail = server.event().await;
    assert_eq!(mail["event"], "mail");
    assert_eq!(mail["to"], json!(["müller@example.org"]));
    assert!(
        mail["data"]
            .as_str()
            .unwrap()
            .contains("A line of one dot stands above.")
    );
    logged::holds_none(&["müller", "314159"]);
}

#[tokio::test]
async fn wrong_credentials_send_nothing() {
    logged::start();
    let server = MailServer::start(json!({"user": "edgekeep", "password": "right"}));
    let origin = origin(Smtp {
        username: Some("edgekeep".to_owned()),
        password: Some(Secret::new("wr0ng-smtp-password".to_owned())),
        ..server.settings()
    })
    .await;
    let mailer = &origin.state.mailer;
    mailer.send(message("nobody1@example.org", "271828"));
    mailer.drain(PATIENCE).await;
    let mut logins = 0;
    while let Ok(event) = server.events.try_recv() {
        assert_eq!(
            (&event["event"], &event["known"]),
            (&json!("login"), &json!(false))
        );
        logins += 1;
    }
    assert!(logins >= 1);
    logged::holds("a message was not sent");
    logged::holds_none(&["nobody1@", "271828", "wr0ng-smtp-password"]);
}

/// STARTTLS is the default: a server that does not offer it, or whose certificate nobody signed,
/// gets neither message nor password.
#[tokio::test]
async fn nothing_is_sent_without_the_tls_that_was_asked_for() {
    for (tls, offered) in [
        (SmtpTls::Starttls, false),
        (SmtpTls::Starttls, true),
        (SmtpTls::Implicit, true),
    ] {
        logged::start();
        let options = json!({"user": "edgekeep", "password": "right", "tls": offered});
        let server = MailServer::start(options);
        let origin = origin(Smtp {
            host: "localhost".to_owned(),
            tls,
            username: Some("edgekeep".to_owned()),
            password: Some(Secret::new("right".to_owned())),
            ..server.settings()
        })
        .await;
        let mailer = &origin.state.mailer;
        mailer.send(message("nobody2@example.org", "161803"));
        mailer.drain(PATIENCE).await;
        while let Ok(event) = server.events.try_recv() {
            assert_eq!(
                event["event"], "error",
                "{tls:?}, offered: {offered}: {event}"
            );
        }
    }
}

#[tokio::test]
async fn an_address_cannot_add_headers_recipients_or_commands() {
    logged::start();
    let server = MailServer::start(json!({}));
    let smtp = server.settings();
    let hostile = [
        "a@example.org\r\nBcc: victim@example.org",
        "a@example.org\nBcc: victim@example.org",
        "a@example.org\rBcc: victim@example.org",
        "a\r\nRCPT TO:<victim@example.org>@example.org",
        "a@example.org>\r\nRCPT TO:<victim@example.org",
        "a@example.org> <victim@example.org",
        "a@example.org,victim@example.org",
        "a@example.org;victim@example.org",
        "\"a\r\nBcc: victim\"@example.org",
        "a@example.org\u{0}",
        "a@example.org\u{2028}Bcc: victim@example.org",
        "a@example.org\u{85}Bcc: victim@example.org",
        "Name <victim@example.org>",
        "a@[127.0.0.1]\r\n",
    ];
    let origin = origin(smtp).await;
    let mailer = &origin.state.mailer;
    for address in hostile {
        // Neither through the API …
        for (route, body) in [
            (
                "/register",
                json!({"email": address, "password": "correct horse"}),
            ),
            ("/otp/send", json!({"email": address})),
        ] {
            origin
                .post(route, body)
                .await
                .expect(400, "request_invalid");
        }
        // … nor past it.
        mailer.send(message(address, "141421"));
    }
    mailer.drain(PATIENCE).await;
    assert!(server.events.try_recv().is_err(), "something was sent");
    // The server was there all along.
    let origin = self::origin(server.settings()).await;
    let mailer = &origin.state.mailer;
    mailer.send(message("o'hara+tag@example.org", "173205"));
    let mail = server.event().await;
    assert_eq!(mail["to"], json!(["o'hara+tag@example.org"]));
    let headers = mail["data"]
        .as_str()
        .unwrap()
        .split("\r\n\r\n")
        .next()
        .unwrap();
    assert!(!headers.to_lowercase().contains("bcc"), "{headers}");
}

/// A server that takes connections and says nothing.
#[tokio::test]
async fn a_mail_server_that_hangs_or_is_away_delays_no_answer() {
    logged::start();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    for port in [silent.local_addr().unwrap().port(), away] {
        let smtp = Smtp {
            host: "127.0.0.1".to_owned(),
            port: Some(port),
            tls: SmtpTls::None,
            username: None,
            password: None,
            from: "login@example.org".to_owned(),
        };
        let origin = origin(smtp).await;
        let started = Instant::now();
        // More than are on their way at a time.
        for number in 0..20 {
            let body = json!({"email": format!("slow{number}@example.org")});
            origin.post("/otp/send", body).await.expect(200, "");
        }
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "{:?}",
            started.elapsed()
        );
        // Neither does it keep the process from stopping.
        let started = Instant::now();
        origin.state.mailer.drain(Duration::from_millis(200)).await;
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

/// Whoever is told: a proved mail address, and nothing else.
async fn person(origin: &Origin, address: &str) -> UserId {
    let state = &origin.state;
    let new = NewAccount {
        identifiers: &[(Identifier::email(address).unwrap(), true)],
        ..NewAccount::default()
    };
    let mut tx = state.db.write().await.unwrap();
    let id = accounts::create(state, &mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    id
}

fn notice(to: &str, subject: &'static str) -> Message {
    Message {
        subject: Some(subject),
        text: "Somebody, perhaps you, did something.".to_owned(),
        code: None,
        sort: Sort::Told,
        ..message(to, "")
    }
}

/// Writes a notice down as a change would, and goes away before it is handed over.
async fn written(origin: &Origin, user: UserId, notice: Message, commit: bool) {
    let mut tx = origin.state.db.write().await.unwrap();
    let kept = origin.state.mailer.keep(&mut tx, user, [notice]).await;
    drop(kept.unwrap());
    if commit {
        tx.commit().await.unwrap();
    } else {
        tx.rollback().await.unwrap();
    }
}

async fn waiting(origin: &Origin) -> i64 {
    origin.state.mailer.standing().await.unwrap().waiting
}

async fn send_due(origin: &Origin) -> usize {
    notices::send_due(&origin.state).await.unwrap()
}

/// Until nothing is on its way.
async fn settled(origin: &Origin) {
    let until = Instant::now() + PATIENCE;
    while origin.state.mailer.waiting() > 0 {
        assert!(Instant::now() < until, "still on its way");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_changed_password_is_told_although_the_mail_server_and_the_process_were_away() {
    const ADDRESS: &str = "ada@example.org";
    let server = MailServer::start(json!({}));
    let port = server.port;
    let origin = origin(server.settings()).await;
    let body = json!({"email": ADDRESS, "password": "correct horse battery"});
    origin.post("/register", body).await.expect(202, "");
    let mail = server.event().await;
    let text = mail["data"].as_str().unwrap();
    let code = text.split("\r\n\r\n").nth(1).unwrap().get(..6).unwrap();
    let body = json!({"email": ADDRESS, "code": code});
    let tokens = origin.post("/register/verify", body).await.expect(200, "");
    settled(&origin).await;
    drop(server);

    let body = json!({
        "current_password": "correct horse battery", "new_password": "another horse battery",
    });
    let path = "/api/v1/auth/change-password";
    let token = Some(tokens.text("access_token"));
    let changed = origin.call(Method::POST, path, token, Some(body)).await;
    changed.expect(204, "");
    settled(&origin).await;
    assert_eq!(waiting(&origin).await, 1, "the queue has given up");
    let origin = origin.restarted().await;
    assert_eq!(send_due(&origin).await, 0, "it rests");

    let server = MailServer::start(json!({ "port": port }));
    origin.advance(30);
    assert_eq!(send_due(&origin).await, 1);
    let mail = server.event().await;
    assert_eq!(mail["to"], json!([ADDRESS]));
    let text = mail["data"].as_str().unwrap();
    assert!(
        text.contains("Subject: Your password was changed"),
        "{text}"
    );
    settled(&origin).await;
    assert_eq!(waiting(&origin).await, 0);
    origin.advance(3_600);
    assert_eq!(send_due(&origin).await, 0);
}

#[tokio::test]
async fn a_notice_outlives_wrong_credentials_and_a_server_without_the_tls_that_was_asked_for() {
    let server = |port: u16, password: &str| {
        MailServer::start(json!({"user": "edgekeep", "password": password, "port": port}))
    };
    for (tls, password) in [(SmtpTls::None, "wrong"), (SmtpTls::Starttls, "right")] {
        let refusing = server(0, "right");
        let port = refusing.port;
        let origin = origin(Smtp {
            host: "localhost".to_owned(),
            tls,
            username: Some("edgekeep".to_owned()),
            password: Some(Secret::new(password.to_owned())),
            ..refusing.settings()
        })
        .await;
        let user = person(&origin, "ada@example.org").await;
        let mut tx = origin.state.db.write().await.unwrap();
        let notice = notice("ada@example.org", "It happened");
        let kept = origin.state.mailer.keep(&mut tx, user, [notice]).await;
        tx.commit().await.unwrap();
        origin.state.mailer.deliver(kept.unwrap());
        settled(&origin).await;
        assert_eq!(waiting(&origin).await, 1, "{tls:?}");
        if tls != SmtpTls::None {
            continue;
        }
        drop(refusing);
        let mended = server(port, password);
        origin.advance(30);
        assert_eq!(send_due(&origin).await, 1);
        settled(&origin).await;
        assert_eq!(mended.event().await["event"], "login");
        assert_eq!(mended.event().await["to"], json!(["ada@example.org"]));
        assert_eq!(waiting(&origin).await, 0);
    }
}

#[tokio::test]
async fn a_notice_is_told_of_what_was_committed_once_whoever_looks() {
    let server = MailServer::start(json!({}));
    let origin = origin(server.settings()).await;
    let user = person(&origin, "ada@example.org").await;
    for (subject, commit) in [("It never happened", false), ("It happened", true)] {
        written(&origin, user, notice("ada@example.org", subject), commit).await;
    }
    assert_eq!(waiting(&origin).await, 1);
    // The process was killed between the commit and the queue. Nobody knows that yet.
    let smtp = server.settings();
    let beside = origin.beside(|config| {
        config.notify.email = Channel::Smtp(smtp);
        config.notify.sms = Channel::Off;
    });
    let beside = beside.await.unwrap();
    origin.advance(179);
    assert_eq!(send_due(&origin).await, 0);
    origin.advance(1);
    let taken =
        all((0..10).map(|number| send_due(if number % 2 == 0 { &origin } else { &beside })));
    assert_eq!(taken.await.into_iter().sum::<usize>(), 1);
    let mail = server.event().await;
    assert!(
        mail["data"]
            .as_str()
            .unwrap()
            .contains("Subject: It happened")
    );
    settled(&origin).await;
    settled(&beside).await;
    assert_eq!(waiting(&origin).await, 0);
    assert!(server.events.try_recv().is_err(), "once");
}

#[tokio::test]
async fn a_notice_is_tried_for_three_days_and_not_beyond_its_use() {
    let server = MailServer::start(json!({"refuse": 1_000_000}));
    let origin = origin(server.settings()).await;
    let user = person(&origin, "ada@example.org").await;
    let undo = notice("ada@example.org", "Of use for an hour");
    let undo = undo.good_until(origin.clock.now() + Duration::from_hours(1));
    written(&origin, user, undo, true).await;
    written(&origin, user, notice("ada@example.org", "Of use"), true).await;
    origin.advance(3_599);
    assert_eq!(send_due(&origin).await, 2);
    settled(&origin).await;
    assert_eq!(waiting(&origin).await, 2);
    origin.advance(3_600);
    assert_eq!(send_due(&origin).await, 2);
    settled(&origin).await;
    assert_eq!(waiting(&origin).await, 1);
    origin.advance(72 * 3_600 - 7_200);
    assert_eq!(send_due(&origin).await, 1);
    settled(&origin).await;
    assert_eq!(waiting(&origin).await, 1);
    origin.advance(3_600);
    assert_eq!(send_due(&origin).await, 0);
    assert_eq!(waiting(&origin).await, 0);
}

#[tokio::test]
async fn what_strangers_cause_takes_no_notices_place() {
    // One that takes connections and says nothing: everything waits.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let smtp = Smtp {
        host: "127.0.0.1".to_owned(),
        port: Some(silent.local_addr().unwrap().port()),
        tls: SmtpTls::None,
        username: None,
        password: None,
        from: "login@example.org".to_owned(),
    };
    let origin = origin(smtp).await;
    let user = person(&origin, "ada@example.org").await;
    for number in 0..1_100 {
        let to = format!("stranger{number}@example.org");
        origin.state.mailer.send(message(&to, "123456"));
    }
    assert_eq!(origin.state.mailer.waiting(), 1_024);
    let mut tx = origin.state.db.write().await.unwrap();
    let notice = notice("ada@example.org", "Of use");
    let kept = origin.state.mailer.keep(&mut tx, user, [notice]).await;
    tx.commit().await.unwrap();
    origin.state.mailer.deliver(kept.unwrap());
    assert_eq!(origin.state.mailer.waiting(), 1_025);
}

#[tokio::test]
async fn nothing_of_a_notice_is_left_of_a_person_who_is_gone_nor_in_the_clear() {
    let server = MailServer::start(json!({}));
    let origin = origin(server.settings()).await;
    let user = person(&origin, "very-rare-address@example.org").await;
    let notice = notice("very-rare-address@example.org", "A very rare subject");
    written(&origin, user, notice, true).await;
    let mut reader = origin.state.db.read().await.unwrap();
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT message FROM notices")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    drop(reader);
    for text in ["very-rare", "very rare", "Somebody"] {
        let found = sealed
            .windows(text.len())
            .any(|window| window == text.as_bytes());
        assert!(!found, "{text}");
    }
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("DELETE FROM users")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(waiting(&origin).await, 0);
}
