//! `[server]` and `[database]`: listeners and limits of HTTP, where data is kept.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

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
    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
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
        wrong.expect_token("server.kv_token", self.kv_token.as_ref());
        wrong.expect_token("server.metrics_token", self.metrics_token.as_ref());
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
