//! Many at once: one successor, three comparisons, never a 5xx.

use std::collections::BTreeSet;
use std::sync::Arc;

use edgekeep_tests::http::Answer;
use edgekeep_tests::origin::{Origin, Tokens};
use serde_json::{Value, json};

const AT_ONCE: usize = 100;

/// Sends all of these at the same time.
async fn together(origin: &Arc<Origin>, route: &'static str, bodies: Vec<Value>) -> Vec<Answer> {
    let barrier = Arc::new(tokio::sync::Barrier::new(bodies.len()));
    let mut calls = tokio::task::JoinSet::new();
    for body in bodies {
        let (origin, barrier) = (Arc::clone(origin), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            origin.post(route, &body).await
        });
    }
    calls.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_refreshes_of_one_token_have_one_successor() {
    let origin = Arc::new(Origin::start().await);
    let mut tokens = origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    for round in 0..3 {
        let body = json!({"refresh_token": tokens.refresh});
        let answers = together(&origin, "/refresh", vec![body; AT_ONCE]).await;
        let mut successors = BTreeSet::new();
        for answer in &answers {
            assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
            let given = Tokens::of(answer);
            assert_eq!(given.session, tokens.session);
            successors.insert(given.refresh);
        }
        assert_eq!(successors.len(), 1, "round {round}");
        assert!(!successors.contains(&tokens.refresh), "it is another token");
        tokens = Tokens::of(&answers[0]);
    }
    // None of that was theft: the session lives.
    let next = origin
        .post("/refresh", &json!({"refresh_token": tokens.refresh}))
        .await;
    assert_eq!(next.status, 200, "{}", next.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_refresh_token_ends_the_session_whoever_comes_second() {
    let origin = Arc::new(Origin::start().await);
    let first = origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let refresh = async |token: &str| {
        origin
            .post("/refresh", &json!({"refresh_token": token}))
            .await
    };
    let second = Tokens::of(&refresh(&first.refresh).await);
    let repeated = Tokens::of(&refresh(&first.refresh).await);
    assert_eq!(
        repeated.refresh, second.refresh,
        "a lost answer is given again"
    );
    let third = Tokens::of(&refresh(&second.refresh).await);
    assert_eq!(
        refresh(&first.refresh).await.verdict(),
        (401, "refresh_reused".to_owned())
    );
    assert_eq!(
        refresh(&third.refresh).await.verdict(),
        (401, "session_ended".to_owned())
    );
    let info = origin
        .call("GET", "/api/v1/auth/token-info")
        .bearer(&third.access)
        .send()
        .await
        .unwrap();
    assert_eq!(info.status, 401);
    // What is not ours is refused before any theft is presumed.
    let flipped = format!(
        "{}{}",
        &first.refresh[..first.refresh.len() - 1],
        if first.refresh.ends_with('A') {
            'B'
        } else {
            'A'
        }
    );
    for garbage in [
        flipped.as_str(),
        "",
        "ekr_",
        "ekr_AAAA",
        "x",
        &"ekr_A".repeat(2_000),
    ] {
        let answer = refresh(garbage).await;
        assert_eq!(
            answer.verdict(),
            (401, "refresh_invalid".to_owned()),
            "{}",
            &garbage[..garbage.len().min(20)]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_guesses_of_a_code_compare_at_most_three() {
    const EMAIL: &str = "ada@example.com";
    let origin = Arc::new(Origin::with(&[("EDGEKEEP_OTP__SENDS_PER_HOUR", "100")]).await);
    let send = async || {
        let sent = origin.post("/otp/send", &json!({"email": EMAIL})).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["otp_token"].as_str().unwrap().to_owned()
    };
    // Three rounds of wrong guesses cost nine of the ten failures that a day allows. One more
    // comparison in any round, and the fourth code would not be good.
    for round in 1..=3 {
        let token = send().await;
        let code = origin.code(EMAIL, round).await;
        let number: u32 = code.parse().unwrap();
        let wrong = (1..=u32::try_from(AT_ONCE).unwrap())
            .map(|step| json!({"otp_token": token, "code": format!("{:06}", (number + step) % 1_000_000)}));
        for answer in together(&origin, "/otp/verify", wrong.collect()).await {
            assert_eq!(answer.verdict(), (400, "code_invalid".to_owned()));
        }
        let right = origin
            .post("/otp/verify", &json!({"otp_token": token, "code": code}))
            .await;
        assert_eq!(
            right.verdict(),
            (400, "code_invalid".to_owned()),
            "the tries are used up"
        );
    }
    let token = send().await;
    let code = origin.code(EMAIL, 4).await;
    let right = origin
        .post("/otp/verify", &json!({"otp_token": token, "code": code}))
        .await;
    assert_eq!(
        right.status,
        200,
        "more than three were counted: {}",
        right.text()
    );

    // The right code a hundred times at once logs in once.
    let token = send().await;
    let code = origin.code(EMAIL, 5).await;
    let answers = together(
        &origin,
        "/otp/verify",
        vec![json!({"otp_token": token, "code": code}); AT_ONCE],
    )
    .await;
    let count = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!((count(200), count(400)), (1, AT_ONCE - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_logins_is_answered_and_never_with_a_fault() {
    let often = [("EDGEKEEP_LIMITS__LOGINS_PER_USER_PER_HOUR", "1000")];
    let origin = Arc::new(Origin::with(&often).await);
    origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let login =
        json!({"identifier": "ada@example.com", "password": "correct horse battery staple"});
    for answer in together(&origin, "/login", vec![login; AT_ONCE]).await {
        // Beyond the queue it is 503 with the time to come back.
        if answer.status == 503 {
            assert_eq!(answer.code(), "unavailable");
            assert!(answer.header("retry-after").is_some());
        } else {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let wrong = json!({"identifier": "ada@example.com", "password": "wrong horse battery staple"});
    for answer in together(&origin, "/login", vec![wrong; AT_ONCE]).await {
        let expected = ["credentials_invalid", "account_locked", "unavailable"];
        assert!(
            expected.contains(&answer.code().as_str()),
            "{}",
            answer.text()
        );
    }
    let right =
        json!({"identifier": "ada@example.com", "password": "correct horse battery staple"});
    assert_eq!(
        origin.post("/login", &right).await.verdict(),
        (423, "account_locked".to_owned())
    );
}
