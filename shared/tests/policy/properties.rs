//! What holds for every pattern, every path and every text.

use edgekeep_shared::policy::Policy;
use proptest::prelude::*;

use crate::support::{DEMO, matched};

/// A plain reading of patterns, against which the compiled one is compared.
fn reference_match(pattern: &str, path: &str) -> bool {
    fn go(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            (["**"], _) | ([], []) => true,
            (["*", more @ ..], [_, rest @ ..]) => go(more, rest),
            ([p, more @ ..], [s, rest @ ..]) => p == s && go(more, rest),
            _ => false,
        }
    }
    let pattern: Vec<_> = pattern.split('/').filter(|s| !s.is_empty()).collect();
    let path: Vec<_> = path.split('/').filter(|s| !s.is_empty()).collect();
    go(&pattern, &path)
}

fn pattern_text() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("*")];
    (proptest::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, open)| {
        let mut text = segments
            .iter()
            .fold(String::new(), |text, s| text + "/" + s);
        if open {
            text.push_str("/**");
        }
        if text.is_empty() { "/".into() } else { text }
    })
}

fn path_text() -> impl Strategy<Value = String> {
    "(/{1,2}(a|b|ab|ba)){0,5}/{0,1}"
        .prop_map(|text| if text.is_empty() { "/".into() } else { text })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn matches_as_the_plain_reading_does(pattern in pattern_text(), path in path_text()) {
        let policy = Policy::parse(&format!("[[route]]\nmatch = \"{pattern}\"")).unwrap();
        let found = matched(&policy, "GET", &path).is_some();
        prop_assert_eq!(found, reference_match(&pattern, &path), "{} {}", pattern, path);
    }

    #[test]
    fn a_rule_called_unreachable_is(
        first in pattern_text(),
        second in pattern_text(),
        path in path_text(),
    ) {
        let text = format!("[[route]]\nmatch = \"{first}\"\n[[route]]\nmatch = \"{second}\"");
        if Policy::parse(&text).is_err() && reference_match(&second, &path) {
            prop_assert!(reference_match(&first, &path), "{} {} {}", first, second, path);
        }
    }

    #[test]
    fn answers_for_any_text(text in "(?s).{0,200}") {
        if let Err(error) = Policy::parse(&text) {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
        }
    }

    #[test]
    fn answers_for_any_damage_to_a_policy(at in 0..DEMO.len(), with in "(?s).{0,3}", cut in 0..8_usize) {
        let end = (at + cut).min(DEMO.len());
        let text = format!("{}{with}{}", &DEMO[..at], &DEMO[end..]);
        if let Err(error) = Policy::parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
