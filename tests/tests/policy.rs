//! Where the policy comes from, and what happens without one.

use std::time::Duration;

use edgekeep_shared::control::DocumentType;
use edgekeep_tests::clock;
use edgekeep_tests::gate::{Gate, POLICY, Upstream};
use edgekeep_tests::issuer::{Behaviour, Door, Issuer};
use edgekeep_tests::keys::Key;
use serde_json::json;

/// Makes a document with the control key for an issuer.
type Make = Box<dyn Fn(&Key, &str) -> Vec<u8>>;

fn unavailable() -> (u16, String) {
    (503, "policy_unavailable".to_owned())
}

/// A gate without a policy of its own.
async fn gate_on_kv(change: impl FnOnce(&Issuer)) -> Gate {
    Gate::with(|issuer, variables| {
        variables.remove("POLICY");
        change(issuer);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_nothing_passes() {
    for (name, behaviour, said) in [
        (
            "nothing",
            Behaviour::Status(404),
            "POLICY is not set, and EDGEKEEP_KV has no key policy",
        ),
        ("500", Behaviour::Status(500), "KV policy: "),
        (
            "no answer",
            Behaviour::Silent,
            "POLICY is not set, and EDGEKEEP_KV does not answer",
        ),
        (
            "an unsigned policy",
            Behaviour::Bytes(POLICY.as_bytes().to_vec()),
            "edgekeep-policy refused: ",
        ),
        (
            "garbage",
            Behaviour::Bytes(vec![0xff; 100]),
            "edgekeep-policy refused: ",
        ),
    ] {
        let gate = gate_on_kv(|issuer| issuer.set(Door::KvPolicy, behaviour)).await;
        for path in ["/public/x", "/api/me", "/"] {
            let answer = gate.get(path, &gate.good_token()).await;
            assert_eq!(answer.verdict(), unavailable(), "with {name}");
            assert_eq!(answer.header("retry-after"), Some("2"), "with {name}");
            assert!(
                answer.took < Duration::from_millis(2_500),
                "{name}: {:?}",
                answer.took
            );
        }
        assert!(gate.upstream.take().is_empty(), "with {name}");
        let heard = clock::eventually(Duration::from_secs(2), || async {
            let log = gate.edge.log().join("\n");
            log.contains(said).then_some(())
        });
        assert!(heard.await.is_some(), "{said}: {:?}", gate.edge.log());
        // It is asked again, so a policy that comes later is heard.
        gate.issuer.published().policy = Some(POLICY.to_owned());
        gate.issuer.set(Door::KvPolicy, Behaviour::Honest);
        let heard = clock::eventually(Duration::from_secs(4), || async {
            (gate.get("/api/me", &gate.good_token()).await.status == 200).then_some(())
        });
        assert!(
            heard.await.is_some(),
            "a policy is not heard of after {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_the_issuers_does_not_count() {
    let open = b"[[route]]\nmatch = \"/**\"\naccess = \"public\"\n";
    let now = clock::now();
    let cases: Vec<(&str, Make)> = vec![
        (
            "of a strange key",
            Box::new(move |_, url| {
                Key::eddsa(66).document(DocumentType::Policy, url, 9, now, open)
            }),
        ),
        (
            "of another issuer",
            Box::new(move |key, _| {
                key.document(DocumentType::Policy, "https://evil.example", 9, now, open)
            }),
        ),
        (
            "signed as a JWK Set",
            Box::new(move |key, url| key.document(DocumentType::JwkSet, url, 9, now, open)),
        ),
        (
            "with a flipped bit",
            Box::new(move |key, url| {
                let mut document = key.document(DocumentType::Policy, url, 9, now, open);
                let at = document.len() - 70;
                document[at] ^= 1;
                document
            }),
        ),
        (
            "that cannot be read",
            Box::new(move |key, url| {
                key.document(DocumentType::Policy, url, 9, now, b"[[route]]\nmatch = 1")
            }),
        ),
        (
            "that is not UTF-8",
            Box::new(move |key, url| key.document(DocumentType::Policy, url, 9, now, b"# \xff")),
        ),
        (
            "with an unknown key",
            Box::new(move |key, url| {
                key.document(
                    DocumentType::Policy,
                    url,
                    9,
                    now,
                    b"[[route]]\nmatch = \"/**\"\nacces = \"public\"",
                )
            }),
        ),
        (
            "that is too large",
            Box::new(move |key, url| {
                key.document(DocumentType::Policy, url, 9, now, &[b'#'; 300_000])
            }),
        ),
    ];
    for (name, make) in cases {
        let gate = gate_on_kv(|issuer| {
            let url = issuer.url();
            let bytes = make(&issuer.published().control_key, &url);
            issuer.set(Door::KvPolicy, Behaviour::Bytes(bytes));
        })
        .await;
        let answer = gate.get("/public/x", &gate.good_token()).await;
        assert_eq!(answer.verdict(), unavailable(), "a policy {name}");
        assert!(gate.upstream.take().is_empty(), "a policy {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_variable_stops_everything_and_says_why() {
    for (text, expected) in [
        ("[[route]]\nmatch = \"/**\"\nacces = \"public\"", "line 3"),
        ("[[route]]\nmatch = 1", "line 2"),
        ("not toml", "line 1"),
        (
            "[[route]]\nmatch = \"/a\"\nmax_stale = 5\nrevocation = \"off\"",
            "line 3",
        ),
    ] {
        let gate = Gate::with(|issuer, variables| {
            variables.insert("POLICY", text.to_owned());
            // The one in KV must not stand in for it: the operator meant something else.
            issuer.published().policy = Some(POLICY.to_owned());
        })
        .await;
        for path in ["/public/x", "/api/me"] {
            assert_eq!(
                gate.get(path, &gate.good_token()).await.verdict(),
                unavailable(),
                "{text}"
            );
        }
        assert!(gate.upstream.take().is_empty());
        let said = clock::eventually(Duration::from_secs(2), || async {
            gate.edge
                .log()
                .iter()
                .find(|line| line.contains("POLICY"))
                .cloned()
        });
        let (line, _) = said.await.expect("the log says nothing");
        assert!(line.contains(expected), "{expected} is not in: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_broken_variables_refuse_everything_and_name_themselves() {
    let broken: [(&str, Option<&str>); 9] = [
        ("ISSUER", None),
        ("AUDIENCE", None),
        ("UPSTREAM_URL", None),
        ("UPSTREAM_URL", Some("not a url")),
        ("CONTROL_KEYS", None),
        ("CONTROL_KEYS", Some("[]")),
        ("LEEWAY", Some("301")),
        ("LEEWAY", Some("a minute")),
        ("ASSERTION_KEY", Some("{}")),
    ];
    for (name, value) in broken {
        let gate = Gate::with(|_, variables| match value {
            Some(value) => drop(variables.insert(name, value.to_owned())),
            None => drop(variables.remove(name)),
        })
        .await;
        for path in ["/public/x", "/api/me"] {
            let answer = gate.get(path, &gate.good_token()).await;
            assert_eq!(answer.status, 503, "{name} = {value:?}: {}", answer.text());
        }
        assert!(gate.upstream.take().is_empty());
        let said = clock::eventually(Duration::from_secs(2), || async {
            gate.edge
                .log()
                .iter()
                .any(|line| line.contains(name))
                .then_some(())
        });
        assert!(said.await.is_some(), "{name} is not in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_kv_is_followed_when_it_changes_and_not_when_it_is_replayed() {
    const CLOSED: &str = "[[route]]\nmatch = \"/other/**\"\n";
    const OPEN: &str = "[[route]]\nmatch = \"/**\"\naccess = \"public\"\n";
    // The gate looks once in 30 seconds.
    const NEXT_LOOK: Duration = Duration::from_secs(33);
    let gate = gate_on_kv(|issuer| issuer.published().policy = Some(POLICY.to_owned())).await;
    let good = gate.good_token();
    assert_eq!(gate.get("/api/me", &good).await.status, 200);
    assert_eq!(gate.get("/public/x", "x").await.status, 200);
    let replayed = {
        let published = gate.issuer.published();
        published.control_key.document(
            DocumentType::Policy,
            &published.url,
            1_000,
            clock::now(),
            OPEN.as_bytes(),
        )
    };

    gate.issuer.published().policy = Some(CLOSED.to_owned());
    let followed = clock::eventually(NEXT_LOOK, || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = gate.get("/api/me", &good).await;
        (answer.verdict() == (403, "route_unknown".to_owned())).then_some(())
    });
    assert!(followed.await.is_some(), "the new policy is not followed");

    let asked = gate.issuer.hits(Door::KvPolicy);
    gate.issuer.set(Door::KvPolicy, Behaviour::Bytes(replayed));
    let read = clock::eventually(NEXT_LOOK, || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = gate.get("/api/me", &good).await;
        assert_eq!(answer.verdict(), (403, "route_unknown".to_owned()));
        (gate.issuer.hits(Door::KvPolicy) > asked).then_some(())
    });
    assert!(read.await.is_some(), "the policy was not asked for");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        gate.get("/api/me", &good).await.verdict(),
        (403, "route_unknown".to_owned())
    );
}

/// A newer policy that is signed and cannot be understood, and a store that fails, leave the last good
/// one in place; what is mended is followed.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_policy_of_kv_is_kept_whatever_comes_after_it() {
    // The gate looks once in 30 seconds.
    const NEXT_LOOK: Duration = Duration::from_secs(33);
    let gate = gate_on_kv(|issuer| issuer.published().policy = Some(POLICY.to_owned())).await;
    let good = gate.good_token();
    assert_eq!(gate.get("/api/me", &good).await.status, 200);
    let holds = async || {
        assert_eq!(gate.get("/api/me", &good).await.status, 200);
        assert_eq!(gate.get("/public/x", "x").await.status, 200);
        let answer = gate.get("/elsewhere", &good).await;
        assert_eq!(answer.verdict(), (403, "route_unknown".to_owned()));
    };
    gate.issuer.published().policy = Some("[[route]]\nmatch = \"/**\"\nacces = 1\n".to_owned());
    for behaviour in [Behaviour::Honest, Behaviour::Status(500)] {
        gate.issuer.set(Door::KvPolicy, behaviour);
        let asked = gate.issuer.hits(Door::KvPolicy);
        let read = clock::eventually(NEXT_LOOK, || async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            holds().await;
            (gate.issuer.hits(Door::KvPolicy) > asked).then_some(())
        });
        assert!(read.await.is_some(), "the policy was not asked for");
        tokio::time::sleep(Duration::from_millis(100)).await;
        holds().await;
    }
    let said = |line: &String| line.contains("policy refused: line 3: unknown key");
    assert!(gate.edge.log().iter().any(said), "the log does not say why");

    gate.issuer.published().policy = Some("[[route]]\nmatch = \"/other/**\"\n".to_owned());
    gate.issuer.set(Door::KvPolicy, Behaviour::Honest);
    let followed = clock::eventually(NEXT_LOOK, || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = gate.get("/api/me", &good).await;
        (answer.verdict() == (403, "route_unknown".to_owned())).then_some(())
    });
    assert!(
        followed.await.is_some(),
        "the mended policy is not followed"
    );
}

/// One rule for each thing that a policy can say of a request beyond its token.
const TARGETS: &str = r#"
[[route]]
match = "/users/{user_id}/**"
owner = { user_id = "sub" }
owner_or_roles = ["support"]

[[route]]
match = "/verified/**"
kyc_status = ["verified"]
amr = ["otp"]

[[route]]
match = "/**"
hosts = ["reports.example"]
upstream = "OTHER"
[route.headers]
X-Edge = "eu"

[[route]]
match = "/public/**"
access = "public"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_path_names_its_owner() {
    let gate = Gate::with(|_, variables| {
        variables.insert(
            "POLICY",
            TARGETS.to_owned().replace("OTHER", "http://127.0.0.1:1"),
        );
    })
    .await;
    let member = gate.good_token();
    let support = gate.token(&json!({"sub": "user-2", "roles": ["support"]}));
    for (token, target, status) in [
        (&member, "/users/user-1", 200),
        (&member, "/users/user-1/orders?x", 200),
        (&member, "/users/%75ser-1/orders", 200),
        (&member, "/users/user-2/orders", 403),
        (&member, "/users/USER-1/orders", 403),
        (&support, "/users/user-1/orders", 200),
    ] {
        let answer = gate.get(target, token).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        if status == 403 {
            assert_eq!(answer.code(), "insufficient_permission");
            assert_eq!(answer.json()["required"]["owner"]["user_id"], "sub");
        }
    }
    for (changes, code) in [
        (json!({"amr": ["otp"]}), Some("kyc_required")),
        (
            json!({"amr": ["otp"], "kyc_status": "expired"}),
            Some("kyc_required"),
        ),
        (json!({"kyc_status": "verified"}), Some("step_up_required")),
        (json!({"amr": ["otp"], "kyc_status": "verified"}), None),
    ] {
        let answer = gate.get("/verified/x", &gate.token(&changes)).await;
        let said = (answer.status != 200).then(|| answer.code());
        assert_eq!(said.as_deref(), code, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_its_own_rules_and_upstream() {
    let other = Upstream::start().await;
    let url = other.server().url();
    let gate = Gate::with(|_, variables| {
        variables.insert("POLICY", TARGETS.replace("OTHER", &url));
    })
    .await;
    let token = gate.good_token();
    for (host, target, bearer, status, reaches_other) in [
        ("reports.example", "/x?y=1", true, 200, true),
        ("REPORTS.example:8443", "/public/x", true, 200, true),
        ("reports.example", "/public/x", false, 401, false),
        ("elsewhere.example", "/public/x", false, 200, false),
        ("elsewhere.example", "/x", true, 403, false),
    ] {
        let mut call = gate.edge.call("GET", target).host(host);
        if bearer {
            call = call.bearer(&token);
        }
        call = call.header("X-Edge", "forged").header("X_Edge", "forged");
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status, status, "{host} {target}: {}", answer.text());
        let (here, there) = (gate.upstream.take(), other.take());
        assert_eq!(there.len(), usize::from(reaches_other), "{host} {target}");
        assert_eq!(here.len(), usize::from(status == 200 && !reaches_other));
        if let [seen] = &*there {
            assert_eq!(seen.target, target);
            assert_eq!(seen.header("x-edge"), Some("eu"));
            assert_eq!(seen.header("x-user-id"), Some("user-1"));
        }
        // What one rule sets is nobody else's to say on any route, in any spelling.
        for seen in here.iter().chain(&there) {
            let forged = seen.headers.iter().any(|(_, value)| value == "forged");
            assert!(!forged, "{host} {target}: {seen:?}");
        }
    }
}
