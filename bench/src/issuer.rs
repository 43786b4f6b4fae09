//! An issuer for the bench alone: keys from fixed seeds, tokens, and what a gate asks for.

use std::cell::RefCell;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use ed25519_dalek::Signer as _;
use edgekeep_shared::{
    base64url,
    control::{DocumentType, Header},
    jwk::{Jwk, JwkSet, VerifyingKey},
    revocation::{Entry, HashKey, encode},
    rsa::RsaKey,
    time::UnixTime,
};
use serde_json::json;

use crate::http::{self, Head};

/// The audience of all tokens.
pub(crate) const AUDIENCE: &str = "api";

/// Entries of the revocation list: 1 % of a million live tokens.
const REVOKED: usize = 10_000;

/// Seconds after which the list is signed again.
const HEARTBEAT: i64 = 15;

/// Seconds that a token lives: longer than the run takes.
const LIFETIME: i64 = 3_600;

/// An algorithm that tokens are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    Es256,
    EdDsa,
    /// With 2,048 bits, as most issuers have it.
    Rs256,
}

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// As it stands in names of metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "es256",
            Self::EdDsa => "eddsa",
            Self::Rs256 => "rs256",
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> UnixTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the bench signs tokens for the present"
    )]
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime(i64::try_from(since.as_secs()).unwrap_or_default())
}

/// The keys of the issuer.
pub(crate) struct Keys {
    es256: p256::ecdsa::SigningKey,
    eddsa: ed25519_dalek::SigningKey,
    rs256: RsaKeyPair,
    control: ed25519_dalek::SigningKey,
}

impl Keys {
    /// Always the same keys, which open nothing, but for RSA's, whose making costs little here.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            es256: p256::ecdsa::SigningKey::from_bytes(&[7; 32].into())?,
            eddsa: ed25519_dalek::SigningKey::from_bytes(&[8; 32]),
            rs256: RsaKeyPair::generate(KeySize::Rsa2048).context("no RSA key")?,
            control: ed25519_dalek::SigningKey::from_bytes(&[9; 32]),
        })
    }

    fn verifying(&self, algorithm: Algorithm) -> Result<VerifyingKey> {
        Ok(match algorithm {
            Algorithm::Es256 => VerifyingKey::Es256(*self.es256.verifying_key()),
            Algorithm::EdDsa => VerifyingKey::EdDsa(self.eddsa.verifying_key()),
            Algorithm::Rs256 => {
                // An RSAPublicKey of 2,048 bits: two integers, of which the first begins with a
                // zero and the second is 65,537 (RFC 8017, A.1.1).
                let der = self.rs256.public_key().as_ref();
                let modulus = der.get(9..265).context("not a key of 2,048 bits")?;
                VerifyingKey::Rs256(RsaKey::new(modulus, &[1, 0, 1])?)
            }
        })
    }

    /// The JWK Set that verifies tokens.
    pub(crate) fn set(&self) -> Result<JwkSet> {
        let keys = Algorithm::ALL.into_iter().map(|algorithm| {
            let key = self.verifying(algorithm)?;
            Ok(Jwk::new(key.thumbprint(), key))
        });
        Ok(JwkSet::new(keys.collect::<Result<_>>()?)?)
    }

    /// The control key's public half, as `CONTROL_KEYS` wants it.
    pub(crate) fn control_keys(&self) -> String {
        let key = VerifyingKey::EdDsa(self.control.verifying_key());
        format!("[{}]", key.to_jwk(&key.thumbprint()))
    }

    /// A token of `issuer` with the claims of an ordinary one; `number` makes it differ.
    pub(crate) fn token(
        &self,
        algorithm: Algorithm,
        issuer: &str,
        number: usize,
    ) -> Result<String> {
        let key = self.verifying(algorithm)?;
        let header = json!({
            "alg": key.algorithm().name(), "typ": "at+jwt", "kid": key.thumbprint(),
        });
        let iat = now().0 - 1;
        let claims = json!({
            "iss": issuer, "aud": AUDIENCE, "client_id": "default",
            "sub": format!("018f3d5c-7a00-7000-8000-{number:012x}"),
            "iat": iat, "nbf": iat, "exp": iat + LIFETIME, "auth_time": iat,
            "jti": format!("018f3d5c-7a01-7000-8000-{number:012x}"),
            "sid": format!("018f3d5c-7a02-7000-8000-{number:012x}"),
            "scope": "report:read report:write", "roles": ["user"], "permissions": [],
            "amr": ["pwd"], "acr": "1", "kyc_level": 0, "kyc_status": "none",
        });
        let mut token = base64url::encode(header.to_string().as_bytes());
        token.push('.');
        token.push_str(&base64url::encode(claims.to_string().as_bytes()));
        let signature = match algorithm {
            Algorithm::Es256 => {
                let signature: p256::ecdsa::Signature = self.es256.sign(token.as_bytes());
                signature.to_bytes().to_vec()
            }
            Algorithm::EdDsa => self.eddsa.sign(token.as_bytes()).to_bytes().to_vec(),
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rs256.public_modulus_len()];
                let random = SystemRandom::new();
                self.rs256
                    .sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)
                    .context("cannot sign")?;
                signature
            }
        };
        token.push('.');
        token.push_str(&base64url::encode(&signature));
        Ok(token)
    }

    /// `count` tokens that differ, numbered from `first`.
    pub(crate) fn tokens(
        &self,
        algorithm: Algorithm,
        issuer: &str,
        first: usize,
        count: usize,
    ) -> Result<Vec<String>> {
        (first..first + count)
            .map(|number| self.token(algorithm, issuer, number))
            .collect()
    }

    fn list(&self, issuer: &str, at: UnixTime) -> Vec<u8> {
        let sessions: Vec<String> = (0..REVOKED).map(|n| format!("ended-{n}")).collect();
        let entries = sessions.iter().map(|session| Entry::Session(session));
        let body = encode(&HashKey([3; 16]), entries);
        let sequence = u64::try_from(at.0)
            .unwrap_or_default()
            .saturating_mul(1_000);
        self.document(DocumentType::Revocations, issuer, (sequence, at), &body)
    }

    /// What the control key signs: of a type, with a number and a time.
    pub(crate) fn document(
        &self,
        document_type: DocumentType,
        issuer: &str,
        (sequence, issued_at): (u64, UnixTime),
        body: &[u8],
    ) -> Vec<u8> {
        let header = Header {
            document_type,
            issuer: issuer.to_owned(),
            key_id: VerifyingKey::EdDsa(self.control.verifying_key()).thumbprint(),
            sequence,
            issued_at,
        };
        let mut document = header.signing_input(body);
        let signature = self.control.sign(&document).to_bytes();
        document.extend_from_slice(&signature);
        document
    }
}

/// Serves JWK Set, feed and key-value store of `keys` on one address, which as a URL is the
/// issuer's name. The list is signed again every [`HEARTBEAT`] seconds.
pub(crate) async fn serve(keys: std::rc::Rc<Keys>) -> Result<SocketAddr> {
    let set = keys.set()?.to_json();
    let held: RefCell<Option<(UnixTime, Vec<u8>)>> = RefCell::new(None);
    // The issuer's name has the port that is known only when the listener is there.
    let name = std::rc::Rc::new(RefCell::new(String::new()));
    let known = std::rc::Rc::clone(&name);
    let address = http::serve(move |head: &Head<'_>, out| {
        let path = head.path.split('?').next().unwrap_or_default();
        match path {
            "/.well-known/jwks.json" => {
                let headers = "Content-Type: application/json\r\nCache-Control: max-age=300\r\n";
                http::answer(out, "200 OK", headers, set.as_bytes());
            }
            "/.well-known/revocations" | "/revocations" => {
                let now = now();
                let mut held = held.borrow_mut();
                if held
                    .as_ref()
                    .is_none_or(|(at, _)| now.0 - at.0 >= HEARTBEAT)
                {
                    *held = Some((now, keys.list(&known.borrow(), now)));
                }
                let Some((at, list)) = held.as_ref() else {
                    return;
                };
                let tag = format!("\"{at}\"");
                let headers = format!("ETag: {tag}\r\n");
                if head.if_none_match == Some(&tag) {
                    http::answer(out, "304 Not Modified", &headers, b"");
                } else {
                    http::answer(out, "200 OK", &headers, list);
                }
            }
            _ => http::answer(out, "404 Not Found", "", b""),
        }
    })
    .await?;
    *name.borrow_mut() = format!("http://{address}");
    Ok(address)
}
