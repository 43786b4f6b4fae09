//! Identifiers: random, 16 bytes in the database, a version 4 UUID everywhere else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::any::AnyTypeInfo;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Any, Database, Decode, Encode, Type};
use uuid::Uuid;

use crate::random::Random;

/// The text is not a hyphenated UUID.
#[derive(Debug, thiserror::Error)]
#[error("not an identifier (expected a UUID)")]
pub struct ParseIdError;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random identifier.
            pub fn generate(random: &Random) -> Self {
                Self(uuid::Builder::from_random_bytes(random.bytes()).into_uuid())
            }

            /// The identifier with these 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes that the database stores.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                // One spelling only: the hyphenated one of 36 characters.
                if text.len() != 36 {
                    return Err(ParseIdError);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Type<Any> for $name {
            fn type_info() -> AnyTypeInfo {
                <Vec<u8> as Type<Any>>::type_info()
            }
        }

        impl Encode<'_, Any> for $name {
            fn encode_by_ref(
                &self,
                buffer: &mut <Any as Database>::ArgumentBuffer,
            ) -> Result<IsNull, BoxDynError> {
                <Vec<u8> as Encode<Any>>::encode(self.as_bytes().to_vec(), buffer)
            }
        }

        impl<'r> Decode<'r, Any> for $name {
            fn decode(value: <Any as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
                let bytes = <Vec<u8> as Decode<Any>>::decode(value)?;
                Ok(Self(Uuid::from_slice(&bytes)?))
            }
        }
    )+};
}

ids! {
    /// A person's account: the `sub` of their tokens.
    UserId;
    /// A session: the `sid` of its tokens.
    SessionId;
    /// An access token: its `jti`.
    TokenId;
    /// A link between an account and what somebody is at another identity provider.
    IdentityId;
    /// A passkey, as it is listed.
    PasskeyId;
    /// A captcha that waits for its answer.
    CaptchaId;
    /// A request, where the caller did not name it: the correlation id.
    RequestId;
    /// What a person submitted for verification.
    SubmissionId;
    /// An address in a person's address book, as it is listed.
    ContactId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let id = UserId::generate(&Random::seeded(1));
        assert_eq!(id.to_string().parse::<UserId>().ok(), Some(id));
        assert_eq!(UserId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn rejects_other_spellings() {
        for text in [
            "",
            "x",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
    }
}
