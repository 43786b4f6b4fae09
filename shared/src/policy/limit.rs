//! How often one may ask: what a limiter outside of the gate counts, and by what.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use core::net::{IpAddr, Ipv6Addr};

use super::fields::{BINDING, Fields, HEADER, Read, fault};
use super::upstream::is_reserved;
use crate::claims::Claims;

/// Bits of an IPv6 address that are one network's: whoever has one address has the 2⁶⁴ beside it
/// (RFC 6177 §2), and would be somebody else with each.
const NETWORK_BITS: u32 = 64;

/// What else is bound to a gate: none of it counts.
const OTHER_BINDINGS: [&str; 4] = ["EDGEKEEP_ANALYTICS", "EDGEKEEP_KV", "ORIGIN", "UPSTREAM"];

/// A limit that a binding of the gate keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The binding's name.
    pub binding: Box<str>,
    /// Who is counted.
    pub by: LimitedBy,
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The token's subject, at its issuer.
    Subject,
    /// The client's address, as whoever stands before the gate writes it into a header field.
    Address {
        /// The field's name.
        header: Box<str>,
    },
}

impl RateLimit {
    /// What is counted under for a request of the subject of `claims`, or with `field` as the value of
    /// the header field; none where it names nobody.
    pub fn key(&self, claims: Option<&Claims>, field: Option<&str>) -> Option<String> {
        match self.by {
            LimitedBy::Subject => {
                let claims = claims?;
                // No issuer has a line break in it, so that no two pairs are one key.
                Some(format!("{}\n{}", claims.issuer, claims.subject))
            }
            LimitedBy::Address { .. } => network(field?),
        }
    }
}

/// The network that an address stands for; none where `text` is not one address and nothing else.
fn network(text: &str) -> Option<String> {
    match text
        .trim_matches([' ', '\t'])
        .parse::<IpAddr>()
        .ok()?
        .to_canonical()
    {
        IpAddr::V4(address) => Some(address.to_string()),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - NETWORK_BITS);
            Some(Ipv6Addr::from_bits(address.to_bits() & mask).to_string())
        }
    }
}

/// Reads `rate_limit`.
pub(super) fn read(fields: &Fields<'_, '_>, is_public: bool) -> Read<Option<RateLimit>> {
    let Some(table) = fields.table("rate_limit")? else {
        return Ok(None);
    };
    table.only(&["binding", "by", "header"])?;
    let Some((binding, at)) = table.string("binding")? else {
        return fault(
            table.at,
            "\"rate_limit\" without \"binding\", expected the name of a rate limiter that is bound to \
             the gate"
                .to_string(),
        );
    };
    let binding = BINDING.check("binding", binding, at)?;
    // Every object of JavaScript has members like `__proto__`.
    if OTHER_BINDINGS.contains(&&*binding) || binding.starts_with("__") {
        return fault(
            at,
            format!("\"binding\" has {binding:?}, expected the name of a rate limiter"),
        );
    }
    let Some(by) = table.choice("by", &["subject", "address"])? else {
        return fault(
            table.at,
            "\"rate_limit\" without \"by\", expected \"subject\" or \"address\"".to_string(),
        );
    };
    let by = match (by, table.string("header")?) {
        ("subject", None) if is_public => {
            return fault(
                table.position("by"),
                "by = \"subject\" contradicts access = \"public\": no token is looked at"
                    .to_string(),
            );
        }
        ("subject", None) => LimitedBy::Subject,
        ("subject", Some(_)) => {
            return fault(
                table.position("header"),
                "\"header\" has no effect, expected by = \"address\" beside it".to_string(),
            );
        }
        (_, Some((header, at))) => {
            let header = HEADER.check("header", header, at)?;
            if is_reserved(header.as_bytes()) {
                return fault(
                    at,
                    format!("\"header\" has {header:?}, in which nobody writes an address"),
                );
            }
            LimitedBy::Address { header }
        }
        (_, None) => {
            return fault(
                table.position("by"),
                "by = \"address\" without \"header\", expected the field that whoever stands before \
                 the gate writes over, such as \"CF-Connecting-IP\""
                    .to_string(),
            );
        }
    };
    Ok(Some(RateLimit { binding, by }))
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn counts_an_address_under_its_network() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            (" 192.0.2.1\t", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
            ("2001:0DB8:1:2::", Some("2001:db8:1:2::")),
            ("::1", Some("::")),
            ("", None),
            ("unknown", None),
            ("192.0.2.1, 198.51.100.1", None),
            ("192.0.2.1:443", None),
            ("[2001:db8::1]", None),
            ("192.0.2.01", None),
            ("192.0.2", None),
            ("fe80::1%eth0", None),
            ("192.0.2.1\n", None),
        ] {
            assert_eq!(network(text).as_deref(), expected, "{text:?}");
        }
    }
}
