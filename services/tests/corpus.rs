//! The corpus of hostile tokens through the layer: the verdicts are the verifier's.

use std::collections::BTreeMap;

use edgekeep_corpus::{Carrier, Case, corpus, jwk_set};
use edgekeep_tests::server::{Reply, Server};
use edgekeep_tower::Algorithm;
use http::HeaderValue;

use crate::scene::{Scene, ask, said};

/// What has to be said of a token that a header brings.
fn expected(case: &Case) -> String {
    let word = match case.carrier {
        // What is left without the space is the good token; a tab divides nothing.
        Carrier::OuterSpace
            if !case.token.trim_ascii().is_empty() && !case.token.starts_with(b"\t") =>
        {
            "ok"
        }
        Carrier::Empty | Carrier::OuterSpace => "token_malformed",
        _ => case.verdict.word(),
    };
    match word {
        "ok" => "ok user-1".to_owned(),
        code => code.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layer_gives_the_verdict_of_the_corpus() {
    let bait = Server::start(|_| Reply::new(200, jwk_set())).await;
    let scene = Scene::with(|issuer, options| {
        issuer.published().jwks = jwk_set();
        options.algorithms(Algorithm::ALL)
    })
    .await;
    let now = scene.clock.now() / 1_000;
    scene.issuer.published().signed_at = Some(edgekeep_shared::time::UnixTime(now));
    let cases = corpus(&edgekeep_corpus::Scene {
        issuer: scene.issuer.url(),
        audience: "api".to_owned(),
        now,
        subject: "user-1".to_owned(),
        session: "session-1".to_owned(),
        bait: bait.url(),
    });
    let mut wrong = Vec::new();
    let mut brought = BTreeMap::<&str, usize>::new();
    // Twice: from memory as at first sight.
    for round in ["first", "again"] {
        for case in &cases {
            let value = [b"Bearer ", &*case.token].concat();
            // What the carrier cannot hold is no header, here as on the wire.
            let Ok(value) = HeaderValue::from_bytes(&value) else {
                assert_eq!(case.carrier, Carrier::Control, "{}", case.name);
                continue;
            };
            *brought.entry(round).or_default() += 1;
            let word = said(&ask(scene.verifier.layer(), &[value]).await);
            let expected = expected(case);
            if word != expected {
                wrong.push(format!("{round} {}: {word} for {expected}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (round, count) in brought {
        assert!(
            count > cases.len() - 30,
            "{round}: {count} of {}",
            cases.len()
        );
    }
    // Whoever is asked for keys by a token is not asked (RFC 8725 §3.10).
    assert!(bait.seen().is_empty(), "{:?}", bait.seen());
}
