//! JSON as a verifier may read it: UTF-8, unique member names, bounded depth and width.
//!
//! `serde_json` does the lexing. What it leaves to its caller matters here: which of two members
//! of the same name counts is a classic way to make two parsers disagree, so there is no such
//! document (RFC 7515 §4, RFC 7519 §4).

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Nesting that is followed. Claims of real issuers need three levels; each level costs stack,
/// and a worker's stack is small.
pub const MAX_DEPTH: usize = 16;

/// Members of one object. Uniqueness is checked by comparing with each earlier name, so this also
/// bounds that work.
pub const MAX_MEMBERS: usize = 128;

/// A JSON value; strings borrow from the input where they contain no escape.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number written without fraction or exponent that fits.
    Integer(i64),
    /// Any other number; nothing here ever needs its value.
    OtherNumber,
    /// A string
    String(Cow<'a, str>),
    /// An array
    Array(Vec<Value<'a>>),
    /// An object
    Object(Object<'a>),
}

/// A JSON object whose member names are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// The bytes are not one JSON document within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Parses a document whose outermost value is an object.
///
/// # Errors
///
/// [`Malformed`] for anything else: a byte order mark, invalid UTF-8, a lone surrogate, a
/// duplicate member at any depth, more than [`MAX_DEPTH`] or [`MAX_MEMBERS`], trailing bytes.
pub fn parse_object(bytes: &[u8]) -> Result<Object<'_>, Malformed> {
    match parse(bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(Malformed),
    }
}

/// Parses any document.
///
/// # Errors
///
/// As [`parse_object`].
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Depth(MAX_DEPTH)
        .deserialize(&mut deserializer)
        .map_err(|_| Malformed)?;
    deserializer.end().map_err(|_| Malformed)?;
    Ok(value)
}

impl<'a> Object<'a> {
    /// The member called `name`.
    pub fn member(&self, name: &str) -> Option<&Value<'a>> {
        self.0
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Whether there is a member called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// The members in the order of the text.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl Value<'_> {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

/// Levels that may still be entered.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0
            .checked_sub(1)
            .map(Self)
            .ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(value).map_or(Value::OtherNumber, Value::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(String::from(value))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value<'de>, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(deeper)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let deeper = self.deeper()?;
        let mut members: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if members.len() == MAX_MEMBERS || members.iter().any(|(earlier, _)| *earlier == name) {
                return Err(A::Error::custom("too many members, or two of one name"));
            }
            members.push((name, map.next_value_seed(deeper)?));
        }
        Ok(Value::Object(Object(members)))
    }
}

/// A member's name, borrowed where it has no escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    #[test]
    fn reads_every_kind_of_value() {
        let object =
            parse_object(br#"{"n":null,"b":true,"i":-7,"f":1.5,"s":"a\u0062","a":[1,{}]}"#)
                .expect("well-formed");
        assert_eq!(object.member("n"), Some(&Value::Null));
        assert_eq!(object.member("b"), Some(&Value::Bool(true)));
        assert_eq!(object.member("i").and_then(Value::as_integer), Some(-7));
        assert_eq!(object.member("f"), Some(&Value::OtherNumber));
        assert_eq!(object.member("s").and_then(Value::as_str), Some("ab"));
        assert_eq!(object.members().count(), 6);
    }

    #[test]
    fn rejects_what_two_parsers_could_read_differently() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"[{"a":1,"a":1}]"#,
            r#"{"a":1}{"b":2}"#,
            r#"{"a":1},"#,
            r#"{"a":01}"#,
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":"\ud800"}"#,
            r"{'a':1}",
            r#"{"a":1,}"#,
            "{\"a\":\"\u{1}\"}",
            "\u{feff}{}",
            "[]",
            "",
        ] {
            assert_eq!(parse_object(text.as_bytes()), Err(Malformed), "{text:?}");
        }
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}"), Err(Malformed));
    }

    #[test]
    fn bounds_depth_and_width() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(parse(nested(10_000).as_bytes()).is_err());
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());

        let wide = |members: usize| {
            let members: Vec<String> = (0..members).map(|i| format!("\"{i}\":0")).collect();
            format!("{{{}}}", members.join(",")).to_string()
        };
        assert!(parse(wide(MAX_MEMBERS).as_bytes()).is_ok());
        assert!(parse(wide(MAX_MEMBERS + 1).as_bytes()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
