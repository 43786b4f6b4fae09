//! Derived keys that outlive their master key.
//!
//! Most of what a master key made can be made anew under the next one. Not so a password's hash,
//! which needs the password, and not so a keyed hash of what is nowhere stored. The derived keys of
//! those stay, sealed under the present master key, so that an old one may go and nobody is locked
//! out. A password moves to the present pepper at its owner's next login.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use sqlx::AnyConnection;
use zeroize::Zeroizing;

use super::{DerivedKey, Lasting, Purpose, Vault, store};
use crate::error::Error;

/// Kept keys by name.
pub(super) type Kept = BTreeMap<String, DerivedKey>;

/// What a purpose's lasting keys are used for.
const USAGES: [&str; 2] = ["index", "mac"];

/// The name of a key that makes keyed hashes for ever.
pub(super) fn lasting(purpose: Purpose, usage: &str) -> String {
    format!("{}/{usage}", purpose.label())
}

/// The name of the key of one version's MACs.
pub(super) fn versioned(purpose: Purpose, version: u8) -> String {
    format!("{}/mac/{version}", purpose.label())
}

impl Vault {
    /// Keeps what is to be kept and is not yet, then takes every kept key up: lasting keys are
    /// those of `first`, the others those of every configured version up to `newest`.
    pub(super) async fn keep(
        &self,
        connection: &mut AnyConnection,
        first: u8,
        newest: u8,
    ) -> Result<(), Error> {
        let there = store::kept_keys(connection).await?;
        for (name, version, purpose, usage) in self.to_keep(first, newest) {
            if there.iter().any(|(held, _)| *held == name) {
                continue;
            }
            let key = self.derive(version, purpose, usage)?;
            let sealed = self.seal(Purpose::KeptKey, name.as_bytes(), key.as_slice())?;
            store::keep_key(connection, &name, &sealed).await?;
        }
        // Read again: another process may have kept one first, and that one counts.
        let mut kept = Kept::new();
        for (name, sealed) in store::kept_keys(connection).await? {
            let key = self.open(Purpose::KeptKey, name.as_bytes(), &sealed)?;
            let key = <[u8; 32]>::try_from(key.as_slice())
                .map_err(|_| Error::internal("a kept key of the wrong length"))?;
            kept.insert(name, Zeroizing::new(key));
        }
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(())
    }

    /// Name, version, purpose and usage of every key that is to be kept.
    fn to_keep(&self, first: u8, newest: u8) -> Vec<(String, u8, Purpose, &'static str)> {
        let mut keys = Vec::new();
        for purpose in Purpose::ALL {
            match purpose.lasting() {
                Lasting::No => {}
                Lasting::Versioned => keys.extend(
                    self.versions()
                        .filter(|version| *version <= newest)
                        .map(|version| (versioned(purpose, version), version, purpose, "mac")),
                ),
                Lasting::Always => keys
                    .extend(USAGES.map(|usage| (lasting(purpose, usage), first, purpose, usage))),
            }
        }
        keys
    }
}
