//! Who may keep an answer: what a rule makes of the upstream's `Cache-Control` (RFC 9111 §5.2.2).

use alloc::string::String;

use crate::headers::ends;

/// Whether by the field `name` an answer tells caches of one kind something else than `Cache-Control`
/// (RFC 9213: `CDN-Cache-Control`, and those of each vendor; Akamai's `Edge-Control`, nginx's
/// `X-Accel-Expires`) or, as `Expires`, tells those that do not know it.
pub fn is_other_cache_field(name: &str) -> bool {
    let mut others = OTHERS.iter();
    ends(name, "-cache-control") || others.any(|other| other.eq_ignore_ascii_case(name))
}

const OTHERS: [&str; 5] = [
    "Edge-Control",
    "Expires",
    "Pragma",
    "Surrogate-Control",
    "X-Accel-Expires",
];

/// Who may keep the answers of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// Whoever the upstream says.
    #[default]
    Upstream,
    /// The client alone, for as long as the upstream says.
    Private,
    /// Nobody.
    NoStore,
}

impl Caching {
    /// `Cache-Control` of an answer that came with `upstream`; `None`: as it came.
    pub fn control(self, upstream: Option<&str>) -> Option<String> {
        match self {
            Self::Upstream => None,
            Self::NoStore => Some(String::from("no-store")),
            Self::Private => Some(private(upstream.unwrap_or_default())),
        }
    }
}

/// `upstream` without what it says to shared caches.
fn private(upstream: &str) -> String {
    // Names of fields stand in quotes, and commas in them: whoever writes so has thought of caches, and
    // is taken at the strictest.
    if upstream.contains('"') {
        return String::from("private, no-cache");
    }
    let mut control = String::from("private");
    for directive in upstream.split(',').map(str::trim) {
        let name = directive.split('=').next().unwrap_or_default().trim_end();
        let is_for_shared = ["public", "private", "s-maxage", "proxy-revalidate"]
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other));
        if !name.is_empty() && !is_for_shared {
            control.push_str(", ");
            control.push_str(directive);
        }
    }
    control
}

#[cfg(test)]
mod tests {
    use super::{Caching, is_other_cache_field};

    #[test]
    fn knows_what_else_caches_go_by() {
        for name in [
            "CDN-Cache-Control",
            "Cloudflare-CDN-Cache-Control",
            "vercel-cdn-cache-control",
            "Netlify-CDN-Cache-Control",
            "Akamai-Cache-Control",
            "Surrogate-Control",
            "edge-control",
            "X-Accel-Expires",
            "Expires",
            "pragma",
        ] {
            assert!(is_other_cache_field(name), "{name}");
        }
        for name in [
            "Cache-Control",
            "ETag",
            "Age",
            "Vary",
            "X-Accel-Buffering",
            "",
        ] {
            assert!(!is_other_cache_field(name), "{name}");
        }
    }

    #[test]
    fn leaves_to_the_client_what_the_upstream_allows_it() {
        for (upstream, expected) in [
            (None, "private"),
            (Some(""), "private"),
            (Some("public, max-age=60"), "private, max-age=60"),
            (
                Some("Public,S-MaxAge=600,max-age=60"),
                "private, max-age=60",
            ),
            (Some("private"), "private"),
            (Some("no-store"), "private, no-store"),
            (
                Some("max-age=0, must-revalidate, proxy-revalidate"),
                "private, max-age=0, must-revalidate",
            ),
            (Some("s-maxage = 5 , immutable"), "private, immutable"),
            (
                Some("private=\"x, public\", max-age=9"),
                "private, no-cache",
            ),
            (Some("no-cache=\"set-cookie\""), "private, no-cache"),
            (Some(", ,"), "private"),
        ] {
            let control = Caching::Private.control(upstream);
            assert_eq!(control.as_deref(), Some(expected), "{upstream:?}");
        }
        for upstream in [None, Some("public, max-age=60")] {
            let control = Caching::NoStore.control(upstream);
            assert_eq!(control.as_deref(), Some("no-store"));
            assert_eq!(Caching::Upstream.control(upstream), None);
        }
    }
}
