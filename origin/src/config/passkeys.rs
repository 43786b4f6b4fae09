//! `[passkeys]`: under which name, and from which pages, passkeys are made and used.

use serde::Deserialize;
use url::Url;

use super::Config;
use super::check::Wrong;

/// `[passkeys]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Passkeys {
    /// The domain that passkeys belong to: that of every page that uses them, or one above it.
    /// Unset: the host of the public URL; where that is an IP address, there are no passkeys.
    /// Changing it makes every passkey useless.
    pub rp_id: Option<String>,
    /// More origins whose pages may use passkeys, like `https://app.example.com`; that of the
    /// public URL may always. Each has to be `rp_id` or below it.
    pub origins: Vec<String>,
    /// Passkeys that one account may have.
    pub max_per_account: u32,
}

impl Default for Passkeys {
    fn default() -> Self {
        Self {
            rp_id: None,
            origins: Vec::new(),
            max_per_account: 10,
        }
    }
}

impl Passkeys {
    pub(super) fn check(&self, config: &Config, wrong: &mut Wrong) {
        wrong.expect(
            (1..=100).contains(&self.max_per_account),
            "passkeys.max_per_account",
            "expected 1 to 100",
        );
        let rp_id = config.rp_id();
        wrong.expect(
            self.rp_id.is_none() || rp_id.is_some(),
            "passkeys.rp_id",
            "expected a domain in lower case, without port",
        );
        wrong.expect(
            self.origins.is_empty() || rp_id.is_some(),
            "passkeys.origins",
            "expected passkeys.rp_id, because server.public_url has no domain",
        );
        let rp_id = rp_id.unwrap_or_default();
        wrong.expect(
            self.origins.iter().all(|text| is_origin_below(text, &rp_id)),
            "passkeys.origins",
            "expected origins (https, or http on localhost) whose hosts are passkeys.rp_id or below it",
        );
        wrong.expect(
            self.rp_id.is_none() || is_below(&config.issuer(), &rp_id) || !self.origins.is_empty(),
            "passkeys.rp_id",
            "expected the host of server.public_url or a domain above it, or passkeys.origins",
        );
    }
}

/// An origin as a browser spells it, on a secure channel, of a host that `rp_id` covers.
fn is_origin_below(text: &str, rp_id: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let is_secure = url.scheme() == "https" || (url.scheme() == "http" && is_localhost(&url));
    is_secure && url.origin().ascii_serialization() == text && is_below(text, rp_id)
}

fn is_localhost(url: &Url) -> bool {
    let host = url.domain().unwrap_or_default();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_below(url: &str, rp_id: &str) -> bool {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::domain).unwrap_or_default();
    host == rp_id
        || host
            .strip_suffix(rp_id)
            .is_some_and(|rest| rest.ends_with('.'))
}

impl Config {
    /// The domain that passkeys belong to; `None` where there is none.
    pub fn rp_id(&self) -> Option<String> {
        let Some(rp_id) = &self.passkeys.rp_id else {
            let url = Url::parse(&self.issuer()).ok()?;
            return url.domain().map(str::to_owned);
        };
        // A browser spells it so; an IP address is no domain.
        let url = Url::parse(&format!("https://{rp_id}")).ok()?;
        (url.domain() == Some(rp_id)).then(|| rp_id.clone())
    }

    /// The origins whose pages may use passkeys.
    pub(crate) fn passkey_origins(&self) -> Vec<Url> {
        let rp_id = self.rp_id().unwrap_or_default();
        let own = Some(self.issuer()).filter(|issuer| is_below(issuer, &rp_id));
        own.iter()
            .chain(&self.passkeys.origins)
            .filter_map(|text| Url::parse(text).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConfigError;
    use super::*;

    /// The key that is refused, or nothing.
    fn refused(public_url: &str, rp_id: Option<&str>, origins: &[&str], max: u32) -> &'static str {
        let mut config = Config::default();
        config.server.public_url = Some(public_url.to_owned());
        config.passkeys = Passkeys {
            rp_id: rp_id.map(str::to_owned),
            origins: origins.iter().map(|&text| text.to_owned()).collect(),
            max_per_account: max,
        };
        match config.check() {
            Ok(()) => "",
            Err(ConfigError::Impossible { key, .. }) => key,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_domain_covers_itself_and_what_is_below() {
        const URL: &str = "https://id.example.com";
        const RP_ID: &str = "passkeys.rp_id";
        const ORIGINS: &str = "passkeys.origins";
        let table: &[(&str, Option<&str>, &[&str], &str)] = &[
            (URL, None, &[], ""),
            (URL, Some("id.example.com"), &[], ""),
            (URL, Some("example.com"), &[], ""),
            (URL, Some("example.com"), &["https://app.example.com"], ""),
            (URL, Some("example.com"), &["https://example.com:8443"], ""),
            // Another domain has pages of its own, or it is a mistake.
            (URL, Some("example.org"), &[], RP_ID),
            (URL, Some("example.org"), &["https://example.org"], ""),
            // Not below it, though it looks so.
            (URL, Some("d.example.com"), &[], RP_ID),
            (URL, Some("a.id.example.com"), &[], RP_ID),
            (URL, None, &["https://evil-id.example.com"], ORIGINS),
            (URL, None, &["https://id.example.com.evil.test"], ORIGINS),
            (URL, None, &["https://example.com"], ORIGINS),
            // A domain as a browser spells it.
            (URL, Some("Example.com"), &[], RP_ID),
            (URL, Some("example.com:443"), &[], RP_ID),
            (URL, Some("https://example.com"), &[], RP_ID),
            (URL, Some("example.com/"), &[], RP_ID),
            (URL, Some("192.0.2.1"), &[], RP_ID),
            (URL, Some(""), &[], RP_ID),
            // An origin as a browser spells it.
            (URL, None, &["https://id.example.com/"], ORIGINS),
            (URL, None, &["https://id.example.com:443"], ORIGINS),
            (URL, None, &["https://ID.example.com"], ORIGINS),
            (URL, None, &["https://u@id.example.com"], ORIGINS),
            (URL, None, &["http://id.example.com"], ORIGINS),
            (URL, None, &["id.example.com"], ORIGINS),
            (URL, None, &["null"], ORIGINS),
            (URL, None, &[""], ORIGINS),
            // Without a domain there are no passkeys, which is a mistake only where some are wanted.
            ("http://127.0.0.1:8080", None, &[], ""),
            ("http://[::1]:8080", None, &[], ""),
            (
                "http://127.0.0.1:8080",
                None,
                &["http://localhost:3000"],
                ORIGINS,
            ),
            ("http://127.0.0.1:8080", Some("localhost"), &[], RP_ID),
            (
                "http://127.0.0.1:8080",
                Some("localhost"),
                &["http://localhost:3000"],
                "",
            ),
            (
                "http://localhost:8080",
                None,
                &["http://app.localhost:3000"],
                "",
            ),
        ];
        for &(url, rp_id, origins, expected) in table {
            let key = refused(url, rp_id, origins, 10);
            assert_eq!(key, expected, "{url} {rp_id:?} {origins:?}");
        }
        for (max, expected) in [
            (0, "passkeys.max_per_account"),
            (1, ""),
            (100, ""),
            (101, "passkeys.max_per_account"),
        ] {
            assert_eq!(refused(URL, None, &[], max), expected, "{max}");
        }
    }

    #[test]
    fn the_public_url_is_an_origin_only_where_the_domain_covers_it() {
        let origins = |rp_id: &str| {
            let mut config = Config::default();
            config.server.public_url = Some("https://id.example.com".to_owned());
            config.passkeys.rp_id = Some(rp_id.to_owned());
            config.passkeys.origins = vec!["https://app.example.org".to_owned()];
            let origins = config.passkey_origins();
            origins
                .iter()
                .map(|url| url.origin().ascii_serialization())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            origins("example.com"),
            ["https://id.example.com", "https://app.example.org"]
        );
        assert_eq!(origins("example.org"), ["https://app.example.org"]);
    }
}
