//! What the issuer tells its gates: documents signed by the control key.
//!
//! The control key is Ed25519, appears in no JWK Set and signs no token. Gates pin its public
//! half, so that whoever can write their key-value store, or has stolen a token key, can forge
//! none of these. A document is bound to its type and to the issuer, and carries a sequence
//! number by which an old one is told from a new one.
//!
//! Layout, all integers little-endian:
//!
//! ```text
//! "EKC1" | u32 header length | header (JSON) | body | 64 bytes Ed25519 signature of all before it
//! header: {"typ":"edgekeep-revocations","iss":"https://…","kid":"…","seq":1,"iat":1}
//! ```

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use crate::{
    json::{self, Object, Value},
    jwk::{Jwk, JwkError, VerifyingKey},
    time::UnixTime,
};

mod pieces;

pub use pieces::{Pieces, WholeDocument};

const MAGIC: &[u8; 4] = b"EKC1";
const PREFIX_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 64;

/// Length of the header: an issuer's URL of up to 2,048 bytes and a few short members.
pub const MAX_HEADER_BYTES: usize = 4 * 1024;

/// Length of a whole document: a value of Workers KV may have 25 MiB.
pub const MAX_DOCUMENT_BYTES: usize = 25 * 1024 * 1024;

/// Control keys that a gate pins: the present one, and the next or the last during a rollover.
pub const MAX_CONTROL_KEYS: usize = 2;

/// What a document is; each type is signed as itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentType {
    /// The revocation list.
    Revocations,
    /// What changed in the revocation list.
    RevocationsDelta,
    /// A copy of the JWK Set.
    JwkSet,
    /// A copy of the policy.
    Policy,
}

impl DocumentType {
    /// The header's `typ`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revocations => "edgekeep-revocations",
            Self::RevocationsDelta => "edgekeep-revocations-delta",
            Self::JwkSet => "edgekeep-jwks",
            Self::Policy => "edgekeep-policy",
        }
    }
}

/// Why a control document does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// Not a control document, or one that is cut off.
    Malformed,
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    TooLarge,
    /// Signed by a key that is not pinned.
    KeyUnknown,
    /// The signature does not verify.
    SignatureInvalid,
    /// A document of another type.
    WrongType,
    /// A document of another issuer.
    IssuerMismatch,
    /// The body is not what the type asks for.
    BodyInvalid,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a control document",
            Self::TooLarge => "larger than a control document may be",
            Self::KeyUnknown => "signed by a key that is not pinned",
            Self::SignatureInvalid => "the signature is invalid",
            Self::WrongType => "a control document of another type",
            Self::IssuerMismatch => "a control document of another issuer",
            Self::BodyInvalid => "the body is not well-formed",
        })
    }
}

impl core::error::Error for ControlError {}

/// The pinned public halves of the control key.
#[derive(Clone, Debug)]
pub struct ControlKeys(Vec<Jwk>);

impl ControlKeys {
    /// Parses a JWK, an array of JWKs, or a JWK Set, of one or two Ed25519 keys.
    ///
    /// # Errors
    ///
    /// [`JwkError`] for anything else: a pinned key that cannot be used is a mistake to hear of,
    /// not one to skip.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwkError> {
        let value = json::parse(bytes).map_err(|_| JwkError::Malformed)?;
        let values = match &value {
            Value::Array(values) => values.as_slice(),
            Value::Object(object) => match object.member("keys") {
                Some(Value::Array(values)) => values.as_slice(),
                Some(_) => return Err(JwkError::Malformed),
                None => core::slice::from_ref(&value),
            },
            _ => return Err(JwkError::Malformed),
        };
        let keys: Vec<Jwk> = values
            .iter()
            .map(Jwk::from_value)
            .collect::<Result<_, _>>()?;
        Self::new(keys)
    }

    /// The given keys.
    ///
    /// # Errors
    ///
    /// [`JwkError`] unless they are one or two different Ed25519 keys.
    pub fn new(keys: Vec<Jwk>) -> Result<Self, JwkError> {
        if keys.is_empty() || keys.len() > MAX_CONTROL_KEYS {
            return Err(JwkError::Malformed);
        }
        if keys
            .iter()
            .any(|jwk| !matches!(jwk.key(), VerifyingKey::EdDsa(_)))
        {
            return Err(JwkError::Unsupported);
        }
        if keys.len() == 2 && keys[0].key_id() == keys[1].key_id() {
            return Err(JwkError::Malformed);
        }
        Ok(Self(keys))
    }

    fn find(&self, key_id: &str) -> Option<&VerifyingKey> {
        self.0
            .iter()
            .find(|jwk| jwk.key_id() == key_id)
            .map(Jwk::key)
    }
}

/// What the header of a control document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the document is.
    pub document_type: DocumentType,
    /// The issuer that it speaks for.
    pub issuer: String,
    /// The thumbprint of the control key.
    pub key_id: String,
    /// Grows with every document of one type and issuer.
    pub sequence: u64,
    /// When it was signed.
    pub issued_at: UnixTime,
}

impl Header {
    /// The bytes to sign for `body`; the document is these bytes followed by the signature.
    pub fn signing_input(&self, body: &[u8]) -> Vec<u8> {
        let [typ, iss, kid] =
            [self.document_type.name(), &self.issuer, &self.key_id].map(serde_json::Value::from);
        let (seq, iat) = (self.sequence, self.issued_at);
        let header = format!(r#"{{"typ":{typ},"iss":{iss},"kid":{kid},"seq":{seq},"iat":{iat}}}"#);
        let mut out =
            Vec::with_capacity(PREFIX_BYTES + header.len() + body.len() + SIGNATURE_BYTES);
        out.extend_from_slice(MAGIC);
        // A header beyond u32 cannot exist in memory on wasm32; elsewhere `open` refuses it.
        out.extend_from_slice(
            &u32::try_from(header.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(body);
        out
    }
}

/// A document whose signature, type and issuer have been verified; nothing else can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Number by which documents of one type are ordered.
    pub sequence: u64,
    /// When it was signed. Its age is for the caller to judge.
    pub issued_at: UnixTime,
    /// What it says.
    pub body: &'a [u8],
}

/// Opens a document of `issuer` of the type `expected`.
///
/// # Errors
///
/// [`ControlError`], by cause; a type or an issuer that differs is told only of a document whose
/// signature is good.
pub fn open<'a>(
    bytes: &'a [u8],
    keys: &ControlKeys,
    expected: DocumentType,
    issuer: &str,
) -> Result<Document<'a>, ControlError> {
    let parts = take_apart(bytes)?;
    if !parts.key(keys)?.verify(parts.signed, parts.signature) {
        return Err(ControlError::SignatureInvalid);
    }
    let (sequence, issued_at) = said(&parts.header, expected, issuer)?;
    Ok(Document {
        sequence,
        issued_at,
        body: parts.body,
    })
}

/// The sequence number and the body that a document claims to have; nothing is verified.
pub(crate) fn unverified(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let parts = take_apart(bytes).ok()?;
    let sequence = parts.header.member("seq")?.as_integer()?;
    Some((u64::try_from(sequence).ok()?, parts.body))
}

/// A document of which nothing is verified.
struct Parts<'a> {
    signed: &'a [u8],
    signature: &'a [u8; SIGNATURE_BYTES],
    header: Object<'a>,
    body: &'a [u8],
}

impl Parts<'_> {
    /// The pinned key that the header names.
    fn key<'k>(&self, keys: &'k ControlKeys) -> Result<&'k VerifyingKey, ControlError> {
        keys.find(text(&self.header, "kid")?)
            .ok_or(ControlError::KeyUnknown)
    }
}

fn take_apart(bytes: &[u8]) -> Result<Parts<'_>, ControlError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(ControlError::TooLarge);
    }
    let (signed, signature) = bytes
        .split_last_chunk::<SIGNATURE_BYTES>()
        .ok_or(ControlError::Malformed)?;
    let (magic, rest) = signed
        .split_first_chunk::<4>()
        .ok_or(ControlError::Malformed)?;
    let (length, rest) = rest
        .split_first_chunk::<4>()
        .ok_or(ControlError::Malformed)?;
    let length =
        usize::try_from(u32::from_le_bytes(*length)).map_err(|_| ControlError::Malformed)?;
    if magic != MAGIC || length > MAX_HEADER_BYTES || length > rest.len() {
        return Err(ControlError::Malformed);
    }
    let (header, body) = rest.split_at(length);
    let header = json::parse_object(header).map_err(|_| ControlError::Malformed)?;
    Ok(Parts {
        signed,
        signature,
        header,
        body,
    })
}

/// Sequence and issue time, if the header is of the type and the issuer that are expected.
fn said(
    header: &Object<'_>,
    expected: DocumentType,
    issuer: &str,
) -> Result<(u64, UnixTime), ControlError> {
    if text(header, "typ")? != expected.name() {
        return Err(ControlError::WrongType);
    }
    if text(header, "iss")? != issuer {
        return Err(ControlError::IssuerMismatch);
    }
    let number = |name| {
        header
            .member(name)
            .and_then(Value::as_integer)
            .ok_or(ControlError::Malformed)
    };
    let sequence = u64::try_from(number("seq")?).map_err(|_| ControlError::Malformed)?;
    Ok((sequence, UnixTime(number("iat")?)))
}

fn text<'v>(header: &'v Object<'_>, name: &str) -> Result<&'v str, ControlError> {
    header
        .member(name)
        .and_then(Value::as_str)
        .ok_or(ControlError::Malformed)
}
