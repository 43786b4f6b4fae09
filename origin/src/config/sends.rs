//! `[sms]` and `[mail]`: how many messages may leave, and to whom.
//!
//! Whoever sends an SMS pays for it, and for some numbers a part of the price goes to whoever has
//! them: so people who want codes by the thousand exist. The defaults are for a service whose users
//! are people of a few countries; a larger one raises the budgets, not the caps of a number.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::check::Wrong;
use super::{Channel, Mode};

/// `[sms]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sms {
    /// Whether the rules below are kept. Unset: where `notify.sms` is a provider; a message into
    /// the development outbox costs nobody anything.
    pub defend: Option<bool>,
    /// The countries that SMS may go to, as ISO 3166 codes (`"CH"`) or calling codes (`"+41"`);
    /// `"*"` is every country. Unset: every country in development, and none in production, where a
    /// provider is not accepted without a list.
    pub countries: Option<Vec<String>>,
    /// The sorts of number that SMS may go to. Others cannot receive any, or charge for it:
    /// `fixed_line`, `toll_free`, `premium_rate`, `shared_cost`, `voip`, `personal_number`, `pager`,
    /// `uan`, `voicemail`, `unknown`.
    pub number_types: Vec<NumberType>,
    /// Seconds between two messages to one number while no code of theirs comes back: after the
    /// first, the second, and so on; the last one repeats.
    pub delays_seconds: Vec<u64>,
    /// Messages with a code to one number in an hour, whatever they are for.
    pub per_number_per_hour: u32,
    /// Messages with a code to one number in a day, whatever they are for.
    pub per_number_per_day: u32,
    /// Messages in an hour to numbers that differ in their last two digits only: who rents numbers
    /// rents them by the hundred. What tells people of changes is counted apart, so that strangers
    /// keep it from nobody.
    pub per_prefix_per_hour: u32,
    /// Messages in an hour that one network asked for (an IPv4 address, an IPv6 /64); not counted
    /// without `limits.per_ip`.
    pub per_network_per_hour: u32,
    /// What all messages of an hour may cost, in the unit of `prices`. What people are told of
    /// their accounts has as much again for itself.
    pub per_hour: u64,
    /// What all messages of a day may cost, in the unit of `prices`, likewise.
    pub per_day: u64,
    /// What one message costs, by ISO 3166 code, in a unit of your choice (thousandths of a euro,
    /// say). A country that is not named costs 1, so without prices budgets count messages.
    pub prices: BTreeMap<String, u32>,
    /// The breaker.
    pub conversion: Conversion,
}

/// `[sms.conversion]`: when too few of the codes that were sent come back, they went to nobody who
/// wanted to log in, and no more are sent: by country, and in all.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conversion {
    /// Of how many of the latest codes, each as old as a code lives; 0: there is no breaker.
    pub window: u32,
    /// How many of a hundred must come back.
    pub percent: u32,
    /// For how long nothing is sent, doubled each time that it follows at once, up to a day.
    pub cool_down_seconds: u64,
    /// How many codes are sent after that, to see whether they come back.
    pub trial: u32,
}

impl Default for Conversion {
    fn default() -> Self {
        Self {
            window: 50,
            percent: 30,
            cool_down_seconds: 3_600,
            trial: 10,
        }
    }
}

/// The sorts of number that libphonenumber tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    /// A mobile phone.
    Mobile,
    /// One of those, where a country's numbers do not tell (North America).
    FixedLineOrMobile,
    /// A fixed line.
    FixedLine,
    /// Free for the caller.
    TollFree,
    /// Dear for the caller, to somebody's profit.
    PremiumRate,
    /// In part at the caller's cost.
    SharedCost,
    /// A telephone on the internet, to be had by the thousand.
    Voip,
    /// Follows a person, often at a price.
    PersonalNumber,
    /// A pager.
    Pager,
    /// A company's one number.
    Uan,
    /// A voice mailbox.
    Voicemail,
    /// None that the country's plan knows.
    Unknown,
}

impl Default for Sms {
    fn default() -> Self {
        Self {
            defend: None,
            countries: None,
            number_types: vec![NumberType::Mobile, NumberType::FixedLineOrMobile],
            delays_seconds: vec![60, 120, 300, 900],
            per_number_per_hour: 5,
            per_number_per_day: 5,
            per_prefix_per_hour: 20,
            per_network_per_hour: 10,
            per_hour: 500,
            per_day: 2_000,
            prices: BTreeMap::new(),
            conversion: Conversion::default(),
        }
    }
}

/// `[mail]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// Mails in an hour that strangers may cause (codes, links), in all: what bounces ruins the
    /// name of the sender. Notices about a change of one's own account are always sent. Not counted
    /// where mail goes into the development outbox.
    pub per_hour: u64,
    /// Of those, mails that one network asked for; not counted without `limits.per_ip`.
    pub per_network_per_hour: u32,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            per_hour: 10_000,
            per_network_per_hour: 60,
        }
    }
}

impl Sms {
    /// Whether the rules are kept for messages that leave by `channel`.
    pub fn defended(&self, channel: &Channel) -> bool {
        self.defend.unwrap_or_else(|| channel.is_provider())
    }

    pub(super) fn check(&self, mode: Mode, channel: &Channel, wrong: &mut Wrong) {
        wrong.expect(
            mode == Mode::Development || self.countries.is_some() || !self.defended(channel),
            "sms.countries",
            "expected the countries that SMS may go to, for instance [\"CH\", \"+49\"]",
        );
        let countries = self.countries.iter().flatten();
        wrong.expect(
            countries.clone().all(|country| is_country(country)),
            "sms.countries",
            "expected ISO 3166 codes such as \"CH\", calling codes such as \"+41\", or \"*\"",
        );
        wrong.expect(
            self.prices.keys().all(|country| is_iso(country)),
            "sms.prices",
            "expected ISO 3166 codes such as \"CH\"",
        );
        wrong.expect(
            self.delays_seconds.iter().all(|&delay| delay <= 86_400),
            "sms.delays_seconds",
            "expected at most 86400 each",
        );
        wrong.expect(
            self.per_hour <= MAX_BUDGET && self.per_day <= MAX_BUDGET,
            "sms.per_day",
            "expected budgets of at most 1000000000",
        );
        let conversion = &self.conversion;
        wrong.expect(
            conversion.window <= 10_000 && (1..=1_000).contains(&conversion.trial),
            "sms.conversion.window",
            "expected at most 10000, and a trial of 1 to 1000",
        );
        wrong.expect(
            (1..=100).contains(&conversion.percent),
            "sms.conversion.percent",
            "expected 1 to 100",
        );
        wrong.expect(
            (1..=86_400).contains(&conversion.cool_down_seconds),
            "sms.conversion.cool_down_seconds",
            "expected 1 to 86400",
        );
    }
}

/// Far below what overflows, far above what anybody pays.
const MAX_BUDGET: u64 = 1_000_000_000;

fn is_iso(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_country(text: &str) -> bool {
    let calling_code = text.strip_prefix('+').is_some_and(|digits| {
        (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    text == "*" || is_iso(text) || calling_code
}
