//! What a rule says about the upstream.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::fields::{Fields, HEADER, HEADER_VALUE, Read, URL, fault};
use crate::headers::{HOP_BY_HOP, begins_with_word, fold, is_second_place, must_strip};
use crate::url;

/// The most header fields that a rule sets: more would crowd out the client's own.
const MAX_HEADERS: usize = 16;

/// Names and values of header fields.
pub(super) type Headers = Box<[(Box<str>, Box<str>)]>;

/// Where what passes is sent, without a slash at the end.
pub(super) fn base(fields: &Fields<'_, '_>) -> Read<Option<Box<str>>> {
    let Some((text, at)) = fields.string("upstream")? else {
        return Ok(None);
    };
    let text = URL.check("upstream", text, at)?;
    Ok(url::base(&text).map(Into::into))
}

/// Fields by which a request is judged or known, `Expect`, which ends at the gate, and `Set-Cookie`, which
/// is an answer's.
const OWN: [&str; 8] = [
    "authorization",
    "cookie",
    "expect",
    "host",
    "origin",
    "sec-websocket-protocol",
    "set-cookie",
    "x-request-id",
];

/// Whether no rule may set a field, nor take an address from it, in any spelling: every spelling of what a
/// rule sets is taken away from all clients' requests ([`Policy::sets_header`](super::Policy::sets_header)).
pub(super) fn is_reserved(name: &[u8]) -> bool {
    let mut named = HOP_BY_HOP.iter().chain(&OWN);
    // Without a letter it is no name to whoever takes its letters and digits alone.
    !name.iter().any(u8::is_ascii_alphabetic)
        || must_strip(name)
        || is_second_place(name)
        || begins_with_word(b"content", name)
        || named.any(|known| fold(known.as_bytes()).eq(fold(name)))
}

/// Header fields that the upstream gets: none by which requests are framed, routed or judged.
pub(super) fn headers(fields: &Fields<'_, '_>) -> Read<Headers> {
    let Some(fields) = fields.table("headers")? else {
        return Ok(Headers::default());
    };
    let entries = fields.strings()?;
    if entries.is_empty() || entries.len() > MAX_HEADERS {
        return fault(
            fields.at,
            format!(
                "\"headers\" has {} fields, expected 1 to {MAX_HEADERS}",
                entries.len()
            ),
        );
    }
    let mut checked: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (name, at, value, value_at) in entries {
        let name = HEADER.check("headers", name, at)?;
        if is_reserved(name.as_bytes()) {
            return fault(
                at,
                format!("\"headers\" has {name:?}, which a rule may not set"),
            );
        }
        let is_same = |other: &str| fold(other.as_bytes()).eq(fold(name.as_bytes()));
        if let Some((other, _)) = checked.iter().find(|(other, _)| is_same(other)) {
            let message =
                format!("\"headers\" has {name:?} twice: many read {other:?} as the same");
            return fault(at, message);
        }
        let value = HEADER_VALUE.check(&name, value, value_at)?;
        checked.push((name, value));
    }
    Ok(checked.into())
}
