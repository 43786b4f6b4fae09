//! Logging in at another provider, step by step, and a provider that says whatever a test has it
//! say.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgekeep_origin::config::{Config, SocialKind, SocialProvider};
use edgekeep_origin::vault::Secret;
use serde_json::{Value, json};
use url::Url;

use crate::support::{BEGINNING, Origin, Reply};

/// The page that tests return to.
pub(crate) const PAGE: &str = "https://app.example.com/welcome";

/// What leads into the application of tests.
pub(crate) const APP: &str = "com.example.app:/welcome";

/// The client's name and secret at every provider.
pub(crate) const CLIENT: &str = "edgekeep-client";
pub(crate) const CLIENT_SECRET: &str = "cl1ent-s3cret";

/// A login that has begun, as its application and its browser know it.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) provider: String,
    pub(crate) url: Url,
    pub(crate) cookie: Option<String>,
    pub(crate) token: Option<String>,
}

impl Flow {
    pub(crate) fn parameter(&self, name: &str) -> String {
        let mut pairs = self.url.query_pairs();
        pairs.find(|(key, _)| key == name).unwrap().1.into_owned()
    }

    pub(crate) fn state(&self) -> String {
        self.parameter("state")
    }

    pub(crate) fn nonce(&self) -> String {
        self.parameter("nonce")
    }
}

/// A request with a cookie, where there is one.
pub(crate) async fn send(
    origin: &Origin,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Reply {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match body {
        None => Body::empty(),
        Some(json) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(json.to_string())
        }
    };
    origin.send(request.body(body).unwrap()).await
}

fn begun(provider: &str, reply: &Reply) -> Flow {
    let cookie = reply.headers.get(header::SET_COOKIE).map(|value| {
        let text = value.to_str().unwrap();
        text.split(';').next().unwrap().to_owned()
    });
    Flow {
        provider: provider.to_owned(),
        url: reply.text("authorization_url").parse().unwrap(),
        cookie,
        token: reply.body["flow_token"].as_str().map(str::to_owned),
    }
}

/// Begins a login that returns to [`PAGE`].
pub(crate) async fn start(origin: &Origin, provider: &str) -> Flow {
    start_with(origin, provider, json!({"return_url": PAGE})).await
}

pub(crate) async fn start_with(origin: &Origin, provider: &str, body: Value) -> Flow {
    let reply = origin
        .post(&format!("/social/{provider}/start"), body)
        .await;
    begun(provider, &reply.expect(200, ""))
}

/// Begins a link for the bearer.
pub(crate) async fn start_link(origin: &Origin, provider: &str, bearer: &str) -> Reply {
    let path = format!("/api/v1/auth/social/{provider}/link/start");
    let body = json!({"return_url": PAGE});
    origin
        .call(Method::POST, &path, Some(bearer), Some(body))
        .await
}

pub(crate) async fn linking(origin: &Origin, provider: &str, bearer: &str) -> Flow {
    begun(
        provider,
        &start_link(origin, provider, bearer).await.expect(200, ""),
    )
}

/// The browser comes back from the provider.
pub(crate) async fn land(
    origin: &Origin,
    provider: &str,
    query: &[(&str, &str)],
    cookie: Option<&str>,
) -> Reply {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    let path = format!("/api/v1/auth/social/{provider}/callback?{query}");
    let headers: Vec<_> = cookie
        .map(|cookie| ("cookie", cookie))
        .into_iter()
        .collect();
    send(origin, Method::GET, &path, &headers, None).await
}

/// [`land`] of the flow's own browser.
pub(crate) async fn come_back(origin: &Origin, flow: &Flow, code: &str) -> Reply {
    let state = flow.state();
    let query = [("state", &*state), ("code", code)];
    land(origin, &flow.provider, &query, flow.cookie.as_deref()).await
}

/// What stands in the query of the redirect to [`PAGE`] or [`APP`].
#[track_caller]
pub(crate) fn returned(reply: &Reply, name: &str) -> String {
    assert_eq!(reply.status, 303, "{:?}", reply.body);
    let location = reply.headers[header::LOCATION].to_str().unwrap();
    let (page, query) = location.split_once('?').unwrap();
    assert!([PAGE, APP].contains(&page), "{location}");
    let (key, value) = query.split_once('=').unwrap();
    assert_eq!(key, name, "{location}");
    value.to_owned()
}

/// The application exchanges a code with the flow's own binding.
pub(crate) async fn exchange(origin: &Origin, flow: &Flow, code: &str) -> Reply {
    exchange_with(origin, "/social/exchange", flow, code, None).await
}

pub(crate) async fn exchange_with(
    origin: &Origin,
    route: &str,
    flow: &Flow,
    code: &str,
    bearer: Option<&str>,
) -> Reply {
    let mut body = json!({"code": code});
    if let Some(token) = &flow.token {
        body["flow_token"] = json!(token);
    }
    let bearer = bearer.map(|token| format!("Bearer {token}"));
    let mut headers = Vec::new();
    headers.extend(flow.cookie.as_deref().map(|cookie| ("cookie", cookie)));
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let path = format!("/api/v1/auth{route}");
    send(origin, Method::POST, &path, &headers, Some(body)).await
}

/// Adds an OpenID provider to a configuration.
pub(crate) fn add(config: &mut Config, name: &str, issuer: &str) {
    config.social.return_urls = vec![PAGE.to_owned()];
    config.social.app_return_urls = vec![APP.to_owned()];
    config.social.providers.insert(
        name.to_owned(),
        SocialProvider {
            kind: SocialKind::Oidc,
            client_id: CLIENT.to_owned(),
            client_secret: Some(Secret::new(CLIENT_SECRET.to_owned())),
            issuer: Some(issuer.to_owned()),
            trust_email: true,
            ..SocialProvider::default()
        },
    );
}

/// A key that signs.
pub(crate) enum Key {
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Key {
    pub(crate) fn rs256() -> Self {
        let size = aws_lc_rs::rsa::KeySize::Rsa2048;
        Self::Rs256(RsaKeyPair::generate(size).unwrap())
    }

    /// One key for all tests of a process: making one takes a while.
    pub(crate) fn usual() -> &'static Self {
        static KEY: OnceLock<Key> = OnceLock::new();
        KEY.get_or_init(Self::rs256)
    }

    pub(crate) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn eddsa() -> Self {
        Self::EdDsa(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// The public key, as its library writes it.
    pub(crate) fn public(&self) -> &[u8] {
        match self {
            Self::Rs256(pair) => pair.public_key().as_ref(),
            Self::Es256(pair) => pair.public_key().as_ref(),
            Self::EdDsa(pair) => pair.public_key().as_ref(),
        }
    }

    pub(crate) fn jwk(&self, key_id: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = self.public();
        match self {
            // RSAPublicKey (RFC 8017 §A.1.1) of 2048 bits with the exponent 65537.
            Self::Rs256(_) => json!({
                "kty": "RSA", "alg": "RS256", "use": "sig", "kid": key_id,
                "n": encode(&public[9..265]), "e": encode(&public[267..]),
            }),
            Self::Es256(_) => json!({
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key_id,
                "x": encode(&public[1..33]), "y": encode(&public[33..]),
            }),
            Self::EdDsa(_) => json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": key_id, "x": encode(public),
            }),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::Es256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A JWS of exactly these texts.
    pub(crate) fn jws(&self, header: &str, payload: &str) -> String {
        let signed = unsigned(header, payload);
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()))
        )
    }

    /// An ID token under `key_id`.
    pub(crate) fn id_token(&self, key_id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": key_id, "typ": "JWT"});
        self.jws(&header.to_string(), &claims.to_string())
    }
}

pub(crate) fn unsigned(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encode(header), encode(payload))
}

/// How the provider answers at a path.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Json(Value),
    Text(u16, String),
    Redirect,
    Never,
}

/// A request that the provider got.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) form: BTreeMap<String, String>,
}

/// A provider that says what it is told to say.
#[derive(Clone)]
pub(crate) struct Idp {
    pub(crate) issuer: String,
    says: Arc<Mutex<HashMap<&'static str, Says>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Idp {
    /// A provider whose documents are in order, with [`Key::usual`] as `k1`.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let idp = Self {
            issuer,
            says: Arc::default(),
            calls: Arc::default(),
        };
        idp.say(DISCOVERY, Says::Json(idp.metadata()));
        idp.say(
            "/jwks",
            Says::Json(json!({"keys": [Key::usual().jwk("k1")]})),
        );
        let (says, calls) = (Arc::clone(&idp.says), Arc::clone(&idp.calls));
        let answer = move |_: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let path = uri.path().to_owned();
            let form = url::form_urlencoded::parse(&body).into_owned().collect();
            let said = says.lock().unwrap().get(&*path).cloned();
            calls.lock().unwrap().push(Call {
                path,
                headers,
                form,
            });
            respond(said).await
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        idp
    }

    pub(crate) fn metadata(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code", "id_token"],
            "code_challenge_methods_supported": ["plain", "S256"],
        })
    }

    /// [`metadata`](Self::metadata) with other members.
    pub(crate) fn publish(&self, members: Value) {
        let mut metadata = self.metadata();
        let Value::Object(members) = members else {
            return;
        };
        for (name, value) in members {
            metadata[name] = value;
        }
        self.say(DISCOVERY, Says::Json(metadata));
    }

    pub(crate) fn say(&self, path: &'static str, what: Says) {
        self.says.lock().unwrap().insert(path, what);
    }

    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter(|call| call.path == path)
            .cloned()
            .collect()
    }

    /// The claims of an ID token that is in order.
    pub(crate) fn claims(&self, flow: &Flow, subject: &str) -> Value {
        let now = BEGINNING.unix_seconds();
        json!({
            "iss": self.issuer, "aud": CLIENT, "sub": subject, "nonce": flow.nonce(),
            "iat": now, "exp": now + 300,
        })
    }

    /// What the token endpoint says next.
    pub(crate) fn grant(&self, id_token: &str) {
        self.say(
            "/token",
            Says::Json(json!({
                "access_token": "at-s3cret", "token_type": "Bearer", "id_token": id_token,
            })),
        );
    }

    /// A whole login of `subject`, of whom the ID token says `more`, up to our code.
    pub(crate) async fn log_in(
        &self,
        origin: &Origin,
        flow: &Flow,
        subject: &str,
        more: Value,
    ) -> Reply {
        let mut claims = self.claims(flow, subject);
        // The clock of the test may have moved on.
        let now = origin.clock.now().unix_seconds();
        (claims["iat"], claims["exp"]) = (json!(now), json!(now + 300));
        for (name, value) in more.as_object().unwrap().clone() {
            claims[name] = value;
        }
        self.grant(&Key::usual().id_token("k1", &claims));
        come_back(origin, flow, "their-code").await
    }

    /// [`log_in`](Self::log_in) and the exchange.
    pub(crate) async fn enter(
        &self,
        origin: &Origin,
        provider: &str,
        subject: &str,
        more: Value,
    ) -> Reply {
        let flow = start(origin, provider).await;
        let reply = self.log_in(origin, &flow, subject, more).await;
        exchange(origin, &flow, &returned(&reply, "code")).await
    }

    /// Links `subject` to the bearer's account, up to our code.
    pub(crate) async fn link(
        &self,
        origin: &Origin,
        provider: &str,
        bearer: &str,
        subject: &str,
    ) -> (Flow, String) {
        let flow = linking(origin, provider, bearer).await;
        let reply = self.log_in(origin, &flow, subject, json!({})).await;
        let code = returned(&reply, "code");
        (flow, code)
    }
}

async fn respond(said: Option<Says>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    match said {
        None => *response.status_mut() = StatusCode::NOT_FOUND,
        Some(Says::Json(value)) => {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            *response.body_mut() = value.to_string().into();
        }
        Some(Says::Text(status, text)) => {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            *response.body_mut() = text.into();
        }
        Some(Says::Redirect) => {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let elsewhere = HeaderValue::from_static("/elsewhere");
            response.headers_mut().insert(header::LOCATION, elsewhere);
        }
        Some(Says::Never) => std::future::pending().await,
    }
    response
}
