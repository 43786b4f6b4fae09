//! A verifier and the issuer that it trusts.

use std::convert::Infallible;

use edgekeep_tests::clock as machine;
use edgekeep_tests::issuer::Issuer;
use edgekeep_tests::keys::{Key, claims};
use edgekeep_tower::{Clock, Options, VerifiedToken, Verifier, VerifyLayer};
use http::{HeaderValue, Request, Response, header};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};

/// A verifier, the issuer that it trusts, and the clock that it goes by.
pub(crate) struct Scene {
    pub(crate) issuer: Issuer,
    pub(crate) key: Key,
    pub(crate) clock: Clock,
    pub(crate) verifier: Verifier,
}

impl Scene {
    /// One with the usual options.
    pub(crate) async fn start() -> Self {
        Self::with(|_, options| options).await
    }

    /// One with changed options.
    pub(crate) async fn with(change: impl FnOnce(&Issuer, Options) -> Options) -> Self {
        let key = Key::es256(1);
        let issuer = Issuer::start(&key).await;
        let clock = Clock::fixed(machine::now().0 * 1_000);
        let options = change(&issuer, trusting(&issuer)).clock(clock.clone());
        Self {
            verifier: Verifier::new(options).unwrap(),
            issuer,
            key,
            clock,
        }
    }

    /// Has so many seconds pass.
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now() + seconds * 1_000);
    }

    /// A token with these claims, good for its 15 minutes from now on.
    pub(crate) fn token(&self, changes: &Value) -> String {
        let now = self.clock.now() / 1_000;
        let mut all = claims(&self.issuer.url(), changes);
        for (name, at) in [("iat", now), ("nbf", now), ("exp", now + 900)] {
            if changes.get(name).is_none() {
                all[name] = at.into();
            }
        }
        self.key.issue(&all)
    }

    pub(crate) fn good(&self) -> String {
        self.token(&json!({}))
    }

    /// What the layer says of a token: `ok sub`, or the code of its refusal.
    pub(crate) async fn verdict(&self, token: &str) -> String {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        said(&ask(self.verifier.layer(), &[value]).await)
    }
}

/// Options for an issuer, without a leeway.
pub(crate) fn trusting(issuer: &Issuer) -> Options {
    let control_key = issuer.published().control_key.jwk();
    Options::new(issuer.url(), "api")
        .control_keys(control_key)
        .leeway(0)
}

/// The answer of a service behind `layer` to a request with these `Authorization` fields: the
/// subject, or nothing, where it passes.
pub(crate) async fn ask(layer: VerifyLayer, fields: &[HeaderValue]) -> Response<String> {
    let mut request = Request::new(());
    for field in fields {
        request
            .headers_mut()
            .append(header::AUTHORIZATION, field.clone());
    }
    send(layer, request).await
}

/// The answer of a service behind `layer`.
pub(crate) async fn send(layer: VerifyLayer, request: Request<()>) -> Response<String> {
    let service = service_fn(async |request: Request<()>| {
        let token = request.extensions().get::<VerifiedToken>();
        let subject = token.map(|token| token.claims().subject.clone());
        Ok::<_, Infallible>(Response::new(subject.unwrap_or_default()))
    });
    layer.layer(service).oneshot(request).await.unwrap()
}

/// `ok` and the subject, or the code.
pub(crate) fn said(answer: &Response<String>) -> String {
    if answer.status() == 200 {
        return format!("ok {}", answer.body());
    }
    problem(answer)["code"].as_str().unwrap().to_owned()
}

/// The problem in a refusal.
pub(crate) fn problem(answer: &Response<String>) -> Value {
    let problem: Value = serde_json::from_str(answer.body()).unwrap();
    assert_eq!(problem["status"], answer.status().as_u16());
    problem
}
