//! What sessions tell of their devices, those that ended, and what tokens and profiles say.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod people;
mod support;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use edgekeep_origin::revocation;
use people::{PASSWORD, Person};
use serde_json::{Value, json};
use std::net::SocketAddr;
use support::{BEGINNING, Origin, Reply};

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                      Gecko) Chrome/126.0.0.0 Safari/537.36";

async fn log_in(origin: &Origin, headers: &[(&str, &str)], device_id: Option<&str>) -> Reply {
    let mut body = json!({"identifier": "user@example.org", "password": PASSWORD});
    if let Some(device_id) = device_id {
        body["device_id"] = device_id.into();
    }
    let mut request = Request::post("/api/v1/auth/login")
        .header(header::CONTENT_TYPE, "application/json")
        .extension(ConnectInfo(SocketAddr::from(([203, 0, 113, 7], 4_000))));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    origin.send(request).await.expect(200, "")
}

async fn session(origin: &Origin, tokens: &Reply) -> Value {
    let bearer = Some(tokens.text("access_token"));
    let reply = origin.call(GET, "/api/v1/auth/session", bearer, None).await;
    reply.expect(200, "").body
}

#[tokio::test]
async fn a_session_tells_of_its_device() {
    let origin = Origin::new().await;
    Person::new_user(&origin, "user@example.org").await;
    let headers = [
        ("user-agent", CHROME),
        ("x-device-id", "laptop-7"),
        ("x-app-version", "4.2.0 (118)"),
    ];
    let tokens = log_in(&origin, &headers, None).await;
    let shown = session(&origin, &tokens).await;
    for (name, value) in [
        ("device_id", "laptop-7"),
        ("device_type", "desktop"),
        ("device_name", "Chrome on Windows"),
        ("app_version", "4.2.0 (118)"),
        ("address", "203.0.113.7"),
        ("network", "203.0.0.0/16"),
        ("user_agent", CHROME),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert_eq!(shown["amr"], json!(["pwd"]));
    assert_eq!(shown["current"], true);
    // The token names the device, too; what the body says counts more than the header.
    let bearer = tokens.text("access_token");
    let said = people::judged(&origin, bearer).await;
    assert_eq!(said["device_id"], "laptop-7");
    let tokens = log_in(&origin, &headers, Some("named")).await;
    assert_eq!(session(&origin, &tokens).await["device_id"], "named");
}

#[tokio::test]
async fn a_refresh_tells_of_another_version_of_the_application() {
    let origin = Origin::new().await;
    Person::new_user(&origin, "user@example.org").await;
    let device = ("x-device-id", "laptop-7");
    let mut tokens = log_in(&origin, &[device, ("x-app-version", "4.2.0")], None).await;
    let long = "x".repeat(65);
    for (header, expected) in [
        (Some("4.2.0"), "4.2.0"),
        (Some("4.3.0"), "4.3.0"),
        // Who says nothing, or nothing that fits, has not changed it.
        (None, "4.3.0"),
        (Some(long.as_str()), "4.3.0"),
        (Some("4.2.0"), "4.2.0"),
    ] {
        let headers: Vec<_> = header.iter().map(|&it| ("x-app-version", it)).collect();
        let body = json!({"refresh_token": tokens.text("refresh_token")});
        let reply = origin
            .post_from("203.0.113.7", &headers, "/refresh", &body)
            .await;
        tokens = reply.expect(200, "");
        let shown = session(&origin, &tokens).await;
        assert_eq!(shown["app_version"], expected, "after {header:?}");
        assert_eq!(shown["device_id"], "laptop-7");
    }
}

#[tokio::test]
async fn headers_that_do_not_fit_are_as_if_they_were_not_there() {
    let origin = Origin::new().await;
    Person::new_user(&origin, "user@example.org").await;
    let long = "x".repeat(129);
    for headers in [
        &[][..],
        &[("x-device-id", ""), ("x-app-version", "")],
        &[
            ("x-device-id", long.as_str()),
            ("x-app-version", long.as_str()),
        ],
        &[
            ("x-device-id", "a"),
            ("x-device-id", "b"),
            ("x-app-version", "a\tb"),
        ],
    ] {
        let tokens = log_in(&origin, headers, None).await;
        let shown = session(&origin, &tokens).await;
        for name in ["device_id", "app_version", "device_name"] {
            assert_eq!(shown.get(name), None, "{name} after {headers:?}");
        }
        assert_eq!(shown["device_type"], "other");
    }
}

#[tokio::test]
async fn ended_sessions_are_shown_for_thirty_days_with_their_reason() {
    let origin = Origin::with(|config| config.sessions.per_user = 3).await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let second = Person::log_in(&origin, &user.email).await;
    let route = format!("/sessions/{}", second.session);
    assert_eq!(
        user.ask(&origin, Method::DELETE, &route, None).await.status,
        204
    );
    let third = Person::log_in(&origin, &user.email).await;
    assert_eq!(
        third
            .ask(&origin, Method::POST, "/logout", None)
            .await
            .status,
        204
    );
    let idle = Person::log_in(&origin, &user.email).await;
    origin.advance(7 * 86_400);
    let now = Person::log_in(&origin, &user.email).await;
    let ended = async |person: &Person| {
        let reply = person.ask(&origin, GET, "/sessions?ended=true", None).await;
        let sessions = reply.body["sessions"].as_array().unwrap().clone();
        let mut list: Vec<(String, String)> = sessions
            .iter()
            .map(|one| {
                assert!(one["ended_at"].is_i64());
                let text = |name: &str| one[name].as_str().unwrap().to_owned();
                (text("id"), text("ended_reason"))
            })
            .collect();
        list.sort();
        list
    };
    let mut expected = vec![
        (second.session.clone(), "user".to_owned()),
        (third.session.clone(), "logout".to_owned()),
        (idle.session.clone(), "expired".to_owned()),
        (user.session.clone(), "expired".to_owned()),
    ];
    expected.sort();
    assert_eq!(ended(&now).await, expected);
    // Those that can be used are not among them, nor the other way round.
    let live = now.ask(&origin, GET, "/sessions", None).await;
    assert_eq!(live.body["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(live.body["sessions"][0].get("ended_at"), None);

    // 30 days after they ended: those that were ended by hand are out first.
    origin.advance(23 * 86_400);
    let now = Person::log_in(&origin, &user.email).await;
    let left: Vec<_> = ended(&now).await.into_iter().map(|one| one.0).collect();
    assert!(!left.contains(&second.session) && !left.contains(&third.session));
    assert!(left.contains(&idle.session));
    // What is swept was over for longer.
    revocation::clean(&origin.state).await.unwrap();
    assert_eq!(ended(&now).await.len(), left.len());
    for query in ["?ended=1", "?ended=", "?all=true"] {
        now.ask(&origin, GET, &format!("/sessions{query}"), None)
            .await
            .expect(400, "request_invalid");
    }
}

#[tokio::test]
async fn the_last_login_is_in_the_profile() {
    let origin = Origin::new().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    origin.advance(60);
    let profile = user.ask(&origin, GET, "/profile", None).await;
    assert_eq!(profile.body["last_login"], BEGINNING.unix_seconds());
    assert_eq!(profile.body["created_at"], BEGINNING.unix_seconds());
    // A refresh is no login.
    let user = user.refreshed(&origin).await;
    let profile = user.ask(&origin, GET, "/profile", None).await;
    assert_eq!(profile.body["last_login"], BEGINNING.unix_seconds());
    let again = Person::log_in(&origin, &user.email).await;
    let profile = again.ask(&origin, GET, "/profile", None).await;
    assert_eq!(profile.body["last_login"], BEGINNING.unix_seconds() + 60);
}

#[tokio::test]
async fn a_person_changes_what_they_say_of_themselves_and_nothing_else() {
    let origin = Origin::new().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let put = async |body: Value| user.ask(&origin, PUT, "/profile", Some(body)).await;
    let full = json!({"name": "Anna Ä. Meier", "given_name": "Anna", "family_name": "Meier",
        "display_name": "anna", "locale": "de-CH", "time_zone": "Europe/Zurich",
        "picture": "https://example.org/a.png"});
    let reply = put(full.clone()).await.expect(200, "");
    for (name, value) in full.as_object().unwrap() {
        assert_eq!(&reply.body[name], value, "{name}");
    }
    let before = user.ask(&origin, GET, "/profile", None).await.body;
    for (name, value) in [
        ("id", json!("00000000-0000-4000-8000-000000000000")),
        ("roles", json!(["admin"])),
        ("permissions", json!(["all"])),
        ("own_permissions", json!(["all"])),
        ("scope", json!("all")),
        ("kyc_level", json!(3)),
        ("kyc_status", json!("verified")),
        ("kyc_expires_at", json!(0)),
        ("email", json!("other@example.org")),
        ("email_verified", json!(true)),
        ("phone_number", json!("+41791234567")),
        ("phone_number_verified", json!(true)),
        ("username", json!("admin")),
        ("customer_id", json!("c-1")),
        ("status", json!("active")),
        ("erase_at", json!(null)),
        ("last_login", json!(0)),
        ("created_at", json!(0)),
        ("password", json!("x")),
        ("profile", json!({})),
        ("__proto__", json!({})),
        ("Name", json!("x")),
        ("name ", json!("x")),
    ] {
        let mut body = full.clone();
        body[name] = value;
        put(body).await.expect(400, "request_invalid");
    }
    for body in [
        json!({"name": "x".repeat(201)}),
        json!({"given_name": "a\u{7}b"}),
        json!({"locale": "german"}),
        json!({"locale": "de_CH"}),
        json!({"time_zone": "../etc/passwd"}),
        json!({"picture": "javascript:alert(1)"}),
        json!({"picture": "http://example.org/a.png"}),
        json!({"name": 1}),
    ] {
        let status = put(body.clone()).await.status.as_u16();
        // Has the shape of a tag: a language of up to 8 letters (RFC 5646 §2.1).
        let expected = if body == json!({"locale": "german"}) {
            200
        } else {
            400
        };
        assert_eq!(status, expected, "{body}");
    }
    put(full).await.expect(200, "");
    let after = user.ask(&origin, GET, "/profile", None).await.body;
    assert_eq!(before, after);
    // The trail says which fields, not what was in them.
    let trail = people::events(&origin, &admin, "profile").await;
    assert!(!trail.is_empty());
    let text = Value::from(trail).to_string();
    assert!(
        text.contains("given_name") && !text.contains("Meier"),
        "{text}"
    );
    // What is left out is not said any more.
    let reply = put(json!({"locale": null, "display_name": "b"}))
        .await
        .expect(200, "");
    for name in ["name", "locale", "picture"] {
        assert_eq!(reply.body.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn tokens_say_user_name_and_country_only_where_configured() {
    use base64::Engine as _;
    let claims = |token: &str| -> Value {
        let payload = token.split('.').nth(1).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    for include in [false, true] {
        let origin = Origin::with(|config| {
            config.tokens.include_username = include;
            config.tokens.include_country_code = include;
        })
        .await;
        let body = json!({"email": "user@example.org", "username": "Anna", "password": PASSWORD});
        origin.post("/register", body).await.expect(202, "");
        let body = json!({"email": "user@example.org", "code": origin.code("user@example.org")});
        let tokens = origin.post("/register/verify", body).await.expect(200, "");
        let said = claims(tokens.text("access_token"));
        assert_eq!(
            said.get("username"),
            include.then(|| json!("Anna")).as_ref()
        );
        assert_eq!(said.get("country_code"), None, "there is no number");
        let sent = json!({"phone_number": "+35312345678"});
        let sent = origin.post("/otp/send", sent).await.expect(200, "");
        let body =
            json!({"otp_token": sent.text("otp_token"), "code": origin.code("+35312345678")});
        let tokens = origin.post("/otp/verify", body).await.expect(200, "");
        let said = claims(tokens.text("access_token"));
        assert_eq!(
            said.get("country_code"),
            include.then(|| json!("+353")).as_ref()
        );
        assert_eq!(said.get("username"), None);
        let state = people::judged(&origin, tokens.text("access_token")).await;
        assert_eq!(state["active"], true);
    }
}

#[tokio::test]
async fn of_very_many_ended_sessions_the_latest_are_shown() {
    let origin = Origin::with(|config| {
        config.sessions.per_user = 1;
        config.limits.logins_per_user_per_hour = 1_000;
    })
    .await;
    let mut last = Person::new_user(&origin, "user@example.org").await;
    let mut before = String::new();
    for _ in 0..201 {
        origin.advance(1);
        before = last.session;
        last = Person::log_in(&origin, "user@example.org").await;
    }
    let shown = last.ask(&origin, GET, "/sessions?ended=true", None).await;
    let shown = shown.expect(200, "").body["sessions"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 200);
    assert_eq!(shown[0]["id"], before);
    let copy = last.ask(&origin, GET, "/account/export", None).await;
    let ended = copy.expect(200, "").body["ended_sessions"].clone();
    assert_eq!(ended.as_array().unwrap().len(), 201);
}
