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
    /// CORS, no cookies. Where the issuer is https, so are they, but for a developer's
    /// `http://localhost:3000`: that is another site, so it has CORS and no cookie.
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
        // On loopback nobody listens in, but who serves there is whoever took the port: no page of
        // a developer's machine, or of a user's, is to get at a cookie by it.
        let is_served = |text: &String| {
            text.starts_with("https://")
                || (self.same_site == SameSite::Strict
                    && Url::parse(text).is_ok_and(|url| super::is_loopback(&url)))
        };
        wrong.expect(
            !is_tls || self.allowed_origins.iter().all(is_served),
            "browser.allowed_origins",
            "expected https, because server.public_url is: a page without TLS is anybody's; with \
             same_site = \"strict\" also http on localhost or a loopback address",
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

#[cfg(test)]
mod tests {
    use super::*;

    const TLS: &str = "https://auth.example.org";
    const LOOPBACK: &str = "http://localhost:8080";

    /// Whether the settings can be, at an issuer.
    fn stands(issuer: &str, allowed_origins: &[&str], same_site: SameSite) -> bool {
        let browser = Browser {
            allowed_origins: allowed_origins.iter().map(|&text| text.into()).collect(),
            same_site,
        };
        let mut wrong = Wrong::default();
        browser.check(issuer, &mut wrong);
        wrong.is_empty()
    }

    #[test]
    fn origins_are_spelled_as_browsers_spell_them() {
        for (origin, fits) in [
            ("https://app.example.org", true),
            ("https://app.example.org:8443", true),
            ("https://192.0.2.1", true),
            ("https://[2001:db8::1]:8443", true),
            ("https://xn--bcher-kva.example", true),
            ("https://app.example.org/", false),
            ("https://app.example.org/page", false),
            ("https://app.example.org?a", false),
            ("https://app.example.org#a", false),
            ("https://app.example.org:443", false),
            ("https://app.example.org:", false),
            ("https://APP.example.org", false),
            ("HTTPS://app.example.org", false),
            ("https://b\u{fc}cher.example", false),
            ("https://[2001:DB8::1]", false),
            ("https://0x7f.1", false),
            ("https://user@app.example.org", false),
            ("https://*.example.org", false),
            ("https://*", false),
            ("*", false),
            ("null", false),
            ("", false),
            (" https://app.example.org", false),
            ("app.example.org", false),
            ("//app.example.org", false),
            ("ftp://app.example.org", false),
            ("file:///srv/app", false),
            ("com.example.app:/welcome", false),
        ] {
            for issuer in [TLS, LOOPBACK] {
                let strict = SameSite::Strict;
                assert_eq!(stands(issuer, &[origin], strict), fits, "{origin} {issuer}");
                // One that fits does not make up for another.
                let both = ["https://other.example.org", origin];
                assert_eq!(stands(issuer, &both, strict), fits, "{origin} {issuer}");
            }
        }
    }

    #[test]
    fn pages_without_tls_are_for_issuers_without_or_on_loopback_and_never_get_a_third_party_cookie()
    {
        use SameSite::{None, Strict};
        for (issuer, origin, same_site, fits) in [
            (TLS, "http://app.example.org", Strict, false),
            (TLS, "http://app.example.org", None, false),
            (TLS, "http://localhost", Strict, true),
            (TLS, "http://localhost:3000", Strict, true),
            (TLS, "http://127.0.0.1:3000", Strict, true),
            (TLS, "http://127.1.2.3", Strict, true),
            (TLS, "http://[::1]:3000", Strict, true),
            (TLS, "http://localhost:3000", None, false),
            (TLS, "http://127.0.0.1:3000", None, false),
            (TLS, "https://localhost:3000", None, true),
            (TLS, "https://app.example.net", None, true),
            // Not every resolver keeps these names on the machine.
            (TLS, "http://app.localhost", Strict, false),
            (TLS, "http://localhost.example.org", Strict, false),
            (TLS, "http://192.168.0.2:3000", Strict, false),
            (LOOPBACK, "http://localhost:3000", Strict, true),
            (LOOPBACK, "http://app.id.localhost", Strict, true),
            (LOOPBACK, "http://app.example.org", Strict, true),
            // Browsers take such a cookie over TLS only.
            (LOOPBACK, "https://app.example.org", None, false),
        ] {
            assert_eq!(
                stands(issuer, &[origin], same_site),
                fits,
                "{issuer} {origin} {same_site:?}"
            );
        }
        assert!(stands(TLS, &[], None) && stands(LOOPBACK, &[], Strict));
        assert!(!stands(LOOPBACK, &[], None));
    }

    #[test]
    fn only_the_very_origin_is_served() {
        let browser = Browser {
            allowed_origins: vec!["https://app.example.org".into()],
            ..Browser::default()
        };
        assert!(browser.allows(b"https://app.example.org"));
        for other in [
            &b"https://app.example.org.evil.test"[..],
            b"https://APP.example.org",
            b"https://app.example.org:443",
            b"https://app.example.org/",
            b"http://app.example.org",
            b"https://app.example.or",
            b"null",
            b"",
            b"\xff",
        ] {
            assert!(!browser.allows(other), "{other:?}");
        }
    }
}
