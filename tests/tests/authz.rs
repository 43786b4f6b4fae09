//! Questions of other gateways at `/authz`, and what every gateway that asks has to keep to.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use edgekeep_shared::gate::IDENTITY_HEADERS;
use edgekeep_shared::gate::refusal::CHALLENGE;
use edgekeep_shared::path::canonicalise;
use edgekeep_tests::clock;
use edgekeep_tests::edge::root;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::http::{self, Answer, Call};
use edgekeep_tests::issuer::Revoked;
use edgekeep_tests::process::{Process, free_port};
use edgekeep_tests::server::Reply;
use serde_json::json;
use tempfile::TempDir;

use crate::paths::{SPELLINGS, readings};

/// RFC 8037, appendix A.1: the gate's own key in these tests.
const ASSERTION_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// How often somebody may ask in a minute, where a rule has a limit.
const LIMIT: u32 = 2;

/// Rules whose refusals say when to come again.
pub(crate) const LIMITED: &str = r#"
[[route]]
match = "/limited/**"
rate_limit = { binding = "API_LIMIT", by = "subject" }

[[route]]
match = "/unbound/**"
rate_limit = { binding = "NOT_THERE", by = "subject" }

[[route]]
match = "/open/**"
access = "public"
rate_limit = { binding = "API_LIMIT", by = "address", header = "X-Forwarded-For" }

[[route]]
match = "/real/**"
access = "public"
rate_limit = { binding = "API_LIMIT", by = "address", header = "X-Real-IP" }
"#;

/// A gateway that asks the gate about every request before it sends it on.
pub(crate) struct Gateway {
    pub(crate) gate: Gate,
    pub(crate) address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

impl Gateway {
    /// Starts what `launch` says, in a folder with its configuration of `deploy/`, whose addresses are
    /// those of the test there.
    pub(crate) async fn start(
        authz: &str,
        policy: Option<&str>,
        configuration: &[&str],
        launch: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let gate = Gate::limited(LIMIT, |_, variables| {
            variables.insert("AUTHZ", authz.to_owned());
            variables.insert("ASSERTION_KEY", ASSERTION_KEY.to_owned());
            if let Some(policy) = policy {
                variables.insert("POLICY", policy.to_owned());
            }
        })
        .await;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().unwrap();
        let addresses = [
            ("127.0.0.1:8787", gate.edge.address()),
            ("127.0.0.1:8090", gate.upstream.server().address()),
            ("127.0.0.1:8080", address),
        ];
        let mut written = BTreeSet::new();
        for file in configuration {
            let file = root().join("deploy").join(file);
            let mut text = std::fs::read_to_string(&file).unwrap();
            for (own, used) in addresses {
                if text.contains(own) {
                    written.insert(own);
                    text = text.replace(own, &used.to_string());
                }
            }
            std::fs::write(folder.path().join(file.file_name().unwrap()), text).unwrap();
        }
        assert_eq!(written.len(), addresses.len(), "{written:?}");
        let process = Process::start("gateway", launch(folder.path()));
        let gateway = Self {
            gate,
            address,
            process,
            _folder: folder,
        };
        gateway.wait_until_it_asks().await;
        gateway
    }

    /// Traefik listens before it has read what it has to do; until then nothing is found.
    async fn wait_until_it_asks(&self) {
        for _ in 0..200 {
            match self.call("GET", "/").send().await {
                Ok(answer) if answer.status != 404 => return,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        unreachable!("it does not ask: {:?}", self.process.log());
    }

    fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.address, method, target)
    }

    async fn get(&self, target: &str, token: &str) -> Answer {
        self.call("GET", target).bearer(token).send().await.unwrap()
    }

    /// What is let pass and what is not, by `Some(status)` or the gateway's own choice.
    pub(crate) async fn lets_pass_what_the_policy_allows(&self) {
        let gate = &self.gate;
        let token = gate.token(
            &json!({"roles": ["reader", "größe"], "amr": ["pwd", "otp"], "customer_id": null}),
        );
        let answer = self
            .call("POST", "/api/things/1?a=%2e%2e&b=2")
            .bearer(&token)
            .header("Content-Type", "text/plain")
            .body("a body")
            .send()
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.text()),
            (200, "from upstream".into())
        );
        let seen = gate.upstream.take_one();
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.target, "/api/things/1?a=%2e%2e&b=2");
        assert_eq!(seen.body, b"a body");
        assert_eq!(seen.header("x-user-id"), Some("user-1"));
        assert_eq!(seen.header("x-user-roles"), Some("reader,gr%C3%B6%C3%9Fe"));
        assert_eq!(seen.header("x-auth-methods"), Some("pwd,otp"));
        assert_eq!(seen.header("x-customer-id").unwrap_or_default(), "");
        let assertion = seen.header("x-edgekeep-assertion").unwrap();
        assert_eq!(assertion.split('.').count(), 3, "{assertion}");

        let answer = self.call("GET", "/public/x").send().await.unwrap();
        assert_eq!(answer.status, 200);
        let seen = gate.upstream.take_one();
        for name in ["x-user-id", "x-user-roles", "x-edgekeep-assertion"] {
            assert_eq!(seen.header(name).unwrap_or_default(), "", "{name}");
        }

        let call = self.call("GET", "/api/live").bearer(&token);
        let call = call.header("Connection", "keep-alive, Upgrade");
        let call = call.header("Upgrade", "websocket");
        assert_eq!(call.send().await.unwrap().status, 200);
        let seen = gate.upstream.take_one();
        for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
            let said = seen.header(name).unwrap_or_default();
            assert_eq!(said.to_ascii_lowercase(), value);
        }
        assert_eq!(seen.header("x-user-id"), Some("user-1"));
    }

    pub(crate) async fn refuses_the_rest(&self) {
        let gate = &self.gate;
        let token = gate.good_token();
        let answer = self.call("GET", "/api/x").send().await.unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some(CHALLENGE));
        let expired = gate.token(&json!({
            "iat": clock::now().0 - 900, "nbf": null, "auth_time": null, "exp": clock::now().0 - 60
        }));
        let answer = self.get("/api/x", &expired).await;
        assert_eq!(answer.status, 401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("token_expired"), "{challenge}");
        for (status, code, method, target) in [
            (403, "insufficient_scope", "POST", "/api/reports/1"),
            (403, "insufficient_role", "GET", "/api/admin/users"),
            (403, "route_unknown", "GET", "/elsewhere"),
            (403, "route_unknown", "GET", "/authz"),
            (
                403,
                "route_unknown",
                "GET",
                "/.well-known/edgekeep-assertion.json",
            ),
        ] {
            let answer = self
                .call(method, target)
                .bearer(&token)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status, status, "{target}: {}", answer.text());
            assert_eq!(answer.header("x-edgekeep-code"), Some(code), "{target}");
        }
        let challenges = async |token: &str| {
            let call = self.call("POST", "/api/reports/1").bearer(token);
            let answer = call.send().await.unwrap();
            let all = http::find(&answer.headers, "www-authenticate");
            all.map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        // Once each: a second could be taken for one of another scheme.
        let lacking = challenges(&token).await;
        assert!(lacking.contains("insufficient_scope"), "{lacking}");
        assert!(lacking.contains("scope=\"report:write\""), "{lacking}");
        for challenge in [lacking, challenges(&expired).await] {
            assert_eq!(challenge.matches("Bearer").count(), 1, "{challenge}");
        }
        assert!(gate.upstream.take().is_empty());
    }

    /// What the API takes is for the API to say.
    pub(crate) async fn carries_a_large_body(&self) {
        let body = vec![b'x'; 2 << 20];
        let call = self.call("POST", "/api/things").body(body.clone());
        let answer = call.bearer(&self.gate.good_token()).send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(self.gate.upstream.take_one().body == body);
    }

    /// Gate and API hear of the gateway where a request has come from, and never of the client.
    pub(crate) async fn a_client_says_not_where_it_is(&self) {
        let ask = async |target: &str, number: u32| {
            let mut call = self.call("GET", target).host("127.0.0.1");
            // The first is somebody honest, who says nothing.
            if number > 0 {
                for name in ["X-Real-IP", "X-Forwarded-For"] {
                    call = call.header(name, &format!("192.0.2.{number}"));
                }
                call = call
                    .header("X-Forwarded-Proto", "ftp")
                    .header("X-Forwarded-Host", "evil.example")
                    .header("X-Forwarded-Port", "99")
                    .header("Forwarded", "for=192.0.2.99;host=evil.example;proto=ftp");
            }
            call.send().await.unwrap()
        };
        let port = self.address.port().to_string();
        for number in 0..LIMIT {
            let answer = ask("/open/x", number).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let seen = self.gate.upstream.take_one();
            let said = |name: &str| seen.header(name).unwrap_or_default().to_owned();
            for (name, value) in [
                ("x-real-ip", "127.0.0.1"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "127.0.0.1"),
                ("forwarded", ""),
            ] {
                assert_eq!(said(name), value, "{name} of {number}");
            }
            assert!(["", "80", &port].contains(&&*said("x-forwarded-port")));
        }
        // All of them were one address, by whichever field: Traefik asks without X-Real-IP.
        for target in ["/open/x", "/real/x"] {
            for number in 0..=LIMIT {
                let status = ask(target, number).await.status;
                let is_unsaid = target == "/real/x" && status == 400;
                assert!(status == 429 || is_unsaid, "{target} {number}: {status}");
            }
        }
        assert!(self.gate.upstream.take().is_empty());
    }

    /// A path is judged in its canonical form, and the upstream may read another in what was sent: that is
    /// refused, unless the gateway has written it in the canonical form before it asked.
    pub(crate) async fn sends_on_no_path_that_is_not_canonical(&self) {
        let token = self.gate.good_token();
        for target in ["/api/%2e%2e/api/x", "/api/%61", "//api/x", "/api/./x"] {
            let answer = self.get(target, &token).await;
            let seen = self.gate.upstream.take();
            if let [seen] = &*seen {
                let canonical = canonicalise(&seen.target).unwrap().to_string();
                assert_eq!((answer.status, &seen.target), (200, &canonical), "{target}");
            } else {
                assert_eq!(answer.status, 400, "{target}: {}", answer.text());
                assert_eq!(answer.header("x-edgekeep-code"), Some("path_invalid"));
                assert!(seen.is_empty(), "{target}");
            }
        }
    }

    /// The status that is meant, and when to come again, also where the gateway knows few statuses.
    pub(crate) async fn says_when_to_come_again(&self) {
        let token = self.gate.good_token();
        for _ in 0..LIMIT {
            assert_eq!(self.get("/limited/x", &token).await.status, 200);
        }
        self.gate.upstream.take();
        for (target, status, code, seconds) in [
            ("/limited/x", 429, "rate_limited", "10"),
            ("/unbound/x", 503, "policy_unavailable", "2"),
        ] {
            let answer = self.get(target, &token).await;
            assert_eq!(answer.status, status, "{target}: {}", answer.text());
            assert_eq!(answer.header("x-edgekeep-code"), Some(code));
            assert_eq!(answer.header("retry-after"), Some(seconds), "{target}");
        }
        assert!(self.gate.upstream.take().is_empty());
    }

    pub(crate) async fn lets_no_claim_of_the_client_pass(&self) {
        let gate = &self.gate;
        let token = gate.good_token();
        for (name, value) in [
            ("X-User-ID", "root"),
            ("x-user-id", ""),
            ("X_User_ID", "root"),
            ("X-User.ID", "root"),
            ("X-User-Roles", "admin"),
            ("X-Edgekeep-Assertion", "a.b.c"),
            ("X-Edgekeep-Status", "200"),
            ("X-Original-URL", "/api/admin/users"),
            ("X-Original-URI", "/public/x"),
            ("X-Original-Method", "OPTIONS"),
            ("X-Forwarded-Uri", "/public/x"),
            ("X-Forwarded-Method", "OPTIONS"),
            ("X_Forwarded_Uri", "/public/x"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-Rewrite-Url", "/api/admin/users"),
            ("X-Forwarded-User", "root"),
            ("Remote-User", "root"),
            ("Connection", "X-User-ID, Authorization"),
            ("Connection", "X-Original-URI, X-Forwarded-Uri"),
        ] {
            for (target, bearer) in [
                ("/api/x", Some(&token)),
                ("/api/x", None),
                ("/public/x", None),
            ] {
                let mut call = self.call("GET", target).header(name, value);
                if let Some(token) = bearer {
                    call = call.bearer(token);
                }
                let status = call.send().await.unwrap().status;
                let is_public = target == "/public/x";
                if bearer.is_none() && !is_public {
                    assert!(
                        matches!(status, 400 | 401),
                        "{name}: {value} {target}: {status}"
                    );
                }
                for seen in gate.upstream.take() {
                    assert!(is_public || bearer.is_some(), "{name}: {value} is believed");
                    assert_eq!(seen.target, target);
                    let person = if is_public { "" } else { "user-1" };
                    let said: Vec<_> = seen
                        .headers
                        .iter()
                        .filter(|(name, value)| {
                            edgekeep_shared::headers::is_identity_header(name.as_bytes())
                                && !value.is_empty()
                        })
                        .collect();
                    assert_eq!(said.is_empty(), is_public, "{name}: {value}: {said:?}");
                    assert_eq!(seen.header("x-user-id").unwrap_or_default(), person);
                    let folded = name.replace(['_', '.'], "-").to_lowercase();
                    let is_claim = edgekeep_shared::headers::must_strip(name.as_bytes());
                    let mut passed = seen.headers.iter().filter(|(passed, passed_value)| {
                        passed.replace(['_', '.'], "-").to_lowercase() == folded
                            && passed_value == value
                            && !value.is_empty()
                    });
                    assert!(
                        !is_claim || passed.next().is_none(),
                        "{name}: {value} has passed"
                    );
                }
            }
        }
    }

    pub(crate) async fn a_revoked_token_is_turned_away(&self) {
        let token = self.gate.good_token();
        assert_eq!(self.get("/api/x", &token).await.status, 200);
        self.gate.issuer.revoke(Revoked::Token("token-1".into()));
        let mut answer = self.get("/api/x", &token).await;
        for _ in 0..100 {
            if answer.status != 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = self.get("/api/x", &token).await;
        }
        assert_eq!(answer.status, 401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("token_revoked"), "{challenge}");
    }

    /// Whatever the gateway makes of a path, the upstream gets none that is not allowed.
    pub(crate) async fn no_spelling_gets_by(&self) {
        let gate = &self.gate;
        let member = gate.good_token();
        let mut passed = 0;
        for spelling in SPELLINGS {
            for (who, authorization) in [
                ("nobody", String::new()),
                ("a member", format!("Authorization: Bearer {member}\r\n")),
            ] {
                let request = format!(
                    "GET {spelling} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}Connection: close\r\n\r\n"
                );
                let status = http::exchange(self.address, request.as_bytes(), false)
                    .await
                    .map_or(0, |answer| answer.status);
                assert_ne!(status, 500, "{spelling:?} makes the gateway fail");
                for seen in gate.upstream.take() {
                    for served in readings(&seen.target) {
                        assert!(
                            !served.starts_with("/api/admin"),
                            "{who} has reached {} by {spelling:?}",
                            seen.target
                        );
                        assert!(
                            who != "nobody" || served.starts_with("/public"),
                            "nobody has reached {} by {spelling:?}",
                            seen.target
                        );
                    }
                    let path = seen.path();
                    assert!(canonicalise(path).unwrap().is_borrowed(), "{path}");
                    passed += 1;
                }
            }
        }
        assert!(passed < SPELLINGS.len(), "{passed} of them have passed");
        let admin = gate.token(&json!({"roles": ["admin"]}));
        assert_eq!(self.get("/api/admin/users", &admin).await.status, 200);
    }

    /// The host is the one that the client has named on the connection, and nowhere else.
    pub(crate) async fn a_rule_for_a_host_is_for_that_host(&self) {
        for claimed in [None, Some("other.example"), Some("")] {
            for (target, status) in [("/public/x", 200), ("/elsewhere", 401)] {
                let mut call = self.call("GET", target).host("127.0.0.1");
                if let Some(claimed) = claimed {
                    call = call.header("X-Forwarded-Host", claimed);
                }
                let answer = call.send().await.unwrap();
                assert_eq!(answer.status, status, "{target} {claimed:?}");
            }
        }
    }

    /// No answer of the gate is no leave.
    pub(crate) async fn a_gate_that_is_down_lets_nothing_pass(mut self) {
        let token = self.gate.good_token();
        assert_eq!(self.get("/api/x", &token).await.status, 200);
        self.gate.upstream.take();
        self.gate.edge.stop();
        for target in ["/api/x", "/public/x"] {
            let answer = self.get(target, &token).await;
            assert!(answer.status >= 500, "{target}: {}", answer.status);
        }
        assert!(self.gate.upstream.take().is_empty());
        assert!(!self.process.has_ended());
    }
}

/// Open for whoever names this host, and for nobody else.
pub(crate) const ONE_HOST: &str = r#"
[[route]]
match = "/public/**"
hosts = ["127.0.0.1"]
access = "public"

[[route]]
match = "/**"
"#;

/// The program that a variable names, or the installed one.
pub(crate) fn program(variable: &str, installed: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| installed.into())
}

/// What holds behind every gateway that `start(policy)` of the module starts.
macro_rules! every_gateway {
    (@test $name:ident $policy:expr) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            start($policy).await.$name().await;
        }
    };
    () => {
        $crate::authz::every_gateway!(@test lets_pass_what_the_policy_allows None);
        $crate::authz::every_gateway!(@test refuses_the_rest None);
        $crate::authz::every_gateway!(@test sends_on_no_path_that_is_not_canonical None);
        $crate::authz::every_gateway!(@test says_when_to_come_again Some($crate::authz::LIMITED));
        $crate::authz::every_gateway!(@test a_client_says_not_where_it_is Some($crate::authz::LIMITED));
        $crate::authz::every_gateway!(@test carries_a_large_body None);
        $crate::authz::every_gateway!(@test lets_no_claim_of_the_client_pass None);
        $crate::authz::every_gateway!(@test a_revoked_token_is_turned_away None);
        $crate::authz::every_gateway!(@test no_spelling_gets_by Some($crate::paths::POLICY));
        $crate::authz::every_gateway!(@test no_trick_gets_by Some($crate::paths::POLICY));
        $crate::authz::every_gateway!(@test opens_no_tunnel_but_a_websocket Some($crate::paths::POLICY));
        $crate::authz::every_gateway!(@test a_rule_for_a_host_is_for_that_host Some($crate::authz::ONE_HOST));
        $crate::authz::every_gateway!(@test a_gate_that_is_down_lets_nothing_pass None);
    };
}
pub(crate) use every_gateway;

/// What is asked of each configuration in `deploy/`: where it names the fields that are the gate's alone
/// (`{}`), and what else no change may lose. White space counts as one space.
const CONFIGURATIONS: &[(&str, &[&str], &[&str])] = &[
    (
        "nginx/edgekeep.conf",
        &["proxy_set_header {} $edgekeep_"],
        &["proxy_pass http://edgekeep_api;"],
    ),
    ("caddy/Caddyfile", &[" {} "], &["uri /authz copy_headers "]),
    (
        "envoy/envoy.yaml",
        &["- remove: {lower} ", "- exact: {lower} "],
        &[
            "failure_mode_allow: false",
            "path_prefix: /authz",
            "normalize_path: false merge_slashes: false",
            "envoy.reloadable_features.http_reject_path_with_fragment: true",
            "upgrade_configs: - upgrade_type: websocket http_filters:",
            "- remove: forwarded ",
            "key: x-real-ip, value: \"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\" } \
             append_action: OVERWRITE_IF_EXISTS_OR_ADD",
            "key: x-forwarded-for, value: \"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\" } \
             append_action: OVERWRITE_IF_EXISTS_OR_ADD",
        ],
    ),
    (
        "traefik/edgekeep.yml",
        &["- {} "],
        &[
            "trustForwardHeader: false",
            "middlewares: [websocket, edgekeep]",
            "middlewares: [no-upgrade, edgekeep]",
        ],
    ),
];

#[test]
fn every_configuration_names_every_field_that_is_the_gates_alone() {
    for (file, places, more) in CONFIGURATIONS {
        let text = std::fs::read_to_string(root().join("deploy").join(file)).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        let text = format!("{} ", words.join(" "));
        for name in IDENTITY_HEADERS.into_iter().chain(["X-Edgekeep-Assertion"]) {
            for place in *places {
                let expected = place
                    .replace("{lower}", &name.to_lowercase())
                    .replace("{}", name);
                assert!(text.contains(&expected), "{file}: {expected:?}");
            }
        }
        for expected in *more {
            assert!(text.contains(expected), "{file}: {expected:?}");
        }
    }
}

async fn gate(authz: &str) -> Gate {
    Gate::with(|_, variables| {
        variables.insert("AUTHZ", authz.to_owned());
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_asks_by_the_request_line_itself() {
    let gate = gate("envoy").await;
    let token = gate.good_token();
    for (method, target, status, code) in [
        ("GET", "/authz/api/x?y=1", 200, None),
        ("DELETE", "/authz/api/x", 200, None),
        ("GET", "/authz/public/x", 200, None),
        (
            "POST",
            "/authz/api/reports/1",
            403,
            Some("insufficient_scope"),
        ),
        ("GET", "/authz/api/%61", 400, Some("path_invalid")),
        ("GET", "/authz/api/../public/x", 400, Some("path_invalid")),
        ("GET", "/authz//api/x", 400, Some("path_invalid")),
        ("GET", "/authz/", 403, Some("route_unknown")),
        ("GET", "/authz", 400, Some("request_invalid")),
    ] {
        let answer = gate.call(method, target, &token).send().await.unwrap();
        assert_eq!(
            answer.status,
            status,
            "{method} {target}: {}",
            answer.text()
        );
        assert_eq!(answer.header("x-edgekeep-code"), code, "{target}");
        let person = answer.header("x-user-id").unwrap_or_default();
        let is_known = status == 200 && target.starts_with("/authz/api/");
        // Every identity field is said, so that a client's is replaced.
        assert_eq!(
            answer.header("x-user-roles").is_some(),
            status == 200,
            "{target}"
        );
        assert_eq!(person, if is_known { "user-1" } else { "" }, "{target}");
    }
    assert!(
        gate.upstream.take().is_empty(),
        "a question is not forwarded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_says_the_request_line_in_its_gateways_words_only() {
    for (authz, method_field, target_field, others) in [
        (
            "nginx",
            "X-Original-Method",
            "X-Original-URI",
            ["X-Forwarded-Method", "X-Forwarded-Uri"],
        ),
        (
            "forwarded",
            "X-Forwarded-Method",
            "X-Forwarded-Uri",
            ["X-Original-Method", "X-Original-URI"],
        ),
    ] {
        let gate = gate(authz).await;
        let token = gate.good_token();
        let ask = |fields: &[(&str, &str)]| {
            let mut call = gate.call("GET", "/authz", &token);
            for (name, value) in fields {
                call = call.header(name, value);
            }
            call.send()
        };
        let invalid = if authz == "nginx" { 403 } else { 400 };
        let good = [(method_field, "GET"), (target_field, "/api/x")];
        assert_eq!(ask(&good).await.unwrap().status, 200, "{authz}");
        let [other_method, other_target] = others;
        for fields in [
            vec![],
            vec![(method_field, "GET")],
            vec![(target_field, "/api/x")],
            vec![(other_method, "GET"), (other_target, "/api/x")],
            vec![good[0], good[1], (other_target, "/public/x")],
            vec![good[0], good[1], (other_method, "OPTIONS")],
            vec![good[0], good[1], (target_field, "/public/x")],
            vec![good[0], good[1], (method_field, "OPTIONS")],
            vec![good[0], good[1], ("X-User-ID", "root")],
            vec![good[0], (target_field, "http://a/api/x")],
            vec![good[0], (target_field, "/public/x#/../../api/admin/users")],
            vec![good[0], (target_field, "/public/x?y#z")],
        ] {
            let answer = ask(&fields).await.unwrap();
            let code = answer
                .header("x-edgekeep-code")
                .unwrap_or_default()
                .to_owned();
            assert!(
                answer.status == invalid && ["request_invalid", "path_invalid"].contains(&&*code),
                "{authz} {fields:?}: {} {code}",
                answer.status
            );
        }
        assert!(gate.upstream.take().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_needs_an_origin_that_is_allowed_wherever_one_is_said() {
    let gate = gate("forwarded").await;
    let token = gate.good_token();
    for (method, origin, status) in [
        ("GET", None, 200),
        ("GET", Some("https://app.example"), 200),
        ("GET", Some("https://evil.example"), 401),
        ("POST", None, 401),
        ("POST", Some("https://app.example"), 200),
        ("POST", Some("https://evil.example"), 401),
        ("POST", Some("null"), 401),
    ] {
        let mut call = gate
            .edge
            .call("GET", "/authz")
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Uri", "/app/x")
            .header("Cookie", &format!("__Host-at={token}"));
        if let Some(origin) = origin {
            call = call.header("Origin", origin);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(
            answer.status,
            status,
            "{method} {origin:?}: {}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_variable_it_is_a_path_like_any_other() {
    let gate = Gate::start().await;
    gate.upstream.answer_with(|_| Reply::new(200, "reached"));
    let token = gate.good_token();
    for target in ["/authz", "/authz/api/x"] {
        let answer = gate
            .call("GET", target, &token)
            .header("X-Original-Method", "GET")
            .header("X-Original-URI", "/api/x")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.verdict(), (403, "route_unknown".to_owned()));
    }
}

/// A question of the gateway that `AUTHZ` names.
fn question(gate: &Gate, authz: &str, method: &str, target: &str) -> Call {
    let fields = match authz {
        "envoy" => return gate.edge.call(method, &format!("/authz{target}")),
        "nginx" => ["X-Original-Method", "X-Original-URI"],
        _ => ["X-Forwarded-Method", "X-Forwarded-Uri"],
    };
    let call = gate.edge.call("GET", "/authz");
    call.header(fields[0], method).header(fields[1], target)
}

/// The status that is meant, whatever the gateway understands, and the code.
fn meant(answer: &Answer) -> (u16, &str) {
    let status = answer.header("x-edgekeep-status");
    let status = status.map_or(answer.status, |status| status.parse().unwrap());
    let code = answer.header("x-edgekeep-code").unwrap_or_default();
    (status, code)
}

/// Every gateway by its name in `AUTHZ`.
const GATEWAYS: [&str; 3] = ["nginx", "forwarded", "envoy"];

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_read_where_the_gateway_says_it() {
    const HOSTS: &str = r#"
[[route]]
match = "/**"
hosts = ["admin.example"]
roles = ["admin"]

[[route]]
match = "/**"
"#;
    const REFUSED: (u16, &str) = (403, "insufficient_role");
    const UNCLEAR: (u16, &str) = (400, "request_invalid");
    const PASSED: (u16, &str) = (200, "");
    for authz in GATEWAYS {
        let gate = Gate::with(|_, variables| {
            variables.insert("AUTHZ", authz.to_owned());
            variables.insert("POLICY", HOSTS.to_owned());
        })
        .await;
        let token = gate.good_token();
        let is_forwarded = authz == "forwarded";
        // What `Host` says, the values of `X-Forwarded-Host`, and what comes of it where the one counts
        // and where the other does.
        for (host, forwarded, by_host, by_forwarded) in [
            ("admin.example", &["other.example"][..], REFUSED, PASSED),
            ("gate.internal", &["admin.example"], PASSED, REFUSED),
            ("gate.internal", &["ADMIN.example:8443"], PASSED, REFUSED),
            ("gate.internal", &["other.example"], PASSED, PASSED),
            ("gate.internal", &[], PASSED, UNCLEAR),
            ("admin.example", &[], REFUSED, UNCLEAR),
            ("gate.internal", &[""], PASSED, UNCLEAR),
            ("gate.internal", &["other.example/x"], PASSED, UNCLEAR),
            (
                "gate.internal",
                &["other.example, admin.example"],
                PASSED,
                UNCLEAR,
            ),
            (
                "gate.internal",
                &["other.example", "admin.example"],
                PASSED,
                UNCLEAR,
            ),
        ] {
            let mut call = question(&gate, authz, "GET", "/x")
                .host(host)
                .bearer(&token);
            for value in forwarded {
                call = call.header("X-Forwarded-Host", value);
            }
            let answer = call.send().await.unwrap();
            let expected = if is_forwarded { by_forwarded } else { by_host };
            assert_eq!(meant(&answer), expected, "{authz} {host} {forwarded:?}");
        }
    }
}

/// A rule for each thing that a policy can say beyond the token and the path.
const BEYOND: &str = r#"
[[route]]
match = "/users/{user_id}/**"
owner = { user_id = "sub" }

[[route]]
match = "/trial/**"
roles = ["admin"]
report_only = true

[[route]]
match = "/limited/**"
rate_limit = { binding = "API_LIMIT", by = "subject" }

[[route]]
match = "/cached/**"
cache = "no-store"

[[route]]
match = "/pages/**"
[route.cors]
origins = ["https://app.example"]
methods = ["GET", "PUT"]
headers = ["content-type"]

[[route]]
match = "/dav/**"
methods = ["COPY"]

[[route]]
match = "/edge/**"
headers = { X-Edge = "eu" }

[[route]]
match = "/**"
"#;

/// A gate with that policy and a limiter, for that gateway.
async fn beyond(authz: &str) -> Gate {
    Gate::limited(LIMIT, |_, variables| {
        variables.insert("AUTHZ", authz.to_owned());
        variables.insert("POLICY", BEYOND.to_owned());
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_rule_says_holds_for_questions_too() {
    for authz in GATEWAYS {
        let gate = beyond(authz).await;
        let token = gate.good_token();
        for (method, target, field, status, code) in [
            ("GET", "/users/user-1/orders", "", 200, ""),
            (
                "GET",
                "/users/user-2/orders",
                "",
                403,
                "insufficient_permission",
            ),
            // What does not pass for another reason is not counted.
            ("GET", "/limited//1", "", 400, "path_invalid"),
            ("COPY", "/limited/1", "Destination", 400, "request_invalid"),
            ("GET", "/limited/1", "", 200, ""),
            ("GET", "/limited/2", "", 200, ""),
            ("GET", "/limited/3", "", 429, "rate_limited"),
            ("GET", "/cached/x", "", 200, ""),
            // The gate cannot take the field away, so it is for rules that name their methods.
            ("COPY", "/dav/1", "Destination", 200, ""),
            ("COPY", "/x", "Destination", 400, "request_invalid"),
            ("PUT", "/x", "X-Amz-Copy-Source", 400, "request_invalid"),
            ("COPY", "/x", "", 200, ""),
            // Nor what a rule sets, on any route.
            ("GET", "/edge/x", "", 200, ""),
            ("GET", "/edge/x", "X-Edge", 400, "request_invalid"),
            ("GET", "/x", "X_Edge", 400, "request_invalid"),
            ("GET", "/x", "X-Edges", 200, ""),
        ] {
            let mut call = question(&gate, authz, method, target).bearer(&token);
            if !field.is_empty() {
                call = call.header(field, "/elsewhere");
            }
            let answer = call.send().await.unwrap();
            let case = format!("{authz} {method} {target} {field}");
            assert_eq!(meant(&answer), (status, code), "{case}");
            assert_eq!(
                answer.header("retry-after").is_some(),
                status == 429,
                "{authz} {target}"
            );
            let person = answer.header("x-user-id").unwrap_or_default();
            let expected = if status == 200 { "user-1" } else { "" };
            assert_eq!(person, expected, "{authz} {target}");
        }
        // What is only reported passes, as whoever the token says, if it counts.
        for (token, person) in [(&*token, "user-1"), ("none", "")] {
            let call = question(&gate, authz, "GET", "/trial/x").bearer(token);
            let answer = call.send().await.unwrap();
            assert_eq!(meant(&answer), (200, ""), "{authz}");
            assert_eq!(answer.header("x-user-id"), Some(person), "{authz}");
        }
        let said = clock::eventually(Duration::from_secs(2), || async {
            let log = gate.edge.log();
            let is_report = |line: &String| {
                line.contains("\"decision\":\"report\"") && line.contains("insufficient_role")
            };
            log.iter().any(is_report).then_some(())
        });
        assert!(said.await.is_some(), "{authz}: the log does not say it");
        assert!(gate.upstream.take().is_empty(), "{authz}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_that_the_policy_allows_passes_in_its_canonical_spelling() {
    for authz in GATEWAYS {
        let gate = beyond(authz).await;
        let (app, evil) = ("https://app.example", "https://evil.example");
        for (target, origin, method, headers, status, code) in [
            ("/pages/1?x=1", app, "PUT", "content-type", 200, ""),
            (
                "/pages/%31",
                app,
                "PUT",
                "content-type",
                400,
                "path_invalid",
            ),
            ("//pages/1", app, "PUT", "content-type", 400, "path_invalid"),
            ("/pages//1", app, "GET", "", 400, "path_invalid"),
            ("/pages/../x", app, "GET", "", 400, "path_invalid"),
            ("/pages/1", evil, "PUT", "", 401, "token_missing"),
            ("/pages/1", app, "DELETE", "", 401, "token_missing"),
            ("/pages/1", app, "PUT", "x-other", 401, "token_missing"),
            ("/x", app, "GET", "", 401, "token_missing"),
        ] {
            let call = question(&gate, authz, "OPTIONS", target)
                .header("Origin", origin)
                .header("Access-Control-Request-Method", method)
                .header("Access-Control-Request-Headers", headers);
            let answer = call.send().await.unwrap();
            let case = format!("{authz} {target} {origin} {method} {headers}");
            assert_eq!(meant(&answer), (status, code), "{case}");
            if status == 200 {
                assert_eq!(answer.header("x-user-id"), Some(""), "{case}");
            }
        }
        let call = question(&gate, authz, "OPTIONS", "/pages/1")
            .header("Origin", app)
            .header("Access-Control-Request-Method", "PUT")
            .header("X-Edge", "us");
        let answer = call.send().await.unwrap();
        assert_eq!(meant(&answer), (400, "request_invalid"), "{authz}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gate_cannot_carry_out_is_said_once_for_each_rule() {
    let said = |gate: &Gate, line: usize, keys: &str| {
        let said = format!("the rule on line {line} of the policy says by {keys} is left to");
        let log = gate.edge.log();
        log.iter().filter(|line| line.contains(&said)).count()
    };
    // In the order of the policy's lines, which begin with an empty one.
    let rules = [(15, "cache"), (19, "cors"), (30, "headers")];
    for of_variable in [true, false] {
        let gate = Gate::with(|issuer, variables| {
            variables.insert("AUTHZ", "forwarded".to_owned());
            if of_variable {
                variables.insert("POLICY", BEYOND.to_owned());
            } else {
                variables.remove("POLICY");
                issuer.published().policy = Some(BEYOND.to_owned());
            }
        })
        .await;
        let token = gate.good_token();
        for _ in 0..3 {
            let call = question(&gate, "forwarded", "GET", "/cached/x");
            let answer = call.bearer(&token).send().await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        for (line, keys) in rules {
            let heard = clock::eventually(Duration::from_secs(2), || async {
                (said(&gate, line, keys) > 0).then_some(())
            });
            assert!(
                heard.await.is_some(),
                "{line} {keys}: {:?}",
                gate.edge.log()
            );
            assert_eq!(said(&gate, line, keys), 1, "{line} {keys}");
        }
        let all = gate.edge.log();
        let all = all
            .iter()
            .filter(|line| line.contains("is left to"))
            .count();
        assert_eq!(all, rules.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_questions_and_the_gates_own_documents_is_answered() {
    const METRICS_TOKEN: &str = "metrics-token-of-the-tests";
    for authz in GATEWAYS {
        let gate = Gate::with(|_, variables| {
            variables.insert("AUTHZ", authz.to_owned());
            variables.insert("ASSERTION_KEY", ASSERTION_KEY.to_owned());
            variables.insert("METRICS_TOKEN", METRICS_TOKEN.to_owned());
        })
        .await;
        let token = gate.good_token();
        for (method, target) in [
            ("GET", "/public/x"),
            ("GET", "/api/x"),
            ("GET", "/"),
            ("GET", "/authz2"),
            ("GET", "/Authz"),
            ("GET", "//authz"),
            ("GET", "/public/authz"),
            // What Envoy makes of `OPTIONS *`.
            ("OPTIONS", "/authz*"),
            ("OPTIONS", "*"),
        ] {
            let answer = gate.call(method, target, &token).send().await.unwrap();
            let refused = (400, "request_invalid".to_owned());
            assert_eq!(answer.verdict(), refused, "{authz} {method} {target}");
        }
        assert!(gate.upstream.take().is_empty(), "{authz}");
        let answer = gate
            .get("/.well-known/edgekeep-assertion.json", &token)
            .await;
        assert_eq!(answer.status, 200, "{authz}");
        let answer = gate
            .get("/.well-known/edgekeep-metrics", METRICS_TOKEN)
            .await;
        assert_eq!(answer.status, 200, "{authz}");
    }
}
