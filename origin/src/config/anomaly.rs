//! `[anomaly]`: what follows logins and refreshes that are unlike those before.

use axum::http::HeaderName;
use serde::Deserialize;

use super::check::Wrong;

/// What follows. Each does what stands before it, too; only the first does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Nothing.
    Off,
    /// An event, a line in the log, a number.
    Record,
    /// A message to the owner.
    Notify,
    /// What asks for a fresh proof, or for the second factor, asks again.
    StepUp,
    /// The session ends: the refreshed one, or at a login the one that was used last before it.
    EndSession,
    /// Every session of the account ends, but one that just began with a full login.
    EndAllSessions,
}

/// `[anomaly]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Anomaly {
    /// A login on a device that is new for its owner: `off`, `record`, `notify`, `step_up`,
    /// `end_session`, `end_all_sessions`. Each does what stands before it, too.
    pub new_device: Reaction,
    /// One account that is failed at from many networks, by password or code: the same. What comes
    /// after `notify` follows logins to it while that lasts, for whoever only fails must not be able
    /// to end anything of somebody else's.
    pub one_account_many_networks: Reaction,
    /// One network that fails at many accounts: the same. All but the event follows logins from
    /// there while that lasts.
    pub one_network_many_accounts: Reaction,
    /// A login or a refresh from where nobody can be so soon: the same.
    pub impossible_travel: Reaction,
    /// Networks (an IPv4 address, an IPv6 /64) from which one account is failed at that are many. A
    /// person has two, at home and on the way. Of wrong passwords, more than `lockout.max_failures`
    /// are never seen.
    pub networks_per_account: u32,
    /// Accounts at which one network (an IPv4 /24, an IPv6 /48) fails that are many: an office
    /// behind one address has people who mistype, seldom ten within a quarter of an hour.
    pub accounts_per_network: u32,
    /// Seconds for which failures belong together, from the first on.
    pub failures_seconds: u64,
    /// Header in which a proxy of `server.trusted_proxies` tells the country of the client
    /// (`cf-ipcountry`); from anybody else it does not count. Unset: none does.
    pub country_header: Option<String>,
    /// Headers in which it tells degrees of latitude and longitude (`cf-iplatitude`,
    /// `cf-iplongitude`). Both or none.
    pub latitude_header: Option<String>,
    /// The other of the two.
    pub longitude_header: Option<String>,
    /// Kilometres an hour that nobody travels.
    pub max_kmh: u32,
    /// Distances up to this many kilometres are errors of whoever guesses places from addresses.
    pub min_km: u32,
    /// Another country within this many seconds is too soon, where there are no degrees. 0: never.
    pub country_seconds: u64,
    /// Another network (an IPv4 /16, an IPv6 /32) within this many seconds is too soon, where
    /// neither is told. 0: never, since a telephone does that whenever it leaves a house.
    pub network_seconds: u64,
}

impl Default for Anomaly {
    fn default() -> Self {
        Self {
            new_device: Reaction::Notify,
            one_account_many_networks: Reaction::Record,
            one_network_many_accounts: Reaction::Record,
            impossible_travel: Reaction::StepUp,
            networks_per_account: 3,
            accounts_per_network: 10,
            failures_seconds: 900,
            country_header: None,
            latitude_header: None,
            longitude_header: None,
            max_kmh: 1_000,
            min_km: 500,
            country_seconds: 1_800,
            network_seconds: 0,
        }
    }
}

impl Anomaly {
    /// Whether some sign at a login has this reaction.
    pub fn reacts_with(&self, reaction: Reaction) -> bool {
        [
            self.new_device,
            self.one_account_many_networks,
            self.one_network_many_accounts,
            self.impossible_travel,
        ]
        .contains(&reaction)
    }

    pub(super) fn check(&self, wrong: &mut Wrong) {
        for (key, many) in [
            ("anomaly.networks_per_account", self.networks_per_account),
            ("anomaly.accounts_per_network", self.accounts_per_network),
        ] {
            // One is what everybody has; a hundred of each that is watched are 3 MB.
            wrong.expect((2..=100).contains(&many), key, "expected 2 to 100");
        }
        wrong.expect(
            (60..=86_400).contains(&self.failures_seconds),
            "anomaly.failures_seconds",
            "expected 60 to 86400",
        );
        for (key, header) in [
            ("anomaly.country_header", &self.country_header),
            ("anomaly.latitude_header", &self.latitude_header),
            ("anomaly.longitude_header", &self.longitude_header),
        ] {
            let is_name = |name: &String| HeaderName::try_from(name.as_str()).is_ok();
            wrong.expect(
                header.as_ref().is_none_or(is_name),
                key,
                "expected the name of a header",
            );
        }
        wrong.expect(
            self.latitude_header.is_some() == self.longitude_header.is_some(),
            "anomaly.longitude_header",
            "expected both latitude_header and longitude_header, or neither",
        );
        wrong.expect(
            (1..=100_000).contains(&self.max_kmh),
            "anomaly.max_kmh",
            "expected 1 to 100000",
        );
        for (key, seconds) in [
            ("anomaly.country_seconds", self.country_seconds),
            ("anomaly.network_seconds", self.network_seconds),
        ] {
            wrong.expect(seconds <= 86_400, key, "expected 0 to 86400");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_have_bounds_and_reactions_none() {
        let defaults = Anomaly::default;
        for (anomaly, holds) in [
            (defaults(), true),
            (
                Anomaly {
                    new_device: Reaction::EndAllSessions,
                    one_account_many_networks: Reaction::EndAllSessions,
                    one_network_many_accounts: Reaction::EndAllSessions,
                    impossible_travel: Reaction::EndAllSessions,
                    ..defaults()
                },
                true,
            ),
            (many(1, 10, 900), false),
            (many(2, 2, 60), true),
            (many(3, 1, 900), false),
            (many(100, 100, 86_400), true),
            (many(101, 10, 900), false),
            (many(3, 101, 900), false),
            (many(3, 10, 59), false),
            (many(3, 10, 86_401), false),
        ] {
            let mut wrong = Wrong::default();
            anomaly.check(&mut wrong);
            assert_eq!(wrong.is_empty(), holds, "{anomaly:?}");
        }
    }

    fn many(networks: u32, accounts: u32, seconds: u64) -> Anomaly {
        Anomaly {
            networks_per_account: networks,
            accounts_per_network: accounts,
            failures_seconds: seconds,
            ..Anomaly::default()
        }
    }
}
