//! The `jsonwebtoken` crate, as its documentation uses it with a JWK Set.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation, decode, decode_header};
use serde_json::Value;

use crate::{AUDIENCE, ISSUER};

/// Keys by `kid`, each with what is demanded of its tokens.
pub(crate) struct JsonWebToken {
    keys: HashMap<String, (DecodingKey, Validation)>,
}

impl JsonWebToken {
    /// The keys of the set that can be read; one that cannot must not take the others with it, so they
    /// are read one by one.
    pub(crate) fn new(jwks: &str) -> Result<Self> {
        let set: Value = serde_json::from_str(jwks)?;
        let mut keys = HashMap::new();
        for jwk in set["keys"].as_array().context("no keys")? {
            let Ok(jwk) = serde_json::from_value::<Jwk>(jwk.clone()) else {
                continue;
            };
            let algorithm = match jwk.common.key_algorithm {
                Some(KeyAlgorithm::ES256) => Algorithm::ES256,
                Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
                Some(KeyAlgorithm::RS256) => Algorithm::RS256,
                _ => continue,
            };
            let (Some(kid), Ok(key)) = (jwk.common.key_id.clone(), DecodingKey::from_jwk(&jwk))
            else {
                continue;
            };
            let mut validation = Validation::new(algorithm);
            validation.set_issuer(&[ISSUER]);
            validation.set_audience(&[AUDIENCE]);
            validation.required_spec_claims =
                HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
            validation.validate_nbf = true;
            validation.leeway = 0;
            keys.insert(kid, (key, validation));
        }
        Ok(Self { keys })
    }

    /// Whether it accepts a token, and whether a caller does who checks besides what it has no option
    /// for: the type, and that the claims of RFC 9068 §2.2 are there.
    pub(crate) fn verdicts(&self, token: &[u8]) -> [bool; 2] {
        let Some(TokenData { header, claims }) = self.verified(token) else {
            return [false; 2];
        };
        let typed = header.typ.is_some_and(|typ| {
            let typ = typ.to_ascii_lowercase();
            typ.strip_prefix("application/").unwrap_or(&typ) == "at+jwt"
        });
        let complete = ["iat", "jti", "client_id"]
            .iter()
            .all(|name| claims.get(name).is_some());
        [true, typed && complete]
    }

    fn verified(&self, token: &[u8]) -> Option<TokenData<Value>> {
        let kid = decode_header(token).ok()?.kid?;
        let (key, validation) = self.keys.get(&kid)?;
        decode(token, key, validation).ok()
    }
}
