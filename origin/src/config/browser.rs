//! `[browser]`: which pages may call this server from a browser, and how their cookie is kept.

use serde::Deserialize;
use url::Url;

use super::check::Wrong;

/// `[browser]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Browser {
    /// Origins of the pages that may call this server by CORS and keep their refresh token in a
    /// cookie: scheme, host and port as browsers write them, `https://app.example.org`. None: no
    /// CORS, no cookies.
    pub allowed_origins: Vec<String>,
    /// `strict` reaches pages of the same site (`app.example.org` and `auth.example.org`); `none`
    /// is for pages of another site, which browsers that refuse third-party cookies do not serve.
    pub same_site: SameSite,
}

/// What a browser sends the cookie along with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Requests of pages of the same site.
    #[default]
    Strict,
    /// Requests of any page; needs TLS.
    None,
}

impl Browser {
    /// Whether pages of this origin are served. Compared byte for byte, as Fetch §3.2 does.
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.allowed_origins
            .iter()
            .any(|allowed| allowed.as_bytes() == origin)
    }

    pub(super) fn check(&self, issuer: &str, wrong: &mut Wrong) {
        let is_tls = issuer.starts_with("https://");
        wrong.expect(
            self.allowed_origins.iter().all(|text| is_origin(text)),
            "browser.allowed_origins",
            "expected origins as browsers write them: http or https, host in lower case, port \
             unless it is the scheme's own, no path, no trailing slash, no *",
        );
        wrong.expect(
            !is_tls
                || self.allowed_origins.iter().all(|text| {
                    text.starts_with("https://")
                        || Url::parse(text).is_ok_and(|url| super::is_loopback(&url))
                }),
            "browser.allowed_origins",
            "expected https, because server.public_url is https: a page without TLS is anybody's",
        );
        wrong.expect(
            is_tls || self.same_site == SameSite::Strict,
            "browser.same_site",
            "expected strict, because browsers take none with https only",
        );
    }
}

/// Whether `text` is the one serialisation of an origin (HTML §7.1.1).
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && !text.contains('*')
            && url.origin().ascii_serialization() == text
    })
}
