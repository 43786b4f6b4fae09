//! Messages through a provider's HTTP endpoint, with a real server at the other end.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod npm;
mod provider;
mod sent;
mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::Method;
use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::config::{Channel, HttpFormat, HttpHook};
use edgekeep_origin::metrics::Delivery;
use edgekeep_origin::notify::{Kept, notices};
use edgekeep_origin::vault::Secret;
use npm::node_modules;
use provider::{Answer, PATIENCE, Provider, counted, message, quiet};
use sent::logged;
use serde_json::{Value, json};
use support::Origin;

/// An origin whose SMS leave by `hook`, unjudged.
async fn origin(hook: HttpHook) -> Origin {
    Origin::with(|config| {
        config.notify.email = Channel::Off;
        config.notify.sms = Channel::Http(hook);
        config.sms.defend = Some(false);
    })
    .await
}

#[tokio::test]
async fn a_form_has_the_fields_of_the_provider_and_a_code_that_is_good() {
    logged::start();
    let provider = Provider::start(&[]).await;
    let hook = HttpHook {
        username: Some("AC1".to_owned()),
        password: Some(Secret::new("tw-s3cret".to_owned())),
        extra: BTreeMap::from([("From".to_owned(), "+15005550006".to_owned())]),
        ..provider.hook()
    };
    let origin = origin(hook).await;
    let body = json!({"phone_number": "+41791234567"});
    let sent = origin.post("/otp/send", body).await.expect(200, "");
    let call = provider.wait_for(1).await.remove(0);
    assert_eq!((&call.method, &*call.path), (&Method::POST, "/messages"));
    assert_eq!(
        call.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    // base64 of AC1:tw-s3cret
    assert_eq!(call.headers["authorization"], "Basic QUMxOnR3LXMzY3JldA==");
    let fields = call.form();
    assert_eq!(fields.len(), 3, "{fields:?}");
    assert_eq!(fields["To"], "+41791234567");
    assert_eq!(fields["From"], "+15005550006");
    let code = fields["Body"]
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| part.len() == 6)
        .expect("a code");
    let body = json!({"otp_token": sent.text("otp_token"), "code": code});
    origin.post("/otp/verify", body).await.expect(200, "");
    let token = sent.text("otp_token");
    logged::holds_none(&["41791234567", code, token, "tw-s3cret", "QUMxOnR3"]);
}

#[tokio::test]
async fn json_and_a_bearer_where_they_are_configured() {
    logged::start();
    let provider = Provider::start(&[]).await;
    let origin = origin(HttpHook {
        format: HttpFormat::Json,
        bearer: Some(Secret::new("b3arer-s3cret".to_owned())),
        to_field: "recipient".to_owned(),
        text_field: "text".to_owned(),
        extra: BTreeMap::from([("recipient".to_owned(), "overridden".to_owned())]),
        ..provider.hook()
    })
    .await;
    let text = "Zoë \"quoted\" & <b>\r\n\u{1f600}";
    origin.state.mailer.send(message("+41790000001", text));
    let call = provider.wait_for(1).await.remove(0);
    assert_eq!(call.headers["content-type"], "application/json");
    assert_eq!(call.headers["authorization"], "Bearer b3arer-s3cret");
    let body: Value = serde_json::from_str(&call.body).unwrap();
    // What is the same in every message does not replace what is not.
    assert_eq!(body, json!({"recipient": "+41790000001", "text": text}));
    logged::holds_none(&["b3arer-s3cret", "+41790000001", "quoted"]);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_reported_at_once() {
    logged::start();
    for (answers, calls) in [
        (&[Answer::Status(500)][..], 2),
        (&[Answer::Status(429), Answer::Status(503)], 3),
        (
            &[
                Answer::Status(503),
                Answer::Status(502),
                Answer::Status(504),
            ],
            3,
        ),
        (&[Answer::Status(400)], 1),
        (&[Answer::Status(401)], 1),
        (&[Answer::Status(501)], 1),
        (&[Answer::Status(503), Answer::Status(410)], 2),
    ] {
        let provider = Provider::then(answers, Answer::Status(200)).await;
        let origin = origin(HttpHook {
            bearer: Some(Secret::new("retry-s3cret".to_owned())),
            ..provider.hook()
        })
        .await;
        let mailer = &origin.state.mailer;
        mailer.send(message("+41790000002", "text 2-7182"));
        mailer.drain(PATIENCE).await;
        assert_eq!(provider.calls().len(), calls, "{answers:?}");
        let arrived = u64::from(answers.len() < calls);
        assert_eq!(counted(mailer, Delivery::sent), arrived, "{answers:?}");
        assert_eq!(
            counted(mailer, Delivery::failed),
            1 - arrived,
            "{answers:?}"
        );
        assert_eq!(mailer.waiting(), 0);
    }
    logged::holds("provider answered 400");
    logged::holds("a message was not sent");
    logged::holds("+41…02");
    logged::holds_none(&["+41790000002", "2-7182", "retry-s3cret"]);
}

/// A notice to somebody, written down and not handed over yet.
async fn notice(origin: &Origin, commit: bool) -> Kept {
    let (state, number) = (&origin.state, "+41790000002");
    let new = NewAccount {
        identifiers: &[(Identifier::phone(number, None).unwrap(), true)],
        ..NewAccount::default()
    };
    let mut tx = state.db.write().await.unwrap();
    let user = accounts::create(state, &mut tx, &new).await.unwrap();
    let notice = message(number, "Your password was changed.");
    let kept = state.mailer.keep(&mut tx, user, [notice]).await.unwrap();
    if commit {
        tx.commit().await.unwrap();
    } else {
        tx.rollback().await.unwrap();
    }
    kept
}

/// A provider that fails once, and is asked again after a second.
async fn slow() -> Provider {
    let later = Answer::Says(503, &[("retry-after", "1")], String::new());
    Provider::start(&[later]).await
}

#[tokio::test]
async fn a_notice_that_is_long_on_its_way_is_sent_once() {
    let provider = slow().await;
    let origin = origin(provider.hook()).await;
    let state = &origin.state;
    state.mailer.deliver(notice(&origin, true).await);
    provider.wait_for(1).await;
    for _ in 0..3 {
        // Longer than it is anybody's.
        origin.advance(181);
        assert_eq!(notices::send_due(state).await.unwrap(), 0);
    }
    quiet(&state.mailer).await;
    assert_eq!(provider.calls().len(), 2);
    assert_eq!(state.mailer.standing().await.unwrap().waiting, 0);
}

/// One that waits behind others for eight places is taken up by whoever has one free, and its turn
/// comes in both.
#[tokio::test]
async fn of_two_processes_in_whose_queues_a_notice_waits_one_sends_it() {
    let provider = slow().await;
    let origin = origin(provider.hook()).await;
    let beside = origin.beside(|config| {
        config.notify.email = Channel::Off;
        config.notify.sms = Channel::Http(provider.hook());
        config.sms.defend = Some(false);
    });
    let beside = beside.await.unwrap();
    let kept = notice(&origin, true).await;
    origin.advance(181);
    assert_eq!(notices::send_due(&beside.state).await.unwrap(), 1);
    origin.state.mailer.deliver(kept);
    quiet(&origin.state.mailer).await;
    quiet(&beside.state.mailer).await;
    assert_eq!(provider.calls().len(), 2);
    assert_eq!(origin.state.mailer.standing().await.unwrap().waiting, 0);
}

/// A sender that was cut off keeps a notice for as long as its attempts may take, and no longer.
#[tokio::test]
async fn a_notice_whose_sender_was_cut_off_is_sent_by_another() {
    let provider = Provider::then(&[Answer::Never], Answer::Status(201)).await;
    let origin = origin(provider.hook()).await;
    origin.state.mailer.deliver(notice(&origin, true).await);
    provider.wait_for(1).await;
    let beside = origin.beside(|config| {
        config.notify.email = Channel::Off;
        config.notify.sms = Channel::Http(provider.hook());
        config.sms.defend = Some(false);
    });
    let beside = beside.await.unwrap();
    origin.advance(179);
    assert_eq!(notices::send_due(&beside.state).await.unwrap(), 0);
    origin.advance(1);
    assert_eq!(notices::send_due(&beside.state).await.unwrap(), 1);
    quiet(&beside.state.mailer).await;
    assert_eq!(provider.calls().len(), 2);
    assert_eq!(beside.state.mailer.standing().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn nothing_is_sent_of_a_notice_that_is_not_there_any_more() {
    let provider = Provider::start(&[]).await;
    let origin = origin(provider.hook()).await;
    let kept = notice(&origin, false).await;
    origin.state.mailer.deliver(kept);
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 0);
}

/// A token that expired or an address with a mistake in it is mended by an operator; what people
/// were to be told meanwhile is not lost.
#[tokio::test]
async fn a_notice_outlives_a_provider_that_refuses_who_asks_and_not_what() {
    for (status, left) in [
        (307, 1),
        (401, 1),
        (402, 1),
        (403, 1),
        (404, 1),
        (405, 1),
        (407, 1),
        (400, 0),
        (410, 0),
        (422, 0),
    ] {
        let provider = Provider::start(&[Answer::Status(status)]).await;
        let origin = origin(provider.hook()).await;
        let state = &origin.state;
        state.mailer.deliver(notice(&origin, true).await);
        quiet(&state.mailer).await;
        assert_eq!(provider.calls().len(), 1, "{status}");
        let standing = state.mailer.standing().await.unwrap();
        assert_eq!(standing.waiting, left, "{status}");
        origin.advance(30);
        let taken = notices::send_due(state).await.unwrap();
        assert_eq!(i64::try_from(taken).unwrap(), left, "{status}");
        quiet(&state.mailer).await;
        assert_eq!(provider.calls().len(), 1 + taken, "{status}");
        assert_eq!(counted(&state.mailer, Delivery::sent), taken as u64);
        let standing = state.mailer.standing().await.unwrap();
        assert_eq!(standing.waiting, 0, "{status}");
    }
}

#[tokio::test]
async fn a_provider_is_given_the_time_that_it_asks_for() {
    let later = Answer::Says(429, &[("retry-after", "2")], String::new());
    let provider = Provider::start(&[later]).await;
    let origin = origin(provider.hook()).await;
    origin.state.mailer.send(message("+41790000005", "text"));
    let calls = provider.wait_for(2).await;
    let pause = calls[1].at.duration_since(calls[0].at);
    assert!(pause >= Duration::from_secs(2), "{pause:?}");
}

/// A redirect would carry credentials and codes to wherever it points.
#[tokio::test]
async fn redirects_are_not_followed() {
    let provider = Provider::then(&[], Answer::Redirect).await;
    let origin = origin(provider.hook()).await;
    let mailer = &origin.state.mailer;
    mailer.send(message("+41790000003", "text"));
    mailer.drain(PATIENCE).await;
    let calls = provider.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].path, "/messages");
    assert_eq!(counted(mailer, Delivery::failed), 1);
}

#[tokio::test]
async fn a_provider_that_hangs_delays_no_answer_and_is_tried_again() {
    let provider = Provider::then(&[], Answer::Never).await;
    let origin = origin(provider.hook()).await;
    let started = Instant::now();
    for number in 0..12 {
        let body = json!({"phone_number": format!("+4179000010{number:02}")});
        origin.post("/otp/send", body).await.expect(200, "");
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    // Eight are on their way at a time; the ninth call is one of them tried again, or one that
    // waited, after the timeout.
    let calls = provider.wait_for(9).await;
    assert!(calls[8].at.duration_since(calls[0].at) > Duration::from_secs(5));
    assert_eq!(calls[7].at.duration_since(calls[0].at).as_secs() / 5, 0);
}

#[tokio::test]
async fn a_provider_that_hangs_holds_up_no_mail() {
    let hanging = Provider::then(&[], Answer::Never).await;
    let working = Provider::start(&[]).await;
    let (sms, mail) = (hanging.hook(), working.hook());
    let origin = Origin::with(|config| {
        config.notify.email = Channel::Http(mail);
        config.notify.sms = Channel::Http(sms);
        config.sms.defend = Some(false);
    })
    .await;
    for _ in 0..100 {
        origin.state.mailer.send(message("+41790000006", "text"));
    }
    hanging.wait_for(8).await;
    let body = json!({"email": "not-held-up@example.org"});
    origin.post("/otp/send", body).await.expect(200, "");
    let started = Instant::now();
    working.wait_for(1).await;
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn more_messages_than_may_wait_are_dropped_and_said() {
    logged::start();
    let provider = Provider::then(&[], Answer::Never).await;
    let origin = origin(provider.hook()).await;
    let mailer = &origin.state.mailer;
    for _ in 0..3_000 {
        mailer.send(message("+41790000004", "text"));
    }
    logged::holds("a message was dropped");
    assert_eq!(mailer.waiting(), 1_024);
    assert_eq!(counted(mailer, Delivery::dropped), 3_000 - 1_024);
    logged::holds_none(&["+41790000004"]);
}

/// A code that comes after its time has only annoyed somebody.
#[tokio::test]
async fn a_code_is_not_sent_after_it_has_expired() {
    // Waited out, then tried again.
    let later = Answer::Says(503, &[("retry-after", "1")], String::new());
    for (advanced, calls, outcome) in [(299, 2, Delivery::sent), (300, 1, Delivery::expired)] {
        let provider = Provider::start(std::slice::from_ref(&later)).await;
        let origin = origin(provider.hook()).await;
        let body = json!({"phone_number": "+41790000007"});
        origin.post("/otp/send", body).await.expect(200, "");
        provider.wait_for(1).await;
        origin.advance(advanced);
        let mailer = &origin.state.mailer;
        mailer.drain(PATIENCE).await;
        assert_eq!(provider.calls().len(), calls, "{advanced}");
        assert_eq!(counted(mailer, outcome), 1, "{advanced}");
    }
}

/// Judged by the reference library of the specification.
#[tokio::test]
async fn a_signed_request_is_verified_by_whoever_has_the_secret() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    logged::start();
    let provider = Provider::start(&[Answer::Status(503)]).await;
    let origin = origin(HttpHook {
        format: HttpFormat::Json,
        secret: Some(Secret::new(SECRET.to_owned())),
        ..provider.hook()
    })
    .await;
    let text = "Zoë & \u{1f600}";
    origin.state.mailer.send(message("+41790000008", text));
    origin.state.mailer.send(message("+41790000009", text));
    let calls = provider.wait_for(3).await;
    let now = origin.clock.now().unix_seconds();
    for call in &calls {
        assert_eq!(call.header("webhook-timestamp"), now.to_string());
        assert!(verified(
            SECRET,
            call.header("webhook-id"),
            call.header("webhook-signature"),
            now,
            &call.body
        ));
        for (id, signature, body) in [
            (
                "msg_other",
                call.header("webhook-signature"),
                call.body.as_str(),
            ),
            (call.header("webhook-id"), "v1,AAAA", &call.body),
            (
                call.header("webhook-id"),
                call.header("webhook-signature"),
                "{}",
            ),
        ] {
            assert!(!verified(SECRET, id, signature, now, body));
        }
        let other = "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(!verified(
            other,
            call.header("webhook-id"),
            call.header("webhook-signature"),
            now,
            &call.body
        ));
    }
    // The first message was tried twice, under the same id; the second has another.
    let first = calls[0].header("webhook-id");
    let with_first = calls
        .iter()
        .filter(|call| call.header("webhook-id") == first);
    assert_eq!(with_first.count(), 2);
    logged::holds_none(&["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
}

/// What npm's `standardwebhooks` says of a request at the time `now`.
fn verified(secret: &str, id: &str, signature: &str, now: i64, body: &str) -> bool {
    let output = Command::new("node")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/provider/verify.mjs"
        ))
        .args([
            node_modules(),
            secret,
            id,
            &now.to_string(),
            signature,
            body,
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said == "verified"
}
