//! The gate's own word to the upstream: a short-lived token that says who asks for what.
//!
//! Headers can be added by anyone who reaches the upstream around the gate; a signature cannot.
//! The key is the gate's own, and the type is one that no verifier of access tokens accepts.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use edgekeep_shared::{
    assertion::{ASSERTION_ISSUER, ASSERTION_LIFETIME, ASSERTION_TYPE},
    base64url,
    json::{self, Value},
    jwk::VerifyingKey,
    time::UnixTime,
    verifier::VerifiedToken,
};

/// A private Ed25519 key of the gate.
pub struct AssertionKey {
    key: SigningKey,
    key_id: String,
}

impl AssertionKey {
    /// Parses a private JWK (RFC 8037 §2); `None` for anything else, and for one whose public
    /// half is not that of its private half.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let jwk = json::parse_object(bytes).ok()?;
        let text = |name| jwk.member(name).and_then(Value::as_str);
        if text("kty") != Some("OKP") || text("crv") != Some("Ed25519") {
            return None;
        }
        let key = SigningKey::from_bytes(&base64url::decode_exact(text("d")?.as_bytes()).ok()?);
        let public = base64url::encode(key.verifying_key().as_bytes());
        if text("x").is_some_and(|x| x != public) {
            return None;
        }
        let key_id = VerifyingKey::EdDsa(key.verifying_key()).thumbprint();
        Some(Self { key, key_id })
    }

    /// The public half as a JWK Set document.
    pub fn public_set(&self) -> String {
        let key = VerifyingKey::EdDsa(self.key.verifying_key());
        format!(r#"{{"keys":[{}]}}"#, key.to_jwk(&self.key_id))
    }

    /// An assertion that the holder of `token` asks for `method` on `url`, which has no query.
    /// `audience` is the upstream.
    pub fn sign(
        &self,
        token: &VerifiedToken,
        audience: &str,
        method: &str,
        url: &str,
        now: UnixTime,
    ) -> String {
        let claims = token.claims();
        let mut payload = serde_json::json!({
            "iss": ASSERTION_ISSUER,
            "aud": audience,
            "sub": claims.subject,
            "htm": method,
            "htu": url,
            "iat": now.0,
            "exp": now.plus(ASSERTION_LIFETIME).0,
        });
        if token.names_issuer() {
            // Two issuers may call two people by one name (RFC 9493 §3.2.3 and §4.1).
            payload["sub_id"] = serde_json::json!({
                "format": "iss_sub",
                "iss": claims.issuer,
                "sub": claims.subject,
            });
        }
        if let Some(session) = &claims.session_id {
            payload["sid"] = session.as_str().into();
        }
        let header = format!(
            r#"{{"alg":"EdDSA","typ":"{ASSERTION_TYPE}","kid":"{}"}}"#,
            self.key_id
        );
        let mut assertion = base64url::encode(header.as_bytes());
        assertion.push('.');
        assertion.push_str(&base64url::encode(payload.to_string().as_bytes()));
        let signature = self.key.sign(assertion.as_bytes()).to_bytes();
        assertion.push('.');
        assertion.push_str(&base64url::encode(&signature));
        assertion
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionKey({})", self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8037, appendix A.1.
    const JWK: &str = r#"{"kty":"OKP","crv":"Ed25519",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn publishes_the_public_half_under_its_thumbprint() {
        let key = AssertionKey::parse(JWK.as_bytes()).unwrap();
        let set = key.public_set();
        // RFC 8037, appendix A.3.
        assert!(set.contains("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
        assert!(!set.contains("nWGxne"), "the private half stays");
        assert!(!format!("{key:?}").contains("nWGxne"));
    }

    #[test]
    fn rejects_halves_that_do_not_belong_together() {
        let other = JWK.replace("11qY", "21qY");
        assert!(AssertionKey::parse(other.as_bytes()).is_none());
        assert!(AssertionKey::parse(JWK.replace("Ed25519", "P-256").as_bytes()).is_none());
        assert!(AssertionKey::parse(b"{}").is_none());
    }
}
