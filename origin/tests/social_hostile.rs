//! A provider, a browser or somebody between them that does not keep to the rules.

mod idp;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgekeep_origin::config::Config;
use idp::{
    APP, CLIENT, CLIENT_SECRET, DISCOVERY, Flow, Idp, Key, PAGE, Says, add, come_back, exchange,
    land, returned, start, start_with,
};
use serde_json::{Value, json};
use sha2::Digest as _;
use support::{BEGINNING, Origin, Reply, all};

/// A provider called `acme`, and an origin that knows it.
async fn acme() -> (Idp, Origin) {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| add(config, "acme", &idp.issuer)).await;
    (idp, origin)
}

const VERIFIED: &str = "ada@example.org";

fn verified() -> Value {
    json!({"email": VERIFIED, "email_verified": true})
}

#[tokio::test]
async fn metadata_that_cannot_be_trusted_begins_nothing() {
    let idp = Idp::start().await;
    let issuer = &idp.issuer;
    for (what, members, good) in [
        ("as it is", json!({}), true),
        (
            "PKCE null",
            json!({"code_challenge_methods_supported": null}),
            false,
        ),
        (
            "plain alone",
            json!({"code_challenge_methods_supported": ["plain"]}),
            false,
        ),
        (
            "no PKCE",
            json!({"code_challenge_methods_supported": []}),
            false,
        ),
        (
            "S256 in lower case",
            json!({"code_challenge_methods_supported": ["s256"]}),
            false,
        ),
        (
            "no code flow",
            json!({"response_types_supported": ["id_token"]}),
            false,
        ),
        (
            "another issuer",
            json!({"issuer": "https://other.example"}),
            false,
        ),
        (
            "the issuer with a slash",
            json!({"issuer": format!("{issuer}/")}),
            false,
        ),
        ("no issuer", json!({"issuer": null}), false),
        (
            "plain HTTP",
            json!({"token_endpoint": "http://id.example.com/token"}),
            false,
        ),
        (
            "another scheme",
            json!({"jwks_uri": "file:///etc/passwd"}),
            false,
        ),
        (
            "a user in it",
            json!({"authorization_endpoint": "https://a@b.example/"}),
            false,
        ),
        ("a relative URL", json!({"token_endpoint": "/token"}), false),
        ("no key set", json!({"jwks_uri": null}), false),
        (
            "userinfo elsewhere",
            json!({"userinfo_endpoint": "http://10.0.0.1/"}),
            false,
        ),
        (
            "TLS elsewhere",
            json!({"userinfo_endpoint": "https://id.example.com/me"}),
            true,
        ),
    ] {
        idp.publish(members);
        let origin = Origin::with(|config| add(config, "acme", issuer)).await;
        let reply = origin.post("/social/acme/start", json!({})).await;
        assert_eq!(reply.status == 200, good, "{what}: {:?}", reply.body);
        if !good {
            reply.expect(503, "unavailable");
        }
    }
}

/// Entra does PKCE and does not say so.
#[tokio::test]
async fn metadata_without_a_word_on_pkce_is_taken() {
    let (idp, origin) = acme().await;
    let mut metadata = idp.metadata();
    let members = metadata.as_object_mut().unwrap();
    members.remove("code_challenge_methods_supported");
    members.remove("response_types_supported");
    idp.say(DISCOVERY, Says::Json(metadata));
    let flow = start(&origin, "acme").await;
    assert_eq!(flow.parameter("code_challenge_method"), "S256");
}

#[tokio::test]
async fn every_login_has_a_challenge_of_its_own_verifier() {
    let (idp, origin) = acme().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let flow = start(&origin, "acme").await;
        assert_eq!(flow.parameter("code_challenge_method"), "S256");
        assert_eq!(flow.parameter("response_type"), "code");
        let redirect = "http://127.0.0.1:8080/api/v1/auth/social/acme/callback";
        assert_eq!(flow.parameter("redirect_uri"), redirect);
        // 256 bits each.
        assert!(flow.state().len() >= 43 && flow.nonce().len() == 43);
        let reply = idp.log_in(&origin, &flow, "1", verified()).await;
        returned(&reply, "code");
        let call = idp.calls("/token").pop().unwrap();
        let verifier = &call.form["code_verifier"];
        let challenge = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier));
        assert_eq!(flow.parameter("code_challenge"), challenge);
        assert_eq!(call.form["redirect_uri"], redirect);
        assert_eq!(call.form["code"], "their-code");
        let basic =
            base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{CLIENT_SECRET}"));
        assert_eq!(call.headers["authorization"], format!("Basic {basic}"));
        assert!(!call.form.contains_key("client_secret"));
        for value in [flow.state(), flow.nonce(), challenge, verifier.clone()] {
            assert!(seen.insert(value));
        }
    }
}

#[tokio::test]
async fn documents_without_end_and_answers_that_never_come_are_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{";
            let _ = socket.write_all(head).await;
            while socket.write_all(&[b' '; 4_096]).await.is_ok() {
                count.fetch_add(4_096, Ordering::SeqCst);
            }
        }
    });
    let origin = Origin::with(|config| add(config, "acme", &issuer)).await;
    let began = Instant::now();
    origin
        .post("/social/acme/start", json!({}))
        .await
        .expect(503, "unavailable");
    assert!(began.elapsed() < Duration::from_secs(3));
    // What is in the socket's buffers was written, too.
    assert!(written.load(Ordering::SeqCst) < 32 << 20);

    let (idp, origin) = acme().await;
    idp.say(DISCOVERY, Says::Never);
    let began = Instant::now();
    origin
        .post("/social/acme/start", json!({}))
        .await
        .expect(503, "unavailable");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    // Whoever comes next does not wait for it again.
    let began = Instant::now();
    let replies = all((0..20).map(|_| origin.post("/social/acme/start", json!({})))).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    for reply in replies {
        reply.expect(503, "unavailable");
    }
    assert_eq!(idp.calls(DISCOVERY).len(), 1);
    origin.advance(30);
    idp.publish(json!({}));
    start(&origin, "acme").await;
}

#[tokio::test]
async fn redirects_and_failures_of_the_token_endpoint_log_nobody_in() {
    let (idp, origin) = acme().await;
    start(&origin, "acme").await;
    let token = json!({"access_token": "a", "token_type": "Bearer"});
    let with = |name: &str, value: Value| {
        let mut answer = token.clone();
        answer["id_token"] = json!("x.y.z");
        answer[name] = value;
        Says::Json(answer)
    };
    for (what, says, word) in [
        ("a redirect", Says::Redirect, "unavailable"),
        ("500", Says::Text(500, "x".to_owned()), "unavailable"),
        ("429", Says::Text(429, "x".to_owned()), "unavailable"),
        (
            "400",
            Says::Text(400, r#"{"error":"invalid_grant"}"#.to_owned()),
            "credentials_invalid",
        ),
        (
            "no JSON",
            Says::Text(200, "access_token=a".to_owned()),
            "unavailable",
        ),
        ("a list", Says::Json(json!([1])), "unavailable"),
        (
            "a member twice",
            Says::Text(200, r#"{"id_token":"a","id_token":"b"}"#.to_owned()),
            "unavailable",
        ),
        (
            "too long",
            Says::Text(200, " ".repeat(300_000)),
            "unavailable",
        ),
        (
            "no ID token",
            Says::Json(token.clone()),
            "credentials_invalid",
        ),
        (
            "an ID token of another type",
            with("id_token", json!(["x"])),
            "credentials_invalid",
        ),
        (
            "another kind of token",
            with("token_type", json!("DPoP")),
            "credentials_invalid",
        ),
        (
            "no kind of token",
            with("token_type", Value::Null),
            "credentials_invalid",
        ),
        (
            "no access token",
            with("access_token", Value::Null),
            "credentials_invalid",
        ),
        (
            "a token with a line feed",
            with("access_token", json!("a\nb: c")),
            "credentials_invalid",
        ),
        (
            "an error with 200",
            with("error", json!("x")),
            "credentials_invalid",
        ),
    ] {
        let flow = start(&origin, "acme").await;
        idp.say("/token", says);
        let reply = come_back(&origin, &flow, "their-code").await;
        assert_eq!(returned(&reply, "error"), word, "{what}");
        // Its cookie is taken back.
        let cookie = reply.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.contains("Max-Age=0"), "{cookie}");
    }
    assert!(idp.calls("/elsewhere").is_empty());
}

#[tokio::test]
async fn userinfo_must_be_about_the_same_person() {
    let idp = Idp::start().await;
    idp.publish(json!({"userinfo_endpoint": format!("{}/me", idp.issuer)}));
    let origin = Origin::with(|config| add(config, "acme", &idp.issuer)).await;
    let mine = json!({"sub": "1", "email": VERIFIED, "email_verified": true});
    for (says, good) in [
        (Says::Json(mine.clone()), true),
        (
            Says::Json(json!({"sub": "2", "email": VERIFIED, "email_verified": true})),
            false,
        ),
        (
            Says::Json(json!({"email": VERIFIED, "email_verified": true})),
            false,
        ),
        (Says::Redirect, false),
        (Says::Text(200, "eyJ.signed.jwt".to_owned()), false),
        (Says::Text(401, String::new()), false),
    ] {
        let what = format!("{says:?}");
        idp.say("/me", says);
        let flow = start(&origin, "acme").await;
        let reply = idp.log_in(&origin, &flow, "1", json!({})).await;
        let location = reply.headers["location"].to_str().unwrap();
        assert_eq!(location.contains("?code="), good, "{what}");
        let bearer = &idp.calls("/me").pop().unwrap().headers["authorization"];
        assert_eq!(bearer, "Bearer at-s3cret");
    }
    assert!(idp.calls("/elsewhere").is_empty());
    // What the ID token says already is not asked for.
    let asked = idp.calls("/me").len();
    idp.enter(&origin, "acme", "1", verified())
        .await
        .expect(200, "");
    assert_eq!(idp.calls("/me").len(), asked);
}

/// RFC 9700 §4.4: the provider that somebody chose sends them to another, and hands that one's
/// code to us as its own; or the other way round.
#[tokio::test]
async fn a_code_of_one_provider_is_nothing_at_the_callback_of_another() {
    let (honest, hostile) = (Idp::start().await, Idp::start().await);
    let configure = |config: &mut Config| {
        add(config, "honest", &honest.issuer);
        add(config, "hostile", &hostile.issuer);
    };
    let origin = Origin::with(configure).await;
    let flow = start(&origin, "hostile").await;
    let (state, cookie) = (flow.state(), flow.cookie.as_deref());
    let query = [("state", &*state), ("code", "honest-code")];
    let reply = land(&origin, "honest", &query, cookie).await;
    reply.expect(400, "code_invalid");
    assert!(honest.calls("/token").is_empty() && hostile.calls("/token").is_empty());
    // Whichever callback it comes to: the answer says whose it is.
    let named = [
        ("state", &*state),
        ("code", "honest-code"),
        ("iss", &*honest.issuer),
    ];
    let reply = land(&origin, "hostile", &named, cookie).await;
    assert_eq!(returned(&reply, "error"), "credentials_invalid");
    assert!(hostile.calls("/token").is_empty());
}

#[tokio::test]
async fn an_answer_names_its_issuer_where_the_metadata_says_so() {
    let (idp, origin) = acme().await;
    let land_with = async |issuer: Option<&str>| {
        let flow = start(&origin, "acme").await;
        let mut claims = idp.claims(&flow, "1");
        claims["email"] = json!(VERIFIED);
        let now = origin.clock.now().unix_seconds();
        (claims["iat"], claims["exp"]) = (json!(now), json!(now + 300));
        idp.grant(&Key::usual().id_token("k1", &claims));
        let state = flow.state();
        let mut query = vec![("state", &*state), ("code", "x")];
        query.extend(issuer.map(|issuer| ("iss", issuer)));
        let reply = land(&origin, "acme", &query, flow.cookie.as_deref()).await;
        reply.headers["location"]
            .to_str()
            .unwrap()
            .contains("?code=")
    };
    assert!(land_with(None).await);
    assert!(land_with(Some(&idp.issuer)).await);
    assert!(!land_with(Some("https://other.example")).await);
    idp.publish(json!({"authorization_response_iss_parameter_supported": true}));
    origin.advance(3_600);
    assert!(!land_with(None).await);
    assert!(land_with(Some(&idp.issuer)).await);
}

#[tokio::test]
async fn a_state_is_good_once_in_time_and_for_its_own_browser() {
    let (idp, origin) = acme().await;
    let flow = start(&origin, "acme").await;
    let state = flow.state();
    let query = [("state", &*state), ("code", "x")];
    let other = start(&origin, "acme").await;
    let value = other.cookie.clone().unwrap();
    let (name, theirs) = value.split_once('=').unwrap();
    let own_name = flow.cookie.as_deref().unwrap().split_once('=').unwrap().0;
    // The other browser's cookie, under its own and under this one's name, and twice.
    let both = format!("{}; {own_name}={theirs}", flow.cookie.as_deref().unwrap());
    for cookie in [
        None,
        Some(String::new()),
        Some(format!("{name}={theirs}")),
        Some(format!("{own_name}={theirs}")),
        Some(format!("{own_name}=")),
        Some(both),
        Some(flow.cookie.clone().unwrap().to_uppercase()),
    ] {
        let reply = land(&origin, "acme", &query, cookie.as_deref()).await;
        reply.expect(400, "code_invalid");
    }
    assert!(idp.calls("/token").is_empty());
    // None of that has used it up, but this has.
    let reply = idp.log_in(&origin, &flow, "1", verified()).await;
    returned(&reply, "code");
    come_back(&origin, &flow, "x")
        .await
        .expect(400, "code_invalid");
    // In time.
    let late = start(&origin, "acme").await;
    origin.advance(599);
    let reply = idp.log_in(&origin, &late, "1", verified()).await;
    returned(&reply, "code");
    let late = start(&origin, "acme").await;
    origin.advance(600);
    come_back(&origin, &late, "x")
        .await
        .expect(400, "code_expired");
    // Forged ones.
    let tail = &state[1..];
    let long = "a".repeat(8_193);
    for state in [
        "",
        "x",
        ".",
        tail,
        &format!("{state}x"),
        &state.to_lowercase(),
        &long,
    ] {
        let cookie = flow.cookie.as_deref();
        let reply = land(&origin, "acme", &[("state", state), ("code", "x")], cookie).await;
        assert_eq!(reply.status, 400, "{state}");
    }
}

#[tokio::test]
async fn a_callback_that_is_not_one_is_a_problem_and_uses_nothing_up() {
    let (idp, origin) = acme().await;
    let flow = start(&origin, "acme").await;
    let state = flow.state();
    let cookie = flow.cookie.as_deref();
    for query in [
        vec![],
        vec![("state", &*state)],
        vec![("code", "x")],
        vec![("state", &*state), ("code", "")],
        vec![("state", &*state), ("code", "x"), ("code", "y")],
        vec![("state", &*state), ("state", &*state), ("code", "x")],
        vec![("state", &*state), ("code", "x"), ("error", "y")],
        vec![
            ("state", &*state),
            ("code", "x"),
            ("iss", "a"),
            ("iss", "b"),
        ],
    ] {
        let reply = land(&origin, "acme", &query, cookie).await;
        reply.expect(400, "request_invalid");
    }
    let reply = land(
        &origin,
        "nobody",
        &[("state", &*state), ("code", "x")],
        cookie,
    )
    .await;
    reply.expect(404, "not_found");
    let reply = idp.log_in(&origin, &flow, "1", verified()).await;
    returned(&reply, "code");
    // What the provider says of an error goes nowhere.
    let flow = start(&origin, "acme").await;
    let state = flow.state();
    let said = [
        ("state", &*state),
        ("error", "server_error"),
        ("error_description", "<script>"),
    ];
    let reply = land(&origin, "acme", &said, flow.cookie.as_deref()).await;
    assert_eq!(returned(&reply, "error"), "credentials_invalid");
}

#[tokio::test]
async fn of_a_hundred_callbacks_and_a_hundred_exchanges_one_wins() {
    let (idp, origin) = acme().await;
    let flow = start(&origin, "acme").await;
    let mut claims = idp.claims(&flow, "1");
    claims["email"] = json!(VERIFIED);
    claims["email_verified"] = json!(true);
    idp.grant(&Key::usual().id_token("k1", &claims));
    let origin = Arc::new(origin);
    let landings = (0..100).map(|_| {
        let (origin, flow) = (Arc::clone(&origin), flow.clone());
        tokio::spawn(async move { come_back(&origin, &flow, "their-code").await })
    });
    let replies: Vec<Reply> = all(landings)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 303);
    assert_eq!((won.len(), lost.len()), (1, 99));
    for reply in lost {
        reply.expect(400, "code_invalid");
    }
    assert_eq!(idp.calls("/token").len(), 1);
    let code = returned(&won[0], "code");
    let exchanges = (0..100).map(|_| {
        let (origin, flow, code) = (Arc::clone(&origin), flow.clone(), code.clone());
        tokio::spawn(async move { exchange(&origin, &flow, &code).await })
    });
    let replies: Vec<Reply> = all(exchanges)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 99));
    for reply in lost {
        reply.expect(400, "code_invalid");
    }
}

/// Many logins of one new person at once make one account.
#[tokio::test]
async fn the_same_person_in_many_windows_gets_one_account() {
    let (idp, origin) = acme().await;
    let mut ready = Vec::new();
    for _ in 0..10 {
        let flow = start(&origin, "acme").await;
        let reply = idp.log_in(&origin, &flow, "1", verified()).await;
        ready.push((flow, returned(&reply, "code")));
    }
    let origin = Arc::new(origin);
    let exchanges = ready.into_iter().map(|(flow, code)| {
        let origin = Arc::clone(&origin);
        tokio::spawn(async move { exchange(&origin, &flow, &code).await })
    });
    let ids: std::collections::BTreeSet<String> = all(exchanges)
        .await
        .into_iter()
        .map(|reply| reply.unwrap().expect(200, "").body["user"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_code_is_exchanged_by_whoever_began_and_in_time() {
    let (idp, origin) = acme().await;
    let finish = async |binding: &str| {
        let page = if binding == "token" { APP } else { PAGE };
        let body = json!({"return_url": page, "binding": binding});
        let flow = start_with(&origin, "acme", body).await;
        let reply = idp.log_in(&origin, &flow, "1", verified()).await;
        let code = returned(&reply, "code");
        (flow, code)
    };
    let refused = async |flow: &Flow, code: &str| {
        exchange(&origin, flow, code)
            .await
            .expect(400, "code_invalid");
    };
    let (in_browser, code) = finish("cookie").await;
    assert!(in_browser.token.is_none() && in_browser.cookie.is_some());
    let value = in_browser
        .cookie
        .as_deref()
        .unwrap()
        .split_once('=')
        .unwrap()
        .1
        .to_owned();
    let (other, others_code) = finish("cookie").await;
    for (cookie, token) in [
        (None, None),
        (other.cookie.clone(), None),
        // The cookie's value is no flow token.
        (None, Some(value.clone())),
        (in_browser.cookie.clone(), Some(value)),
    ] {
        let flow = Flow {
            cookie,
            token,
            ..in_browser.clone()
        };
        refused(&flow, &code).await;
    }
    refused(&in_browser, &others_code).await;
    exchange(&origin, &in_browser, &code).await.expect(200, "");
    refused(&in_browser, &code).await;

    let (in_app, code) = finish("token").await;
    assert!(in_app.token.is_some() && in_app.cookie.is_none());
    let token = in_app.token.clone().unwrap();
    let tag = code
        .strip_prefix("eks_")
        .unwrap()
        .split_once('.')
        .unwrap()
        .0;
    for (cookie, token) in [
        (None, None),
        (None, Some(String::new())),
        (None, Some(format!("{token}x"))),
        // The token is no cookie.
        (Some(format!("edgekeep-flow-{tag}={token}")), None),
    ] {
        let flow = Flow {
            cookie,
            token,
            ..in_app.clone()
        };
        refused(&flow, &code).await;
    }
    exchange(&origin, &in_app, &code).await.expect(200, "");

    let (flow, code) = finish("cookie").await;
    origin.advance(60);
    refused(&flow, &code).await;
    let (flow, code) = finish("cookie").await;
    origin.advance(59);
    exchange(&origin, &flow, &code).await.expect(200, "");
    for code in ["", "eks_", "eks_x.y", &code[4..], &format!("{code}x")] {
        refused(&flow, code).await;
    }
}

#[tokio::test]
async fn cookies_are_for_this_host_alone() {
    let idp = Idp::start().await;
    let cookie = async |public_url: Option<&str>| {
        let origin = Origin::with(|config| {
            add(config, "acme", &idp.issuer);
            config.server.public_url = public_url.map(str::to_owned);
        })
        .await;
        let reply = origin
            .post("/social/acme/start", json!({}))
            .await
            .expect(200, "");
        (
            reply.headers["set-cookie"].to_str().unwrap().to_owned(),
            reply,
        )
    };
    let (text, reply) = cookie(Some("https://id.example.org")).await;
    assert!(text.starts_with("__Host-edgekeep-flow-"), "{text}");
    assert!(
        text.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"),
        "{text}"
    );
    let url = reply.text("authorization_url");
    let redirect =
        "redirect_uri=https%3A%2F%2Fid.example.org%2Fapi%2Fv1%2Fauth%2Fsocial%2Facme%2Fcallback";
    assert!(url.contains(redirect), "{url}");
    let (text, _) = cookie(None).await;
    assert!(text.starts_with("edgekeep-flow-"), "{text}");
    assert!(
        text.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"),
        "{text}"
    );
}

#[tokio::test]
async fn who_is_to_log_in_again_has_to() {
    let (idp, origin) = acme().await;
    let now = BEGINNING.unix_seconds();
    let again = json!({"return_url": PAGE, "reauthenticate": true});
    for (auth_time, good) in [
        (json!(now), true),
        (json!(now - 60), true),
        (json!(now - 61), false),
        (json!(0), false),
        (Value::Null, false),
        (json!(now.to_string()), false),
    ] {
        let flow = start_with(&origin, "acme", again.clone()).await;
        assert_eq!(flow.parameter("prompt"), "login");
        assert_eq!(flow.parameter("max_age"), "0");
        let mut said = verified();
        said["auth_time"] = auth_time.clone();
        let reply = idp.log_in(&origin, &flow, "1", said).await;
        let location = reply.headers["location"].to_str().unwrap();
        assert_eq!(location.contains("?code="), good, "{auth_time}");
    }
    // Nothing said is nothing proved.
    let flow = start_with(&origin, "acme", again).await;
    let reply = idp.log_in(&origin, &flow, "1", verified()).await;
    assert_eq!(returned(&reply, "error"), "credentials_invalid");
}

/// Somebody who has been logged in at the provider for an hour has not proved anything just now.
#[tokio::test]
async fn a_session_is_as_old_as_the_proof_at_the_provider() {
    let (idp, origin) = acme().await;
    let now = BEGINNING.unix_seconds();
    for (said, expected) in [(now - 3_600, now - 3_600), (now + 3_600, now), (-5, 0)] {
        let mut more = verified();
        more["auth_time"] = json!(said);
        let tokens = idp.enter(&origin, "acme", "1", more).await.expect(200, "");
        let bearer = tokens.text("access_token");
        let info = origin
            .call(Method::GET, "/api/v1/auth/token-info", Some(bearer), None)
            .await;
        assert_eq!(info.body["auth_time"], expected, "{said}");
        let reply = idp::start_link(&origin, "acme", bearer).await;
        assert_eq!(reply.status == 200, expected == now, "{said}");
    }
}
