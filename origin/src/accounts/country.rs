//! The calling code of a telephone number's country.

/// Calling codes of two digits (ITU-T E.164, list of assigned country codes). Of one digit are 1
/// and 7, of three all others: the codes are a prefix code, so the number itself tells.
const OF_TWO_DIGITS: [u8; 44] = [
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56,
    57, 58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

/// The calling code of an international number, with its plus sign: `+41` of `+41791234567`.
pub(crate) fn calling_code(number: &str) -> Option<&str> {
    let digits = number.strip_prefix('+')?;
    if digits.len() < 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length = match digits.as_bytes()[0] {
        b'1' | b'7' => 1,
        b'0' => return None,
        _ => {
            let two: u8 = digits[..2].parse().ok()?;
            if OF_TWO_DIGITS.contains(&two) { 2 } else { 3 }
        }
    };
    Some(&number[..=length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_begins_with_one_calling_code() {
        for (number, code) in [
            ("+41791234567", Some("+41")),
            ("+12025550123", Some("+1")),
            ("+79161234567", Some("+7")),
            ("+35312345678", Some("+353")),
            ("+4235551234", Some("+423")),
            ("+85212345678", Some("+852")),
            ("+989121234567", Some("+98")),
            ("+99612345678", Some("+996")),
            ("+2111234567", Some("+211")),
            ("+2712345678", Some("+27")),
            ("+0123456789", None),
            ("+41", None),
            ("41791234567", None),
            ("+4a791234567", None),
            ("", None),
        ] {
            assert_eq!(calling_code(number), code, "{number}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,20}|\\+[0-9]{0,16}") {
            if let Some(code) = calling_code(&text) {
                proptest::prop_assert!(text.starts_with(code) && (2..=4).contains(&code.len()));
            }
        }
    }
}
