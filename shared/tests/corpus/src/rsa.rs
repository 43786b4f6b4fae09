//! RSA with the private exponent, raw: what no library for signing lets one write is what a
//! verifier must be shown. The keys are public; nothing here is kept from anybody.

use crypto_bigint::{
    BoxedUint, Odd,
    modular::{BoxedMontyForm, BoxedMontyParams},
};
use sha2::{Digest as _, Sha256};

use crate::keys::decode;

/// DER of a `DigestInfo` up to the digest (RFC 8017 §9.2, note 1).
pub(crate) const SHA_1: &[u8] = b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
pub(crate) const SHA_256: &[u8] =
    b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
pub(crate) const SHA_384: &[u8] =
    b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30";
pub(crate) const SHA_512: &[u8] =
    b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

/// A key pair: modulus, public and private exponent, big-endian.
#[derive(Clone, Debug)]
pub struct Pair {
    pub(crate) modulus: Vec<u8>,
    pub(crate) public: Vec<u8>,
    private: Vec<u8>,
}

impl Pair {
    /// The good pair of 2,048, 3,072 or 4,096 bits that stands in the corpus.
    ///
    /// # Panics
    /// For any other size.
    pub fn of_bits(bits: u16) -> Self {
        assert!([2048, 3072, 4096].contains(&bits), "no pair of {bits} bits");
        Self::named(&bits.to_string())
    }

    /// The modulus, big-endian.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The public exponent, big-endian.
    pub fn exponent(&self) -> &[u8] {
        &self.public
    }

    /// The pair called `name` in `rsa.json`.
    pub(crate) fn named(name: &str) -> Self {
        let pairs: serde_json::Value = serde_json::from_str(include_str!("rsa.json")).unwrap();
        let number = |member: &str| decode(pairs[name][member].as_str().unwrap());
        Self {
            modulus: number("n"),
            public: number("e"),
            private: number("d"),
        }
    }

    /// The pair with the modulus of another and the exponent 1, under which a message is its own
    /// signature.
    pub(crate) fn with_exponent_1(mut self) -> Self {
        self.public = vec![1];
        self.private = vec![1];
        self
    }

    /// Octets of the modulus, and so of a signature.
    pub(crate) const fn len(&self) -> usize {
        self.modulus.len()
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.raw(&pkcs1(SHA_256, &Sha256::digest(message), self.len()))
    }

    /// Whether the public exponent gives back what was signed: under an exponent that has no
    /// inverse, only some messages can be signed.
    pub(crate) fn signs(&self, message: &[u8]) -> bool {
        let encoded = pkcs1(SHA_256, &Sha256::digest(message), self.len());
        self.power(&self.raw(&encoded), &self.public) == encoded
    }

    /// `encoded` to the private exponent.
    pub(crate) fn raw(&self, encoded: &[u8]) -> Vec<u8> {
        self.power(encoded, &self.private)
    }

    fn power(&self, base: &[u8], exponent: &[u8]) -> Vec<u8> {
        let modulus = BoxedUint::from_be_slice_vartime(&self.modulus);
        let is_even = self.modulus.last().unwrap() & 1 == 0;
        // An even modulus is twice a prime: the power modulo the prime, and the parity of the base.
        let odd = if is_even { modulus.shr(1) } else { modulus };
        let params = BoxedMontyParams::new_vartime(Odd::new(odd.clone()).unwrap());
        let precision = params.bits_precision();
        let reduced = BoxedUint::from_be_slice(base, precision).unwrap()
            % crypto_bigint::NonZero::new(odd.clone()).unwrap();
        let power = BoxedMontyForm::new(reduced, &params)
            .pow(&BoxedUint::from_be_slice_vartime(exponent))
            .retrieve();
        let same_parity = power.to_be_bytes().last().unwrap() & 1 == base.last().unwrap() & 1;
        let power = if is_even && !same_parity {
            power.wrapping_add(&odd)
        } else {
            power
        };
        let bytes = power.to_be_bytes();
        bytes[bytes.len() - self.len()..].to_vec()
    }
}

/// EMSA-PKCS1-v1_5: `00 01 ff… 00`, what says the digest's kind, the digest (RFC 8017 §9.2).
pub(crate) fn pkcs1(digest_info: &[u8], digest: &[u8], length: usize) -> Vec<u8> {
    let padding = length - 3 - digest_info.len() - digest.len();
    [&[0, 1][..], &vec![0xff; padding], &[0], digest_info, digest].concat()
}

/// EMSA-PSS with SHA-256 and a salt of 32 zeros (RFC 8017 §9.1.1), for a modulus of whole octets.
pub(crate) fn pss(message: &[u8], length: usize) -> Vec<u8> {
    const HASH: usize = 32;
    let salt = [0; HASH];
    let hash = Sha256::digest([&[0; 8][..], &Sha256::digest(message), &salt].concat());
    let mut block = vec![0; length - HASH - 1];
    let at = block.len() - HASH;
    block[at - 1] = 1;
    block[at..].copy_from_slice(&salt);
    for (counter, part) in (0_u32..).zip(block.chunks_mut(HASH)) {
        let mask = Sha256::digest([&hash[..], &counter.to_be_bytes()].concat());
        for (byte, mask) in part.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    block[0] &= 0x7f;
    [&block[..], &hash, &[0xbc]].concat()
}
