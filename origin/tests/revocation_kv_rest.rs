//! Writing to Workers KV, against a server that records what it is sent.

mod keep;
mod support;

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use edgekeep_origin::config::KvRest;
use edgekeep_origin::events::Actor;
use edgekeep_origin::revocation::kv_rest::Writer;
use edgekeep_origin::sessions;
use edgekeep_origin::vault::Secret;
use edgekeep_shared::control::ControlKeys;
use edgekeep_shared::revocation::RevocationList;
use support::Origin;

/// What arrived: path, `Authorization`, body; and what is answered.
#[derive(Debug)]
struct Recorder {
    puts: Vec<(String, String, Bytes)>,
    answer: StatusCode,
}

#[tokio::test]
async fn the_list_is_written_on_change_and_every_ninety_seconds() {
    let recorder = Arc::new(Mutex::new(Recorder {
        puts: Vec::new(),
        answer: StatusCode::OK,
    }));
    let for_server = Arc::clone(&recorder);
    let app = axum::Router::new().fallback(
        move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let authorization = headers["authorization"].to_str().unwrap().to_owned();
            let mut recorder = for_server.lock().unwrap();
            recorder
                .puts
                .push((uri.path().to_owned(), authorization, body));
            recorder.answer
        },
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/client/v4", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let origin = Origin::new().await;
    let settings = KvRest {
        account_id: "acc".to_owned(),
        namespace_id: "ns".to_owned(),
        api_token: Some(Secret::new("kv-token".to_owned())),
        base_url,
    };
    let mut writer = Writer::new(&settings).unwrap().unwrap();
    let state = &origin.state;
    let mut due = async || {
        let documents = state.publisher.current().await.unwrap();
        writer.write_due(&documents, state.clock.now()).await
    };
    let keys = || {
        let puts = std::mem::take(&mut recorder.lock().unwrap().puts);
        puts.into_iter().map(|(path, authorization, body)| {
            assert_eq!(authorization, "Bearer kv-token");
            let prefix = "/client/v4/accounts/acc/storage/kv/namespaces/ns/values/";
            (path.strip_prefix(prefix).unwrap().to_owned(), body)
        })
    };
    assert_eq!(due().await, Ok(2));
    assert_eq!(
        keys().map(|(key, _)| key).collect::<Vec<_>>(),
        ["revocations", "jwks"]
    );
    // The heartbeat signs a new list, but KV has a daily budget.
    origin.advance(89);
    assert_eq!(due().await, Ok(0));
    origin.advance(1);
    assert_eq!(due().await, Ok(1));
    assert_eq!(
        keys().map(|(key, _)| key).collect::<Vec<_>>(),
        ["revocations"]
    );

    let user = keep::user(state).await;
    let tokens = keep::open(state, user).await;
    let mut tx = state.db.write().await.unwrap();
    sessions::end(state, &mut tx, tokens.session_id, "logout")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // A write that failed stays due.
    recorder.lock().unwrap().answer = StatusCode::TOO_MANY_REQUESTS;
    assert!(due().await.unwrap_err().contains("429"));
    assert_eq!(keys().count(), 1);
    recorder.lock().unwrap().answer = StatusCode::OK;
    assert_eq!(due().await, Ok(1));
    let (_, list) = keys().next().unwrap();
    let control = format!("[{}]", state.publisher.control_jwk());
    let control = ControlKeys::parse(control.as_bytes()).unwrap();
    let list = RevocationList::open(&list, &control, &state.config.issuer()).unwrap();
    assert_eq!(list.len(), 1);

    origin.advance(360);
    state.keyring.rotate(Actor::Operator).await.unwrap();
    assert_eq!(due().await, Ok(2));
    assert_eq!(
        keys().map(|(key, _)| key).collect::<Vec<_>>(),
        ["revocations", "jwks"]
    );
    server.abort();
}
