//! However a protected path is spelled, it is protected; and the upstream gets what was judged.

use edgekeep_shared::path::canonicalise;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::http;
use serde_json::json;

/// Only administrators below `/api/admin`; a public sibling to climb out of.
pub(crate) const POLICY: &str = r#"
[[route]]
match = "/public/**"
access = "public"

[[route]]
match = "/api/admin/**"
roles = ["admin"]

[[route]]
match = "/api/**"
"#;

/// Ways to write `/api/admin/users`, or what some upstream takes for it.
pub(crate) const SPELLINGS: &[&str] = &[
    "/api/admin/users",
    "/api/admin",
    "/api/admin/",
    "/api/admin//",
    "//api/admin/users",
    "/api//admin/users",
    "/api///admin///users",
    "///api/admin/users",
    "/api/%61dmin/users",
    "/api/%61%64%6d%69%6e/users",
    "/%61pi/admin/users",
    "/api/admi%6E/users",
    "/api/admi%6e/users",
    "/public/../api/admin/users",
    "/public/..//api/admin/users",
    "/public/x/../../api/admin/users",
    "/public/%2e%2e/api/admin/users",
    "/public/%2E%2E/api/admin/users",
    "/public/.%2e/api/admin/users",
    "/public/%2e./api/admin/users",
    "/public/%252e%252e/api/admin/users",
    "/public/%25%32%65%25%32%65/api/admin/users",
    "/public/%25u002e%25u002e/api/admin/users",
    "/public/%u002e%u002e/api/admin/users",
    "/public/..%2fapi/admin/users",
    "/public/..%2Fapi%2Fadmin%2Fusers",
    "/public/%2e%2e%2fapi/admin/users",
    "/public/..%5capi/admin/users",
    "/public/..\\api\\admin\\users",
    "/public\\..\\api\\admin\\users",
    "/public/%c0%ae%c0%ae/api/admin/users",
    "/public/%c0%ae%c0%ae%c0%afapi/admin/users",
    "/public/%e0%80%ae%e0%80%ae/api/admin/users",
    "/public/..;/api/admin/users",
    "/public/..;x=y/api/admin/users",
    "/public/%2e%2e;/api/admin/users",
    "/public;/../api/admin/users",
    "/public/..%3b/api/admin/users",
    "/public/x%00/../../api/admin/users",
    "/public/..%00/api/admin/users",
    "/public/.../api/admin/users",
    "/public/.. /api/admin/users",
    "/public/..%20/api/admin/users",
    "/public/..%09/api/admin/users",
    "/public/..%0d%0a/api/admin/users",
    "/public/%ef%bc%8e%ef%bc%8e/api/admin/users",
    "/public/\u{ff0e}\u{ff0e}/api/admin/users",
    "/public/..\u{2215}api\u{2215}admin",
    "/public/..%e2%88%95api%e2%88%95admin",
    "/public/..%ef%bc%8fapi%ef%bc%8fadmin",
    "/api/./admin/users",
    "/./api/admin/users",
    "/api/admin/./users",
    "/api/admin/../admin/users",
    "/api/x/../admin/users",
    "/api/%2e/admin/users",
    "/api/%2e%2e/api/admin/users",
    "/api/x/%2e%2e/admin/users",
    "/api%2fadmin/users",
    "/api%2Fadmin%2Fusers",
    "/api/admin%2fusers",
    "/api/admin%2f",
    "/api%5cadmin/users",
    "/api\\admin\\users",
    "/api/admin;/users",
    "/api/admin;jsessionid=1/users",
    "/api;x/admin/users",
    "/api/admin%3b/users",
    "/api/admin./users",
    "/api/admin%20/users",
    "/api/admin%2e/users",
    "/api/admin%00/users",
    "/api/admin%00.css",
    "/api/admin%3fx",
    "/api/admin%3Fx=/public",
    "/api/admin%23x",
    "/api/admin?x",
    "/api/admin?/public/x",
    "/api/admin#/public/x",
    "/public/x#/../../api/admin/users",
    "/public/x#/%2e%2e/%2e%2e/api/admin/users",
    "/public#/../api/admin/users",
    "/public/x?y#/../../api/admin/users",
    "/public/x#",
    "/api/admin/users?redirect=/../../public",
    "/api/%ef%bd%81dmin/users",
    "/api/\u{ff41}dmin/users",
    "/api/adm%c4%b1n/users",
    "/api/admin%e2%80%8b/users",
    "/api/%e2%80%8badmin/users",
    "/api/admin%c2%ad/users",
    "/api/admin%ef%bb%bf/users",
    "/api/admin%c2%a0/users",
    "/api/admin%c2%85/users",
    "/api/admin%7f/users",
    "/api/admin%ff/users",
    "/api/%ed%a0%80admin/users",
    "/api/admin::$DATA",
    "/api/admin::$INDEX_ALLOCATION/users",
    "/api/%",
    "/api/%4",
    "/api/%zzadmin",
    "/api/%u0061dmin/users",
    "/api/admin/%2e%2e%2f%2e%2e%2fpublic",
    "api/admin/users",
    "*",
    "",
    "http://127.0.0.1/api/admin/users",
    "http://evil.example/api/admin/users",
    "http://127.0.0.1/public/../api/admin/users",
    "http://127.0.0.1/public/%2e%2e/api/admin/users",
    "http://127.0.0.1//api/admin/users",
    "http://127.0.0.1\\api\\admin\\users",
    "http://user@evil.example/api/admin/users",
    "http://x/public?@127.0.0.1/api/admin/users",
    "HTTP://127.0.0.1/api/admin/users",
    "https://127.0.0.1/api/admin/users",
    "//127.0.0.1/api/admin/users",
    "/http://127.0.0.1/api/admin/users",
    "/public/http://127.0.0.1/../../../../api/admin/users",
];

/// The platform makes a request's URL of the `Host` header and the target: one that is more than
/// a host must not move the border between the two.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "evil.example",
    "x/public",
    "x/public/?",
    "x/public/#",
    "x/public\\",
    "user@x",
    "x?/public/",
    "[::1]",
    "",
];

/// What upstreams would serve for `target`: some cut a fragment off, and to some it is path.
pub(crate) fn readings(target: &str) -> [String; 2] {
    let path = target.split('?').next().unwrap_or_default();
    let cut = target.split(['?', '#']).next().unwrap_or_default();
    [path, cut].map(most_lenient)
}

/// What an upstream would serve for `path` if it were as lenient as the most lenient: every
/// escape undone until nothing changes, backslashes turned, parameters cut, dots resolved. Case is
/// the policy's to know (`docs/policy.md`).
fn most_lenient(path: &str) -> String {
    let mut text = path.to_owned();
    loop {
        let mut decoded = Vec::new();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let escape = bytes
                .get(at + 1..at + 3)
                .and_then(|hex| std::str::from_utf8(hex).ok());
            match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(octet) if bytes[at] == b'%' => {
                    decoded.push(octet);
                    at += 3;
                }
                _ => {
                    decoded.push(bytes[at]);
                    at += 1;
                }
            }
        }
        let decoded = String::from_utf8_lossy(&decoded).replace('\\', "/");
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/') {
        let segment = segment
            .split([';', '\0', '?', '#'])
            .next()
            .unwrap_or_default();
        match segment.trim_end_matches([' ']) {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.trim_end_matches(['.', ' ']).to_owned()),
        }
    }
    format!("/{}", segments.join("/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_protected_path_gets_by_without_the_right_token() {
    assert!(SPELLINGS.len() >= 60);
    let gate = Gate::with(|_, variables| {
        variables.insert("POLICY", POLICY.to_owned());
    })
    .await;
    let member = gate.good_token();
    let (mut refused, mut passed) = (0, 0);
    for spelling in SPELLINGS {
        for (who, authorization) in [
            ("nobody", String::new()),
            ("a member", format!("Authorization: Bearer {member}\r\n")),
        ] {
            for host in HOSTS {
                let request = format!(
                    "GET {spelling} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n"
                );
                // A request that workerd itself does not take has no answer, or a 400.
                let status = http::exchange(gate.edge.address(), request.as_bytes(), false)
                    .await
                    .map_or(0, |answer| answer.status);
                for seen in gate.upstream.take() {
                    for served in readings(&seen.target) {
                        assert!(
                            !served.starts_with("/api/admin"),
                            "{who} has reached {} ({served}) by {spelling:?}",
                            seen.target,
                        );
                        assert!(
                            who != "nobody" || served.starts_with("/public"),
                            "nobody has reached {} by {spelling:?}",
                            seen.target,
                        );
                    }
                    passed += 1;
                }
                assert!(
                    matches!(status, 0 | 200 | 400 | 401 | 403 | 404 | 500 | 501),
                    "{spelling:?}: {status}"
                );
                assert!(status != 500, "{spelling:?} makes the gate fail");
                refused += usize::from(status != 200);
            }
        }
    }
    assert!(
        refused > SPELLINGS.len() * 2,
        "only {refused} refused, {passed} passed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_token_passes_and_the_upstream_gets_what_was_judged() {
    let gate = Gate::with(|_, variables| {
        variables.insert("POLICY", POLICY.to_owned());
    })
    .await;
    let admin = gate.token(&json!({"roles": ["admin"]}));
    for raw in [
        "/api/admin/users",
        "/api/admin/",
        "/api/admin",
        "//api//admin///users",
        "/api/%61dmin/users",
        "/api/admin/%40me",
        "/api/admin/caf%c3%a9",
        "/api/admin/a+b",
        "/api/admin/a%20b",
        "/api/admin/100%25",
        "/api/admin/a%5B0%5D",
        "/api/admin/a|b",
        "/api/admin/a[0]",
        "/api/admin/'()*!$&,=:@~",
        "/api/admin/%e6%97%a5%e6%9c%ac",
        "/api/admin/a%26b%3dc",
        "/api/admin/x.css",
        "/api/admin/{id}",
        "/api/admin/\"quoted\"",
        "/api/admin/^",
    ] {
        for query in [
            "",
            "?",
            "?x=1&y=%2f..%2f;#",
            "?/../../public",
            "?a=%00&b=\u{e9}",
        ] {
            let call = gate.call("GET", &format!("{raw}{query}"), &admin);
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status, 200, "{raw}{query}: {}", answer.text());
            let seen = gate.upstream.take_one();
            let canonical = canonicalise(raw).unwrap();
            assert_eq!(seen.path(), canonical.as_str(), "{raw}");
        }
    }
    // The query is not judged and arrives as it was sent.
    assert_eq!(
        gate.get("/api/x?a=1&b=%2e%2e%2f&a=2", &admin).await.status,
        200
    );
    assert_eq!(
        gate.upstream.take_one().target,
        "/api/x?a=1&b=%2e%2e%2f&a=2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_in_the_table_of_refusals_is_answered_400() {
    let gate = Gate::start().await;
    let good = gate.good_token();
    let long = format!("/public/{}", "a".repeat(9_000));
    let deep = "/public".to_owned() + &"/a".repeat(130);
    let mut paths = vec![long, deep];
    paths.extend(
        [
            "/public/a/../b",
            "/public/./a",
            "/public/%2e%2e/a",
            "/public/.%2E",
            "/public/admin.",
            "/public/a../b",
            "/public/...",
            "/public/admin%20",
            "/public/a%2fb",
            "/public/a\\b",
            "/public/a%5Cb",
            "/public/a%00.css",
            "/public/a%0d%0a",
            "/public/a%C2%85",
            "/public/%252e",
            "/public/%25%32%65",
            "/public/%25u002e",
            "/public/%",
            "/public/%2",
            "/public/%zz",
            "/public/%u002e",
            "/public;x/admin",
            "/public/..;/",
            "/public/a%3b",
            "/public/admin%3fx",
            "/public/admin%23",
            "/public/%ff",
            "/public/%c0%ae",
            "/public/%ed%a0%80",
            "/public/%ef%bc%8f",
            "/public/%E2%80%8B",
            "/public/%EF%BB%BF",
            "/public/web.config::$DATA",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        let answer = gate.get(&path, &good).await;
        assert_eq!(
            answer.verdict(),
            (400, "path_invalid".to_owned()),
            "{}",
            &path[..path.len().min(60)]
        );
    }
    assert!(gate.upstream.take().is_empty());
}
