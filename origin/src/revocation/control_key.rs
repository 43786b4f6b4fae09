//! The control key: Ed25519, in no JWK Set, used only for what the gates are told.

use edgekeep_shared::control::{DocumentType, Header};
use edgekeep_shared::time::UnixTime;

use super::store;
use crate::clock::Clock;
use crate::config::Algorithm;
use crate::db::Db;
use crate::error::Error;
use crate::random::Random;
use crate::tokens::signing::SigningKey;
use crate::vault::{Purpose, Vault};

/// The key with its identifier.
#[derive(Debug)]
pub struct ControlKey {
    kid: String,
    key: SigningKey,
}

impl ControlKey {
    /// Opens the control key; on the first start makes it.
    ///
    /// # Errors
    /// When the database fails, or the key does not open under the master key.
    pub async fn open(
        db: &Db,
        vault: &Vault,
        clock: &Clock,
        random: &Random,
    ) -> Result<Self, Error> {
        let mut tx = db.write().await?;
        if let Some((kid, sealed)) = store::control_key(&mut tx).await? {
            tx.rollback().await?;
            let bytes = vault.open(Purpose::ControlKey, kid.as_bytes(), &sealed)?;
            let key = SigningKey::from_bytes(Algorithm::EdDSA, &bytes)
                .filter(|key| key.verifying_key().thumbprint() == kid)
                .ok_or_else(|| Error::internal("the control key is not what its name says"))?;
            return Ok(Self { kid, key });
        }
        let key = SigningKey::generate(Algorithm::EdDSA, random);
        let kid = key.verifying_key().thumbprint();
        let sealed = vault.seal(
            Purpose::ControlKey,
            kid.as_bytes(),
            key.to_bytes().as_slice(),
        )?;
        store::insert_control_key(&mut tx, &kid, sealed, clock.now()).await?;
        tx.commit().await?;
        tracing::info!(kid, "control key made; gates pin it in CONTROL_KEYS");
        Ok(Self { kid, key })
    }

    /// The public half as a JWK.
    pub fn to_jwk(&self) -> String {
        self.key.verifying_key().to_jwk(&self.kid)
    }

    /// A signed document of `body`.
    pub fn sign(
        &self,
        document_type: DocumentType,
        issuer: &str,
        sequence: u64,
        issued_at: UnixTime,
        body: &[u8],
    ) -> Vec<u8> {
        let header = Header {
            document_type,
            issuer: issuer.to_owned(),
            key_id: self.kid.clone(),
            sequence,
            issued_at,
        };
        let mut document = header.signing_input(body);
        let signature = self.key.sign(&document);
        document.extend_from_slice(&signature);
        document
    }
}
