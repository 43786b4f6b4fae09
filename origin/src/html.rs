//! The little HTML that is written here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Appends `text` so that it cannot become markup, neither between tags nor in a quoted attribute.
pub(crate) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

/// A `Content-Security-Policy` under which a page has its own `style`, by its hash, and no more.
pub(crate) fn content_security_policy(style: &str) -> String {
    format!(
        "default-src 'none'; style-src {}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        source(style)
    )
}

/// The same for a page with a `script` of its own, which asks this server and no other.
pub(crate) fn content_security_policy_with_script(style: &str, script: &str) -> String {
    format!(
        "{}; script-src {}; connect-src 'self'",
        content_security_policy(style),
        source(script)
    )
}

/// What stands between tags, as a policy names it.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}
