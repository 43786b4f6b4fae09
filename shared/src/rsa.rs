//! RSASSA-PKCS1-v1_5 with SHA-256, the public operation alone (RFC 8017 §8.2.2; RFC 7518 §3.3).
//!
//! The arithmetic is `crypto-bigint`'s. What is compared is the whole encoded message, built anew:
//! a verifier that takes the padding apart instead can be given garbage in it (CVE-2006-4339).

use alloc::{vec, vec::Vec};

use crypto_bigint::{
    BoxedUint,
    modular::{BoxedMontyForm, BoxedMontyParams},
};
use sha2::{Digest, Sha256};

use crate::jwk::JwkError;

/// Bits of the smallest modulus (RFC 7518 §3.3).
pub const MIN_MODULUS_BITS: usize = 2048;

/// Bits of the largest modulus: verification takes time with the square of its length, and whoever
/// publishes the key chooses it.
pub const MAX_MODULUS_BITS: usize = 4096;

/// Bytes of the largest exponent.
const MAX_EXPONENT_BYTES: usize = 8;

/// Under 1 everybody can sign; 3 has made every mistake in padding a forgery.
const FORBIDDEN_EXPONENTS: u64 = 3;

/// F4, the exponent of nearly every key.
const USUAL_EXPONENT: u64 = 65_537;

/// A modulus has no factor below this (NIST SP 800-89 §5.3.3).
const SMALL_FACTORS: u64 = 752;

/// Up to this prime every modulus of the broken generator leaves a power of its base, whatever its
/// size (CVE-2017-15361; Nemec et al., "The Return of Coppersmith's Attack", 2017, §3).
const ROCA_PRIMES: u64 = 167;

/// The base of that generator.
const ROCA_BASE: u64 = 65_537;

/// DER of the `DigestInfo` that SHA-256 has, up to the digest (RFC 8017 §9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// An RSA public key that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaKey {
    /// Big-endian, without leading zeros.
    modulus: Vec<u8>,
    exponent: u64,
    params: BoxedMontyParams,
}

impl RsaKey {
    /// The key of a modulus and an exponent, both big-endian without leading zeros.
    ///
    /// # Errors
    ///
    /// [`JwkError::Malformed`] for a number that is empty or begins with a zero (RFC 7518 §6.3.1.1);
    /// [`JwkError::Weak`] for a modulus that is even, has a small factor, has fewer bits than
    /// [`MIN_MODULUS_BITS`] or more than [`MAX_MODULUS_BITS`], or that the generator of
    /// CVE-2017-15361 has made, and for an exponent that is even, at most 3, or beyond 64 bits.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, JwkError> {
        let [first, ..] = modulus else {
            return Err(JwkError::Malformed);
        };
        if *first == 0 || exponent.first().is_none_or(|&first| first == 0) {
            return Err(JwkError::Malformed);
        }
        let bits = modulus.len() * 8 - first.leading_zeros() as usize;
        if !(MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&bits)
            || exponent.len() > MAX_EXPONENT_BYTES
        {
            return Err(JwkError::Weak);
        }
        let exponent = exponent
            .iter()
            .fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
        if exponent <= FORBIDDEN_EXPONENTS || exponent.is_multiple_of(2) {
            return Err(JwkError::Weak);
        }
        if has_small_factor(modulus) || is_of_roca(modulus) {
            return Err(JwkError::Weak);
        }
        let odd = BoxedUint::from_be_slice_vartime(modulus)
            .into_odd()
            .into_option()
            .ok_or(JwkError::Weak)?;
        Ok(Self {
            modulus: modulus.to_vec(),
            exponent,
            params: BoxedMontyParams::new_vartime(odd),
        })
    }

    /// The modulus, big-endian without leading zeros.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The exponent, big-endian without leading zeros.
    pub fn exponent(&self) -> Vec<u8> {
        let bytes = self.exponent.to_be_bytes();
        bytes.into_iter().skip_while(|&byte| byte == 0).collect()
    }

    /// Whether the exponent is the one that everybody uses, and the modulus fills its bytes.
    pub(crate) fn is_usual(&self) -> bool {
        self.exponent == USUAL_EXPONENT && self.modulus.first().is_some_and(|&byte| byte >= 0x80)
    }

    /// Whether `signature` is as long as the modulus and below it.
    pub(crate) fn is_in_range(&self, signature: &[u8]) -> bool {
        signature.len() == self.modulus.len() && signature < self.modulus.as_slice()
    }

    /// Whether `signature` is this key's over `message`: as long as the modulus, below it, and the
    /// encoded message to the last bit.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        if !self.is_in_range(signature) {
            return false;
        }
        let precision = self.params.bits_precision();
        let encoded = encoded(message, self.modulus.len());
        let (Ok(signature), Ok(encoded)) = (
            BoxedUint::from_be_slice(signature, precision),
            BoxedUint::from_be_slice(&encoded, precision),
        ) else {
            return false;
        };
        self.power(signature) == encoded
    }

    /// `base` to the exponent, modulo the modulus. Everything here is public, so that the bits of
    /// the exponent may show in the time.
    fn power(&self, base: BoxedUint) -> BoxedUint {
        let base = BoxedMontyForm::new(base, &self.params);
        let below_the_top = self.exponent.ilog2();
        (0..below_the_top)
            .rev()
            .fold(base.clone(), |power, bit| {
                let square = power.square();
                if self.exponent >> bit & 1 == 1 {
                    square.mul(&base)
                } else {
                    square
                }
            })
            .retrieve()
    }
}

/// EMSA-PKCS1-v1_5 of `message` in `length` bytes (RFC 8017 §9.2).
fn encoded(message: &[u8], length: usize) -> Vec<u8> {
    let digest = Sha256::digest(message);
    // A key is at least four times as long as what is put behind the padding.
    let padding = length.saturating_sub(3 + DIGEST_INFO.len() + digest.len());
    let mut encoded = vec![0x00, 0x01];
    encoded.resize(2 + padding, 0xff);
    encoded.push(0x00);
    encoded.extend_from_slice(&DIGEST_INFO);
    encoded.extend_from_slice(&digest);
    encoded
}

fn primes_below(end: u64) -> impl Iterator<Item = u64> {
    (2..end).filter(|&number| {
        (2..number)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
    })
}

/// A big-endian number modulo a small one.
fn remainder(number: &[u8], divisor: u64) -> u64 {
    number.chunks(4).fold(0, |remainder, word| {
        word.iter()
            .fold(remainder, |sum, &byte| sum << 8 | u64::from(byte))
            % divisor
    })
}

fn has_small_factor(modulus: &[u8]) -> bool {
    primes_below(SMALL_FACTORS).any(|prime| remainder(modulus, prime) == 0)
}

/// Whether the modulus is a power of the base modulo every small prime. By chance that happens to
/// one honest key in a hundred million.
fn is_of_roca(modulus: &[u8]) -> bool {
    primes_below(ROCA_PRIMES + 1).skip(1).all(|prime| {
        let wanted = remainder(modulus, prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * ROCA_BASE % prime;
            power == wanted
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reckons_with_the_primes_and_remainders_it_should() {
        assert_eq!(primes_below(SMALL_FACTORS).count(), 133);
        assert_eq!(primes_below(12).collect::<Vec<_>>(), [2, 3, 5, 7, 11]);
        assert_eq!(remainder(&[1, 0, 0, 0, 1], 751), 4_294_967_297 % 751);
        assert_eq!(remainder(&[7], 5), 2);
    }

    #[test]
    fn knows_the_fingerprint_of_the_broken_generator() {
        // A power of the base, as a whole number: it leaves a power modulo every prime.
        let power = ROCA_BASE * ROCA_BASE;
        assert!(is_of_roca(&power.to_be_bytes()));
        let mut other = power.to_be_bytes().to_vec();
        other.push(3);
        assert!(!is_of_roca(&other));
    }

    #[test]
    fn encodes_as_the_clause_says() {
        let encoded = encoded(b"", 256);
        assert_eq!(encoded.len(), 256);
        assert_eq!(encoded[..3], [0, 1, 0xff]);
        assert_eq!(encoded[203..205], [0xff, 0]);
        assert_eq!(encoded[205..224], DIGEST_INFO);
        assert_eq!(encoded[224..228], [0xe3, 0xb0, 0xc4, 0x42]);
    }
}
