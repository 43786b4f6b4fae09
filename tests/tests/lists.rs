//! Large lists: what is fetched of them, and what happens when a delta does not lead on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgekeep_shared::control::DocumentType;
use edgekeep_shared::revocation::{Edits, HashKey, encode_delta};
use edgekeep_tests::clock::{self, eventually};
use edgekeep_tests::gate::Gate;
use edgekeep_tests::house::House;
use edgekeep_tests::issuer::{Behaviour, Door, HASH_KEY, Issuer, Revoked};
use edgekeep_tests::keys::Key;
use edgekeep_tests::origin::Tokens;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A gate looks every two seconds; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(6);

/// More than a gate takes for a small list.
const MANY: usize = 6_000;

fn revoked() -> (u16, String) {
    (401, "token_revoked".to_owned())
}

fn many_sessions() -> Vec<Revoked> {
    let ended = (0..MANY).map(|number| Revoked::Session(format!("ended-{number}")));
    ended.collect()
}

/// A gate that holds a large list of an issuer that knows deltas.
async fn gate_with_many(sources: &str) -> Gate {
    let gate = Gate::with(|issuer, variables| {
        variables.insert("REVOCATION_SOURCES", sources.to_owned());
        let mut published = issuer.published();
        published.deltas = true;
        published.revoked = many_sessions();
    })
    .await;
    let ended = gate.token(&json!({"sid": "ended-4711"}));
    assert_eq!(gate.get("/api/me", &ended).await.verdict(), revoked());
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    gate
}

/// Revokes a session and waits until it is refused, while others go on.
async fn end(gate: &Gate, session: &str) {
    let token = gate.token(&json!({"sid": session}));
    assert_eq!(gate.get("/api/me", &token).await.status, 200, "{session}");
    gate.issuer.revoke(Revoked::Session(session.to_owned()));
    let refused = eventually(LIMIT, || async {
        assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
        (gate.get("/api/me", &token).await.verdict() == revoked()).then_some(())
    });
    assert!(refused.await.is_some(), "{session} goes on");
    let ended = gate.token(&json!({"sid": "ended-4711"}));
    assert_eq!(gate.get("/api/me", &ended).await.verdict(), revoked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_holds_a_list_fetches_what_changed() {
    let gate = gate_with_many("feed").await;
    for session in ["a", "b", "c"] {
        end(&gate, session).await;
    }
    assert_eq!(gate.issuer.hits(Door::Feed), 1, "the list is fetched once");
    assert!(gate.issuer.hits(Door::FeedDelta) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_reads_kv_alone_reads_what_changed() {
    let gate = gate_with_many("kv").await;
    for session in ["a", "b", "c"] {
        end(&gate, session).await;
    }
    assert_eq!(gate.issuer.hits(Door::KvList), 1, "the list is read once");
    assert!(gate.issuer.hits(Door::KvDelta) >= 3);
}

/// Leaves KV as it is between two writes of a large list: the list of a while ago, and the delta to now,
/// which ends the session `late`.
fn leave_behind(issuer: &Issuer, revoked: Vec<Revoked>) {
    let list = {
        let mut published = issuer.published();
        published.deltas = true;
        published.revoked = revoked;
        published.list()
    };
    issuer.set(Door::KvList, Behaviour::Bytes(list));
    issuer.revoke(Revoked::Session("late".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_gate_reads_what_changed_since_the_list_in_kv() {
    let at = clock::now();
    let subject = |number| Revoked::Subject(format!("gone-{number}"), at);
    // 1,700 subjects are 34 KB: what makes a list a large one are its bytes.
    for revoked_before in [many_sessions(), (0..1_700).map(subject).collect()] {
        let gate = Gate::with(|issuer, variables| {
            variables.insert("REVOCATION_SOURCES", "kv".to_owned());
            leave_behind(issuer, revoked_before);
        })
        .await;
        let late = gate.token(&json!({"sid": "late"}));
        assert_eq!(gate.get("/api/me", &late).await.verdict(), revoked());
        // And goes on so: the list in KV stays as it is.
        let later = gate.token(&json!({"sid": "later"}));
        assert_eq!(gate.get("/api/me", &later).await.status, 200);
        gate.issuer.revoke(Revoked::Session("later".to_owned()));
        let refused = eventually(LIMIT, || async {
            (gate.get("/api/me", &later).await.verdict() == revoked()).then_some(())
        });
        assert!(refused.await.is_some(), "the delta is not read");
        assert_eq!(gate.issuer.hits(Door::KvList), 1, "the list is read once");
    }
}

/// The number of what leads nowhere is that of a list that is not there yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_older_than_what_leads_nowhere_is_no_check() {
    for is_large in [false, true] {
        let gate = Gate::with(|issuer, variables| {
            variables.insert("REVOCATION_SOURCES", "kv".to_owned());
            let mut published = issuer.published();
            if is_large {
                published.revoked = many_sessions();
            }
            let list = published.list();
            let (url, control) = (published.url.clone(), published.control_key.clone());
            drop(published);
            let later = u64::try_from(clock::since_epoch().as_millis()).unwrap() + 60_000;
            let none = Edits::new([]);
            let body = encode_delta(&HASH_KEY, later, &[0; 4], &none);
            let kind = DocumentType::RevocationsDelta;
            let closed = control.document(kind, &url, later, clock::now(), &body);
            issuer.set(Door::KvList, Behaviour::Bytes(list));
            issuer.set(Door::KvDelta, Behaviour::Bytes(closed));
        })
        .await;
        // By its own age it counts. But it was not checked: whoever comes before the next look has
        // ended waits for that.
        let token = gate.good_token();
        assert_eq!(gate.get("/api/me", &token).await.status, 200);
        gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
        gate.issuer.set(Door::KvDelta, Behaviour::Status(404));
        let late = Behaviour::Late(Duration::from_millis(700));
        gate.issuer.set(Door::KvList, late);
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        let answer = gate.get("/api/me", &token).await;
        assert_eq!(answer.verdict(), revoked(), "{is_large}");
    }
}

/// Where a list that the feed has led on from KV's is a small one.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_list_of_the_feed_is_led_on_by_the_delta_in_kv() {
    let gate = Gate::with(|issuer, _| {
        let mut published = issuer.published();
        published.deltas = true;
        let list = published.list();
        drop(published);
        issuer.set(Door::KvList, Behaviour::Bytes(list));
    })
    .await;
    let late = gate.token(&json!({"sid": "late"}));
    assert_eq!(gate.get("/api/me", &late).await.status, 200);
    for door in [Door::Feed, Door::FeedDelta] {
        gate.issuer.set(door, Behaviour::Status(500));
    }
    gate.issuer.revoke(Revoked::Session("late".to_owned()));
    let refused = eventually(LIMIT, || async {
        (gate.get("/api/me", &late).await.verdict() == revoked()).then_some(())
    });
    assert!(refused.await.is_some(), "the delta is not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_slept_while_the_list_grew_reads_what_changed_since_it_was_written() {
    let gate = Gate::with(|_, variables| {
        variables.insert("REVOCATION_SOURCES", "kv".to_owned());
    })
    .await;
    let late = gate.token(&json!({"sid": "late"}));
    assert_eq!(gate.get("/api/me", &late).await.status, 200);
    // Longer than the list is kept checked behind the request, and than it is used after that.
    tokio::time::sleep(Duration::from_millis(17_500)).await;
    leave_behind(&gate.issuer, many_sessions());
    assert_eq!(gate.get("/api/me", &late).await.verdict(), revoked());
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
}

/// Every way in which a delta can be wrong, but for its signature's bytes.
fn faults(gate: &Gate) -> Vec<(&'static str, Vec<u8>)> {
    let published = gate.issuer.published();
    let (url, control) = (published.url.clone(), published.control_key.clone());
    let since = published.first_told().unwrap();
    let body = published.delta_body(since);
    let (now, sequence) = (clock::now(), since + 3_600_000);
    let kind = DocumentType::RevocationsDelta;
    let signed = |body: &[u8]| control.document(kind, &url, sequence, now, body);
    let good = signed(&body);
    let mut flipped = good.clone();
    flipped[good.len() - 100] ^= 1;
    let mut counts = body.clone();
    counts[24] ^= 1;
    let mut future_base = body.clone();
    future_base[16..24].copy_from_slice(&(sequence - 1).to_le_bytes());
    let none = Edits::new([]);
    let other_series = encode_delta(&HashKey([8; 16]), since, &[0; 4], &none);
    let nowhere = encode_delta(&HASH_KEY, sequence, &[0; 4], &none);
    let evil = "https://evil.example";
    let list = DocumentType::Revocations;
    vec![
        ("nothing", Vec::new()),
        ("garbage", b"\x00garbage\xff".to_vec()),
        ("an unsigned one", body.clone()),
        ("one cut off", good[..good.len() - 1].to_vec()),
        ("a flipped bit", flipped),
        ("a byte too many", signed(&[&body[..], &[0]].concat())),
        ("another count", signed(&counts)),
        ("a gap", signed(&future_base)),
        ("another series", signed(&other_series)),
        ("one that leads nowhere", signed(&nowhere)),
        (
            "one of a strange key",
            Key::eddsa(66).document(kind, &url, sequence, now, &body),
        ),
        (
            "one of another issuer",
            control.document(kind, evil, sequence, now, &body),
        ),
        (
            "one called a list",
            control.document(list, &url, sequence, now, &body),
        ),
        (
            "an older one",
            control.document(kind, &url, since, now, &body),
        ),
        (
            "one from the future",
            control.document(kind, &url, sequence, now.plus(3_600), &body),
        ),
        ("a long one", vec![b'E'; 600 * 1024]),
    ]
}

async fn the_list_makes_good(sources: &str, delta: Door, list: Door) {
    let gate = gate_with_many(sources).await;
    for (index, (fault, bytes)) in faults(&gate).into_iter().enumerate() {
        gate.issuer.set(delta, Behaviour::Bytes(bytes));
        let before = gate.issuer.hits(list);
        end(&gate, &format!("after-{index}")).await;
        assert!(gate.issuer.hits(list) > before, "{fault}");
    }
    // And deltas lead on from the last of them.
    gate.issuer.set(delta, Behaviour::Honest);
    end(&gate, "first").await;
    let before = gate.issuer.hits(list);
    end(&gate, "second").await;
    assert_eq!(gate.issuer.hits(list), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_of_the_feed_that_does_not_lead_on_is_made_good_by_the_list() {
    the_list_makes_good("feed", Door::FeedDelta, Door::Feed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_in_kv_that_does_not_lead_on_is_made_good_by_the_list() {
    the_list_makes_good("kv", Door::KvDelta, Door::KvList).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kv_is_left_alone_while_the_feed_answers() {
    let gate = Gate::start().await;
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (feed, kv) = (gate.issuer.hits(Door::Feed), gate.issuer.hits(Door::KvList));
    // On a busy machine the feed may take its time now and then.
    assert!(
        feed >= 4 && kv <= feed / 2,
        "{feed} questions to the feed, {kv} to KV"
    );
}

/// A way to the issuer that counts the bytes that come back.
struct Meter {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Meter {
    async fn before(issuer: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((gate, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                ways.spawn(async move {
                    // Either side may close at any time.
                    let _ = carry(gate, issuer, &counted).await;
                });
            }
        });
        Self {
            address,
            bytes,
            _task: task,
        }
    }

    fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }
}

async fn carry(gate: TcpStream, issuer: SocketAddr, counted: &AtomicU64) -> io::Result<()> {
    let (mut from_gate, mut to_gate) = gate.into_split();
    let (mut from_issuer, mut to_issuer) = TcpStream::connect(issuer).await?.into_split();
    let back = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_issuer.read(&mut buffer).await?;
            if read == 0 {
                return io::Result::Ok(());
            }
            counted.fetch_add(read as u64, Ordering::SeqCst);
            to_gate.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! {
        done = back => done,
        done = tokio::io::copy(&mut from_gate, &mut to_issuer) => done.map(drop),
    }
}

/// Access tokens that are revoked one by one, by the session they are of.
async fn revoke_tokens(house: &House, mut tokens: Tokens, count: usize) -> Tokens {
    for _ in 0..count {
        let body = json!({"token": tokens.access});
        let answer = house.origin.post("/revoke-token", &body).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        let body = json!({"refresh_token": tokens.refresh});
        tokens = Tokens::of(&house.origin.post("/refresh", &body).await);
    }
    tokens
}

/// The real issuer, whose list has 600 entries.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_issuer_sends_what_changed_and_after_a_restart_the_list() {
    const REVOKED: usize = 600;
    const LIST_BYTES: u64 = 600 * 12;
    let mut meter = None;
    let settings = [
        ("EDGEKEEP_LIMITS__REFRESH_PER_SESSION_PER_MINUTE", "1000000"),
        ("EDGEKEEP_LIMITS__API_PER_USER_PER_MINUTE", "1000000"),
    ];
    let mut house = House::with(&settings, |variables| {
        let issuer = variables["ISSUER"].strip_prefix("http://").unwrap();
        let before = Meter::before(issuer.parse().unwrap());
        let runtime = tokio::runtime::Handle::current();
        let before = tokio::task::block_in_place(|| runtime.block_on(before));
        variables.insert("ORIGIN_URL", format!("http://{}", before.address));
        variables.insert("REVOCATION_SOURCES", "feed".to_owned());
        meter = Some(before);
    })
    .await;
    let meter = meter.unwrap();
    let (email, password) = ("ada@example.com", "a password that nobody has");
    let person = house.origin.register(email, password).await;
    let kept = house.origin.login(email, password).await;
    let mut person = revoke_tokens(&house, person, REVOKED).await;
    assert_eq!(house.get("/api/me", &kept.access).await.status, 200);
    let list = meter.take();
    assert!(list > LIST_BYTES, "{list} bytes are no list");

    for _ in 0..5 {
        let revoked = person.access.clone();
        person = revoke_tokens(&house, person, 1).await;
        house.refused(&revoked).await;
    }
    let deltas = meter.take();
    // Five lists would be more than twice that.
    assert!(deltas < 2 * LIST_BYTES, "what changed has {deltas} bytes");

    house.origin.kill9();
    house.origin.start_server().await;
    let revoked = person.access.clone();
    person = revoke_tokens(&house, person, 1).await;
    house.refused(&revoked).await;
    let list = meter.take();
    assert!(
        list > LIST_BYTES,
        "another series begins with the list: {list} bytes"
    );
    let revoked = person.access.clone();
    revoke_tokens(&house, person, 1).await;
    house.refused(&revoked).await;
    let delta = meter.take();
    assert!(delta < LIST_BYTES, "what changed has {delta} bytes");
    assert_eq!(house.get("/api/me", &kept.access).await.status, 200);
}
