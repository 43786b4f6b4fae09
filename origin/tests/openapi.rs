//! The description of the API against the API.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![expect(clippy::panic, reason = "a failure is the test's failure")]

mod idp;
mod keep;
mod person;
mod support;

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, header};
use base64::Engine as _;
use edgekeep_origin::vault::Secret;
use serde_json::{Value, json};
use sha2::Digest as _;
use support::{Origin, Reply};

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

async fn document(origin: &Origin) -> Value {
    let reply = origin.get("/openapi.json").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/json");
    reply.body
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path}: {method}");
            found.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    found
}

/// The routes of the contract that this version has. Whoever adds a route adds it here.
const ROUTES: &[&str] = &[
    "delete /api/v1/admin/users/{id}",
    "delete /api/v1/auth/account",
    "delete /api/v1/auth/contacts/{id}",
    "delete /api/v1/auth/mfa/email",
    "delete /api/v1/auth/mfa/sms",
    "delete /api/v1/auth/mfa/totp",
    "delete /api/v1/auth/passkeys/{id}",
    "delete /api/v1/auth/sessions",
    "delete /api/v1/auth/sessions/{id}",
    "delete /api/v1/auth/social/identities/{id}",
    "get /.well-known/jwks.json",
    "get /.well-known/oauth-authorization-server",
    "get /.well-known/openid-configuration",
    "get /.well-known/revocations",
    "get /api/v1/admin/audit",
    "get /api/v1/admin/keys",
    "get /api/v1/admin/kyc",
    "get /api/v1/admin/revocations",
    "get /api/v1/admin/users",
    "get /api/v1/admin/users/{id}",
    "get /api/v1/auth/account/export",
    "get /api/v1/auth/captcha",
    "get /api/v1/auth/contacts",
    "get /api/v1/auth/kyc",
    "get /api/v1/auth/lock-status/{identifier}",
    "get /api/v1/auth/mfa",
    "get /api/v1/auth/passkeys",
    "get /api/v1/auth/profile",
    "get /api/v1/auth/security-events/{user_id}",
    "get /api/v1/auth/session",
    "get /api/v1/auth/sessions",
    "get /api/v1/auth/social/identities",
    "get /api/v1/auth/social/providers",
    "get /api/v1/auth/social/{provider}/callback",
    "get /api/v1/auth/token-info",
    "get /health",
    "get /metrics",
    "get /ready",
    "post /api/v1/admin/keys/rotate",
    "post /api/v1/admin/keys/{kid}/revoke",
    "post /api/v1/admin/revocations",
    "post /api/v1/admin/users/{id}/disable",
    "post /api/v1/admin/users/{id}/enable",
    "post /api/v1/admin/users/{id}/kyc/review",
    "post /api/v1/admin/users/{id}/kyc/withdraw",
    "post /api/v1/admin/users/{id}/logout",
    "post /api/v1/admin/users/{id}/password-reset",
    "post /api/v1/auth/account/deactivate",
    "post /api/v1/auth/captcha/verify",
    "post /api/v1/auth/change-password",
    "post /api/v1/auth/contacts",
    "post /api/v1/auth/contacts/undo",
    "post /api/v1/auth/contacts/verify",
    "post /api/v1/auth/forgot-password",
    "post /api/v1/auth/kyc/verify",
    "post /api/v1/auth/login",
    "post /api/v1/auth/login/mfa",
    "post /api/v1/auth/login/mfa/passkey",
    "post /api/v1/auth/login/mfa/send",
    "post /api/v1/auth/login/passkey",
    "post /api/v1/auth/login/passkey/begin",
    "post /api/v1/auth/logout",
    "post /api/v1/auth/mfa/recovery-codes",
    "post /api/v1/auth/mfa/totp",
    "post /api/v1/auth/mfa/totp/confirm",
    "post /api/v1/auth/otp/send",
    "post /api/v1/auth/otp/verify",
    "post /api/v1/auth/passkeys",
    "post /api/v1/auth/passkeys/registration",
    "post /api/v1/auth/reauthenticate",
    "post /api/v1/auth/reauthenticate/code",
    "post /api/v1/auth/reauthenticate/passkey",
    "post /api/v1/auth/refresh",
    "post /api/v1/auth/register",
    "post /api/v1/auth/register/verify",
    "post /api/v1/auth/reset-password",
    "post /api/v1/auth/revoke-token",
    "post /api/v1/auth/social/exchange",
    "post /api/v1/auth/social/link",
    "post /api/v1/auth/social/{provider}/link/start",
    "post /api/v1/auth/social/{provider}/start",
    "post /api/v1/auth/validate-token",
    "post /oauth/introspect",
    "post /oauth/revoke",
    "put /api/v1/admin/users/{id}/customer",
    "put /api/v1/admin/users/{id}/permissions",
    "put /api/v1/admin/users/{id}/roles",
    "put /api/v1/auth/account/username",
    "put /api/v1/auth/contacts/{id}/primary",
    "put /api/v1/auth/mfa/email",
    "put /api/v1/auth/mfa/sms",
    "put /api/v1/auth/passkeys/{id}",
    "put /api/v1/auth/profile",
];

#[tokio::test]
async fn every_documented_operation_is_served_and_every_route_documented() {
    let origin = Origin::with(|config| {
        config.server.metrics_token = Some(Secret::new("metrics".to_owned()));
        idp::add(config, "acme", "https://id.example.com");
    })
    .await;
    let document = document(&origin).await;
    let documented: Vec<String> = operations(&document)
        .iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ROUTES);

    let user = keep::user(&origin.state).await;
    let token = keep::open(&origin.state, user).await.access_token;
    for (method, path, operation) in operations(&document) {
        let path = path
            .replace("{identifier}", "nobody@example.org")
            .replace("{user_id}", &user.to_string())
            .replace("{provider}", "acme")
            .replace("{kid}", "none")
            .replace("{id}", &"0".repeat(36));
        let method: Method = method.to_uppercase().parse().unwrap();
        let reply = origin.call(method.clone(), &path, None, None).await;
        assert_ne!(reply.status, 405, "{method} {path}");
        let needs_token = operation["security"].is_array();
        // A route of its own answers 404 only about what is asked for, which needs a token here.
        assert_ne!(reply.status, 404, "{method} {path}");
        assert_eq!(
            reply.status == 401,
            needs_token,
            "{method} {path}: {}",
            reply.status
        );
        if operation["security"][0]["bearer"].is_array() && path != "/api/v1/auth/logout" {
            let reply = origin.call(method.clone(), &path, Some(&token), None).await;
            assert_ne!(reply.status, 401, "{method} {path}");
        }
        // What is not documented of the same path is not there.
        for other in ["PATCH", "TRACE", "CONNECT"] {
            let other: Method = other.parse().unwrap();
            let reply = origin.call(other, &path, None, None).await;
            assert_eq!(reply.status, 405, "{path}");
        }
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let origin = Origin::new().await;
    let document = document(&origin).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{at}: {id} is taken");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{at}");
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.contains(tag.as_str().unwrap()), "{at}: {tag}");
        }
        let in_path = path.matches('{').count();
        let parameters = operation["parameters"].as_array();
        let named = parameters.map_or(0, |all| {
            all.iter().filter(|one| one["in"] == "path").count()
        });
        assert_eq!(in_path, named, "{at}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let is_problem = response["content"]["application/problem+json"].is_object();
            assert_eq!(is_problem, status.starts_with(['4', '5']), "{at} {status}");
        }
        assert_eq!(
            operation["requestBody"].is_object(),
            operation["responses"]["413"].is_object(),
            "{at}"
        );
    }
    // Every reference leads somewhere, and every schema is used.
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for (name, schema) in schemas {
        let reference = format!("\"#/components/schemas/{name}\"");
        assert!(text.contains(&reference), "{name} is not used");
        assert!(schema.is_object());
    }
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is not there");
    }
    for secret in ["Secret", "Zeroizing"] {
        assert!(!schemas.contains_key(secret));
    }
}

/// Judges `value` by `schema`, as far as our document uses JSON Schema; members that the schema
/// does not name are faults too.
fn fault(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let mut known = BTreeSet::new();
    if let Some(fault) = judge(document, schema, value, at, &mut known) {
        return Some(fault);
    }
    let members = value.as_object().filter(|_| !known.is_empty())?;
    let unknown = members.keys().find(|name| !known.contains(*name))?;
    Some(format!("{at}.{unknown} is not documented"))
}

fn judge(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    known: &mut BTreeSet<String>,
) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(&reference[1..]).unwrap();
        return judge(document, target, value, at, known);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if let Some(fault) = judge(document, part, value, at, known) {
            return Some(fault);
        }
    }
    if let Some(parts) = schema["oneOf"].as_array() {
        let fits = parts
            .iter()
            .any(|part| fault(document, part, value, at).is_none());
        if !fits {
            return Some(format!("{at} fits none"));
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.is_empty() && !types.contains(&kind) {
        return Some(format!("{at} is {kind}, documented as {types:?}"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        return Some(format!("{at} is {value}, which is not documented"));
    }
    if schema["format"] == "uuid" && value.as_str().is_some_and(|text| text.len() != 36) {
        return Some(format!("{at} is no UUID"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if value.get(name).is_none() {
            return Some(format!("{at}.{name} is missing"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        known.insert(name.clone());
        if let Some(member) = value.get(name)
            && let Some(fault) = fault(document, property, member, &format!("{at}.{name}"))
        {
            return Some(fault);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(fault) = fault(document, &schema["items"], item, &format!("{at}[{index}]")) {
            return Some(fault);
        }
    }
    None
}

/// Fails unless the document knows such an answer.
#[track_caller]
fn fits(document: &Value, method: &str, path: &str, reply: &Reply) {
    let at = format!("{method} {path} {}", reply.status.as_u16());
    let response = &document["paths"][path][method]["responses"][reply.status.as_str()];
    assert!(response.is_object(), "{at} is not documented");
    let Some(content) = response["content"].as_object() else {
        assert_eq!(reply.body, Value::Null, "{at} has a body");
        return;
    };
    let media_type = reply.headers["content-type"].to_str().unwrap();
    let media = content
        .get(media_type)
        .unwrap_or_else(|| panic!("{at}: {media_type}"));
    if let Some(fault) = fault(document, &media["schema"], &reply.body, "body") {
        panic!("{at}: {fault} in {}", reply.body);
    }
}

struct Walk {
    origin: Origin,
    document: Value,
}

impl Walk {
    async fn step(
        &self,
        expected: u16,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Option<Value>,
    ) -> Value {
        let path = format!("/api/v1/auth{path}");
        let reply = self.origin.call(method.clone(), &path, bearer, body).await;
        assert_eq!(reply.status, expected, "{path}: {:?}", reply.body);
        let template = match path.rsplit_once('/') {
            Some((start, _)) if start.ends_with("/sessions") => format!("{start}/{{id}}"),
            Some((start, _)) if start.ends_with("/lock-status") => {
                format!("{start}/{{identifier}}")
            }
            _ => path,
        };
        let method = method.as_str().to_lowercase();
        fits(&self.document, &method, &template, &reply);
        reply.body
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one step after the other")]
async fn answers_are_as_documented() {
    const ADDRESS: &str = "walker@example.org";
    let origin = Origin::with(|config| {
        config.gate.introspection_token = Some(Secret::new("gate".to_owned()));
    })
    .await;
    let document = document(&origin).await;
    let walk = Walk { origin, document };
    let (post, get) = (Method::POST, Method::GET);

    let registration = json!({
        "email": ADDRESS, "username": "walker", "name": "W", "password": "correct horse",
    });
    walk.step(202, post.clone(), "/register", None, Some(registration))
        .await;
    let code = walk.origin.code(ADDRESS);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let proof = json!({"email": ADDRESS, "code": wrong});
    walk.step(400, post.clone(), "/register/verify", None, Some(proof))
        .await;
    let proof = json!({"email": ADDRESS, "code": code});
    walk.step(200, post.clone(), "/register/verify", None, Some(proof))
        .await;

    let login = json!({"identifier": "walker", "password": "correct horse", "device_id": "d"});
    let tokens = walk
        .step(200, post.clone(), "/login", None, Some(login))
        .await;
    let bearer = tokens["access_token"].as_str().unwrap();
    let wrong = json!({"identifier": "walker", "password": "wrong"});
    walk.step(401, post.clone(), "/login", None, Some(wrong))
        .await;
    walk.step(200, get.clone(), "/lock-status/walker", None, None)
        .await;
    walk.step(400, post.clone(), "/login", None, Some(json!({})))
        .await;

    for path in ["/profile", "/session", "/sessions", "/token-info"] {
        walk.step(200, get.clone(), path, Some(bearer), None).await;
        walk.step(401, get.clone(), path, None, None).await;
    }
    walk.step(
        200,
        Method::PUT,
        "/profile",
        Some(bearer),
        Some(json!({"name": "V"})),
    )
    .await;
    for token in [bearer, "nonsense"] {
        let token = json!({"token": token});
        walk.step(200, post.clone(), "/validate-token", None, Some(token))
            .await;
    }
    for token in [bearer, "nonsense"] {
        let request = Request::post("/oauth/introspect")
            .header(header::AUTHORIZATION, "Bearer gate")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(format!("token={token}")))
            .unwrap();
        let reply = walk.origin.send(request).await;
        assert_eq!(reply.status, 200);
        fits(&walk.document, "post", "/oauth/introspect", &reply);
    }

    let sent = walk
        .step(
            200,
            post.clone(),
            "/otp/send",
            None,
            Some(json!({"email": ADDRESS})),
        )
        .await;
    let code = json!({"otp_token": sent["otp_token"], "code": walk.origin.code(ADDRESS)});
    let other = walk
        .step(200, post.clone(), "/otp/verify", None, Some(code))
        .await;
    let other_session = format!("/sessions/{}", other["session_id"].as_str().unwrap());
    walk.step(204, Method::DELETE, &other_session, Some(bearer), None)
        .await;
    let nobodys = format!("/sessions/{}", "0".repeat(36));
    walk.step(404, Method::DELETE, &nobodys, Some(bearer), None)
        .await;

    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    let next = walk
        .step(200, post.clone(), "/refresh", None, Some(refresh.clone()))
        .await;
    walk.origin.advance(60);
    walk.step(401, post.clone(), "/refresh", None, Some(refresh))
        .await;
    let ended = json!({"refresh_token": next["refresh_token"]});
    walk.step(401, post.clone(), "/refresh", None, Some(ended))
        .await;

    let forgot = json!({"identifier": ADDRESS});
    walk.step(202, post.clone(), "/forgot-password", None, Some(forgot))
        .await;
    let reset = json!({"token": walk.origin.code(ADDRESS), "password": "battery staple"});
    walk.step(204, post.clone(), "/reset-password", None, Some(reset))
        .await;
    let login = json!({"identifier": "walker", "password": "battery staple"});
    let tokens = walk
        .step(200, post.clone(), "/login", None, Some(login))
        .await;
    let bearer = tokens["access_token"].as_str();
    let change = json!({"current_password": "battery staple", "new_password": "correct horse"});
    walk.step(204, post.clone(), "/change-password", bearer, Some(change))
        .await;
    walk.step(
        204,
        post.clone(),
        "/revoke-token",
        None,
        Some(json!({"token": "nonsense"})),
    )
    .await;
    walk.step(204, post.clone(), "/logout", bearer, None).await;
    walk_through_factors(&walk).await;

    for path in [
        "/health",
        "/ready",
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ] {
        let reply = walk.origin.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        fits(&walk.document, "get", path, &reply);
    }
    let reply = walk.origin.get("/.well-known/revocations").await;
    let content = &walk.document["paths"]["/.well-known/revocations"]["get"]["responses"]["200"];
    let media_type = reply.headers["content-type"].to_str().unwrap();
    assert!(content["content"][media_type].is_object(), "{media_type}");
}

#[tokio::test]
async fn answers_about_other_providers_are_as_documented() {
    let provider = idp::Idp::start().await;
    let origin = Origin::with(|config| idp::add(config, "acme", &provider.issuer)).await;
    let document = document(&origin).await;
    let route = |path: &str| format!("/api/v1/auth/social/{path}");
    let check = |method: &str, path: &str, status: u16, reply: &Reply| {
        assert_eq!(reply.status, status, "{path}: {:?}", reply.body);
        fits(&document, method, &route(path), reply);
    };
    let reply = origin.get(&route("providers")).await;
    check("get", "providers", 200, &reply);
    for body in [json!({}), json!({"binding": "token"})] {
        let reply = origin.post("/social/acme/start", body).await;
        check("post", "{provider}/start", 200, &reply);
    }
    let reply = origin.post("/social/other/start", json!({})).await;
    check("post", "{provider}/start", 404, &reply);

    let verified = json!({"email": "a@example.org", "email_verified": true});
    let flow = idp::start(&origin, "acme").await;
    let reply = provider.log_in(&origin, &flow, "1", verified.clone()).await;
    check("get", "{provider}/callback", 303, &reply);
    let code = idp::returned(&reply, "code");
    let tokens = idp::exchange(&origin, &flow, &code).await;
    check("post", "exchange", 200, &tokens);
    let reply = idp::exchange(&origin, &flow, &code).await;
    check("post", "exchange", 400, &reply);
    let reply = provider.enter(&origin, "acme", "2", verified).await;
    check("post", "exchange", 409, &reply);
    let reply = provider.enter(&origin, "acme", "2", json!({})).await;
    check("post", "exchange", 401, &reply);
    let flow = idp::start_with(&origin, "acme", json!({})).await;
    let reply = provider.log_in(&origin, &flow, "1", json!({})).await;
    check("get", "{provider}/callback", 200, &reply);
    let reply = idp::come_back(&origin, &flow, "x").await;
    check("get", "{provider}/callback", 400, &reply);

    let bearer = tokens.text("access_token");
    let reply = idp::start_link(&origin, "acme", bearer).await;
    check("post", "{provider}/link/start", 200, &reply);
    for (subject, status) in [("3", 200), ("1", 200)] {
        let (flow, code) = provider.link(&origin, "acme", bearer, subject).await;
        let reply = idp::exchange_with(&origin, "/social/link", &flow, &code, Some(bearer)).await;
        check("post", "link", status, &reply);
    }
    let path = route("identities");
    let list = origin.call(Method::GET, &path, Some(bearer), None).await;
    check("get", "identities", 200, &list);
    let id = list.body["identities"][0]["id"].as_str().unwrap();
    for status in [204, 404] {
        let path = format!("{path}/{id}");
        let reply = origin.call(Method::DELETE, &path, Some(bearer), None).await;
        check("delete", "identities/{id}", status, &reply);
    }
    origin.advance(301);
    let reply = idp::start_link(&origin, "acme", bearer).await;
    check("post", "{provider}/link/start", 401, &reply);
}

/// Setting up second factors and logging in with them; every answer that can come of it.
async fn walk_through_factors(walk: &Walk) {
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    person::account(&walk.origin).await;
    let login = json!({"identifier": person::EMAIL, "password": person::PASSWORD});
    let tokens = walk
        .step(200, post.clone(), "/login", None, Some(login.clone()))
        .await;
    let bearer = tokens["access_token"].as_str();
    walk.step(200, Method::GET, "/mfa", bearer, None).await;
    for path in ["/mfa/totp", "/mfa/email", "/mfa/sms"] {
        walk.step(404, delete.clone(), path, bearer, None).await;
    }
    walk.step(409, post.clone(), "/mfa/recovery-codes", bearer, None)
        .await;
    let shown = walk
        .step(200, post.clone(), "/mfa/totp", bearer, None)
        .await;
    let app = person::App {
        secret: shown["secret"].as_str().unwrap().to_owned(),
    };
    for (status, code) in [
        (400, app.wrong(&walk.origin, 0)),
        (200, app.code(&walk.origin, 0)),
        (401, app.code(&walk.origin, 0)),
    ] {
        let body = json!({"code": code, "end_other_sessions": true});
        walk.step(
            status,
            post.clone(),
            "/mfa/totp/confirm",
            bearer,
            Some(body),
        )
        .await;
    }
    walk.origin.advance(30);
    let asked = walk
        .step(200, post.clone(), "/login", None, Some(login.clone()))
        .await;
    for (status, code) in [
        (400, app.wrong(&walk.origin, 0)),
        (200, app.code(&walk.origin, 0)),
    ] {
        let body = json!({"mfa_token": asked["mfa_token"], "method": "totp", "code": code});
        walk.step(status, post.clone(), "/login/mfa", None, Some(body))
            .await;
    }
    walk.origin.advance(30);
    for (status, proof) in [
        (401, json!({"method": "password", "password": "wrong"})),
        (400, json!({"method": "totp", "code": "1"})),
        (
            200,
            json!({"method": "totp", "code": app.code(&walk.origin, 0)}),
        ),
    ] {
        let stepped = walk
            .step(status, post.clone(), "/reauthenticate", bearer, Some(proof))
            .await;
        if status != 200 {
            continue;
        }
        let bearer = stepped["access_token"].as_str();
        for path in ["/mfa/email", "/mfa/sms"] {
            walk.step(200, put.clone(), path, bearer, None).await;
        }
        walk.step(200, Method::GET, "/mfa", bearer, None).await;
        walk.step(200, post.clone(), "/mfa/recovery-codes", bearer, None)
            .await;
        let asked = walk
            .step(200, post.clone(), "/login", None, Some(login.clone()))
            .await;
        for (status, method) in [(200, "email"), (400, "totp")] {
            let body = json!({"mfa_token": asked["mfa_token"], "method": method});
            walk.step(status, post.clone(), "/login/mfa/send", None, Some(body))
                .await;
        }
        for (status, method) in [(200, "email"), (400, "totp")] {
            let path = "/reauthenticate/code";
            let body = json!({"method": method});
            walk.step(status, post.clone(), path, bearer, Some(body))
                .await;
        }
        for path in ["/mfa/email", "/mfa/sms", "/mfa/totp"] {
            let body = json!({"end_other_sessions": true});
            walk.step(204, delete.clone(), path, bearer, Some(body))
                .await;
        }
        let path = "/reauthenticate/code";
        let body = json!({"method": "email"});
        walk.step(409, post.clone(), path, bearer, Some(body)).await;
    }
}

/// Each kind of captcha has members of its own, and the refusal says which is wanted.
#[tokio::test]
async fn captchas_are_as_documented() {
    use edgekeep_origin::config::{CaptchaKind, CaptchaWhen};
    for kind in [
        CaptchaKind::Off,
        CaptchaKind::Image,
        CaptchaKind::Pow,
        CaptchaKind::Code,
        CaptchaKind::Turnstile,
    ] {
        let origin = Origin::with(|config| {
            config.captcha.kind = kind;
            config.captcha.when = CaptchaWhen::Always;
            config.captcha.site_key = "key".to_owned();
        })
        .await;
        let document = document(&origin).await;
        let path = "/api/v1/auth/captcha";
        let asked = origin
            .get(&format!("{path}?for=login&target=a%40example.org"))
            .await;
        assert_eq!(asked.body["type"], kind.as_str());
        fits(&document, "get", path, &asked);
        let refused = origin.get(&format!("{path}?for=nothing")).await;
        fits(
            &document,
            "get",
            path,
            &refused.expect(400, "request_invalid"),
        );
        if kind == CaptchaKind::Off {
            continue;
        }
        let wrong = json!({"captcha_id": asked.body["captcha_id"], "answer": "wrong"});
        let reply = origin.post("/captcha/verify", wrong.clone()).await;
        let reply = reply.expect(400, "captcha_invalid");
        fits(&document, "post", "/api/v1/auth/captcha/verify", &reply);
        for (route, mut body) in [
            (
                "/register",
                json!({"email": "a@example.org", "password": "correct horse"}),
            ),
            (
                "/login",
                json!({"identifier": "a@example.org", "password": "correct horse"}),
            ),
            ("/otp/send", json!({"email": "a@example.org"})),
            ("/forgot-password", json!({"identifier": "a@example.org"})),
        ] {
            let path = format!("/api/v1/auth{route}");
            let reply = origin.post(route, body.clone()).await;
            fits(
                &document,
                "post",
                &path,
                &reply.expect(403, "captcha_required"),
            );
            body["captcha"] = wrong.clone();
            let reply = origin.post(route, body).await;
            fits(
                &document,
                "post",
                &path,
                &reply.expect(400, "captcha_invalid"),
            );
        }
    }
    let origin = Origin::with(|config| config.captcha.kind = CaptchaKind::Code).await;
    let document = document(&origin).await;
    let asked = origin
        .get("/api/v1/auth/captcha?for=login&target=a%40example.org")
        .await;
    let right = json!({
        "captcha_id": asked.body["captcha_id"], "answer": origin.code("a@example.org"),
    });
    let reply = origin.post("/captcha/verify", right).await.expect(200, "");
    fits(&document, "post", "/api/v1/auth/captcha/verify", &reply);
}

/// Without this the walk could pass because the judge finds nothing.
#[test]
fn the_judge_finds_faults() {
    let document = json!({"components": {"schemas": {"A": {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": ["string", "null"]}, "b": {"type": "array", "items": {"type": "integer"}}},
    }}}});
    let schema = json!({"$ref": "#/components/schemas/A"});
    for (value, good) in [
        (json!({"a": "x"}), true),
        (json!({"a": null, "b": [1]}), true),
        (json!({}), false),
        (json!({"a": 1}), false),
        (json!({"a": "x", "b": ["1"]}), false),
        (json!({"a": "x", "c": 1}), false),
        (json!([]), false),
    ] {
        assert_eq!(
            fault(&document, &schema, &value, "it").is_none(),
            good,
            "{value}"
        );
    }
}

#[tokio::test]
async fn every_code_is_documented() {
    use edgekeep_origin::abuse::captcha::Asked;
    use edgekeep_origin::config::{CaptchaFor, CaptchaKind};
    use edgekeep_origin::error::Error;
    use std::time::Duration;
    let origin = Origin::new().await;
    let document = document(&origin).await;
    let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let codes = codes.as_array().unwrap();
    let wait = Duration::from_secs(1);
    for error in [
        Error::StepUpRequired {
            max_age: 300,
            second_factor: true,
        },
        Error::CredentialsInvalid,
        Error::AccountLocked(wait),
        Error::CaptchaRequired(Asked {
            kind: CaptchaKind::Pow,
            purpose: CaptchaFor::Login,
            alternative: None,
        }),
        Error::CaptchaInvalid(""),
        Error::CodeInvalid(""),
        Error::CodeExpired,
        Error::MfaRequired(""),
        Error::RefreshInvalid(""),
        Error::RefreshReused,
        Error::SessionEnded,
        Error::invalid(""),
        Error::MethodNotAllowed,
        Error::RequestTooLarge,
        Error::IdentityRefused(""),
        Error::NotFound,
        Error::Conflict(""),
        Error::RateLimited(wait),
        Error::Unavailable(""),
        Error::internal(""),
    ] {
        assert!(codes.contains(&json!(error.code().0)), "{error:?}");
    }
    for rejection in edgekeep_shared::error::Rejection::ALL {
        assert!(codes.contains(&json!(rejection.code())), "{rejection:?}");
    }
}

/// The page for client developers names every route and every code that can be answered today.
#[tokio::test]
async fn the_guide_names_every_route_and_code() {
    let origin = Origin::new().await;
    let document = document(&origin).await;
    let guide = include_str!("../../docs/api.md");
    // Lines may break anywhere.
    let guide: Vec<&str> = guide.split_whitespace().collect();
    let guide = guide.join(" ");
    for (method, path, _) in operations(&document) {
        let path = path.strip_prefix("/api/v1/auth").unwrap_or(&path);
        // A second method of one path follows it: "`GET /profile`, `PUT /profile`".
        let named = format!("{} {path}", method.to_uppercase());
        let after_a_comma = format!("`{path}`");
        assert!(
            guide.contains(&named) || guide.contains(&after_a_comma),
            "{named}"
        );
    }
    for code in edgekeep_origin::error::CODES {
        assert!(guide.contains(&format!("`{code}`")), "{code}");
    }
}

#[tokio::test]
async fn the_page_is_complete_and_runs_nothing() {
    let origin = Origin::new().await;
    let reply = origin.get("/docs").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8");
    let policy = reply.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("script") && !policy.contains("unsafe"),
        "{policy}"
    );
    let Value::String(page) = &reply.body else {
        panic!("not text");
    };
    assert!(!page.contains("<script") && !page.contains(" style=") && !page.contains("://"));
    // The style that the policy admits is the one that is there.
    let style = page.split("<style>").nth(1).unwrap();
    let style = style.split("</style>").next().unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style));
    assert!(policy.contains(&hash));
    let document = document(&origin).await;
    for (_, path, _) in operations(&document) {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(page.contains(&format!("<h3 id=\"{name}\">")), "{name}");
    }
    let tag = reply.headers["etag"].clone();
    let request = Request::get("/docs")
        .header(header::IF_NONE_MATCH, tag)
        .body(Body::empty())
        .unwrap();
    assert_eq!(origin.send(request).await.status, 304);
}
