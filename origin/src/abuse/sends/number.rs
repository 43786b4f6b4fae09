//! What a number is: its country, its sort, its neighbours.

use phonenumber::Type;
use phonenumber::metadata::DATABASE;

use crate::config::{NumberType, Sms};

/// Digits at the end by which neighbours differ: numbers are rented by the hundred.
const LAST_DIGITS: usize = 2;

/// A number of the international plan, as far as the rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// `+` and the calling code.
    pub(super) calling_code: String,
    /// ISO 3166, or `001` for what belongs to no country.
    pub(super) region: String,
    pub(super) kind: NumberType,
    /// The number without its last digits.
    pub(super) prefix: String,
}

impl Number {
    /// Reads `text` (`+41791234567`); none when it is in no plan.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parsed = phonenumber::parse(None, text).ok()?;
        let metadata = parsed.metadata(&DATABASE)?;
        Some(Self {
            calling_code: format!("+{}", parsed.code().value()),
            region: metadata.id().to_owned(),
            kind: sort(parsed.number_type(&DATABASE)),
            prefix: text
                .chars()
                .take(text.len().saturating_sub(LAST_DIGITS))
                .collect(),
        })
    }

    /// Whether the country is one that SMS may go to; without a list none is.
    pub(super) fn is_allowed_country(&self, sms: &Sms) -> bool {
        let mut countries = sms.countries.iter().flatten();
        countries.any(|country| {
            country == "*" || *country == self.region || *country == self.calling_code
        })
    }

    /// What a message to it costs.
    pub(super) fn price(&self, sms: &Sms) -> i64 {
        i64::from(sms.prices.get(&self.region).copied().unwrap_or(1))
    }
}

fn sort(kind: Type) -> NumberType {
    match kind {
        Type::Mobile => NumberType::Mobile,
        Type::FixedLineOrMobile => NumberType::FixedLineOrMobile,
        Type::FixedLine => NumberType::FixedLine,
        Type::TollFree => NumberType::TollFree,
        Type::PremiumRate => NumberType::PremiumRate,
        Type::SharedCost => NumberType::SharedCost,
        Type::Voip => NumberType::Voip,
        Type::PersonalNumber => NumberType::PersonalNumber,
        Type::Pager => NumberType::Pager,
        Type::Uan => NumberType::Uan,
        Type::Voicemail => NumberType::Voicemail,
        // Numbers of a plan's inside, which nobody reaches from abroad.
        Type::Emergency
        | Type::ShortCode
        | Type::StandardRate
        | Type::Carrier
        | Type::NoInternational
        | Type::Unknown => NumberType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn country_and_sort_are_those_of_the_plan() {
        for (text, region, kind) in [
            ("+41791234567", "CH", NumberType::Mobile),
            ("+41443640000", "CH", NumberType::FixedLine),
            ("+41900123456", "CH", NumberType::PremiumRate),
            ("+41840123456", "CH", NumberType::SharedCost),
            ("+41800123456", "CH", NumberType::TollFree),
            ("+491701234567", "DE", NumberType::Mobile),
            ("+447400123456", "GB", NumberType::Mobile),
            ("+447640123456", "GB", NumberType::Pager),
            ("+447012345678", "GB", NumberType::PersonalNumber),
            ("+445612345678", "GB", NumberType::Voip),
            ("+12015550123", "US", NumberType::FixedLineOrMobile),
            ("+19002345678", "US", NumberType::PremiumRate),
            ("+18002345678", "US", NumberType::TollFree),
            ("+15062345678", "CA", NumberType::FixedLineOrMobile),
            ("+393123456789", "IT", NumberType::Mobile),
            ("+393123456789", "IT", NumberType::Mobile),
            ("+80012345678", "001", NumberType::TollFree),
            ("+979123456789", "001", NumberType::PremiumRate),
        ] {
            let number = Number::parse(text).unwrap();
            assert_eq!(
                (number.region.as_str(), number.kind),
                (region, kind),
                "{text}"
            );
        }
    }

    #[test]
    fn countries_are_allowed_by_either_code() {
        let allowed = |list: Option<&[&str]>, text: &str| {
            let sms = Sms {
                countries: list.map(|list| list.iter().map(|&c| c.to_owned()).collect()),
                ..Sms::default()
            };
            Number::parse(text).unwrap().is_allowed_country(&sms)
        };
        for (list, text, expected) in [
            (None, "+41791234567", false),
            (Some(&[][..]), "+41791234567", false),
            (Some(&["CH"]), "+41791234567", true),
            (Some(&["+41"]), "+41791234567", true),
            (Some(&["*"]), "+41791234567", true),
            (Some(&["DE", "+49", "+4", "+417"]), "+41791234567", false),
            // Two countries of one calling code.
            (Some(&["US"]), "+12015550123", true),
            (Some(&["US"]), "+15062345678", false),
            (Some(&["+1"]), "+15062345678", true),
            // A Caribbean island that looks like home to whoever reads "+1".
            (Some(&["US", "CA"]), "+18762101234", false),
        ] {
            assert_eq!(allowed(list, text), expected, "{list:?} {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_number_panics(text in "\\PC{0,40}", digits in "\\+?[0-9]{0,20}", mixed in "[+0-9 ();x#*.,;=a-z-]{0,40}") {
            for text in [text, digits, mixed] {
                if let Some(number) = Number::parse(&text) {
                    proptest::prop_assert!(number.calling_code.len() <= 4);
                    proptest::prop_assert!(number.region.len() <= 3);
                }
            }
        }
    }
}
