//! The verifier of `edgekeep-shared` as a JavaScript class, for timing it inside a worker beside
//! libraries that are called in the same way. No part of the gate: that never hands a verdict
//! to JavaScript.

#[cfg(target_arch = "wasm32")]
mod exported {
    use edgekeep_shared::{jwk::JwkSet, time::UnixTime, verifier::Verifier};
    use wasm_bindgen::prelude::*;

    /// A verifier with the keys that it judges by.
    #[wasm_bindgen]
    pub struct TokenVerifier {
        verifier: Verifier,
        keys: JwkSet,
    }

    #[wasm_bindgen]
    impl TokenVerifier {
        /// A verifier for access tokens of `issuer` for `audience` under the JWK Set `jwks`.
        ///
        /// # Errors
        ///
        /// The reason why `jwks` is not a JWK Set, as a string.
        #[wasm_bindgen(constructor)]
        pub fn new(jwks: &str, issuer: &str, audience: &str) -> Result<Self, JsValue> {
            let keys = JwkSet::parse(jwks.as_bytes())
                .map_err(|error| JsValue::from_str(&error.to_string()))?;
            Ok(Self {
                verifier: Verifier::new(issuer, audience),
                keys,
            })
        }

        /// Whether `token` is good at `now`, in seconds since 1970. Nothing is cached.
        pub fn verify(&self, token: &str, now: f64) -> bool {
            #[expect(clippy::cast_possible_truncation, reason = "seconds fit for aeons")]
            let now = UnixTime(now as i64);
            self.verifier
                .verify(token.as_bytes(), &self.keys, now)
                .is_ok()
        }
    }
}
