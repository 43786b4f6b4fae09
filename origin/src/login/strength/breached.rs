//! Whether a password is known from a breach, asked of a service that learns next to nothing.
//!
//! The range API of Pwned Passwords, which others serve too: the service is told the first five of
//! forty hexadecimal digits of the password's SHA-1 and answers with every suffix it knows. So it
//! learns that somebody chose one of about a million passwords; with `Add-Padding` an observer of
//! the line does not learn from the answer's length which. SHA-1 hides nothing here and needs to
//! resist nothing: it is the name under which the service keeps the password.

use std::time::Duration;

use reqwest::{Client, redirect};
use sha1::{Digest as _, Sha1};
use zeroize::Zeroizing;

use crate::config;
use crate::config::OnFailure;
use crate::error::Error;
use crate::vault::Secret;

/// Digits that the service is told.
const PREFIX_DIGITS: usize = 5;

/// Longest answer that is read. There are about 1,000 lines of 40 bytes, padding included.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// The service.
#[derive(Debug)]
pub(super) struct Breached {
    client: Client,
    base_url: String,
    on_failure: OnFailure,
}

impl Breached {
    /// The configured service; none where none is configured.
    pub(super) fn new(settings: &config::Breached) -> Result<Option<Self>, reqwest::Error> {
        let Some(base_url) = &settings.url else {
            return Ok(None);
        };
        let client = Client::builder()
            .timeout(Duration::from_millis(settings.timeout_milliseconds))
            // Whoever could redirect could choose whom the prefix is told.
            .redirect(redirect::Policy::none())
            // The service asks for a name.
            .user_agent("edgekeep")
            .build()?;
        Ok(Some(Self {
            client,
            base_url: base_url.trim_end_matches('/').to_owned(),
            on_failure: settings.on_failure,
        }))
    }

    /// Refuses a password that the service knows.
    pub(super) async fn judge(&self, password: &Secret) -> Result<(), Error> {
        let hash = Zeroizing::new(hexadecimal(&Sha1::digest(password.expose().as_bytes())));
        let (prefix, suffix) = hash.split_at(PREFIX_DIGITS);
        match self.ask(prefix).await {
            Ok(answer) if knows(&answer, suffix) => Err(Error::invalid(
                "password: it is known from a breach of another service. Choose another.",
            )),
            Ok(_) => Ok(()),
            Err(cause) => {
                // Neither the prefix nor the URL, which ends in it.
                tracing::warn!(cause, "the service of breached passwords did not answer");
                match self.on_failure {
                    OnFailure::Open => Ok(()),
                    OnFailure::Closed => {
                        Err(Error::Unavailable("breached passwords cannot be asked for"))
                    }
                }
            }
        }
    }

    async fn ask(&self, prefix: &str) -> Result<Vec<u8>, String> {
        let mut response = self
            .client
            .get(format!("{}/range/{prefix}", self.base_url))
            .header("Add-Padding", "true")
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let mut answer = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| error.without_url().to_string())? else {
                return Ok(answer);
            };
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err("the answer is too long".to_owned());
            }
            answer.extend_from_slice(&chunk);
        }
    }
}

/// Whether an answer has a line `<suffix>:<count>` whose count is not the zero of padding.
fn knows(answer: &[u8], suffix: &str) -> bool {
    answer.split(|&byte| byte == b'\n').any(|line| {
        let line = line.trim_ascii();
        let Some((found, count)) = line.split_at_checked(suffix.len()) else {
            return false;
        };
        found.eq_ignore_ascii_case(suffix.as_bytes())
            && count.first() == Some(&b':')
            && count[1..].iter().any(|&digit| matches!(digit, b'1'..=b'9'))
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_password_as_the_service_does() {
        // The example of the service's documentation.
        let name = hexadecimal(&Sha1::digest(b"P@ssw0rd"));
        assert_eq!(name, "21BD12DC183F740EE76F27B78EB39C8AD972A757");
    }

    #[test]
    fn reads_lines_and_leaves_padding() {
        let suffix = "2DC183F740EE76F27B78EB39C8AD972A757";
        for (answer, known) in [
            (format!("{suffix}:52579"), true),
            (
                format!("0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n{suffix}:3\r\n"),
                true,
            ),
            (format!("{}:3", suffix.to_lowercase()), true),
            (format!("{suffix}:0\r\n"), false),
            (format!("{suffix}:000"), false),
            (suffix.to_owned(), false),
            (format!("{suffix}3"), false),
            (format!("{}:3", &suffix[1..]), false),
            (String::new(), false),
        ] {
            assert_eq!(knows(answer.as_bytes(), suffix), known, "{answer:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(answer: Vec<u8>) {
            proptest::prop_assert!(!knows(&answer, "2DC183F740EE76F27B78EB39C8AD972A757"));
        }
    }
}
