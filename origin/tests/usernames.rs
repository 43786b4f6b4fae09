//! Choosing a user name: what a registration did not say, whoever has an account is told.

mod people;
mod support;

use axum::http::Method;
use people::{PASSWORD, Person, events, try_log_in};
use serde_json::json;
use support::{Origin, Reply, all};

const PUT: Method = Method::PUT;
const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

async fn choose(origin: &Origin, person: &Person, name: &str) -> Reply {
    let body = json!({ "username": name });
    person
        .ask(origin, PUT, "/account/username", Some(body))
        .await
}

#[tokio::test]
async fn a_name_that_was_taken_meanwhile_is_chosen_anew() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    assert_eq!(choose(&origin, &alice, "Zephyr").await.status, 204);
    let body = json!({"email": BOB, "password": PASSWORD, "username": "zephyr"});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": BOB, "code": origin.code(BOB)});
    let made = origin.post("/register/verify", body).await.expect(200, "");
    assert!(made.body["user"].get("username").is_none());

    let bob = Person::log_in(&origin, BOB).await;
    choose(&origin, &bob, "ｚｅｐｈｙｒ")
        .await
        .expect(409, "conflict");
    assert_eq!(choose(&origin, &bob, "zephyr.b").await.status, 204);
    let told = origin.message(BOB).unwrap();
    assert_eq!(told.subject, Some("A user name was chosen"));
    assert!(!told.text.contains("zephyr"), "{}", told.text);
    let by_name = try_log_in(&origin, "ZEPHYR.B").await.expect(200, "");
    assert_eq!(by_name.body["user"]["id"], bob.id.to_string());
    // Another takes its place, and the one before is free.
    assert_eq!(choose(&origin, &bob, "boreas").await.status, 204);
    try_log_in(&origin, "zephyr.b")
        .await
        .expect(401, "credentials_invalid");
    assert_eq!(choose(&origin, &alice, "zephyr.b").await.status, 204);
    // The same again is one's own, in another spelling too.
    assert_eq!(choose(&origin, &bob, "Boreas").await.status, 204);
    let shown = bob.ask(&origin, Method::GET, "/profile", None).await;
    assert_eq!(shown.body["username"], "Boreas");

    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let noted = events(&origin, &admin, "contact").await;
    let reasons: Vec<_> = noted.iter().map(|event| &event["reason"]).collect();
    assert_eq!(
        reasons,
        ["added", "added", "replaced", "replaced", "replaced"]
    );
    for event in noted {
        assert_eq!(event["new"], "username", "no name is in the trail");
    }
}

#[tokio::test]
async fn of_many_who_choose_one_name_at_once_one_has_it() {
    let origin = Origin::new().await;
    let mut people = Vec::new();
    for n in 0..8 {
        people.push(Person::new_user(&origin, &format!("p{n}@example.org")).await);
    }
    let replies = all(people
        .iter()
        .map(|person| choose(&origin, person, "zephyr")))
    .await;
    let (have, others): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status == 204);
    assert_eq!(have.len(), 1);
    for reply in others {
        reply.expect(409, "conflict");
    }
}

#[tokio::test]
async fn names_are_tried_ten_times_an_hour_by_who_proved_a_moment_ago_who_they_are() {
    let origin = Origin::new().await;
    let alice = Person::new_user(&origin, ALICE).await;
    let bob = Person::new_user(&origin, BOB).await;
    assert_eq!(choose(&origin, &alice, "zephyr").await.status, 204);
    choose(&origin, &bob, "1x")
        .await
        .expect(400, "request_invalid");
    for _ in 0..10 {
        choose(&origin, &bob, "zephyr")
            .await
            .expect(409, "conflict");
    }
    choose(&origin, &bob, "boreas")
        .await
        .expect(429, "rate_limited");
    origin.advance(301);
    choose(&origin, &alice, "boreas")
        .await
        .expect(401, "step_up_required");
}
