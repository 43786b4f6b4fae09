//! The corpus of hostile tokens at the origin's own doors: the verdicts are the verifier's.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod keep;
mod support;

use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use edgekeep_corpus::{Carrier, Case, Scene, Verdict, corpus, good_jwks};
use edgekeep_shared::base64url;
use serde_json::{Value, json};
use support::{BEGINNING, Origin};

/// Bytes of a body that the origin reads.
const LARGEST_BODY: usize = 64 * 1024;

/// An origin that publishes the good keys of the corpus, as if it had signed with them before, and
/// the corpus for one of its sessions.
async fn judged() -> (Origin, Vec<Case>) {
    let origin = Origin::with(|config| config.tokens.leeway_seconds = 0).await;
    let mut tx = origin.state.db.write().await.unwrap();
    for (kid, jwk) in good_jwks() {
        sqlx::query(
            "INSERT INTO signing_keys (kid, algorithm, state, public_jwk, created_at, published_at,
                                       activate_not_before, token_seconds)
             VALUES ($1, '', 'retiring', $2, 0, 0, 0, 900)",
        )
        .bind(kid)
        .bind(jwk)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'keyring'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(origin.state.keyring.refresh().await.unwrap());

    let user = keep::user(&origin.state).await;
    let session = keep::open(&origin.state, user).await.session_id;
    let scene = Scene {
        issuer: origin.state.config.issuer(),
        audience: origin.state.config.tokens.audience.clone(),
        now: BEGINNING.unix_seconds(),
        subject: user.to_string(),
        session: session.to_string(),
        bait: "http://127.0.0.1:9".to_owned(),
    };
    (origin, corpus(&scene))
}

/// The claims of a token that was made of JSON.
fn payload(case: &Case) -> Value {
    let payload = case.token.split(|&byte| byte == b'.').nth(1).unwrap();
    serde_json::from_slice(&base64url::decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_protected_route_gives_the_verdict_of_the_corpus() {
    let (origin, cases) = judged().await;
    let mut wrong = Vec::new();
    for case in &cases {
        let value = [b"Bearer ", &*case.token].concat();
        // What the carrier cannot hold is no header, here as on the wire.
        let Ok(value) = HeaderValue::from_bytes(&value) else {
            assert_eq!(case.carrier, Carrier::Control, "{}", case.name);
            continue;
        };
        let request = Request::get("/api/v1/auth/token-info")
            .header(header::AUTHORIZATION, value)
            .body(Body::empty());
        let reply = origin.send(request.unwrap()).await;
        let given = match reply.status.as_u16() {
            200 => "ok",
            401 => reply.code(),
            _ => "another status",
        };
        let expected = match (case.carrier, case.verdict) {
            // What is left without the space is the good token; a tab divides nothing.
            (Carrier::OuterSpace, _)
                if !case.token.trim_ascii().is_empty() && !case.token.starts_with(b"\t") =>
            {
                "ok"
            }
            (Carrier::Empty | Carrier::OuterSpace, _) => "token_malformed",
            // The routes of people ask for a session, which an access token need not have.
            (_, Verdict::Accepted) if payload(case)["sid"].is_null() => "claim_missing",
            (_, verdict) => verdict.word(),
        };
        if given != expected {
            wrong.push(format!("{}: {given} for {expected}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_token_that_is_asked_about_gets_the_verdict_of_the_corpus() {
    let (origin, cases) = judged().await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for case in &cases {
        // JSON holds any text, and nothing that is none.
        let Ok(token) = std::str::from_utf8(&case.token) else {
            continue;
        };
        asked += 1;
        let body = json!({"token": token});
        let is_too_large = body.to_string().len() > LARGEST_BODY;
        let reply = origin.post("/validate-token", body).await;
        let given = match (reply.status.as_u16(), &reply.body["active"]) {
            (200, Value::Bool(true)) => "ok",
            (200, _) => reply.code(),
            (413, _) if is_too_large => "token_too_large",
            // No body may have a NUL, wherever it stands: refused before the token is looked at.
            (400, _) if token.contains('\0') => "token_malformed",
            _ => "another status",
        };
        if given != case.verdict.word() {
            wrong.push(format!(
                "{}: {given} for {}",
                case.name,
                case.verdict.word()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > cases.len() - 20, "{asked} of {}", cases.len());
}

/// That the corpus signs rightly is not for the verifier under test to say.
#[test]
fn an_independent_library_accepts_the_good_neighbours() {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    let scene = Scene {
        issuer: "https://id.example".to_owned(),
        audience: "api".to_owned(),
        now: BEGINNING.unix_seconds(),
        subject: "user-1".to_owned(),
        session: "session-1".to_owned(),
        bait: "http://127.0.0.1:9".to_owned(),
    };
    let keys: Vec<(&str, DecodingKey)> = good_jwks()
        .into_iter()
        .map(|(kid, jwk)| {
            let jwk: Jwk = serde_json::from_str(&jwk).unwrap();
            (kid, DecodingKey::from_jwk(&jwk).unwrap())
        })
        .collect();
    let mut judged = 0;
    for case in corpus(&scene) {
        let Some(kid) = case.name.strip_prefix("good/every-claim-by-") else {
            continue;
        };
        let algorithm = match kid.split('-').next().unwrap() {
            "es256" => Algorithm::ES256,
            "eddsa" => Algorithm::EdDSA,
            _ => Algorithm::RS256,
        };
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.set_audience(&["api"]);
        validation.set_issuer(&["https://id.example"]);
        let (_, key) = keys.iter().find(|(other, _)| *other == kid).unwrap();
        let verdict = jsonwebtoken::decode::<Value>(&case.token, key, &validation);
        assert!(verdict.is_ok(), "{}: {verdict:?}", case.name);
        judged += 1;
    }
    assert_eq!(judged, 7, "each key but the mixed one");
}
