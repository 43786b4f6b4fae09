//! The address book: adding with two nonces, removing, choosing, taking back.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod people;
mod support;

use axum::http::Method;
use people::{PASSWORD, Person, events, try_log_in};
use serde_json::{Value, json};
use support::{Origin, Reply, all};

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

const ALICE: &str = "alice@example.org";
const SECOND: &str = "alice@example.net";
const NUMBER: &str = "+41791234567";

async fn begin(origin: &Origin, person: &Person, address: &str) -> Reply {
    let body = if address.starts_with('+') {
        json!({ "phone_number": address })
    } else {
        json!({ "email": address })
    };
    person.ask(origin, POST, "/contacts", Some(body)).await
}

async fn finish(origin: &Origin, person: &Person, token: &str, code: &str) -> Reply {
    let body = json!({"contact_token": token, "code": code});
    person
        .ask(origin, POST, "/contacts/verify", Some(body))
        .await
}

/// Adds an address, and gives the token that the old one was told.
async fn added(origin: &Origin, person: &Person, address: &str) -> String {
    // Whose came first decides, and the clock stands still.
    origin.advance(1);
    let started = begin(origin, person, address).await;
    assert_eq!(started.status, 202, "{:?}", started.body);
    let code = origin.code(address);
    let undo = undo_token(origin);
    finish(origin, person, started.text("contact_token"), &code)
        .await
        .expect(200, "");
    undo
}

/// The token in the newest message that tells of a change, which is of use as long as the token.
fn undo_token(origin: &Origin) -> String {
    let messages = origin.state.mailer.sent();
    let told = messages.iter().rev().find_map(|message| {
        let code = message.code.as_deref()?;
        let is_undo = code.starts_with("eku_");
        if is_undo {
            let until = message.good_until.unwrap();
            assert_eq!(until.since(origin.clock.now()).as_secs(), 72 * 3_600);
            assert!(!message.is_solicited());
        }
        is_undo.then(|| code.to_owned())
    });
    told.unwrap()
}

async fn contacts(origin: &Origin, person: &Person) -> Vec<Value> {
    let reply = person
        .ask(origin, GET, "/contacts", None)
        .await
        .expect(200, "");
    reply.body["contacts"].as_array().unwrap().clone()
}

async fn addresses(origin: &Origin, person: &Person) -> Vec<String> {
    let list = contacts(origin, person).await;
    list.iter()
        .map(|one| one["address"].as_str().unwrap().to_owned())
        .collect()
}

async fn id_of(origin: &Origin, person: &Person, address: &str) -> String {
    let list = contacts(origin, person).await;
    let one = list.iter().find(|one| one["address"] == address).unwrap();
    one["id"].as_str().unwrap().to_owned()
}

async fn undo(origin: &Origin, token: &str) -> Reply {
    origin
        .post("/contacts/undo", json!({ "token": token }))
        .await
}

#[tokio::test]
async fn an_address_is_added_by_its_code_and_the_old_one_is_told() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let alice = Person::new_user(&origin, ALICE).await;
    origin.advance(1);
    let started = begin(&origin, &alice, SECOND).await;
    assert_eq!(started.status, 202);
    let token = started.text("contact_token").to_owned();
    let told = origin.message(ALICE).unwrap();
    assert_eq!(told.subject, Some("The addresses of your account change"));
    assert!(
        !told.text.contains(SECOND),
        "the new address is not spread: {}",
        told.text
    );
    assert!(told.text.contains("/undo-change#token=eku_"));
    let code = origin.code(SECOND);
    // The nonce of the old address proves nothing about the new one, nor the other way round.
    assert_ne!(told.code.as_deref(), Some(&*code));
    assert_eq!(
        addresses(&origin, &alice).await,
        [ALICE],
        "nothing before the proof"
    );
    let wrong = if code == "000000" { "000001" } else { "000000" };
    finish(&origin, &alice, &token, wrong)
        .await
        .expect(400, "code_invalid");
    finish(&origin, &alice, &token, &code).await.expect(200, "");
    finish(&origin, &alice, &token, &code)
        .await
        .expect(400, "code_invalid");
    let list = contacts(&origin, &alice).await;
    assert_eq!(list.len(), 2);
    assert_eq!(
        (&list[0]["address"], &list[0]["primary"]),
        (&json!(ALICE), &json!(true))
    );
    assert_eq!(
        (&list[1]["address"], &list[1]["primary"]),
        (&json!(SECOND), &json!(false))
    );
    assert_eq!(list[1]["verified"], true);
    added(&origin, &alice, NUMBER).await;
    let profile = alice.ask(&origin, GET, "/profile", None).await;
    assert_eq!(profile.body["email"], ALICE);
    assert_eq!(profile.body["phone_number"], NUMBER);
    // It lets its owner in.
    try_log_in(&origin, SECOND).await.expect(200, "");
    let trail = events(&origin, &admin, "contact").await;
    // A wrong code is told of, too.
    let told: Vec<_> = trail[..2].iter().map(|event| &event["reason"]).collect();
    assert_eq!(told, ["code_invalid", "added"]);
    assert_eq!(trail[1]["new"], "email");
}

#[tokio::test]
async fn a_taken_address_is_answered_alike_and_no_code_opens_it() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let bob = Person::new_user(&origin, "bob@example.org").await;
    let free = begin(&origin, &bob, "free@example.org").await;
    let taken = begin(&origin, &bob, "ALICE@example.org").await;
    assert_eq!(free.status, taken.status);
    let shape = |reply: &Reply| {
        let mut keys: Vec<_> = reply.body.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        (
            keys,
            reply.text("contact_token").len(),
            reply.body["expires_in"].clone(),
        )
    };
    assert_eq!(shape(&free), shape(&taken));
    let told = origin.message(ALICE).unwrap();
    assert!(told.code.is_none(), "{}", told.text);
    assert!(
        origin.message("ALICE@example.org").is_none(),
        "mail goes to the stored spelling"
    );
    for code in ["000000", "123456", "999999"] {
        finish(&origin, &bob, taken.text("contact_token"), code)
            .await
            .expect(400, "code_invalid");
    }
    assert_eq!(addresses(&origin, &alice).await, [ALICE]);
    assert_eq!(addresses(&origin, &bob).await, ["bob@example.org"]);
    // One's own is no secret.
    begin(&origin, &bob, "BOB@example.org")
        .await
        .expect(409, "conflict");
}

#[tokio::test]
async fn a_code_is_for_the_account_that_asked() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let bob = Person::new_user(&origin, "bob@example.org").await;
    let started = begin(&origin, &alice, SECOND).await;
    let code = origin.code(SECOND);
    finish(&origin, &bob, started.text("contact_token"), &code)
        .await
        .expect(400, "code_invalid");
    // Nor does it log anybody in, nor prove a registration.
    let body = json!({"otp_token": started.text("contact_token"), "code": code});
    origin
        .post("/otp/verify", body)
        .await
        .expect(400, "code_invalid");
    let body = json!({"email": SECOND, "code": code});
    origin
        .post("/register/verify", body)
        .await
        .expect(400, "code_invalid");
    finish(&origin, &alice, started.text("contact_token"), &code)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn changes_need_a_fresh_proof() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    added(&origin, &alice, NUMBER).await;
    let alice = Person::log_in(&origin, ALICE).await;
    let id = id_of(&origin, &alice, NUMBER).await;
    let changes = [
        (POST, "/contacts".to_owned(), Some(json!({"email": SECOND}))),
        (
            POST,
            "/contacts/verify".to_owned(),
            Some(json!({"contact_token": "t", "code": "123456"})),
        ),
        (DELETE, format!("/contacts/{id}"), None),
        (PUT, format!("/contacts/{id}/primary"), None),
        (POST, "/account/deactivate".to_owned(), None),
        (DELETE, "/account".to_owned(), None),
        (GET, "/account/export".to_owned(), None),
    ];
    origin.advance(300);
    let on_time = alice
        .ask(&origin, PUT, &format!("/contacts/{id}/primary"), None)
        .await;
    assert_eq!(on_time.status, 200, "{:?}", on_time.body);
    origin.advance(1);
    // A refresh is no proof.
    let alice = alice.refreshed(&origin).await;
    for (method, route, body) in changes {
        alice
            .ask(&origin, method, &route, body)
            .await
            .expect(401, "step_up_required");
    }
    // Looking needs none, and nothing was changed.
    assert_eq!(addresses(&origin, &alice).await, [ALICE, NUMBER]);
    assert_eq!(alice.judged(&origin).await["active"], true);
}

#[tokio::test]
async fn of_many_who_prove_one_address_at_once_one_has_it() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let started = begin(&origin, &alice, SECOND).await;
    let (token, code) = (started.text("contact_token"), origin.code(SECOND));
    // Somebody registers the same address at the same time.
    let body = json!({"email": SECOND, "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let registration = json!({"email": SECOND, "code": origin.code(SECOND)});
    let mut tries: Vec<std::pin::Pin<Box<dyn Future<Output = u16> + '_>>> = Vec::new();
    for _ in 0..10 {
        tries.push(Box::pin(async {
            finish(&origin, &alice, token, &code).await.status.as_u16()
        }));
        let body = registration.clone();
        tries.push(Box::pin(async {
            origin.post("/register/verify", body).await.status.as_u16()
        }));
    }
    let statuses = all(tries).await;
    assert!(
        statuses.iter().all(|status| [200, 400].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(count(&origin, "SELECT COUNT(*) FROM identifiers").await, 2);
}

async fn count(origin: &Origin, sql: &'static str) -> i64 {
    use sqlx::Row as _;
    let mut reader = origin.state.db.read().await.unwrap();
    let row = sqlx::query(sql).fetch_one(&mut *reader).await.unwrap();
    row.try_get(0).unwrap()
}

#[tokio::test]
async fn the_last_proved_address_stays_also_when_all_go_at_once() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let id = id_of(&origin, &alice, ALICE).await;
    alice
        .ask(&origin, DELETE, &format!("/contacts/{id}"), None)
        .await
        .expect(409, "conflict");
    added(&origin, &alice, SECOND).await;
    added(&origin, &alice, NUMBER).await;
    let ids: Vec<String> = contacts(&origin, &alice)
        .await
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    let removals = ids.iter().cycle().take(12).map(|id| {
        let (origin, alice) = (&origin, &alice);
        async move {
            let route = format!("/contacts/{id}");
            alice
                .ask(origin, DELETE, &route, None)
                .await
                .status
                .as_u16()
        }
    });
    let mut statuses = all(removals).await;
    statuses.sort_unstable();
    assert_eq!(statuses[..2], [204, 204]);
    assert!(
        statuses[2..]
            .iter()
            .all(|status| [404, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(contacts(&origin, &alice).await.len(), 1);
    let bob = Person::new_user(&origin, "bob@example.org").await;
    let id = id_of(&origin, &bob, "bob@example.org").await;
    for (method, tail) in [(DELETE, ""), (PUT, "/primary")] {
        let route = format!("/contacts/{id}{tail}");
        alice
            .ask(&origin, method, &route, None)
            .await
            .expect(404, "not_found");
    }
}

#[tokio::test]
async fn the_primary_gets_the_messages() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    added(&origin, &alice, SECOND).await;
    let id = id_of(&origin, &alice, SECOND).await;
    let route = format!("/contacts/{id}/primary");
    let reply = alice.ask(&origin, PUT, &route, None).await.expect(200, "");
    assert_eq!(reply.body["contacts"][0]["address"], SECOND);
    assert_eq!(reply.body["contacts"][0]["primary"], true);
    assert_eq!(reply.body["contacts"][1]["primary"], false);
    assert!(
        origin
            .message(ALICE)
            .unwrap()
            .text
            .contains("another address")
    );
    let body = json!({"identifier": ALICE});
    origin.post("/forgot-password", body).await.expect(202, "");
    assert!(origin.code(SECOND).starts_with("ekp_"));
    let profile = alice.ask(&origin, GET, "/profile", None).await;
    assert_eq!(profile.body["email"], SECOND);
    // All at once, over and over: one is.
    let ids = [id_of(&origin, &alice, ALICE).await, id];
    let choices = (0..10).map(|n| {
        let route = format!("/contacts/{}/primary", ids[n % 2]);
        let (origin, alice) = (&origin, &alice);
        async move { alice.ask(origin, PUT, &route, None).await.status.as_u16() }
    });
    assert!(all(choices).await.iter().all(|status| *status == 200));
    let sql = "SELECT COUNT(*) FROM identifiers WHERE is_primary = 1";
    assert_eq!(count(&origin, sql).await, 1);
}

#[tokio::test]
async fn other_sessions_end_where_that_is_asked() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let other = Person::log_in(&origin, ALICE).await;
    added(&origin, &alice, SECOND).await;
    assert_eq!(other.judged(&origin).await["active"], true);
    let started = begin(&origin, &alice, NUMBER).await;
    let body = json!({"contact_token": started.text("contact_token"),
        "code": origin.code(NUMBER), "end_other_sessions": true});
    alice
        .ask(&origin, POST, "/contacts/verify", Some(body))
        .await
        .expect(200, "");
    assert_eq!(other.judged(&origin).await["code"], "token_revoked");
    assert_eq!(alice.judged(&origin).await["active"], true);
    let other = Person::log_in(&origin, ALICE).await;
    let id = id_of(&origin, &alice, NUMBER).await;
    let route = format!("/contacts/{id}?end_other_sessions=true");
    let gone = alice.ask(&origin, DELETE, &route, None).await;
    assert_eq!(gone.status, 204);
    assert_eq!(other.judged(&origin).await["code"], "token_revoked");
    let other = Person::log_in(&origin, ALICE).await;
    let id = id_of(&origin, &alice, SECOND).await;
    let route = format!("/contacts/{id}/primary");
    let body = Some(json!({"end_other_sessions": true}));
    alice.ask(&origin, PUT, &route, body).await.expect(200, "");
    assert_eq!(other.judged(&origin).await["code"], "token_revoked");
    let other = Person::log_in(&origin, ALICE).await;
    let ended = alice.ask(&origin, DELETE, "/sessions", None).await;
    assert_eq!(ended.status, 204);
    assert_eq!(other.judged(&origin).await["code"], "token_revoked");
    assert_eq!(alice.judged(&origin).await["active"], true);
}

#[tokio::test]
async fn whoever_takes_an_account_over_loses_it_to_the_old_address() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    // The attacker knows the password.
    let attacker = Person::log_in(&origin, ALICE).await;
    let evil = "evil@example.com";
    let at_alice = added(&origin, &attacker, evil).await;
    origin.advance(10);
    let route = format!(
        "/contacts/{}/primary",
        id_of(&origin, &attacker, evil).await
    );
    attacker
        .ask(&origin, PUT, &route, None)
        .await
        .expect(200, "");
    let route = format!("/contacts/{}", id_of(&origin, &attacker, ALICE).await);
    let gone = attacker.ask(&origin, DELETE, &route, None).await;
    assert_eq!(gone.status, 204);
    assert_eq!(addresses(&origin, &attacker).await, [evil]);
    origin.advance(10);
    // What the attacker's own address is told now must not bring it back later.
    let at_evil = added(&origin, &attacker, "evil2@example.com").await;
    assert_ne!(at_alice, at_evil);

    let done = undo(&origin, &at_alice).await;
    assert_eq!(done.status, 204, "{:?}", done.body);
    for person in [&alice, &attacker] {
        assert_eq!(person.judged(&origin).await["code"], "token_revoked");
    }
    for identifier in [ALICE, evil, "evil2@example.com"] {
        try_log_in(&origin, identifier)
            .await
            .expect(401, "credentials_invalid");
    }
    undo(&origin, &at_evil).await.expect(400, "code_invalid");
    undo(&origin, &at_alice).await.expect(400, "code_invalid");
    // The owner sets a password and is alone again.
    let body = json!({"identifier": ALICE});
    origin.post("/forgot-password", body).await.expect(202, "");
    let body = json!({"token": origin.code(ALICE), "password": PASSWORD});
    assert_eq!(origin.post("/reset-password", body).await.status, 204);
    let alice = Person::log_in(&origin, ALICE).await;
    assert_eq!(addresses(&origin, &alice).await, [ALICE]);
}

#[tokio::test]
async fn the_attackers_token_used_first_does_not_void_the_owners() {
    let origin = Origin::new().await;
    let _alice = Person::new_user(&origin, ALICE).await;
    let attacker = Person::log_in(&origin, ALICE).await;
    let at_alice = added(&origin, &attacker, "evil@example.com").await;
    origin.advance(10);
    let route = format!("/contacts/{}", id_of(&origin, &attacker, ALICE).await);
    assert_eq!(
        attacker.ask(&origin, DELETE, &route, None).await.status,
        204
    );
    origin.advance(10);
    let at_evil = added(&origin, &attacker, "evil2@example.com").await;
    assert_eq!(undo(&origin, &at_evil).await.status, 204);
    assert_eq!(undo(&origin, &at_alice).await.status, 204);
    let sql = "SELECT COUNT(*) FROM identifiers";
    assert_eq!(count(&origin, sql).await, 1);
    let body = json!({"identifier": ALICE});
    origin.post("/forgot-password", body).await.expect(202, "");
    assert!(origin.code(ALICE).starts_with("ekp_"));
}

#[tokio::test]
async fn a_change_can_be_taken_back_once_within_three_days() {
    for (seconds, status, code) in [(72 * 3_600 - 1, 204, ""), (72 * 3_600, 400, "code_expired")] {
        let origin = Origin::new().await;
        let alice = Person::new_user(&origin, ALICE).await;
        let token = added(&origin, &alice, SECOND).await;
        origin.advance(seconds);
        undo(&origin, &token).await.expect(status, code);
    }
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let token = added(&origin, &alice, SECOND).await;
    let uses = all((0..20).map(|_| undo(&origin, &token))).await;
    let done = uses.iter().filter(|reply| reply.status == 204).count();
    assert_eq!(done, 1);
    for token in ["", "eku_", "eku_AAAA", "x"] {
        undo(&origin, token).await.expect(400, "code_invalid");
    }
}

#[tokio::test]
async fn an_address_that_became_anothers_is_not_taken_from_them() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    added(&origin, &alice, SECOND).await;
    let route = format!("/contacts/{}", id_of(&origin, &alice, ALICE).await);
    assert_eq!(alice.ask(&origin, DELETE, &route, None).await.status, 204);
    let told = origin
        .state
        .mailer
        .sent()
        .into_iter()
        .rev()
        .find(|message| message.to == ALICE)
        .unwrap();
    let bob = Person::new_user(&origin, "bob@example.org").await;
    added(&origin, &bob, ALICE).await;
    origin.advance(1);
    // Nor has who reads it now a say in the account that gave it up.
    undo(&origin, &told.code.unwrap())
        .await
        .expect(400, "code_invalid");
    assert_eq!(addresses(&origin, &bob).await, ["bob@example.org", ALICE]);
    assert_eq!(addresses(&origin, &alice).await, [SECOND]);
    try_log_in(&origin, SECOND).await.expect(200, "");
}

#[tokio::test]
async fn the_book_is_bounded_and_so_are_the_messages() {
    let origin = Origin::with(|config| config.otp.sends_per_hour = 100).await;
    let alice = Person::new_user(&origin, ALICE).await;
    for n in 1..10 {
        added(&origin, &alice, &format!("a{n}@example.org")).await;
    }
    begin(&origin, &alice, "a10@example.org")
        .await
        .expect(409, "conflict");
    for body in [
        json!({}),
        json!({"email": "x"}),
        json!({"email": SECOND, "phone_number": NUMBER}),
        json!({"email": SECOND, "verified": true}),
        json!({"username": "alice"}),
    ] {
        alice
            .ask(&origin, POST, "/contacts", Some(body))
            .await
            .expect(400, "request_invalid");
    }
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    for n in 0..3 {
        let started = begin(&origin, &alice, &format!("a{n}@example.org")).await;
        assert_eq!(started.status, 202);
    }
    begin(&origin, &alice, "a3@example.org")
        .await
        .expect(429, "rate_limited");
    assert!(origin.message("a3@example.org").is_none());
}

/// An account costs nothing.
#[tokio::test]
async fn strangers_end_no_code_for_an_address_and_use_up_none() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let mut strangers = Vec::new();
    for n in 0..4 {
        strangers.push(Person::new_user(&origin, &format!("stranger{n}@example.com")).await);
    }
    // What came first decides the order, and the clock stands still.
    origin.advance(1);
    let asked = begin(&origin, &alice, SECOND).await;
    let code = origin.code(SECOND);
    for _ in 0..3 {
        let reply = begin(&origin, &strangers[0], SECOND).await;
        assert_eq!(reply.status, 202, "{:?}", reply.body);
    }
    let strangers_token = {
        let reply = begin(&origin, &strangers[1], SECOND).await;
        reply.text("contact_token").to_owned()
    };
    let strangers_code = origin.code(SECOND);
    // The owner's is as good as before, and may be asked for again.
    let again = begin(&origin, &alice, SECOND).await;
    assert_eq!(again.status, 202, "{:?}", again.body);
    let new = origin.code(SECOND);
    finish(&origin, &alice, asked.text("contact_token"), &code)
        .await
        .expect(400, "code_invalid");
    let token = again.text("contact_token");
    finish(&origin, &alice, token, &new).await.expect(200, "");
    // What waited for others is good for nobody.
    for person in [&alice, &strangers[1]] {
        finish(&origin, person, &strangers_token, &strangers_code)
            .await
            .expect(400, "code_invalid");
    }
    assert_eq!(addresses(&origin, &alice).await, [ALICE, SECOND]);
    // An address gets as many messages as four accounts may ask for.
    origin.advance(3_600);
    for n in 0..4 {
        let stranger = Person::log_in(&origin, &format!("stranger{n}@example.com")).await;
        for _ in 0..3 {
            let reply = begin(&origin, &stranger, "third@example.org").await;
            assert_eq!(reply.status, 202, "{:?}", reply.body);
        }
    }
    let alice = Person::log_in(&origin, ALICE).await;
    begin(&origin, &alice, "third@example.org")
        .await
        .expect(429, "rate_limited");
    let other = begin(&origin, &alice, "fourth@example.org").await;
    assert_eq!(other.status, 202);
}

/// Asks for `codes` codes to `address`, and uses the tries of each up.
async fn guess_wrong(origin: &Origin, person: &Person, address: &str, codes: u32) {
    for _ in 0..codes {
        let begun = begin(origin, person, address).await;
        assert_eq!(begun.status, 202, "{:?}", begun.body);
        let right = origin.message(address).and_then(|message| message.code);
        let wrong = if right.as_deref() == Some("000000") {
            "111111"
        } else {
            "000000"
        };
        for _ in 0..3 {
            finish(origin, person, begun.text("contact_token"), wrong)
                .await
                .expect(400, "code_invalid");
        }
    }
}

#[tokio::test]
async fn strangers_guesses_at_an_address_turn_no_codes_off_but_their_own() {
    let origin = Origin::with(|config| config.otp.sends_per_hour = 10).await;
    let alice = Person::new_user(&origin, ALICE).await;
    let bob = Person::new_user(&origin, "bob@example.org").await;
    let stranger = Person::new_user(&origin, "stranger@example.com").await;
    let another = Person::new_user(&origin, "another@example.com").await;
    // What came first decides the order, and the clock stands still.
    origin.advance(1);
    // Of an address that is free, and of one that is not.
    guess_wrong(&origin, &stranger, SECOND, 2).await;
    guess_wrong(&origin, &another, SECOND, 2).await;
    guess_wrong(&origin, &stranger, &bob.email, 2).await;
    guess_wrong(&origin, &another, &bob.email, 2).await;
    added(&origin, &alice, SECOND).await;
    let sent = origin.post("/otp/send", json!({"email": bob.email})).await;
    let body = json!({
        "otp_token": sent.expect(200, "").text("otp_token"), "code": origin.code(&bob.email),
    });
    origin.post("/otp/verify", body).await.expect(200, "");
    // Whoever guessed has no more of their own, until those are a day old.
    let third = "third@example.org";
    for (seconds, status, code) in [(0, 400, "code_invalid"), (86_400, 200, "")] {
        origin.advance(seconds);
        let stranger = Person::log_in(&origin, &stranger.email).await;
        let begun = begin(&origin, &stranger, third).await;
        assert_eq!(begun.status, 202, "{:?}", begun.body);
        let token = begun.text("contact_token");
        finish(&origin, &stranger, token, &origin.code(third))
            .await
            .expect(status, code);
    }
}

/// Whoever set an unproved account up may be a stranger.
#[tokio::test]
async fn nothing_is_added_beside_an_address_that_nobody_proved() {
    let origin = Origin::with(|config| config.registration.require_proof = false).await;
    let body = json!({"email": ALICE, "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let stranger = Person::log_in(&origin, ALICE).await;
    begin(&origin, &stranger, "stranger@example.com")
        .await
        .expect(409, "conflict");
    // The address itself may be proved.
    let started = begin(&origin, &stranger, ALICE).await;
    assert_eq!(started.status, 202);
    let code = origin
        .state
        .mailer
        .sent()
        .into_iter()
        .filter(|message| message.to == ALICE)
        .filter_map(|message| message.code)
        .rfind(|code| code.len() == 6)
        .unwrap();
    let reply = finish(&origin, &stranger, started.text("contact_token"), &code).await;
    assert_eq!(
        reply.body["contacts"][0]["verified"], true,
        "{:?}",
        reply.body
    );
}
