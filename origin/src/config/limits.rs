//! `[limits]`: how much one address may ask for.

use serde::Deserialize;

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Whether requests are counted by IP address.
    pub per_ip: bool,
    /// Attempts to prove who one is, per address and minute.
    pub attempts_per_minute: u32,
    /// Requests that send a message, per address and minute.
    pub sends_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_ip: true,
            attempts_per_minute: 120,
            sends_per_minute: 60,
        }
    }
}
