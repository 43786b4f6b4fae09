//! What people log in with: parsing, normal form, blind index.
//!
//! Two spellings that a person would call the same have one normal form (NFKC, lower case), and
//! that form is unique. Mail goes to the spelling that was proved, never to the one typed later:
//! a look-alike address must not receive another's code.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::number;
use crate::error::Error;
use crate::notify::Medium;
use crate::vault::{Purpose, Vault};

/// Longest identifier that is looked at, in bytes (an address has 254 at most, RFC 5321 §4.5.3).
const MAX_BYTES: usize = 254;

/// The sorts of identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A user name.
    Username,
}

impl Kind {
    /// The word that the database keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Username => "username",
        }
    }

    /// The kind of the database's word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Email, Self::Phone, Self::Username]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// How messages reach such an identifier.
    pub const fn medium(self) -> Option<Medium> {
        match self {
            Self::Email => Some(Medium::Email),
            Self::Phone => Some(Medium::Sms),
            Self::Username => None,
        }
    }

    /// What the audit trail calls it when an account or a login comes of it.
    pub const fn method(self) -> &'static str {
        match self.medium() {
            Some(medium) => medium.as_str(),
            None => self.as_str(),
        }
    }
}

/// A keyed hash that finds an identifier again.
pub type Blind = [u8; 32];

/// An identifier as somebody spelled it. Personal data: it has no `Debug`.
#[derive(Clone)]
pub struct Identifier {
    kind: Kind,
    normal: String,
    spelling: String,
}

impl Identifier {
    /// An e-mail address.
    ///
    /// # Errors
    /// [`Error::RequestInvalid`] when it is not one. A domain in another script is kept as mail servers know
    /// it (`xn--…`, UTS #46).
    pub fn email(text: &str) -> Result<Self, Error> {
        let invalid = || Error::invalid("email: expected an address such as name@example.org.");
        if text.len() > 2 * MAX_BYTES {
            return Err(invalid());
        }
        // One spelling of what is canonically equal (RFC 6532 §3.1): keyboards differ on it.
        let spelling: String = text.trim().nfc().collect();
        if spelling.len() > MAX_BYTES
            || spelling.contains(|c: char| c.is_control() || c.is_whitespace())
        {
            return Err(invalid());
        }
        let (local, domain) = spelling.rsplit_once('@').ok_or_else(invalid)?;
        let spelling = if domain.is_ascii() {
            spelling
        } else {
            let domain = idna::domain_to_ascii(domain).map_err(|_| invalid())?;
            format!("{local}@{domain}")
        };
        if spelling.len() > MAX_BYTES {
            return Err(invalid());
        }
        let (local, domain) = spelling.rsplit_once('@').ok_or_else(invalid)?;
        let domain_fits = domain.is_ascii()
            && domain.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            });
        if local.is_empty() || local.len() > 64 || local.contains('@') || !domain_fits {
            return Err(invalid());
        }
        spelling.parse::<lettre::Address>().map_err(|_| invalid())?;
        let normal = normal_form(&spelling);
        // Some characters are compatible with a space (U+00A8) or an at sign (U+FF20).
        if normal.contains(|c: char| c.is_control() || c.is_whitespace())
            || normal.matches('@').count() != 1
        {
            return Err(invalid());
        }
        Ok(Self {
            kind: Kind::Email,
            normal,
            spelling,
        })
    }

    /// A telephone number: international (`+41…`, `0041…`), or national with its country, as a
    /// calling code or by ISO 3166.
    ///
    /// # Errors
    /// [`Error::RequestInvalid`] when it is not one (E.164: at most 15 digits).
    pub fn phone(text: &str, country_code: Option<&str>) -> Result<Self, Error> {
        let invalid = || {
            Error::invalid("phone_number: expected an international number such as +41441234567.")
        };
        let dialled = digits(text).ok_or_else(invalid)?;
        let international = dialled
            .strip_prefix('+')
            .or_else(|| dialled.strip_prefix("00"));
        let normal = match (international, country_code) {
            (Some(rest), _) => number::international(rest),
            (None, Some(country)) => number::national(&dialled, country).ok_or_else(invalid)?,
            (None, None) => return Err(invalid()),
        };
        let fits = normal.strip_prefix('+').is_some_and(|digits| {
            (7..=15).contains(&digits.len())
                && !digits.starts_with('0')
                && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        if !fits {
            return Err(invalid());
        }
        Ok(Self {
            kind: Kind::Phone,
            spelling: normal.clone(),
            normal,
        })
    }

    /// A user name: 3 to 32 characters, a letter first, then letters, digits, `.`, `_`, `-`.
    ///
    /// # Errors
    /// [`Error::RequestInvalid`] when it is not one.
    pub fn username(text: &str) -> Result<Self, Error> {
        let normal = normal_form(text);
        let fits = text.len() <= MAX_BYTES
            && (3..=32).contains(&normal.chars().count())
            && normal.starts_with(char::is_alphabetic)
            && normal
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !fits {
            return Err(Error::invalid(
                "username: expected 3 to 32 letters, digits, dots, underscores or hyphens, \
                 a letter first.",
            ));
        }
        Ok(Self {
            kind: Kind::Username,
            normal,
            spelling: text.to_owned(),
        })
    }

    /// Whatever somebody types to log in. What cannot be an identifier is one that nobody has.
    ///
    /// # Errors
    /// [`Error::RequestInvalid`] when it is empty or too long to be any.
    pub fn typed(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(Error::invalid("identifier: expected 1 to 254 bytes."));
        }
        // Before its sort is told: keyboards have wide at signs, plus signs and digits.
        let text: &str = &text.nfkc().collect::<String>();
        let parsed = if text.contains('@') {
            Self::email(text)
        } else if text.starts_with(char::is_alphabetic) {
            Self::username(text)
        } else {
            Self::phone(text, None)
        };
        Ok(parsed.unwrap_or_else(|_| Self {
            kind: Kind::Username,
            // A line feed stands in no user name, so this is nobody's.
            normal: format!("\n{}", normal_form(text)),
            spelling: text.to_owned(),
        }))
    }

    /// One that was stored as `spelling`: it was read when it came in.
    pub(super) fn stored(kind: Kind, spelling: &str) -> Self {
        Self {
            kind,
            normal: match kind {
                Kind::Phone => spelling.to_owned(),
                Kind::Email | Kind::Username => normal_form(spelling),
            },
            spelling: spelling.to_owned(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The spelling to keep.
    pub fn spelling(&self) -> &str {
        &self.spelling
    }

    /// The blind index of the normal form, as it is looked up now.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn blind(&self, vault: &Vault) -> Result<Blind, Error> {
        Ok(vault.blind_index(Purpose::Identifier, &self.indexed())?)
    }

    /// The blind index under one version of the master key.
    ///
    /// # Errors
    /// When the vault has no key of that version.
    pub(super) fn blind_with(&self, vault: &Vault, version: u8) -> Result<Blind, Error> {
        Ok(vault.blind_index_with(version, Purpose::Identifier, &self.indexed())?)
    }

    fn indexed(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.normal)
    }
}

fn normal_form(text: &str) -> String {
    // Each character by itself: `str::to_lowercase` writes a sigma at the end of a word in
    // another way, so that a name's capitals would be another name. Lowering can make text that
    // is not NFKC (U+0130), so it is composed again.
    text.nfkc()
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ς' { 'σ' } else { c })
        .collect::<String>()
        .nfkc()
        .collect()
}

/// The number without what people put between digits; `None` when there is anything else.
fn digits(text: &str) -> Option<String> {
    if text.len() > 64 {
        return None;
    }
    let kept: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/'))
        .collect();
    let rest = kept.strip_prefix('+').unwrap_or(&kept);
    (!rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(parsed: Result<Identifier, Error>) -> Option<String> {
        parsed.ok().map(|identifier| identifier.normal)
    }

    #[test]
    fn spellings_that_people_call_the_same_are_one() {
        for text in [
            "Alice@Example.org",
            " alice@example.org ",
            "ＡＬＩＣＥ@example.org",
        ] {
            assert_eq!(
                normal(Identifier::email(text)).as_deref(),
                Some("alice@example.org"),
                "{text}"
            );
        }
        for (text, country) in [
            ("+41 79 123 45 67", None),
            ("0041791234567", None),
            ("079 123 45 67", Some("+41")),
            ("(079) 123-45-67", Some("41")),
        ] {
            assert_eq!(
                normal(Identifier::phone(text, country)).as_deref(),
                Some("+41791234567"),
                "{text}"
            );
        }
        assert_eq!(
            normal(Identifier::username("ＡLICE")).as_deref(),
            Some("alice")
        );
    }

    #[test]
    fn look_alikes_are_not_one() {
        let dotless = normal(Identifier::email("mıke@example.org"));
        assert_ne!(dotless, normal(Identifier::email("mike@example.org")));
    }

    #[test]
    fn rejects_what_is_no_identifier() {
        let long = format!("{}@example.org", "a".repeat(65));
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c.d",
            "a@b..c",
            "a@-b.c",
            "a@bü cher.example",
            "a@\u{200b}.example",
            "a@xn--ü.example",
            "a\u{0}@b.c",
            "a@b.c\r\nBcc: x@y.z",
            &long,
        ] {
            assert!(Identifier::email(text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "+",
            "+0123456789",
            "123456",
            "+1234567890123456",
            "++41791234567",
            "+41x",
            "１２３４５６７",
        ] {
            assert!(Identifier::phone(text, None).is_err(), "{text:?}");
        }
        assert!(Identifier::phone("0791234567", Some("+")).is_err());
        for text in ["", "ab", "1abc", "a b c", "a@b", &"a".repeat(33)] {
            assert!(Identifier::username(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_was_stored_has_the_index_that_it_had() {
        for parsed in [
            Identifier::email("Ａnna.Meier@Example.org"),
            Identifier::email("e\u{301}mile@example.org"),
            Identifier::email("anna@Bücher.example"),
            Identifier::phone("(079) 123-45-67", Some("41")),
            Identifier::username("ΟΔΥΣΣΕΥΣ"),
        ] {
            let parsed = parsed.unwrap();
            let stored = Identifier::stored(parsed.kind, &parsed.spelling);
            assert_eq!(stored.normal, parsed.normal);
        }
    }

    #[test]
    fn anything_typed_has_an_index() {
        for text in ["x", "!!!", "a b", "+1", "a@@b", "\u{202e}abc"] {
            assert!(Identifier::typed(text).is_ok(), "{text:?}");
        }
        assert!(Identifier::typed("  ").is_err());
        assert!(Identifier::typed(&"a".repeat(255)).is_err());
    }

    /// The index of what was typed, whatever it is.
    fn index(text: &str) -> Option<Blind> {
        let keys = crate::vault::MasterKeys::from_versions([(1, [7; 32])]).unwrap();
        let vault = Vault::new(&keys, crate::random::Random::seeded(1));
        let typed = Identifier::typed(text).ok()?;
        Some(typed.blind(&vault).unwrap())
    }

    #[test]
    fn case_and_width_make_no_other_identifier() {
        for (one, other) in [
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
            ("Ｊｏｅ", "joe"),
            ("ǅungla", "ǆungla"),
            ("ﬁsher", "FISHER"),
            ("É\u{301}mile", "é\u{301}MILE"),
            ("e\u{301}mile", "ÉMILE"),
            ("JOE@EXAMPLE.ORG", "joe@example.org"),
            ("joe＠example．org", "joe@example.org"),
            ("＋４１７９１２３４５６７", "+41791234567"),
            ("joe@BÜCHER.example", "joe@xn--bcher-kva.example"),
        ] {
            assert_eq!(index(one), index(other), "{one} {other}");
        }
        // Compatible with a space, an at sign.
        for text in ["a\u{a8}b@example.org", "a\u{ff20}b@example.org"] {
            assert!(Identifier::email(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_normal_forms_are_final(text in "\\PC{0,80}|.{0,80}", country in ".{0,8}") {
            proptest::prop_assert_eq!(normal_form(&normal_form(&text)), normal_form(&text));
            for parsed in [
                Identifier::email(&text),
                Identifier::phone(&text, None),
                Identifier::phone(&text, Some(&country)),
                Identifier::username(&text),
            ].into_iter().flatten() {
                let again = match parsed.kind {
                    Kind::Email => Identifier::email(&parsed.normal),
                    Kind::Phone => Identifier::phone(&parsed.normal, None),
                    Kind::Username => Identifier::username(&parsed.normal),
                };
                // The normal form of an address may be none: some letters have no composed form.
                if parsed.kind != Kind::Email || again.is_ok() {
                    proptest::prop_assert_eq!(normal(again), Some(parsed.normal));
                }
            }
            let _ = Identifier::typed(&text);
        }

        #[test]
        fn what_looks_like_an_address_is_one_or_is_refused(
            local in "[\\PC&&[^@]]{1,12}", domain in "[a-zA-Z0-9-]{1,10}(\\.[a-zA-Z0-9-]{1,10}){0,2}",
        ) {
            let text = format!("{local}@{domain}");
            if let Ok(parsed) = Identifier::email(&text) {
                proptest::prop_assert_eq!(parsed.normal.matches('@').count(), 1);
                proptest::prop_assert!(!parsed.normal.contains(char::is_whitespace));
                let decomposed: String = text.nfd().collect();
                if decomposed.len() <= MAX_BYTES {
                    proptest::prop_assert_eq!(index(&decomposed), index(&text));
                }
            }
        }

        #[test]
        fn variants_share_one_index(text in "[a-zA-Zà-öø-þα-ρσ-ωа-я][a-zA-Zà-öø-þα-ρσ-ωа-я0-9._-]{2,20}") {
            let index_of = index(&text);
            proptest::prop_assert!(index_of.is_some());
            proptest::prop_assert_eq!(&index(&text.to_uppercase()), &index_of);
            proptest::prop_assert_eq!(&index(&text.to_lowercase()), &index_of);
            let decomposed: String = text.nfd().collect();
            proptest::prop_assert_eq!(&index(&decomposed), &index_of);
            let wide: String = text
                .chars()
                .map(|c| if c.is_ascii_graphic() {
                    char::from_u32(u32::from(c) + 0xfee0).unwrap()
                } else {
                    c
                })
                .collect();
            proptest::prop_assert_eq!(&index(&wide), &index_of);
            proptest::prop_assert_eq!(&index(&format!(" {text}\t")), &index_of);
        }

        #[test]
        fn numbers_have_one_form(country in 1_u32..=9, rest in "[1-9][0-9]{5,11}", gaps in "[ ()./-]{12}") {
            let plain = format!("+{country}{rest}");
            let mut spaced = String::from("+");
            for (digit, gap) in plain[1..].chars().zip(gaps.chars().cycle()) {
                spaced.push(digit);
                spaced.push(gap);
            }
            let expected = normal(Identifier::phone(&plain, None));
            proptest::prop_assert!(expected.is_some());
            proptest::prop_assert_eq!(normal(Identifier::phone(&spaced, None)), expected.clone());
            let dialled = format!("00{}", &plain[1..]);
            proptest::prop_assert_eq!(normal(Identifier::phone(&dialled, None)), expected);
        }
    }
}
