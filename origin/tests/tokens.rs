//! Access tokens, from the session that they are issued for to the verdict of the shared verifier.

mod keep;
mod support;

use axum::http::Method;
use edgekeep_shared::error::Rejection;
use edgekeep_shared::jwk::JwkSet;
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::Verifier;
use serde_json::json;
use support::{BEGINNING, Origin};

#[tokio::test]
async fn an_issued_token_passes_the_verifier_with_the_published_keys() {
    for algorithm in [
        edgekeep_origin::config::Algorithm::ES256,
        edgekeep_origin::config::Algorithm::EdDSA,
        edgekeep_origin::config::Algorithm::RS256,
    ] {
        let origin = Origin::with(|config| config.tokens.algorithm = algorithm).await;
        let user = keep::user(&origin.state).await;
        let tokens = keep::open(&origin.state, user).await;
        let published = origin.get("/.well-known/jwks.json").await;
        assert_eq!(published.status, 200);
        assert_eq!(published.headers["cache-control"], "public, max-age=300");
        let keys = JwkSet::parse(published.body.to_string().as_bytes()).unwrap();
        assert_eq!(keys.keys().len(), 2, "the active key and its standby");
        assert!(!published.body.to_string().contains("\"d\""));

        let verifier = Verifier::new(origin.state.config.issuer(), "api");
        let at = |seconds: i64| {
            verifier.verify(
                tokens.access_token.as_bytes(),
                &keys,
                UnixTime(BEGINNING.unix_seconds() + seconds),
            )
        };
        let claims = at(0).unwrap().claims().clone();
        assert_eq!(claims.subject, user.to_string());
        assert_eq!(claims.session_id, Some(tokens.session_id.to_string()));
        assert_eq!(claims.client_id, "default");
        assert_eq!(claims.roles, ["admin"]);
        assert_eq!(claims.permissions, ["report:write"]);
        assert_eq!(claims.scopes, ["report:write"]);
        assert_eq!(claims.authentication_methods, ["pwd"]);
        assert_eq!(claims.authentication_context.as_deref(), Some("1"));
        assert_eq!(claims.kyc_level, Some(2));
        assert_eq!(claims.device_id.as_deref(), Some("phone"));
        assert_eq!(claims.customer_id.as_deref(), Some("c-1"));
        assert_eq!(tokens.expires_in, 900);
        assert!(at(899).is_ok());
        assert_eq!(at(900), Err(Rejection::TokenExpired));
        assert_eq!(at(-1), Err(Rejection::TokenNotYetValid));
    }
}

#[tokio::test]
async fn two_tokens_of_one_instant_differ_only_by_their_id() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let one = keep::open(&origin.state, user).await;
    let other = keep::open(&origin.state, user).await;
    assert_ne!(one.access_token, other.access_token);
    assert_ne!(one.refresh_token, other.refresh_token);
}

#[tokio::test]
async fn the_jwk_set_is_not_sent_twice() {
    let origin = Origin::new().await;
    let first = origin.get("/.well-known/jwks.json").await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    let again = |tag: String| {
        axum::http::Request::get("/.well-known/jwks.json")
            .header("if-none-match", tag)
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let reply = origin.send(again(tag.clone())).await;
    assert_eq!(reply.status, 304);
    assert_eq!(reply.headers["etag"], tag.as_str());
    assert_eq!(reply.headers["cache-control"], "public, max-age=300");
    assert_eq!(origin.send(again("\"x\"".to_owned())).await.status, 200);
}

#[tokio::test]
async fn a_token_is_validated_as_of_now() {
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let tokens = keep::open(&origin.state, user).await;
    let validate = |token: String| origin.post("/validate-token", json!({ "token": token }));

    let reply = validate(tokens.access_token.clone()).await;
    assert_eq!(reply.body["active"], true);
    assert_eq!(reply.text("sub"), user.to_string());
    assert_eq!(reply.headers["cache-control"], "no-store");
    let info = origin
        .call(
            Method::GET,
            "/api/v1/auth/token-info",
            Some(&tokens.access_token),
            None,
        )
        .await;
    assert_eq!(info.text("sid"), tokens.session_id.to_string());

    for (token, code) in [
        (String::new(), "token_malformed"),
        ("a.b.c".to_owned(), "token_malformed"),
        ("x".repeat(8_193), "token_too_large"),
        (format!("{}x", tokens.access_token), "token_malformed"),
    ] {
        let reply = validate(token).await;
        assert_eq!(reply.body, json!({"active": false, "code": code}));
    }

    // The configured leeway of five seconds is the only one.
    origin.advance(904);
    assert_eq!(
        validate(tokens.access_token.clone()).await.body["active"],
        true
    );
    origin.advance(1);
    let reply = validate(tokens.access_token.clone()).await;
    assert_eq!(
        reply.body,
        json!({"active": false, "code": "token_expired"})
    );
}

#[tokio::test]
async fn a_bearer_token_is_taken_from_one_header_alone() {
    const MISSING: &str = "Bearer realm=\"api\"";
    const MALFORMED: &str = "Bearer error=\"invalid_token\", error_description=\"token_malformed\"";
    let origin = Origin::new().await;
    let user = keep::user(&origin.state).await;
    let token = keep::open(&origin.state, user).await.access_token;
    for (values, status, code, challenge) in [
        (vec![], 401, "token_missing", MISSING),
        (vec!["Basic YTpi".to_owned()], 401, "token_missing", MISSING),
        (vec!["Bearer".to_owned()], 401, "token_malformed", MALFORMED),
        (
            vec!["Bearer  ".to_owned()],
            401,
            "token_malformed",
            MALFORMED,
        ),
        (vec![format!("bearer {token}")], 200, "", ""),
        (
            vec![format!("Bearer {token}x")],
            401,
            "token_malformed",
            MALFORMED,
        ),
        (
            vec![format!("Bearer {token}"), format!("Bearer {token}")],
            401,
            "token_malformed",
            MALFORMED,
        ),
    ] {
        let mut request = axum::http::Request::get("/api/v1/auth/token-info");
        for value in &values {
            request = request.header("authorization", value);
        }
        let reply = origin
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await;
        let given = reply.headers.get("www-authenticate");
        let given = given.map_or("", |value| value.to_str().unwrap());
        assert_eq!(given, challenge, "{values:?}");
        reply.expect(status, code);
    }
}

/// A library that knows nothing of this one agrees about what is issued.
#[tokio::test]
async fn an_issued_token_passes_an_independent_verifier() {
    use jsonwebtoken::{DecodingKey, Validation, jwk};
    for (algorithm, theirs) in [
        (
            edgekeep_origin::config::Algorithm::ES256,
            jsonwebtoken::Algorithm::ES256,
        ),
        (
            edgekeep_origin::config::Algorithm::EdDSA,
            jsonwebtoken::Algorithm::EdDSA,
        ),
        (
            edgekeep_origin::config::Algorithm::RS256,
            jsonwebtoken::Algorithm::RS256,
        ),
    ] {
        let origin = Origin::with(|config| config.tokens.algorithm = algorithm).await;
        let user = keep::user(&origin.state).await;
        let token = keep::open(&origin.state, user).await.access_token;
        let published = origin.get("/.well-known/jwks.json").await;
        let set: jwk::JwkSet = serde_json::from_value(published.body.clone()).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let key = DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
        let mut rules = Validation::new(theirs);
        rules.set_issuer(&[origin.state.config.issuer()]);
        rules.set_audience(&["api"]);
        // The test's clock is its own; time is judged elsewhere.
        rules.validate_exp = false;
        let judged = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &rules).unwrap();
        assert_eq!(judged.claims["sub"], user.to_string());
        let forged = format!("{}A", &token[..token.len() - 1]);
        assert!(
            forged == token
                || jsonwebtoken::decode::<serde_json::Value>(&forged, &key, &rules).is_err()
        );
    }
}
