//! Mail and SMS: what is said, and who carries it.
//!
//! A message is handed over after the change that causes it is committed, and is judged and sent
//! by a task of its own: how long that takes, or whether anything is sent at all, must not show in
//! the time of an answer, nor in the answer itself.
//!
//! What a person must be told of their account is written down with the change ([`notices`]); codes
//! and links, which somebody waits for and asks for again, are in memory only.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

mod client;
mod file;
mod http;
mod mailer;
pub mod notices;
mod page;
pub(crate) mod signature;
mod smtp;
mod sns;
mod transport;
mod twilio;

pub use mailer::{Kept, Mailer};
pub use page::{PATH as OUTBOX_PATH, has_outbox_page, outbox, routes};

/// By which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Mail.
    Email,
    /// SMS.
    Sms,
}

impl Medium {
    /// Its name in the outbox and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

/// What a message is to its reader, by which it is decided what may hold it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// A code that was asked for, by whoever, and is given back here: by how many come back it is
    /// judged whether they are wanted.
    Code,
    /// Such a code that was asked for on a device on which its reader logged in before: the caps of
    /// a number count it apart, so that strangers cannot use them up.
    TrustedCode,
    /// Such a code behind a first factor that was right: likewise.
    SecondFactorCode,
    /// The same on a device on which its reader logged in before, apart from those that whoever knows
    /// a password can ask for.
    TrustedSecondFactorCode,
    /// Such a code within a session: likewise.
    ReauthenticationCode,
    /// A link that was asked for, by whoever. It goes only where an account has proved to be, and
    /// many who ask for one remember their password after all.
    Link,
    /// Tells what was done in the reader's name.
    Told,
    /// Warns of what strangers do to the reader's account, so they cause it.
    Warned,
    /// Tells of a change of the account's addresses, with a token that takes it back. Whoever makes
    /// the change has every reason to keep it from its reader, so nothing that others use up, and
    /// nothing that is spent, holds it up.
    Undo,
}

impl Sort {
    /// Whether it is a code that is given back here.
    pub const fn is_code(self) -> bool {
        match self {
            Self::Code
            | Self::TrustedCode
            | Self::SecondFactorCode
            | Self::TrustedSecondFactorCode
            | Self::ReauthenticationCode => true,
            Self::Link | Self::Told | Self::Warned | Self::Undo => false,
        }
    }
}

/// A message to one person.
#[derive(Clone, Serialize)]
pub struct Message {
    /// By which way.
    pub channel: Medium,
    /// The address or number, in the spelling that its owner gave.
    pub to: String,
    /// The subject; SMS have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'static str>,
    /// The text.
    pub text: String,
    /// The code or link token in the text, for tests to read from the development outbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What it is to its reader.
    #[serde(skip)]
    pub sort: Sort,
    /// The address of whoever asked for it without having proved who they are.
    #[serde(skip)]
    pub asked_by: Option<IpAddr>,
    /// When it is no use any more. Unset, with a code: a code's life after it was handed over.
    #[serde(skip)]
    pub good_until: Option<Timestamp>,
}

impl Message {
    /// The same, asked for from `address` by somebody who proved nothing yet.
    #[must_use]
    pub fn asked_by(self, address: Option<IpAddr>) -> Self {
        Self {
            asked_by: address,
            ..self
        }
    }

    /// The same code, asked for on a device that is trusted.
    #[must_use]
    pub fn on_trusted_device(self) -> Self {
        Self {
            sort: Sort::TrustedCode,
            ..self
        }
    }

    /// The same code, asked for by who has proved a first factor, or has a session: of which `sort`.
    #[must_use]
    pub fn as_second_factor(self, sort: Sort) -> Self {
        Self { sort, ..self }
    }

    /// The same, of use until `at`.
    #[must_use]
    pub fn good_until(self, at: Timestamp) -> Self {
        Self {
            good_until: Some(at),
            ..self
        }
    }

    /// Whether a stranger can cause such messages, as many as they like: those with a code or a
    /// link that is asked for, warnings, and those that say so.
    pub fn is_solicited(&self) -> bool {
        match self.sort {
            Sort::Link | Sort::Warned => true,
            Sort::Told => self.asked_by.is_some(),
            Sort::Undo => false,
            code => code.is_code(),
        }
    }

    /// To whom it goes, as a log may have it: `a…@example.org`, `+41…67`.
    pub fn masked(&self) -> String {
        match self.channel {
            Medium::Email => {
                let (local, domain) = self.to.rsplit_once('@').unwrap_or_default();
                let first: String = local.chars().take(1).collect();
                format!("{first}…@{domain}")
            }
            Medium::Sms => {
                let digits: Vec<char> = self.to.chars().collect();
                match digits.as_slice() {
                    [plus, one, two, _, _, .., last, end] => {
                        format!("{plus}{one}{two}…{last}{end}")
                    }
                    _ => "…".to_owned(),
                }
            }
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("channel", &self.channel)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(channel: Medium, to: &str) -> Message {
        Message {
            channel,
            to: to.to_owned(),
            subject: None,
            text: String::new(),
            code: None,
            sort: Sort::Told,
            asked_by: None,
            good_until: None,
        }
    }

    #[test]
    fn recipients_are_masked() {
        for (channel, address, masked) in [
            (Medium::Email, "alice@example.org", "a…@example.org"),
            (Medium::Email, "a@example.org", "a…@example.org"),
            (Medium::Email, "éa@example.org", "é…@example.org"),
            (Medium::Email, "nobody", "…@"),
            (Medium::Email, "", "…@"),
            (Medium::Sms, "+41791234567", "+41…67"),
            (Medium::Sms, "+123456", "+12…56"),
            (Medium::Sms, "+12345", "…"),
            (Medium::Sms, "", "…"),
        ] {
            assert_eq!(to(channel, address).masked(), masked);
        }
    }

    proptest::proptest! {
        /// Of a number of ten digits, six at least are not in it.
        #[test]
        fn no_mask_panics_or_holds_the_whole(text in "\\PC{0,40}", number in "\\+[0-9]{10,15}") {
            for channel in [Medium::Email, Medium::Sms] {
                let _ = to(channel, &text).masked();
            }
            let masked = to(Medium::Sms, &number).masked();
            let digits = masked.chars().filter(char::is_ascii_digit).count();
            proptest::prop_assert!(digits <= number.len() - 7);
        }
    }
}
