//! What every answer tells a browser about itself (ASVS 5.0 §3.4).
//!
//! Nothing here is meant to be framed, embedded, sniffed or stored. Whoever answers something that
//! differs (the two pages with a style of their own, the documents that caches or any page may have) says so
//! itself, and that stands.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The answers: JSON for scripts that were let in by CORS, which none of these keeps out.
const ALL: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    // No page of another origin gets them into its process as an image or a script (Spectre).
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    // Answers hold tokens and personal data; the few that may be cached say so themselves.
    (header::CACHE_CONTROL, "no-store"),
];

/// Pages besides: no window of another origin holds on to them, and they use nothing of the device.
const PAGES: [(HeaderName, &str); 2] = [
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), clipboard-read=(), display-capture=(), geolocation=(), hid=(), \
         identity-credentials-get=(), microphone=(), payment=(), \
         publickey-credentials-create=(), publickey-credentials-get=(), serial=(), usb=()",
    ),
];

/// A year, which ASVS 3.4.1 asks for at least; of the hosts below the issuer's, too.
const HSTS: &str = "max-age=31536000; includeSubDomains";

/// Adds them to an answer; `is_tls` says whether clients come over TLS.
pub(crate) fn add(headers: &mut HeaderMap, is_tls: bool) {
    let is_page = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let pages = PAGES.into_iter().filter(|_| is_page);
    for (name, value) in ALL.into_iter().chain(pages) {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if is_tls {
        let hsts = HeaderValue::from_static(HSTS);
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
}
