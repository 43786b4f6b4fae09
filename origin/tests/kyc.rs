//! Verification: submitted, reviewed, over.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod people;
mod support;

use axum::http::Method;
use edgekeep_origin::revocation;
use people::{Person, events};
use serde_json::{Value, json};
use support::{BEGINNING, Origin, Reply, all};

const GET: Method = Method::GET;
const POST: Method = Method::POST;

fn passport(level: i64) -> Value {
    json!({"level": level, "documents": [
        {"kind": "passport", "reference": "vault/zephyrine-7", "country": "CH",
         "expires_at": BEGINNING.unix_seconds() + 86_400 * 365},
    ]})
}

async fn submit(origin: &Origin, person: &Person, body: Value) -> Reply {
    person.ask(origin, POST, "/kyc/verify", Some(body)).await
}

async fn review(origin: &Origin, admin: &Person, person: &Person, body: Value) -> Reply {
    let route = format!("/users/{}/kyc/review", person.id);
    admin.administer(origin, POST, &route, Some(body)).await
}

async fn standing(origin: &Origin, person: &Person) -> (i64, String) {
    let reply = person.ask(origin, GET, "/kyc", None).await.expect(200, "");
    (
        reply.body["level"].as_i64().unwrap(),
        reply.text("status").to_owned(),
    )
}

#[tokio::test]
async fn a_person_is_verified_and_tokens_follow() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    assert_eq!(standing(&origin, &user).await, (0, "none".to_owned()));
    let submitted = submit(&origin, &user, passport(2)).await;
    assert_eq!(submitted.status, 202, "{:?}", submitted.body);
    assert_eq!(submitted.text("status"), "pending");
    assert_eq!(standing(&origin, &user).await, (0, "pending".to_owned()));
    let waiting = admin
        .administer(&origin, GET, "/kyc", None)
        .await
        .expect(200, "");
    assert_eq!(
        waiting.body["submissions"][0]["user_id"],
        user.id.to_string()
    );
    assert_eq!(
        waiting.body["submissions"][0]["documents"][0]["reference"],
        "vault/zephyrine-7"
    );

    let approval = json!({"decision": "approve", "level": 2});
    let reply = review(&origin, &admin, &user, approval).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.text("status"), "approved");
    // The token from before says what is not so any more.
    assert_eq!(user.judged(&origin).await["code"], "token_revoked");
    let user = user.refreshed(&origin).await;
    let state = user.judged(&origin).await;
    assert_eq!(
        (&state["kyc_level"], &state["kyc_status"]),
        (&json!(2), &json!("verified"))
    );
    assert_eq!(standing(&origin, &user).await, (2, "verified".to_owned()));
    let waiting = admin.administer(&origin, GET, "/kyc", None).await;
    assert_eq!(waiting.body["submissions"], json!([]));

    let trail = events(&origin, &admin, "kyc").await;
    let reasons: Vec<_> = trail.iter().map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons, ["submitted", "approved"]);
    assert_eq!(trail[1]["old"]["level"], 0);
    assert_eq!(trail[1]["new"]["level"], 2);
    assert_eq!(trail[1]["actor"], format!("user {}", admin.id));
}

#[tokio::test]
async fn a_verification_that_holds_is_not_touched_by_what_is_asked_beside_it() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let refusal = json!({"decision": "reject", "reason": "not readable"});
    assert_eq!(submit(&origin, &user, passport(1)).await.status, 202);
    review(&origin, &admin, &user, refusal.clone()).await;
    let user = user.refreshed(&origin).await;
    assert_eq!(standing(&origin, &user).await, (0, "rejected".to_owned()));
    let kyc = user.ask(&origin, GET, "/kyc", None).await;
    assert_eq!(kyc.body["submissions"][0]["reason"], "not readable");

    assert_eq!(submit(&origin, &user, passport(1)).await.status, 202);
    let approval = json!({"decision": "approve", "level": 1});
    review(&origin, &admin, &user, approval).await;
    let user = user.refreshed(&origin).await;
    assert_eq!(submit(&origin, &user, passport(2)).await.status, 202);
    assert_eq!(standing(&origin, &user).await, (1, "verified".to_owned()));
    review(&origin, &admin, &user, refusal).await;
    // Nothing that the token says has changed.
    assert_eq!(user.judged(&origin).await["kyc_level"], 1);
    assert_eq!(standing(&origin, &user).await, (1, "verified".to_owned()));
    // A lower level than the present one is not asked for.
    let approval = json!({"decision": "approve", "level": 3});
    assert_eq!(submit(&origin, &user, passport(3)).await.status, 202);
    review(&origin, &admin, &user, approval).await;
    let user = user.refreshed(&origin).await;
    submit(&origin, &user, passport(2))
        .await
        .expect(409, "conflict");
}

#[tokio::test]
async fn one_submission_waits_and_one_reviewer_decides() {
    let origin = Origin::new().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let mut admins = Vec::new();
    for n in 0..4 {
        admins.push(Person::new_admin(&origin, &format!("admin{n}@example.org")).await);
    }
    let replies = all((0..20).map(|_| submit(&origin, &user, passport(1)))).await;
    let count = |replies: &[Reply], status: u16| {
        replies
            .iter()
            .filter(|reply| reply.status.as_u16() == status)
            .count()
    };
    assert_eq!((count(&replies, 202), count(&replies, 409)), (1, 19));

    let decisions = (0..20).map(|n| {
        let body = if n % 2 == 0 {
            json!({"decision": "approve", "level": 1 + n % 3})
        } else {
            json!({"decision": "reject"})
        };
        review(&origin, &admins[n % 4], &user, body)
    });
    let replies = all(decisions).await;
    assert_eq!((count(&replies, 200), count(&replies, 409)), (1, 19));
    let user = user.refreshed(&origin).await;
    let kyc = user.ask(&origin, GET, "/kyc", None).await;
    assert_eq!(kyc.body["submissions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_reviewer_decides_on_what_they_have_looked_at() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let first = submit(&origin, &user, passport(2)).await;
    let first = first.expect(202, "").text("id").to_owned();
    // While one reviewer reads, another refuses, and something else is put in its place.
    let refusal = json!({"submission_id": first, "decision": "reject"});
    review(&origin, &admin, &user, refusal)
        .await
        .expect(200, "");
    let user = user.refreshed(&origin).await;
    let second = submit(&origin, &user, passport(3)).await;
    let second = second.expect(202, "").text("id").to_owned();
    for (decision, level) in [("approve", json!(2)), ("reject", Value::Null)] {
        let body = json!({"submission_id": first, "decision": decision, "level": level});
        review(&origin, &admin, &user, body)
            .await
            .expect(409, "conflict");
    }
    assert_eq!(standing(&origin, &user).await, (0, "pending".to_owned()));
    let body = json!({"submission_id": second, "decision": "approve", "level": 3});
    let decided = review(&origin, &admin, &user, body).await.expect(200, "");
    assert_eq!(decided.text("id"), second);
}

#[tokio::test]
async fn nobody_reviews_themselves() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    assert_eq!(submit(&origin, &admin, passport(3)).await.status, 202);
    let approval = json!({"decision": "approve", "level": 3});
    review(&origin, &admin, &admin, approval)
        .await
        .expect(409, "conflict");
    assert_eq!(standing(&origin, &admin).await, (0, "pending".to_owned()));
}

#[tokio::test]
async fn a_verification_ends_at_its_second_and_no_token_outlives_it() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    assert_eq!(submit(&origin, &user, passport(2)).await.status, 202);
    let ends = BEGINNING.unix_seconds() + 100;
    let approval = json!({"decision": "approve", "level": 2, "expires_at": ends});
    assert_eq!(review(&origin, &admin, &user, approval).await.status, 200);
    let user = user.refreshed(&origin).await;
    let state = user.judged(&origin).await;
    assert_eq!(
        (&state["kyc_level"], &state["exp"]),
        (&json!(2), &json!(ends))
    );

    origin.advance(99);
    assert_eq!(user.judged(&origin).await["active"], true);
    assert_eq!(standing(&origin, &user).await, (2, "verified".to_owned()));
    origin.advance(1);
    // The leeway is for clocks that differ: within it the token is still taken, as any other.
    let user = user.refreshed(&origin).await;
    let state = user.judged(&origin).await;
    assert_eq!(
        (&state["kyc_level"], &state["kyc_status"]),
        (&json!(0), &json!("expired"))
    );
    assert_eq!(state["exp"], json!(ends + 900), "as long as any other");
    assert_eq!(standing(&origin, &user).await, (0, "expired".to_owned()));

    // The sweep writes down what was so already, once.
    for _ in 0..2 {
        revocation::clean(&origin.state).await.unwrap();
    }
    assert_eq!(user.judged(&origin).await["active"], true);
    let admin = admin.refreshed(&origin).await;
    let over: Vec<_> = events(&origin, &admin, "kyc")
        .await
        .into_iter()
        .filter(|event| event["reason"] == "expired")
        .collect();
    assert_eq!(over.len(), 1);
    assert_eq!((&over[0]["old"], &over[0]["new"]), (&json!(2), &json!(0)));
    // After the sweep they ask anew.
    assert_eq!(submit(&origin, &user, passport(1)).await.status, 202);
    assert_eq!(standing(&origin, &user).await, (0, "pending".to_owned()));
}

#[tokio::test]
async fn rejects_submissions_and_reviews_that_cannot_be() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let now = BEGINNING.unix_seconds();
    let one = json!({"kind": "passport", "reference": "r"});
    for body in [
        json!({}),
        json!({"level": 1}),
        json!({"level": 0, "documents": [one]}),
        json!({"level": 4, "documents": [one]}),
        json!({"level": "1", "documents": [one]}),
        json!({"level": 1, "documents": []}),
        json!({"level": 1, "documents": vec![one.clone(); 9]}),
        json!({"level": 1, "documents": [{"kind": "fishing_licence", "reference": "r"}]}),
        json!({"level": 1, "documents": [{"kind": "passport"}]}),
        json!({"level": 1, "documents": [{"kind": "passport", "reference": "x".repeat(129)}]}),
        json!({"level": 1, "documents": [{"kind": "passport", "reference": "r", "scan": "…"}]}),
        json!({"level": 1, "documents": [{"kind": "passport", "reference": "r", "expires_at": now}]}),
        json!({"level": 1, "documents": [one], "status": "verified"}),
        json!({"level": 1, "documents": [one], "user_id": "x"}),
    ] {
        submit(&origin, &user, body)
            .await
            .expect(400, "request_invalid");
    }
    assert_eq!(standing(&origin, &user).await, (0, "none".to_owned()));
    let approval = json!({"decision": "approve", "level": 1});
    review(&origin, &admin, &user, approval.clone())
        .await
        .expect(409, "conflict");
    assert_eq!(submit(&origin, &user, passport(1)).await.status, 202);
    for body in [
        json!({}),
        json!({"decision": "approve"}),
        json!({"decision": "approve", "level": 0}),
        json!({"decision": "approve", "level": 4}),
        json!({"decision": "approve", "level": 1, "expires_at": now}),
        json!({"decision": "reject", "level": 1}),
        json!({"decision": "maybe", "level": 1}),
        json!({"decision": "reject", "reason": "x".repeat(501)}),
    ] {
        review(&origin, &admin, &user, body)
            .await
            .expect(400, "request_invalid");
    }
    assert_eq!(standing(&origin, &user).await, (0, "pending".to_owned()));
    assert_eq!(review(&origin, &admin, &user, approval).await.status, 200);
}

#[tokio::test]
async fn waiting_submissions_are_paged_oldest_first() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let mut expected = Vec::new();
    for n in 0..5 {
        let user = Person::new_user(&origin, &format!("p{n}@example.org")).await;
        // Some in the same instant.
        origin.advance(n % 2);
        assert_eq!(submit(&origin, &user, passport(1)).await.status, 202);
        expected.push(user.id.to_string());
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let route = format!("/kyc?limit=2{after}");
        let page = admin
            .administer(&origin, GET, &route, None)
            .await
            .expect(200, "");
        for submission in page.body["submissions"].as_array().unwrap() {
            seen.push(submission["user_id"].as_str().unwrap().to_owned());
        }
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected, "each once");
}

#[tokio::test]
async fn references_are_not_in_the_file_in_the_clear() {
    let origin = Origin::new().await;
    let user = Person::new_user(&origin, "user@example.org").await;
    assert_eq!(submit(&origin, &user, passport(1)).await.status, 202);
    let folder = origin.state.config.data_dir.clone();
    for entry in std::fs::read_dir(folder.0).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(9).any(|window| window == b"zephyrine");
        assert!(!found, "{}", path.display());
    }
}

#[tokio::test]
async fn a_verification_is_taken_back_and_tokens_follow() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, "user@example.org").await;
    let withdraw = async |who: &Person, whose: &Person| {
        let route = format!("/users/{}/kyc/withdraw", whose.id);
        let body = json!({"reason": "forged"});
        who.administer(&origin, POST, &route, Some(body)).await
    };
    withdraw(&admin, &user).await.expect(409, "conflict");
    withdraw(&user, &user)
        .await
        .expect(403, "insufficient_role");
    withdraw(&admin, &admin).await.expect(409, "conflict");
    submit(&origin, &user, passport(2)).await.expect(202, "");
    let approval = json!({"decision": "approve", "level": 2});
    review(&origin, &admin, &user, approval)
        .await
        .expect(200, "");
    let user = user.refreshed(&origin).await;
    assert_eq!(user.judged(&origin).await["kyc_level"], 2);

    assert_eq!(withdraw(&admin, &user).await.status, 204);
    assert_eq!(user.judged(&origin).await["code"], "token_revoked");
    let user = user.refreshed(&origin).await;
    assert_eq!(user.judged(&origin).await["kyc_level"], 0);
    assert_eq!(standing(&origin, &user).await, (0, "rejected".to_owned()));
    let told = user.ask(&origin, GET, "/kyc", None).await;
    let submission = &told.body["submissions"][0];
    assert_eq!(
        (&submission["status"], &submission["reason"]),
        (&json!("withdrawn"), &json!("forged"))
    );
    let noted = events(&origin, &admin, "kyc").await;
    let last = noted.last().unwrap();
    assert_eq!(last["reason"], "withdrawn");
    assert_eq!(last["new"]["level"], 0);
    withdraw(&admin, &user).await.expect(409, "conflict");
    // It can be asked for anew, and what waits goes on waiting when what holds is taken back.
    submit(&origin, &user, passport(1)).await.expect(202, "");
    let approval = json!({"decision": "approve", "level": 1});
    review(&origin, &admin, &user, approval)
        .await
        .expect(200, "");
    let user = user.refreshed(&origin).await;
    submit(&origin, &user, passport(3)).await.expect(202, "");
    assert_eq!(withdraw(&admin, &user).await.status, 204);
    let user = user.refreshed(&origin).await;
    assert_eq!(standing(&origin, &user).await, (0, "pending".to_owned()));
}

#[tokio::test]
async fn no_verification_outlives_its_documents_or_lowers_what_holds() {
    let origin = Origin::new().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let mut user = Person::new_user(&origin, "user@example.org").await;
    let now = origin.clock.now().unix_seconds();
    let documents = |ends: [Option<i64>; 3]| {
        let documents = ends.map(
            |expires_at| json!({"kind": "other", "reference": "case/7", "expires_at": expires_at}),
        );
        json!({"level": 2, "documents": documents})
    };
    let two = json!({"decision": "approve", "level": 2});
    let body = documents([None, Some(now + 10), Some(now + 1_000)]);
    submit(&origin, &user, body).await.expect(202, "");
    origin.advance(10);
    review(&origin, &admin, &user, two)
        .await
        .expect(409, "conflict");
    let refusal = json!({"decision": "reject"});
    review(&origin, &admin, &user, refusal)
        .await
        .expect(200, "");
    user = user.refreshed(&origin).await;
    // With the first of them it ends, unless the reviewer says when.
    for (said, ends) in [(None, Some(now + 500)), (Some(now + 700), Some(now + 700))] {
        let body = documents([None, Some(now + 500), Some(now + 1_000)]);
        submit(&origin, &user, body).await.expect(202, "");
        let approval = json!({"decision": "approve", "level": 2, "expires_at": said});
        review(&origin, &admin, &user, approval)
            .await
            .expect(200, "");
        user = user.refreshed(&origin).await;
        let told = user.ask(&origin, GET, "/kyc", None).await;
        assert_eq!(told.body["expires_at"].as_i64(), ends);
    }
    submit(&origin, &user, passport(3)).await.expect(202, "");
    let lower = json!({"decision": "approve", "level": 1});
    review(&origin, &admin, &user, lower)
        .await
        .expect(409, "conflict");
    assert_eq!(standing(&origin, &user).await.0, 2);
}
