//! The most common passwords of at least the shortest length (ASVS 6.2.4 asks for 3,000).

use std::sync::LazyLock;

/// Where they come from and under what licence is said in the file.
const LIST: &str = include_str!("../../../data/common-passwords.txt");

static SORTED: LazyLock<Vec<&'static str>> = LazyLock::new(|| all().collect());

/// Every one of them, sorted by byte.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    LIST.lines().filter(|line| !line.starts_with('#'))
}

/// Whether `folded` is one of them.
pub(super) fn has(folded: &str) -> bool {
    SORTED.binary_search(&folded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::hasher::MIN_BYTES;
    use crate::login::strength::fold;

    #[test]
    fn there_are_three_thousand_and_each_is_found() {
        assert!(SORTED.len() >= 3_000, "{}", SORTED.len());
        assert!(SORTED.is_sorted_by(|one, next| one < next));
        for password in SORTED.iter() {
            assert!(password.len() >= MIN_BYTES, "{password}");
            assert_eq!(*fold(password), **password);
            assert!(has(password));
        }
        for other in ["", "#", "correct horse", "password1234 ", "\u{10ffff}"] {
            assert!(!has(other), "{other}");
        }
    }
}
