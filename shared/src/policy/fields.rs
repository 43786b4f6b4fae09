//! Reading one TOML table, key by key, with errors that name the place.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::host;
use super::rule::OWN_ISSUER;
use crate::url;

/// The most values in one list: a rule that needs more should ask for a role or a wider scope.
pub const MAX_LIST: usize = 64;
/// The longest name, scope, role and so on, in bytes; longer ones would not fit a header either.
const MAX_VALUE_BYTES: usize = 256;

/// What is wrong, and the byte at which.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

pub(super) type Read<T> = Result<T, Fault>;
pub(super) type Strings = Box<[Box<str>]>;

pub(super) fn fault<T>(at: usize, message: String) -> Read<T> {
    Err(Fault { at, message })
}

/// A table that is being read.
pub(super) struct Fields<'t, 'i> {
    pub(super) table: &'t DeTable<'i>,
    /// Where it begins.
    pub(super) at: usize,
}

impl<'t, 'i> Fields<'t, 'i> {
    pub(super) fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    /// Where a key stands, or else the table.
    pub(super) fn position(&self, key: &str) -> usize {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map_or(self.at, |(name, _)| name.span().start)
    }

    /// The first of these keys in the text, and where it stands.
    pub(super) fn first_of<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, usize)> {
        keys.iter()
            .filter(|key| self.value(key).is_some())
            .map(|key| (*key, self.position(key)))
            .min_by_key(|&(_, at)| at)
    }

    /// Refuses every key that is not in the list, the first in the text first.
    pub(super) fn only(&self, known: &[&str]) -> Read<()> {
        let unknown = self
            .table
            .iter()
            .map(|(name, _)| (name.span().start, name.get_ref()))
            .filter(|(_, name)| !known.contains(&name.as_ref()))
            .min();
        match unknown {
            None => Ok(()),
            Some((at, name)) => fault(
                at,
                format!("unknown key {name:?}, expected one of {}", known.join(", ")),
            ),
        }
    }

    pub(super) fn string(&self, key: &str) -> Read<Option<(&'t str, usize)>> {
        self.value(key).map(|value| string(key, value)).transpose()
    }

    pub(super) fn choice<'k>(&self, key: &str, choices: &[&'k str]) -> Read<Option<&'k str>> {
        let Some((text, at)) = self.string(key)? else {
            return Ok(None);
        };
        match choices.iter().find(|choice| **choice == text) {
            Some(choice) => Ok(Some(choice)),
            None => fault(
                at,
                format!(
                    "\"{key}\" is {text:?}, expected one of {}",
                    choices.join(", ")
                ),
            ),
        }
    }

    pub(super) fn boolean(&self, key: &str) -> Read<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.get_ref() {
                DeValue::Boolean(flag) => Ok(Some(*flag)),
                other => fault(
                    value.span().start,
                    format!("\"{key}\" is {}, expected true or false", kind(other)),
                ),
            },
        }
    }

    pub(super) fn integer(&self, key: &str, least: i64, most: i64) -> Read<Option<(i64, usize)>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let at = value.span().start;
        let DeValue::Integer(integer) = value.get_ref() else {
            return fault(
                at,
                format!(
                    "\"{key}\" is {}, expected a whole number",
                    kind(value.get_ref())
                ),
            );
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some((number, at))),
            _ => fault(
                at,
                format!("\"{key}\" is {integer}, expected {least} to {most}"),
            ),
        }
    }

    pub(super) fn seconds(&self, key: &str, least: i64, most: i64) -> Read<Option<u32>> {
        Ok(self
            .integer(key, least, most)?
            .and_then(|(seconds, _)| u32::try_from(seconds).ok()))
    }

    pub(super) fn table(&self, key: &str) -> Read<Option<Fields<'t, 'i>>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => Ok(Some(Fields {
                    table,
                    at: self.position(key),
                })),
                other => fault(
                    value.span().start,
                    format!("\"{key}\" is {}, expected a table", kind(other)),
                ),
            },
        }
    }

    /// The entries of a table of strings.
    pub(super) fn strings(&self) -> Read<Vec<(&'t str, usize, &'t str, usize)>> {
        let mut entries = self
            .table
            .iter()
            .map(|(name, value)| {
                let (text, at) = string(name.get_ref(), value)?;
                Ok((&**name.get_ref(), name.span().start, text, at))
            })
            .collect::<Read<Vec<_>>>()?;
        // In the order in which they are written, whatever order the parser keeps.
        entries.sort_unstable_by_key(|&(_, at, ..)| at);
        Ok(entries)
    }

    /// A list of strings; one string stands for a list of one. An empty list is refused: whether
    /// it means everything or nothing is anybody's guess.
    pub(super) fn list(&self, key: &str, form: &Form) -> Read<Option<Strings>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let at = value.span().start;
        let entries = match value.get_ref() {
            DeValue::String(text) => return Ok(Some(Box::new([form.check(key, text, at)?]))),
            DeValue::Array(entries) => entries,
            other => {
                return fault(
                    at,
                    format!("\"{key}\" is {}, expected a list of strings", kind(other)),
                );
            }
        };
        if entries.is_empty() || entries.len() > MAX_LIST {
            return fault(
                at,
                format!(
                    "\"{key}\" has {} values, expected 1 to {MAX_LIST}",
                    entries.len()
                ),
            );
        }
        entries
            .iter()
            .map(|entry| {
                let (text, at) = string(key, entry)?;
                form.check(key, text, at)
            })
            .collect::<Read<Strings>>()
            .map(Some)
    }
}

fn string<'t>(key: &str, value: &'t Spanned<DeValue<'_>>) -> Read<(&'t str, usize)> {
    let at = value.span().start;
    match value.get_ref() {
        DeValue::String(text) => Ok((text, at)),
        other => fault(
            at,
            format!("\"{key}\" is {}, expected a string", kind(other)),
        ),
    }
}

pub(super) const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What a string must look like.
pub(super) struct Form {
    expected: &'static str,
    admits: fn(&str) -> bool,
}

impl Form {
    fn takes(&self, text: &str) -> bool {
        !text.is_empty() && text.len() <= MAX_VALUE_BYTES && (self.admits)(text)
    }

    pub(super) fn check(&self, key: &str, text: &str, at: usize) -> Read<Box<str>> {
        if !self.takes(text) {
            return fault(
                at,
                format!("\"{key}\" has {text:?}, expected {}", self.expected),
            );
        }
        Ok(text.into())
    }
}

pub(super) const METHOD: Form = Form {
    expected: "a method in upper case, such as \"GET\"",
    admits: |text| text.bytes().all(|b| is_tchar(b) && !b.is_ascii_lowercase()),
};
/// `scope-token` of RFC 6749 §3.3, which is also what fits into a challenge's quoted string.
pub(super) const TOKEN: Form = Form {
    expected: "visible ASCII without spaces, quotes and backslashes, at most 256 bytes",
    admits: |text| {
        text.bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    },
};
pub(super) const ISSUER: Form = Form {
    expected: "\"own\" or an issuer exactly as its tokens name it, such as \"https://id.example\", at \
               most 256 bytes",
    admits: |text| text == OWN_ISSUER || is_issuer(text),
};
pub(super) const NAME: Form = Form {
    expected: "text without control characters, at most 256 bytes",
    admits: |text| !text.chars().any(char::is_control),
};
pub(super) const HEADER: Form = Form {
    expected: "a name of letters, digits and !#$%&'*+-.^_`|~",
    admits: |text| text.bytes().all(is_tchar),
};
pub(super) const BINDING: Form = Form {
    expected: "a name of letters, digits and _, such as \"API_LIMIT\"",
    admits: |text| {
        !text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    },
};
pub(super) const HOST: Form = Form {
    expected: "a host in lower case and without a port, such as \"api.example\", or \
               \"*.example\" for all below it",
    admits: host::is_pattern,
};
/// What a header field's value may hold (RFC 9110 §5.5), without what trimming would change.
pub(super) const HEADER_VALUE: Form = Form {
    expected: "visible ASCII, with spaces inside only, at most 256 bytes",
    admits: |text| text.trim() == text && text.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
};
pub(super) const URL: Form = Form {
    expected: "an absolute http or https URL without user and query, with a host and a port that exist and \
               a canonical path, such as \"https://reports.internal\"",
    admits: |text| url::base(text).is_some(),
};
pub(super) const ORIGIN: Form = Form {
    expected: "an origin as browsers send it, such as \"https://app.example\" (lower case, no \
               default port, no path)",
    admits: is_origin,
};
pub(super) const ORIGIN_OR_ANY: Form = Form {
    expected: "\"*\" or an origin as browsers send it, such as \"https://app.example\" (lower \
               case, no default port, no path)",
    admits: |text| text == "*" || is_origin(text),
};

/// `tchar` of RFC 9110 §5.6.2.
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `text` can be what a rule asks of roles, permissions, methods and the like: text without
/// control characters, as long as a value may be.
pub fn is_name(text: &str) -> bool {
    NAME.takes(text)
}

/// Whether `text` can be a scope or an authentication context that a rule asks for: visible ASCII that
/// a challenge can quote (`scope-token`, RFC 6749 §3.3), as long as a value may be.
pub fn is_scope_token(text: &str) -> bool {
    TOKEN.takes(text)
}

/// Whether `text` can be the name of an issuer: an absolute http or https URL without query and
/// fragment (RFC 8414 §2), as long as a value may be.
pub fn is_issuer(text: &str) -> bool {
    text.len() <= MAX_VALUE_BYTES && is_issuer_url(text)
}

/// A name, and nothing that is asked: it is compared as it stands.
fn is_issuer_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains('@')
            && rest
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\'))
    })
}

/// The serialisation of an origin (RFC 6454 §6.2); `null` is everybody's and so never allowed.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
        });
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_ok = port.is_none_or(|port| {
        port.parse::<u16>()
            .is_ok_and(|number| number.to_string() == port)
            && !matches!((scheme, port), ("https", "443") | ("http", "80"))
    });
    let host_ok = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => {
            !address.is_empty()
                && address
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b':' | b'.'))
        }
        None => {
            !host.is_empty()
                && host.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_')
                })
        }
    };
    scheme_ok && host_ok && port_ok
}
