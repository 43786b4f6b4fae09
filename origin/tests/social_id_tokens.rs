//! ID tokens of every kind but the right one, and the keys that sign them.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod idp;
mod support;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use idp::{CLIENT, CLIENT_SECRET, Idp, Key, Says, add, come_back, returned, start, unsigned};
use serde_json::{Value, json};
use support::{BEGINNING, Origin};

/// A provider called `acme`, and an origin that knows it.
async fn acme() -> (Idp, Origin) {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| add(config, "acme", &idp.issuer)).await;
    (idp, origin)
}

const VERIFIED: &str = "ada@example.org";

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
