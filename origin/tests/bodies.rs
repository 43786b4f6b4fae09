//! Bodies that are not what a route reads: a problem each, on every route that takes a body.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use edgekeep_origin::config::{SocialKind, SocialProvider};
use std::net::SocketAddr;
use support::{Origin, Reply};

/// Method, path, whether a bearer is needed, and a body that has the right shape.
const ROUTES: &[(&str, &str, bool, &str)] = &[
    (
        "POST",
        "/register",
        false,
        r#"{"email":"a@example.org","password":"correct horse"}"#,
    ),
    (
        "POST",
        "/register/verify",
        false,
        r#"{"email":"a@example.org","code":"123456"}"#,
    ),
    ("PUT", "/profile", true, r#"{"name":"A"}"#),
    (
        "POST",
        "/login",
        false,
        r#"{"identifier":"a@example.org","password":"correct horse"}"#,
    ),
    ("POST", "/otp/send", false, r#"{"email":"a@example.org"}"#),
    (
        "POST",
        "/otp/verify",
        false,
        r#"{"otp_token":"t","code":"123456"}"#,
    ),
    (
        "POST",
        "/forgot-password",
        false,
        r#"{"identifier":"a@example.org"}"#,
    ),
    (
        "POST",
        "/reset-password",
        false,
        r#"{"token":"t","password":"correct horse"}"#,
    ),
    (
        "POST",
        "/change-password",
        true,
        r#"{"current_password":"correct horse","new_password":"battery staple"}"#,
    ),
    ("POST", "/refresh", false, r#"{"refresh_token":"ekr_x"}"#),
    ("POST", "/logout", true, r#"{"all":false}"#),
    ("POST", "/contacts", true, r#"{"email":"b@example.org"}"#),
    (
        "POST",
        "/contacts/verify",
        true,
        r#"{"contact_token":"t","code":"123456"}"#,
    ),
    ("POST", "/contacts/undo", false, r#"{"token":"t"}"#),
    (
        "POST",
        "/kyc/verify",
        true,
        r#"{"level":1,"documents":[{"kind":"passport","reference":"r"}]}"#,
    ),
    ("POST", "/validate-token", false, r#"{"token":"a.b.c"}"#),
    ("POST", "/revoke-token", false, r#"{"token":"a.b.c"}"#),
    (
        "POST",
        "/social/github/start",
        false,
        r#"{"binding":"cookie","device_id":"d"}"#,
    ),
    (
        "POST",
        "/social/exchange",
        false,
        r#"{"code":"c","flow_token":"t"}"#,
    ),
    (
        "POST",
        "/social/github/link/start",
        true,
        r#"{"binding":"token"}"#,
    ),
    (
        "POST",
        "/reauthenticate/code",
        true,
        r#"{"method":"email"}"#,
    ),
    ("POST", "/social/link", true, r#"{"code":"c"}"#),
];

/// An origin that has every route of the table.
async fn origin() -> Origin {
    Origin::with(|config| {
        config.gate.introspection_token = Some(gate_token());
        let github = SocialProvider {
            kind: SocialKind::GitHub,
            client_id: "c".to_owned(),
            ..SocialProvider::default()
        };
        let providers = &mut config.social.providers;
        providers.insert("github".to_owned(), github);
    })
    .await
}

/// The values of an object's members as an array: what serde would fill a struct from.
fn as_array(object: &str) -> String {
    let object: serde_json::Map<_, _> = serde_json::from_str(object).unwrap();
    serde_json::to_string(&object.values().collect::<Vec<_>>()).unwrap()
}

/// The first member once more.
fn doubled(object: &str) -> String {
    let member = object[1..object.len() - 1].split(",\"").next().unwrap();
    format!("{{{member},{}", &object[1..])
}

fn hostile(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let open = &good[..good.len() - 1];
    let with = |member: &str| format!("{open},{member}}}").into_bytes();
    let first = good.split('"').nth(1).unwrap();
    let first_is = |value: &str| {
        let rest = good.split_once(",\"").map(|(_, rest)| format!(",\"{rest}"));
        let rest = rest.unwrap_or_else(|| "}".to_owned());
        format!("{{\"{first}\":{value}{rest}").into_bytes()
    };
    let nested =
        |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    vec![
        ("empty array", b"[]".to_vec()),
        ("array of the right shape", as_array(good).into_bytes()),
        ("array of the object", format!("[{good}]").into_bytes()),
        ("null", b"null".to_vec()),
        ("true", b"true".to_vec()),
        ("number", b"1".to_vec()),
        ("string", b"\"x\"".to_vec()),
        ("only spaces", b"  \r\n".to_vec()),
        ("not closed", open.as_bytes().to_vec()),
        ("two documents", format!("{good}{good}").into_bytes()),
        ("trailing comma", format!("{open},}}").into_bytes()),
        ("byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("NaN", with("\"captcha\":NaN")),
        ("unknown member", with("\"is_admin\":true")),
        (
            "unknown member that looks like a log line",
            with("\"a\\n2026-01-01T00:00:00Z ERROR \\u001b[31m\":1"),
        ),
        ("doubled member", doubled(good).into_bytes()),
        (
            "doubled member, escaped",
            with(&format!(
                "\"\\u{:04x}{}\":\"x\"",
                first.as_bytes()[0],
                &first[1..]
            )),
        ),
        (
            "doubled member inside",
            with("\"captcha\":{\"a\":1,\"a\":2}"),
        ),
        ("deep arrays", nested("[", "]").into_bytes()),
        ("deep objects", nested("{\"a\":", "}").into_bytes()),
        (
            "deep inside",
            with(&format!("\"captcha\":{}", nested("[", "]"))),
        ),
        ("never closed", "[".repeat(60_000).into_bytes()),
        ("NUL", first_is("\"a\\u0000b\"")),
        ("NUL in a name", with("\"a\\u0000\":1")),
        ("raw NUL", first_is("\"a\0b\"")),
        ("lone surrogate", first_is("\"\\ud800\"")),
        (
            "surrogates the wrong way round",
            first_is("\"\\udc00\\ud800\""),
        ),
        ("first member is an array", first_is("[]")),
        ("first member is an object", first_is("{}")),
        ("first member is a number", first_is("1e999")),
        (
            "invalid UTF-8",
            [b"{\"".as_slice(), first.as_bytes(), b"\":\"\xff\xfe\"}"].concat(),
        ),
        (
            "UTF-16",
            good.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        ("bytes", vec![0xff; 64]),
    ]
}

async fn send(
    origin: &Origin,
    route: &(&str, &str, bool, &str),
    bearer: &str,
    body: Vec<u8>,
    types: &[&str],
) -> Reply {
    let (method, path, needs_bearer, _) = route;
    let mut request = Request::builder()
        .method(*method)
        .uri(format!("/api/v1/auth{path}"))
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))));
    for content_type in types {
        request = request.header(header::CONTENT_TYPE, *content_type);
    }
    if *needs_bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
    }
    origin.send(request.body(Body::from(body)).unwrap()).await
}

#[track_caller]
fn expect_invalid(reply: &Reply, path: &str, what: &str) {
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (400, "request_invalid"),
        "{path}, {what}: {:?}",
        reply.body
    );
    assert_eq!(
        reply.headers["content-type"], "application/problem+json",
        "{path}, {what}"
    );
    let detail = reply.text("detail");
    assert!(
        !detail.contains(char::is_control),
        "{path}, {what}: {detail:?}"
    );
    assert!(detail.len() < 1_000, "{path}, {what}");
}

#[tokio::test]
async fn only_one_json_object_with_unique_members_is_read() {
    let origin = origin().await;
    let user = keep::user(&origin.state).await;
    let token = keep::open(&origin.state, user).await.access_token;
    for route in ROUTES {
        let (_, path, _, good) = route;
        for (what, body) in hostile(good) {
            let reply = send(&origin, route, &token, body, &["application/json"]).await;
            expect_invalid(&reply, path, what);
        }
        if *path != "/logout" {
            let reply = send(&origin, route, &token, Vec::new(), &["application/json"]).await;
            expect_invalid(&reply, path, "empty");
        }
    }
}

#[tokio::test]
async fn only_json_is_json() {
    let origin = origin().await;
    let user = keep::user(&origin.state).await;
    let token = keep::open(&origin.state, user).await.access_token;
    let wrong: [&[&str]; 9] = [
        &[],
        &[""],
        &["text/plain"],
        &["text/json"],
        &["application/jsonp"],
        &["application/x-www-form-urlencoded"],
        &["text/plain; application/json"],
        &["application/json, text/plain"],
        &["application/json", "application/json"],
    ];
    for route in ROUTES {
        let (_, path, _, good) = route;
        for types in wrong {
            let reply = send(&origin, route, &token, good.as_bytes().to_vec(), types).await;
            expect_invalid(&reply, path, &format!("{types:?}"));
        }
    }
}

/// Without this the tables above could pass because nothing is ever read.
#[tokio::test]
async fn the_same_bodies_unharmed_are_read() {
    for route in ROUTES {
        let origin = origin().await;
        let user = keep::user(&origin.state).await;
        let token = keep::open(&origin.state, user).await.access_token;
        for types in [["application/json"], ["Application/JSON; charset=utf-8"]] {
            let body = format!(" {}\n", route.3).into_bytes();
            let reply = send(&origin, route, &token, body, &types).await;
            let code = reply.code().to_owned();
            assert!(
                code != "request_invalid" && !reply.status.is_server_error(),
                "{}: {:?}",
                route.1,
                reply.body
            );
            // The second time, the session of the first has ended.
            if route.1 == "/logout" {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_long_body_is_too_large_and_forms_are_read_strictly() {
    let origin = origin().await;
    for route in ROUTES.iter().filter(|route| !route.2) {
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)).into_bytes();
        let reply = send(&origin, route, "", body, &["application/json"]).await;
        reply.expect(413, "request_too_large");
    }
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        for (content_type, body) in [
            ("application/json", "{\"token\":\"x\"}"),
            ("text/plain", "token=x"),
            ("application/x-www-form-urlencoded", ""),
            ("application/x-www-form-urlencoded", "token=a&token=b"),
            ("application/x-www-form-urlencoded", "token[]=a"),
        ] {
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, content_type)
                .header(header::AUTHORIZATION, "Bearer gate")
                .body(Body::from(body))
                .unwrap();
            let reply = origin.send(request).await;
            expect_invalid(&reply, path, body);
        }
        for body in [
            &b"token=%00"[..],
            b"token=\xff",
            b"token=%ff%fe",
            b"token=%zz",
        ] {
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::AUTHORIZATION, "Bearer gate")
                .body(Body::from(body))
                .unwrap();
            let status = origin.send(request).await.status;
            assert!(!status.is_server_error(), "{path} {body:?}: {status}");
        }
    }
}

fn gate_token() -> edgekeep_origin::vault::Secret {
    edgekeep_origin::vault::Secret::new("gate".to_owned())
}
