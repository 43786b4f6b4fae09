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
