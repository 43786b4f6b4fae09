//! Power cuts and polite stops.

use std::sync::Arc;
use std::time::Duration;

use edgekeep_tests::house::House;
use edgekeep_tests::origin::{Origin, Tokens};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PASSWORD: &str = "correct horse battery staple";

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_was_answered_survives_a_kill() {
    let mut house = House::start().await;
    house.origin.register("ada@example.com", PASSWORD).await;
    for round in 0..3 {
        let tokens = house.origin.login("ada@example.com", PASSWORD).await;
        assert_eq!(
            house.get("/api/me", &tokens.access).await.status,
            200,
            "round {round}"
        );
        let answer = house
            .origin
            .post_as(&tokens.access, "/logout", &json!({}))
            .await;
        house.origin.kill9();
        assert_eq!(answer.status, 204, "{}", answer.text());
        house.origin.start_server().await;
        house.refused(&tokens.access).await;
        let refresh = house
            .origin
            .post("/refresh", &json!({"refresh_token": tokens.refresh}))
            .await;
        assert_eq!(
            refresh.verdict(),
            (401, "session_ended".to_owned()),
            "round {round}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_amid_changes_loses_nothing_that_was_answered() {
    let settings = [("EDGEKEEP_SESSIONS__PER_USER", "1000")];
    let mut house = House::with(&settings, |_| {}).await;
    house.origin.register("ada@example.com", PASSWORD).await;
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(house.origin.login("ada@example.com", PASSWORD).await);
    }
    let address = house.origin.address();
    let mut leaving = tokio::task::JoinSet::new();
    for tokens in open {
        leaving.spawn(async move {
            let call = edgekeep_tests::http::Call::new(address, "POST", "/api/v1/auth/logout");
            let answer = call.bearer(&tokens.access).json(&json!({})).send().await;
            (tokens, answer.is_ok_and(|answer| answer.status == 204))
        });
    }
    tokio::time::sleep(Duration::from_millis(15)).await;
    house.origin.kill9();
    let left = leaving.join_all().await;
    house.origin.start_server().await;
    let health = house.origin.call("GET", "/health").send().await.unwrap();
    assert_eq!(health.status, 200);
    for (tokens, answered) in left {
        let refresh = house
            .origin
            .post("/refresh", &json!({"refresh_token": tokens.refresh}))
            .await;
        if answered {
            assert_eq!(refresh.verdict(), (401, "session_ended".to_owned()));
            house.refused(&tokens.access).await;
        } else {
            // Done or not done, never half: the session and its tokens agree.
            let alive = refresh.status == 200;
            let body = json!({"token": tokens.access});
            let valid = house.origin.post("/validate-token", &body).await;
            assert_eq!(
                valid.json()["active"],
                alive,
                "{} {}",
                refresh.text(),
                valid.text()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polite_stop_answers_what_it_has_begun_and_exits_well() {
    let mut origin = Origin::start().await;
    origin.register("ada@example.com", PASSWORD).await;
    let body = json!({"identifier": "ada@example.com", "password": PASSWORD}).to_string();
    let mut stream = tokio::net::TcpStream::connect(origin.address())
        .await
        .unwrap();
    let head = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    origin.server().ask_to_end().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!origin.server().has_ended(), "a request is in flight");
    assert!(
        origin.call("GET", "/health").send().await.is_err(),
        "no new connections"
    );
    stream.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let status = tokio::task::block_in_place(|| origin.server().terminate());
    // A second signal to a process that has ended is no fault of it.
    let status = status.unwrap_or_else(|error| panic!("it does not end: {error}"));
    assert!(status.success(), "{status}");
    origin.start_server().await;
    origin.login("ada@example.com", PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_starts_at_once_on_one_folder_make_one_set_of_keys() {
    let mut origin = Origin::start().await;
    origin.register("ada@example.com", PASSWORD).await;
    let set = |origin: &Origin| origin.must_run(&["keys", "list"]);
    let before = set(&origin);
    origin.kill9();
    let shared = Arc::new(origin);
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let origin = Arc::clone(&shared);
        runs.spawn_blocking(move || origin.must_run(&["keys", "list"]));
    }
    for listed in runs.join_all().await {
        assert_eq!(listed, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_folder_survives_two_first_starts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let path = folder.path().to_owned();
        runs.spawn_blocking(move || {
            let mut command = edgekeep_tests::origin::command(&["keys", "control"]);
            command.env("EDGEKEEP_DATA_DIR", path);
            let output = edgekeep_tests::process::run(command, b"");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        });
    }
    let keys = runs.join_all().await;
    assert!(
        keys.iter().all(|key| key == &keys[0]),
        "one control key for all: {keys:?}"
    );
}

/// The refresh token is not in the database, nor is anything that makes one.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_lies_in_the_data_folder_or_the_log() {
    let mut origin = Origin::start().await;
    let email = "ada.lovelace@example.com";
    let tokens = origin.register(email, PASSWORD).await;
    let next = Tokens::of(
        &origin
            .post("/refresh", &json!({"refresh_token": tokens.refresh}))
            .await,
    );
    origin
        .post(
            "/login",
            &json!({"identifier": email, "password": PASSWORD}),
        )
        .await;
    let mut secrets = vec![PASSWORD.to_owned(), email.to_owned()];
    for tokens in [&tokens, &next] {
        secrets.push(tokens.refresh.clone());
        secrets.push(tokens.access.split('.').next_back().unwrap().to_owned());
    }
    let log = origin.server().log().join("\n");
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
    origin.kill9();
    for entry in std::fs::read_dir(origin.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == "outbox.jsonl") || !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in &secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    }
}
