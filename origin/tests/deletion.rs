//! Leaving: for a while, for good, and with a copy of one's data.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod people;
mod support;

use std::task::Poll;

use axum::http::Method;
use edgekeep_origin::events::chain;
use edgekeep_origin::ids::UserId;
use edgekeep_origin::revocation;
use people::{PASSWORD, Person, events, try_log_in};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use support::{BEGINNING, Origin};

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

const DAY: u64 = 86_400;
const GRACE: u64 = 30 * DAY;

/// Somebody of whom there is something in every table.
async fn zephyrine(origin: &Origin) -> Person {
    let person = Person::new_user(origin, "zephyrine@example.org").await;
    let profile = json!({"name": "Zephyrine Quux", "locale": "de-CH",
        "picture": "https://example.org/zephyrine.png"});
    person
        .ask(origin, PUT, "/profile", Some(profile))
        .await
        .expect(200, "");
    let number = json!({"phone_number": "+41791234567"});
    let sent = person.ask(origin, POST, "/contacts", Some(number)).await;
    let code = json!({"contact_token": sent.text("contact_token"),
        "code": origin.code("+41791234567")});
    person
        .ask(origin, POST, "/contacts/verify", Some(code))
        .await
        .expect(200, "");
    let documents = json!({"level": 1, "documents":
        [{"kind": "passport", "reference": "case/zephyrine", "country": "CH"}]});
    let submitted = person
        .ask(origin, POST, "/kyc/verify", Some(documents))
        .await;
    assert_eq!(submitted.status, 202);
    // Codes and links that wait.
    let email = json!({"email": person.email});
    origin.post("/otp/send", email).await.expect(200, "");
    let identifier = json!({"identifier": person.email});
    origin
        .post("/forgot-password", identifier)
        .await
        .expect(202, "");
    person
}

/// Tables that have a row with these 16 bytes in any column.
async fn tables_with(origin: &Origin, id: UserId) -> Vec<String> {
    let mut reader = origin.state.db.read().await.unwrap();
    let tables = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut *reader)
        .await
        .unwrap();
    let mut found = Vec::new();
    for table in tables {
        let table: String = table.try_get("name").unwrap();
        let columns = sqlx::query(AssertSqlSafe(format!("PRAGMA table_info({table})")))
            .fetch_all(&mut *reader)
            .await
            .unwrap();
        for column in columns {
            let column: String = column.try_get("name").unwrap();
            // As bytes, and as text within whatever text.
            let text = format!(
                "SELECT COUNT(*) FROM {table}
                 WHERE {column} = $1 OR instr(CAST({column} AS TEXT), $2) > 0"
            );
            let count: i64 = sqlx::query(AssertSqlSafe(text))
                .bind(id)
                .bind(id.to_string())
                .fetch_one(&mut *reader)
                .await
                .unwrap()
                .try_get(0)
                .unwrap();
            if count > 0 {
                found.push(format!("{table}.{column}"));
            }
        }
    }
    found.sort();
    found
}

/// Whether the text stands anywhere in the files of the data folder.
fn in_files(origin: &Origin, text: &str) -> bool {
    let folder = origin.state.config.data_dir.clone();
    std::fs::read_dir(folder.0).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes
            .windows(text.len())
            .any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    })
}

async fn count(origin: &Origin, sql: &'static str) -> i64 {
    let mut reader = origin.state.db.read().await.unwrap();
    let row = sqlx::query(sql).fetch_one(&mut *reader).await.unwrap();
    row.try_get(0).unwrap()
}

#[tokio::test]
async fn a_login_takes_a_left_account_back() {
    for (method, route, status) in [
        (POST, "/account/deactivate", 204),
        (DELETE, "/account", 202),
    ] {
        let origin = Origin::new().await;
        let admin = Person::new_admin(&origin, "admin@example.org").await;
        let user = Person::new_user(&origin, "user@example.org").await;
        let other = Person::log_in(&origin, "user@example.org").await;
        let left = user.ask(&origin, method, route, None).await;
        assert_eq!(left.status, status, "{:?}", left.body);
        let told = origin.message(&user.email).unwrap();
        assert_eq!(told.subject, Some("Your account was left"));
        assert_eq!(
            told.text.contains("Everything about you goes on"),
            status == 202
        );
        for session in [&user, &other] {
            assert_eq!(session.judged(&origin).await["code"], "token_revoked");
            let body = json!({"refresh_token": session.refresh});
            origin
                .post("/refresh", body)
                .await
                .expect(401, "session_ended");
        }
        let shown = admin
            .administer(&origin, GET, &format!("/users/{}", user.id), None)
            .await;
        let word = if status == 204 {
            "deactivated"
        } else {
            "deleting"
        };
        assert_eq!(shown.body["status"], word);
        assert_eq!(shown.body["erase_at"].is_i64(), status == 202);
        // A wrong password takes nothing back.
        let wrong = json!({"identifier": user.email, "password": "wrong"});
        origin
            .post("/login", wrong)
            .await
            .expect(401, "credentials_invalid");
        let back = Person::log_in(&origin, &user.email).await;
        assert_eq!(back.judged(&origin).await["active"], true);
        let told = origin.state.mailer.sent();
        let back = told.iter().filter(|message| message.to == user.email);
        assert_eq!(
            back.filter(|message| message.subject == Some("Your account is active again"))
                .count(),
            1
        );
        origin.advance(GRACE);
        revocation::clean(&origin.state).await.unwrap();
        Person::log_in(&origin, &user.email).await;
        // The old tokens stay what they were.
        assert_eq!(user.judged(&origin).await["active"], false);
    }
}

#[tokio::test]
async fn the_grace_ends_at_its_second() {
    for (seconds, comes_back) in [(GRACE - 1, true), (GRACE, false)] {
        for swept in [false, true] {
            let origin = Origin::new().await;
            let user = Person::new_user(&origin, "user@example.org").await;
            let left = user.ask(&origin, DELETE, "/account", None).await;
            let ends = BEGINNING.unix_seconds() + i64::try_from(GRACE).unwrap();
            assert_eq!(left.body["erase_at"], ends);
            origin.advance(seconds);
            if swept {
                revocation::clean(&origin.state).await.unwrap();
            }
            let login = try_log_in(&origin, &user.email).await;
            let at = format!("{seconds} {swept}");
            if comes_back {
                assert_eq!(login.status, 200, "{at}");
            } else {
                assert_eq!(login.code(), "credentials_invalid", "{at}");
            }
            revocation::clean(&origin.state).await.unwrap();
            let left = count(&origin, "SELECT COUNT(*) FROM users").await;
            assert_eq!(left, i64::from(comes_back), "{at}");
        }
    }
}

#[tokio::test]
async fn a_login_and_the_sweep_at_the_same_time_do_not_both_win() {
    let origin = Origin::new().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    user.ask(&origin, DELETE, "/account", None).await;
    origin.advance(GRACE - 1);
    let mut logins: Vec<std::pin::Pin<Box<dyn Future<Output = bool> + '_>>> = Vec::new();
    for _ in 0..5 {
        logins.push(Box::pin(async {
            try_log_in(&origin, "user@example.org").await.status == 200
        }));
        logins.push(Box::pin(async {
            origin.advance(1);
            revocation::clean(&origin.state).await.unwrap();
            false
        }));
    }
    let won = support::all(logins).await.contains(&true);
    let left = count(&origin, "SELECT COUNT(*) FROM users").await;
    assert_eq!(left, i64::from(won));
}

#[tokio::test]
async fn nothing_about_the_person_is_left() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = zephyrine(&origin).await;
    let before = tables_with(&origin, user.id).await;
    for column in [
        "users.id",
        "identifiers.user_id",
        "passwords.user_id",
        "sessions.user_id",
        "kyc_submissions.user_id",
        "contact_undos.user_id",
        "password_resets.user_id",
        "audit_events.user_id",
    ] {
        assert!(
            before.contains(&column.to_owned()),
            "{column} not in {before:?}"
        );
    }
    let codes = "SELECT COUNT(*) FROM one_time_codes";
    assert_eq!(count(&origin, codes).await, 1);
    user.ask(&origin, DELETE, "/account", None).await;
    let revocations = "SELECT COUNT(*) FROM revocations WHERE kind IN ('sid', 'sub')";
    let turned_away = count(&origin, revocations).await;
    assert_eq!(turned_away, 2);
    origin.advance(GRACE);
    // The sweep of revocations comes first, and these are long over.
    revocation::clean(&origin.state).await.unwrap();
    let left = tables_with(&origin, user.id).await;
    // That it is gone is told to the gates once more, until no token can be about.
    assert_eq!(
        left,
        [
            "audit_events.actor",
            "audit_events.user_id",
            "revocations.value"
        ]
    );
    origin.advance(DAY);
    revocation::clean(&origin.state).await.unwrap();
    let left = tables_with(&origin, user.id).await;
    assert_eq!(left, ["audit_events.actor", "audit_events.user_id"]);
    assert_eq!(count(&origin, codes).await, 0);
    for text in [
        "zephyrine",
        "quux",
        "41791234567",
        "case/zephyrine",
        PASSWORD,
        "de-CH",
    ] {
        assert!(!in_files(&origin, text), "{text}");
    }
    // The trail tells that it happened, without details, and is whole.
    let sql = "SELECT COUNT(*) FROM audit_events
               WHERE user_id NOT IN (SELECT id FROM users) AND details IS NOT NULL";
    assert_eq!(
        count(&origin, sql).await,
        1,
        "the erasure's own, which has none of the person's"
    );
    let mut reader = origin.state.db.read().await.unwrap();
    chain::verify(&origin.state.vault, &mut reader, None)
        .await
        .unwrap()
        .unwrap();
    drop(reader);
    let admin = Person::log_in(&origin, &admin.email).await;
    let erased = events(&origin, &admin, "erasure").await;
    assert_eq!(erased[0]["user_id"], user.id.to_string());
    assert_eq!(erased[0]["actor"], "system");
    assert_eq!(erased[0].get("ip_address"), None);
    // The address is free again, for an account that has nothing of the old one.
    let again = Person::new_user(&origin, &user.email).await;
    assert_ne!(again.id, user.id);
    let profile = again.ask(&origin, GET, "/profile", None).await;
    assert_eq!(profile.body.get("name"), None);
}

#[tokio::test]
async fn without_grace_the_account_goes_at_once_and_its_tokens_with_it() {
    let origin = Origin::with(|config| config.accounts.deletion_grace_seconds = 0).await;
    let user = zephyrine(&origin).await;
    let left = user.ask(&origin, DELETE, "/account", None).await;
    assert_eq!(left.status, 202);
    assert_eq!(user.judged(&origin).await["code"], "token_revoked");
    let body = json!({"refresh_token": user.refresh});
    origin
        .post("/refresh", body)
        .await
        .expect(401, "refresh_invalid");
    try_log_in(&origin, &user.email)
        .await
        .expect(401, "credentials_invalid");
    let left = tables_with(&origin, user.id).await;
    assert_eq!(
        left,
        [
            "audit_events.actor",
            "audit_events.user_id",
            "revocations.value"
        ]
    );
}

#[tokio::test]
async fn a_closed_account_whose_owner_had_it_deleted_goes_in_its_time() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    user.ask(&origin, DELETE, "/account", None).await;
    let route = |what: &str| format!("/users/{}{what}", user.id);
    let done = admin
        .administer(&origin, POST, &route("/disable"), None)
        .await;
    assert_eq!(done.status, 204);
    try_log_in(&origin, &user.email)
        .await
        .expect(401, "credentials_invalid");
    let done = admin
        .administer(&origin, POST, &route("/enable"), None)
        .await;
    assert_eq!(done.status, 204);
    let shown = admin.administer(&origin, GET, &route(""), None).await;
    assert_eq!(shown.body["status"], "deleting");
    let done = admin
        .administer(&origin, POST, &route("/disable"), None)
        .await;
    assert_eq!(done.status, 204);
    origin.advance(GRACE);
    revocation::clean(&origin.state).await.unwrap();
    assert_eq!(count(&origin, "SELECT COUNT(*) FROM users").await, 1);
}

/// Every text in a JSON value, and every member's name.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => {
            for (name, value) in members {
                found.push(name.clone());
                texts(value, found);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_copy_has_everything_and_nothing_secret() {
    let origin = Origin::new().await;
    let user = zephyrine(&origin).await;
    let other = Person::log_in(&origin, &user.email).await;
    let gone = format!("/sessions/{}", other.session);
    assert_eq!(user.ask(&origin, DELETE, &gone, None).await.status, 204);
    let bystander = Person::new_user(&origin, "bystander@example.org").await;
    let copy = user
        .ask(&origin, GET, "/account/export", None)
        .await
        .expect(200, "")
        .body;
    assert_eq!(copy["account"]["id"], user.id.to_string());
    assert_eq!(copy["account"]["name"], "Zephyrine Quux");
    assert_eq!(copy["contacts"].as_array().unwrap().len(), 2);
    assert_eq!(copy["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(copy["ended_sessions"][0]["id"], other.session);
    assert_eq!(
        copy["kyc"][0]["documents"][0]["reference"],
        "case/zephyrine"
    );
    assert!(copy["password_set_at"].is_i64());
    assert_eq!(copy["factors"], json!([]));
    assert_eq!(copy["identities"], json!([]));
    let began = BEGINNING.unix_seconds();
    assert_eq!(
        copy["trusted_devices"][0], began,
        "{}",
        copy["trusted_devices"]
    );
    assert_eq!(copy["known_devices"][0], began, "{}", copy["known_devices"]);
    let told = origin.message(&user.email).unwrap();
    assert_eq!(told.subject, Some("A copy of your data was taken"));
    let kinds: Vec<_> = copy["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["kind"])
        .collect();
    assert!(
        kinds.contains(&&json!("export")) && kinds.contains(&&json!("kyc")),
        "{kinds:?}"
    );

    let mut found = Vec::new();
    texts(&copy, &mut found);
    let mut reader = origin.state.db.read().await.unwrap();
    let phc: String = sqlx::query("SELECT phc FROM passwords WHERE user_id = $1")
        .bind(user.id)
        .fetch_one(&mut *reader)
        .await
        .unwrap()
        .try_get(0)
        .unwrap();
    drop(reader);
    let codes: Vec<String> = origin
        .state
        .mailer
        .sent()
        .into_iter()
        .filter_map(|message| message.code)
        .collect();
    let secrets = [
        phc.as_str(),
        PASSWORD,
        "$argon2",
        "ekr_",
        "eku_",
        "ekp_",
        "eko_",
        "eyJ",
    ];
    for text in &found {
        for secret in secrets.into_iter().chain(codes.iter().map(String::as_str)) {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(!text.contains(&bystander.id.to_string()));
        assert!(!text.contains("bystander"));
        for name in ["hash", "blind", "mac", "secret", "token", "counter"] {
            assert_ne!(text, name);
        }
    }
}

#[tokio::test]
async fn copies_are_taken_five_times_an_hour_and_told_as_often() {
    let origin = Origin::new().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let other = Person::new_user(&origin, "other@example.org").await;
    let told = || {
        let sent = origin.state.mailer.sent();
        let told = sent.iter().filter(|message| {
            message.to == user.email && message.subject == Some("A copy of your data was taken")
        });
        told.count()
    };
    // Whoever asks for the head of a copy gets none, and takes none.
    let head = user
        .ask(&origin, Method::HEAD, "/account/export", None)
        .await;
    assert_eq!(
        (head.status.as_u16(), &head.headers["allow"]),
        (405, &"GET".parse().unwrap())
    );
    for number in 1..=5 {
        user.ask(&origin, GET, "/account/export", None)
            .await
            .expect(200, "");
        assert_eq!(told(), number);
    }
    let refused = user.ask(&origin, GET, "/account/export", None).await;
    let refused = refused.expect(429, "rate_limited");
    assert_eq!(refused.headers["retry-after"], "3600");
    assert_eq!(told(), 5);
    let taken = "SELECT COUNT(*) FROM audit_events WHERE kind = 'export'";
    assert_eq!(count(&origin, taken).await, 5);
    // Another's are another's, and an hour later there are more.
    other
        .ask(&origin, GET, "/account/export", None)
        .await
        .expect(200, "");
    origin.advance(3_600);
    let user = Person::log_in(&origin, &user.email).await;
    user.ask(&origin, GET, "/account/export", None)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_copy_is_read_while_somebody_writes() {
    let origin = Origin::new().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let is_told = || {
        let told = origin.message(&user.email);
        told.is_some_and(|told| told.subject == Some("A copy of your data was taken"))
    };
    let mut asked = Box::pin(user.ask(&origin, GET, "/account/export", None));
    // Until it is noted and told, which is before anything is read.
    std::future::poll_fn(|context| {
        assert!(asked.as_mut().poll(context).is_pending());
        if is_told() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let writing = origin.state.db.write().await.unwrap();
    let copy = asked.await.expect(200, "").body;
    writing.rollback().await.unwrap();
    assert_eq!(copy["account"]["id"], user.id.to_string());
}
