//! Whom an address stands for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::app::State;
use crate::request::Caller;

/// The unit that is counted: an IPv4 address, or the /64 that an IPv6 host chooses from freely.
///
/// A request of which no address is known counts with all others of that kind; it is never exempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(Ipv6Addr);

impl Network {
    /// The network that a request comes from.
    pub fn of(caller: &Caller) -> Self {
        caller
            .address
            .map_or(Self(Ipv6Addr::UNSPECIFIED), Self::from)
    }

    /// The network that a failure is put down to: the same for all where addresses do not count.
    pub fn counted(state: &State, caller: &Caller) -> Self {
        if state.config.limits.per_ip {
            Self::of(caller)
        } else {
            Self::of(&Caller::default())
        }
    }

    /// Its 16 bytes; IPv4 is mapped (RFC 4291 §2.5.5.2).
    pub fn bytes(self) -> [u8; 16] {
        self.0.octets()
    }

    /// What one customer of a provider may hold whole: an IPv4 /24, an IPv6 /48.
    #[must_use]
    pub fn wider(self) -> Self {
        let bits = self.0.to_bits();
        let kept = if self.0.to_ipv4_mapped().is_some() {
            !0xff
        } else {
            !0 << 80
        };
        Self(Ipv6Addr::from_bits(bits & kept))
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)),
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        })
    }
}

/// The wider network: where it comes from, not who it was.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wider = self.wider().0;
        match wider.to_ipv4_mapped() {
            Some(v4) => write!(f, "{}/24", Ipv4Addr::from_bits(v4.to_bits())),
            None => write!(f, "{wider}/48"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn ipv6_hosts_of_one_network_are_one_and_ipv4_hosts_are_not() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(network(one) == network(other), same, "{one} {other}");
        }
    }

    #[test]
    fn logs_name_the_wider_network_only() {
        for (address, said) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ] {
            assert_eq!(network(address).to_string(), said);
        }
        assert_eq!(Network::of(&Caller::default()).to_string(), "::/48");
    }
}
