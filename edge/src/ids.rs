//! Correlation ids: one for each request that brings none.

use std::cell::Cell;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Makes ids from one random number, without asking for another each time: they find lines in a log
/// and prove nothing, but no two may be the same.
#[derive(Debug)]
pub struct Ids {
    seed: [u8; 16],
    made: Cell<u64>,
}

impl Ids {
    /// From the hexadecimal digits in `random`, as many as there are.
    pub fn new(random: &str) -> Self {
        let mut seed = [0; 16];
        let digits = random.chars().filter_map(|digit| digit.to_digit(16));
        for (at, digit) in digits.enumerate().take(32) {
            let digit = u8::try_from(digit).unwrap_or_default();
            if let Some(byte) = seed.get_mut(at / 2) {
                *byte = *byte << 4 | digit;
            }
        }
        Self {
            seed,
            made: Cell::new(0),
        }
    }

    /// Another id, in the form of a random UUID (RFC 9562 §5.4).
    pub fn next(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.made.get();
        self.made.set(number.wrapping_add(1));
        let mut hasher = SipHasher24::new_with_key(&self.seed);
        hasher.write_u64(number);
        let mut bytes = hasher.finish128().as_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut id = String::with_capacity(36);
        for (at, byte) in bytes.into_iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                id.push('-');
            }
            id.push(char::from(DIGITS[usize::from(byte >> 4)]));
            id.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let ids = Ids::new("a1b2c3d4-0000-4000-8000-000000000001");
        let others = Ids::new("a1b2c3d4-0000-4000-8000-000000000002");
        let mut made: Vec<String> = (0..1_000).map(|_| ids.next()).collect();
        made.extend((0..1_000).map(|_| others.next()));
        for id in &made {
            assert_eq!(id.len(), 36);
            assert_eq!(&id[14..15], "4");
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
        }
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 2_000);
    }
}
