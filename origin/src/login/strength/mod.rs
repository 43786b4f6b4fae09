//! What a new password must not be: too short, among the most common, made of what everybody
//! knows about the person, easy to guess, or known from a breach.
//!
//! Every door that sets a password asks here, before it looks whether an account exists. There
//! are no composition rules (ASVS 6.2.5), and the password itself is never changed (6.2.8): the
//! folded copy is for comparing only. A refusal says what is wrong and never repeats the password.
//!
//! In order, the cheap ones first: length (6.2.1), the common ones (6.2.4), words of the context
//! (6.2.11), the estimate of zxcvbn, and, where configured, breaches (6.2.12).

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

mod breached;
mod common;
mod context;

use breached::Breached;
use context::Words;

use super::hasher;
use crate::accounts::User;
use crate::app::State;
use crate::config::Config;
use crate::error::Error;
use crate::vault::Secret;

/// What zxcvbn looks at, in characters. It tries every reading of characters that stand for
/// letters (`1`, `!`, `|`, …) on every part of the password: text made for that takes it 730 ms at
/// a hundred characters, and 58 ms, about as long as a hash, at this many; ordinary text one.
const ESTIMATED_CHARS: usize = 32;

/// Judges new passwords.
#[derive(Debug)]
pub struct Strength {
    min_score: u8,
    /// The product's name and the issuer's host.
    service: Words,
    breached: Option<Breached>,
}

/// Whose password it is to be: what others know of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Person<'a> {
    /// The mail address.
    pub email: Option<&'a str>,
    /// The telephone number.
    pub phone_number: Option<&'a str>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The name.
    pub name: Option<&'a str>,
}

impl<'a> Person<'a> {
    /// Somebody who has an account.
    pub fn of(user: &'a User) -> Self {
        Self {
            email: user.email.as_deref(),
            phone_number: user.phone_number.as_deref(),
            username: user.username.as_deref(),
            name: user.profile.name.as_deref(),
        }
    }
}

impl Strength {
    /// A judge with the configured minimum.
    ///
    /// # Errors
    /// When no HTTP client can be made for the service of breached passwords.
    pub fn new(config: &Config) -> Result<Self, reqwest::Error> {
        Ok(Self {
            min_score: config.password.min_score,
            service: Words::of_service(&config.issuer()),
            breached: Breached::new(&config.password.breached)?,
        })
    }

    /// Whether it is common, or made of words of the context, and what to say then.
    fn known(&self, password: &str, words: &Words) -> Result<(), Error> {
        let folded = fold(password);
        if common::has(&folded) {
            return Err(Error::invalid(
                "password: it is among the most common ones. Choose another.",
            ));
        }
        if context::is_made_of(&folded, &[words, &self.service]) {
            return Err(Error::invalid(
                "password: it is made of your name, your address or the name of this service. \
                 Choose another.",
            ));
        }
        Ok(())
    }

    /// zxcvbn's estimate, 0 to 4, as work that takes a while.
    fn estimate(&self, password: &str, words: Words) -> impl FnOnce() -> u8 + Send + 'static {
        let begin: Zeroizing<String> =
            Zeroizing::new(password.chars().take(ESTIMATED_CHARS).collect());
        let service = self.service.clone();
        move || {
            let known: Vec<&str> = words.iter().chain(service.iter()).collect();
            zxcvbn::zxcvbn(&begin, &known).score().into()
        }
    }
}

/// Refuses what takes no time to refuse: a length, a common password, words of the context.
/// [`judge`] looks at the same and then at what costs something.
///
/// # Errors
/// [`Error::RequestInvalid`] with what is wrong.
pub fn screen(state: &State, password: &Secret, person: Person<'_>) -> Result<(), Error> {
    hasher::check_length(password)?;
    let words = Words::of_person(person);
    state.strength.known(password.expose(), &words)
}

/// Refuses a password that `person` should not have. Call it where the caller is bounded already:
/// an estimate takes as long as a hash, and its place.
///
/// # Errors
/// [`Error::RequestInvalid`] with what is wrong; [`Error::Unavailable`] when too many passwords
/// wait already, or the service of breached passwords does not answer where it must.
pub async fn judge(state: &State, password: &Secret, person: Person<'_>) -> Result<(), Error> {
    let strength = &state.strength;
    hasher::check_length(password)?;
    let words = Words::of_person(person);
    strength.known(password.expose(), &words)?;
    if strength.min_score > 0 {
        let estimate = strength.estimate(password.expose(), words);
        if state.hasher.in_turn(estimate).await? < strength.min_score {
            return Err(Error::invalid(
                "password: it is easy to guess. Choose a longer one, for instance several words \
                 that do not belong together.",
            ));
        }
    }
    match &strength.breached {
        None => Ok(()),
        Some(breached) => breached.judge(password).await,
    }
}

/// A copy for comparing: NFKC, each character in lower case.
fn fold(text: &str) -> Zeroizing<String> {
    let mut folded = Zeroizing::new(String::with_capacity(2 * text.len()));
    folded.extend(text.nfkc().flat_map(char::to_lowercase));
    folded
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn strength() -> Strength {
        let mut config = Config::default();
        config.server.public_url = Some("https://id.contoso.example".to_owned());
        Strength::new(&config).unwrap()
    }

    const ANNA: Person<'static> = Person {
        email: Some("anna.meier@example.org"),
        phone_number: Some("+41791234567"),
        username: Some("swissmiss"),
        name: Some("Anna Zoë Meier"),
    };

    fn known(password: &str, person: Person<'_>) -> Option<String> {
        let known = strength().known(password, &Words::of_person(person));
        known.err().map(|error| error.detail().into_owned())
    }

    fn score(password: &str) -> u8 {
        strength().estimate(password, Words::of_person(ANNA))()
    }

    #[test]
    fn the_default_takes_what_people_and_callers_plausibly_choose() {
        let long = "one of a thousand words ".repeat(42);
        for (password, least) in [
            ("hunter2hunter2", 1),
            ("Test1234!", 1),
            ("Passw0rd!2024", 2),
            ("x9$Kp2!m", 2),
            ("correct horse", 3),
            ("CorrectHorse9!", 3),
            ("SecurePass123!", 3),
            ("пароль никому", 4),
            ("😀🦀🎺🌋🧀🚲", 1),
            ("Tr0ub4dor&3", 4),
            ("Str0ng-Passw0rd!", 4),
            ("S3cure-Passw0rd!", 4),
            ("correct horse battery staple", 4),
            (&long, 4),
        ] {
            assert_eq!(known(password, ANNA), None, "{password}");
            assert!(score(password) >= least, "{password}: {}", score(password));
        }
        let default = Config::default().password.min_score;
        for password in ["aaaaaaaa", "abcdefgh", "testtest", "20102010"] {
            assert!(score(password) < default, "{password}");
        }
    }

    #[test]
    fn what_everybody_knows_is_refused_and_not_repeated() {
        for (password, expected) in [
            ("password123", "most common"),
            ("PassWord123", "most common"),
            ("ｐａｓｓｗｏｒｄ１２３", "most common"),
            ("12345678", "most common"),
            ("annameier", "your name"),
            ("Anna.Meier.2024!", "your name"),
            ("SwissMiss-1", "your name"),
            ("zoë zoë zoë", "your name"),
            ("41791234567", "your name"),
            ("0791234567", "your name"),
            ("Edgekeep2024", "name of this service"),
            ("contoso!!!!", "name of this service"),
        ] {
            let detail = known(password, ANNA).unwrap_or_default();
            assert!(detail.contains(expected), "{password}: {detail:?}");
            assert!(!detail.contains(password), "{detail}");
        }
        // Somebody else's name is not this person's.
        assert_eq!(known("Anna.Meier.2024!", Person::default()), None);
    }

    #[test]
    fn every_common_password_is_refused() {
        for password in common::all() {
            assert!(known(password, Person::default()).is_some(), "{password}");
        }
    }

    #[test]
    fn the_estimate_ends_soon_for_text_made_against_it() {
        let began = Instant::now();
        for text in [
            "4@8({[<369!1|7$5+0%2",
            "a4@b8c({[<e3g69i1!|l1|7o0s$5t+7x%z2",
            "1",
        ] {
            score(&text.repeat(hasher::MAX_BYTES / text.len()));
        }
        // Ten times what it takes; at a hundred characters it would be more than this.
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn no_password_and_no_name_panics(password in "\\PC{0,140}", name in "\\PC{0,40}", email in "\\PC{0,40}") {
            let person = Person { name: Some(&name), email: Some(&email), ..Person::default() };
            let _ = known(&password, person);
            let estimate = strength().estimate(&password, Words::of_person(person));
            proptest::prop_assert!(estimate() <= 4);
        }
    }
}
