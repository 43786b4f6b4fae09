//! Whose account an identity at another provider is: made, linked, removed, refused.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod idp;
mod support;

use std::collections::BTreeMap;

use axum::http::Method;
use edgekeep_origin::config::{SocialProvider, WithoutEmail};
use idp::{
    APP, Flow, Idp, PAGE, add, exchange, exchange_with, linking, returned, start, start_link,
    start_with,
};
use serde_json::{Value, json};
use sqlx::Row as _;
use support::{Origin, Reply, all};

async fn acme(change: impl FnOnce(&mut SocialProvider)) -> (Idp, Origin) {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| {
        add(config, "acme", &idp.issuer);
        change(config.social.providers.get_mut("acme").unwrap());
    })
    .await;
    (idp, origin)
}

fn verified(email: &str) -> Value {
    json!({"email": email, "email_verified": true})
}

/// An account with a proved address and a password.
async fn register(origin: &Origin, email: &str) -> Reply {
    let body = json!({"email": email, "password": "correct horse"});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": email, "code": origin.code(email)});
    origin.post("/register/verify", body).await.expect(200, "")
}

fn user_id(reply: &Reply) -> String {
    reply.body["user"]["id"].as_str().unwrap().to_owned()
}

const IDENTITIES: &str = "/api/v1/auth/social/identities";

async fn identities(origin: &Origin, bearer: &str) -> Vec<Value> {
    let reply = origin
        .call(Method::GET, IDENTITIES, Some(bearer), None)
        .await;
    reply.expect(200, "").body["identities"]
        .as_array()
        .unwrap()
        .clone()
}

async fn remove(origin: &Origin, bearer: &str, identity: &Value) -> Reply {
    let path = format!("{IDENTITIES}/{}", identity["id"].as_str().unwrap());
    origin.call(Method::DELETE, &path, Some(bearer), None).await
}

/// Links `subject` to the account of `bearer`.
async fn link(idp: &Idp, origin: &Origin, bearer: &str, subject: &str) -> Reply {
    let (flow, code) = idp.link(origin, "acme", bearer, subject).await;
    exchange_with(origin, "/social/link", &flow, &code, Some(bearer)).await
}

async fn accounts(origin: &Origin) -> i64 {
    let mut reader = origin.state.db.read().await.unwrap();
    let row = sqlx::query("SELECT COUNT(*) AS n FROM users")
        .fetch_one(&mut *reader)
        .await;
    row.unwrap().try_get("n").unwrap()
}

#[tokio::test]
async fn an_address_counts_only_as_far_as_the_provider_is_trusted_with_it() {
    let address = "ada@example.org";
    for (trusted, said, proved) in [
        (true, verified(address), true),
        (
            true,
            json!({"email": address, "email_verified": false}),
            false,
        ),
        (
            true,
            json!({"email": address, "email_verified": "true"}),
            false,
        ),
        (true, json!({"email": address, "email_verified": 1}), false),
        (
            true,
            json!({"email": address, "email_verified": null}),
            false,
        ),
        (true, json!({"email": address}), false),
        (true, json!({"email_verified": true}), false),
        (true, verified("no address"), false),
        (true, verified(""), false),
        (
            true,
            json!({"email": [address], "email_verified": true}),
            false,
        ),
        (false, verified(address), false),
    ] {
        let (idp, origin) = acme(|settings| settings.trust_email = trusted).await;
        let reply = idp.enter(&origin, "acme", "1", said.clone()).await;
        if proved {
            assert_eq!(
                reply.expect(200, "").body["user"]["email"],
                address,
                "{said}"
            );
        } else {
            reply.expect(401, "credentials_invalid");
            assert_eq!(accounts(&origin).await, 0, "{said}");
        }
        // Where it is a setting, such a person gets an account without address.
        let (idp, origin) = acme(|settings| {
            settings.trust_email = trusted;
            settings.without_email = WithoutEmail::Create;
        })
        .await;
        let reply = idp
            .enter(&origin, "acme", "1", said.clone())
            .await
            .expect(200, "");
        assert_eq!(reply.body["user"]["email"].is_string(), proved, "{said}");
        let again = idp
            .enter(&origin, "acme", "1", json!({}))
            .await
            .expect(200, "");
        assert_eq!(user_id(&again), user_id(&reply));
    }
}

#[tokio::test]
async fn an_address_that_has_an_account_is_never_linked_by_itself() {
    let (idp, origin) = acme(|_| {}).await;
    let mine = register(&origin, "Ada@example.org").await;
    let before = accounts(&origin).await;
    for spelling in [
        "Ada@example.org",
        "ada@EXAMPLE.org",
        " ada@example.org",
        // Full width: the same address to people, and to NFKC.
        "\u{ff41}da@example.org",
        "ＡＤＡ@example.org",
    ] {
        let reply = idp.enter(&origin, "acme", "1", verified(spelling)).await;
        let reply = reply.expect(409, "conflict");
        // Nothing of the account but that it is there.
        let text = reply.body.to_string();
        assert!(
            !text.contains(&user_id(&mine)) && !text.contains("example.org"),
            "{text}"
        );
    }
    assert_eq!(accounts(&origin).await, before);
    assert!(
        identities(&origin, mine.text("access_token"))
            .await
            .is_empty()
    );
    // A look-alike is another address, and another person.
    let other = idp
        .enter(&origin, "acme", "2", verified("\u{0430}da@example.org"))
        .await;
    let other = other.expect(200, "");
    assert_ne!(user_id(&other), user_id(&mine));
    // Somebody whose address nobody vouches for is not told whether it has an account.
    for email in ["ada@example.org", "nobody@example.org"] {
        let said = json!({"email": email, "email_verified": false});
        let reply = idp.enter(&origin, "acme", "3", said).await;
        let reply = reply.expect(401, "credentials_invalid");
        assert_eq!(
            reply.text("detail"),
            "Nobody can log in here with that identity."
        );
    }
    // The refusal has used the code up, and the person can still link.
    let bearer = mine.text("access_token");
    link(&idp, &origin, bearer, "1").await.expect(200, "");
    let reply = idp
        .enter(&origin, "acme", "1", verified("ada@example.org"))
        .await;
    assert_eq!(user_id(&reply.expect(200, "")), user_id(&mine));
}

#[tokio::test]
async fn the_address_of_a_known_identity_changes_nothing() {
    let (idp, origin) = acme(|_| {}).await;
    let victim = register(&origin, "victim@example.org").await;
    let mine = idp
        .enter(&origin, "acme", "1", verified("ada@example.org"))
        .await;
    // The provider now says another address of the same subject, and another subject of the address.
    let reply = idp
        .enter(&origin, "acme", "1", verified("victim@example.org"))
        .await;
    let reply = reply.expect(200, "");
    assert_eq!(user_id(&reply), user_id(&mine));
    assert_ne!(user_id(&reply), user_id(&victim));
    assert_eq!(reply.body["user"]["email"], "ada@example.org");
    let reply = idp
        .enter(&origin, "acme", "2", verified("ada@example.org"))
        .await;
    reply.expect(409, "conflict");
}

#[tokio::test]
async fn a_subject_is_one_providers_alone() {
    let (one, other) = (Idp::start().await, Idp::start().await);
    let origin = Origin::with(|config| {
        add(config, "one", &one.issuer);
        add(config, "other", &other.issuer);
    })
    .await;
    let first = one
        .enter(&origin, "one", "1", verified("a@example.org"))
        .await
        .expect(200, "");
    let second = other
        .enter(&origin, "other", "1", verified("b@example.org"))
        .await;
    assert_ne!(user_id(&first), user_id(&second.expect(200, "")));
    // Subjects are compared to the letter.
    for subject in ["1 ", "01", "\u{ff11}"] {
        one.enter(&origin, "one", subject, json!({}))
            .await
            .expect(401, "credentials_invalid");
    }
}

#[tokio::test]
async fn who_may_not_sign_up_is_refused_like_who_is_not_active() {
    let (idp, origin) = acme(|settings| settings.sign_up = false).await;
    let mine = register(&origin, "ada@example.org").await;
    let unknown = idp
        .enter(&origin, "acme", "2", verified("b@example.org"))
        .await;
    link(&idp, &origin, mine.text("access_token"), "1")
        .await
        .expect(200, "");
    idp.enter(&origin, "acme", "1", json!({}))
        .await
        .expect(200, "");
    let disable = async |status: &str| {
        let mut tx = origin.state.db.write().await.unwrap();
        sqlx::query("UPDATE users SET status = $1")
            .bind(status)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    for status in ["disabled", "deleted"] {
        disable(status).await;
        let inactive = idp.enter(&origin, "acme", "1", json!({})).await;
        for reply in [&unknown, &inactive] {
            assert_eq!(
                (reply.status.as_u16(), reply.code()),
                (401, "credentials_invalid")
            );
        }
        for member in ["title", "detail", "code", "status", "type"] {
            assert_eq!(unknown.body[member], inactive.body[member]);
        }
    }
    disable("active").await;
    idp.enter(&origin, "acme", "1", json!({}))
        .await
        .expect(200, "");
}

/// An address of an account that is not active says no more than one of an account that is.
#[tokio::test]
async fn an_inactive_account_of_the_address_is_a_conflict_like_any() {
    let (idp, origin) = acme(|_| {}).await;
    register(&origin, "ada@example.org").await;
    let active = idp
        .enter(&origin, "acme", "1", verified("ada@example.org"))
        .await;
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("UPDATE users SET status = 'disabled'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let inactive = idp
        .enter(&origin, "acme", "1", verified("ada@example.org"))
        .await;
    for reply in [active, inactive] {
        let reply = reply.expect(409, "conflict");
        assert_eq!(
            reply.text("detail"),
            "There is an account with this address. Log in to it first, then link."
        );
    }
}

#[tokio::test]
async fn wrong_passwords_of_strangers_hold_nobody_up_at_a_provider() {
    let (idp, origin) = acme(|_| {}).await;
    let mine = register(&origin, "ada@example.org").await;
    link(&idp, &origin, mine.text("access_token"), "1")
        .await
        .expect(200, "");
    for _ in 0..5 {
        let body = json!({"identifier": "ada@example.org", "password": "wrong"});
        origin.post("/login", body).await;
    }
    let body = json!({"identifier": "ada@example.org", "password": "wrong"});
    let reply = origin.post("/login", body).await;
    reply.expect(423, "account_locked");
    idp.enter(&origin, "acme", "1", json!({}))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn required_claims_bound_who_may_come() {
    let (idp, origin) = acme(|settings| {
        let hosted = vec!["example.com".to_owned(), "example.org".to_owned()];
        settings.require = BTreeMap::from([("hd".to_owned(), hosted)]);
    })
    .await;
    for (hosted, good) in [
        (json!("example.com"), true),
        (json!("example.org"), true),
        (json!("example.net"), false),
        (json!("EXAMPLE.com"), false),
        (json!("evil-example.com"), false),
        (json!(["example.com"]), false),
        (Value::Null, false),
    ] {
        let flow = start(&origin, "acme").await;
        let mut said = verified("ada@example.com");
        said["hd"] = hosted.clone();
        let reply = idp.log_in(&origin, &flow, "1", said).await;
        let location = reply.headers["location"].to_str().unwrap();
        assert_eq!(location.contains("?code="), good, "{hosted}");
    }
}

#[tokio::test]
async fn a_registration_that_waits_is_void_once_the_address_is_proved_otherwise() {
    let (idp, origin) = acme(|_| {}).await;
    let body = json!({"email": "ada@example.org", "password": "attackers choice"});
    origin.post("/register", body).await.expect(202, "");
    let code = origin.code("ada@example.org");
    let reply = idp
        .enter(&origin, "acme", "1", verified("ada@example.org"))
        .await;
    reply.expect(200, "");
    let body = json!({"email": "ada@example.org", "code": code});
    origin
        .post("/register/verify", body)
        .await
        .expect(400, "code_invalid");
    let body = json!({"identifier": "ada@example.org", "password": "attackers choice"});
    origin
        .post("/login", body)
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn links_need_both_sides_at_once() {
    let (idp, origin) = acme(|_| {}).await;
    let ada = register(&origin, "ada@example.org").await;
    let bob = register(&origin, "bob@example.org").await;
    let (ada_token, bob_token) = (ada.text("access_token"), bob.text("access_token"));
    let (flow, code) = idp.link(&origin, "acme", ada_token, "1").await;
    let refused = async |flow: &Flow, bearer: Option<&str>, status: u16, word: &str| {
        let reply = exchange_with(&origin, "/social/link", flow, &code, bearer).await;
        reply.expect(status, word);
    };
    // Somebody else's session, another session of the same person, none at all, another browser.
    refused(&flow, Some(bob_token), 400, "code_invalid").await;
    let body = json!({"identifier": "ada@example.org", "password": "correct horse"});
    let second = origin.post("/login", body).await.expect(200, "");
    refused(
        &flow,
        Some(second.text("access_token")),
        400,
        "code_invalid",
    )
    .await;
    refused(&flow, None, 401, "token_missing").await;
    let elsewhere = Flow {
        cookie: None,
        ..flow.clone()
    };
    refused(&elsewhere, Some(ada_token), 400, "code_invalid").await;
    // It logs nobody in.
    exchange(&origin, &flow, &code)
        .await
        .expect(400, "code_invalid");
    // And a login's code links nothing.
    let login = start(&origin, "acme").await;
    let reply = idp
        .log_in(&origin, &login, "1", verified("c@example.org"))
        .await;
    let logins_code = returned(&reply, "code");
    let reply = exchange_with(
        &origin,
        "/social/link",
        &login,
        &logins_code,
        Some(ada_token),
    )
    .await;
    reply.expect(400, "code_invalid");
    // Both sides.
    let reply = exchange_with(&origin, "/social/link", &flow, &code, Some(ada_token)).await;
    let linked = reply.expect(200, "");
    assert_eq!(linked.body["provider"], "acme");
    assert!(
        origin
            .message("ada@example.org")
            .unwrap()
            .text
            .contains("acme can now be used")
    );
    refused(&flow, Some(ada_token), 400, "code_invalid").await;
    let listed = identities(&origin, ada_token).await;
    assert_eq!(listed, [linked.body]);
    assert!(identities(&origin, bob_token).await.is_empty());
    // What is one person's cannot be another's; once more is no change and no mail.
    link(&idp, &origin, bob_token, "1")
        .await
        .expect(409, "conflict");
    let mails = origin.state.mailer.sent().len();
    link(&idp, &origin, ada_token, "1").await.expect(200, "");
    assert_eq!(origin.state.mailer.sent().len(), mails);
    assert_eq!(identities(&origin, ada_token).await.len(), 1);
}

#[tokio::test]
async fn changing_how_one_logs_in_asks_for_a_recent_login() {
    let (idp, origin) = acme(|_| {}).await;
    let ada = register(&origin, "ada@example.org").await;
    let bearer = ada.text("access_token");
    let linked = link(&idp, &origin, bearer, "1").await.expect(200, "");
    origin.advance(300);
    linking(&origin, "acme", bearer).await;
    origin.advance(1);
    start_link(&origin, "acme", bearer)
        .await
        .expect(401, "step_up_required");
    remove(&origin, bearer, &linked.body)
        .await
        .expect(401, "step_up_required");
    // A refresh is no login.
    let body = json!({"refresh_token": ada.text("refresh_token")});
    let refreshed = origin.post("/refresh", body).await.expect(200, "");
    let bearer = refreshed.text("access_token");
    start_link(&origin, "acme", bearer)
        .await
        .expect(401, "step_up_required");
    let body = json!({"identifier": "ada@example.org", "password": "correct horse"});
    let fresh = origin.post("/login", body).await.expect(200, "");
    remove(&origin, fresh.text("access_token"), &linked.body)
        .await
        .expect(204, "");
}

#[tokio::test]
async fn a_change_of_links_ends_the_other_sessions_where_that_is_wished() {
    let (idp, origin) = acme(|_| {}).await;
    let ada = register(&origin, "ada@example.org").await;
    let bearer = ada.text("access_token");
    let path = "/api/v1/auth/session";
    let body = json!({"identifier": "ada@example.org", "password": "correct horse"});
    let elsewhere = async || {
        let reply = origin.post("/login", body.clone()).await.expect(200, "");
        reply.text("access_token").to_owned()
    };
    let finish = async |flow: &Flow, body: Value| {
        let authorization = format!("Bearer {bearer}");
        let headers = [
            ("cookie", flow.cookie.as_deref().unwrap()),
            ("authorization", &authorization),
        ];
        let path = "/api/v1/auth/social/link";
        idp::send(&origin, Method::POST, path, &headers, Some(body)).await
    };
    let lives = async |bearer: &str| {
        let reply = origin.call(Method::GET, path, Some(bearer), None).await;
        reply.status == 200
    };
    // Five sessions at the most: a sixth would end the first.
    for (wish, others_live) in [
        (json!({"end_other_sessions": false}), true),
        (json!({"end_other_sessions": true}), false),
    ] {
        let other = elsewhere().await;
        let (flow, code) = idp.link(&origin, "acme", bearer, "1").await;
        let mut body = wish.clone();
        body["code"] = code.into();
        let linked = finish(&flow, body).await.expect(200, "");
        assert_eq!(lives(&other).await, others_live, "link {wish}");
        assert!(lives(bearer).await);

        let other = elsewhere().await;
        let route = format!("{IDENTITIES}/{}", linked.text("id"));
        let reply = origin.call(Method::DELETE, &route, Some(bearer), Some(wish.clone()));
        reply.await.expect(204, "");
        assert_eq!(lives(&other).await, others_live, "removal {wish}");
        assert!(lives(bearer).await);
    }
    // What comes to nothing ends nothing.
    let other = elsewhere().await;
    let wish = json!({"end_other_sessions": true});
    let route = format!("{IDENTITIES}/{}", "01890000-0000-7000-8000-000000000000");
    let reply = origin.call(Method::DELETE, &route, Some(bearer), Some(wish));
    reply.await.expect(404, "not_found");
    let mut body = json!({"code": "eks_nothing", "end_other_sessions": true});
    let route = "/api/v1/auth/social/link";
    let refused = origin.call(Method::POST, route, Some(bearer), Some(body.clone()));
    refused.await.expect(400, "code_invalid");
    // Somebody else's identity.
    let bob = register(&origin, "bob@example.org").await;
    let bob = bob.text("access_token");
    link(&idp, &origin, bob, "2").await.expect(200, "");
    let (flow, code) = idp.link(&origin, "acme", bearer, "2").await;
    body["code"] = code.into();
    finish(&flow, body).await.expect(409, "conflict");
    assert!(lives(&other).await);
}

/// A session that has ended finishes no link that it began.
#[tokio::test]
async fn a_link_ends_with_its_session() {
    let (idp, origin) = acme(|_| {}).await;
    let ada = register(&origin, "ada@example.org").await;
    let bearer = ada.text("access_token");
    let (flow, code) = idp.link(&origin, "acme", bearer, "1").await;
    let path = "/api/v1/auth/logout";
    origin
        .call(Method::POST, path, Some(bearer), None)
        .await
        .expect(204, "");
    let reply = exchange_with(&origin, "/social/link", &flow, &code, Some(bearer)).await;
    reply.expect(401, "token_revoked");
}

#[tokio::test]
async fn the_last_way_in_stays() {
    let (idp, origin) = acme(|settings| settings.without_email = WithoutEmail::Create).await;
    let only = idp
        .enter(&origin, "acme", "1", json!({}))
        .await
        .expect(200, "");
    let bearer = only.text("access_token");
    let first = identities(&origin, bearer).await.remove(0);
    remove(&origin, bearer, &first)
        .await
        .expect(409, "conflict");
    // With a second, one of the two may go, and then the other stays; also when both go at once.
    let second = link(&idp, &origin, bearer, "2").await.expect(200, "").body;
    let replies = all([
        remove(&origin, bearer, &first),
        remove(&origin, bearer, &second),
    ])
    .await;
    let mut codes: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [204, 409]);
    assert_eq!(identities(&origin, bearer).await.len(), 1);
    // A proved address is a way in, by code.
    let ada = register(&origin, "ada@example.org").await;
    let bearer = ada.text("access_token");
    let linked = link(&idp, &origin, bearer, "3").await.expect(200, "").body;
    // Another's is not there.
    remove(&origin, only.text("access_token"), &linked)
        .await
        .expect(404, "not_found");
    remove(&origin, bearer, &linked).await.expect(204, "");
    assert!(
        origin
            .message("ada@example.org")
            .unwrap()
            .text
            .contains("acme can no longer be used")
    );
    remove(&origin, bearer, &linked)
        .await
        .expect(404, "not_found");
    idp.enter(&origin, "acme", "3", json!({}))
        .await
        .expect(200, "");
}

/// Somebody registers another's address without proof, links an identity of their own, and waits.
#[tokio::test]
async fn links_from_before_the_proof_of_an_address_go_with_it() {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| {
        add(config, "acme", &idp.issuer);
        config.registration.require_proof = false;
    })
    .await;
    let body = json!({"email": "victim@example.org", "password": "attackers choice"});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"identifier": "victim@example.org", "password": "attackers choice"});
    let attacker = origin.post("/login", body).await.expect(200, "");
    let bearer = attacker.text("access_token");
    link(&idp, &origin, bearer, "attacker")
        .await
        .expect(200, "");
    idp.enter(&origin, "acme", "attacker", json!({}))
        .await
        .expect(200, "");
    // The owner of the address proves it.
    let sent = origin
        .post("/otp/send", json!({"email": "victim@example.org"}))
        .await;
    let code = origin.code("victim@example.org");
    let body = json!({"otp_token": sent.text("otp_token"), "code": code});
    let victim = origin.post("/otp/verify", body).await.expect(200, "");
    assert_eq!(user_id(&victim), user_id(&attacker));
    assert!(
        identities(&origin, victim.text("access_token"))
            .await
            .is_empty()
    );
    idp.enter(&origin, "acme", "attacker", json!({}))
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn nobody_is_sent_to_a_page_that_is_not_configured() {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| add(config, "acme", &idp.issuer)).await;
    for bad in [
        "",
        "/",
        "/welcome",
        "//app.example.com/welcome",
        "///app.example.com/welcome",
        "\\\\app.example.com\\welcome",
        "https:app.example.com/welcome",
        "https:/app.example.com/welcome",
        "https:///app.example.com/welcome",
        "http://app.example.com/welcome",
        "HTTPS://app.example.com/welcome",
        "https://APP.example.com/welcome",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/Welcome",
        "https://app.example.com/welcome/",
        "https://app.example.com/welcome?",
        "https://app.example.com/welcome?next=https://evil.example",
        "https://app.example.com/welcome#",
        "https://app.example.com/welcome#@evil.example",
        "https://app.example.com/welcome/../../x",
        "https://app.example.com/./welcome",
        "https://app.example.com//welcome",
        "https://app.example.com/%77elcome",
        "https://app.example.com:443/welcome",
        "https://app.example.com:8443/welcome",
        "https://app.example.com./welcome",
        "https://app.example.com.evil.example/welcome",
        "https://app.example.com@evil.example/welcome",
        "https://app.example.com:x@evil.example/welcome",
        "https://evil.example/https://app.example.com/welcome",
        "https://evil.example\\@app.example.com/welcome",
        "https://evil.example#app.example.com/welcome",
        "https://evil.example?app.example.com/welcome",
        "https://app.example.com\\.evil.example/welcome",
        "https://app.example.com%2f.evil.example/welcome",
        "https://app.example.com\u{ff0f}.evil.example/welcome",
        "https://app\u{3002}example.com/welcome",
        "https://\u{430}pp.example.com/welcome",
        "https://app.example.com/welcome ",
        " https://app.example.com/welcome",
        "https://app.example.com/welcome\t",
        "https://app.example.com/wel\tcome",
        "ht\ntps://app.example.com/welcome",
        "https://app.example.com/welcome\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "\u{1}javascript:alert(1)",
        "javascript://app.example.com/welcome%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "com.example.app:/welcome/",
        "com.example.app:/welcome?x",
        "COM.example.app:/welcome",
        "com.example.app:welcome",
    ] {
        for binding in ["cookie", "token"] {
            let body = json!({"return_url": bad, "binding": binding});
            let reply = origin.post("/social/acme/start", body).await;
            assert_eq!(
                (reply.status.as_u16(), reply.code()),
                (400, "request_invalid"),
                "{bad:?}"
            );
        }
    }
    // Each is for its own binding.
    for (other, binding) in [(APP, "cookie"), (PAGE, "token")] {
        let body = json!({"return_url": other, "binding": binding});
        let reply = origin.post("/social/acme/start", body).await;
        reply.expect(400, "request_invalid");
    }
    let body = json!({"return_url": format!("{PAGE}\u{0}")});
    origin
        .post("/social/acme/start", body)
        .await
        .expect(400, "request_invalid");
    for (good, binding) in [(PAGE, "cookie"), (APP, "token")] {
        let body = json!({"return_url": good, "binding": binding});
        let flow = start_with(&origin, "acme", body).await;
        let reply = idp
            .log_in(&origin, &flow, "1", verified("ada@example.org"))
            .await;
        let location = reply.headers["location"].to_str().unwrap();
        assert!(
            location.starts_with(&format!("{good}?code=eks_")),
            "{location}"
        );
    }
}

#[tokio::test]
async fn without_a_page_the_callback_answers_itself() {
    let (idp, origin) = acme(|_| {}).await;
    let flow = start_with(&origin, "acme", json!({"device_id": "laptop"})).await;
    let reply = idp
        .log_in(&origin, &flow, "1", verified("ada@example.org"))
        .await;
    assert_eq!(
        (reply.status.as_u16(), &reply.body["expires_in"]),
        (200, &json!(60))
    );
    let code = reply.text("code").to_owned();
    let tokens = exchange(&origin, &flow, &code).await.expect(200, "");
    let bearer = Some(tokens.text("access_token"));
    let session = origin
        .call(Method::GET, "/api/v1/auth/session", bearer, None)
        .await;
    assert_eq!(session.body["device_id"], "laptop");
    let flow = start_with(&origin, "acme", json!({})).await;
    idp.log_in(&origin, &flow, "1", json!({"nonce": "x"}))
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn nothing_of_a_person_is_in_the_database_in_the_clear() {
    let (idp, origin) = acme(|_| {}).await;
    let marks = ["subj-4711", "ada@example.org", "Ada Lovelace"];
    let mut said = verified(marks[1]);
    said["name"] = json!(marks[2]);
    let flow = start(&origin, "acme").await;
    let reply = idp.log_in(&origin, &flow, marks[0], said.clone()).await;
    let waiting = returned(&reply, "code");
    idp.enter(&origin, "acme", marks[0], said)
        .await
        .expect(200, "");
    let mut reader = origin.state.db.read().await.unwrap();
    let mut seen = Vec::new();
    for text in [
        "SELECT blind, details FROM social_identities",
        "SELECT kept, facts FROM social_flows",
        "SELECT state_hash, code_hash FROM social_flows",
    ] {
        for row in sqlx::query(text).fetch_all(&mut *reader).await.unwrap() {
            for column in 0..2 {
                let bytes: Option<Vec<u8>> = row.try_get(column).unwrap();
                seen.push(bytes.unwrap_or_default());
            }
        }
    }
    assert!(seen.len() >= 6);
    let (state, nonce) = (flow.state(), flow.nonce());
    for secret in marks.iter().copied().chain([&*state, &*nonce, &*waiting]) {
        let found = seen.iter().any(|bytes| {
            bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        });
        assert!(!found, "{secret}");
    }
}

#[tokio::test]
async fn a_device_is_known_again_by_a_login_at_another_provider() {
    let (idp, origin) = acme(|_| {}).await;
    let enter = async |subject: &str, device: Option<&str>| {
        let flow = start_with(&origin, "acme", json!({"binding": "token"})).await;
        let more = verified(&format!("person{subject}@example.org"));
        let back = idp.log_in(&origin, &flow, subject, more).await;
        let body = json!({
            "code": back.text("code"), "flow_token": flow.token, "device_token": device,
        });
        let reply = origin.post("/social/exchange", body).await;
        reply.expect(200, "").text("device_token").to_owned()
    };
    let devices = async || {
        let mut reader = origin.state.db.read().await.unwrap();
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM trusted_devices");
        count.fetch_one(&mut *reader).await.unwrap()
    };
    let mine = enter("1", None).await;
    let foreign = enter("2", None).await;
    assert_eq!(enter("1", Some(&mine)).await, mine);
    assert_eq!(devices().await, 2);
    // With each login its time begins anew.
    for _ in 0..2 {
        origin.advance(89 * 86_400);
        assert_eq!(enter("1", Some(&mine)).await, mine);
    }
    for token in [None, Some(foreign.as_str()), Some("ekd_nothing")] {
        let before = devices().await;
        assert_ne!(Some(enter("1", token).await.as_str()), token);
        assert_eq!(devices().await, before + 1, "{token:?}");
    }
    origin.advance(90 * 86_400);
    assert_ne!(enter("1", Some(&mine)).await, mine);
}
