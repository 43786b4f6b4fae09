//! Second factors, other providers and administration, through the real gate: what is proved at the
//! issuer opens what the policy asks it for, and what an administrator changes reaches the gate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use edgekeep_tests::clock;
use edgekeep_tests::house::House;
use edgekeep_tests::http::Answer;
use edgekeep_tests::keys::{self, Key};
use edgekeep_tests::origin::{Origin, Tokens};
use edgekeep_tests::server::{Reply, Request, Server};
use serde_json::{Value, json};
use totp_rs::Totp;

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// Two factors for one part of the API, a permission for another.
const POLICY: &str = r#"
[[route]]
match = "/api/two/**"
mfa = true

[[route]]
match = "/api/notes/**"
permissions = ["notes:write"]

[[route]]
match = "/api/**"
"#;

async fn house(settings: &[(&str, &str)]) -> House {
    House::with(settings, |variables| {
        variables.insert("POLICY", POLICY.to_owned());
    })
    .await
}

/// An authenticator app.
struct App(Totp);

impl App {
    /// Sets one up in the session of `token`; the code of the present step is used up by it.
    async fn set_up(origin: &Origin, token: &str) -> Self {
        let begun = origin.post_as(token, "/mfa/totp", &json!({})).await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        let uri = begun.json()["otpauth_uri"].as_str().unwrap().to_owned();
        let app = Self(Totp::from_url(uri).unwrap());
        let body = json!({"code": app.code(0)});
        let confirmed = origin.post_as(token, "/mfa/totp/confirm", &body).await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.text());
        app
    }

    /// The code of the step `steps` after the present one; the next one's is good already.
    fn code(&self, steps: i64) -> String {
        let second = clock::now().0 + 30 * steps;
        self.0.generate(second.try_into().unwrap()).to_string()
    }

    /// Completes a login that waits for it.
    async fn complete(&self, origin: &Origin, waiting: &Answer) -> Tokens {
        let waiting = waiting.json();
        assert_eq!(waiting["mfa_required"], true, "{waiting}");
        let token = &waiting["mfa_token"];
        let body = json!({"mfa_token": token, "method": "totp", "code": self.code(1)});
        Tokens::of(&origin.post("/login/mfa", &body).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_opens_what_asks_for_two() {
    let house = house(&[]).await;
    let origin = &house.origin;
    let one = origin.register(EMAIL, PASSWORD).await;
    let refused = house.get("/api/two/x", &one.access).await;
    assert_eq!(refused.verdict(), (401, "step_up_required".to_owned()));
    let app = App::set_up(origin, &one.access).await;
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    let waiting = origin.post("/login", &login).await;
    let mfa_token = waiting.json()["mfa_token"].as_str().unwrap().to_owned();
    assert_eq!(house.get("/api/me", &mfa_token).await.status, 401);
    let two = app.complete(origin, &waiting).await;
    let answer = house.get("/api/two/x", &two.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = house.upstream.take_one();
    assert_eq!(seen.header("x-auth-methods"), Some("pwd,otp"));
    assert_eq!(seen.header("x-user-id"), Some(two.user()));
    // A refresh keeps what was proved.
    let refresh = json!({"refresh_token": two.refresh});
    let again = Tokens::of(&origin.post("/refresh", &refresh).await);
    assert_eq!(house.get("/api/two/x", &again.access).await.status, 200);
}

async fn administer(house: &House, token: &str, method: &str, route: &str, body: &Value) -> Answer {
    let call = house
        .origin
        .call(method, &format!("/api/v1/admin{route}"))
        .bearer(token);
    call.json(body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_changes_reaches_the_gate() {
    let house = house(&[("EDGEKEEP_ACCESS__REQUIRE_MFA", "true")]).await;
    let origin = &house.origin;
    let first = origin.register(EMAIL, PASSWORD).await;
    let app = App::set_up(origin, &first.access).await;
    origin.must_run(&["users", "grant", first.user(), "--role", "admin"]);
    let bob = origin.register("bob@example.com", PASSWORD).await;
    let permissions = format!("/users/{}/permissions", bob.user());
    let wanted = json!({"permissions": ["notes:write"]});
    // Neither a person, nor an administrator of one factor.
    for (token, status) in [(&bob.access, 403), (&first.access, 401)] {
        let answer = administer(&house, token, "PUT", &permissions, &wanted).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    let waiting = origin.post("/login", &login).await;
    let admin = app.complete(origin, &waiting).await.access;

    assert_eq!(house.get("/api/notes/x", &bob.access).await.status, 403);
    let answer = administer(&house, &admin, "PUT", &permissions, &wanted).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // What his client holds is turned away, and what it refreshes to may do more.
    house.refused(&bob.access).await;
    let refresh = json!({"refresh_token": bob.refresh});
    let bob = Tokens::of(&origin.post("/refresh", &refresh).await);
    house.upstream.take();
    let answer = house.get("/api/notes/x", &bob.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = house.upstream.take_one();
    assert_eq!(seen.header("x-user-permissions"), Some("notes:write"));

    let disable = format!("/users/{}/disable", bob.user());
    let answer = administer(&house, &admin, "POST", &disable, &json!({})).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    house.refused(&bob.access).await;
    let refresh = json!({"refresh_token": bob.refresh});
    let refused = origin.post("/refresh", &refresh).await;
    assert_eq!(refused.verdict(), (401, "session_ended".to_owned()));
}

/// An OpenID provider with one key, at which everybody is who the test says.
struct Provider {
    server: Server,
    id_token: Arc<Mutex<String>>,
    key: Key,
}

impl Provider {
    async fn start() -> Self {
        let (key, id_token) = (Key::es256(7), Arc::new(Mutex::new(String::new())));
        let (set, next) = (keys::set(&[&key]), Arc::clone(&id_token));
        let server = Server::start(move |request| answer(request, &set, &next)).await;
        Self {
            server,
            id_token,
            key,
        }
    }

    fn setting(&self) -> String {
        format!(
            r#"{{ acme = {{ kind = "oidc", client_id = "edgekeep", client_secret = "s3cret", issuer = "{}", trust_email = true }} }}"#,
            self.server.url()
        )
    }

    /// Logs a person in there, and gives what the issuer answers to the exchange.
    async fn log_in(&self, origin: &Origin) -> Answer {
        let body = json!({"binding": "token"});
        let begun = origin.post("/social/acme/start", &body).await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        let begun = begun.json();
        let url = begun["authorization_url"].as_str().unwrap();
        let query: HashMap<&str, &str> = url
            .split_once('?')
            .unwrap()
            .1
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let now = clock::now().0;
        let claims = json!({
            "iss": self.server.url(), "aud": "edgekeep", "sub": "1", "nonce": query["nonce"],
            "iat": now, "exp": now + 300, "email": EMAIL, "email_verified": true,
        });
        let header = json!({"alg": "ES256", "kid": self.key.id()});
        *self.id_token.lock().unwrap() = self.key.token(&header.to_string(), &claims.to_string());
        let back = format!(
            "/api/v1/auth/social/acme/callback?state={}&code=theirs",
            query["state"]
        );
        let landed = origin.call("GET", &back).send().await.unwrap();
        assert_eq!(landed.status, 200, "{}", landed.text());
        let body = json!({
            "code": landed.json()["code"], "flow_token": begun["flow_token"],
        });
        origin.post("/social/exchange", &body).await
    }
}

fn answer(request: &Request, set: &str, id_token: &Mutex<String>) -> Reply {
    let issuer = format!("http://{}", request.header("host").unwrap_or_default());
    let text = match request.path() {
        "/.well-known/openid-configuration" => json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
        })
        .to_string(),
        "/jwks" => set.to_owned(),
        "/token" => json!({
            "access_token": "theirs", "token_type": "Bearer", "id_token": *id_token.lock().unwrap(),
        })
        .to_string(),
        _ => return Reply::new(404, ""),
    };
    Reply::new(200, text).header("Content-Type", "application/json")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_lets_in_and_with_an_app_is_two_factors() {
    let provider = Provider::start().await;
    let house = house(&[("EDGEKEEP_SOCIAL__PROVIDERS", &provider.setting())]).await;
    let origin = &house.origin;
    let one = Tokens::of(&provider.log_in(origin).await);
    assert_eq!(house.get("/api/me", &one.access).await.status, 200);
    let seen = house.upstream.take_one();
    assert_eq!(seen.header("x-auth-methods"), Some("fed"));
    let refused = house.get("/api/two/x", &one.access).await;
    assert_eq!(refused.verdict(), (401, "step_up_required".to_owned()));

    let app = App::set_up(origin, &one.access).await;
    let waiting = provider.log_in(origin).await;
    let two = app.complete(origin, &waiting).await;
    assert_eq!(two.user(), one.user());
    let answer = house.get("/api/two/x", &two.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = house.upstream.take_one();
    assert_eq!(seen.header("x-auth-methods"), Some("fed,otp,mfa"));
}
