//! The administration API: who may use it, what it changes, and that one administrator stays.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod people;
mod support;

use axum::http::Method;
use edgekeep_origin::config::Role;
use people::{PASSWORD, Person, events, judged, try_log_in};
use serde_json::{Value, json};
use support::Origin;

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// Every route under `/api/v1/admin`, from the description that routes are registered with.
async fn routes(origin: &Origin) -> Vec<(Method, String)> {
    let document = origin.get("/openapi.json").await.body;
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(route) = path.strip_prefix("/api/v1/admin") else {
            continue;
        };
        for method in item.as_object().unwrap().keys() {
            found.push((method.to_uppercase().parse().unwrap(), route.to_owned()));
        }
    }
    assert!(found.len() >= 16, "{found:?}");
    found
}

/// Active accounts that have the administrator's role.
async fn administrators(origin: &Origin) -> i64 {
    use sqlx::Row as _;
    let mut reader = origin.state.db.read().await.unwrap();
    // Not LIKE: SQLite's does not look at capitals.
    sqlx::query(
        "SELECT COUNT(*) FROM users
         WHERE status = 'active' AND replace(roles, '\"admin\"', '') <> roles",
    )
    .fetch_one(&mut *reader)
    .await
    .unwrap()
    .try_get(0)
    .unwrap()
}

#[tokio::test]
async fn every_route_is_for_administrators_alone() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let closed = Person::new_admin(&origin, "closed@example.org").await;
    let stale = Person::new_admin(&origin, "stale@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    // Nearly the role, in ways that a careless comparison takes for it.
    let roles = ["Admin", "admin2", "sub:admin", "administrator"];
    let similar = Person::with_roles(&origin, "similar@example.org", &roles).await;
    let route = format!("/users/{}/disable", closed.id);
    admin
        .administer(&origin, POST, &route, None)
        .await
        .expect(204, "");
    // The token still says `admin`; the database does not any more.
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("UPDATE users SET roles = '[]' WHERE id = $1")
        .bind(stale.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stale.judged(&origin).await["roles"], json!(["admin"]));

    let nobody = "00000000-0000-4000-8000-000000000000";
    for (method, route) in routes(&origin).await {
        let route = route.replace("{id}", nobody).replace("{kid}", "none");
        let path = format!("/api/v1/admin{route}");
        let at = format!("{method} {route}");
        for (who, token, expected) in [
            ("no token", None, (401, "token_missing")),
            ("garbage", Some("a.b.c"), (401, "token_malformed")),
            ("a user", Some(&*user.access), (403, "insufficient_role")),
            (
                "similar roles",
                Some(&*similar.access),
                (403, "insufficient_role"),
            ),
            (
                "a role taken away",
                Some(&*stale.access),
                (403, "insufficient_role"),
            ),
            (
                "a closed account",
                Some(&*closed.access),
                (401, "token_revoked"),
            ),
        ] {
            // Whatever the body: who may not ask learns nothing about it.
            for body in [None, Some(json!({})), Some(json!({"roles": ["admin"]}))] {
                let reply = origin.call(method.clone(), &path, token, body).await;
                let got = (reply.status.as_u16(), reply.code());
                assert_eq!(got, expected, "{at} as {who}");
            }
        }
        let reply = origin
            .call(method.clone(), &path, Some(&admin.access), None)
            .await;
        assert!(
            ![401, 403, 405, 500].contains(&reply.status.as_u16()),
            "{at}: {:?}",
            reply.body
        );
    }
    assert_eq!(administrators(&origin).await, 1);
}

#[tokio::test]
async fn roles_reach_tokens_at_once_and_the_trail() {
    let origin = Origin::with(|config| {
        let permissions = vec!["report:read".to_owned(), "report:write".to_owned()];
        config
            .access
            .roles
            .insert("editor".to_owned(), Role { permissions });
    })
    .await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    assert_eq!(user.judged(&origin).await["active"], true);
    let route = format!("/users/{}/roles", user.id);
    let body = json!({"roles": ["editor", "beta", "editor"]});
    let reply = admin
        .administer(&origin, PUT, &route, Some(body))
        .await
        .expect(200, "");
    assert_eq!(reply.body["roles"], json!(["beta", "editor"]));
    assert_eq!(reply.body["own_permissions"], json!([]));

    let before = user.judged(&origin).await;
    assert_eq!(
        (&before["active"], &before["code"]),
        (&json!(false), &json!("token_revoked"))
    );
    let user = user.refreshed(&origin).await;
    let after = user.judged(&origin).await;
    assert_eq!(after["active"], true, "{after}");
    assert_eq!(after["roles"], json!(["beta", "editor"]));
    assert_eq!(after["permissions"], json!(["report:read", "report:write"]));
    assert_eq!(after["scope"], "report:read report:write");
    let profile = user.ask(&origin, GET, "/profile", None).await;
    assert_eq!(
        profile.body["permissions"],
        json!(["report:read", "report:write"])
    );

    let route = format!("/users/{}/permissions", user.id);
    let body = json!({"permissions": ["own", "report:read"]});
    let reply = admin
        .administer(&origin, PUT, &route, Some(body))
        .await
        .expect(200, "");
    assert_eq!(reply.body["own_permissions"], json!(["own", "report:read"]));
    assert_eq!(
        reply.body["permissions"],
        json!(["own", "report:read", "report:write"])
    );
    let route = format!("/users/{}/customer", user.id);
    admin
        .administer(&origin, PUT, &route, Some(json!({"customer_id": "c-7"})))
        .await
        .expect(200, "");
    assert_eq!(user.judged(&origin).await["code"], "token_revoked");
    let user = user.refreshed(&origin).await;
    assert_eq!(user.judged(&origin).await["customer_id"], "c-7");

    let roles = events(&origin, &admin, "roles").await;
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0]["old"], json!([]));
    assert_eq!(roles[0]["new"], json!(["beta", "editor"]));
    assert_eq!(roles[0]["actor"], format!("user {}", admin.id));
    assert_eq!(roles[0]["user_id"], user.id.to_string());
    assert!(roles[0]["request_id"].is_string(), "{roles:?}");
    let permissions = events(&origin, &admin, "permissions").await;
    assert_eq!(permissions[0]["new"], json!(["own", "report:read"]));
    let customer = events(&origin, &admin, "customer").await;
    assert_eq!(
        (&customer[0]["old"], &customer[0]["new"]),
        (&Value::Null, &json!("c-7"))
    );
}

/// The clock stands still here, so that everything falls into one second.
#[tokio::test]
async fn a_token_from_between_two_changes_of_one_second_is_turned_away() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let mut user = Person::new_user(&origin, "user@example.org").await;
    let route = format!("/users/{}/roles", user.id);
    for round in 0..4 {
        let before = user.access.clone();
        let body = json!({"roles": [format!("r{round}")]});
        admin
            .administer(&origin, PUT, &route, Some(body))
            .await
            .expect(200, "");
        assert_eq!(
            judged(&origin, &before).await["code"],
            "token_revoked",
            "{round}"
        );
        user = user.refreshed(&origin).await;
        let after = user.judged(&origin).await;
        assert_eq!(after["active"], true, "{round}: {after}");
        assert_eq!(after["roles"], json!([format!("r{round}")]));
    }
    // What changes nothing turns nothing away.
    admin
        .administer(&origin, PUT, &route, Some(json!({"roles": ["r3"]})))
        .await
        .expect(200, "");
    assert_eq!(user.judged(&origin).await["active"], true);
}

#[tokio::test]
async fn rejects_names_that_a_token_cannot_carry() {
    let origin = Origin::with(|config| {
        let permissions = (0..30).map(|n| format!("p{n}")).collect();
        config
            .access
            .roles
            .insert("many".to_owned(), Role { permissions });
    })
    .await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let put = async |what: &str, body: Value| {
        let route = format!("/users/{}/{what}", user.id);
        admin.administer(&origin, PUT, &route, Some(body)).await
    };
    let many = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
    for body in [
        json!({}),
        json!({"roles": null}),
        json!({"roles": "admin"}),
        json!({"roles": [1]}),
        json!({"roles": [""]}),
        json!({"roles": ["a b"]}),
        json!({"roles": ["a,b"]}),
        json!({"roles": ["a\"b"]}),
        json!({"roles": ["é"]}),
        json!({"roles": ["x".repeat(65)]}),
        json!({"roles": many(17)}),
        json!({"roles": [], "kyc_level": 3}),
    ] {
        put("roles", body).await.expect(400, "request_invalid");
    }
    put("roles", json!({"roles": many(16)}))
        .await
        .expect(200, "");
    put("permissions", json!({"permissions": many(33)}))
        .await
        .expect(400, "request_invalid");
    put("permissions", json!({"permissions": many(32)}))
        .await
        .expect(200, "");
    // With those of the role it would be too many.
    put("roles", json!({"roles": ["many"]}))
        .await
        .expect(400, "request_invalid");
    put("permissions", json!({"permissions": many(2)}))
        .await
        .expect(200, "");
    put("roles", json!({"roles": ["many"]}))
        .await
        .expect(200, "");
    put("permissions", json!({"permissions": many(3)}))
        .await
        .expect(400, "request_invalid");
    for body in [
        json!({"customer_id": "a b"}),
        json!({"customer_id": ""}),
        json!({"id": "x"}),
        // Left out is not null: nobody leaves their customer by an omission.
        json!({}),
    ] {
        put("customer", body).await.expect(400, "request_invalid");
    }
    put("customer", json!({"customer_id": null}))
        .await
        .expect(200, "");
    let route = format!("/users/{}/disable", user.id);
    for reason in ["x".repeat(501), "a\nb".to_owned()] {
        admin
            .administer(&origin, POST, &route, Some(json!({"reason": reason})))
            .await
            .expect(400, "request_invalid");
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    // Neither a closed administrator nor one with a role of a similar name counts.
    let closed = Person::new_admin(&origin, "closed@example.org").await;
    let _similar = Person::with_roles(&origin, "b@example.org", &["Admin", "admins"]).await;
    let of = |person: &Person, what: &str| format!("/users/{}{what}", person.id);
    admin
        .administer(&origin, POST, &of(&closed, "/disable"), None)
        .await
        .expect(204, "");
    let none = Some(json!({"roles": []}));
    let other = Some(json!({"roles": ["Admin"]}));
    for (method, what, body) in [
        (PUT, "/roles", none.clone()),
        (PUT, "/roles", other),
        (POST, "/disable", None),
        (DELETE, "", None),
    ] {
        admin
            .administer(&origin, method, &of(&admin, what), body)
            .await
            .expect(409, "conflict");
    }
    for (method, route) in [(POST, "/account/deactivate"), (DELETE, "/account")] {
        admin
            .ask(&origin, method, route, None)
            .await
            .expect(409, "conflict");
    }
    assert_eq!(administrators(&origin).await, 1);
    assert_eq!(
        admin.judged(&origin).await["active"],
        true,
        "nothing was half done"
    );

    // With another one it may go.
    let route = of(&closed, "/enable");
    admin
        .administer(&origin, POST, &route, None)
        .await
        .expect(204, "");
    admin
        .administer(&origin, PUT, &of(&admin, "/roles"), none)
        .await
        .expect(200, "");
    assert_eq!(administrators(&origin).await, 1);
}

#[tokio::test]
async fn of_administrators_who_remove_each_other_at_once_one_remains() {
    for (method, what, body) in [
        (PUT, "/roles", Some(json!({"roles": []}))),
        (POST, "/disable", None),
        (DELETE, "", None),
    ] {
        let origin = Origin::new().await;
        let mut admins = Vec::new();
        for n in 0..4 {
            admins.push(Person::new_admin(&origin, &format!("admin{n}@example.org")).await);
        }
        let mut requests = Vec::new();
        for (n, admin) in admins.iter().enumerate() {
            for other in admins.iter().cycle().skip(n).take(4) {
                let route = format!("/users/{}{what}", other.id);
                let (method, body) = (method.clone(), body.clone());
                let origin = &origin;
                requests.push(async move { admin.administer(origin, method, &route, body).await });
            }
        }
        for reply in support::all(requests).await {
            let status = reply.status.as_u16();
            assert!(
                [200, 204, 401, 403, 404, 409].contains(&status),
                "{:?}",
                reply.body
            );
        }
        assert_eq!(administrators(&origin).await, 1, "{method} {what}");
    }
}

#[tokio::test]
async fn a_closed_account_is_out_until_it_is_opened() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let route = |what: &str| format!("/users/{}{what}", user.id);
    let reason = Some(json!({"reason": "asked by phone"}));
    admin
        .administer(&origin, POST, &route("/disable"), reason)
        .await
        .expect(204, "");
    assert_eq!(user.judged(&origin).await["code"], "token_revoked");
    let refresh = json!({"refresh_token": user.refresh});
    origin
        .post("/refresh", refresh)
        .await
        .expect(401, "session_ended");
    try_log_in(&origin, &user.email)
        .await
        .expect(401, "credentials_invalid");
    let shown = admin.administer(&origin, GET, &route(""), None).await;
    assert_eq!(shown.body["status"], "disabled");
    assert_eq!(shown.body["status_reason"], "asked by phone");
    assert!(shown.body["status_since"].is_i64());
    for _ in 0..2 {
        admin
            .administer(&origin, POST, &route("/disable"), None)
            .await
            .expect(409, "conflict");
    }
    admin
        .administer(&origin, POST, &route("/enable"), None)
        .await
        .expect(204, "");
    admin
        .administer(&origin, POST, &route("/enable"), None)
        .await
        .expect(409, "conflict");
    let shown = admin.administer(&origin, GET, &route(""), None).await;
    assert_eq!(shown.body["status"], "active");
    assert_eq!(shown.body.get("status_reason"), None);
    Person::log_in(&origin, &user.email).await;
    let changes: Vec<_> = events(&origin, &admin, "status")
        .await
        .iter()
        .map(|event| (event["old"].clone(), event["new"].clone()))
        .collect();
    assert_eq!(
        changes,
        [
            (json!("active"), json!("disabled")),
            (json!("disabled"), json!("active"))
        ]
    );
}

#[tokio::test]
async fn an_administrator_logs_people_out_and_starts_a_reset_but_chooses_no_password() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let route = |what: &str| format!("/users/{}{what}", user.id);
    admin
        .administer(&origin, POST, &route("/password-reset"), None)
        .await
        .expect(202, "");
    // Until the owner follows it, nothing has changed.
    assert_eq!(user.judged(&origin).await["active"], true);
    Person::log_in(&origin, &user.email).await;
    let link = origin.code(&user.email);
    let body = json!({"token": link, "password": "a new pass phrase"});
    let given = origin.post("/reset-password", body.clone()).await;
    assert_eq!(given.status, 204);
    origin
        .post("/reset-password", body)
        .await
        .expect(400, "code_invalid");
    for body in [json!({"password": "chosen by another"}), json!({})] {
        // There is no body to choose one in.
        let reply = admin
            .administer(&origin, POST, &route("/password-reset"), Some(body))
            .await;
        assert_eq!(reply.status, 202);
    }
    let login = json!({"identifier": user.email, "password": "a new pass phrase"});
    let tokens = origin.post("/login", login).await.expect(200, "");
    try_log_in(&origin, &user.email)
        .await
        .expect(401, "credentials_invalid");
    admin
        .administer(&origin, POST, &route("/logout"), None)
        .await
        .expect(204, "");
    let state = judged(&origin, tokens.text("access_token")).await;
    assert_eq!(state["code"], "token_revoked");
    // Whoever ended it is named, and not an operator.
    let ends = events(&origin, &admin, "session_end").await;
    let by_admin: Vec<_> = ends
        .iter()
        .filter(|event| event["reason"] == "administrator")
        .collect();
    assert!(by_admin.len() > 1, "{ends:?}");
    for event in by_admin {
        assert_eq!(event["actor"], format!("user {}", admin.id), "{event}");
    }

    let nameless = {
        use edgekeep_origin::accounts::{self, Identifier, NewAccount};
        let account = NewAccount {
            identifiers: &[(Identifier::username("nameless").unwrap(), true)],
            ..NewAccount::default()
        };
        let mut tx = origin.state.db.write().await.unwrap();
        let id = accounts::create(&origin.state, &mut tx, &account)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        id
    };
    let route = format!("/users/{nameless}/password-reset");
    admin
        .administer(&origin, POST, &route, None)
        .await
        .expect(409, "conflict");
}

#[tokio::test]
async fn accounts_are_found_by_identifier_and_page_by_page() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "Anna.Meier@example.org").await;
    for n in 0..5 {
        Person::new_user(&origin, &format!("p{n}@example.org")).await;
    }
    let list = async |query: &str| {
        let route = format!("/users{query}");
        admin.administer(&origin, GET, &route, None).await
    };
    let found = list("?identifier=anna.meier%40EXAMPLE.org")
        .await
        .expect(200, "");
    assert_eq!(found.body["users"][0]["id"], user.id.to_string());
    assert_eq!(found.body["users"][0]["email"], "Anna.Meier@example.org");
    assert_eq!(found.body["users"][0]["contacts"][0]["primary"], true);
    assert_eq!(found.body["users"].as_array().unwrap().len(), 1);
    for part in [
        "anna",
        "nobody%40example.org",
        "anna.meier%40example.or",
        "%25",
    ] {
        let found = list(&format!("?identifier={part}")).await.expect(200, "");
        assert_eq!(found.body["users"], json!([]), "{part}");
    }
    for size in [1, 2, 3, 7, 100] {
        let mut seen: Vec<String> = Vec::new();
        let mut after = String::new();
        loop {
            let page = list(&format!("?limit={size}{after}")).await.expect(200, "");
            let users = page.body["users"].as_array().unwrap();
            assert!(users.len() <= size);
            seen.extend(
                users
                    .iter()
                    .map(|user| user["id"].as_str().unwrap().to_owned()),
            );
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 7, "{size}");
        assert!(seen.is_sorted());
    }
    for query in [
        "?limit=0",
        "?limit=101",
        "?limit=x",
        "?after=x",
        "?page=1",
        "?identifier=",
    ] {
        list(query).await.expect(400, "request_invalid");
    }
    for id in ["x", "00000000-0000-4000-8000-000000000000"] {
        let route = format!("/users/{id}");
        admin
            .administer(&origin, GET, &route, None)
            .await
            .expect(404, "not_found");
    }
    let route = format!("/users/{}", user.id);
    let text = admin
        .administer(&origin, GET, &route, None)
        .await
        .body
        .to_string();
    for secret in ["argon2", PASSWORD, "phc", "password"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn keys_are_listed_rotated_and_revoked() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let states = |body: &Value| {
        let keys = body["keys"].as_array().unwrap();
        keys.iter()
            .map(|key| key["state"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let keys = admin
        .administer(&origin, GET, "/keys", None)
        .await
        .expect(200, "");
    assert_eq!(states(&keys.body), ["active", "pending"]);
    assert!(!keys.body.to_string().contains("private"));
    let earliest = keys.body["keys"][1]["activate_not_before"]
        .as_i64()
        .unwrap();
    admin
        .administer(&origin, POST, "/keys/rotate", None)
        .await
        .expect(409, "conflict");
    let now = origin.clock.now().unix_seconds();
    origin.advance(u64::try_from(earliest - now).unwrap());
    let keys = admin
        .administer(&origin, POST, "/keys/rotate", None)
        .await
        .expect(200, "");
    assert_eq!(states(&keys.body), ["retiring", "active", "pending"]);
    admin
        .administer(&origin, POST, "/keys/nonsense/revoke", None)
        .await
        .expect(404, "not_found");
    // The key that signed the administrator's own token.
    let route = format!(
        "/keys/{}/revoke",
        keys.body["keys"][0]["kid"].as_str().unwrap()
    );
    let done = admin.administer(&origin, POST, &route, None).await;
    assert_eq!(done.status, 204);
    let refused = admin.administer(&origin, GET, "/keys", None).await;
    assert_eq!(refused.status, 401);
    let admin = admin.refreshed(&origin).await;
    let rotated = events(&origin, &admin, "keys").await;
    assert_eq!(rotated.len(), 2);
    for event in rotated {
        assert_eq!(event["actor"], format!("user {}", admin.id));
    }
}

#[tokio::test]
async fn tokens_sessions_and_people_are_turned_away_and_listed() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let jti = Person::new_user(&origin, "jti@example.org").await;
    let sid = Person::new_user(&origin, "sid@example.org").await;
    let sub = Person::new_user(&origin, "sub@example.org").await;
    let token_id = jti.judged(&origin).await["jti"].clone();
    for (body, known) in [
        (json!({"jti": token_id}), Value::Null),
        // However it is typed: tokens have one spelling.
        (json!({"sid": sid.session.to_uppercase()}), json!(true)),
        (json!({"sub": sub.id.to_string()}), json!(true)),
        (json!({"sid": "not of this database"}), json!(false)),
    ] {
        let reply = admin
            .administer(&origin, POST, "/revocations", Some(body))
            .await
            .expect(201, "");
        assert_eq!(reply.body["known"], known, "{:?}", reply.body);
    }
    for person in [&jti, &sid, &sub] {
        assert_eq!(person.judged(&origin).await["code"], "token_revoked");
    }
    // A token is one token; a session or a person is all of them.
    jti.refreshed(&origin).await;
    for person in [&sid, &sub] {
        let body = json!({"refresh_token": person.refresh});
        origin
            .post("/refresh", body)
            .await
            .expect(401, "session_ended");
    }
    let mut seen = Vec::new();
    let mut before = String::new();
    loop {
        let route = format!("/revocations?limit=2{before}");
        let page = admin
            .administer(&origin, GET, &route, None)
            .await
            .expect(200, "");
        seen.extend(page.body["revocations"].as_array().unwrap().clone());
        match page.body["next"].as_i64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    let kinds: Vec<_> = seen
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    // The person's session stands before the person, since both are written.
    assert_eq!(kinds, ["sid", "sub", "sid", "sid", "jti"]);
    assert!(seen[1]["not_before"].is_i64() && seen[0].get("not_before").is_none());
    for body in [
        json!({}),
        json!({"jti": "a", "sid": "b"}),
        json!({"jti": ""}),
        json!({"jti": "x".repeat(257)}),
        json!({"jti": "a\nb"}),
        json!({"kid": "a"}),
    ] {
        admin
            .administer(&origin, POST, "/revocations", Some(body))
            .await
            .expect(400, "request_invalid");
    }
    assert_eq!(events(&origin, &admin, "revocation").await.len(), 4);
}

#[tokio::test]
async fn an_administrator_erases_an_account_at_once() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let route = format!("/users/{}", user.id);
    admin
        .administer(&origin, DELETE, &route, None)
        .await
        .expect(204, "");
    assert_eq!(user.judged(&origin).await["code"], "token_revoked");
    for method in [GET, DELETE] {
        admin
            .administer(&origin, method, &route, None)
            .await
            .expect(404, "not_found");
    }
    try_log_in(&origin, &user.email)
        .await
        .expect(401, "credentials_invalid");
    let erased = events(&origin, &admin, "erasure").await;
    assert_eq!(erased[0]["actor"], format!("user {}", admin.id));
}
