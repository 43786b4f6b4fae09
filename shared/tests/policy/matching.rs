//! Which rule a request meets, and which rules none can meet.

use edgekeep_shared::path::canonicalise;
use edgekeep_shared::policy::Policy;

use crate::support::{DEMO, matched};

#[test]
fn finds_the_first_rule_that_matches() {
    let policy = Policy::parse(DEMO).unwrap();
    let table: &[(&str, &str, Option<&str>)] = &[
        ("GET", "/public", Some("/public/**")),
        ("GET", "/public/", Some("/public/**")),
        ("POST", "/public/a/b/c", Some("/public/**")),
        ("GET", "//public/x", Some("/public/**")),
        ("GET", "/publicity", None),
        ("GET", "/public.css", None),
        ("GET", "/Public/x", None),
        ("GET", "/", None),
        ("GET", "/x/public/a", None),
        ("POST", "/api/reports", Some("/api/reports/**")),
        ("POST", "/api/reports/", Some("/api/reports/**")),
        ("POST", "/api/reports/7", Some("/api/reports/**")),
        ("POST", "/api//reports//7", Some("/api/reports/**")),
        ("POST", "/api/%72eports/7", Some("/api/reports/**")),
        ("GET", "/api/reports/7", Some("/api/**")),
        ("post", "/api/reports/7", Some("/api/**")),
        ("PUT", "/api/reports/7", Some("/api/**")),
        ("GET", "/api/payments", Some("/api/payments/**")),
        ("DELETE", "/api/payments/7", Some("/api/payments/**")),
        ("GET", "/api/admin", Some("/api/admin/**")),
        ("GET", "/api/admin/", Some("/api/admin/**")),
        ("GET", "/api/admin/users", Some("/api/admin/**")),
        ("GET", "/api/%61dmin", Some("/api/admin/**")),
        ("GET", "//api///admin//", Some("/api/admin/**")),
        ("BREW", "/api/admin/pot", Some("/api/admin/**")),
        ("GET", "/api/administrators", Some("/api/**")),
        ("GET", "/api/Admin", Some("/api/**")),
        ("GET", "/api/x/admin", Some("/api/**")),
        ("GET", "/api", Some("/api/**")),
        ("GET", "/api/", Some("/api/**")),
        ("GET", "/api/me.css", Some("/api/**")),
        ("GET", "/apis", None),
        ("GET", "/API/x", None),
    ];
    for (method, path, expected) in table {
        assert_eq!(matched(&policy, method, path), *expected, "{method} {path}");
    }
}

#[test]
fn matches_patterns_segment_by_segment() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("/", &["/", "//"], &["/a"]),
        ("/**", &["/", "/a", "/a/b/", "/%25"], &[]),
        (
            "/a",
            &["/a", "/a/", "//a"],
            &["/", "/ab", "/a/b", "/A", "/b"],
        ),
        (
            "/a/*",
            &["/a/b", "/a/b/", "/a/*", "/a/%2A"],
            &["/a", "/a/", "/a/b/c", "/ab/c"],
        ),
        (
            "/a/*/c",
            &["/a/b/c", "/a/b/c/"],
            &["/a/c", "/a/b/d", "/a/b/c/d", "/a/b/x/c", "/a//c"],
        ),
        ("/a/*/**", &["/a/b", "/a/b/", "/a/b/c/d"], &["/a", "/a/"]),
        ("/a/{id}", &["/a/7", "/a/7/"], &["/a", "/a/", "/a/7/8"]),
        ("/*/b/**", &["/a/b", "/x/b/c"], &["/b", "/a/c", "/a/bc"]),
        ("/*", &["/a", "/a/"], &["/", "/a/b"]),
        ("/a/%2A", &["/a/*", "/a/%2a"], &["/a/b"]),
        ("/caf%C3%A9", &["/café", "/caf%c3%a9"], &["/cafe"]),
        (
            "/a/b.c~d@e",
            &["/a/b.c~d@e", "/a/b%2ec%7Ed%40e"],
            &["/a/bxc~d@e"],
        ),
    ];
    for (pattern, hits, misses) in table {
        let policy = Policy::parse(&format!("[[route]]\nmatch = \"{pattern}\"")).unwrap();
        for path in *hits {
            assert_eq!(
                matched(&policy, "GET", path),
                Some(*pattern),
                "{pattern} {path}"
            );
        }
        for path in *misses {
            assert_eq!(matched(&policy, "GET", path), None, "{pattern} {path}");
        }
    }
}

#[test]
fn captures_parameters() {
    let text = "[[route]]\nmatch = \"/users/{user_id}/files/*/{file}/**\"";
    let policy = Policy::parse(text).unwrap();
    let path = canonicalise("/users/%c3%a9/files/x/y/z/").unwrap();
    let rule = policy.find(None, "GET", &path).unwrap();
    let captured: Vec<_> = rule.pattern().parameters(&path).collect();
    assert_eq!(captured, [("user_id", "%C3%A9"), ("file", "y")]);
}

#[test]
fn a_preflight_is_judged_by_the_method_it_asks_about() {
    let policy = Policy::parse(
        "[[route]]\nmatch = \"/a\"\nmethods = [\"PUT\"]\n[route.cors]\norigins = [\"*\"]\n\
         [[route]]\nmatch = \"/a\"\nmethods = [\"OPTIONS\"]\nname = \"options\"",
    )
    .unwrap();
    let path = canonicalise("/a").unwrap();
    let rule = policy.find_preflight(None, "PUT", &path).unwrap();
    assert!(
        rule.cors().unwrap().allows_method("PUT") && !rule.cors().unwrap().allows_method("GET")
    );
    assert!(policy.find_preflight(None, "GET", &path).is_none());
    assert_eq!(
        policy.find(None, "OPTIONS", &path).unwrap().name(),
        "options"
    );
}

#[test]
fn finds_rules_that_can_never_be_reached_and_no_others() {
    // Earlier match and methods, later match and methods, whether the later one is dead.
    let table: &[(&str, &str, &str, &str, bool)] = &[
        ("/a/**", "", "/a", "", true),
        ("/a/**", "", "/a/b/**", "", true),
        ("/a/**", "", "/a/*", "", true),
        ("/a/*", "", "/a/{id}", "", true),
        ("/a/{id}", "", "/a/*", "", true),
        ("/a/*", "", "/a/b", "", true),
        ("/*/b", "", "/a/b", "", true),
        ("/a/*/**", "", "/a/b", "", true),
        ("/a", "GET POST", "/a", "POST", true),
        ("/a", "", "/a", "POST", true),
        ("/a", "GET", "/a", "POST", false),
        ("/a", "GET", "/a", "", false),
        ("/a", "GET", "/a", "GET POST", false),
        ("/a", "", "/a/**", "", false),
        ("/a/b", "", "/a/*", "", false),
        ("/a/*", "", "/a/**", "", false),
        ("/a/*/**", "", "/a/**", "", false),
        ("/a/*", "", "/a/b/c", "", false),
        ("/a/b/**", "", "/a/bc", "", false),
        ("/", "", "/**", "", false),
        ("/**", "", "/", "", true),
    ];
    let rule = |pattern: &str, methods: &str| {
        let methods: Vec<_> = methods
            .split_whitespace()
            .map(|m| format!("{m:?}"))
            .collect();
        let methods = if methods.is_empty() {
            String::new()
        } else {
            format!("methods = [{}]\n", methods.join(", "))
        };
        format!("[[route]]\nmatch = {pattern:?}\n{methods}")
    };
    for (first, first_methods, second, second_methods, dead) in table {
        let text = rule(first, first_methods) + &rule(second, second_methods);
        assert_eq!(Policy::parse(&text).is_err(), *dead, "{text}");
    }
}

#[test]
fn a_rule_for_hosts_is_for_no_other() {
    let policy = Policy::parse(
        r#"
[[route]]
name = "reports"
match = "/**"
hosts = ["reports.example", "*.reports.example"]

[[route]]
name = "rest"
match = "/**"
"#,
    )
    .unwrap();
    let path = canonicalise("/x").unwrap();
    for (host, expected) in [
        (Some("reports.example"), "reports"),
        (Some("Reports.Example:8443"), "reports"),
        (Some("eu.reports.example."), "reports"),
        (Some("reports.example.evil"), "rest"),
        (Some("evil-reports.example"), "rest"),
        (Some(""), "rest"),
        (None, "rest"),
    ] {
        let rule = policy.find(host, "GET", &path).unwrap();
        assert_eq!(rule.name(), expected, "{host:?}");
    }
}
