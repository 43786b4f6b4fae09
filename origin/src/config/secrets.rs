//! `[secrets]`: where the master keys come from.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Wrong, is_page, is_secure};
use crate::vault::Secret;

/// `[secrets]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// Who has the master key: `environment` (`master_key`), `file` (`master_key_file`), or a key
    /// management service that unwraps `wrapped_keys` at the start (`aws_kms`, `vault_transit`).
    /// Unset: whichever of the first two is there.
    pub provider: Option<Provider>,
    /// The master key: 32 bytes in base64url, or several lines `<version>:<key>`.
    pub master_key: Option<Secret>,
    /// A file that holds it, readable by its owner alone.
    pub master_key_file: Option<PathBuf>,
    /// Master keys as the service wrapped them, lines `<version>:<ciphertext>`, as `edgekeep vault
    /// wrap` prints them. Not secret.
    pub wrapped_keys: Option<String>,
    /// A file that holds them instead.
    pub wrapped_keys_file: Option<PathBuf>,
    /// Whether `serve` lets a new, higher version take over by itself; false: `edgekeep vault
    /// rotate` does, once every server has been given it.
    pub rotate_on_start: bool,
    /// AWS KMS.
    pub aws_kms: AwsKms,
    /// The transit engine of HashiCorp Vault, or of OpenBao.
    pub vault_transit: VaultTransit,
}

/// Who has the master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// `master_key`.
    Environment,
    /// `master_key_file`.
    File,
    /// AWS KMS has the key that wraps it.
    AwsKms,
    /// HashiCorp Vault, or OpenBao, has the key that wraps it.
    VaultTransit,
}

/// `[secrets.aws_kms]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsKms {
    /// Id or ARN of the symmetric key that wraps; nothing wrapped by another is accepted.
    pub key_id: String,
    /// The region, for instance `eu-central-1`.
    pub region: String,
    /// Another endpoint than the region's: https, or http on loopback, without path.
    pub endpoint: Option<String>,
    /// Whose credentials: they need `kms:Decrypt`, and `kms:Encrypt` for `edgekeep vault wrap`.
    pub access_key_id: String,
    /// Their secret.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// `[secrets.vault_transit]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaultTransit {
    /// Where it is: https, or http on loopback.
    pub address: String,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// The key that wraps.
    pub key: String,
    /// A token whose policy allows `update` on `<mount>/decrypt/<key>`, and on
    /// `<mount>/encrypt/<key>` for `edgekeep vault wrap`.
    pub token: Option<Secret>,
    /// The namespace, where there are any.
    pub namespace: Option<String>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            provider: None,
            master_key: None,
            master_key_file: None,
            wrapped_keys: None,
            wrapped_keys_file: None,
            rotate_on_start: true,
            aws_kms: AwsKms::default(),
            vault_transit: VaultTransit::default(),
        }
    }
}

impl Default for VaultTransit {
    fn default() -> Self {
        Self {
            address: String::new(),
            mount: "transit".to_owned(),
            key: String::new(),
            token: None,
            namespace: None,
        }
    }
}

impl Secrets {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        match self.provider {
            None => {}
            Some(Provider::Environment) => wrong.expect(
                self.master_key.is_some(),
                "secrets.master_key",
                "expected a key, because secrets.provider is \"environment\"",
            ),
            Some(Provider::File) => wrong.expect(
                self.master_key_file.is_some(),
                "secrets.master_key_file",
                "expected a file, because secrets.provider is \"file\"",
            ),
            Some(Provider::AwsKms) => self.aws_kms.check(wrong),
            Some(Provider::VaultTransit) => self.vault_transit.check(wrong),
        }
        let is_wrapped = matches!(
            self.provider,
            Some(Provider::AwsKms | Provider::VaultTransit)
        );
        wrong.expect(
            is_wrapped || (self.wrapped_keys.is_none() && self.wrapped_keys_file.is_none()),
            "secrets.provider",
            "expected \"aws_kms\" or \"vault_transit\", because there are wrapped keys",
        );
        wrong.expect(
            !is_wrapped || (self.master_key.is_none() && self.master_key_file.is_none()),
            "secrets.provider",
            "expected \"environment\" or \"file\", because there is a master key in the clear",
        );
    }
}

/// Whether `text` can stand in a path or a header as it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
}

impl AwsKms {
    fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            is_plain(&self.key_id),
            "secrets.aws_kms.key_id",
            "expected the id or ARN of a key",
        );
        wrong.expect(
            is_plain(&self.region) && !self.region.contains(['/', ':', '.']),
            "secrets.aws_kms.region",
            "expected a region such as eu-central-1",
        );
        wrong.expect(
            self.endpoint
                .as_deref()
                .is_none_or(|url| is_page(url) && is_secure(url) && url.matches('/').count() == 2),
            "secrets.aws_kms.endpoint",
            "expected an https URL (or http on loopback) without path",
        );
        wrong.expect(
            is_plain(&self.access_key_id) && self.secret_access_key.is_some(),
            "secrets.aws_kms.access_key_id",
            "expected credentials: access_key_id and secret_access_key",
        );
        wrong.expect_token(
            "secrets.aws_kms.secret_access_key",
            self.secret_access_key.as_ref(),
        );
    }
}

impl VaultTransit {
    fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            is_page(&self.address) && is_secure(&self.address),
            "secrets.vault_transit.address",
            "expected an https URL (or http on loopback)",
        );
        wrong.expect(
            is_plain(&self.mount) && is_plain(&self.key) && !self.key.contains('/'),
            "secrets.vault_transit.key",
            "expected the name of a key, and of the engine's mount",
        );
        wrong.expect(
            self.token.is_some() && self.namespace.as_deref().is_none_or(is_plain),
            "secrets.vault_transit.token",
            "expected a token",
        );
        wrong.expect_token("secrets.vault_transit.token", self.token.as_ref());
    }
}
