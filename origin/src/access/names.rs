//! The names of roles, permissions and customers, and how many of them an account may have.

/// Roles of one account: they stand in every token, and each may have 64 characters.
pub const MAX_ROLES: usize = 16;

/// Permissions of one account, those of its roles among them: each stands in a token twice, as
/// permission and as scope, so that 32 of the longest make 4 KiB of the 6 KiB of claims that fit
/// into the longest token.
pub const MAX_PERMISSIONS: usize = 32;

/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// Whether tokens and headers can carry the name in lists separated by commas or spaces.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

/// The names, each once and in order.
///
/// # Errors
/// What was expected of `what`, in words for whoever gave them.
pub fn checked(what: &str, names: &[String], most: usize) -> Result<Vec<String>, String> {
    // Before they are sorted: a long list is not worth it.
    if names.len() > most {
        return Err(format!("{what}: expected at most {most}."));
    }
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        // What is echoed is bounded, and written so that no control character is left.
        let start: String = name.chars().take(MAX_NAME).collect();
        return Err(format!(
            "{what} {start:?}: expected 1 to {MAX_NAME} letters, digits, '.', '_', ':' or '-'."
        ));
    }
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_list_in_a_header_can_hold() {
        let longest = "x".repeat(64);
        for name in ["a", "report:write", "A.b_c-9", longest.as_str()] {
            assert!(is_name(name), "{name}");
        }
        let too_long = "x".repeat(65);
        for name in [
            "",
            " ",
            "a b",
            "a,b",
            "a\"b",
            "a\n",
            "é",
            "a%",
            too_long.as_str(),
        ] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn lists_are_bounded_and_say_each_name_once() {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            checked("roles", &list(&["b", "a", "b"]), 3),
            Ok(list(&["a", "b"]))
        );
        assert!(checked("roles", &list(&["b", "a", "b"]), 2).is_err());
        let text = checked("roles", &list(&["a\nb"]), 2).unwrap_err();
        assert!(!text.contains('\n'), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn no_name_panics_or_leaves_a_control_character(name in "\\PC{0,100}|.{0,100}") {
            if let Err(text) = checked("roles", &[name], 1) {
                proptest::prop_assert!(!text.contains(char::is_control));
                proptest::prop_assert!(text.len() < 1_000);
            }
        }
    }
}
