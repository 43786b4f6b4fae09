//! `[revocation]` and `[gate]`: what the gates are told, and how often.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::Wrong;
use crate::vault::Secret;

/// `[revocation]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Revocation {
    /// How often the list is signed again when nothing changed.
    pub heartbeat_seconds: u64,
    /// How often changes made by another process (the command line) are looked for.
    pub poll_milliseconds: u64,
    /// The Workers KV namespace that the gates read, written through Cloudflare's REST API.
    pub kv_rest: KvRest,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            heartbeat_seconds: 15,
            poll_milliseconds: 500,
            kv_rest: KvRest::default(),
        }
    }
}

impl Revocation {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            (1..=300).contains(&self.heartbeat_seconds),
            "revocation.heartbeat_seconds",
            "expected 1 to 300",
        );
        wrong.expect(
            (10..=1_000).contains(&self.poll_milliseconds),
            "revocation.poll_milliseconds",
            "expected 10 to 1000",
        );
        wrong.expect(
            self.kv_rest.is_whole(),
            "revocation.kv_rest",
            "expected account_id, namespace_id and api_token together, and an https base_url",
        );
    }
}

/// `[revocation.kv_rest]`: all of it, or nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KvRest {
    /// The account.
    pub account_id: String,
    /// The namespace.
    pub namespace_id: String,
    /// A token that may edit the namespace; unset: nothing is written.
    pub api_token: Option<Secret>,
    /// Where the API is: https, or http on loopback.
    pub base_url: String,
}

impl Default for KvRest {
    fn default() -> Self {
        Self {
            account_id: String::new(),
            namespace_id: String::new(),
            api_token: None,
            base_url: "https://api.cloudflare.com/client/v4".to_owned(),
        }
    }
}

impl KvRest {
    fn is_whole(&self) -> bool {
        let plain = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
        let secure = ["https://", "http://127.0.0.1:", "http://[::1]:"]
            .iter()
            .any(|prefix| self.base_url.starts_with(prefix));
        match self.api_token {
            None => self.account_id.is_empty() && self.namespace_id.is_empty(),
            Some(_) => plain(&self.account_id) && plain(&self.namespace_id) && secure,
        }
    }
}

/// `[gate]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// The bearer by which gates may ask about tokens (`ORIGIN_TOKEN` at the gate); unset:
    /// introspection is refused to everybody.
    pub introspection_token: Option<Secret>,
    /// The policy that gates without one of their own find in their key-value store, as TOML; unset:
    /// none is put there. `serve` follows the file.
    pub policy_file: Option<PathBuf>,
}

impl Gate {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect_bearer(
            "gate.introspection_token",
            self.introspection_token.as_ref(),
        );
    }
}
