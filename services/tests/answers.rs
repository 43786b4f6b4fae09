//! What the layer asks for, and how it refuses.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::get;
use edgekeep_tests::issuer::{Behaviour, Door};
use edgekeep_tower::{Requirement, VerifiedToken};
use http::{HeaderValue, Request, Response};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::scene::{Scene, ask, problem, said, send};

fn bearer(token: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {token}")).unwrap()
}

fn header<'r, B>(answer: &'r Response<B>, name: &str) -> Option<&'r str> {
    let mut values = answer.headers().get_all(name).iter();
    let value = values.next().map(|value| value.to_str().unwrap());
    assert_eq!(values.next(), None, "{name} twice");
    value
}

#[tokio::test]
async fn asks_for_what_a_route_needs_and_says_what_is_missing() {
    let scene = Scene::start().await;
    let now = scene.clock.now() / 1_000;
    let need = Requirement::new;
    let step_up = |more: &str| {
        format!(
            "Bearer error=\"insufficient_user_authentication\", \
             error_description=\"step_up_required\"{more}"
        )
    };
    let scope = |scope: &str| {
        format!(
            "Bearer error=\"insufficient_scope\", error_description=\"insufficient_scope\", \
             scope=\"{scope}\""
        )
    };
    for (requirement, has, lacks, code, challenge, required) in [
        (
            need().scopes(["a", "b"]),
            json!({"scope": "c b a"}),
            json!({"scope": "a"}),
            "insufficient_scope",
            Some(scope("a b")),
            json!({"scopes": ["a", "b"]}),
        ),
        (
            need().any_scope(["a", "b"]),
            json!({"scope": "b"}),
            json!({"scope": "A"}),
            "insufficient_scope",
            Some(scope("a b")),
            json!({"any_scope": ["a", "b"]}),
        ),
        (
            need().roles(["admin", "auditor"]),
            json!({"roles": ["auditor"]}),
            json!({"roles": ["member"]}),
            "insufficient_role",
            None,
            json!({"roles": ["admin", "auditor"]}),
        ),
        (
            need().permissions(["x", "y"]),
            json!({"permissions": ["y", "x"]}),
            json!({"permissions": ["x"]}),
            "insufficient_permission",
            None,
            json!({"permissions": ["x", "y"]}),
        ),
        (
            need().kyc_level(2),
            json!({"kyc_level": 2}),
            json!({"kyc_level": 1}),
            "kyc_required",
            None,
            json!({"kyc_level": 2}),
        ),
        (
            need().kyc_status(["verified"]),
            json!({"kyc_status": "verified"}),
            json!({"kyc_status": "pending"}),
            "kyc_required",
            None,
            json!({"kyc_status": ["verified"]}),
        ),
        (
            need().max_age(300),
            json!({"auth_time": now - 300}),
            json!({"auth_time": now - 301}),
            "step_up_required",
            Some(step_up(", max_age=\"300\"")),
            json!({"acr": [], "max_age": 300, "mfa": false}),
        ),
        (
            need().mfa(),
            json!({"amr": ["pwd", "otp"]}),
            json!({"amr": ["pwd"]}),
            "step_up_required",
            Some(step_up("")),
            json!({"acr": [], "max_age": null, "mfa": true}),
        ),
        (
            need().amr(["hwk"]).acr(["gold"]),
            json!({"amr": ["hwk"], "acr": "gold"}),
            json!({"amr": ["hwk"], "acr": "iron"}),
            "step_up_required",
            Some(step_up(", acr_values=\"gold\"")),
            json!({"acr": ["gold"], "amr": ["hwk"], "max_age": null, "mfa": false}),
        ),
    ] {
        let layer = scene.verifier.layer().require(requirement).unwrap();
        let answer = ask(layer.clone(), &[bearer(&scene.token(&has))]).await;
        assert_eq!(said(&answer), "ok user-1", "{has}");
        // Where nobody needs one, one that is sent has to do all the same.
        for layer in [layer.clone(), layer.optional()] {
            let answer = ask(layer, &[bearer(&scene.token(&lacks))]).await;
            assert_eq!(said(&answer), code, "{lacks}");
            assert_eq!(header(&answer, "www-authenticate"), challenge.as_deref());
            assert_eq!(problem(&answer)["required"], required);
        }
    }
}

#[tokio::test]
async fn refuses_as_the_gate_does() {
    let scene = Scene::start().await;
    let good = scene.good();
    let invalid = |code: &str| {
        Some(format!(
            "Bearer error=\"invalid_token\", error_description=\"{code}\""
        ))
    };
    let now = scene.clock.now() / 1_000;
    let expired = scene.token(&json!({"iat": now - 900, "nbf": now - 900, "exp": now}));
    for (fields, status, code, challenge) in [
        (
            vec![],
            401,
            "token_missing",
            Some(r#"Bearer realm="api""#.to_owned()),
        ),
        (
            vec![HeaderValue::from_static("Basic dTpw")],
            401,
            "token_missing",
            Some(r#"Bearer realm="api""#.to_owned()),
        ),
        (
            vec![bearer(&good), bearer(&good)],
            401,
            "token_malformed",
            invalid("token_malformed"),
        ),
        (
            vec![HeaderValue::from_bytes(b"Bearer \xff").unwrap()],
            401,
            "token_malformed",
            invalid("token_malformed"),
        ),
        (
            vec![bearer(&expired)],
            401,
            "token_expired",
            invalid("token_expired"),
        ),
    ] {
        let answer = ask(scene.verifier.layer(), &fields).await;
        assert_eq!(answer.status(), status);
        assert_eq!(said(&answer), code);
        assert_eq!(header(&answer, "www-authenticate"), challenge.as_deref());
        assert_eq!(header(&answer, "retry-after"), None);
        assert_eq!(
            header(&answer, "content-type"),
            Some("application/problem+json")
        );
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        let problem = problem(&answer);
        assert_eq!(
            header(&answer, "x-request-id"),
            problem["instance"].as_str()
        );
        assert_eq!(problem["type"], "about:blank");
        assert!(!answer.body().contains(&good));
    }
    scene.issuer.set(Door::Jwks, Behaviour::Status(500));
    scene.pass(24 * 60 * 60);
    let answer = ask(scene.verifier.layer(), &[bearer(&scene.good())]).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(said(&answer), "keys_unavailable");
    assert_eq!(header(&answer, "retry-after"), Some("2"));
    assert_eq!(header(&answer, "www-authenticate"), None);
}

#[tokio::test]
async fn what_was_verified_elsewhere_is_not_taken_for_this_layers_word() {
    let (scene, other) = (Scene::start().await, Scene::start().await);
    let mut request = Request::new(());
    let elsewhere = other.verifier.verify(&other.good()).await.unwrap();
    request.extensions_mut().insert(elsewhere);
    let answer = send(scene.verifier.layer().optional(), request).await;
    assert_eq!(said(&answer), "ok ");
}

/// A handler that needs a token, one that may do without, behind the layers that a route can have.
#[tokio::test]
async fn handlers_get_what_was_verified_and_nothing_else() {
    async fn needs(token: VerifiedToken) -> String {
        token.claims().subject.clone()
    }
    async fn may(token: Option<VerifiedToken>) -> String {
        token.map_or("nobody".to_owned(), |token| token.claims().subject.clone())
    }
    let scene = Scene::start().await;
    let other = Scene::start().await;
    let (strict, open) = (scene.verifier.layer(), scene.verifier.layer().optional());
    let app = Router::new()
        .route("/needs", get(needs).layer(strict.clone()))
        .route("/needs/open", get(needs).layer(open.clone()))
        .route("/needs/bare", get(needs))
        .route("/may", get(may).layer(strict))
        .route("/may/open", get(may).layer(open.clone()))
        .route("/may/bare", get(may))
        .route(
            "/may/twice",
            get(may).layer((other.verifier.layer().optional(), open)),
        );
    let good = scene.good();
    for (path, token, status, text) in [
        ("/needs", Some(&good), 200, "user-1"),
        ("/needs", None, 401, "token_missing"),
        ("/needs/open", Some(&good), 200, "user-1"),
        ("/needs/open", None, 401, "token_missing"),
        ("/needs/bare", Some(&good), 500, "unavailable"),
        ("/needs/bare", None, 500, "unavailable"),
        ("/may", Some(&good), 200, "user-1"),
        ("/may", None, 401, "token_missing"),
        ("/may/open", Some(&good), 200, "user-1"),
        ("/may/open", None, 200, "nobody"),
        ("/may/bare", Some(&good), 200, "nobody"),
        ("/may/twice", None, 200, "nobody"),
        // Both have the same key, which makes the token nobody else's.
        ("/may/twice", Some(&good), 401, "issuer_mismatch"),
    ] {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", bearer(token));
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let given = answer.status();
        let challenge = header(&answer, "www-authenticate").map(str::to_owned);
        let body = to_bytes(answer.into_body(), 4_096).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(given, status, "{path} {body}");
        if status == 200 {
            assert_eq!(body, text, "{path}");
        } else {
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["code"], text, "{path}");
            assert_eq!(challenge.is_some(), status == 401, "{path}");
        }
    }
}
