//! Password hashing: argon2id (RFC 9106) over a keyed hash, on a bounded pool.
//!
//! One hash takes 19 MiB. A burst of logins must cost time, not memory: as many run as there are
//! cores, a bounded number waits, and the rest is told to come back. Each that runs uses memory
//! that is kept ([`turns`](super::turns)): freed blocks of that size stay with the allocator, once
//! for each thread that ever hashed, and would soon be a gigabyte.

use std::hint::black_box;
use std::time::Instant;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::turns::{Memory, Turns};
use crate::config::Password;
use crate::error::Error;
use crate::random::Random;
use crate::vault::{Purpose, Secret, Vault};

/// Shortest password, in bytes (ASVS 6.2.1).
pub const MIN_BYTES: usize = 8;

/// Longest password, in bytes: far above any that people choose, and hashing it costs nothing.
pub const MAX_BYTES: usize = 1_024;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Refuses passwords that are too short or too long; there are no other rules (ASVS 6.2.5).
///
/// # Errors
/// [`Error::RequestInvalid`] with the bounds.
pub fn check_length(password: &Secret) -> Result<(), Error> {
    if (MIN_BYTES..=MAX_BYTES).contains(&password.expose().len()) {
        Ok(())
    } else {
        Err(Error::invalid("password: expected 8 to 1024 bytes."))
    }
}

/// Hashes and verifies passwords.
#[derive(Debug)]
pub struct Hasher {
    params: Params,
    vault: Vault,
    random: Random,
    turns: Turns,
    /// What an unknown account's password is compared with, so that it takes as long.
    nobody: String,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether the password is the one.
    pub matches: bool,
    /// Whether the hash was made with other parameters than today's.
    pub outdated: bool,
}

impl Hasher {
    /// A pool with the configured parameters.
    ///
    /// # Errors
    /// When the parameters are none that argon2 takes.
    pub async fn new(settings: &Password, vault: Vault, random: Random) -> Result<Self, Error> {
        let params = Params::new(
            settings.memory_kib,
            settings.iterations,
            settings.parallelism,
            Some(HASH_BYTES),
        )
        .map_err(|error| Error::internal(format!("argon2 parameters: {error}")))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = if settings.concurrency == 0 {
            cores
        } else {
            settings.concurrency
        };
        let turns = Turns::new(concurrency, settings.queue, params.block_count())?;
        let mut hasher = Self {
            params,
            vault,
            random,
            turns,
            nobody: String::new(),
        };
        let never = Secret::new(STANDARD_NO_PAD.encode(hasher.random.bytes::<32>()));
        hasher.nobody = hasher.hash(&never).await?;
        Ok(hasher)
    }

    /// Hashes `password` with a new salt; the result is `<key version>$argon2id$…` (PHC).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many wait already.
    pub async fn hash(&self, password: &Secret) -> Result<String, Error> {
        let version = self.vault.current_version();
        let salt: [u8; SALT_BYTES] = self.random.bytes();
        let params = self.params.clone();
        let hash = self
            .run(password, version, move |keyed, memory| {
                argon2id(keyed, &salt, params, memory)
            })
            .await?;
        let params = &self.params;
        Ok(format!(
            "{version}$argon2id$v=19$m={},t={},p={}${}${}",
            params.m_cost(),
            params.t_cost(),
            params.p_cost(),
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(hash.as_slice()),
        ))
    }

    /// Compares `password` with `stored`; without one it works as long and does not match.
    ///
    /// A wrong password takes what today's parameters take also where `stored` was made with cheaper
    /// ones: otherwise the time would tell accounts of before they were raised from no account. One
    /// that was made with dearer parameters takes longer still.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many wait already; when what is stored is not a hash.
    pub async fn compare(
        &self,
        password: &Secret,
        stored: Option<&str>,
    ) -> Result<Comparison, Error> {
        let (version, params, salt, expected) = parse(stored.unwrap_or(&self.nobody))
            .ok_or_else(|| Error::internal("stored password hash is not one"))?;
        let outdated = version != self.vault.current_version()
            || (params.m_cost(), params.t_cost(), params.p_cost())
                != (
                    self.params.m_cost(),
                    self.params.t_cost(),
                    self.params.p_cost(),
                );
        let padding = padding(&params, &self.params);
        // In one turn: a second one would wait, and tell, once there is a queue.
        let same = self.run(password, version, move |keyed, memory| {
            let hash = argon2id(keyed, &salt, params, memory)?;
            let same: bool = hash.as_slice().ct_eq(&expected).into();
            if let (false, Some(padding)) = (same, padding) {
                black_box(argon2id(keyed, &salt, padding, memory)?);
            }
            Ok(same)
        });
        let same = same.await?;
        Ok(Comparison {
            matches: same && stored.is_some(),
            outdated,
        })
    }

    /// How many hashes run or wait.
    pub fn waiting(&self) -> usize {
        self.turns.taken()
    }

    /// Does work on the keyed hash of `password` when its turn comes.
    async fn run<T: Send + 'static>(
        &self,
        password: &Secret,
        version: u8,
        work: impl FnOnce(&[u8], &mut Memory) -> Result<T, argon2::Error> + Send + 'static,
    ) -> Result<T, Error> {
        // The pepper: what argon2 sees cannot be computed without the master key. It also gives
        // every password the same length.
        let keyed = Zeroizing::new(self.vault.mac_with(
            version,
            Purpose::Password,
            &[password.expose().as_bytes()],
        )?);
        let started = Instant::now();
        let hashed = self
            .turns
            .take(move |memory| work(keyed.as_slice(), memory));
        let hashed = hashed.await?;
        tracing::debug!(
            elapsed_us = started.elapsed().as_micros(),
            "hashed a password"
        );
        hashed.map_err(|error| Error::internal(format!("argon2: {error}")))
    }

    /// Runs work that takes as long as a hash where it holds nobody up, when its turn comes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many wait already.
    pub(super) async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.turns.take(|_| work()).await
    }
}

type Hash = Zeroizing<[u8; HASH_BYTES]>;

fn argon2id(
    keyed: &[u8],
    salt: &[u8],
    params: Params,
    memory: &mut Memory,
) -> Result<Hash, argon2::Error> {
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let blocks = memory.blocks(params.block_count());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(keyed, salt, hash.as_mut(), blocks)
        .map(|()| hash)
}

/// Parameters of the work that `stored` ones lack to `today`'s, where they lack any worth a hash.
///
/// What argon2 takes is memory times passes (RFC 9106 §3.1). As few passes as do, over as much
/// memory as that needs: less of it would fit into caches and be faster.
fn padding(stored: &Params, today: &Params) -> Option<Params> {
    let work = |params: &Params| u64::from(params.m_cost()) * u64::from(params.t_cost());
    let lacking = work(today).checked_sub(work(stored))?;
    let passes = lacking.div_ceil(u64::from(today.m_cost())).max(1);
    let memory = u32::try_from(lacking / passes).ok()?;
    let passes = u32::try_from(passes).ok()?;
    Params::new(memory, passes, today.p_cost(), Some(HASH_BYTES)).ok()
}

fn parse(stored: &str) -> Option<(u8, Params, Vec<u8>, Vec<u8>)> {
    let mut parts = stored.split('$');
    let version = parts.next()?.parse().ok()?;
    if (parts.next()?, parts.next()?) != ("argon2id", "v=19") {
        return None;
    }
    let mut costs = parts.next()?.split(',');
    let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let params = Params::new(cost("m=")?, cost("t=")?, cost("p=")?, Some(HASH_BYTES)).ok()?;
    let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let hash = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    (parts.next().is_none() && hash.len() == HASH_BYTES).then_some((version, params, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::MasterKeys;

    async fn hasher(master: u8, memory_kib: u32) -> Hasher {
        let random = Random::seeded(1);
        let keys = MasterKeys::from_versions([(1, [master; 32])]).unwrap();
        let settings = Password {
            memory_kib,
            iterations: 1,
            ..Password::default()
        };
        Hasher::new(&settings, Vault::new(&keys, random.clone()), random)
            .await
            .unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn matches_only_the_password_under_its_master_key() {
        let hasher = hasher(1, 64).await;
        let stored = hasher.hash(&secret("correct horse")).await.unwrap();
        let same = hasher
            .compare(&secret("correct horse"), Some(&stored))
            .await
            .unwrap();
        assert_eq!(
            same,
            Comparison {
                matches: true,
                outdated: false
            }
        );
        // No truncation, no folding: verified exactly as received.
        for wrong in ["correct hors", "correct horse ", "Correct horse", ""] {
            assert!(
                !hasher
                    .compare(&secret(wrong), Some(&stored))
                    .await
                    .unwrap()
                    .matches,
                "{wrong}"
            );
        }
        let other = self::hasher(2, 64).await;
        assert!(
            !other
                .compare(&secret("correct horse"), Some(&stored))
                .await
                .unwrap()
                .matches
        );
    }

    #[tokio::test]
    async fn long_passwords_differ_in_their_last_byte() {
        let hasher = hasher(1, 64).await;
        let long = "x".repeat(MAX_BYTES - 1);
        let stored = hasher.hash(&secret(&format!("{long}a"))).await.unwrap();
        assert!(
            !hasher
                .compare(&secret(&format!("{long}b")), Some(&stored))
                .await
                .unwrap()
                .matches
        );
    }

    #[tokio::test]
    async fn old_parameters_match_and_are_outdated() {
        let stored = hasher(1, 64)
            .await
            .hash(&secret("pass phrase"))
            .await
            .unwrap();
        let today = hasher(1, 128).await;
        let comparison = today
            .compare(&secret("pass phrase"), Some(&stored))
            .await
            .unwrap();
        assert_eq!(
            comparison,
            Comparison {
                matches: true,
                outdated: true
            }
        );
    }

    #[test]
    fn padding_is_the_work_that_is_lacking() {
        for (stored, today, expected) in [
            ((19_456, 2), (19_456, 2), None),
            ((65_536, 3), (19_456, 2), None),
            // Less than the least that argon2 does.
            ((19_455, 1), (19_456, 1), None),
            ((64, 1), (128, 1), Some((64, 1))),
            ((19_456, 1), (19_456, 2), Some((19_456, 1))),
            ((19_456, 2), (65_536, 2), Some((46_080, 2))),
            ((9_728, 2), (19_456, 2), Some((19_456, 1))),
            ((64, 1), (19_456, 4), Some((19_440, 4))),
            ((8, 1), (4_194_304, 16), Some((4_194_303, 16))),
        ] {
            let params = |(m, t)| Params::new(m, t, 1, Some(HASH_BYTES)).unwrap();
            let padding = padding(&params(stored), &params(today));
            let padding = padding.map(|params| (params.m_cost(), params.t_cost()));
            assert_eq!(padding, expected, "{stored:?} {today:?}");
        }
    }

    /// The least of several times, so that what else the machine does stays out of it: without
    /// padding one takes two hundred times the other.
    #[tokio::test]
    async fn a_wrong_password_takes_as_long_with_cheaper_parameters_as_without_an_account() {
        let stored = hasher(1, 64).await.hash(&secret("pass phrase")).await;
        let stored = stored.unwrap();
        let today = hasher(1, 16_384).await;
        let mut least = [std::time::Duration::MAX; 2];
        for _ in 0..8 {
            for (least, stored) in least.iter_mut().zip([None, Some(stored.as_str())]) {
                let started = Instant::now();
                let compared = today.compare(&secret("another phrase"), stored).await;
                *least = started.elapsed().min(*least);
                assert!(!compared.unwrap().matches);
            }
        }
        let [nobody, somebody] = least;
        assert!(somebody * 4 > nobody, "{nobody:?} {somebody:?}");
        assert!(nobody * 4 > somebody, "{nobody:?} {somebody:?}");
    }

    #[tokio::test]
    async fn without_account_nothing_matches() {
        let hasher = hasher(1, 64).await;
        assert!(
            !hasher
                .compare(&secret("anything"), None)
                .await
                .unwrap()
                .matches
        );
    }

    #[test]
    fn lengths_are_bounded_in_bytes() {
        for (length, fits) in [
            (0, false),
            (7, false),
            (8, true),
            (1_024, true),
            (1_025, false),
        ] {
            assert_eq!(
                check_length(&secret(&"a".repeat(length))).is_ok(),
                fits,
                "{length}"
            );
        }
        // Two characters, eight bytes.
        assert!(check_length(&secret("😀😀")).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_padding_is_more_than_what_is_lacking(
            stored in (64_u32..70_000, 1_u32..8), today in (64_u32..70_000, 1_u32..8),
        ) {
            let params = |(m, t)| Params::new(m, t, 1, Some(HASH_BYTES)).unwrap();
            let work = |params: &Params| u64::from(params.m_cost()) * u64::from(params.t_cost());
            let (stored, today) = (params(stored), params(today));
            let done = work(&stored) + padding(&stored, &today).map_or(0, |params| work(&params));
            proptest::prop_assert!(done <= work(&today).max(work(&stored)));
            // Short of it by less than the least that argon2 does, or a block of each pass.
            proptest::prop_assert!(done + 8 > work(&today));
        }

        #[test]
        fn no_stored_text_panics(text in ".{0,120}", costs in "m=[0-9]{0,11},t=[0-9]{0,11},p=[0-9]{0,11}", salt in "[A-Za-z0-9+/=]{0,30}") {
            proptest::prop_assert!(parse(&text).is_none());
            if let Some((_, params, _, hash)) = parse(&format!("1$argon2id$v=19${costs}${salt}${}", "A".repeat(43))) {
                proptest::prop_assert!(params.m_cost() >= 8 * params.p_cost());
                proptest::prop_assert_eq!(hash.len(), HASH_BYTES);
            }
        }
    }
}
