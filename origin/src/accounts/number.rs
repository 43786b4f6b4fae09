//! Telephone numbers: one spelling for each, by the numbering plans of libphonenumber.
//!
//! Two spellings that reach one telephone must be one identifier, or each has counts of its own:
//! `+41 (0)79 123 45 67` is dialled like `+41 79 123 45 67` by most providers. Whether anybody has
//! a number is not asked here: plans grow faster than their descriptions, and an unknown number
//! gets the answer that a known one gets.

use phonenumber::PhoneNumber;
use phonenumber::country::Id;
use phonenumber::metadata::DATABASE;

/// The one spelling of an international number, given as digits without `+`.
pub(super) fn international(digits: &str) -> String {
    let plain = format!("+{digits}");
    let Ok(parsed) = phonenumber::parse(None, &plain) else {
        return plain;
    };
    let understood = e164(&parsed);
    let code = parsed.code().value();
    let national = plain.get(1 + code.to_string().len()..).unwrap_or_default();
    // Only what is in no plan as it stands may be read as something else: two numbers that both
    // exist must never become one.
    if in_plan(code, national) || !in_plan(code, &parsed.national().to_string()) {
        plain
    } else {
        understood
    }
}

/// The international spelling of a number as it is dialled within `country`: a calling code
/// (`+41`, `41`) or ISO 3166 (`CH`).
pub(super) fn national(digits: &str, country: &str) -> Option<String> {
    let region = match country.trim().trim_start_matches(['+', '0']) {
        code if code.bytes().all(|byte| byte.is_ascii_digit()) => {
            let regions = DATABASE.region(&code.parse::<u16>().ok()?)?;
            (*regions.first()?).to_owned()
        }
        word if word.len() == 2 => word.to_ascii_uppercase(),
        _ => return None,
    };
    let region: Id = region.parse().ok()?;
    phonenumber::parse(Some(region), digits)
        .ok()
        .map(|parsed| e164(&parsed))
}

/// Not by the library's formatter, which panics where it has no plan.
fn e164(number: &PhoneNumber) -> String {
    format!("+{}{}", number.code().value(), number.national())
}

fn in_plan(code: u16, national: &str) -> bool {
    DATABASE.by_code(&code).is_some_and(|plans| {
        plans
            .iter()
            .any(|plan| plan.descriptors().general().is_match(national))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_one_telephone_is_one_number() {
        for (digits, number) in [
            ("41791234567", "+41791234567"),
            ("410791234567", "+41791234567"),
            ("4407911123456", "+447911123456"),
            ("49015112345678", "+4915112345678"),
            // A zero that belongs there.
            ("390236618300", "+390236618300"),
            ("393123456789", "+393123456789"),
            ("12015550123", "+12015550123"),
            ("15550100001", "+15550100001"),
            ("15005550006", "+15005550006"),
            // In no plan: left alone.
            ("999123456789", "+999123456789"),
            ("4112", "+4112"),
        ] {
            assert_eq!(international(digits), number, "{digits}");
        }
    }

    #[test]
    fn national_numbers_are_read_as_their_country_dials_them() {
        for (digits, country, number) in [
            ("0791234567", "+41", Some("+41791234567")),
            ("791234567", "41", Some("+41791234567")),
            ("0791234567", "0041", Some("+41791234567")),
            ("0791234567", "ch", Some("+41791234567")),
            ("0236618300", "IT", Some("+390236618300")),
            ("2015550123", "1", Some("+12015550123")),
            ("12015550123", "US", Some("+12015550123")),
            ("89123456789", "RU", Some("+79123456789")),
            ("0612345678", "+33", Some("+33612345678")),
            ("0791234567", "+", None),
            ("0791234567", "", None),
            ("0791234567", "999", None),
            ("0791234567", "99999999999", None),
            ("0791234567", "XX", None),
            ("0791234567", "Switzerland", None),
            ("0791234567", "é", None),
        ] {
            assert_eq!(
                national(digits, country).as_deref(),
                number,
                "{digits} {country}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_digits_panic_and_a_spelling_is_final(digits in "[0-9]{0,20}", country in "(\\+?[0-9]{0,4}|[a-zA-Z]{2}|\\PC{0,4})") {
            let number = international(&digits);
            proptest::prop_assert_eq!(international(&number[1..]), number.clone());
            let _ = national(&digits, &country);
        }

        /// Every number that a plan knows stays what it is.
        #[test]
        fn numbers_of_a_plan_are_left_alone(digits in "(41|49|1|39|44|7|54|55|52|36|33)[0-9]{6,11}") {
            let number = international(&digits);
            if let Ok(parsed) = phonenumber::parse(None, format!("+{digits}"))
                && in_plan(parsed.code().value(), &digits[parsed.code().value().to_string().len()..])
            {
                proptest::prop_assert_eq!(number, format!("+{digits}"));
            }
        }
    }
}
