//! Recovery codes: ten for when everything else is lost, each good once.
//!
//! A code is 120 random bits, in Crockford's base 32: letters and digits without `I`, `L`, `O` and
//! `U`, so that nothing copied from paper reads as something else; what is typed may be in small
//! letters, with or without hyphens, with `O` for `0` and `I` or `L` for `1`. Above 112 bits a
//! look-up secret needs no password hash (ASVS 6.5.2), and above 64 no bound on guesses (NIST
//! SP 800-63B-4 §3.1.2.2): a year at a million a second would find one with a chance of 10⁻²¹.
//! What is stored is a keyed hash.

use base32::Alphabet;
use zeroize::Zeroizing;

use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::random::Random;
use crate::vault::{Digest, Purpose, Secret};

/// How many there are.
pub(super) const COUNT: usize = 10;

/// Length of a code: 24 characters.
const BYTES: usize = 15;

type Code = Zeroizing<[u8; BYTES]>;

/// New codes.
pub(super) fn generate(random: &Random) -> [Code; COUNT] {
    std::array::from_fn(|_| Zeroizing::new(random.bytes()))
}

/// A code as it is shown: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`.
pub(super) fn spell(code: &Code) -> String {
    let text = Zeroizing::new(base32::encode(Alphabet::Crockford, code.as_slice()));
    let groups: Vec<&str> = (0..text.len())
        .step_by(4)
        .map(|at| &text[at..at + 4])
        .collect();
    groups.join("-")
}

/// Reads a code as people type it.
pub(super) fn read(text: &Secret) -> Option<Code> {
    let typed: Zeroizing<String> = Zeroizing::new(
        text.expose()
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .collect(),
    );
    if typed.len() != BYTES * 8 / 5 || !typed.is_ascii() {
        return None;
    }
    let bytes = Zeroizing::new(base32::decode(Alphabet::Crockford, &typed)?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// What is stored of a code: the version of the master key, and a MAC with the account.
pub(super) fn mac(state: &State, user_id: UserId, code: &Code) -> Result<Vec<u8>, Error> {
    mac_with(state, state.vault.current_version(), user_id, code)
}

fn mac_with(state: &State, version: u8, user_id: UserId, code: &Code) -> Result<Vec<u8>, Error> {
    let parts: [&[u8]; 2] = [user_id.as_bytes(), code.as_slice()];
    let mac = state
        .vault
        .mac_with(version, Purpose::RecoveryCode, &parts)?;
    Ok([&[version], mac.as_slice()].concat())
}

/// Which of `stored` the code is, if any.
pub(super) fn find(
    state: &State,
    user_id: UserId,
    code: &Code,
    stored: impl Iterator<Item = Vec<u8>>,
) -> Result<Option<Vec<u8>>, Error> {
    let mut found = None;
    for stored in stored {
        let Some((&version, mac)) = stored.split_first() else {
            return Err(Error::internal("stored recovery code is empty"));
        };
        let expected = mac_with(state, version, user_id, code)?;
        let expected: [u8; 32] = expected[1..]
            .try_into()
            .map_err(|_| Error::internal("MAC of the wrong length"))?;
        if Digest::new(expected).matches(mac) {
            found = Some(stored);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Option<Code> {
        read(&Secret::new(text.to_owned()))
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        let codes = generate(&Random::seeded(1));
        for code in &codes {
            let text = spell(code);
            assert_eq!(text.len(), 29);
            assert!(!text.contains(['I', 'L', 'O', 'U']), "{text}");
            for typed_as in [
                text.clone(),
                text.to_lowercase(),
                text.replace('-', ""),
                text.replace('-', " "),
                format!("\t{text}\n"),
                text.replace('0', "O").replace('1', "l"),
                text.replace('0', "o").replace('1', "I"),
            ] {
                assert_eq!(typed(&typed_as).as_ref(), Some(code), "{typed_as}");
            }
        }
        assert!((1..COUNT).all(|n| codes[n] != codes[0]));
    }

    #[test]
    fn rejects_what_is_no_code() {
        for text in [
            "",
            "0000-0000-0000-0000-0000-000",
            "0000-0000-0000-0000-0000-00000",
            "0000-0000-0000-0000-0000-000U",
            "0000-0000-0000-0000-0000-000_",
            "0000-0000-0000-0000-0000-000\u{ff10}",
        ] {
            assert!(typed(text).is_none(), "{text}");
        }
        assert!(typed("0000-0000-0000-0000-0000-0000").is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_a_read_code_is_spelled_the_same(text in ".{0,40}", plain in "[0-9a-zA-Z]{24}") {
            for text in [text, plain] {
                if let Some(code) = typed(&text) {
                    proptest::prop_assert_eq!(typed(&spell(&code)), Some(code));
                }
            }
        }
    }
}
