//! What stands in the field `captcha` of a request, and in the body of `POST /captcha/verify`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::error::Error;
use crate::ids::CaptchaId;
use crate::vault::Secret;

/// Longest answer that is looked at, in bytes. Tokens of providers have 2 KiB (Turnstile's limit)
/// to 4 KiB and some, a proof of work has less than one.
const MAX_BYTES: usize = 8_192;

/// Beginning of the tokens that a right answer is exchanged for.
pub(super) const PASS_PREFIX: &str = "ekc_";

/// The field `captcha`: a token (ours, a provider's, or a proof of work as the ALTCHA widget
/// makes it), or an object.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = CaptchaAnswer)]
pub enum Answer {
    /// `captcha_token` of `POST /captcha/verify`, a provider's response token, or an ALTCHA
    /// payload.
    Text(Token),
    /// A captcha and its answer.
    Solved(Solved),
    /// `captcha_token` of `POST /captcha/verify`.
    Pass(Pass),
}

/// A token in the clear.
#[derive(ToSchema)]
#[schema(as = CaptchaToken, value_type = String, max_length = 8192)]
pub struct Token(pub(super) Secret);

/// A captcha and its answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SolvedCaptcha)]
pub struct Solved {
    /// `captcha_id` of `GET /captcha`.
    #[schema(value_type = String, format = "uuid")]
    pub(super) captcha_id: CaptchaId,
    /// The letters, the code, the ALTCHA payload or the provider's response token.
    #[schema(value_type = String, max_length = 8192)]
    pub(super) answer: Secret,
}

/// What a right answer was exchanged for.
#[derive(ToSchema)]
#[schema(as = CaptchaPass)]
pub struct Pass {
    /// `captcha_token` of `POST /captcha/verify`.
    #[schema(value_type = String, max_length = 8192)]
    pub(super) token: Secret,
}

impl<'de> Deserialize<'de> for Answer {
    /// By hand, because a derived untagged enum would fill the structs from arrays, too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrObject;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Members {
            captcha_id: Option<CaptchaId>,
            answer: Option<Secret>,
            token: Option<Secret>,
        }

        impl<'de> Visitor<'de> for TextOrObject {
            type Value = Answer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, {captcha_id, answer} or {token}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Answer, E> {
                Ok(Answer::Text(Token(Secret::new(text.to_owned()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Answer, A::Error> {
                let members = Members::deserialize(MapAccessDeserializer::new(map))?;
                match (members.captcha_id, members.answer, members.token) {
                    (Some(captcha_id), Some(answer), None) => {
                        Ok(Answer::Solved(Solved { captcha_id, answer }))
                    }
                    (None, None, Some(token)) => Ok(Answer::Pass(Pass { token })),
                    _ => Err(serde::de::Error::custom("neither an answer nor a token")),
                }
            }
        }

        deserializer.deserialize_any(TextOrObject)
    }
}

impl Answer {
    /// Refuses what is too long to be any answer.
    pub(super) fn check(&self) -> Result<(), Error> {
        let text = match self {
            Self::Text(Token(text)) => text,
            Self::Solved(solved) => &solved.answer,
            Self::Pass(pass) => &pass.token,
        };
        within(text)
    }
}

impl Solved {
    /// Refuses what is too long to be any answer.
    pub(super) fn check(&self) -> Result<(), Error> {
        within(&self.answer)
    }
}

fn within(text: &Secret) -> Result<(), Error> {
    if text.expose().len() > MAX_BYTES {
        return Err(Error::invalid("captcha: expected at most 8192 bytes."));
    }
    Ok(())
}

/// The letters or digits of an answer as they are compared: whoever reads an image does not know
/// which case was meant, and keyboards add spaces.
pub(super) fn normal(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Answer> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn reads_each_form_and_no_mixture() {
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert!(matches!(read("\"ekc_x\""), Some(Answer::Text(_))));
        assert!(matches!(
            read(r#"{"token": "ekc_x"}"#),
            Some(Answer::Pass(_))
        ));
        let solved = format!(r#"{{"captcha_id": "{id}", "answer": "A"}}"#);
        assert!(matches!(read(&solved), Some(Answer::Solved(_))));
        for other in [
            "1".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"["ekc_x"]"#.to_owned(),
            format!(r#"["{id}", "A"]"#),
            r#"{"token": 1}"#.to_owned(),
            r#"{"captcha_id": "x", "answer": "A"}"#.to_owned(),
            format!(r#"{{"captcha_id": "{id}"}}"#),
            format!(r#"{{"captcha_id": "{id}", "answer": "A", "token": "x"}}"#),
            format!(r#"{{"captcha_id": "{id}", "answer": "A", "kind": "pow"}}"#),
        ] {
            assert!(read(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn case_and_spaces_do_not_matter() {
        assert_eq!(normal(" a3 k\u{a0}\tX\n"), "A3KX");
        assert_ne!(normal("ak"), normal("аk"), "Cyrillic is another letter");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(text: String, json in "[\\[\\]{}\":,a-z_0-9\\\\ ]{0,60}") {
            let quoted = serde_json::to_string(&text).unwrap();
            proptest::prop_assert!(matches!(read(&quoted), Some(Answer::Text(_))));
            for answer in [read(&text), read(&json), read(&quoted)].into_iter().flatten() {
                let _ = answer.check();
            }
            let once = normal(&text);
            proptest::prop_assert_eq!(&normal(&once), &once);
        }
    }
}
