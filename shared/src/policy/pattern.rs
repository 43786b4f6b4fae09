//! What a rule's `match` says, compiled.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::path::{CanonicalPath, canonicalise};

/// A compiled path pattern.
///
/// Segments are literal, `*` (any one segment) or `{name}` (any one segment, to be
/// [captured](Self::parameters)); `**` stands only at the end and matches any number of segments,
/// none included. A trailing slash of the path makes no difference: upstreams that serve `/admin/`
/// as `/admin` would otherwise have a way around the rule for `/admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// The literal segments before the first variable one, compared first and at once.
    prefix: Box<str>,
    rest: Box<[Segment]>,
    /// Whether the pattern ends in `**`.
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Any,
    Parameter(Box<str>),
}

impl Pattern {
    /// Compiles `text`; the error says what was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(body) = text.strip_prefix('/') else {
            return Err(format!("the pattern {text:?} must start with \"/\""));
        };
        let mut prefix = String::new();
        let mut rest = Vec::new();
        let mut open = false;
        let segments: Vec<&str> = if body.is_empty() {
            Vec::new()
        } else {
            body.split('/').collect()
        };
        for (index, &segment) in segments.iter().enumerate() {
            if segment == "**" {
                if index + 1 != segments.len() {
                    return Err(format!("\"**\" may only be the last segment, in {text:?}"));
                }
                open = true;
            } else if segment == "*" {
                rest.push(Segment::Any);
            } else if let Some(name) = parameter_name(segment) {
                if rest
                    .iter()
                    .any(|s| matches!(s, Segment::Parameter(other) if **other == *name))
                {
                    return Err(format!("the parameter {{{name}}} occurs twice in {text:?}"));
                }
                rest.push(Segment::Parameter(name.into()));
            } else {
                let literal = literal(segment, text)?;
                if rest.is_empty() {
                    prefix.push('/');
                    prefix.push_str(&literal);
                } else {
                    rest.push(Segment::Literal(literal.into()));
                }
            }
        }
        // The literal parts together, so that no limit of a path is exceeded either.
        canonicalise(text.replace(['*', '{', '}'], "x").as_str()).map_err(|_| {
            format!("no request path can match {text:?}: it is too long or too deep")
        })?;
        Ok(Self {
            text: text.into(),
            prefix: prefix.into(),
            rest: rest.into(),
            open,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path` matches. Nothing is allocated.
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        let Some(mut tail) = path.as_str().strip_prefix(&*self.prefix) else {
            return false;
        };
        for segment in &self.rest {
            let Some((head, after)) = next_segment(tail) else {
                return false;
            };
            if matches!(segment, Segment::Literal(literal) if **literal != *head) {
                return false;
            }
            tail = after;
        }
        tail.is_empty() || tail == "/" || (self.open && tail.starts_with('/'))
    }

    /// The `{name}` segments with what they have in `path`, still percent-encoded; meaningful when
    /// [`matches`](Self::matches) holds.
    pub fn parameters<'s>(
        &'s self,
        path: &'s CanonicalPath<'_>,
    ) -> impl Iterator<Item = (&'s str, &'s str)> {
        let mut tail = path
            .as_str()
            .strip_prefix(&*self.prefix)
            .unwrap_or_default();
        self.rest.iter().filter_map(move |segment| {
            let (head, after) = next_segment(tail)?;
            tail = after;
            match segment {
                Segment::Parameter(name) => Some((&**name, head)),
                Segment::Literal(_) | Segment::Any => None,
            }
        })
    }

    /// The names of the `{name}` segments.
    pub(super) fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.rest.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(&**name),
            Segment::Literal(_) | Segment::Any => None,
        })
    }

    /// Whether every path that `other` matches is matched by this pattern too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        // Most pairs of rules differ at once, and there are half a million pairs.
        if !other.prefix.starts_with(&*self.prefix) {
            return false;
        }
        let mut theirs = other.segments();
        for ours in self.segments() {
            match (ours, theirs.next()) {
                (None, Some(_)) => {}
                (Some(literal), Some(Some(their))) if literal == their => {}
                _ => return false,
            }
        }
        self.open || (!other.open && theirs.next().is_none())
    }

    /// What a pattern that ends in `**` matches with nothing there, and with one segment there or more.
    pub(super) fn split(&self) -> Option<(Self, Self)> {
        if !self.open {
            return None;
        }
        let closed = Self {
            open: false,
            ..self.clone()
        };
        let more = self.rest.iter().cloned().chain([Segment::Any]);
        let deeper = Self {
            rest: more.collect(),
            ..self.clone()
        };
        Some((closed, deeper))
    }

    /// The number of its segments but `**`.
    pub(super) fn depth(&self) -> usize {
        self.segments().count()
    }

    /// Every segment but `**`; `None` is one that matches anything.
    fn segments(&self) -> impl Iterator<Item = Option<&str>> {
        let prefix = self.prefix.split('/').skip(1).map(Some);
        prefix.chain(self.rest.iter().map(|segment| match segment {
            Segment::Literal(literal) => Some(&**literal),
            Segment::Any | Segment::Parameter(_) => None,
        }))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits `/head/more` into `head` and `/more`; an empty segment is none.
fn next_segment(tail: &str) -> Option<(&str, &str)> {
    let tail = tail.strip_prefix('/')?;
    let (head, after) = tail.split_at(tail.find('/').unwrap_or(tail.len()));
    (!head.is_empty()).then_some((head, after))
}

/// The name in `{name}`: letters, digits and `_`.
fn parameter_name(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    valid.then_some(name)
}

/// A literal segment, which must be canonical: a rule that no path can match protects nothing.
fn literal(segment: &str, pattern: &str) -> Result<String, String> {
    if segment.is_empty() {
        return Err(format!(
            "empty segment in {pattern:?}: expected no \"//\" and no \"/\" at the end \
             (a trailing slash makes no difference to matching)"
        ));
    }
    if segment.contains('*') {
        return Err(format!(
            "{segment:?} in {pattern:?}: expected \"*\" or \"**\" as a whole segment, \
             or \"%2A\" for a literal asterisk"
        ));
    }
    if segment.contains(['{', '}']) {
        return Err(format!(
            "{segment:?} in {pattern:?}: expected {{name}} as a whole segment, the name made of \
             letters, digits and \"_\""
        ));
    }
    let rooted = format!("/{segment}");
    let canonical = canonicalise(rooted.as_str()).map_err(|_| {
        format!("no request path can match {pattern:?}: {segment:?} is refused in every path")
    })?;
    // A literal `*` is canonical unescaped, but in a pattern that is a wildcard.
    if canonical.as_str() != rooted.replace("%2A", "*") {
        return Err(format!(
            "{segment:?} in {pattern:?} is not canonical: expected {:?}",
            canonical
                .as_str()
                .trim_start_matches('/')
                .replace('*', "%2A")
        ));
    }
    Ok(canonical.as_str().trim_start_matches('/').to_owned())
}
