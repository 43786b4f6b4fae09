//! base64url without padding, with exactly one spelling for every byte string (RFC 4648 §5, RFC 7515 §2).

use alloc::{string::String, vec::Vec};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Marks a byte that is outside the alphabet.
const INVALID: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut i = 0;
    while i < ALPHABET.len() {
        #[expect(clippy::cast_possible_truncation, reason = "the index is below 64")]
        let value = i as u8;
        values[ALPHABET[i] as usize] = value;
        i += 1;
    }
    values
};

/// The input is not the one canonical base64url spelling of any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Decodes `input`.
///
/// # Errors
///
/// [`Invalid`] for a character outside the alphabet (padding and white space included), an
/// impossible length, or trailing bits that are not zero: two spellings of one token would
/// otherwise be told apart by whoever compares text (RFC 4648 §3.5).
pub fn decode(input: &[u8]) -> Result<Vec<u8>, Invalid> {
    let mut out = Vec::with_capacity(input.len() / 4 * 3 + 2);
    let (quads, tail) = input.as_chunks::<4>();
    for quad in quads {
        let [a, b, c, d] = quad.map(|byte| VALUES[byte as usize]);
        // Valid values have the two high bits clear, INVALID has them set.
        if (a | b | c | d) & 0xc0 != 0 {
            return Err(Invalid);
        }
        out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
    }
    match *tail {
        [] => {}
        [a, b] => {
            let [a, b] = [a, b].map(|byte| VALUES[byte as usize]);
            if (a | b) & 0xc0 != 0 || b & 0x0f != 0 {
                return Err(Invalid);
            }
            out.push(a << 2 | b >> 4);
        }
        [a, b, c] => {
            let [a, b, c] = [a, b, c].map(|byte| VALUES[byte as usize]);
            if (a | b | c) & 0xc0 != 0 || c & 0x03 != 0 {
                return Err(Invalid);
            }
            out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]);
        }
        _ => return Err(Invalid),
    }
    Ok(out)
}

/// Decodes `input` to exactly `N` bytes.
///
/// # Errors
///
/// As [`decode`], and for any other length.
pub fn decode_exact<const N: usize>(input: &[u8]) -> Result<[u8; N], Invalid> {
    decode(input)?.try_into().map_err(|_| Invalid)
}

/// Encodes `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    let letter = |bits: u8| char::from(ALPHABET[(bits & 0x3f) as usize]);
    let (triples, tail) = bytes.as_chunks::<3>();
    for &[a, b, c] in triples {
        out.extend([
            letter(a >> 2),
            letter(a << 4 | b >> 4),
            letter(b << 2 | c >> 6),
            letter(c),
        ]);
    }
    match *tail {
        [a] => out.extend([letter(a >> 2), letter(a << 4)]),
        [a, b] => out.extend([letter(a >> 2), letter(a << 4 | b >> 4), letter(b << 2)]),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_vectors_of_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()), Ok(plain.as_bytes().to_vec()));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn rejects_every_other_spelling() {
        for text in [
            "Z", "Zh", "Zm9", "Zg==", "Zg=", " Zg", "Zg\n", "+/8", "Zm9v Zg", "Zm9vZ", "Z\u{e9}",
        ] {
            assert_eq!(decode(text.as_bytes()), Err(Invalid), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn decodes_what_it_encodes(bytes: Vec<u8>) {
            assert_eq!(decode(encode(&bytes).as_bytes()), Ok(bytes));
        }

        #[test]
        fn whatever_decodes_has_one_spelling(text in "[A-Za-z0-9_=+/ -]{0,12}") {
            if let Ok(bytes) = decode(text.as_bytes()) {
                assert_eq!(encode(&bytes), text);
            }
        }
    }
}
