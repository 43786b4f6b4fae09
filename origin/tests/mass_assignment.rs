//! Members that a body does not have, at every route that takes JSON: refused by name, and nothing
//! is written.
//!
//! The routes, their bodies and what a body may hold are read from the document of the API, so that
//! a new route is tried without being named here.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![expect(clippy::panic, reason = "a failure is the test's failure")]

mod idp;
mod people;
mod support;

use axum::http::Method;
use idp::Idp;
use people::{Person, judged};
use serde_json::{Map, Value, json};
use sqlx::AssertSqlSafe;
use support::Origin;

/// What somebody would like to have set, and two names that change objects of JavaScript.
fn wishes() -> [(&'static str, Value); 16] {
    [
        ("id", json!("67e55044-10b1-426f-9247-bb680e5fe0c8")),
        ("user_id", json!("67e55044-10b1-426f-9247-bb680e5fe0c8")),
        ("roles", json!(["admin"])),
        ("permissions", json!(["report:write"])),
        ("kyc_level", json!(3)),
        ("kyc_status", json!("verified")),
        ("customer_id", json!("c-1")),
        ("verified", json!(true)),
        ("email_verified", json!(true)),
        ("created_at", json!(0)),
        ("deactivated_at", Value::Null),
        (
            "password_hash",
            json!("$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAA"),
        ),
        ("is_admin", json!(true)),
        ("tenant_id", json!("t-1")),
        ("__proto__", json!({"roles": ["admin"]})),
        ("constructor", json!({"prototype": {"roles": ["admin"]}})),
    ]
}

/// A route that takes JSON.
struct Operation {
    method: Method,
    path: String,
    schema: Value,
}

/// Every operation with a JSON body.
fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let content = &operation["requestBody"]["content"];
            let schema = &content["application/json"]["schema"];
            if schema.is_object() {
                found.push(Operation {
                    method: method.to_uppercase().parse().unwrap(),
                    path: path.clone(),
                    schema: schema.clone(),
                });
            }
        }
    }
    found
}

/// What the schema allows, behind its references and beside `null`.
fn variants<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return variants(document, document.pointer(&reference[1..]).unwrap());
    }
    match schema["oneOf"].as_array() {
        None => vec![schema],
        Some(parts) => parts
            .iter()
            .filter(|part| part["type"] != "null")
            .flat_map(|part| variants(document, part))
            .collect(),
    }
}

/// A value that fits the schema, with every member that it names.
fn value_of(document: &Value, schema: &Value) -> Value {
    let schema = variants(document, schema)[0];
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").unwrap(),
        kind => kind,
    };
    match (kind.as_str(), schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => json!("67e55044-10b1-426f-9247-bb680e5fe0c8"),
        (Some("string"), _) => json!("text"),
        (Some("integer" | "number"), _) => json!(1),
        (Some("boolean"), _) => json!(false),
        (Some("array"), _) => json!([value_of(document, &schema["items"])]),
        (Some("object"), _) => {
            let members = schema["properties"].as_object();
            let members = members.into_iter().flatten();
            Value::Object(
                members
                    .map(|(name, member)| (name.clone(), value_of(document, member)))
                    .collect(),
            )
        }
        (_, _) => panic!("of what type is {schema}?"),
    }
}

/// An object within a body, whose members the schema names.
struct Place {
    /// Where it stands, as a JSON Pointer.
    at: String,
    known: Vec<String>,
    value: Value,
}

/// Every such place. What a browser's own API makes is not among them: it may say more.
fn places(document: &Value, schema: &Value, at: &str) -> Vec<Place> {
    let mut found = Vec::new();
    for schema in variants(document, schema) {
        if let Some(members) = schema["properties"].as_object() {
            found.push(Place {
                at: at.to_owned(),
                known: members.keys().cloned().collect(),
                value: value_of(document, schema),
            });
            for (name, member) in members {
                found.extend(places(document, member, &format!("{at}/{name}")));
            }
        } else if schema["items"].is_object() {
            found.extend(places(document, &schema["items"], &format!("{at}/0")));
        }
    }
    found
}

/// An origin with another provider, and the document of its API.
async fn origin() -> (Origin, Value) {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| {
        config.server.public_url = Some("https://id.example.org".to_owned());
        idp::add(config, "acme", &idp.issuer);
    })
    .await;
    let document = origin.get("/openapi.json").await.body;
    (origin, document)
}

/// Every row of every table.
async fn everything(origin: &Origin) -> Vec<(String, Option<String>)> {
    let mut reader = origin.state.db.read().await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'
         ORDER BY name",
    )
    .fetch_all(&mut *reader)
    .await
    .unwrap();
    assert!(tables.len() > 30, "{tables:?}");
    let mut all = Vec::new();
    for table in tables {
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT 'quote(' || name || ')' FROM pragma_table_info($1)")
                .bind(&table)
                .fetch_all(&mut *reader)
                .await
                .unwrap();
        let row = columns.join(" || ',' || ");
        let sql = format!("SELECT group_concat({row}, ';') FROM {table}");
        let rows = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut *reader)
            .await
            .unwrap();
        all.push((table, rows));
    }
    all
}

fn path_of(operation: &Operation, person: &Person) -> String {
    operation
        .path
        .replace("{provider}", "acme")
        .replace("{kid}", "none")
        .replace("{id}", &person.id.to_string())
}

#[tokio::test]
async fn no_body_takes_what_it_does_not_have() {
    let (origin, document) = origin().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let operations = operations(&document);
    assert!(operations.len() > 40, "{}", operations.len());
    let before = everything(&origin).await;
    for operation in &operations {
        let at = format!("{} {}", operation.method, operation.path);
        let body = value_of(&document, &operation.schema);
        let places = places(&document, &operation.schema, "");
        assert!(!places.is_empty(), "{at}");
        for place in places {
            for (name, wish) in wishes() {
                if place.known.iter().any(|known| known == name) {
                    continue;
                }
                let mut body = body.clone();
                let object = body.pointer_mut(&place.at).unwrap();
                *object = place.value.clone();
                object[name] = wish;
                let path = path_of(operation, &admin);
                let method = operation.method.clone();
                let reply = origin
                    .call(method, &path, Some(&admin.access), Some(body))
                    .await;
                let at = format!("{at}{}: {name}", place.at);
                let answer = (reply.status.as_u16(), reply.code());
                assert_eq!(answer, (400, "request_invalid"), "{at}");
                let detail = reply.text("detail");
                let named = format!("unknown field `{name}`");
                assert!(detail.contains(&named), "{at}: {detail}");
            }
        }
    }
    // Not one row: no counter, no session, no event about a change that was none.
    let after = everything(&origin).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
}

/// The bodies of the test above are refused for what was added to them alone.
#[tokio::test]
async fn the_same_bodies_without_it_are_read() {
    let (origin, document) = origin().await;
    for (n, operation) in operations(&document).iter().enumerate() {
        // What is read may be done: disabled, deleted, logged out.
        let admin = Person::new_admin(&origin, &format!("a{n}@example.org")).await;
        let path = path_of(operation, &admin);
        let body = value_of(&document, &operation.schema);
        let method = operation.method.clone();
        let reply = origin
            .call(method, &path, Some(&admin.access), Some(body))
            .await;
        let detail = reply.body["detail"].as_str().unwrap_or_default();
        let at = format!("{} {path}", operation.method);
        for fault in ["The body", "a body"] {
            assert!(!detail.contains(fault), "{at}: {detail}");
        }
        assert_ne!(reply.code(), "token_missing", "{at}");
    }
}

#[tokio::test]
async fn a_profile_is_what_one_says_of_oneself_and_never_what_one_may() {
    let (origin, _) = origin().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let shown = async |person: &Person| {
        let profile = person.ask(&origin, Method::GET, "/profile", None).await;
        profile.expect(200, "").body
    };
    let profile = shown(&user).await;
    let claims = judged(&origin, &user.access).await;
    // As if what is shown could be sent back with a change.
    let mut sent_back: Map<String, Value> = profile.as_object().unwrap().clone();
    sent_back.insert("kyc_level".to_owned(), json!(3));
    let mut bodies = vec![Value::Object(sent_back)];
    bodies.extend(wishes().map(|(name, value)| json!({"name": "Ada", name: value})));
    bodies.extend(wishes().map(|(name, value)| json!({ name: value })));
    for name in ["email", "phone_number", "username", "status", "last_login"] {
        bodies.push(json!({"name": "Ada", name: "x"}));
    }
    for body in bodies {
        let reply = user.ask(&origin, Method::PUT, "/profile", Some(body)).await;
        reply.expect(400, "request_invalid");
        assert_eq!(shown(&user).await, profile);
    }
    // Nor is it there beside a change that is taken, in the profile or in tokens.
    let body = Some(json!({"name": "Ada"}));
    let changed = user.ask(&origin, Method::PUT, "/profile", body).await;
    changed.expect(200, "");
    let user = user.refreshed(&origin).await;
    let mut expected = profile.clone();
    expected["name"] = json!("Ada");
    assert_eq!(shown(&user).await, expected);
    let now = judged(&origin, &user.access).await;
    for name in [
        "sub",
        "roles",
        "permissions",
        "kyc_level",
        "kyc_status",
        "customer_id",
        "tenant_id",
        "email_verified",
    ] {
        assert_eq!(now.get(name), claims.get(name), "{name}");
    }
}
