//! Which rules no request reaches.

use edgekeep_shared::policy::{Policy, Rule};

/// The lines of the rules that are never reached.
fn unreached(routes: &[&str]) -> Vec<usize> {
    let text = format!("[[route]]\n{}\n", routes.join("\n[[route]]\n"));
    let policy = Policy::parse(&text).unwrap();
    policy.unreached().map(Rule::line).collect()
}

#[test]
fn several_rules_together_may_leave_nothing_for_a_later_one() {
    for (routes, expected) in [
        (
            &["match = '/v/*/**'", "match = '/v'", "match = '/v/**'"][..],
            vec![5],
        ),
        (
            &[
                "match = '/v'",
                "match = '/v/*'",
                "match = '/v/*/*/**'",
                "match = '/v/**'",
            ],
            vec![7],
        ),
        (
            &["match = '/'", "match = '/{a}/**'", "match = '/**'"],
            vec![5],
        ),
        // Something is left.
        (&["match = '/v/*/**'", "match = '/v/**'"], vec![]),
        (
            &["match = '/v'", "match = '/v/*'", "match = '/v/**'"],
            vec![],
        ),
        (
            &["match = '/v'", "match = '/v/a/**'", "match = '/v/**'"],
            vec![],
        ),
        (&["match = '/v/*/*'", "match = '/v/*'"], vec![]),
        (&["match = '/**'"], vec![]),
    ] {
        assert_eq!(unreached(routes), expected, "{routes:?}");
    }
}

#[test]
fn each_method_and_each_host_must_be_taken_by_some_rule() {
    for (routes, expected) in [
        (
            &[
                "match = '/a'\nmethods = 'GET'",
                "match = '/**'\nmethods = 'PUT'",
                "match = '/a'\nmethods = ['GET', 'PUT']",
            ][..],
            vec![7],
        ),
        (
            &[
                "match = '/a'\nmethods = 'GET'",
                "match = '/a'\nmethods = ['GET', 'PUT']",
            ],
            vec![],
        ),
        // Every method is more than any number of them.
        (
            &[
                "match = '/a'\nmethods = ['GET', 'PUT']",
                "match = '/a'\nmethods = 'DELETE'",
                "match = '/a'",
            ],
            vec![],
        ),
        (
            &[
                "match = '/a'\nhosts = 'a.example'",
                "match = '/a'\nhosts = '*.b.example'",
                "match = '/a'\nhosts = ['a.example', 'x.b.example']",
                "match = '/a'",
            ],
            vec![7],
        ),
        (
            &[
                "match = '/a'\nhosts = 'a.example'",
                "match = '/a/*/**'\nhosts = 'b.example'",
                "match = '/a/**'\nhosts = ['a.example', 'b.example']",
            ],
            vec![],
        ),
    ] {
        assert_eq!(unreached(routes), expected, "{routes:?}");
    }
}
