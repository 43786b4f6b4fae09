//! Words that everybody knows who knows the person or the service.
//!
//! A password is refused when it is nothing but such words, with digits and punctuation around
//! them: `anna.meier2024!` of Anna Meier, `edgekeep-1`. Words that stand beside others are left to
//! the estimate, which counts them as known.

use std::net::Ipv4Addr;

use super::{Person, fold};

/// The product, as people would type it.
const PRODUCT: &str = "edgekeep";

/// Shorter words are in too many others.
const SHORTEST: usize = 3;

/// Shorter numbers are in too many others.
const SHORTEST_NUMBER: usize = 6;

/// What may be left beside the words, in letters: `my`, `xx`.
const MOST_LETTERS: usize = 2;

/// What may be left beside the words, in digits: a date.
const MOST_DIGITS: usize = 8;

/// Names of hosts that say nothing about whose they are.
const HOST_WORDS: [&str; 8] = [
    "api",
    "app",
    "auth",
    "localhost",
    "login",
    "www",
    "accounts",
    "sso",
];

/// Words in their folded form, letters and digits only, the longest first.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// The product's name and the parts of the issuer's host but the last, which is no name.
    pub(super) fn of_service(issuer: &str) -> Self {
        let host = issuer.split("//").nth(1).unwrap_or_default();
        let host = host.split(['/', ':', '[']).next().unwrap_or_default();
        let mut labels: Vec<&str> = host.split('.').collect();
        labels.pop();
        if host.parse::<Ipv4Addr>().is_ok() {
            labels.clear();
        }
        let named = labels
            .into_iter()
            .filter(|label| !HOST_WORDS.contains(label));
        Self::new(named.chain([PRODUCT]))
    }

    /// The address, its local part, number, user name and name, in one piece and in their parts. The last
    /// part of the address is no name.
    pub(super) fn of_person(person: Person<'_>) -> Self {
        let (local, domain) = person
            .email
            .and_then(|address| address.rsplit_once('@'))
            .unzip();
        let host = domain.and_then(|domain| domain.rsplit_once('.'));
        let host = host.map(|(host, _)| host);
        // As it is dialled at home, too: without the country's code, of one to three digits.
        let dialled = person
            .phone_number
            .map(|number| number.trim_start_matches('+'));
        let at_home = |skip| dialled.and_then(|number| number.get(skip..));
        let whole = [
            person.email,
            domain,
            local,
            person.username,
            person.name,
            dialled,
            at_home(1),
            at_home(2),
            at_home(3),
        ];
        let split = [local, host, person.username, person.name];
        Self::new(
            whole.into_iter().flatten().chain(
                split
                    .into_iter()
                    .flatten()
                    .flat_map(|text| text.split(|c: char| !c.is_alphanumeric())),
            ),
        )
    }

    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut words: Vec<String> = texts
            .map(|text| letters_and_digits(&fold(text)))
            .filter(|word| {
                let is_number = word.chars().all(char::is_numeric);
                let shortest = if is_number { SHORTEST_NUMBER } else { SHORTEST };
                word.chars().count() >= shortest
            })
            .collect();
        words.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        words.dedup();
        Self(words)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

fn letters_and_digits(folded: &str) -> String {
    folded.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Whether a folded password is made of these words and next to nothing else.
pub(super) fn is_made_of(folded: &str, words: &[&Words]) -> bool {
    let whole = letters_and_digits(folded);
    let mut left = whole.clone();
    for word in words.iter().flat_map(|words| words.iter()) {
        if left.contains(word) {
            left = left.replace(word, "");
        }
    }
    let digits = left.chars().filter(|c| c.is_numeric()).count();
    let letters = left.chars().count() - digits;
    left.len() < whole.len() && letters <= MOST_LETTERS && digits <= MOST_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_give_their_own_names_only() {
        for (issuer, expected) in [
            (
                "https://login.contoso.example",
                &["edgekeep", "contoso"][..],
            ),
            ("https://id.example.com/tenant", &["edgekeep", "example"]),
            ("http://127.0.0.1:8080", &["edgekeep"]),
            ("http://localhost:8080", &["edgekeep"]),
            ("http://[::1]:8080", &["edgekeep"]),
        ] {
            let words = Words::of_service(issuer);
            assert_eq!(words.iter().collect::<Vec<_>>(), expected, "{issuer}");
        }
    }

    #[test]
    fn words_beside_others_are_no_reason() {
        let words = Words::of_person(Person {
            email: Some("anna@example.org"),
            name: Some("Bo Li"),
            ..Person::default()
        });
        for (password, made) in [
            ("anna", true),
            ("anna-anna", true),
            ("4nna", false),
            ("anna19901231", true),
            ("anna199012310", false),
            ("xxannaxx", false),
            ("my anna", true),
            ("banana bread", false),
            ("anna likes tea", false),
            ("boli", true),
            ("anna@example.org", true),
            ("anna.example.org", true),
            ("anna.example", true),
            ("example.org1", true),
            ("organ", false),
            ("for example: tea", false),
            ("", false),
            ("1990", false),
        ] {
            assert_eq!(is_made_of(password, &[&words]), made, "{password}");
        }
    }
}
