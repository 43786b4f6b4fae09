//! Writing to Workers KV, against a server that records what it is sent.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod crowd;
mod keep;
mod support;

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use edgekeep_origin::app::State;
use edgekeep_origin::config::KvRest;
use edgekeep_origin::events::Actor;
use edgekeep_origin::revocation::kv_rest::Writer;
use edgekeep_origin::sessions;
use edgekeep_origin::vault::Secret;
use edgekeep_shared::control::ControlKeys;
use edgekeep_shared::revocation::{RevocationDelta, RevocationList};
use support::Origin;

/// What arrived: path, `Authorization`, body; and what is answered.
#[derive(Debug)]
struct Recorder {
    puts: Vec<(String, String, Bytes)>,
    answer: StatusCode,
}

/// A server that records, and the settings by which it is written to.
async fn record() -> (Arc<Mutex<Recorder>>, KvRest) {
    let recorder = Arc::new(Mutex::new(Recorder {
        puts: Vec::new(),
        answer: StatusCode::OK,
    }));
    let for_server = Arc::clone(&recorder);
    let app = axum::Router::new()
        .fallback(
            move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
                let authorization = headers["authorization"].to_str().unwrap().to_owned();
                let mut recorder = for_server.lock().unwrap();
                recorder
                    .puts
                    .push((uri.path().to_owned(), authorization, body));
                recorder.answer
            },
        )
        .layer(axum::extract::DefaultBodyLimit::max(25 << 20));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/client/v4", listener.local_addr().unwrap());
    // It ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, app).await });
    let settings = KvRest {
        account_id: "acc".to_owned(),
        namespace_id: "ns".to_owned(),
        api_token: Some(Secret::new("kv-token".to_owned())),
        base_url,
    };
    (recorder, settings)
}

/// Keys and values that were written since the last call.
fn written(recorder: &Mutex<Recorder>) -> Vec<(String, Bytes)> {
    let puts = std::mem::take(&mut recorder.lock().unwrap().puts);
    let puts = puts.into_iter().map(|(path, authorization, body)| {
        assert_eq!(authorization, "Bearer kv-token");
        let prefix = "/client/v4/accounts/acc/storage/kv/namespaces/ns/values/";
        (path.strip_prefix(prefix).unwrap().to_owned(), body)
    });
    puts.collect()
}

#[tokio::test]
async fn documents_are_written_on_change_and_the_list_every_ninety_seconds() {
    let (recorder, settings) = record().await;
    let origin = Origin::new().await;
    let mut writer = Writer::new(&settings).unwrap().unwrap();
    let state = &origin.state;
    let mut due = async || {
        let documents = state.publisher.current().await.unwrap();
        let lists = state.publisher.lists().await.unwrap();
        writer.write_due(&documents, lists, state.clock.now()).await
    };
    let keys = || written(&recorder).into_iter();
    // A delta of an earlier process must not keep anybody from reading the list.
    assert_eq!(due().await, Ok(3));
    assert_eq!(
        keys().map(|(key, _)| key).collect::<Vec<_>>(),
        ["revocations", "revocations-delta", "jwks"]
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

    for _ in 0..2 {
        state.publisher.take_policy("[[route]]\nmatch = \"/a\"\n");
        assert_eq!(due().await, Ok(1));
        assert_eq!(keys().map(|(key, _)| key).collect::<Vec<_>>(), ["policy"]);
        assert_eq!(due().await, Ok(0));
    }
}

#[tokio::test]
async fn a_delta_that_leads_nowhere_has_the_number_of_the_list_that_was_written() {
    let origin = Origin::new().await;
    let state = &origin.state;
    let lists = state.publisher.lists().await.unwrap();
    let list = lists.list().await.unwrap();
    // Between the two writes another list is published.
    origin.advance(60);
    let later = state.publisher.current().await.unwrap();
    assert!(later.sequence > list.sequence);
    let closed = lists.closed_delta(&list).unwrap();
    let span = RevocationDelta::unverified_span(closed.bytes());
    assert_eq!(span, Some((list.sequence, list.sequence)));
    let control = format!("[{}]", state.publisher.control_jwk());
    let control = ControlKeys::parse(control.as_bytes()).unwrap();
    let delta = RevocationDelta::open(closed.bytes(), &control, &state.config.issuer());
    assert!(delta.unwrap().is_closed());
}

/// What a gate that reads KV alone holds.
#[derive(Default)]
struct Reader(Option<RevocationList>);

impl Reader {
    /// Reads what was written; which keys that were.
    fn read(&mut self, state: &State, values: &[(String, Bytes)]) -> Vec<String> {
        let control = format!("[{}]", state.publisher.control_jwk());
        let control = ControlKeys::parse(control.as_bytes()).unwrap();
        let issuer = state.config.issuer();
        for (key, value) in values {
            match key.as_str() {
                "revocations" => {
                    let list = RevocationList::open(value, &control, &issuer).unwrap();
                    self.0.get_or_insert(list);
                }
                "revocations-delta" => {
                    let delta = RevocationDelta::open(value, &control, &issuer).unwrap();
                    if !delta.is_closed() {
                        self.0.as_mut().unwrap().apply(&delta).unwrap();
                    }
                }
                _ => {}
            }
        }
        values.iter().map(|(key, _)| key.clone()).collect()
    }
}

#[tokio::test]
async fn a_large_list_is_written_seldom_and_led_on_by_deltas() {
    const MANY: i64 = 6_000;
    let (recorder, settings) = record().await;
    let origin = Origin::new().await;
    let state = &origin.state;
    let user = keep::user(state).await;
    let mut writer = Writer::new(&settings).unwrap().unwrap();
    let mut reader = Reader::default();
    let mut due = async || {
        let documents = state.publisher.current().await.unwrap();
        let lists = state.publisher.lists().await.unwrap();
        writer
            .write_due(&documents, lists, state.clock.now())
            .await
            .unwrap();
        reader.read(state, &written(&recorder))
    };
    let end = async || {
        let tokens = keep::open(state, user).await;
        let mut tx = state.db.write().await.unwrap();
        sessions::end(state, &mut tx, tokens.session_id, "logout")
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    assert_eq!(due().await, ["revocations", "revocations-delta", "jwks"]);
    end().await;
    assert_eq!(due().await, ["revocations"]);

    // Another reader begins when the list has become large.
    let mut reader = Reader::default();
    let mut due = async || {
        let documents = state.publisher.current().await.unwrap();
        let lists = state.publisher.lists().await.unwrap();
        writer
            .write_due(&documents, lists, state.clock.now())
            .await
            .unwrap();
        let keys = reader.read(state, &written(&recorder));
        (keys, reader.0.as_ref().unwrap().clone())
    };
    crowd::revoke_many(state, MANY).await;
    origin.advance(1);
    let (keys, held) = due().await;
    assert_eq!(keys, ["revocations", "revocations-delta"]);
    assert_eq!(held.len(), 6_001);
    for number in 0..20 {
        origin.advance(20);
        end().await;
        let (keys, held) = due().await;
        // 20 s, 40 s, …: at 300 s the list itself, which this reader never reads again.
        let with_list = number == 14;
        let expected: &[&str] = if with_list {
            &["revocations", "revocations-delta"]
        } else {
            &["revocations-delta"]
        };
        assert_eq!(keys, expected, "{number}");
        assert_eq!(held.len(), 6_002 + number);
        let list = state.publisher.lists().await.unwrap().list().await.unwrap();
        assert_eq!(held.sequence(), list.sequence);
    }
    // Most are over; the next writer state is that of a small list, and the delta leads nowhere.
    origin.advance(1_200);
    let documents = state.publisher.current().await.unwrap();
    let lists = state.publisher.lists().await.unwrap();
    writer
        .write_due(&documents, lists, state.clock.now())
        .await
        .unwrap();
    let values = written(&recorder);
    let keys: Vec<&str> = values.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["revocations", "revocations-delta"]);
    let (base, sequence) = RevocationDelta::unverified_span(&values[1].1).unwrap();
    assert_eq!(base, sequence);
}
