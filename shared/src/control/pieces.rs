//! Opening a large document in pieces, with other work in between.
//!
//! Ed25519 hashes the whole document. Of several megabytes that is a pause in a worker, which has
//! one thread for all requests.

use alloc::vec::Vec;
use core::ops::Range;

use ed25519_dalek::{Signature, StreamVerifier, VerifyingKey};

use super::{ControlError, ControlKeys, DocumentType, SIGNATURE_BYTES, said, take_apart};
use crate::{jwk, time::UnixTime};

/// Bytes that are hashed at a time: about 5 ms in WebAssembly.
const PIECE_BYTES: usize = 1024 * 1024;

/// A document whose signature is being verified.
pub struct Pieces {
    bytes: Vec<u8>,
    body: Range<usize>,
    verifier: StreamVerifier,
    hashed: usize,
    /// Told only of a document whose signature is good.
    said: Result<(u64, UnixTime), ControlError>,
}

/// A document whose signature, type and issuer have been verified.
#[derive(Debug)]
pub struct WholeDocument {
    /// Number by which documents of one type are ordered.
    pub sequence: u64,
    /// When it was signed. Its age is for the caller to judge.
    pub issued_at: UnixTime,
    /// What it says.
    pub body: Vec<u8>,
}

impl Pieces {
    /// Begins to open a document of `issuer` of the type `expected`; see [`super::open`].
    ///
    /// # Errors
    ///
    /// [`ControlError`] for what can be seen without the signature.
    pub fn begin(
        bytes: Vec<u8>,
        keys: &ControlKeys,
        expected: DocumentType,
        issuer: &str,
    ) -> Result<Self, ControlError> {
        let (body, verifier, said) = {
            let parts = take_apart(&bytes)?;
            let jwk::VerifyingKey::EdDsa(key) = parts.key(keys)? else {
                return Err(ControlError::KeyUnknown);
            };
            let end = parts.signed.len();
            (
                end - parts.body.len()..end,
                strict(key, parts.signature).ok_or(ControlError::SignatureInvalid)?,
                said(&parts.header, expected, issuer),
            )
        };
        Ok(Self {
            body,
            verifier,
            hashed: 0,
            said,
            bytes,
        })
    }

    /// Hashes the next piece; whether there are more.
    pub fn advance(&mut self) -> bool {
        let end = self.body.end.min(self.hashed + PIECE_BYTES);
        self.verifier.update(&self.bytes[self.hashed..end]);
        self.hashed = end;
        end < self.body.end
    }

    /// The document, after whatever pieces were left.
    ///
    /// # Errors
    ///
    /// [`ControlError`], as of [`super::open`].
    pub fn finish(mut self) -> Result<WholeDocument, ControlError> {
        while self.advance() {}
        self.verifier
            .finalize_and_verify()
            .map_err(|_| ControlError::SignatureInvalid)?;
        let (sequence, issued_at) = self.said?;
        self.bytes.truncate(self.body.end);
        self.bytes.drain(..self.body.start);
        Ok(WholeDocument {
            sequence,
            issued_at,
            body: self.bytes,
        })
    }
}

impl core::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pieces").finish_non_exhaustive()
    }
}

/// A verifier by the rules of `verify_strict`, which cannot go in pieces: R and the key must not be
/// points of small order. That R is canonical and s reduced is checked in any case.
fn strict(key: &VerifyingKey, signature: &[u8; SIGNATURE_BYTES]) -> Option<StreamVerifier> {
    let signature = Signature::from_bytes(signature);
    let commitment = VerifyingKey::from_bytes(signature.r_bytes()).ok()?;
    if commitment.is_weak() || key.is_weak() {
        return None;
    }
    key.verify_stream(&signature).ok()
}
