//! Authenticator apps: TOTP (RFC 6238) with SHA-1, six digits and steps of 30 seconds, which is
//! what every app understands. SHA-1's collisions do not matter to HMAC (RFC 4226 §B.2).
//!
//! A code is good in its step and in the two beside it (§5.2: at most one for the delay of the
//! network), once: the accepted step is stored, and no code of it or of an earlier one is accepted
//! again, whatever the clock says.

use qrcode::QrCode;
use qrcode::render::svg;
use subtle::ConstantTimeEq as _;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::random::Random;

/// Length of a secret: 160 bits (RFC 4226 §4).
pub(super) const SECRET_BYTES: usize = 20;

const STEP_SECONDS: i64 = 30;

/// Steps before and after the present one whose codes are good.
const DRIFT: i64 = 1;

/// A new secret.
pub(super) fn generate(random: &Random) -> Zeroizing<[u8; SECRET_BYTES]> {
    Zeroizing::new(random.bytes())
}

/// The step that `code` belongs to, of those that are good at `now`.
///
/// Every step is computed and compared, whichever fits, so that time tells nothing. Of two that
/// fit it is the later one: the code is then good for neither.
pub(super) fn matching_step(
    secret: &[u8],
    code: &str,
    now: Timestamp,
) -> Result<Option<i64>, Error> {
    let totp = totp(secret, None)?;
    let present = now.unix_seconds().div_euclid(STEP_SECONDS);
    let mut found = None;
    for step in present - DRIFT..=present + DRIFT {
        let Ok(second) = u64::try_from(step.saturating_mul(STEP_SECONDS)) else {
            continue;
        };
        let expected = Zeroizing::new(totp.generate(second).to_string());
        let fits: bool = expected.as_bytes().ct_eq(code.as_bytes()).into();
        if fits {
            found = Some(step);
        }
    }
    Ok(found)
}

/// A secret as people take it into their app.
pub(super) struct Shown {
    /// Base32, to type.
    pub(super) secret: String,
    /// The `otpauth:` URI, for a link.
    pub(super) uri: String,
    /// The URI as a QR code: an SVG element, to put into a page.
    pub(super) qr_svg: String,
}

/// Shows a secret of `account` at `issuer`.
pub(super) fn show(secret: &[u8], issuer: &str, account: &str) -> Result<Shown, Error> {
    // The URI sets the two apart by a colon, and apps do not agree on an escaped one.
    let account = account.replace(':', " ");
    let totp = totp(secret, Some((issuer, &account)))?;
    let uri = totp
        .to_url()
        .map_err(|_| Error::internal("otpauth URI of a secret"))?;
    let code = QrCode::new(&uri).map_err(|_| Error::internal("otpauth URI as a QR code"))?;
    let document = code.render::<svg::Color>().min_dimensions(256, 256).build();
    // Without the XML declaration, which may not stand within a page.
    let element = document.find("<svg").unwrap_or_default();
    Ok(Shown {
        secret: totp.secret().to_base32(),
        uri,
        qr_svg: document[element..].to_owned(),
    })
}

fn totp(secret: &[u8], name: Option<(&str, &str)>) -> Result<Totp, Error> {
    let mut builder = Builder::new().with_secret(secret);
    if let Some((issuer, account)) = name {
        builder = builder.with_issuer(Some(issuer)).with_account_name(account);
    }
    builder
        .build()
        .map_err(|_| Error::internal("stored TOTP secret is not one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_SECRET: &[u8; 20] = b"12345678901234567890";

    /// RFC 6238 Appendix B, SHA-1: there with eight digits, of which six are the last six.
    const VECTORS: [(i64, &str); 6] = [
        (59, "94287082"),
        (1_111_111_109, "07081804"),
        (1_111_111_111, "14050471"),
        (1_234_567_890, "89005924"),
        (2_000_000_000, "69279037"),
        (20_000_000_000, "65353130"),
    ];

    fn matching(code: &str, second: i64) -> Option<i64> {
        matching_step(RFC_SECRET, code, Timestamp::from_unix_seconds(second)).unwrap()
    }

    #[test]
    fn accepts_the_vectors_of_rfc_6238_in_their_step_and_the_two_beside_it() {
        for (second, eight) in VECTORS {
            let code = &eight[2..];
            let step = second / 30;
            for (offset, good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
                let beginning = (step + offset) * 30;
                for now in [beginning, beginning + 29] {
                    let expected = good.then_some(step);
                    assert_eq!(matching(code, now), expected, "{eight} at {now}");
                }
            }
            assert_eq!(matching(eight, second), None);
            assert_eq!(matching(&code[..5], second), None);
        }
    }

    /// The other rows of the appendix: the same step and truncation under SHA-256 and SHA-512.
    #[test]
    fn the_generator_agrees_with_the_appendix_on_every_hash() {
        use totp_rs::Algorithm;
        let long = b"1234567890123456789012345678901234567890123456789012345678901234";
        for (algorithm, length, codes) in [
            (Algorithm::SHA1, 20, VECTORS.map(|(_, code)| code)),
            (
                Algorithm::SHA256,
                32,
                [
                    "46119246", "68084774", "67062674", "91819424", "90698825", "77737706",
                ],
            ),
            (
                Algorithm::SHA512,
                64,
                [
                    "90693936", "25091201", "99943326", "93441116", "38618901", "47863826",
                ],
            ),
        ] {
            let totp = Builder::new()
                .with_algorithm(algorithm)
                .with_digits(8)
                .with_secret(&long[..length])
                .build()
                .unwrap();
            for ((second, _), code) in VECTORS.into_iter().zip(codes) {
                let second = u64::try_from(second).unwrap();
                assert_eq!(totp.generate(second).to_string(), code);
            }
        }
    }

    #[test]
    fn no_code_is_good_at_the_beginning_of_time_or_its_end() {
        for second in [i64::MIN, -1, 0, i64::MAX] {
            let _ = matching("000000", second);
        }
    }

    #[test]
    fn a_secret_is_shown_with_issuer_and_account_apart() {
        let shown = show(RFC_SECRET, "Ex & Co", "a:b@example.org").unwrap();
        assert_eq!(shown.secret, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(
            shown
                .uri
                .starts_with("otpauth://totp/Ex%20%26%20Co:a%20b%40example.org?")
        );
        assert!(
            shown
                .uri
                .contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
        );
        assert!(shown.qr_svg.starts_with("<svg") && shown.qr_svg.ends_with("</svg>"));
        assert!(!shown.qr_svg.contains("script"));
    }

    proptest::proptest! {
        // A QR code takes a while without optimisation.
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

        #[test]
        fn no_text_panics_and_only_digits_match(code in ".{0,12}", second in 0_i64..4_000_000_000) {
            if matching(&code, second).is_some() {
                proptest::prop_assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()));
            }
        }

        #[test]
        fn whatever_the_account_is_called_it_can_be_shown(account in ".{0,254}", issuer in "[^:\\x00-\\x1f\\x7f]{1,16}") {
            proptest::prop_assert!(show(RFC_SECRET, &issuer, &account).is_ok() || account.is_empty());
        }
    }
}
