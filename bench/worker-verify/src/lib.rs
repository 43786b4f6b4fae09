//! The verifier of `edgekeep-shared` as a JavaScript class, for timing it inside a worker beside
//! libraries that are called in the same way, and the revocation list as another. No part of the
//! gate: that never hands a verdict to JavaScript.

#[cfg(target_arch = "wasm32")]
mod exported {
    use edgekeep_shared::{
        control::ControlKeys,
        jwk::JwkSet,
        revocation::{Opening, RevocationDelta, RevocationList},
        time::UnixTime,
        verifier::Verifier,
    };
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
    /// A revocation list, as a gate holds it.
    #[wasm_bindgen]
    pub struct ListHolder {
        control_keys: ControlKeys,
        issuer: String,
        list: Option<RevocationList>,
    }

    #[wasm_bindgen]
    impl ListHolder {
        /// Holds none yet.
        ///
        /// # Errors
        ///
        /// The reason why `control_keys` are none, as a string.
        #[wasm_bindgen(constructor)]
        pub fn new(control_keys: &str, issuer: String) -> Result<Self, JsValue> {
            let control_keys = ControlKeys::parse(control_keys.as_bytes())
                .map_err(|error| JsValue::from_str(&error.to_string()))?;
            Ok(Self {
                control_keys,
                issuer,
                list: None,
            })
        }

        /// Opens the list in `bytes` `count` times and holds the last; how often that succeeded.
        pub fn open(&mut self, bytes: &js_sys::Uint8Array, count: u32) -> u32 {
            let mut opened = 0;
            for _ in 0..count {
                // Copied each time, as it comes from a fetch.
                let opening =
                    RevocationList::opening(bytes.to_vec(), &self.control_keys, &self.issuer);
                if let Ok(Ok(list)) = opening.map(Opening::finish) {
                    self.list = Some(list);
                    opened += 1;
                }
            }
            opened
        }

        /// Takes the list in `bytes` over and hashes its first piece, `count` times.
        pub fn piece(&self, bytes: &js_sys::Uint8Array, count: u32) -> u32 {
            let mut begun = 0;
            for _ in 0..count {
                let opening =
                    RevocationList::opening(bytes.to_vec(), &self.control_keys, &self.issuer);
                if let Ok(mut opening) = opening {
                    opening.advance();
                    begun += 1;
                }
            }
            begun
        }

        /// Applies the first `count` of the deltas in `bytes`, each after its length, to the held
        /// list or to a copy; how many were.
        pub fn apply(&mut self, mut bytes: &[u8], count: u32, keep: bool) -> u32 {
            let mut copy = None;
            let list = if keep {
                self.list.as_mut()
            } else {
                copy.clone_from(&self.list);
                copy.as_mut()
            };
            let Some(list) = list else { return 0 };
            let mut applied = 0;
            while applied < count
                && let Some((length, rest)) = bytes.split_first_chunk::<4>()
                && let Some((document, rest)) =
                    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
                && let Ok(delta) = RevocationDelta::open(document, &self.control_keys, &self.issuer)
                && list.apply(&delta).is_ok()
            {
                bytes = rest;
                applied += 1;
            }
            applied
        }

        /// Looks up `token`, a good one that is not listed, `count` times; how often it was not.
        pub fn find(&self, verifier: &TokenVerifier, token: &str, now: f64, count: u32) -> u32 {
            #[expect(clippy::cast_possible_truncation, reason = "seconds fit for aeons")]
            let now = UnixTime(now as i64);
            let token = verifier
                .verifier
                .verify(token.as_bytes(), &verifier.keys, now);
            let (Ok(token), Some(list)) = (token, &self.list) else {
                return 0;
            };
            let mut passed = 0;
            for _ in 0..count {
                let found = core::hint::black_box(list).find(core::hint::black_box(&token));
                passed += u32::from(found.is_none());
            }
            passed
        }
    }
}
