//! The master key: 32 bytes, given by configuration or unwrapped by a key management service, or
//! made on the first start in development.
//!
//! Losing it is unrecoverable: personal data, signing keys and passwords stay closed for good.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::kms::Kms;
use crate::clock::Clock;
use crate::config::{Config, Mode, Provider, Secrets};
use crate::random::Random;

/// The file that development makes in the data folder.
pub const DEVELOPMENT_FILE: &str = "master.key";

/// Every configured master key by its version.
pub struct MasterKeys(BTreeMap<u8, Zeroizing<[u8; 32]>>);

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Nothing is configured, and production does not invent one.
    #[error(
        "no master key: set secrets.master_key_file (or EDGEKEEP_SECRETS__MASTER_KEY); \
         in production none is invented, because losing it loses all data. \
         Make one with: head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='"
    )]
    Missing,
    /// The text is not one or more keys.
    #[error(
        "master key, line {line}: expected 43 characters of base64url (32 bytes), \
         optionally preceded by a version from 1 to 255 and a colon"
    )]
    Malformed {
        /// The line, from 1.
        line: usize,
    },
    /// The file cannot be read or written.
    #[error("master key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not the one that the database was made under.
    #[error(
        "the master key does not open this database: it was made under another one; put that one \
         back (secrets.master_key, secrets.master_key_file, or master.key in the data folder)"
    )]
    DoesNotOpen,
    /// A version is not configured, and something is still under it.
    #[error(
        "this database needs master key version {version}, which is not configured: {by}. Put it \
         back beside the others; it may go once `edgekeep vault status` says so"
    )]
    Needed {
        /// The version.
        version: u8,
        /// What needs it.
        by: String,
    },
    /// The key management service did not do what was asked.
    #[error("master key, from the service that keeps it: {0}")]
    Service(String),
    /// The service is configured, and nothing that it wrapped.
    #[error(
        "no wrapped master key: make one with `edgekeep vault wrap` and put the line that it \
         prints into secrets.wrapped_keys or secrets.wrapped_keys_file"
    )]
    NothingWrapped,
    /// A line is not a wrapped key.
    #[error(
        "wrapped master key, line {line}: expected a version from 1 to 255, a colon, ciphertext"
    )]
    MalformedWrapped {
        /// The line, from 1.
        line: usize,
    },
    /// Others than its owner can read the file.
    #[error("master key file {path} can be read by others: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
}

impl MasterKeys {
    /// Keys by version; `None` when there is none or a version is zero.
    pub fn from_versions(keys: impl IntoIterator<Item = (u8, [u8; 32])>) -> Option<Self> {
        let keys: BTreeMap<_, _> = keys
            .into_iter()
            .map(|(version, key)| (version, Zeroizing::new(key)))
            .collect();
        (!keys.is_empty() && !keys.contains_key(&0)).then_some(Self(keys))
    }

    /// Reads one key a line, `<version>:<base64url>`; a lone key without version is version 1.
    ///
    /// # Errors
    /// [`MasterKeyError::Malformed`] with the line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let mut keys = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() {
                continue;
            }
            let malformed = MasterKeyError::Malformed { line: index + 1 };
            let (version, encoded) = line_text.split_once(':').unwrap_or(("1", line_text));
            let key = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded.trim()).unwrap_or_default());
            let (Ok(version @ 1..), Ok(key)) = (
                version.trim().parse::<u8>(),
                <[u8; 32]>::try_from(key.as_slice()),
            ) else {
                return Err(malformed);
            };
            if keys.insert(version, Zeroizing::new(key)).is_some() {
                return Err(malformed);
            }
        }
        if keys.is_empty() {
            Err(MasterKeyError::Malformed { line: 1 })
        } else {
            Ok(Self(keys))
        }
    }

    /// The keys that the configuration names, or development's own.
    ///
    /// # Errors
    /// When none is configured in production, or what is configured cannot be read or unwrapped.
    pub async fn load(
        config: &Config,
        random: &Random,
        clock: &Clock,
    ) -> Result<Self, MasterKeyError> {
        let secrets = &config.secrets;
        if let Some(kms) = Kms::of(secrets, clock)? {
            return Self::unwrap(&kms, secrets).await;
        }
        if let (Some(text), None | Some(Provider::Environment)) =
            (&secrets.master_key, secrets.provider)
        {
            return Self::parse(text.expose());
        }
        if let Some(path) = &secrets.master_key_file {
            return Self::read(path);
        }
        let path = config.data_dir.join(DEVELOPMENT_FILE);
        match config.mode {
            Mode::Production => Err(MasterKeyError::Missing),
            Mode::Development if path.exists() => Self::read(&path),
            Mode::Development => Self::invent(&path, random),
        }
    }

    async fn unwrap(kms: &Kms<'_>, secrets: &Secrets) -> Result<Self, MasterKeyError> {
        let mut keys = BTreeMap::new();
        for (version, ciphertext) in wrapped(secrets)? {
            keys.insert(version, kms.unwrap(version, &ciphertext).await?);
        }
        if keys.is_empty() {
            return Err(MasterKeyError::NothingWrapped);
        }
        Ok(Self(keys))
    }

    fn read(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File {
            path: path.to_owned(),
            source,
        };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(MasterKeyError::Exposed {
                    path: path.to_owned(),
                });
            }
        }
        Self::parse(&text)
    }

    fn invent(path: &Path, random: &Random) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File {
            path: path.to_owned(),
            source,
        };
        let key = Zeroizing::new(random.bytes::<32>());
        let mut options = OpenOptions::new();
        // `create_new`: of two processes that start together, one makes the key, the other reads it.
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = match options.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Self::read(path);
            }
            Err(error) => return Err(failed(error)),
        };
        let line = Zeroizing::new(format!("1:{}\n", URL_SAFE_NO_PAD.encode(key.as_slice())));
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        tracing::warn!(
            path = %path.display(),
            "made a master key for development; without it this data folder cannot be read"
        );
        Ok(Self(BTreeMap::from([(1, key)])))
    }

    /// The highest version.
    pub(super) fn highest(&self) -> u8 {
        self.0.last_key_value().map_or(0, |(version, _)| *version)
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = (u8, &[u8; 32])> {
        self.0.iter().map(|(version, key)| (*version, &**key))
    }
}

/// Every wrapped key that the configuration names, by version.
///
/// # Errors
/// [`MasterKeyError::MalformedWrapped`] with the line, or the file cannot be read.
pub fn wrapped(secrets: &Secrets) -> Result<BTreeMap<u8, String>, MasterKeyError> {
    let text = match (&secrets.wrapped_keys, &secrets.wrapped_keys_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => fs::read_to_string(path).map_err(|source| MasterKeyError::File {
            path: path.clone(),
            source,
        })?,
        (None, None) => String::new(),
    };
    let mut keys = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let malformed = MasterKeyError::MalformedWrapped { line: index + 1 };
        let Some((version, ciphertext)) = line.split_once(':') else {
            return Err(malformed);
        };
        let ciphertext = ciphertext.trim();
        let (Ok(version @ 1..), false) = (version.trim().parse::<u8>(), ciphertext.is_empty())
        else {
            return Err(malformed);
        };
        if keys.insert(version, ciphertext.to_owned()).is_some() {
            return Err(malformed);
        }
    }
    Ok(keys)
}

impl std::fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MasterKeys")
            .field(&self.0.keys().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_lone_key_and_versions() {
        let key = URL_SAFE_NO_PAD.encode([1; 32]);
        assert_eq!(
            MasterKeys::parse(&key).map(|keys| keys.highest()).ok(),
            Some(1)
        );
        let two = format!("1:{key}\n\n 7:{key}\n");
        assert_eq!(
            MasterKeys::parse(&two).map(|keys| keys.highest()).ok(),
            Some(7)
        );
    }

    #[test]
    fn reads_wrapped_keys_by_version() {
        let read = |text: &str| {
            wrapped(&Secrets {
                wrapped_keys: Some(text.to_owned()),
                ..Secrets::default()
            })
        };
        let keys = read("1:AQIDAHh+/=\n\n 2: vault:v1:abc= \n").unwrap();
        assert_eq!(keys[&1], "AQIDAHh+/=");
        assert_eq!(keys[&2], "vault:v1:abc=");
        for (text, at) in [
            ("vault:v1:abc", 1),
            ("1:a\n1:b", 2),
            ("0:a", 1),
            ("256:a", 1),
            ("1:a\n2:", 2),
            ("abc", 1),
        ] {
            let refused = read(text);
            assert!(
                matches!(refused, Err(MasterKeyError::MalformedWrapped { line }) if line == at),
                "{text:?}"
            );
        }
    }

    #[test]
    fn rejects_what_is_not_a_key() {
        let key = URL_SAFE_NO_PAD.encode([1; 32]);
        let short = URL_SAFE_NO_PAD.encode([1; 31]);
        for text in [
            "",
            "\n",
            "x",
            &short,
            &format!("0:{key}"),
            &format!("256:{key}"),
            &format!("{key}="),
        ] {
            assert!(MasterKeys::parse(text).is_err(), "{text:?}");
        }
        let twice = format!("1:{key}\n1:{key}");
        assert!(matches!(
            MasterKeys::parse(&twice),
            Err(MasterKeyError::Malformed { line: 2 })
        ));
    }
}
