//! Where Ed25519 verifiers differ: small and mixed orders, encodings of one point that are not
//! canonical, scalars beyond the order (RFC 8032 §5.1.7; Chalkias, Garillot and Nikolaenko, "Taming
//! the Many `EdDSAs`", 2020). The published vectors sign fixed messages; here each of them is made
//! anew over a real token, which takes the arithmetic of the curve.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity as _;
use sha2::{Digest as _, Sha512};

use crate::keys::{Pairs, decode, encode};
use crate::members::{Members, text};
use crate::scene::Corpus;

/// The key with a component of order 8: no honest issuer makes one, and RFC 8032 allows it.
pub(crate) const MIXED: &str = "eddsa-mixed";

/// Any scalar, as the secret of the mixed key.
fn secret() -> Scalar {
    Scalar::from_bytes_mod_order([0x42; 32])
}

/// Any other, as the nonce of signatures.
fn any_nonce() -> Scalar {
    Scalar::from_bytes_mod_order([0x24; 32])
}

/// y = 1 (the identity) written as p + 1, and with the sign of a zero x (RFC 8032 §5.1.3).
const IDENTITY_BEYOND_P: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xee;
    bytes[31] = 0x7f;
    bytes
};
const IDENTITY_SIGNED: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes[31] = 0x80;
    bytes
};

/// The order of the base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The members of an Ed25519 key that is written so.
pub(crate) fn public(bytes: &[u8]) -> Members {
    Members::default()
        .with("kty", text("OKP"))
        .with("crv", text("Ed25519"))
        .with("x", text(&encode(bytes)))
}

/// A point as somebody has written it.
#[derive(Clone, Copy)]
struct Written {
    point: EdwardsPoint,
    bytes: [u8; 32],
}

impl Written {
    fn canonical(point: EdwardsPoint) -> Self {
        Self {
            point,
            bytes: point.compress().to_bytes(),
        }
    }

    fn identity(bytes: [u8; 32]) -> Self {
        Self {
            point: EdwardsPoint::identity(),
            bytes,
        }
    }
}

/// Keys that are points of small order, by `kid`: under them anybody signs anything.
fn small_order_keys() -> [(&'static str, Written); 6] {
    [
        ("eddsa-identity", Written::canonical(EIGHT_TORSION[0])),
        ("eddsa-order-2", Written::canonical(EIGHT_TORSION[4])),
        ("eddsa-order-4", Written::canonical(EIGHT_TORSION[2])),
        ("eddsa-order-8", Written::canonical(EIGHT_TORSION[1])),
        (
            "eddsa-identity-beyond-p",
            Written::identity(IDENTITY_BEYOND_P),
        ),
        ("eddsa-identity-signed", Written::identity(IDENTITY_SIGNED)),
    ]
}

fn mixed() -> Written {
    Written::canonical(EdwardsPoint::mul_base(&secret()) + EIGHT_TORSION[1])
}

fn jwk(kid: &str, key: Written) -> Members {
    public(&key.bytes)
        .with("kid", text(kid))
        .with("alg", text("EdDSA"))
}

pub(crate) fn mixed_jwk() -> Members {
    jwk(MIXED, mixed())
}

pub(crate) fn small_order_jwks() -> Vec<Members> {
    let keys = small_order_keys();
    keys.map(|(kid, key)| jwk(kid, key)).into()
}

/// A key, what of it multiplies the base point, and its `kid`.
struct Signer {
    kid: &'static str,
    key: Written,
    secret: Scalar,
}

impl Signer {
    /// A token whose signature is `nonce`·B + `torsion` and the scalar that goes with it, for a
    /// `jti` with which the equation without cofactor does or does not hold. With the cofactor it
    /// always does.
    fn forge(
        &self,
        corpus: &Corpus<'_>,
        nonce: Scalar,
        torsion: EdwardsPoint,
        holds: bool,
    ) -> String {
        let commitment = Written::canonical(EdwardsPoint::mul_base(&nonce) + torsion);
        self.forge_with(corpus, nonce, commitment, holds)
    }

    fn forge_with(
        &self,
        corpus: &Corpus<'_>,
        nonce: Scalar,
        commitment: Written,
        holds: bool,
    ) -> String {
        let header = Members::default()
            .with("alg", text("EdDSA"))
            .with("typ", text("at+jwt"))
            .with("kid", text(self.kid));
        let header = encode(header.json());
        (0_u32..)
            .find_map(|turn| {
                let claims = corpus.claims().with("jti", text(&format!("forged-{turn}")));
                let input = format!("{header}.{}", encode(claims.json()));
                let hashed = [&commitment.bytes[..], &self.key.bytes, input.as_bytes()].concat();
                let challenge = Scalar::from_bytes_mod_order_wide(&Sha512::digest(hashed).into());
                let scalar = nonce + challenge * self.secret;
                let right = commitment.point + self.key.point * challenge;
                let signature = [commitment.bytes, scalar.to_bytes()].concat();
                (holds == (EdwardsPoint::mul_base(&scalar) == right))
                    .then(|| format!("{input}.{}", encode(signature)))
            })
            .unwrap()
    }
}

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    let zero = Scalar::ZERO;
    for (kid, key) in small_order_keys() {
        let signer = Signer {
            kid,
            key,
            secret: zero,
        };
        // The challenge times the key runs through its subgroup: some `jti` makes the sum vanish.
        let token = signer.forge(corpus, zero, EIGHT_TORSION[0], true);
        corpus.refuse(
            format!("ed25519/{kid}-signs-anything"),
            "key_unknown",
            "S = 0 and small R under a key of small order, which must be left out (RFC 8032 §5.1.7)",
            token,
        );
    }
    let order_8 = Signer {
        kid: "eddsa-order-8",
        key: Written::canonical(EIGHT_TORSION[1]),
        secret: zero,
    };
    for (name, nonce, torsion, holds) in [
        ("mixed-commitment", any_nonce(), EIGHT_TORSION[3], true),
        (
            "mixed-commitment-with-cofactor-alone",
            any_nonce(),
            EIGHT_TORSION[3],
            false,
        ),
        ("small-commitment", zero, EIGHT_TORSION[3], true),
    ] {
        let token = order_8.forge(corpus, nonce, torsion, holds);
        corpus.refuse(
            format!("ed25519/key-of-small-order-{name}"),
            "key_unknown",
            "a key of small order must be left out (RFC 8032 §5.1.7)",
            token,
        );
    }
    add_under_mixed_key(corpus);
    add_under_good_key(corpus);
    add_scalars(corpus);
}

fn add_under_mixed_key(corpus: &mut Corpus<'_>) {
    let signer = Signer {
        kid: MIXED,
        key: mixed(),
        secret: secret(),
    };
    let token = signer.forge(corpus, any_nonce(), EIGHT_TORSION[3], true);
    corpus.accept(
        "ed25519/mixed-key-and-commitment-by-every-equation",
        "the equation holds with and without cofactor, so every verifier says the same",
        token,
    );
    for (name, nonce, torsion, holds, why) in [
        (
            "mixed-key-with-cofactor-alone",
            any_nonce(),
            EIGHT_TORSION[0],
            false,
            "the equation holds only with the cofactor: half of the verifiers say otherwise",
        ),
        (
            "mixed-key-and-commitment-with-cofactor-alone",
            any_nonce(),
            EIGHT_TORSION[5],
            false,
            "the equation holds only with the cofactor: half of the verifiers say otherwise",
        ),
        (
            "mixed-key-small-commitment",
            Scalar::ZERO,
            EIGHT_TORSION[3],
            true,
            "a commitment of small order is no nonce's (RFC 8032 §5.1.7, strict)",
        ),
        (
            "mixed-key-small-commitment-with-cofactor-alone",
            Scalar::ZERO,
            EIGHT_TORSION[3],
            false,
            "a commitment of small order, and the equation holds only with the cofactor",
        ),
    ] {
        let token = signer.forge(corpus, nonce, torsion, holds);
        corpus.refuse(format!("ed25519/{name}"), "signature_invalid", why, token);
    }
}

fn add_under_good_key(corpus: &mut Corpus<'_>) {
    let key = corpus.keys.eddsa();
    let Pairs::EdDsa(pair) = &key.pairs else {
        unreachable!("the second key is Ed25519")
    };
    let bytes = pair.verifying_key().to_bytes();
    let signer = Signer {
        kid: key.kid,
        key: Written {
            point: pair.verifying_key().to_edwards(),
            bytes,
        },
        secret: pair.to_scalar(),
    };
    for (name, commitment, why) in [
        (
            "identity-commitment",
            Written::canonical(EIGHT_TORSION[0]),
            "R is the identity: the equation holds, and the key is told by it",
        ),
        (
            "identity-commitment-beyond-p",
            Written::identity(IDENTITY_BEYOND_P),
            "R is the identity with y not below p (RFC 8032 §5.1.3)",
        ),
        (
            "identity-commitment-signed",
            Written::identity(IDENTITY_SIGNED),
            "R is the identity with a signed zero (RFC 8032 §5.1.3)",
        ),
    ] {
        let token = signer.forge_with(corpus, Scalar::ZERO, commitment, true);
        corpus.refuse(format!("ed25519/{name}"), "signature_invalid", why, token);
    }
    for (name, nonce) in [
        ("small-commitment-with-cofactor-alone", Scalar::ZERO),
        ("mixed-commitment-with-cofactor-alone", any_nonce()),
    ] {
        let token = signer.forge(corpus, nonce, EIGHT_TORSION[1], false);
        corpus.refuse(
            format!("ed25519/{name}"),
            "signature_invalid",
            "the equation holds only with the cofactor: half of the verifiers say otherwise",
            token,
        );
    }
    let token = signer.forge(corpus, any_nonce(), EIGHT_TORSION[0], true);
    corpus.accept(
        "ed25519/any-nonce-of-the-signer",
        "the nonce is the signer's to choose; how cannot be seen (RFC 8032 §5.1.6)",
        token,
    );
}

/// Scalars that are the right one modulo the order, and not below it.
fn add_scalars(corpus: &mut Corpus<'_>) {
    let token = corpus.good(corpus.keys.eddsa());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = decode(signature);
    // The largest multiple that fits has the top bits set, which the first verifiers looked at.
    for times in 1_u8..=14 {
        let mut carry = 0_u16;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            carry += u16::from(*byte) + u16::from(order);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        if ![1, 2, 8, 14].contains(&times) {
            continue;
        }
        corpus.refuse(
            format!("ed25519/scalar-plus-{times}-orders"),
            "signature_invalid",
            "S must be below the order, or a signature has another spelling (RFC 8032 §5.1.7)",
            format!("{input}.{}", encode(&signature)),
        );
    }
}
