//! `[server]` and `[database]`: listeners and limits of HTTP, where data is kept.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, de};

use super::check::Wrong;
use crate::vault::Secret;

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port of the API.
    pub listen: SocketAddr,
    /// The URL under which clients reach this server: the issuer (`iss`), and what links in mail
    /// begin with. No trailing slash. Unset: `http://` and `listen`. Production wants `https`.
    pub public_url: Option<String>,
    /// Address and port of the read-only key-value listener for a self-hosted gate; unset: none.
    /// Never public: loopback, or a network that only the gate is on.
    pub kv_listen: Option<SocketAddr>,
    /// The bearer that the key-value listener asks for; unset: none is asked for, which is
    /// accepted on loopback only.
    pub kv_token: Option<Secret>,
    /// The bearer by which `GET /metrics` may be read; unset: there is no such route on `listen`.
    pub metrics_token: Option<Secret>,
    /// Address and port of a listener for `GET /metrics` alone; unset: none. It asks for
    /// `metrics_token` where that is set, which it must be unless this is a loopback address.
    pub metrics_listen: Option<SocketAddr>,
    /// Connections to `listen` at a time, as far as the limit of open files allows; one more waits.
    pub max_connections: usize,
    /// Longest request body, in bytes.
    pub max_body_bytes: usize,
    /// Seconds within which a request must be answered.
    pub request_timeout_seconds: u64,
    /// Seconds that requests in flight may take to finish after a signal to stop.
    pub shutdown_seconds: u64,
    /// Addresses and networks (`10.0.0.0/8`) of proxies that are believed about who asks.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The one header in which they tell: `x-forwarded-for`, `forwarded` (RFC 7239) or
    /// `cf-connecting-ip`. Choose the one that your proxy writes whatever its clients send.
    pub client_address_header: ClientAddressHeader,
}

/// Where a trusted proxy tells the client's address.
///
/// One header and not whichever is there: what the proxy does not write itself, its client wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddressHeader {
    /// `X-Forwarded-For`, which each proxy adds to.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239), which each proxy adds to.
    Forwarded,
    /// `CF-Connecting-IP`, which Cloudflare writes.
    CfConnectingIp,
}

/// An address, or a network of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// Whether the address is in it. IPv4 that was mapped into IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl std::str::FromStr for TrustedProxy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| ())?;
        Ok(Self(match network {
            IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
                Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96)
                    .map_err(|_| ())?
                    .into(),
                None => network,
            },
            _ => network,
        }))
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|()| de::Error::custom("expected an address or a network like 10.0.0.0/8"))
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            kv_listen: None,
            kv_token: None,
            metrics_token: None,
            metrics_listen: None,
            max_connections: 4_096,
            max_body_bytes: 64 * 1024,
            request_timeout_seconds: 15,
            shutdown_seconds: 10,
            trusted_proxies: Vec::new(),
            client_address_header: ClientAddressHeader::default(),
        }
    }
}

impl Server {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            self.kv_listen.is_none_or(|at| at.ip().is_loopback()) || self.kv_token.is_some(),
            "server.kv_token",
            "expected a token, because server.kv_listen is not a loopback address",
        );
        wrong.expect(
            self.metrics_listen.is_none_or(|at| at.ip().is_loopback())
                || self.metrics_token.is_some(),
            "server.metrics_token",
            "expected a token, because server.metrics_listen is not a loopback address",
        );
        wrong.expect_bearer("server.kv_token", self.kv_token.as_ref());
        wrong.expect_bearer("server.metrics_token", self.metrics_token.as_ref());
        wrong.expect(
            self.trusted_proxies
                .iter()
                .all(|proxy| proxy.0.prefix_len() > 0),
            "server.trusted_proxies",
            "expected no network that is everybody: anyone could then say to be anyone",
        );
        wrong.expect(
            (1..=1_000_000).contains(&self.max_connections),
            "server.max_connections",
            "expected 1 to 1000000",
        );
        wrong.expect(
            (1..=16_777_216).contains(&self.max_body_bytes),
            "server.max_body_bytes",
            "expected 1 to 16777216",
        );
        wrong.expect(
            self.request_timeout_seconds >= 1,
            "server.request_timeout_seconds",
            "expected at least 1",
        );
    }
}

/// `[database]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:…`; unset: `edgekeep.db` in the data folder.
    pub url: Option<String>,
}
