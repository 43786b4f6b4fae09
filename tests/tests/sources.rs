//! Lists that are late, old, replayed, forged or from the future; and what staleness does.

use std::time::Duration;

use edgekeep_shared::control::DocumentType;
use edgekeep_tests::clock::{self, eventually};
use edgekeep_tests::gate::Gate;
use edgekeep_tests::http::Answer;
use edgekeep_tests::issuer::{Behaviour, Door, Revoked};
use edgekeep_tests::keys::Key;
use serde_json::json;

/// No request waits longer for its sources than this, whatever they do.
const DEADLINE: Duration = Duration::from_millis(2_500);

/// Longer than a list is used without asking.
const NEXT_LOOK: Duration = Duration::from_millis(2_300);

fn unavailable() -> (u16, String) {
    (503, "revocation_unavailable".to_owned())
}

fn revoked() -> (u16, String) {
    (401, "token_revoked".to_owned())
}

/// A gate that has seen a list which revokes `revoked`; gives its token and another.
async fn gate_that_knows(sources: &str) -> (Gate, String, String) {
    let gate = Gate::with(|issuer, variables| {
        variables.insert("REVOCATION_SOURCES", sources.to_owned());
        issuer.revoke(Revoked::Token("revoked".to_owned()));
    })
    .await;
    let bad = gate.token(&json!({"jti": "revoked"}));
    let good = gate.good_token();
    assert_eq!(gate.get("/api/me", &bad).await.verdict(), revoked());
    assert_eq!(gate.get("/api/me", &good).await.status, 200);
    (gate, bad, good)
}

/// Every way in which a source can be wrong about a list.
fn faults(gate: &Gate, old: &[u8]) -> Vec<(&'static str, Behaviour)> {
    let url = gate.issuer.url();
    let published = gate.issuer.published();
    let control = published.control_key.clone();
    let body = published.list_body();
    drop(published);
    let now = clock::now();
    let sequence = u64::try_from(clock::since_epoch().as_millis()).unwrap() + 60_000;
    let empty =
        edgekeep_shared::revocation::encode(&edgekeep_shared::revocation::HashKey([1; 16]), []);
    let signed = |key: &Key, kind, issuer: &str, at, body: &[u8]| {
        key.document(kind, issuer, sequence, at, body)
    };
    let list = DocumentType::Revocations;
    let good = signed(&control, list, &url, now, &empty);
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    let mut trailing = body.clone();
    trailing.push(0);
    let mut huge_count = empty.clone();
    huge_count[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    vec![
        ("a replayed one", Behaviour::Bytes(old.to_vec())),
        ("500", Behaviour::Status(500)),
        ("404", Behaviour::Status(404)),
        ("304", Behaviour::Status(304)),
        ("a redirect", Behaviour::Status(302)),
        ("nothing at all", Behaviour::Silent),
        ("nothing in time", Behaviour::Late(Duration::from_secs(4))),
        ("an empty body", Behaviour::Bytes(Vec::new())),
        ("garbage", Behaviour::Bytes(b"\x00garbage\xff".to_vec())),
        ("an unsigned one", Behaviour::Bytes(empty.clone())),
        (
            "one of a strange key",
            Behaviour::Bytes(signed(&Key::eddsa(66), list, &url, now, &empty)),
        ),
        (
            "one of the token key",
            Behaviour::Bytes(signed(&gate.key, list, &url, now, &empty)),
        ),
        (
            "one of another issuer",
            Behaviour::Bytes(signed(&control, list, "https://evil.example", now, &empty)),
        ),
        (
            "a JWK Set",
            Behaviour::Bytes(signed(&control, DocumentType::JwkSet, &url, now, &empty)),
        ),
        (
            "a policy",
            Behaviour::Bytes(signed(&control, DocumentType::Policy, &url, now, &empty)),
        ),
        (
            "one cut off",
            Behaviour::Bytes(good[..good.len() - 1].to_vec()),
        ),
        ("a flipped bit", Behaviour::Bytes(flipped)),
        (
            "a byte too many",
            Behaviour::Bytes(signed(&control, list, &url, now, &trailing)),
        ),
        (
            "an impossible count",
            Behaviour::Bytes(signed(&control, list, &url, now, &huge_count)),
        ),
        (
            "one from the future",
            Behaviour::Bytes(signed(&control, list, &url, now.plus(3_600), &empty)),
        ),
        ("30 MiB", Behaviour::Bytes(vec![b'E'; 30 << 20])),
    ]
}

async fn keeps_what_it_holds(sources: &str, door: Door) {
    let old = {
        // What the issuer signed before anybody was revoked, kept by somebody for later.
        let gate = Gate::start().await;
        gate.issuer.published().list()
    };
    drop(old);
    let (gate, bad, good) = gate_that_knows(sources).await;
    let old = {
        let mut published = gate.issuer.published();
        let kept = std::mem::take(&mut published.revoked);
        let body = published.list_body();
        let (url, control) = (published.url.clone(), published.control_key.clone());
        published.revoked = kept;
        // A good list of a lower number, signed a moment ago.
        control.document(DocumentType::Revocations, &url, 1_000, clock::now(), &body)
    };
    for (fault, behaviour) in faults(&gate, &old) {
        gate.issuer.set(door, behaviour);
        tokio::time::sleep(NEXT_LOOK).await;
        for _ in 0..2 {
            let answer = gate.get("/api/me", &bad).await;
            assert_eq!(answer.verdict(), revoked(), "after {fault}");
            let answer = gate.get("/api/me", &good).await;
            assert_eq!(answer.status, 200, "after {fault}: {}", answer.text());
            assert!(answer.took < DEADLINE, "{fault}: {:?}", answer.took);
            // The question behind the first answer is asked before the second.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // A source that is mended is heard.
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    gate.issuer.set(door, Behaviour::Honest);
    let heard = eventually(Duration::from_secs(5), || async {
        (gate.get("/api/me", &good).await.verdict() == revoked()).then_some(())
    });
    assert!(heard.await.is_some(), "the mended source is not heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_feed_never_undoes_a_revocation() {
    keeps_what_it_holds("feed", Door::Feed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_kv_never_undoes_a_revocation() {
    keeps_what_it_holds("kv", Door::KvList).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_gate_takes_no_bad_list() {
    let mut cases: Vec<String> = Vec::new();
    let probe = Gate::start().await;
    cases.extend(
        faults(&probe, b"")
            .iter()
            .map(|(name, _)| (*name).to_owned()),
    );
    drop(probe);
    for index in 0..cases.len() {
        // A replayed list is as good as any to whoever has seen none; its age limits it.
        if index == 0 {
            continue;
        }
        let gate = Gate::with(|_, variables| {
            variables.insert("REVOCATION_SOURCES", "kv".to_owned());
        })
        .await;
        let (fault, behaviour) = faults(&gate, b"").swap_remove(index);
        gate.issuer.set(Door::KvList, behaviour);
        let answer = gate.get("/api/me", &gate.good_token()).await;
        assert_eq!(answer.verdict(), unavailable(), "with {fault}");
        assert_eq!(answer.header("retry-after"), Some("2"), "with {fault}");
        assert!(answer.took < DEADLINE, "{fault}: {:?}", answer.took);
        assert_eq!(
            gate.edge
                .call("GET", "/public/x")
                .send()
                .await
                .unwrap()
                .status,
            200,
            "{fault}"
        );
        assert_eq!(
            gate.get("/api/off/x", &gate.good_token()).await.status,
            200,
            "{fault}"
        );
        assert_eq!(
            gate.get("/api/strict/x", &gate.good_token()).await.status,
            200,
            "{fault}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_older_than_allowed_denies_and_a_bounded_allowance_ends() {
    let gate = Gate::start().await;
    let good = gate.good_token();
    for path in ["/api/me", "/api/impatient/1", "/api/lenient/1"] {
        assert_eq!(gate.get(path, &good).await.status, 200, "{path}");
    }
    // From now on nobody signs: the sources give what was signed last.
    let begun = clock::now();
    gate.issuer.published().signed_at = Some(begun);
    let at = |age: i64| {
        let until =
            Duration::from_secs(u64::try_from(begun.0 + age).unwrap()) + Duration::from_millis(200);
        tokio::time::sleep(until.saturating_sub(clock::since_epoch()))
    };
    let verdict = |answer: Answer| answer.verdict();
    at(2).await;
    assert_eq!(
        gate.get("/api/impatient/1", &good).await.status,
        200,
        "younger than 3 s"
    );
    at(5).await;
    assert_eq!(
        verdict(gate.get("/api/impatient/1", &good).await),
        unavailable()
    );
    assert_eq!(
        gate.get("/api/lenient/1", &good).await.status,
        200,
        "allowed for 4 s more"
    );
    assert_eq!(
        gate.get("/api/me", &good).await.status,
        200,
        "900 s is the default"
    );
    at(9).await;
    assert_eq!(
        verdict(gate.get("/api/lenient/1", &good).await),
        unavailable()
    );
    assert_eq!(gate.get("/api/me", &good).await.status, 200);

    // What an old list says is revoked stays revoked.
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    let refused = eventually(Duration::from_secs(4), || async {
        (verdict(gate.get("/api/me", &good).await) == revoked()).then_some(())
    });
    assert!(refused.await.is_some());
    assert_eq!(verdict(gate.get("/api/lenient/1", &good).await), revoked());

    // Somebody signs again.
    gate.issuer.published().signed_at = None;
    let other = gate.token(&json!({"jti": "other"}));
    let back = eventually(Duration::from_secs(4), || async {
        (gate.get("/api/impatient/1", &other).await.status == 200).then_some(())
    });
    assert!(back.await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_issuer_denies_where_the_list_may_not_be_old() {
    let mut gate = Gate::start().await;
    let good = gate.good_token();
    assert_eq!(gate.get("/api/impatient/1", &good).await.status, 200);
    gate.issuer.stop_origin().await;
    gate.issuer.stop_kv().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let answer = gate.get("/api/impatient/1", &good).await;
    assert_eq!(answer.verdict(), unavailable());
    assert!(answer.took < DEADLINE);
    assert_eq!(gate.get("/api/me", &good).await.status, 200);
    gate.issuer.resume().await;
    let back = eventually(Duration::from_secs(5), || async {
        (gate.get("/api/impatient/1", &good).await.status == 200).then_some(())
    });
    assert!(back.await.is_some(), "the gate does not recover");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_must_be_named_and_none_must_be_said() {
    for unusable in [
        None,
        Some(""),
        Some("kb"),
        Some("kv;feed"),
        Some("kv,feed,x"),
        Some("NONE"),
    ] {
        let gate = Gate::with(|_, variables| match unusable {
            Some(value) => drop(variables.insert("REVOCATION_SOURCES", value.to_owned())),
            None => drop(variables.remove("REVOCATION_SOURCES")),
        })
        .await;
        let good = gate.good_token();
        for path in ["/api/me", "/api/off/1", "/api/strict/1"] {
            assert_eq!(
                gate.get(path, &good).await.verdict(),
                unavailable(),
                "{unusable:?} {path}"
            );
        }
        assert_eq!(
            gate.edge
                .call("GET", "/public/x")
                .send()
                .await
                .unwrap()
                .status,
            200
        );
        assert!(
            gate.edge
                .log()
                .iter()
                .any(|line| line.contains("REVOCATION_SOURCES"))
        );
    }
    let gate = Gate::with(|_, variables| {
        variables.insert("REVOCATION_SOURCES", "none".to_owned());
        variables.remove("CONTROL_KEYS");
    })
    .await;
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    assert_eq!(
        gate.issuer.hits(Door::Feed) + gate.issuer.hits(Door::KvList),
        0
    );
    let said = eventually(Duration::from_secs(2), || async {
        gate.edge
            .log()
            .iter()
            .any(|line| line.contains("REVOCATION_SOURCES is none"))
            .then_some(())
    });
    assert!(said.await.is_some(), "`none` is said in the log");
}

/// Waits until the next look at the sources has shown that the good token is revoked.
async fn is_heard(gate: &Gate, what: &str) {
    let good = gate.good_token();
    let heard = eventually(Duration::from_secs(6), || async {
        (gate.get("/api/me", &good).await.verdict() == revoked()).then_some(())
    });
    assert!(heard.await.is_some(), "{what}: what KV has is not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_knows_nothing_newer_than_nothing_hides_no_list_of_kv() {
    let gate = Gate::with(|issuer, _| issuer.set(Door::Feed, Behaviour::Status(304))).await;
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    is_heard(&gate, "304").await;
}

/// What stands before the issuer gives the list of a while ago, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_has_stopped_hides_no_list_of_kv() {
    let gate = Gate::with(|issuer, _| {
        let mut published = issuer.published();
        published.signed_at = Some(clock::now().plus(-61));
        let old = published.list();
        published.signed_at = None;
        drop(published);
        issuer.set(Door::Feed, Behaviour::Bytes(old));
    })
    .await;
    let other = gate.token(&json!({"jti": "other"}));
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    assert_eq!(gate.get("/api/me", &other).await.status, 200);
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    is_heard(&gate, "the feed").await;
    // A list that both have is taken for the newest, however old it is.
    let old = gate.issuer.published().list();
    for door in [Door::Feed, Door::KvList] {
        gate.issuer.set(door, Behaviour::Bytes(old.clone()));
    }
    tokio::time::sleep(NEXT_LOOK).await;
    assert_eq!(gate.get("/api/me", &other).await.status, 200);
}

/// What nobody wants to read is not sent for as long as the list is watched.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_status_is_cut_off() {
    let gate = Gate::start().await;
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    gate.issuer.set(Door::Feed, Behaviour::EndlessFailure);
    let cut_off = eventually(Duration::from_secs(5), || async {
        (gate.issuer.cut_off() > 0).then_some(())
    });
    assert!(cut_off.await.is_some(), "it goes on coming");
}

/// KV's copy is as old as KV likes: on an isolate that slept it answers first, and must not be taken
/// for a check of the list.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_list_of_kv_is_no_check_while_the_feed_is_asked() {
    let gate = Gate::start().await;
    let token = gate.good_token();
    assert_eq!(gate.get("/api/me", &token).await.status, 200);
    let old = gate.issuer.published().list();
    gate.issuer.set(Door::KvList, Behaviour::Bytes(old));
    gate.issuer
        .set(Door::Feed, Behaviour::Late(Duration::from_millis(300)));
    // Longer than the list is kept checked behind the request, and than it is used after that.
    tokio::time::sleep(Duration::from_millis(17_500)).await;
    gate.issuer.revoke(Revoked::Token("token-1".to_owned()));
    assert_eq!(gate.get("/api/me", &token).await.verdict(), revoked());
}
