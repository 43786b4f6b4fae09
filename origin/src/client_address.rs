//! Who is asking, when proxies stand between.
//!
//! What a client sends can say anything. So a header counts only when the connection comes from a
//! proxy that the configuration trusts, only the one header that is configured counts, and it is
//! read from the right: a proxy adds its word at the end, and what a client made up stands left of
//! it. The answer is the nearest address that is no trusted proxy's.
//!
//! Whatever cannot be read (a garbled entry, `unknown`, an obfuscated name, no header at all) ends
//! the reading at the proxy that sent it, and the request counts as that proxy's own. It is never
//! exempt from a limit, and never counts as somebody of its sender's choosing.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, header};

use crate::config::{ClientAddressHeader, TrustedProxy};

/// The address that limits count and sessions remember.
pub fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[TrustedProxy],
    from: ClientAddressHeader,
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|proxy| proxy.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    match from {
        ClientAddressHeader::XForwardedFor => {
            let lines = headers.get_all("x-forwarded-for");
            // A line that is no text is one entry that is no address.
            let entries = lines
                .iter()
                .rev()
                .map(|line| line.to_str().unwrap_or_default())
                .flat_map(|line| line.rsplit(',').map(|entry| node(entry.trim())));
            nearest(peer, entries, is_trusted)
        }
        ClientAddressHeader::Forwarded => {
            let lines = headers.get_all("forwarded");
            let entries = lines
                .iter()
                .rev()
                .flat_map(|line| forwarded_for(line).into_iter().rev());
            nearest(peer, entries, is_trusted)
        }
        ClientAddressHeader::CfConnectingIp => {
            let mut lines = headers.get_all("cf-connecting-ip").iter();
            let (Some(line), None) = (lines.next(), lines.next()) else {
                return peer;
            };
            let given = line.to_str().ok().and_then(|text| text.trim().parse().ok());
            given.map_or(peer, |address: IpAddr| address.to_canonical())
        }
    }
}

/// Follows entries, the last proxy's first, through those that are trusted.
fn nearest(
    peer: IpAddr,
    entries: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut nearest = peer;
    for entry in entries {
        let Some(address) = entry else { break };
        nearest = address.to_canonical();
        if !is_trusted(nearest) {
            break;
        }
    }
    nearest
}

/// An address as proxies write it: alone, with a port, or in brackets (RFC 7239 §6).
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let bracketed = text.strip_prefix('[')?.strip_suffix(']')?;
    bracketed.parse().ok().map(IpAddr::V6)
}

/// The `for` of each element of one `Forwarded` line (RFC 7239 §4), in order. A line that does not
/// follow the grammar is one element that names nobody: a quote that a client left open would
/// otherwise swallow what the proxy wrote after it.
fn forwarded_for(line: &HeaderValue) -> Vec<Option<IpAddr>> {
    line.to_str()
        .ok()
        .and_then(elements)
        .unwrap_or_else(|| vec![None])
}

fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let mut address = None;
        let mut has_for = false;
        // One element: pairs separated by semicolons.
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            let (name, after) = rest.split_once('=')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let (value, after) = value(after)?;
            if name.eq_ignore_ascii_case("for") {
                // Twice is against the grammar, and two readers could differ on which counts.
                if has_for {
                    return None;
                }
                has_for = true;
                address = node(&value);
            }
            rest = after.trim_start_matches([' ', '\t']);
            match rest.strip_prefix(';') {
                Some(more) => rest = more,
                None => break,
            }
        }
        found.push(address);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Some(found),
            None => return None,
        }
    }
}

/// A token or a quoted string at the beginning of `text`, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .bytes()
            .position(|byte| !is_token(byte))
            .unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Headers by which a proxy tells whom it asks for.
const SIGNS_OF_A_PROXY: [&str; 4] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
];

/// Whether a request is of whoever sits at this machine: its connection comes from loopback without a
/// proxy between, and it is addressed to loopback, or a page elsewhere could send it under a name of
/// its own that resolves here.
pub fn is_local(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = match host.rsplit_once(':') {
        // The colon of a port, not one of an address in brackets.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    peer.is_some_and(|peer| peer.to_canonical().is_loopback())
        && !SIGNS_OF_A_PROXY
            .iter()
            .any(|name| headers.contains_key(*name))
        && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    const XFF: ClientAddressHeader = ClientAddressHeader::XForwardedFor;
    const FORWARDED: ClientAddressHeader = ClientAddressHeader::Forwarded;
    const CLOUDFLARE: ClientAddressHeader = ClientAddressHeader::CfConnectingIp;

    fn proxies(texts: &[&str]) -> Vec<TrustedProxy> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn name(header: ClientAddressHeader) -> HeaderName {
        HeaderName::from_static(match header {
            XFF => "x-forwarded-for",
            FORWARDED => "forwarded",
            CLOUDFLARE => "cf-connecting-ip",
        })
    }

    #[track_caller]
    fn assert_seen(
        header: ClientAddressHeader,
        peer: &str,
        lines: &[&str],
        trusted: &[&str],
        expected: &str,
    ) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                name(header),
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        let peer = peer.parse().unwrap();
        let seen = client_address(peer, &headers, &proxies(trusted), header);
        assert_eq!(seen.to_string(), expected, "{lines:?}");
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_through_trusted_proxies() {
        let ten = &["10.0.0.0/8"][..];
        for (peer, lines, trusted, expected) in [
            // Nobody is trusted, or not this one.
            ("203.0.113.9", &["198.51.100.1"][..], &[][..], "203.0.113.9"),
            ("203.0.113.9", &["198.51.100.1"], ten, "203.0.113.9"),
            ("11.0.0.1", &["198.51.100.1"], ten, "11.0.0.1"),
            // The nearest stranger; what stands left of it was made up.
            ("10.0.0.1", &["198.51.100.1"], ten, "198.51.100.1"),
            ("10.9.8.7", &["6.6.6.6, 198.51.100.1"], ten, "198.51.100.1"),
            (
                "10.0.0.1",
                &["6.6.6.6", "198.51.100.1, 10.0.0.2"],
                ten,
                "198.51.100.1",
            ),
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"], ten, "10.0.0.3"),
            (
                "::ffff:10.0.0.1",
                &["::ffff:198.51.100.1"],
                ten,
                "198.51.100.1",
            ),
            (
                "2001:db8::1",
                &["2001:db8:1::5"],
                &["2001:db8::/48"],
                "2001:db8:1::5",
            ),
            (
                "10.0.0.1",
                &["198.51.100.1"],
                &["::ffff:10.0.0.0/104"],
                "198.51.100.1",
            ),
            // As some proxies write them.
            ("10.0.0.1", &["198.51.100.1:4711"], ten, "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], ten, "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], ten, "2001:db8::7"),
            // What cannot be read is the proxy's own that sent it.
            ("10.0.0.1", &[], ten, "10.0.0.1"),
            ("10.0.0.1", &[""], ten, "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6, unknown"], ten, "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6,"], ten, "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6, garbage, 10.0.0.2"], ten, "10.0.0.2"),
            ("10.0.0.1", &["010.0.0.9"], ten, "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1/32"], ten, "10.0.0.1"),
            ("10.0.0.1", &["fe80::1%eth0"], ten, "10.0.0.1"),
            ("10.0.0.1", &["3325256705"], ten, "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1", "é"], ten, "10.0.0.1"),
        ] {
            assert_seen(XFF, peer, lines, trusted, expected);
        }
    }

    #[test]
    fn forwarded_is_read_by_its_grammar() {
        let ten = &["10.0.0.0/8"][..];
        for (lines, expected) in [
            (&["for=198.51.100.1"][..], "198.51.100.1"),
            (
                &["For=\"198.51.100.1:4711\";proto=https;by=10.0.0.1"],
                "198.51.100.1",
            ),
            (&["for=6.6.6.6, for=\"[2001:db8::7]:80\""], "2001:db8::7"),
            (
                &["for=6.6.6.6", "proto=http;for=198.51.100.1, for=10.0.0.2"],
                "198.51.100.1",
            ),
            (&["for=\"198.51.\\100.1\""], "198.51.100.1"),
            // Nobody that can be counted.
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["for=6.6.6.6, for=unknown"], "10.0.0.1"),
            (&["for=6.6.6.6, for=_hidden"], "10.0.0.1"),
            (&["for=6.6.6.6, proto=https"], "10.0.0.1"),
            (&["for=6.6.6.6, for=2001:db8::7"], "10.0.0.1"),
            (&["for=6.6.6.6;for=198.51.100.1"], "10.0.0.1"),
            (&["for=6.6.6.6,"], "10.0.0.1"),
            (&["for = 6.6.6.6"], "10.0.0.1"),
            // A quote left open does not make what the proxy wrote part of it.
            (&["for=\"6.6.6.6, for=198.51.100.1"], "10.0.0.1"),
            (&["for=\"", "for=198.51.100.1"], "198.51.100.1"),
            (&["for=\"6.6.6.6, for=\"x\"", "for=10.0.0.2"], "10.0.0.2"),
        ] {
            assert_seen(FORWARDED, "10.0.0.1", lines, ten, expected);
        }
    }

    #[test]
    fn cloudflare_names_one_client() {
        for (peer, lines, expected) in [
            ("10.0.0.1", &["198.51.100.1"][..], "198.51.100.1"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 6.6.6.6"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1", "6.6.6.6"], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
        ] {
            assert_seen(CLOUDFLARE, peer, lines, &["10.0.0.0/8"], expected);
        }
    }

    #[test]
    fn only_the_configured_header_is_believed() {
        for configured in [XFF, FORWARDED, CLOUDFLARE] {
            let mut headers = HeaderMap::new();
            for other in [XFF, FORWARDED, CLOUDFLARE] {
                if other != configured {
                    headers.insert(name(other), HeaderValue::from_static("6.6.6.6"));
                    headers.append(name(other), HeaderValue::from_static("for=6.6.6.6"));
                }
            }
            for spoofed in [
                "x-real-ip",
                "true-client-ip",
                "x-client-ip",
                "x_forwarded_for",
            ] {
                headers.insert(spoofed, HeaderValue::from_static("6.6.6.6"));
            }
            let peer = "10.0.0.1".parse().unwrap();
            let seen = client_address(peer, &headers, &proxies(&["10.0.0.1"]), configured);
            assert_eq!(seen, peer);
        }
    }

    #[test]
    fn addresses_and_networks_are_proxies_and_nothing_else_is() {
        for text in [
            "10.0.0.1",
            "10.0.0.0/8",
            "2001:db8::/32",
            "::1",
            "10.0.0.1/8",
        ] {
            assert!(text.parse::<TrustedProxy>().is_ok(), "{text}");
        }
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "localhost",
            "*",
            "10.0.0.1:80",
        ] {
            assert!(text.parse::<TrustedProxy>().is_err(), "{text}");
        }
        let ten: TrustedProxy = "10.0.0.1".parse().unwrap();
        assert!(!ten.contains("10.0.0.2".parse().unwrap()));
    }

    proptest! {
        /// Whatever a client writes left of what the proxy adds: it is counted as itself.
        #[test]
        fn nothing_a_client_sends_makes_it_somebody_else(
            lines: Vec<Vec<u8>>,
            text in "(for=|\"|,|;|10\\.0\\.0\\.1|6\\.6\\.6\\.6|unknown| |\\[|\\]|:|=){0,12}",
        ) {
            let trusted = proxies(&["10.0.0.0/8"]);
            let (proxy, stranger): (IpAddr, IpAddr) =
                ("10.0.0.1".parse().unwrap(), "203.0.113.9".parse().unwrap());
            for header in [XFF, FORWARDED, CLOUDFLARE] {
                let mut headers = HeaderMap::new();
                for line in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
                    headers.append(name(header), line);
                }
                headers.append(name(header), text.parse().unwrap());
                // Without a trusted proxy nothing is read.
                prop_assert_eq!(client_address(stranger, &headers, &trusted, header), stranger);
                // A proxy that adds a line of its own.
                let added = if header == FORWARDED { "for=203.0.113.9" } else { "203.0.113.9" };
                if header != CLOUDFLARE {
                    headers.append(name(header), HeaderValue::from_static(added));
                    prop_assert_eq!(client_address(proxy, &headers, &trusted, header), stranger);
                }
                // A proxy that adds to the last line: the client, or the proxy itself.
                let joined = format!("{text}, {added}");
                headers.clear();
                headers.append(name(header), joined.parse().unwrap());
                let seen = client_address(proxy, &headers, &trusted, header);
                prop_assert!(seen == stranger || (header != XFF && seen == proxy), "{}", seen);
            }
        }
    }

    #[test]
    fn only_the_one_at_the_machine_may_look() {
        let local = |peer: &str, headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            is_local(peer.parse().ok(), &map)
        };
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(local("127.0.0.1", &[("host", host)]), "{host}");
            assert!(local("::1", &[("host", host)]), "{host}");
            assert!(local("::ffff:127.0.0.1", &[("host", host)]), "{host}");
            assert!(!local("192.0.2.1", &[("host", host)]), "{host}");
            assert!(!local("", &[("host", host)]), "{host}");
            for forwarded in SIGNS_OF_A_PROXY {
                assert!(!local("127.0.0.1", &[("host", host), (forwarded, "x")]));
            }
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil.example",
            "::1",
        ] {
            assert!(!local("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(!local("127.0.0.1", &[]));
    }
}
