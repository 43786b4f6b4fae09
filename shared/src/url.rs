//! The URLs that a gate is told to ask, looked at where they are written: one that the platform cannot
//! ask, or would ask in another spelling, is noticed before somebody waits for it.

use alloc::string::ToString as _;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::path::canonicalise;

/// Whether `text` is an absolute http or https URL without user and fragment whose host and port exist.
pub fn is_absolute(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
    split(text).is_some_and(|(authority, _)| is_authority(authority)) && text.bytes().all(plain)
}

/// `text` without slashes at its end, where it is a URL to put a path behind: [absolute](is_absolute),
/// without a query, and with a canonical path, so that what the policy has seen is what is sent.
pub fn base(text: &str) -> Option<&str> {
    if !is_absolute(text) {
        return None;
    }
    let trimmed = text.trim_end_matches('/');
    let (_, path) = split(trimmed)?;
    let is_canonical = || canonicalise(path).is_ok_and(|path| path.is_borrowed());
    (path.is_empty() || is_canonical()).then_some(trimmed)
}

/// What stands between the scheme and the path, and what comes after it.
fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))?;
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

/// A host, with or without a port. A user is no part of it: browsers and workers send no such thing.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    is_host(host) && port.is_none_or(is_port)
}

fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    // The URL standard reads a number at the end as part of an address: 127.1 would be 127.0.0.1.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number =
        |label: &str| label.starts_with(|c: char| c.is_ascii_digit()) && is_integer(label);
    if is_number(last) {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    host.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(plain))
}

/// As the URL standard has it: in decimal, or in hexadecimal after `0x`.
fn is_integer(label: &str) -> bool {
    match label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"))
    {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// In the one spelling that every port has; there is no port 0.
fn is_port(text: &str) -> bool {
    text.parse::<u16>()
        .is_ok_and(|port| port != 0 && port.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_ones_that_can_be_asked() {
        for (url, is_one) in [
            ("https://api.example", true),
            ("http://API_1.example:8080/a?b", true),
            ("http://localhost.:1", true),
            ("http://127.0.0.1:65535", true),
            ("http://[::1]:8080/", true),
            ("http://[::ffff:192.0.2.1]", true),
            ("https://www.example/jwk/securetoken@system", true),
            ("http://x:99999", false),
            ("http://x:0", false),
            ("http://x:080", false),
            ("http://x:+80", false),
            ("http://x:", false),
            ("http://:80", false),
            ("http://[::1", false),
            ("http://::1", false),
            ("http://[::1]x", false),
            ("http://[]", false),
            ("http://[127.0.0.1]", false),
            ("http://[fe80::1%25eth0]", false),
            ("http://a%zz", false),
            ("http://a|b", false),
            ("http://*", false),
            ("http://a..b", false),
            ("http://.", false),
            ("http://127.1", false),
            ("http://1.2.3.256", false),
            ("http://1.2.3.4.5", false),
            ("http://0x7f000001", false),
            ("http://a.0x7f", false),
            ("http://a.1x", true),
            ("http://user@x", false),
            ("http://user:password@x", false),
            ("http://x/#a", false),
            ("http://x\\y", false),
            ("http://x/ y", false),
            ("http://ä", false),
            ("http:///a", false),
            ("http://?a", false),
            ("http://", false),
            ("HTTP://x", false),
            ("ftp://x", false),
            ("x:80", false),
            ("", false),
        ] {
            assert_eq!(is_absolute(url), is_one, "{url}");
        }
    }

    #[test]
    fn a_path_is_put_behind_a_path_that_everybody_reads_alike() {
        for (url, expected) in [
            ("http://x", Some("http://x")),
            ("http://x/", Some("http://x")),
            ("http://x//", Some("http://x")),
            ("http://x:8080/v1/", Some("http://x:8080/v1")),
            ("http://x/a@b/%C3%A9", Some("http://x/a@b/%C3%A9")),
            ("http://x/a/../b", None),
            ("http://x/..", None),
            ("http://x/a//b", None),
            ("http://x/%61", None),
            ("http://x/a%2fb", None),
            ("http://x/a;b", None),
            ("http://x/a|b", None),
            ("http://x?a", None),
            ("http://x/?a", None),
            ("http://x:0/a", None),
        ] {
            assert_eq!(base(url), expected, "{url}");
        }
    }
}
