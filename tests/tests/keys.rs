//! The JWK Set that a gate holds: rotation, storms, broken issuers, the signed copy.

use std::time::{Duration, Instant};

use edgekeep_shared::control::DocumentType;
use edgekeep_tests::clock;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::issuer::{Behaviour, Door};
use edgekeep_tests::keys::{self, Key, claims};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_traffic_refuses_no_valid_token() {
    let gate = Gate::with(|issuer, _| issuer.published().max_age = 1).await;
    let url = gate.issuer.url();
    let all = [Key::es256(1), Key::eddsa(2), Key::es256(3), Key::eddsa(4)];
    let begun = Instant::now();
    let mut sent = 0;
    for step in 0..3 {
        let [old, new] = [&all[step], &all[step + 1]];
        // Published first; it signs only when every gate must have seen it.
        gate.issuer.published().jwks = keys::set(&[old, new]);
        let published_at = Instant::now();
        while published_at.elapsed() < Duration::from_millis(2_500) {
            let token = old.issue(&claims(&url, &json!({"jti": format!("t{sent}")})));
            let answer = gate.get("/api/me", &token).await;
            assert_eq!(
                answer.status,
                200,
                "after {:?}: {}",
                begun.elapsed(),
                answer.text()
            );
            sent += 1;
        }
        for _ in 0..20 {
            let token = new.issue(&claims(&url, &json!({"jti": format!("t{sent}")})));
            assert_eq!(gate.get("/api/me", &token).await.status, 200);
            let token = old.issue(&claims(&url, &json!({"jti": format!("o{sent}")})));
            assert_eq!(gate.get("/api/me", &token).await.status, 200);
            sent += 1;
        }
    }
    // A key that was withdrawn counts no more once the set has been read again.
    gate.issuer.published().jwks = keys::set(&[&all[3]]);
    let token = all[0].issue(&claims(&url, &json!({})));
    let refused = clock::eventually(Duration::from_secs(4), || async {
        let answer = gate.get("/api/me", &token).await;
        (answer.status != 200).then_some(answer)
    });
    let (answer, _) = refused.await.expect("a withdrawn key goes on counting");
    assert_eq!(answer.verdict(), (401, "key_unknown".to_owned()));
    assert!(sent > 100, "only {sent} requests");
}

/// A cache that gives the same set for ever: what it has is as old as it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_a_cache_has_kept_for_too_long_makes_way_for_the_signed_copy() {
    for age in [3_600, 200_000] {
        let next = Key::eddsa(2);
        let gate = Gate::with(|issuer, _| {
            let mut published = issuer.published();
            published.age = Some(age);
            let set = keys::set(&[&next]);
            let copy = published.sign(DocumentType::JwkSet, set.as_bytes());
            drop(published);
            issuer.set(Door::KvJwks, Behaviour::Bytes(copy));
        })
        .await;
        let token = next.issue(&claims(&gate.issuer.url(), &json!({})));
        // Again, when it has been asked once more.
        for _ in 0..2 {
            assert_eq!(gate.get("/api/me", &token).await.status, 200, "{age}");
            let withdrawn = gate.get("/api/me", &gate.good_token()).await;
            assert_eq!(
                withdrawn.verdict(),
                (401, "key_unknown".to_owned()),
                "{age}"
            );
            tokio::time::sleep(Duration::from_millis(5_200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_a_cache_has_kept_is_good_for_what_is_left() {
    let gate = Gate::with(|issuer, _| issuer.published().age = Some(299)).await;
    let good = gate.good_token();
    assert_eq!(gate.get("/api/me", &good).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let asked = clock::eventually(Duration::from_secs(3), || async {
        assert_eq!(gate.get("/api/me", &good).await.status, 200);
        (gate.issuer.hits(Door::Jwks) > 1).then_some(())
    });
    assert!(asked.await.is_some(), "the set is used for 300 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_unknown_keys_costs_the_issuer_next_to_nothing() {
    const STORM: usize = 10_000;
    const AT_A_TIME: usize = 20;
    let gate = std::sync::Arc::new(Gate::start().await);
    let good = gate.good_token();
    assert_eq!(gate.get("/api/me", &good).await.status, 200);
    let before = gate.issuer.hits(Door::Jwks);
    let begun = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..AT_A_TIME {
        let (gate, good) = (std::sync::Arc::clone(&gate), good.clone());
        senders.spawn(async move {
            let mut parts = good.split('.').skip(1);
            let (payload, signature) = (parts.next().unwrap(), parts.next().unwrap());
            for number in 0..STORM / AT_A_TIME {
                let header =
                    format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"k{sender}-{number}"}}"#);
                let header = edgekeep_shared::base64url::encode(header.as_bytes());
                let answer = gate
                    .get("/api/me", &format!("{header}.{payload}.{signature}"))
                    .await;
                assert_eq!(answer.verdict(), (401, "key_unknown".to_owned()));
            }
        });
    }
    // Honest people go on meanwhile.
    while !senders.is_empty() {
        if let Ok(Some(ended)) =
            tokio::time::timeout(Duration::from_millis(50), senders.join_next()).await
        {
            ended.unwrap();
        }
        assert_eq!(gate.get("/api/me", &good).await.status, 200);
    }
    let asked = gate.issuer.hits(Door::Jwks) - before;
    // One question for every five seconds of storm, and one for its begin.
    let allowed = usize::try_from(begun.elapsed().as_secs() / 5).unwrap() + 2;
    assert!(
        asked <= allowed,
        "{asked} questions in {:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_set_never_replaces_a_good_one() {
    let gate = Gate::with(|issuer, _| issuer.published().max_age = 1).await;
    let good = gate.good_token();
    assert_eq!(gate.get("/api/me", &good).await.status, 200);
    gate.issuer.set(Door::KvJwks, Behaviour::Status(404));
    let key = Key::es256(1);
    let twice = format!(r#"{{"keys":[{0},{0}]}}"#, key.jwk());
    let shared_secret = r#"{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}"#;
    for bytes in [
        br#"{"keys":[]}"#.to_vec(),
        b"".to_vec(),
        b"not json".to_vec(),
        b"{}".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe".to_vec(),
        b"<html>maintenance</html>".to_vec(),
        twice.into_bytes(),
        shared_secret.as_bytes().to_vec(),
        keys::set(&[&key]).as_bytes()[..40].to_vec(),
        vec![b'['; 100_000],
        vec![b' '; 70_000],
    ] {
        let asked = gate.issuer.hits(Door::Jwks);
        gate.issuer.set(Door::Jwks, Behaviour::Bytes(bytes.clone()));
        let read = clock::eventually(Duration::from_secs(4), || async {
            let answer = gate.get("/api/me", &gate.token(&json!({"jti": "j"}))).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            (gate.issuer.hits(Door::Jwks) > asked).then_some(())
        });
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert!(read.await.is_some(), "the set was not asked for: {shown}");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(
            gate.get("/api/me", &good).await.status,
            200,
            "after {shown:?}"
        );
        let fresh = gate.token(&json!({"jti": format!("n{asked}")}));
        assert_eq!(
            gate.get("/api/me", &fresh).await.status,
            200,
            "after {shown:?}"
        );
    }
    // And it is still asked, so that the mended issuer is heard.
    let new = Key::eddsa(9);
    gate.issuer.published().jwks = keys::set(&[&key, &new]);
    gate.issuer.set(Door::Jwks, Behaviour::Honest);
    let token = new.issue(&claims(&gate.issuer.url(), &json!({})));
    let heard = clock::eventually(Duration::from_secs(4), || async {
        (gate.get("/api/me", &token).await.status == 200).then_some(())
    });
    assert!(heard.await.is_some(), "the new key is not heard of");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_gate_reads_the_signed_copy_while_the_issuer_is_down() {
    for behaviour in [
        Behaviour::Status(500),
        Behaviour::Silent,
        Behaviour::Bytes(b"<html>".to_vec()),
        Behaviour::Bytes(br#"{"keys":[]}"#.to_vec()),
    ] {
        let gate = Gate::with(|issuer, _| {
            issuer.set(Door::Jwks, behaviour.clone());
            issuer.set(Door::Feed, behaviour.clone());
        })
        .await;
        let answer = gate.get("/api/me", &gate.good_token()).await;
        assert_eq!(answer.status, 200, "{behaviour:?}: {}", answer.text());
        assert!(
            answer.took < Duration::from_millis(3_500),
            "{behaviour:?} took {:?}",
            answer.took
        );
    }
    // Not even a connection.
    let mut gate = Gate::start().await;
    gate.issuer.stop_origin().await;
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
}

/// Makes a document, with the control key, for an issuer.
type Forge<'a> = dyn Fn(&Key, &str) -> Vec<u8> + 'a;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_the_issuers_is_refused() {
    let key = Key::es256(1);
    let set = keys::set(&[&key]).into_bytes();
    let now = clock::now();
    let jwks = DocumentType::JwkSet;
    let (strange, evil) = (Key::eddsa(66), "https://evil.example");
    let cases: [(&str, &Forge<'_>); 9] = [
        ("unsigned", &|_, _| set.clone()),
        ("of a strange key", &|_, url| {
            strange.document(jwks, url, 1, now, &set)
        }),
        ("of the token key", &|_, url| {
            key.document(jwks, url, 1, now, &set)
        }),
        ("of another issuer", &|control, _| {
            control.document(jwks, evil, 1, now, &set)
        }),
        ("of another type", &|control, url| {
            control.document(DocumentType::Policy, url, 1, now, &set)
        }),
        ("cut off", &|control, url| {
            let mut document = control.document(jwks, url, 1, now, &set);
            document.pop();
            document
        }),
        ("with a flipped bit", &|control, url| {
            let mut document = control.document(jwks, url, 1, now, &set);
            let middle = document.len() / 2;
            document[middle] ^= 1;
            document
        }),
        ("older than a set may be", &|control, url| {
            control.document(jwks, url, 1, now.minus(86_401), &set)
        }),
        ("empty", &|_, _| Vec::new()),
    ];
    for (name, forge) in cases {
        let gate = Gate::with(|issuer, _| {
            issuer.set(Door::Jwks, Behaviour::Status(503));
            let url = issuer.url();
            let bytes = forge(&issuer.published().control_key, &url);
            issuer.set(Door::KvJwks, Behaviour::Bytes(bytes));
        })
        .await;
        let answer = gate.get("/api/me", &gate.good_token()).await;
        assert_eq!(
            answer.verdict(),
            (503, "keys_unavailable".to_owned()),
            "a copy {name}"
        );
        assert_eq!(answer.header("retry-after"), Some("2"), "a copy {name}");
        assert!(gate.upstream.take().is_empty(), "a copy {name}");
        // The issuer comes back: so does the gate.
        gate.issuer.set(Door::Jwks, Behaviour::Honest);
        let back = clock::eventually(Duration::from_secs(4), || async {
            (gate.get("/api/me", &gate.good_token()).await.status == 200).then_some(())
        });
        assert!(
            back.await.is_some(),
            "the gate does not recover after a copy {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_verifying_while_the_issuer_is_stopped() {
    let mut gate = Gate::with(|issuer, _| issuer.published().max_age = 1).await;
    let key = gate.key.clone();
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
    gate.issuer.stop_origin().await;
    gate.issuer.stop_kv().await;
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(13) {
        // New tokens too: their signatures are verified, not found in the cache.
        let token = key.issue(&claims(
            &gate.issuer.url(),
            &json!({"jti": format!("t{sent}")}),
        ));
        let answer = gate.get("/api/me", &token).await;
        assert_eq!(
            answer.status,
            200,
            "after {:?}: {}",
            begun.elapsed(),
            answer.text()
        );
        assert!(
            answer.took < Duration::from_millis(2_500),
            "{:?}",
            answer.took
        );
        let bad = Key::es256(9).token(
            &key.header().to_string(),
            &claims(&gate.issuer.url(), &json!({})).to_string(),
        );
        assert_eq!(
            gate.get("/api/me", &bad).await.verdict(),
            (401, "signature_invalid".to_owned())
        );
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gate.issuer.resume().await;
    assert_eq!(gate.get("/api/me", &gate.good_token()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_does_not_bring_back_a_withdrawn_key() {
    let gate = Gate::with(|issuer, _| issuer.published().max_age = 1).await;
    let (old, new, url) = (gate.key.clone(), Key::eddsa(2), gate.issuer.url());
    // Somebody keeps what the issuer signed while the old key counted.
    let kept = {
        let body = keys::set(&[&old, &new]).into_bytes();
        gate.issuer.published().sign(DocumentType::JwkSet, &body)
    };
    let of_old = old.issue(&claims(&url, &json!({})));
    assert_eq!(gate.get("/api/me", &of_old).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    gate.issuer.published().jwks = keys::set(&[&new]);
    let of_new = |n: usize| new.issue(&claims(&url, &json!({"jti": format!("n{n}")})));
    let withdrawn = clock::eventually(Duration::from_secs(4), || async {
        (gate.get("/api/me", &of_old).await.status == 401).then_some(())
    });
    assert!(withdrawn.await.is_some());
    gate.issuer.set(Door::Jwks, Behaviour::Status(500));
    gate.issuer.set(Door::KvJwks, Behaviour::Bytes(kept));
    let asked = gate.issuer.hits(Door::KvJwks);
    for n in 0..40 {
        let verdict = gate.get("/api/me", &of_old).await.verdict();
        assert_eq!(verdict, (401, "key_unknown".to_owned()));
        assert_eq!(gate.get("/api/me", &of_new(n)).await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        gate.issuer.hits(Door::KvJwks) > asked,
        "the copy was not read"
    );
}
