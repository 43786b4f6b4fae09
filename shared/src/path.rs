//! The one reading of a request's path: what policy sees is what upstream gets, or 400.
//!
//! A gate that matches one reading of a path and forwards another lets requests past its rules:
//! every published bypass of that kind is two parsers that disagree about dot segments, encoded
//! delimiters, double encoding, path parameters or look-alike characters. So a path is brought to
//! one canonical form before anything looks at it, that form is what is forwarded, and a path that
//! a known upstream would read in another way is refused.
//!
//! The steps: [length](MAX_PATH_BYTES) → percent-decode → well-formed UTF-8 → no character that is
//! refused → no segment that is refused → write the canonical form.
//!
//! In the canonical form (RFC 3986 §6.2.2)
//!
//! - a character that a path may hold literally is literal (`%41` and `A` are both `A`, `%40` and
//!   `@` are both `@`), everything else is percent-encoded as UTF-8 with upper-case digits,
//! - repeated slashes are one (nginx, Apache and Go's router merge them, so that `//admin` reaches
//!   `/admin`),
//! - a trailing slash is kept, and case is kept.
//!
//! Two spellings of the same octets therefore have the same canonical form, and the canonical form
//! of a canonical path is itself.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::error::Rejection;

mod ambiguous;

/// The longest path in bytes, raw and canonical: 8 KiB.
///
/// nginx, Apache and Node refuse longer request lines by default, so a longer path cannot be
/// served behind most upstreams, and the limit bounds what a hostile path costs.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// The most segments of a path.
///
/// Deeper than any route; it bounds what matching one path against a thousand rules costs.
pub const MAX_PATH_SEGMENTS: usize = 128;

/// A path in its canonical form: it starts with `/` and is visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

impl CanonicalPath<'_> {
    /// The path as policy matches it and upstream gets it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the raw path was canonical already, so that nothing was allocated.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }

    /// The same path, holding its own text.
    pub fn into_owned(self) -> CanonicalPath<'static> {
        CanonicalPath(Cow::Owned(self.0.into_owned()))
    }

    /// The segments, still percent-encoded; `/` has none and a trailing slash adds none.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

impl AsRef<str> for CanonicalPath<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CanonicalPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Brings the path of a request target to its canonical form.
///
/// `raw` is the path of an origin-form target (RFC 9112 §3.2.1) without `?` and the query.
/// A path that is canonical already is borrowed.
///
/// # Errors
/// [`Rejection::PathInvalid`] when the path has no form that everybody reads alike; the reference
/// in `docs/policy.md` lists what that is.
pub fn canonicalise<R: AsRef<[u8]> + ?Sized>(raw: &R) -> Result<CanonicalPath<'_>, Rejection> {
    let raw = raw.as_ref();
    if raw.len() > MAX_PATH_BYTES || raw.first() != Some(&b'/') {
        return Err(Rejection::PathInvalid);
    }
    if is_plainly_canonical(raw) {
        let text = core::str::from_utf8(raw).map_err(|_| Rejection::PathInvalid)?;
        return Ok(CanonicalPath(Cow::Borrowed(text)));
    }
    let decoded = decode(raw)?;
    let decoded = core::str::from_utf8(&decoded).map_err(|_| Rejection::PathInvalid)?;
    if decoded.chars().any(is_refused) || looks_encoded_twice(decoded.as_bytes()) {
        return Err(Rejection::PathInvalid);
    }
    let canonical = encode(decoded)?;
    // A canonical spelling that needs the long way (it has an escape) is still borrowed.
    if canonical.as_bytes() == raw {
        let text = core::str::from_utf8(raw).map_err(|_| Rejection::PathInvalid)?;
        return Ok(CanonicalPath(Cow::Borrowed(text)));
    }
    Ok(CanonicalPath(Cow::Owned(canonical)))
}

/// What may stand literally in a segment: `pchar` of RFC 3986 §3.3 without `%` and without `;`.
const fn stands_literally(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' // unreserved
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' // sub-delims
            | b':' | b'@'
        )
}

/// The same as a table: every byte of every request's path is looked up here.
const LITERAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = stands_literally(byte);
        byte += 1;
    }
    table
};

fn is_literal(byte: u8) -> bool {
    LITERAL[usize::from(byte)]
}

/// One pass over the bytes for the usual case: nothing to decode, nothing to merge.
fn is_plainly_canonical(raw: &[u8]) -> bool {
    let mut segments = 0;
    let mut previous = 0;
    for &byte in raw {
        if byte == b'/' {
            // `//` is to be merged, `./` ends a segment in a dot.
            if matches!(previous, b'/' | b'.') {
                return false;
            }
            segments += 1;
        } else if !is_literal(byte) || (byte == b'$' && previous == b':') {
            return false;
        }
        previous = byte;
    }
    previous != b'.' && segments <= MAX_PATH_SEGMENTS
}

/// Whether a segment of a canonical path says `text`, once decoded.
pub(crate) fn says(segment: &str, text: &str) -> bool {
    decode(segment.as_bytes()).is_ok_and(|decoded| decoded == text.as_bytes())
}

/// Undoes percent-encoding once, refusing the octets that mean something to somebody.
fn decode(raw: &[u8]) -> Result<Vec<u8>, Rejection> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'%' => {
                let octet = match (rest.next(), rest.next()) {
                    (Some(&high), Some(&low)) => hex(high)? << 4 | hex(low)?,
                    _ => return Err(Rejection::PathInvalid),
                };
                // `%2F` is a separator to some upstreams and data to others.
                if octet == b'/' {
                    return Err(Rejection::PathInvalid);
                }
                decoded.push(octet);
            }
            // No request line may hold it (RFC 9112 §3.2), and lenient parsers cut there.
            b' ' => return Err(Rejection::PathInvalid),
            _ => decoded.push(byte),
        }
    }
    Ok(decoded)
}

fn hex(digit: u8) -> Result<u8, Rejection> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Rejection::PathInvalid),
    }
}

/// Whether a character is refused, however it was spelled.
fn is_refused(c: char) -> bool {
    match c {
        // Windows and browsers read a backslash as a slash. Servlet containers cut path parameters
        // off at `;`. Rewriting proxies decode `%3F` and `%23` and then cut the path there
        // (CVE-2024-38474), so that `/admin%3Fx` arrives as `/admin`.
        '\\' | ';' | '?' | '#' => true,
        // C0, DEL and C1: header injection, truncation at NUL, terminal tricks in logs.
        _ if c.is_control() => true,
        _ if c.is_ascii() => false,
        _ => ambiguous::is_ambiguous(c),
    }
}

/// Whether decoding once more would change the path: `%252e`, and IIS's `%u002e`.
fn looks_encoded_twice(decoded: &[u8]) -> bool {
    decoded.windows(3).any(|w| {
        w[0] == b'%'
            && w[2].is_ascii_hexdigit()
            && (w[1].is_ascii_hexdigit() || matches!(w[1], b'u' | b'U'))
    })
}

/// Writes the canonical form, segment by segment.
fn encode(decoded: &str) -> Result<String, Rejection> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut canonical = String::with_capacity(decoded.len());
    let mut segments = 0;
    for segment in decoded.split('/').filter(|segment| !segment.is_empty()) {
        segments += 1;
        // `.` and `..` are dot segments; Windows strips dots and spaces from the end of a name, so
        // that `admin.` and `admin%20` are `admin` there. `::$DATA` names a file's own content.
        if segments > MAX_PATH_SEGMENTS || segment.ends_with(['.', ' ']) || segment.contains("::$")
        {
            return Err(Rejection::PathInvalid);
        }
        canonical.push('/');
        for byte in segment.bytes() {
            if is_literal(byte) {
                canonical.push(char::from(byte));
            } else {
                canonical.push('%');
                canonical.push(char::from(DIGITS[usize::from(byte >> 4)]));
                canonical.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    if decoded.ends_with('/') {
        canonical.push('/');
    }
    // Literal characters outside ASCII grow threefold: the limit holds for the result as well.
    if canonical.len() > MAX_PATH_BYTES {
        return Err(Rejection::PathInvalid);
    }
    Ok(canonical)
}
