//! A compact JWS, taken apart but not believed (RFC 7515 §3.1, §5.2; RFC 7519 §7.2).

use alloc::{string::String, vec::Vec};

use crate::{
    base64url,
    claims::Claims,
    error::Rejection,
    json::{self, Object, Value},
    jwk::Algorithm,
};

/// Length of a token that is looked at, in bytes. Proxies and servers cap a header line at 8 KiB
/// (nginx `large_client_header_buffers`, Apache `LimitRequestFieldSize`): a longer token never
/// arrives intact, and everything after this check costs time in proportion.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A compact JWS whose header has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Jws<'a> {
    pub(crate) algorithm: Algorithm,
    media_type: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) signing_input: &'a [u8],
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// A well-formed token whose signature has not been verified.
///
/// Its claims have been read, since whatever cannot be parsed is refused before any cryptography,
/// but they cannot be had: [`Verifier::verify`](crate::verifier::Verifier::verify) alone opens
/// them, after the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedToken<'a> {
    jws: Jws<'a>,
    claims: Result<Claims, Rejection>,
}

impl<'a> Jws<'a> {
    /// As [`UnverifiedToken::parse`], but for the payload, which is any bytes.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Rejection> {
        if bytes.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TokenTooLarge);
        }
        let [header, payload, signature] = three_parts(bytes).ok_or(Rejection::TokenMalformed)?;
        let signing_input = &bytes[..header.len() + 1 + payload.len()];

        // All three before anything is read: what has a character of no token is malformed (RFC 8725
        // §3.7), as it is to whoever takes a token out of a header, whatever it says of itself.
        let [header, payload, signature] = [
            base64url::decode(header).map_err(|_| Rejection::TokenMalformed)?,
            base64url::decode(payload).map_err(|_| Rejection::TokenMalformed)?,
            base64url::decode(signature).map_err(|_| Rejection::TokenMalformed)?,
        ];
        let header = json::parse_object(&header).map_err(|_| Rejection::TokenMalformed)?;
        let algorithm = text(&header, "alg")?.ok_or(Rejection::TokenMalformed)?;
        let media_type = text(&header, "typ")?.map(String::from);
        let key_id = text(&header, "kid")?.map(String::from);

        // No extension is understood, so whatever is critical is not (RFC 7515 §4.1.11); an
        // unencoded payload has no place in a JWT (RFC 7797 §7).
        if header.has("crit") || header.has("b64") {
            return Err(Rejection::CriticalHeader);
        }
        let algorithm = Algorithm::from_name(algorithm).ok_or(Rejection::AlgorithmNotAllowed)?;
        Ok(Self {
            algorithm,
            media_type,
            key_id,
            signing_input,
            payload,
            signature,
        })
    }

    /// Whether `typ` is `expected`; see [`UnverifiedToken::has_type`].
    pub(crate) fn has_type(&self, expected: &str) -> bool {
        let Some(media_type) = &self.media_type else {
            return false;
        };
        bare(media_type).eq_ignore_ascii_case(bare(expected))
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Parses a compact JWS.
    ///
    /// # Errors
    ///
    /// In this order: [`Rejection::TokenTooLarge`]; [`Rejection::TokenMalformed`] for anything but
    /// three parts of canonical base64url, of which the first is that of a JSON object with unique
    /// members and `alg`, `typ` and `kid` of the right types; [`Rejection::CriticalHeader`];
    /// [`Rejection::AlgorithmNotAllowed`]; [`Rejection::TokenMalformed`] again for a payload that
    /// is not such an object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let jws = Jws::parse(bytes)?;
        let payload = json::parse_object(&jws.payload).map_err(|_| Rejection::TokenMalformed)?;
        let claims = Claims::read(&payload);
        Ok(Self { jws, claims })
    }

    /// The header's `alg`.
    pub const fn unverified_algorithm(&self) -> Algorithm {
        self.jws.algorithm
    }

    /// The header's `kid`, to look a key up with and for nothing else.
    pub fn unverified_key_id(&self) -> Option<&str> {
        self.jws.key_id.as_deref()
    }

    /// The claim `iss`, to choose among issuers that are trusted already and for nothing else; none
    /// where the claims cannot be read.
    pub fn unverified_issuer(&self) -> Option<&str> {
        self.claims
            .as_ref()
            .ok()
            .map(|claims| claims.issuer.as_str())
    }

    /// Whether `typ` is `expected`, with or without the prefix `application/`, in any case
    /// (RFC 7515 §4.1.9; media types are case-insensitive).
    pub fn has_type(&self, expected: &str) -> bool {
        self.jws.has_type(expected)
    }

    pub(crate) const fn signing_input(&self) -> &'a [u8] {
        self.jws.signing_input
    }

    /// The same token over another copy of what was signed.
    pub(crate) fn with_signing_input(self, signing_input: &[u8]) -> UnverifiedToken<'_> {
        UnverifiedToken {
            jws: Jws {
                signing_input,
                ..self.jws
            },
            claims: self.claims,
        }
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.jws.signature
    }

    /// For the verifier, once it has verified the signature.
    pub(crate) fn into_claims(self) -> Result<Claims, Rejection> {
        self.claims
    }
}

/// The parts between exactly two dots. Five parts are a JWE, which is nothing for a verifier.
fn three_parts(bytes: &[u8]) -> Option<[&[u8]; 3]> {
    let mut parts = bytes.split(|&byte| byte == b'.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

fn text<'v>(header: &'v Object<'_>, name: &str) -> Result<Option<&'v str>, Rejection> {
    match header.member(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rejection::TokenMalformed),
    }
}

/// A media type without the prefix `application/`, which headers leave out (RFC 7515 §4.1.9).
fn bare(media_type: &str) -> &str {
    const PREFIX: &str = "application/";
    match media_type.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &media_type[PREFIX.len()..],
        _ => media_type,
    }
}
