//! What a user agent says of its device, for people to recognise their own by.
//!
//! The few programs and systems that nearly everybody has, by the tokens that they have put into the
//! header for years; whatever else is `other`, and the header itself is shown beside. A user agent
//! is what its sender likes it to be: nothing is decided by it. The crates made for this bring
//! tables of many hundred kilobytes, to name devices that these words already tell apart for their
//! owner.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use utoipa::ToSchema;

/// What sort of device a user agent speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeviceType {
    /// A computer.
    Desktop,
    /// A telephone.
    Phone,
    /// A tablet.
    Tablet,
    /// A program without person in front of it.
    Program,
    /// Anything else, or nothing was said.
    Other,
}

/// A device as a user agent describes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) kind: DeviceType,
    pub(crate) name: Option<String>,
}

/// Browsers by their token, those first that also have the tokens of others.
const BROWSERS: [(&str, &str); 12] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

/// Systems by their token, those first that also have the tokens of others.
const SYSTEMS: [(&str, &str); 10] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("Darwin/", "an Apple device"),
    ("FreeBSD", "FreeBSD"),
    ("Linux", "Linux"),
];

/// Longest name of a program taken over from a user agent.
const MAX_PROGRAM: usize = 40;

/// The device that a user agent speaks of.
pub(crate) fn of(user_agent: Option<&str>) -> Device {
    let other = Device {
        kind: DeviceType::Other,
        name: None,
    };
    let Some(text) = user_agent.map(str::trim).filter(|text| !text.is_empty()) else {
        return other;
    };
    let first = |known: &[(&str, &'static str)]| {
        known
            .iter()
            .find_map(|(token, name)| text.contains(token).then_some(*name))
    };
    let system = first(&SYSTEMS);
    let is_browser = text.starts_with("Mozilla/");
    let kind = match system {
        Some("iPad") => DeviceType::Tablet,
        // A tablet's browser leaves `Mobile` out; an application's library says neither.
        Some("Android") if is_browser && !text.contains("Mobile") => DeviceType::Tablet,
        Some("iPhone" | "Android") => DeviceType::Phone,
        Some("an Apple device") | None => DeviceType::Other,
        Some(_) => DeviceType::Desktop,
    };
    if !is_browser {
        // `product/version …` (RFC 9110 §10.1.5): an application, or a library that speaks for one.
        let program = text.split(['/', ' ']).next().unwrap_or_default();
        let is_name = (1..=MAX_PROGRAM).contains(&program.len())
            && program
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        return Device {
            kind: if system.is_none() && is_name {
                DeviceType::Program
            } else {
                kind
            },
            name: is_name.then(|| match system {
                Some(system) => format!("{program} on {system}"),
                None => program.to_owned(),
            }),
        };
    }
    let name = match (first(&BROWSERS), system) {
        (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
        (Some(only), None) | (None, Some(only)) => Some(only.to_owned()),
        (None, None) => None,
    };
    Device { kind, name }
}

/// The network of an address as its owner may recognise it: a /16, or of IPv6 a /32, which is what
/// a provider is given. Finer is shown nowhere but to themselves.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            format!("{}/16", Ipv4Addr::new(a, b, 0, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            format!("{}/32", Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_user_agents_are_named() {
        use DeviceType::{Desktop, Other, Phone, Program, Tablet};
        for (text, kind, name) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
                Desktop,
                Some("Firefox on Windows"),
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
                Desktop,
                Some("Safari on macOS"),
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
                Desktop,
                Some("Chrome on Linux"),
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
                Desktop,
                Some("Edge on Windows"),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1",
                Phone,
                Some("Chrome on iPhone"),
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
                Tablet,
                Some("Safari on iPad"),
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
                Phone,
                Some("Chrome on Android"),
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; SM-X200) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Safari/537.36",
                Tablet,
                Some("Samsung Internet on Android"),
            ),
            ("Bank/4.2 (Android 14)", Phone, Some("Bank on Android")),
            (
                "Bank/118 CFNetwork/1496 Darwin/23.5.0",
                Other,
                Some("Bank on an Apple device"),
            ),
            ("curl/8.7.1", Program, Some("curl")),
            ("test", Program, Some("test")),
            ("<script>alert(1)</script>", Other, None),
            ("Mozilla/5.0", Other, None),
            ("", Other, None),
        ] {
            let device = of(Some(text));
            assert_eq!(
                (device.kind, device.name.as_deref()),
                (kind, name),
                "{text}"
            );
        }
        assert_eq!(of(None).kind, Other);
    }

    #[test]
    fn networks_are_coarse() {
        for (address, expected) in [
            ("203.0.113.7", "203.0.0.0/16"),
            ("::ffff:203.0.113.7", "203.0.0.0/16"),
            ("2001:db8:1:2:3::4", "2001:db8::/32"),
            ("::1", "::/32"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_user_agent_panics_and_names_are_plain(text in "\\PC{0,200}|.{0,200}|Mozilla/5.0 \\(\\PC{0,40}\\)\\PC{0,40}") {
            if let Some(name) = of(Some(&text)).name {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte);
                proptest::prop_assert!(name.bytes().all(plain), "{}", name);
                proptest::prop_assert!(name.len() <= 80);
            }
        }
    }
}
