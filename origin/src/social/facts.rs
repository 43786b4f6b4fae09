//! What a provider says of a person, read from its JSON.

use std::collections::BTreeMap;

use edgekeep_shared::json::{Object, Value};

use super::Failure;

/// Longest subject (OpenID Connect Core §2: 255 ASCII characters).
const MAX_SUBJECT: usize = 255;

/// Longest text that is kept of anything else: an address has 254 bytes, a name here 200 characters.
const MAX_TEXT: usize = 1_024;

/// The members that hold it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) subject: &'a str,
    /// Whether the subject may be an integer, as GitHub has it.
    pub(super) subject_may_be_number: bool,
    pub(super) email: Option<&'a str>,
    pub(super) email_verified: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

/// The members of ID tokens and of `userinfo` (OpenID Connect Core §5.1).
pub(super) const OIDC: Fields<'_> = Fields {
    subject: "sub",
    subject_may_be_number: false,
    email: Some("email"),
    email_verified: Some("email_verified"),
    name: Some("name"),
};

/// A person, as the provider has them. Personal data: it has no `Debug`.
pub(super) struct Facts {
    /// What identifies the person there, and is never given to another.
    pub(super) subject: String,
    /// The address.
    pub(super) email: Option<String>,
    /// What the provider says of that address. None where it says nothing that can be understood;
    /// the string `"true"` is nothing, since nobody can say what else its writer calls true.
    pub(super) email_verified: Option<bool>,
    /// The name.
    pub(super) name: Option<String>,
    /// When the person last proved to the provider who they are, in seconds since 1970, where an
    /// ID token says so.
    pub(super) authenticated_at: Option<i64>,
    /// Every member that is a text.
    texts: BTreeMap<String, String>,
}

impl Facts {
    /// Reads the person that `object` is about.
    pub(super) fn read(object: &Object<'_>, fields: &Fields<'_>) -> Result<Self, Failure> {
        let subject = match object.member(fields.subject) {
            Some(Value::String(text)) => text.clone().into_owned(),
            Some(Value::Integer(number)) if fields.subject_may_be_number => number.to_string(),
            _ => return Err(Failure::Refused("no subject")),
        };
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.contains(char::is_control) {
            return Err(Failure::Refused("a subject that cannot be one"));
        }
        let texts: BTreeMap<String, String> = object
            .members()
            .filter_map(|(name, value)| {
                let text = value.as_str().filter(|text| text.len() <= MAX_TEXT)?;
                Some((name.to_owned(), text.to_owned()))
            })
            .collect();
        let text = |name: Option<&str>| texts.get(name?).filter(|text| !text.is_empty()).cloned();
        let verified = fields.email_verified.and_then(|name| object.member(name));
        Ok(Self {
            subject,
            email: text(fields.email),
            email_verified: match verified {
                Some(Value::Bool(verified)) => Some(*verified),
                _ => None,
            },
            name: text(fields.name),
            authenticated_at: None,
            texts,
        })
    }

    /// Adds what `other`, the same person's, says beyond. Address and its verification come from
    /// one document: what one calls verified is not the address in the other.
    pub(super) fn add(&mut self, other: Self) {
        if other.email.is_some() && (self.email.is_none() || self.email_verified.is_none()) {
            self.email = other.email;
            self.email_verified = other.email_verified;
        }
        self.name = self.name.take().or(other.name);
        for (name, text) in other.texts {
            self.texts.entry(name).or_insert(text);
        }
    }

    /// Whether each claim of `required` has one of its values.
    pub(super) fn meets(&self, required: &BTreeMap<String, Vec<String>>) -> bool {
        required.iter().all(|(name, values)| {
            self.texts
                .get(name)
                .is_some_and(|text| values.contains(text))
        })
    }

    /// The address, where the provider says that it is verified.
    pub(super) fn verified_email(&self) -> Option<&str> {
        self.email
            .as_deref()
            .filter(|_| self.email_verified == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use edgekeep_shared::json;

    use super::*;

    fn facts(text: &str) -> Result<Facts, Failure> {
        Facts::read(&json::parse_object(text.as_bytes()).unwrap(), &OIDC)
    }

    #[test]
    fn only_true_is_verified() {
        for (member, verified) in [
            (r#","email_verified":true"#, true),
            (r#","email_verified":false"#, false),
            (r#","email_verified":"true""#, false),
            (r#","email_verified":1"#, false),
            (r#","email_verified":null"#, false),
            (r#","email_verified":[true]"#, false),
            ("", false),
        ] {
            let facts =
                facts(&format!(r#"{{"sub":"1","email":"a@example.org"{member}}}"#)).unwrap();
            assert_eq!(facts.verified_email().is_some(), verified, "{member}");
        }
    }

    #[test]
    fn subjects_are_texts_of_a_bounded_length() {
        let longest = "a".repeat(MAX_SUBJECT);
        for good in ["1", "auth0|5", &longest] {
            assert!(facts(&format!(r#"{{"sub":"{good}"}}"#)).is_ok(), "{good}");
        }
        for bad in [
            "1",
            "null",
            "\"\"",
            "[\"1\"]",
            "true",
            "\"a\\u0000\"",
            &format!("\"{longest}a\""),
        ] {
            assert!(facts(&format!(r#"{{"sub":{bad}}}"#)).is_err(), "{bad}");
        }
        let github = Fields {
            subject: "id",
            subject_may_be_number: true,
            ..OIDC
        };
        let object = json::parse_object(br#"{"id":583231}"#).unwrap();
        assert_eq!(Facts::read(&object, &github).unwrap().subject, "583231");
        let object = json::parse_object(br#"{"id":1.5}"#).unwrap();
        assert!(Facts::read(&object, &github).is_err());
    }

    #[test]
    fn an_address_is_verified_by_the_document_that_names_it() {
        let mut token = facts(r#"{"sub":"1","email":"a@example.org"}"#).unwrap();
        token.add(facts(r#"{"sub":"1","email_verified":true}"#).unwrap());
        assert_eq!(token.verified_email(), None);
        let mut token = facts(r#"{"sub":"1","email":"a@example.org"}"#).unwrap();
        token.add(facts(r#"{"sub":"1","email":"b@example.org","email_verified":true}"#).unwrap());
        assert_eq!(token.verified_email(), Some("b@example.org"));
        let mut token =
            facts(r#"{"sub":"1","email":"a@example.org","email_verified":false}"#).unwrap();
        token.add(facts(r#"{"sub":"1","email":"b@example.org","email_verified":true}"#).unwrap());
        assert_eq!(token.verified_email(), None);
    }

    #[test]
    fn requirements_are_met_to_the_letter() {
        let required = |value: &str| BTreeMap::from([("hd".to_owned(), vec![value.to_owned()])]);
        let with = facts(r#"{"sub":"1","hd":"example.com"}"#).unwrap();
        assert!(with.meets(&required("example.com")));
        for other in ["Example.com", "example.co", "xexample.com", ""] {
            assert!(!with.meets(&required(other)), "{other}");
        }
        for lacks in [r#"{"sub":"1"}"#, r#"{"sub":"1","hd":["example.com"]}"#] {
            assert!(
                !facts(lacks).unwrap().meets(&required("example.com")),
                "{lacks}"
            );
        }
    }
}
