//! What a person says of themselves: none of it decides anything, all of it is sealed in one piece.

use serde::{Deserialize, Serialize};

use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::vault::Purpose;

/// Longest name, in characters.
const MAX_NAME: usize = 200;

/// Longest language tag (RFC 5646 §4.4.1).
const MAX_LOCALE: usize = 35;

/// Longest name of a time zone; the longest of the IANA database has 30 bytes.
const MAX_TIME_ZONE: usize = 64;

/// Longest URL, in bytes.
const MAX_URL: usize = 2_048;

/// What a person says of themselves; what is left out or null is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Profile {
    /// The full name, or the one by which they want to be called; at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// At most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// What others see; at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// A language tag such as `de-CH` (RFC 5646).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 35)]
    pub locale: Option<String>,
    /// A time zone such as `Europe/Zurich`, by its name in the IANA database.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub time_zone: Option<String>,
    /// Where a picture is: an https URL of at most 2048 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

impl Profile {
    /// The profile as it may be kept.
    ///
    /// # Errors
    /// [`Error::RequestInvalid`] with the field and what was expected.
    pub fn checked(self) -> Result<Self, Error> {
        Ok(Self {
            name: checked_name("name", self.name)?,
            given_name: checked_name("given_name", self.given_name)?,
            family_name: checked_name("family_name", self.family_name)?,
            display_name: checked_name("display_name", self.display_name)?,
            locale: checked(
                self.locale,
                is_language_tag,
                "locale: expected a tag like de-CH.",
            )?,
            time_zone: checked(
                self.time_zone,
                is_time_zone,
                "time_zone: expected a name like Europe/Zurich.",
            )?,
            picture: checked(self.picture, is_picture, "picture: expected an https URL.")?,
        })
    }

    /// The names of the fields that differ, for the trail: it says what changed, not to what.
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        [
            ("name", self.name != other.name),
            ("given_name", self.given_name != other.given_name),
            ("family_name", self.family_name != other.family_name),
            ("display_name", self.display_name != other.display_name),
            ("locale", self.locale != other.locale),
            ("time_zone", self.time_zone != other.time_zone),
            ("picture", self.picture != other.picture),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    pub(super) fn seal(&self, state: &State, id: UserId) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::internal("profile as JSON"))?;
        Ok(state.vault.seal(Purpose::Profile, id.as_bytes(), &json)?)
    }

    pub(super) fn open(state: &State, id: UserId, sealed: &[u8]) -> Result<Self, Error> {
        let json = state.vault.open(Purpose::Profile, id.as_bytes(), sealed)?;
        serde_json::from_slice(&json).map_err(|_| Error::internal("stored profile is not JSON"))
    }
}

/// A name as it may be kept.
///
/// # Errors
/// [`Error::RequestInvalid`] when it is too long or has control characters.
pub(crate) fn checked_name(
    field: &'static str,
    name: Option<String>,
) -> Result<Option<String>, Error> {
    let Some(name) = name else { return Ok(None) };
    let name = name.trim();
    if name.is_empty() {
        return Ok(None);
    }
    if name.chars().count() > MAX_NAME || name.contains(|c: char| c.is_control() || is_bidi(c)) {
        return Err(Error::invalid(format!(
            "{field}: expected at most {MAX_NAME} characters, none of them control."
        )));
    }
    Ok(Some(name.to_owned()))
}

/// Whether the character turns the direction of what is written behind it, beyond the name (UAX #9 §2.1,
/// §2.2, §2.4).
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn checked(
    value: Option<String>,
    fits: fn(&str) -> bool,
    expected: &'static str,
) -> Result<Option<String>, Error> {
    match value {
        Some(value) if !fits(&value) => Err(Error::invalid(expected)),
        value => Ok(value),
    }
}

/// Whether the text has the shape of a language tag: subtags of 1 to 8 letters and digits, a
/// language of 2 to 8 letters first (RFC 5646 §2.1). Which of them are registered is not looked up.
fn is_language_tag(text: &str) -> bool {
    let mut subtags = text.split('-');
    let language = subtags.next().unwrap_or_default();
    text.len() <= MAX_LOCALE
        && (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && subtags.all(|subtag| {
            (1..=8).contains(&subtag.len())
                && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// Whether the text has the shape of a name in the IANA time zone database: parts of letters,
/// digits, `_`, `+` and `-` between slashes, none of them `.` or `..`, since programs take such a
/// name for a path.
fn is_time_zone(text: &str) -> bool {
    text.len() <= MAX_TIME_ZONE
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('/').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
        })
}

/// Whether the text is a URL that a page can show a picture from: https and nothing else, so that
/// no script comes with it, and no credentials in it.
fn is_picture(text: &str) -> bool {
    text.len() <= MAX_URL
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && reqwest::Url::parse(text).is_ok_and(|url| {
            url.scheme() == "https"
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check, what it accepts, what it refuses.
    type Case<'a> = (fn(&str) -> bool, &'a [&'a str], &'a [&'a str]);

    #[test]
    fn fields_are_what_their_readers_expect() {
        let long = format!("https://example.org/{}", "x".repeat(MAX_URL));
        let cases: [Case<'_>; 3] = [
            (
                is_language_tag,
                &["de", "de-CH", "zh-Hant-TW", "sl-rozaj-biske-1994"],
                &[
                    "",
                    "d",
                    "de_CH",
                    "de-",
                    "-de",
                    "1a",
                    "de-é",
                    "de CH",
                    "de-verylongone",
                ],
            ),
            (
                is_time_zone,
                &[
                    "UTC",
                    "Europe/Zurich",
                    "America/Argentina/Buenos_Aires",
                    "Etc/GMT+5",
                ],
                &[
                    "",
                    "/etc/passwd",
                    "Europe/",
                    "../x",
                    "Europe/../x",
                    "a b",
                    "Europe//Zurich",
                ],
            ),
            (
                is_picture,
                &["https://example.org/a.png", "https://example.org/?a=b#c"],
                &[
                    "",
                    "http://example.org/",
                    "javascript:alert(1)",
                    "data:image/png;base64,AA",
                    "https://",
                    "https://user@example.org/",
                    "https://user:secret@example.org/",
                    "https://example.org/a b",
                    "//example.org/a",
                    long.as_str(),
                ],
            ),
        ];
        for (fits, good, bad) in cases {
            for text in good {
                assert!(fits(text), "{text}");
            }
            for text in bad {
                assert!(!fits(text), "{text}");
            }
        }
    }

    #[test]
    fn a_name_does_not_turn_what_is_written_behind_it() {
        for (name, fits) in [
            ("Zoë", true),
            ("دانا", true),
            ("👩\u{200d}🔬", true),
            ("\u{202E}nimda", false),
            ("a\u{2067}b", false),
            ("a\nb", false),
        ] {
            let kept = checked_name("name", Some(name.to_owned()));
            assert_eq!(kept.is_ok(), fits, "{name:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_is_kept_is_kept_as_it_is(text in "\\PC{0,80}|.{0,80}|https://[a-z@:./]{0,20}") {
            let profile = Profile {
                name: Some(text.clone()),
                locale: Some(text.clone()),
                time_zone: Some(text.clone()),
                picture: Some(text.clone()),
                ..Profile::default()
            };
            for alone in [
                Profile { name: profile.name.clone(), ..Profile::default() },
                Profile { locale: profile.locale.clone(), ..Profile::default() },
                Profile { time_zone: profile.time_zone.clone(), ..Profile::default() },
                Profile { picture: profile.picture.clone(), ..Profile::default() },
            ] {
                if let Ok(kept) = alone.checked() {
                    proptest::prop_assert_eq!(kept.clone().checked().unwrap(), kept);
                }
            }
        }
    }
}
