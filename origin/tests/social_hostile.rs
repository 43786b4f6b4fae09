//! A provider, a browser or somebody between them that does not keep to the rules.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod idp;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgekeep_origin::config::Config;
use idp::{
    APP, CLIENT, CLIENT_SECRET, DISCOVERY, Flow, Idp, Key, PAGE, Says, add, come_back, exchange,
    land, returned, start, start_with, unsigned,
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

/// Whether the ID token that `make` makes of the claims that are in order logs somebody in.
async fn accepts(
    idp: &Idp,
    origin: &Origin,
    make: impl FnOnce(&mut Value) -> String,
) -> Result<(), String> {
    let flow = start(origin, "acme").await;
    let mut claims = idp.claims(&flow, "1");
    claims["email"] = json!(VERIFIED);
    claims["email_verified"] = json!(true);
    idp.grant(&make(&mut claims));
    let reply = come_back(origin, &flow, "their-code").await;
    let location = reply.headers["location"].to_str().unwrap();
    if location.contains("?code=") {
        return Ok(());
    }
    Err(returned(&reply, "error"))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn judges_the_claims_of_an_id_token() {
    let (idp, origin) = acme().await;
    let now = BEGINNING.unix_seconds();
    let issuer = idp.issuer.clone();
    let cases: Vec<(&str, Value, bool)> = vec![
        ("as it is", json!({}), true),
        ("audience as a list of one", json!({"aud": [CLIENT]}), true),
        ("our azp", json!({"azp": CLIENT}), true),
        ("unknown claims", json!({"x": {"y": [1, 2.5, null]}}), true),
        ("another nonce", json!({"nonce": "x"}), false),
        ("no nonce", json!({"nonce": null}), false),
        ("a list of nonces", json!({"nonce": ["x"]}), false),
        ("another audience", json!({"aud": "other"}), false),
        (
            "an audience that begins like ours",
            json!({"aud": format!("{CLIENT}x")}),
            false,
        ),
        (
            "our audience in capitals",
            json!({"aud": CLIENT.to_uppercase()}),
            false,
        ),
        ("two audiences", json!({"aud": [CLIENT, "other"]}), false),
        ("ours twice", json!({"aud": [CLIENT, CLIENT]}), false),
        ("no audience at all", json!({"aud": []}), false),
        ("audience null", json!({"aud": null}), false),
        (
            "audience in an object",
            json!({"aud": {"a": CLIENT}}),
            false,
        ),
        ("another azp", json!({"azp": "other"}), false),
        ("azp of another type", json!({"azp": [CLIENT]}), false),
        (
            "another issuer",
            json!({"iss": "https://other.example"}),
            false,
        ),
        (
            "the issuer with a slash",
            json!({"iss": format!("{issuer}/")}),
            false,
        ),
        (
            "the issuer in capitals",
            json!({"iss": issuer.to_uppercase()}),
            false,
        ),
        ("a list of issuers", json!({"iss": [issuer]}), false),
        ("no issuer", json!({"iss": null}), false),
        (
            "exp a minute ago, less a second",
            json!({"exp": now - 59}),
            true,
        ),
        ("exp a minute ago", json!({"exp": now - 60}), false),
        (
            "exp as a text",
            json!({"exp": (now + 300).to_string()}),
            false,
        ),
        ("exp as a fraction", json!({"exp": 4e9 + 0.5}), false),
        ("no exp", json!({"exp": null}), false),
        ("the least exp", json!({"exp": i64::MIN}), false),
        ("the greatest exp", json!({"exp": i64::MAX}), true),
        ("iat in a minute", json!({"iat": now + 60}), true),
        (
            "iat in a minute and a second",
            json!({"iat": now + 61}),
            false,
        ),
        (
            "iat a minute before the login began",
            json!({"iat": now - 60}),
            true,
        ),
        ("iat before that", json!({"iat": now - 61}), false),
        ("no iat", json!({"iat": null}), false),
        ("iat as a text", json!({"iat": now.to_string()}), false),
        ("nbf in a minute", json!({"nbf": now + 60}), true),
        ("nbf later", json!({"nbf": now + 61}), false),
        ("nbf as a text", json!({"nbf": "0"}), false),
        ("auth_time long ago", json!({"auth_time": 1}), true),
        ("auth_time as a text", json!({"auth_time": "1"}), false),
        ("no subject", json!({"sub": null}), false),
        ("an empty subject", json!({"sub": ""}), false),
        ("a subject that is a number", json!({"sub": 1}), false),
        ("a subject with NUL", json!({"sub": "1\u{0}"}), false),
        (
            "a subject that is too long",
            json!({"sub": "1".repeat(256)}),
            false,
        ),
    ];
    for (what, changes, good) in cases {
        let verdict = accepts(&idp, &origin, |claims| {
            for (name, value) in changes.as_object().unwrap() {
                claims[name] = value.clone();
            }
            Key::usual().id_token("k1", claims)
        })
        .await;
        assert_eq!(verdict.is_ok(), good, "{what}: {verdict:?}");
        if let Err(word) = verdict {
            assert_eq!(word, "credentials_invalid", "{what}");
        }
    }
}

#[tokio::test]
async fn judges_the_header_and_the_spelling_of_an_id_token() {
    let (idp, origin) = acme().await;
    let rs = Key::usual();
    let jws = |header: Value, claims: &Value| rs.jws(&header.to_string(), &claims.to_string());
    let usual = json!({"alg": "RS256", "kid": "k1"});
    let with = |name: &str, value: Value| {
        let mut header = usual.clone();
        header[name] = value;
        header
    };
    for (what, header, good) in [
        ("as it is", usual.clone(), true),
        ("no kid, one key", json!({"alg": "RS256"}), true),
        ("typ", with("typ", json!("JWT")), true),
        ("typ in full", with("typ", json!("application/jwt")), true),
        ("unknown members", with("x", json!(1)), true),
        ("an embedded key", with("jwk", rs.jwk("k1")), true),
        ("an access token", with("typ", json!("at+jwt")), false),
        ("a logout token", with("typ", json!("logout+jwt")), false),
        ("an empty type", with("typ", json!("")), false),
        ("a type that is no text", with("typ", json!(1)), false),
        ("crit", with("crit", json!(["x"])), false),
        ("empty crit", with("crit", json!([])), false),
        ("b64", with("b64", json!(true)), false),
        ("another key", with("kid", json!("k2")), false),
        ("a kid that is no text", with("kid", json!(1)), false),
        ("alg in lower case", with("alg", json!("rs256")), false),
        ("PS256", with("alg", json!("PS256")), false),
        ("RS512", with("alg", json!("RS512")), false),
        ("ES256 of an RSA key", with("alg", json!("ES256")), false),
        ("EdDSA of an RSA key", with("alg", json!("EdDSA")), false),
        ("no alg", json!({"kid": "k1"}), false),
        ("alg null", with("alg", Value::Null), false),
    ] {
        // Within a cool-down an unknown key is looked for once; here it is another's turn.
        origin.advance(31);
        let now = origin.clock.now().unix_seconds();
        let verdict = accepts(&idp, &origin, |claims| {
            (claims["iat"], claims["exp"]) = (json!(now), json!(now + 300));
            jws(header, claims)
        })
        .await;
        assert_eq!(verdict.is_ok(), good, "{what}: {verdict:?}");
    }
}

type Make = Box<dyn Fn(&Value) -> String>;

const HEADER: &str = r#"{"alg":"RS256","kid":"k1"}"#;

/// None of these logs anybody in, where a token that is in order does.
async fn refuses(cases: Vec<(String, Make)>) {
    let (idp, origin) = acme().await;
    for (what, make) in cases {
        let verdict = accepts(&idp, &origin, |claims| make(claims)).await;
        assert_eq!(verdict, Err("credentials_invalid".to_owned()), "{what}");
    }
    let good = accepts(&idp, &origin, |claims| {
        Key::usual().jws(HEADER, &claims.to_string())
    });
    assert_eq!(good.await, Ok(()));
}

#[tokio::test]
async fn no_signature_but_the_providers_counts() {
    let mut cases: Vec<(String, Make)> = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({"alg": alg, "kid": "k1"}).to_string();
        cases.push((
            format!("alg {alg:?}"),
            Box::new(move |claims| format!("{}.", unsigned(&header, &claims.to_string()))),
        ));
    }
    // The public key in each of the forms that it is published in, as a secret.
    let jwk = Key::usual().jwk("k1");
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let secrets = [
        Key::usual().public().to_vec(),
        jwk.to_string().into_bytes(),
        n,
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        CLIENT_SECRET.as_bytes().to_vec(),
        Vec::new(),
    ];
    for secret in secrets {
        for alg in ["HS256", "RS256"] {
            let header = json!({"alg": alg, "kid": "k1"}).to_string();
            let secret = secret.clone();
            cases.push((
                format!("HMAC as {alg}"),
                Box::new(move |claims| {
                    let signed = unsigned(&header, &claims.to_string());
                    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                    let tag = hmac::sign(&key, signed.as_bytes());
                    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
                }),
            ));
        }
    }
    let other = Key::rs256();
    cases.push((
        "another key under this one's name".to_owned(),
        Box::new(move |claims| other.jws(HEADER, &claims.to_string())),
    ));
    let embedded = Key::rs256();
    cases.push((
        "a key in the header".to_owned(),
        Box::new(move |claims| {
            let header = json!({"alg": "RS256", "kid": "k1", "jwk": embedded.jwk("k1")});
            embedded.jws(&header.to_string(), &claims.to_string())
        }),
    ));
    refuses(cases).await;
}

#[tokio::test]
async fn a_token_that_was_changed_is_none() {
    let mut cases: Vec<(String, Make)> = Vec::new();
    for at in [
        "first", "last", "cut", "padded", "empty", "newline", "fourth", "fifth",
    ] {
        cases.push((
            format!("signature {at}"),
            Box::new(move |claims| {
                let good = Key::usual().jws(HEADER, &claims.to_string());
                let (signed, signature) = good.rsplit_once('.').unwrap();
                let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
                match at {
                    "first" => bytes[0] ^= 0x80,
                    "last" => *bytes.last_mut().unwrap() ^= 1,
                    "cut" => bytes.truncate(255),
                    _ => {}
                }
                let signature = URL_SAFE_NO_PAD.encode(bytes);
                match at {
                    "padded" => format!("{signed}.{signature}=="),
                    "empty" => format!("{signed}."),
                    "newline" => format!("{good}\n"),
                    "fourth" => format!("{good}.x"),
                    "fifth" => format!("{good}.x.y"),
                    _ => format!("{signed}.{signature}"),
                }
            }),
        ));
    }
    cases.push((
        "a payload that was changed".to_owned(),
        Box::new(|claims| {
            let good = Key::usual().jws(HEADER, &claims.to_string());
            let mut other = claims.clone();
            other["sub"] = json!("2");
            let signature = good.rsplit_once('.').unwrap().1;
            format!("{}.{signature}", unsigned(HEADER, &other.to_string()))
        }),
    ));
    for (what, member) in [
        ("a claim twice", r#","sub":"2"}"#),
        ("a claim twice, escaped", r#","s\u0075b":"2"}"#),
        ("a number that is none", r#","x":NaN}"#),
        ("something behind it", "}{}"),
    ] {
        cases.push((
            what.to_owned(),
            Box::new(move |claims| {
                let text = claims.to_string();
                let payload = format!("{}{member}", text.strip_suffix('}').unwrap());
                Key::usual().jws(HEADER, &payload)
            }),
        ));
    }
    for payload in [
        "x".to_owned(),
        "[]".to_owned(),
        String::new(),
        " ".repeat(40_000),
    ] {
        cases.push((
            format!("a payload of {} bytes", payload.len()),
            Box::new(move |_| Key::usual().jws(HEADER, &payload)),
        ));
    }
    cases.push(("no token".to_owned(), Box::new(|_| String::new())));
    cases.push(("dots".to_owned(), Box::new(|_| "..".to_owned())));
    refuses(cases).await;
}

#[tokio::test]
async fn keys_of_every_kind_sign_under_their_own_names_only() {
    let (idp, origin) = acme().await;
    let keys = [Key::rs256(), Key::es256(), Key::eddsa()];
    let names = ["rs", "es", "ed"];
    let published: Vec<Value> = keys
        .iter()
        .zip(names)
        .map(|(key, name)| key.jwk(name))
        .collect();
    idp.say("/jwks", Says::Json(json!({"keys": published})));
    for (index, key) in keys.iter().enumerate() {
        for name in names {
            let verdict = accepts(&idp, &origin, |claims| key.id_token(name, claims)).await;
            assert_eq!(verdict.is_ok(), name == names[index], "{index} {name}");
        }
    }
}

#[tokio::test]
async fn a_rotated_key_is_found_and_unknown_ones_cost_one_fetch_in_a_cool_down() {
    let (idp, origin) = acme().await;
    let at = |origin: &Origin| origin.clock.now().unix_seconds();
    let log_in = async |key: &Key, name: &str| {
        let now = at(&origin);
        accepts(&idp, &origin, |claims| {
            (claims["iat"], claims["exp"]) = (json!(now), json!(now + 300));
            key.id_token(name, claims)
        })
        .await
        .is_ok()
    };
    assert!(log_in(Key::usual(), "k1").await);
    assert_eq!(idp.calls("/jwks").len(), 1);
    let (second, third) = (Key::es256(), Key::eddsa());
    idp.say("/jwks", Says::Json(json!({"keys": [second.jwk("k2")]})));
    assert!(log_in(&second, "k2").await);
    assert_eq!(idp.calls("/jwks").len(), 2);
    // The old one is gone with it.
    assert!(!log_in(Key::usual(), "k1").await);
    // And a third, too soon.
    idp.say(
        "/jwks",
        Says::Json(json!({"keys": [second.jwk("k2"), third.jwk("k3")]})),
    );
    for _ in 0..5 {
        assert!(!log_in(&third, "k3").await);
    }
    assert_eq!(idp.calls("/jwks").len(), 2);
    origin.advance(30);
    assert!(log_in(&third, "k3").await);
    assert_eq!(idp.calls("/jwks").len(), 3);
    // While the set cannot be had, the last good one is used.
    idp.say("/jwks", Says::Text(500, String::new()));
    origin.advance(3_600);
    assert!(log_in(&second, "k2").await);
    origin.advance(24 * 3_600);
    assert!(!log_in(&second, "k2").await);
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
