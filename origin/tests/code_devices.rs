//! Codes to log in with that a named device asked for: good there and nowhere else.

mod person;
mod support;

use edgekeep_origin::config::Channel;
use person::{EMAIL, PHONE, account, number};
use serde_json::{Value, json};
use support::{Origin, Reply};

const HERE: &str = "127.0.0.1";

/// What a request says of its device: in the header, in the body.
type Named = (Option<&'static str>, Option<&'static str>);

async fn origin() -> Origin {
    let origin = Origin::with(|config| {
        config.notify.sms = Channel::Memory;
        config.otp.sends_per_hour = 100;
        config.sms.delays_seconds = vec![];
    })
    .await;
    account(&origin).await;
    origin
}

async fn post(origin: &Origin, route: &str, (header, body): Named, mut json: Value) -> Reply {
    if let Some(id) = body {
        json["device_id"] = id.into();
    }
    let headers: Vec<_> = header.iter().map(|&id| ("x-device-id", id)).collect();
    origin.post_from(HERE, &headers, route, &json).await
}

async fn ask(origin: &Origin, to: &str, named: Named) -> Reply {
    let field = if to.starts_with('+') {
        "phone_number"
    } else {
        "email"
    };
    let reply = post(origin, "/otp/send", named, json!({field: to})).await;
    reply.expect(200, "")
}

async fn show(origin: &Origin, to: &str, sent: &Reply, named: Named) -> Reply {
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(to)});
    post(origin, "/otp/verify", named, body).await
}

/// Every way to name a device or none when a code is asked for and when it is given back, and whether
/// it is good then.
const CASES: [(Named, Named, bool); 20] = [
    // Whoever names none may name one later, or never, as ever.
    ((None, None), (None, None), true),
    ((None, None), (Some("a"), None), true),
    ((None, None), (None, Some("a")), true),
    ((None, None), (Some("a"), Some("b")), true),
    // The same, wherever it stands.
    ((Some("a"), None), (Some("a"), None), true),
    ((Some("a"), None), (None, Some("a")), true),
    ((None, Some("a")), (Some("a"), None), true),
    ((None, Some("a")), (None, Some("a")), true),
    // A client that says one thing in its headers and another in the body.
    ((Some("a"), None), (Some("a"), Some("b")), true),
    ((Some("a"), None), (Some("b"), Some("a")), true),
    ((Some("a"), Some("b")), (Some("a"), Some("b")), true),
    // The body goes before the header.
    ((Some("a"), Some("b")), (Some("a"), None), false),
    ((Some("a"), Some("b")), (Some("b"), None), true),
    // Another, or none.
    ((Some("a"), None), (Some("b"), None), false),
    ((Some("a"), None), (None, Some("b")), false),
    ((Some("a"), None), (Some("b"), Some("c")), false),
    ((Some("a"), None), (None, None), false),
    ((None, Some("a")), (None, None), false),
    // A name is compared to the letter.
    ((None, Some("a")), (None, Some("A")), false),
    ((None, Some("a")), (None, Some("a ")), false),
];

#[tokio::test]
async fn a_code_is_good_on_the_device_that_asked_for_it() {
    let origin = origin().await;
    for to in [EMAIL, PHONE] {
        for (asked, given, good) in CASES {
            let what = format!("{to}: {asked:?}, {given:?}");
            let sent = ask(&origin, to, asked).await;
            let reply = show(&origin, to, &sent, given).await;
            if good {
                assert_eq!(reply.status, 200, "{what}");
            } else {
                assert_eq!(
                    (reply.status.as_u16(), reply.code()),
                    (400, "code_invalid"),
                    "{what}"
                );
            }
            // Takes what may be left of the counts and pauses.
            origin.advance(86_400);
        }
    }
}

#[tokio::test]
async fn another_device_uses_the_tries_up() {
    for (elsewhere, good) in [(2, true), (3, false)] {
        let origin = origin().await;
        let sent = ask(&origin, EMAIL, (Some("a"), None)).await;
        for _ in 0..elsewhere {
            show(&origin, EMAIL, &sent, (Some("b"), None))
                .await
                .expect(400, "code_invalid");
        }
        let failures = "SELECT COUNT(*) FROM audit_events
                        WHERE kind = 'login' AND outcome = 'failure' AND reason = 'code_invalid'";
        assert_eq!(number(&origin, failures).await, elsewhere);
        let reply = show(&origin, EMAIL, &sent, (Some("a"), None)).await;
        if good {
            reply.expect(200, "");
        } else {
            reply.expect(400, "code_invalid");
        }
    }
}

#[tokio::test]
async fn a_session_carries_the_device_of_its_code() {
    let origin = origin().await;
    let sent = ask(&origin, EMAIL, (None, Some("phone"))).await;
    let reply = show(&origin, EMAIL, &sent, (None, Some("phone"))).await;
    let reply = reply.expect(200, "");
    let said = person::claims(&origin, &reply).await;
    assert_eq!(said["device_id"], "phone");
}

#[tokio::test]
async fn addresses_that_nobody_has_take_the_same_names() {
    let origin = origin().await;
    let new = "new@example.org";
    for (given, status) in [("b", 400), ("a", 200)] {
        let sent = ask(&origin, new, (None, Some("a"))).await;
        let reply = show(&origin, new, &sent, (None, Some(given))).await;
        assert_eq!(reply.status, status);
    }
}

#[tokio::test]
async fn names_that_cannot_be_kept_are_refused() {
    let origin = origin().await;
    let long = "x".repeat(129);
    for name in ["", "a\nb", &long] {
        let body = json!({"email": EMAIL, "device_id": name});
        origin
            .post("/otp/send", body)
            .await
            .expect(400, "request_invalid");
    }
    assert!(origin.message(EMAIL).is_none());
    let body = json!({"email": EMAIL, "device_id": "x".repeat(128)});
    origin.post("/otp/send", body).await.expect(200, "");
}
