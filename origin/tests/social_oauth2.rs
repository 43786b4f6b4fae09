//! Logging in at providers without ID token: GitHub, and what the configuration describes.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod idp;
mod support;

use axum::http::Method;
use edgekeep_origin::config::{Config, SocialKind, SocialProvider};
use idp::{CLIENT, CLIENT_SECRET, Idp, PAGE, Says, come_back, exchange, returned, start};
use serde_json::{Value, json};
use support::{Origin, Reply};

fn user_id(reply: &Reply) -> String {
    reply.body["user"]["id"].as_str().unwrap().to_owned()
}

async fn identities(origin: &Origin, bearer: &str) -> Vec<Value> {
    let path = "/api/v1/auth/social/identities";
    let reply = origin.call(Method::GET, path, Some(bearer), None).await;
    reply.expect(200, "").body["identities"]
        .as_array()
        .unwrap()
        .clone()
}

/// A GitHub, and an origin that knows it.
async fn github(change: impl FnOnce(&mut SocialProvider)) -> (Idp, Origin) {
    let idp = Idp::start().await;
    let url = |path: &str| Some(format!("{}{path}", idp.issuer));
    let mut settings = SocialProvider {
        kind: SocialKind::GitHub,
        client_id: CLIENT.to_owned(),
        client_secret: Some(edgekeep_origin::vault::Secret::new(
            CLIENT_SECRET.to_owned(),
        )),
        trust_email: true,
        authorize_url: url("/login/oauth/authorize"),
        token_url: url("/token"),
        userinfo_url: url("/user"),
        emails_url: url("/user/emails"),
        ..SocialProvider::default()
    };
    change(&mut settings);
    let origin = Origin::with(|config: &mut Config| {
        config.social.return_urls = vec![PAGE.to_owned()];
        config
            .social
            .providers
            .insert("github".to_owned(), settings);
    })
    .await;
    let granted = json!({"access_token": "gho_x", "token_type": "bearer", "scope": "user:email"});
    idp.say("/token", Says::Json(granted));
    (idp, origin)
}

async fn enter_github(origin: &Origin) -> Reply {
    let flow = start(origin, "github").await;
    assert!(!flow.url.as_str().contains("nonce"));
    assert_eq!(flow.parameter("scope"), "read:user user:email");
    assert_eq!(flow.parameter("code_challenge_method"), "S256");
    let again = json!({"reauthenticate": true});
    let reply = origin.post("/social/github/start", again).await;
    reply.expect(400, "request_invalid");
    let reply = come_back(origin, &flow, "their-code").await;
    if reply.headers["location"]
        .to_str()
        .unwrap()
        .contains("?error=")
    {
        return reply;
    }
    exchange(origin, &flow, &returned(&reply, "code")).await
}

#[tokio::test]
async fn github_gives_the_primary_address_where_it_is_verified() {
    let entry = |email: &str, primary: Value, verified: Value| json!({"email": email, "primary": primary, "verified": verified, "visibility": null});
    let (yes, no) = (json!(true), json!(false));
    let (other, main) = ("other@example.org", "ada@example.org");
    for (what, emails, expected) in [
        (
            "both",
            json!([
                entry(other, no.clone(), yes.clone()),
                entry(main, yes.clone(), yes.clone())
            ]),
            Some(main),
        ),
        (
            "the primary one is not verified",
            json!([
                entry(other, no.clone(), yes.clone()),
                entry(main, yes.clone(), no.clone())
            ]),
            None,
        ),
        (
            "none is primary",
            json!([entry(other, no.clone(), yes.clone())]),
            None,
        ),
        (
            "verified in words",
            json!([entry(main, yes.clone(), json!("true"))]),
            None,
        ),
        (
            "primary in words",
            json!([entry(main, json!("true"), yes.clone())]),
            None,
        ),
        ("none", json!([]), None),
        (
            "strange entries",
            json!([1, null, [], {}, entry(main, yes.clone(), yes.clone())]),
            Some(main),
        ),
    ] {
        let (idp, origin) = github(|_| {}).await;
        // The profile shows another address.
        let user =
            json!({"id": 583_231, "login": "ada", "name": "Ada L.", "email": "shown@example.org"});
        idp.say("/user", Says::Json(user));
        idp.say("/user/emails", Says::Json(emails));
        let reply = enter_github(&origin).await;
        match expected {
            Some(email) => {
                let reply = reply.expect(200, "");
                assert_eq!(reply.body["user"]["email"], email, "{what}");
                assert_eq!(reply.body["user"]["name"], "Ada L.");
                let listed = identities(&origin, reply.text("access_token")).await;
                assert_eq!(listed[0]["label"], email);
            }
            None => drop(reply.expect(401, "credentials_invalid")),
        }
        let call = idp.calls("/user").pop().unwrap();
        assert_eq!(call.headers["authorization"], "Bearer gho_x");
        assert!(call.headers.contains_key("user-agent"));
        let call = idp.calls("/token").pop().unwrap();
        assert_eq!(call.form["client_id"], CLIENT);
        assert_eq!(call.form["client_secret"], CLIENT_SECRET);
        assert_eq!(call.form["code_verifier"].len(), 43);
        assert_eq!(call.headers["accept"], "application/json");
    }
}

#[tokio::test]
async fn github_knows_people_by_their_number() {
    let (idp, origin) = github(|_| {}).await;
    let emails = |email: &str| json!([{"email": email, "primary": true, "verified": true}]);
    idp.say("/user", Says::Json(json!({"id": 1, "login": "ada"})));
    idp.say("/user/emails", Says::Json(emails("ada@example.org")));
    let ada = enter_github(&origin).await.expect(200, "");
    // Another name and address of the same number.
    idp.say("/user", Says::Json(json!({"id": 1, "login": "ada2"})));
    idp.say("/user/emails", Says::Json(emails("other@example.org")));
    assert_eq!(
        user_id(&enter_github(&origin).await.expect(200, "")),
        user_id(&ada)
    );
    // The name, taken by another.
    idp.say("/user", Says::Json(json!({"id": 2, "login": "ada"})));
    assert_ne!(
        user_id(&enter_github(&origin).await.expect(200, "")),
        user_id(&ada)
    );
    for bad in [
        json!({}),
        json!({"id": null}),
        json!({"id": 1.5}),
        json!({"id": ""}),
        json!({"id": true}),
    ] {
        idp.say("/user", Says::Json(bad));
        assert_eq!(
            returned(&enter_github(&origin).await, "error"),
            "credentials_invalid"
        );
    }
    idp.say("/user", Says::Json(json!({"id": 1})));
    for (says, word) in [
        (Says::Json(json!({"message": "x"})), "unavailable"),
        (Says::Text(403, String::new()), "credentials_invalid"),
        (Says::Text(502, String::new()), "unavailable"),
        (Says::Redirect, "unavailable"),
        (
            Says::Json(
                json!([{"email": "a@b.c", "primary": true}, {"email": "d@e.f", "primary": true}]),
            ),
            "credentials_invalid",
        ),
    ] {
        idp.say("/user/emails", says);
        assert_eq!(returned(&enter_github(&origin).await, "error"), word);
    }
    // GitHub answers a refusal with 200.
    idp.say(
        "/token",
        Says::Json(json!({"error": "bad_verification_code"})),
    );
    assert_eq!(
        returned(&enter_github(&origin).await, "error"),
        "credentials_invalid"
    );
}

#[tokio::test]
async fn fields_of_other_oauth2_providers_are_named_in_the_configuration() {
    let (idp, origin) = github(|settings| {
        settings.kind = SocialKind::OAuth2;
        settings.emails_url = None;
        settings.scopes = Some(vec!["read:user".to_owned(), "user:email".to_owned()]);
        settings.subject_field = Some("uid".to_owned());
        settings.email_field = Some("mail".to_owned());
        settings.email_verified_field = Some("mail_ok".to_owned());
        settings.name_field = Some("called".to_owned());
    })
    .await;
    let person = json!({"uid": "u-1", "id": "x", "mail": "ada@example.org", "mail_ok": true, "called": "Ada"});
    idp.say("/user", Says::Json(person));
    let reply = enter_github(&origin).await.expect(200, "");
    assert_eq!(reply.body["user"]["email"], "ada@example.org");
    assert_eq!(reply.body["user"]["name"], "Ada");
    idp.say(
        "/user",
        Says::Json(json!({"uid": "u-2", "mail": "b@example.org", "mail_ok": "yes"})),
    );
    enter_github(&origin)
        .await
        .expect(401, "credentials_invalid");
}
