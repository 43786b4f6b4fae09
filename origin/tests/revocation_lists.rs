//! The list at scale: what changed since a list, and lists of many entries.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod crowd;
mod support;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use crowd::revoke_many;
use edgekeep_origin::app::{State, app};
use edgekeep_origin::random::Random;
use edgekeep_origin::revocation::{self, Revoked, kv};
use edgekeep_shared::base64url;
use edgekeep_shared::control::ControlKeys;
use edgekeep_shared::revocation::{HashKey, RevocationDelta, RevocationList};
use support::Origin;
use tower::ServiceExt as _;

const LIST: &str = "application/vnd.edgekeep.revocations";
const DELTA: &str = "application/vnd.edgekeep.revocations-delta";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

async fn get(state: &State, query: &str, tag: Option<&str>) -> Answer {
    // The route waits a quarter of a second for a newer list: on a busy machine not long enough.
    state.publisher.current().await.unwrap();
    let mut request = Request::get(format!("/.well-known/revocations{query}"));
    if let Some(tag) = tag {
        request = request.header("if-none-match", tag);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = app(state.clone()).oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 32 << 20).await.unwrap();
    Answer {
        status,
        headers,
        bytes: bytes.into(),
    }
}

fn control_keys(state: &State) -> ControlKeys {
    ControlKeys::parse(format!("[{}]", state.publisher.control_jwk()).as_bytes()).unwrap()
}

async fn list(state: &State) -> RevocationList {
    let answer = get(state, "", None).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, LIST)
    );
    RevocationList::open(&answer.bytes, &control_keys(state), &state.config.issuer()).unwrap()
}

fn since(list: &RevocationList) -> String {
    let HashKey(key) = list.key();
    format!("?since={}&key={}", list.sequence(), base64url::encode(key))
}

/// Brings `list` up to date as a gate does, which must take a delta.
async fn update(state: &State, list: &mut RevocationList) {
    let answer = get(state, &since(list), None).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, DELTA)
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    let keys = control_keys(state);
    let delta = RevocationDelta::open(&answer.bytes, &keys, &state.config.issuer()).unwrap();
    list.apply(&delta).unwrap();
}

async fn revoke(state: &State, entry: Revoked<'_>, seconds: u64) {
    let now = state.clock.now();
    let until = Some(now + std::time::Duration::from_secs(seconds));
    let mut tx = state.db.write().await.unwrap();
    revocation::record(&state.signal, &mut tx, entry, until, now, "test")
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_changed_since_a_list_leads_to_the_list_of_now() {
    let origin = Origin::new().await;
    let state = &origin.state;
    let mut held = list(state).await;
    let mut kept = Vec::new();
    for (number, seconds) in [(0, 5), (1, 900), (2, 7), (3, 900), (4, 900)] {
        let name = format!("session-{number}");
        revoke(state, Revoked::SessionNamed(&name), seconds).await;
        revoke(state, Revoked::Token(&name), 900).await;
        update(state, &mut held).await;
        assert_eq!(held, list(state).await);
        kept.push(held.clone());
        origin.advance(3);
    }
    // Two have expired, and it was signed again.
    origin.advance(15);
    update(state, &mut held).await;
    assert_eq!(held, list(state).await);
    assert_eq!(held.len(), 8);
    // Whoever slept catches up at once.
    for mut list in kept {
        update(state, &mut list).await;
        assert_eq!(list, held);
    }
}

#[tokio::test]
async fn nothing_new_is_no_answer() {
    let origin = Origin::new().await;
    let state = &origin.state;
    revoke(state, Revoked::Token("a"), 900).await;
    let first = get(state, "", None).await;
    let mut held = list(state).await;
    let tag = first.header("etag").to_owned();
    let query = since(&held);
    assert_eq!(get(state, "", Some(&tag)).await.status, 304);
    assert_eq!(get(state, &query, Some(&tag)).await.status, 304);
    revoke(state, Revoked::Token("b"), 900).await;
    let delta = get(state, &query, Some(&tag)).await;
    assert_eq!(
        (delta.status.as_u16(), delta.header("content-type")),
        (200, DELTA)
    );
    // The tag of a delta is that of the list it leads to.
    let tag = delta.header("etag").to_owned();
    update(state, &mut held).await;
    assert_eq!(get(state, &since(&held), Some(&tag)).await.status, 304);
    assert_eq!(get(state, "", None).await.header("etag"), tag);
    // A heartbeat is a new list, in which nothing changed.
    origin.advance(15);
    let heartbeat = get(state, &since(&held), Some(&tag)).await;
    assert_eq!(
        (heartbeat.status.as_u16(), heartbeat.header("content-type")),
        (200, DELTA)
    );
    assert!(heartbeat.bytes.len() < 600, "{}", heartbeat.bytes.len());
    update(state, &mut held).await;
    assert_eq!(held.issued_at().0, state.clock.now().unix_seconds());
}

#[tokio::test]
async fn whoever_names_no_list_of_this_series_gets_the_list() {
    let origin = Origin::new().await;
    let state = &origin.state;
    revoke(state, Revoked::Token("a"), 900).await;
    let held = list(state).await;
    revoke(state, Revoked::Token("b"), 900).await;
    let HashKey(key) = held.key();
    let key = base64url::encode(key);
    let number = held.sequence();
    for query in [
        String::new(),
        "?".to_owned(),
        format!("?since={number}"),
        format!("?key={key}"),
        format!("?since={number}&key={}", base64url::encode(&[1; 16])),
        format!("?since={}&key={key}", number - 1),
        format!("?since={}&key={key}", number + 1_000),
        format!("?since=0&key={key}"),
        format!("?since={}&key={key}", u64::MAX),
        format!("?since=-1&key={key}"),
        format!("?since=x&key={key}"),
        format!("?since={number}&key={key}&since={number}"),
        "?unknown=1".to_owned(),
    ] {
        let answer = get(state, &query, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, LIST),
            "{query}"
        );
    }
    // Another process has a series of its own: numbers go on, hashes do not.
    let origin = origin.restarted().await;
    let answer = get(&origin.state, &since(&held), None).await;
    assert_eq!(answer.header("content-type"), LIST);
    let next = list(&origin.state).await;
    assert!(next.sequence() > held.sequence());
    assert_ne!(next.key(), held.key());
    assert_eq!(next.len(), 2);
}

#[tokio::test]
async fn what_another_process_revokes_is_in_the_next_delta() {
    let origin = Origin::new().await;
    let mut held = list(&origin.state).await;
    let config = origin.state.config.clone();
    let other = State::open(config, origin.clock.clone(), Random::seeded(2))
        .await
        .unwrap();
    revoke(&other, Revoked::Token("a"), 900).await;
    origin.state.publisher.look().await.unwrap();
    update(&origin.state, &mut held).await;
    assert_eq!(held.len(), 1);
    assert_eq!(held, list(&origin.state).await);
}

#[tokio::test]
async fn a_list_of_many_entries_is_whole_and_small_to_follow() {
    const MANY: i64 = 12_001;
    let origin = Origin::new().await;
    let mut early = list(&origin.state).await;
    revoke_many(&origin.state, MANY).await;
    let many = usize::try_from(MANY).unwrap();
    let mut held = list(&origin.state).await;
    assert_eq!(held.len(), many);
    assert!(held.memory() < many * 12 + 1_024, "{}", held.memory());
    // Longer than the list, which was empty.
    let answer = get(&origin.state, &since(&early), None).await;
    assert_eq!(answer.header("content-type"), LIST);
    early = held.clone();

    // A start reads them all.
    let origin = origin.restarted().await;
    let state = &origin.state;
    held = list(state).await;
    assert_eq!(held.len(), many);
    assert_eq!(
        get(state, &since(&early), None)
            .await
            .header("content-type"),
        LIST
    );

    // The list is not signed at every change; what changed is told at once.
    revoke(state, Revoked::Token("a"), 900).await;
    let answer = get(state, &since(&held), None).await;
    assert_eq!(answer.header("content-type"), DELTA);
    assert!(answer.bytes.len() < 600, "{}", answer.bytes.len());
    let first = held.clone();
    update(state, &mut held).await;
    assert_eq!(held.len(), many + 1);
    assert_eq!(list(state).await, first);
    origin.advance(1);
    assert_eq!(list(state).await, held);
    // All but the last leave at once.
    origin.advance(1_200);
    revoke(state, Revoked::Token("b"), 900).await;
    let answer = get(state, &since(&held), None).await;
    assert_eq!(answer.header("content-type"), LIST);
    assert_eq!(list(state).await.len(), 1);
}

#[tokio::test]
async fn the_key_value_listener_leads_on_from_the_lists_of_the_last_moments() {
    let origin = Origin::new().await;
    let state = &origin.state;
    let read = async |key: &str| {
        let request = Request::get(format!("/{key}?urlencoded=true"));
        let request = request.body(Body::empty()).unwrap();
        let response = kv::app(state.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        (
            status,
            to_bytes(response.into_body(), 32 << 20).await.unwrap(),
        )
    };
    let (keys, issuer) = (control_keys(state), state.config.issuer());
    let (status, bytes) = read("revocations").await;
    assert_eq!(status, 200);
    let mut held = RevocationList::open(&bytes, &keys, &issuer).unwrap();
    // Nothing has changed since the first list.
    assert_eq!(read("revocations-delta").await.0, 404);
    let first = held.clone();
    for name in ["a", "b", "c"] {
        revoke(state, Revoked::Token(name), 900).await;
        let (status, bytes) = read("revocations-delta").await;
        assert_eq!(status, 200);
        let delta = RevocationDelta::open(&bytes, &keys, &issuer).unwrap();
        held.apply(&delta).unwrap();
        let mut late = first.clone();
        late.apply(&delta).unwrap();
        assert_eq!(late, held);
    }
    assert_eq!(held, list(state).await);
}
