//! The hosts that a rule is for.

/// Whether the host of a `Host` header is `pattern`: a name in lower case, or `*.` and the name of
/// a domain, for everything below it.
///
/// A port and the dot of a full name make no difference, nor does case (RFC 9110 §4.2.3).
pub(super) fn matches(pattern: &str, host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    match pattern.strip_prefix('*') {
        None => name.eq_ignore_ascii_case(pattern),
        Some(domain) => name.len().checked_sub(domain.len()).is_some_and(|at| {
            at > 0 && name.is_char_boundary(at) && name[at..].eq_ignore_ascii_case(domain)
        }),
    }
}

/// Whether every host of `other` is one of `pattern`.
pub(super) fn covers(pattern: &str, other: &str) -> bool {
    match (pattern.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(domain), Some(narrower)) => narrower.ends_with(domain),
        (None, Some(_)) => false,
        (_, None) => matches(pattern, other),
    }
}

/// What a policy may say: labels of letters, digits and `-`, behind `*.` or not.
pub(super) fn is_pattern(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    name.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::{covers, is_pattern, matches};

    #[test]
    fn a_name_is_that_host_and_a_star_everything_below() {
        for (pattern, host, expected) in [
            ("api.example", "api.example", true),
            ("api.example", "API.Example", true),
            ("api.example", "api.example:8443", true),
            ("api.example", "api.example.", true),
            ("api.example", "api.example.:80", true),
            ("api.example", "xapi.example", false),
            ("api.example", "api.example.evil", false),
            ("api.example", "api.example:x", false),
            ("api.example", "", false),
            ("*.example", "api.example", true),
            ("*.example", "a.b.example:1", true),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "evilexample", false),
            ("*.example", "api.example.evil", false),
            ("*.example", "\u{e4}.example", true),
            ("*.example", "\u{e4}example", false),
            ("127.0.0.1", "127.0.0.1:8787", true),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn covers_what_it_matches() {
        for (pattern, other, expected) in [
            ("a.example", "a.example", true),
            ("*.example", "a.example", true),
            ("*.example", "*.example", true),
            ("*.example", "*.b.example", true),
            ("*.b.example", "*.example", false),
            ("*.example", "example", false),
            ("a.example", "*.example", false),
            ("*.example", "*.other", false),
        ] {
            assert_eq!(covers(pattern, other), expected, "{pattern} {other}");
        }
    }

    #[test]
    fn is_written_in_lower_case_and_without_a_port() {
        for good in [
            "a",
            "a.example",
            "*.example",
            "xn--e1afmkfd.example",
            "127.0.0.1",
        ] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "A.example",
            "a.example:80",
            "a..b",
            ".a",
            "a.",
            "**.a",
            "a.*.b",
            "a/b",
            "[::1]",
            "\u{e4}.example",
            "https://a",
        ] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
