//! Signatures: absent, of impossible values, in other forms, over other bytes, by other keys (RFC
//! 7518 §3.3, §3.4, RFC 8017 §8.2.2; CVE-2022-21449, CVE-2006-4339).

use p256::elliptic_curve::PrimeField as _;
use sha2::{Digest as _, Sha256};

use crate::keys::{Key, Pairs, decode, encode};
use crate::rsa::{self, Pair, SHA_1, SHA_256};
use crate::scene::Corpus;

const INVALID: &str = "signature_invalid";

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    let keys = corpus.keys;
    for (key, other) in keys.three.iter().zip(&keys.others) {
        add_bytes(corpus, key);
        add_other_inputs(corpus, key, other);
    }
    add_ecdsa(corpus);
    add_rsa(corpus);
}

/// What can be done to the bytes of any signature.
fn add_bytes(corpus: &mut Corpus<'_>, key: &Key) {
    let token = corpus.good(key);
    let (input, signature) = token.rsplit_once('.').unwrap();
    let good = decode(signature);
    let length = good.len();
    let half = length / 2;
    let flipped = |at: usize, bit: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= bit;
        bytes
    };
    let reversed: Vec<u8> = good.iter().rev().copied().collect();
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("one-zero", vec![0]),
        ("zeros", vec![0; length]),
        ("ones", vec![0xff; length]),
        ("first-bit-flipped", flipped(0, 0x80)),
        ("last-bit-flipped", flipped(length - 1, 1)),
        ("middle-bit-flipped", flipped(half, 1)),
        ("high-bit-of-the-second-half", flipped(half, 0x80)),
        ("without-first-byte", good[1..].to_vec()),
        ("without-last-byte", good[..length - 1].to_vec()),
        ("first-half", good[..half].to_vec()),
        ("zero-before", [&[0], &good[..]].concat()),
        ("zero-behind", [&good[..], &[0]].concat()),
        ("twice", [&good[..], &good].concat()),
        ("halves-swapped", [&good[half..], &good[..half]].concat()),
        ("reversed", reversed),
        ("as-base64url", signature.into()),
        ("digest", Sha256::digest(input).to_vec()),
        ("json-null", b"null".to_vec()),
    ] {
        corpus.refuse(
            format!("signature/{name}-by-{}", key.kid),
            INVALID,
            "not the bytes that the key has made (RFC 7515 §5.2)",
            format!("{input}.{}", encode(bytes)),
        );
    }
}

/// Good signatures of other things, and of other keys.
fn add_other_inputs(corpus: &mut Corpus<'_>, key: &Key, other: &Key) {
    let token = corpus.good(key);
    let (input, _) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    let altered = corpus.claims().with("sub", r#""admin""#);
    let altered = encode(altered.json());
    let decoded = [decode(header), b".".to_vec(), decode(payload)].concat();
    for (name, signed) in [
        ("the-header", header.as_bytes().to_vec()),
        ("the-payload", payload.as_bytes().to_vec()),
        (
            "both-without-dot",
            format!("{header}{payload}").into_bytes(),
        ),
        ("the-decoded-parts", decoded),
        ("more", format!("{input}.").into_bytes()),
        ("the-digest", Sha256::digest(input).to_vec()),
        ("nothing", Vec::new()),
        ("other-claims", format!("{header}.{altered}").into_bytes()),
    ] {
        corpus.refuse(
            format!("signature/over-{name}-by-{}", key.kid),
            INVALID,
            "the signature of other bytes than ASCII(header.payload) (RFC 7515 §5.2)",
            format!("{input}.{}", encode(key.sign(&signed))),
        );
    }
    corpus.refuse(
        format!("signature/by-{}-for-{}", other.kid, key.kid),
        INVALID,
        "another key of the set has signed: `kid` says which one counts",
        format!("{input}.{}", encode(other.sign(input.as_bytes()))),
    );
    let crossed = other.token(&key.header(), &corpus.claims());
    let own = key.token(&other.header(), &corpus.claims());
    corpus.refuse(
        format!("signature/header-of-{}-by-{}", key.kid, other.kid),
        INVALID,
        "another key of the set has signed: `kid` says which one counts",
        crossed,
    );
    corpus.refuse(
        format!("signature/header-of-{}-by-{}", other.kid, key.kid),
        INVALID,
        "another key of the set has signed: `kid` says which one counts",
        own,
    );
}

fn add_ecdsa(corpus: &mut Corpus<'_>) {
    let token = corpus.good(corpus.keys.es256());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let good = decode(signature);
    let (r, s) = good.split_at(32);
    let signature = p256::ecdsa::Signature::from_slice(&good).unwrap();
    let zero = [0; 32];
    let one = number(1);
    let mut order: [u8; 32] = (-p256::Scalar::ONE).to_repr().into();
    order[31] += 1;
    let negative = |scalar: &p256::NonZeroScalar| (-**scalar).to_repr();
    let (negative_r, negative_s) = (negative(&signature.r()), negative(&signature.s()));
    // p of the curve: as a coordinate it is zero, as a scalar it is beyond the order.
    let mut prime = [0xff; 32];
    prime[4..20].fill(0);
    prime[7] = 1;
    prime[4..8].copy_from_slice(&[0, 0, 0, 1]);
    prime[8..20].fill(0);
    let edges: [(&str, &[u8], &[u8]); 14] = [
        ("r-zero", &zero, s),
        ("s-zero", r, &zero),
        ("r-order", &order, s),
        ("s-order", r, &order),
        ("both-order", &order, &order),
        ("r-zero-s-order", &zero, &order),
        ("both-one", &one, &one),
        ("r-one", &one, s),
        ("s-one", r, &one),
        ("r-prime", &prime, s),
        ("s-largest", r, &[0xff; 32]),
        ("r-negated", &negative_r, s),
        ("both-negated", &negative_r, &negative_s),
        ("s-is-r", r, r),
    ];
    for (name, r, s) in edges {
        corpus.refuse(
            format!("signature/ecdsa-{name}"),
            INVALID,
            "r and s are in 1..n and those of this message (FIPS 186-5 §6.4.2, CVE-2022-21449)",
            format!("{input}.{}", encode([r, s].concat())),
        );
    }
    let encoded = signature.to_der();
    let encoded = encoded.as_bytes();
    let padded = |bytes: &[u8], length: usize| {
        let mut padded = bytes.to_vec();
        padded.resize(length.max(bytes.len()), 0);
        padded
    };
    for (name, bytes) in [
        ("der", encoded.to_vec()),
        ("der-cut-to-64", encoded[..64].to_vec()),
        ("der-of-zeros", b"\x30\x06\x02\x01\x00\x02\x01\x00".to_vec()),
        ("der-with-garbage", padded(encoded, 80)),
        ("der-octet-string", [&[4, 64], &good[..]].concat()),
        ("as-for-p384", [&[0; 16], r, &[0; 16], s].concat()),
        ("as-for-p521", [&[0; 34], r, &[0; 34], s].concat()),
        ("r-alone", r.to_vec()),
        ("with-recovery-id", [&good[..], &[27]].concat()),
    ] {
        corpus.refuse(
            format!("signature/ecdsa-{name}"),
            INVALID,
            "r ‖ s in 64 octets and no other form (RFC 7518 §3.4)",
            format!("{input}.{}", encode(bytes)),
        );
    }
    for (name, s) in [("as-made", s), ("with-the-other-s", &negative_s[..])] {
        corpus.accept(
            format!("signature/ecdsa-{name}"),
            "s of either sign: ordinary signers make both, and JWS has no rule (RFC 7518 §3.4)",
            format!("{input}.{}", encode([r, s].concat())),
        );
    }
}

fn add_rsa(corpus: &mut Corpus<'_>) {
    let key = corpus.keys.rs256();
    let Pairs::Rs256(pair) = &key.pairs else {
        unreachable!("the third key is RSA")
    };
    let token = corpus.good(key);
    let (input, signature) = token.rsplit_once('.').unwrap();
    let good = decode(signature);
    let digest = Sha256::digest(input);
    let length = pair.len();
    for (name, encoded) in encodings(&digest, length) {
        corpus.refuse(
            format!("signature/rsa-{name}"),
            INVALID,
            "the whole encoded message is compared: `00 01 ff… 00 DigestInfo` (RFC 8017 §8.2.2)",
            format!("{input}.{}", encode(pair.raw(&encoded))),
        );
    }
    let encoded = rsa::pkcs1(SHA_256, &digest, length);
    let sum = sum(&good, &pair.modulus);
    for (name, bytes) in [
        ("one", [&vec![0; length - 1][..], &[1]].concat()),
        ("modulus", pair.modulus.clone()),
        ("modulus-less-one", less_one(&pair.modulus)),
        ("plus-modulus", sum),
        ("encoded-message", encoded),
        ("digest-alone", digest.to_vec()),
        ("of-512-octets", [&vec![0; length][..], &good].concat()),
    ] {
        corpus.refuse(
            format!("signature/rsa-{name}"),
            INVALID,
            "as long as the modulus, below it, and the one number there is (RFC 8017 §8.2.2, §5.2.2)",
            format!("{input}.{}", encode(bytes)),
        );
    }
    let long = &corpus.keys.long;
    corpus.refuse(
        "signature/rsa-of-the-longer-key",
        INVALID,
        "another key of the set has signed, with a longer modulus",
        format!("{input}.{}", encode(long.sign(input.as_bytes()))),
    );
    let folded = Pair::named("2048").with_exponent_1();
    corpus.refuse(
        "signature/rsa-for-exponent-1",
        INVALID,
        "the encoded message itself, which is a signature only under the exponent 1",
        format!("{input}.{}", encode(folded.sign(input.as_bytes()))),
    );
}

/// Encoded messages that a verifier which takes the padding apart has accepted somewhere.
fn encodings(digest: &[u8], length: usize) -> Vec<(&'static str, Vec<u8>)> {
    const WITHOUT_NULL: &[u8] =
        b"\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20";
    const LONG_LENGTH: &[u8] =
        b"\x30\x81\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
    const WITH_GARBAGE: &[u8] =
        b"\x30\x35\x30\x11\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x04gift\x04\x20";
    let good = rsa::pkcs1(SHA_256, digest, length);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // Eight octets of padding, the least that is allowed, and garbage behind the digest.
    let mut forged = [&[0, 1][..], &[0xff; 8], &[0], SHA_256, digest].concat();
    forged.resize(length, 0x5a);
    let separator = length - digest.len() - SHA_256.len() - 1;
    let mut early = good.clone();
    early[10] = 0;
    let zero_padding = [&[0, 1][..], &vec![0; separator - 1], SHA_256, digest].concat();
    vec![
        ("garbage-behind-the-digest", forged),
        ("block-type-0", with(1, 0)),
        ("block-type-2", with(1, 2)),
        ("first-octet-not-zero", with(0, 0x01)),
        ("padding-not-ones", with(20, 0xfe)),
        ("padding-of-zeros", zero_padding),
        ("separator-missing", with(separator, 0xff)),
        ("separator-early", early),
        ("digest-info-of-sha-1", {
            let mut short = rsa::pkcs1(SHA_1, &digest[..20], length);
            short[1] = 1;
            short
        }),
        ("no-digest-info", rsa::pkcs1(&[], digest, length)),
        (
            "parameters-absent",
            rsa::pkcs1(WITHOUT_NULL, digest, length),
        ),
        (
            "length-in-two-octets",
            rsa::pkcs1(LONG_LENGTH, digest, length),
        ),
        (
            "garbage-in-parameters",
            rsa::pkcs1(WITH_GARBAGE, digest, length),
        ),
        ("digest-cut", rsa::pkcs1(SHA_256, &digest[..31], length)),
        ("digest-of-zeros", rsa::pkcs1(SHA_256, &[0; 32], length)),
        (
            "digest-twice",
            rsa::pkcs1(SHA_256, &[digest, digest].concat(), length),
        ),
    ]
}

/// A small number in 32 octets.
const fn number(value: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[31] = value;
    bytes
}

/// The sum of two numbers of one length, big-endian, with the carry if there is one.
fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0_u16;
    let mut bytes: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            carry += u16::from(*a) + u16::from(*b);
            let byte = carry.to_le_bytes()[0];
            carry >>= 8;
            byte
        })
        .collect();
    if carry > 0 {
        bytes.push(1);
    }
    bytes.reverse();
    bytes
}

/// An odd number less one.
fn less_one(number: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_vec();
    *bytes.last_mut().unwrap() -= 1;
    bytes
}
