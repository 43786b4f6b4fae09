//! Configuration: one typed struct, read once. The doc comments here are its documentation;
//! `edgekeep.example.toml` repeats them.
//!
//! Order: defaults, then the TOML file, then the environment (`EDGEKEEP_<SECTION>__<KEY>`).
//! Unknown keys stop the start.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::vault::Secret;

mod load;
mod notify;

pub use load::{ConfigError, Environment};
pub use notify::{Channel, HttpFormat, HttpHook, Notify, Smtp, SmtpTls};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `development` invents a master key and writes mail to a file; `production` does neither.
    pub mode: Mode,
    /// The folder for the database, the development key and the development outbox.
    /// `EDGEKEEP_DATA_DIR` sets it too.
    pub data_dir: DataDir,
    /// Listeners and limits of HTTP.
    pub server: Server,
    /// Where data is kept.
    pub database: Database,
    /// What access tokens say.
    pub tokens: Tokens,
    /// The life of signing keys.
    pub keys: Keys,
    /// Sessions and refresh tokens.
    pub sessions: Sessions,
    /// What the gates are told, and how often.
    pub revocation: Revocation,
    /// The gates themselves.
    pub gate: Gate,
    /// Password hashing.
    pub password: Password,
    /// Locking after failures.
    pub lockout: Lockout,
    /// One-time codes by mail and SMS.
    pub otp: Otp,
    /// New accounts.
    pub registration: Registration,
    /// Senders of mail and SMS.
    pub notify: Notify,
    /// Keys that must not be lost.
    pub secrets: Secrets,
    /// Limits by IP address.
    pub limits: Limits,
    /// The log.
    pub log: Log,
}

/// How much is done for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Convenience first.
    #[default]
    Development,
    /// Safety first.
    Production,
}

/// The data folder; `./data` unless set.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

impl Default for DataDir {
    fn default() -> Self {
        Self(PathBuf::from("./data"))
    }
}

impl std::ops::Deref for DataDir {
    type Target = PathBuf;

    fn deref(&self) -> &PathBuf {
        &self.0
    }
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port of the API.
    pub listen: SocketAddr,
    /// The URL under which clients reach this server: the issuer (`iss`), and what links in mail
    /// begin with. No trailing slash. Unset: `http://` and `listen`. Production wants `https`.
    pub public_url: Option<String>,
    /// Address and port of the read-only key-value listener for a self-hosted gate; unset: none.
    /// Never public: loopback, or a network that only the gate is on.
    pub kv_listen: Option<SocketAddr>,
    /// The bearer that the key-value listener asks for; unset: none is asked for, which is
    /// accepted on loopback only.
    pub kv_token: Option<Secret>,
    /// The bearer by which `GET /metrics` may be read; unset: there is no such route on `listen`.
    pub metrics_token: Option<Secret>,
    /// Address and port of a listener for `GET /metrics` alone; unset: none. It asks for
    /// `metrics_token` where that is set, which it must be unless this is a loopback address.
    pub metrics_listen: Option<SocketAddr>,
    /// Connections to `listen` at a time, as far as the limit of open files allows; one more waits.
    pub max_connections: usize,
    /// Longest request body, in bytes.
    pub max_body_bytes: usize,
    /// Seconds within which a request must be answered.
    pub request_timeout_seconds: u64,
    /// Seconds that requests in flight may take to finish after a signal to stop.
    pub shutdown_seconds: u64,
    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            kv_listen: None,
            kv_token: None,
            metrics_token: None,
            metrics_listen: None,
            max_connections: 4_096,
            max_body_bytes: 64 * 1024,
            request_timeout_seconds: 15,
            shutdown_seconds: 10,
            trusted_proxies: Vec::new(),
        }
    }
}

/// `[database]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:…`; unset: `edgekeep.db` in the data folder.
    pub url: Option<String>,
}

/// How access tokens are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    ES256,
    /// Ed25519.
    EdDSA,
}

/// `[tokens]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// `aud`: the API that the tokens are for.
    pub audience: String,
    /// `client_id` of the first-party client.
    pub client_id: String,
    /// Life of an access token; at most 86400.
    pub access_token_seconds: u64,
    /// `ES256` or `EdDSA`; a change applies from the next key on.
    pub algorithm: Algorithm,
    /// Clock difference tolerated when this server judges a token.
    pub leeway_seconds: u64,
    /// Whether tokens carry the e-mail address. Off: a token is readable by whoever holds it.
    pub include_email: bool,
    /// Whether tokens carry the telephone number.
    pub include_phone: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            audience: "api".to_owned(),
            client_id: "default".to_owned(),
            access_token_seconds: 900,
            algorithm: Algorithm::default(),
            leeway_seconds: 5,
            include_email: false,
            include_phone: false,
        }
    }
}

/// `[keys]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// How long verifiers may keep the JWK Set (`Cache-Control: max-age`).
    pub jwks_max_age_seconds: u64,
    /// What is added to that before a published key may sign: clocks, copies, slow caches.
    pub propagation_seconds: u64,
    /// How often keys rotate by themselves; 0: only by command.
    pub rotation_seconds: u64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            jwks_max_age_seconds: 300,
            propagation_seconds: 60,
            rotation_seconds: 30 * 86_400,
        }
    }
}

/// What a reused refresh token ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReuseEnds {
    /// The session it belongs to.
    #[default]
    Session,
    /// Every session of the user.
    User,
}

/// `[sessions]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// A session ends after this long without a refresh.
    pub idle_seconds: u64,
    /// A session ends after this long in any case.
    pub absolute_seconds: u64,
    /// Sessions a user may have; the oldest gives way.
    pub per_user: u32,
    /// How long a repeated refresh gets the same successor: a lost answer must not end a session.
    pub refresh_grace_seconds: u64,
    /// `session` or `user`.
    pub reuse_ends: ReuseEnds,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            idle_seconds: 7 * 86_400,
            absolute_seconds: 30 * 86_400,
            per_user: 5,
            refresh_grace_seconds: 10,
            reuse_ends: ReuseEnds::default(),
        }
    }
}

/// `[revocation]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Revocation {
    /// How often the list is signed again when nothing changed.
    pub heartbeat_seconds: u64,
    /// How often changes made by another process (the command line) are looked for.
    pub poll_milliseconds: u64,
    /// The Workers KV namespace that the gates read, written through Cloudflare's REST API.
    pub kv_rest: KvRest,
}

/// `[revocation.kv_rest]`: all of it, or nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KvRest {
    /// The account.
    pub account_id: String,
    /// The namespace.
    pub namespace_id: String,
    /// A token that may edit the namespace; unset: nothing is written.
    pub api_token: Option<Secret>,
    /// Where the API is: https, or http on loopback.
    pub base_url: String,
}

impl Default for KvRest {
    fn default() -> Self {
        Self {
            account_id: String::new(),
            namespace_id: String::new(),
            api_token: None,
            base_url: "https://api.cloudflare.com/client/v4".to_owned(),
        }
    }
}

impl KvRest {
    fn is_whole(&self) -> bool {
        let plain = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
        let secure = ["https://", "http://127.0.0.1:", "http://[::1]:"]
            .iter()
            .any(|prefix| self.base_url.starts_with(prefix));
        match self.api_token {
            None => self.account_id.is_empty() && self.namespace_id.is_empty(),
            Some(_) => plain(&self.account_id) && plain(&self.namespace_id) && secure,
        }
    }
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            heartbeat_seconds: 15,
            poll_milliseconds: 500,
            kv_rest: KvRest::default(),
        }
    }
}

/// `[gate]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// The bearer by which gates may ask about tokens (`ORIGIN_TOKEN` at the gate); unset:
    /// introspection is refused to everybody.
    pub introspection_token: Option<Secret>,
    /// The policy that gates without one of their own find in their key-value store, as TOML;
    /// unset: none is put there.
    pub policy_file: Option<PathBuf>,
}

/// `[password]`: argon2id. The default is OWASP's minimum; a change rehashes at the next login.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Password {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes at a time; 0: as many as there are cores.
    pub concurrency: usize,
    /// Hashes that may wait; one more is answered `unavailable`.
    pub queue: usize,
    /// Life of a link that sets a new password (ASVS 6.5.5: at most 600).
    pub reset_seconds: u64,
    /// The page of your application that the link leads to, which is given `?token=`; unset:
    /// `/reset-password` below the public URL, for a proxy to answer.
    pub reset_url: Option<String>,
}

impl Default for Password {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            iterations: 2,
            parallelism: 1,
            concurrency: 0,
            queue: 256,
            reset_seconds: 600,
            reset_url: None,
        }
    }
}

/// `[lockout]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lockout {
    /// Consecutive wrong passwords that lock an account.
    pub max_failures: u32,
    /// For how long.
    pub lock_seconds: u64,
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            max_failures: 5,
            lock_seconds: 900,
        }
    }
}

/// `[otp]`: codes of six digits. With the defaults a code is guessed with less than one chance
/// in a thousand in a year: 60 failures in 30 days are 730 in 365, of a million codes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otp {
    /// Life of a code.
    pub ttl_seconds: u64,
    /// Guesses of one code.
    pub max_tries: u32,
    /// Codes sent to one address in an hour.
    pub sends_per_hour: u32,
    /// Wrong guesses of an account in 24 hours after which codes are off for it.
    pub failures_per_day: u32,
    /// Wrong guesses of an account in 30 days after which codes are off for it.
    pub failures_per_month: u32,
}

impl Default for Otp {
    fn default() -> Self {
        Self {
            ttl_seconds: 300,
            max_tries: 3,
            sends_per_hour: 3,
            failures_per_day: 10,
            failures_per_month: 60,
        }
    }
}

/// `[registration]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Whether an address must be proved before its account exists.
    pub require_proof: bool,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            require_proof: true,
        }
    }
}

/// `[secrets]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// The master key: 32 bytes in base64url, or several lines `<version>:<key>`.
    pub master_key: Option<Secret>,
    /// A file that holds it, readable by its owner alone.
    pub master_key_file: Option<PathBuf>,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Whether requests are counted by IP address.
    pub per_ip: bool,
    /// Attempts to prove who one is, per address and minute.
    pub attempts_per_minute: u32,
    /// Requests that send a message, per address and minute.
    pub sends_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_ip: true,
            attempts_per_minute: 120,
            sends_per_minute: 60,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is logged, as `tracing` filter directives.
    pub filter: String,
    /// `auto`, `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::default(),
        }
    }
}

/// A token may live a day at most, whatever is configured: verifiers refuse longer ones.
const MAX_ACCESS_TOKEN_SECONDS: u64 = 86_400;

/// Hashes at a time: each keeps its memory, and more than cores make none of them faster.
const MAX_CONCURRENCY: usize = 256;

impl Config {
    /// The issuer, and the beginning of every link: no trailing slash.
    pub fn issuer(&self) -> String {
        self.server
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", self.server.listen))
    }

    /// The page where a new password is typed. It comes from the configuration and never from a
    /// request's headers.
    pub fn reset_url(&self) -> String {
        let page = self.password.reset_url.clone();
        page.unwrap_or_else(|| format!("{}/reset-password", self.issuer()))
    }

    /// The database's URL.
    pub fn database_url(&self) -> String {
        self.database.url.clone().unwrap_or_else(|| {
            let path = self.data_dir.join("edgekeep.db");
            crate::db::sqlite_url(&std::path::absolute(&path).unwrap_or(path))
        })
    }

    /// What can only be seen of all keys together.
    ///
    /// # Errors
    /// [`ConfigError::Impossible`] with the key and what was expected.
    #[expect(
        clippy::too_many_lines,
        reason = "one expectation after the other, nothing nested"
    )]
    fn check(&self) -> Result<(), ConfigError> {
        let mut wrong: BTreeMap<&'static str, String> = BTreeMap::new();
        let mut expect = |holds: bool, key: &'static str, expected: &str| {
            if !holds {
                wrong.insert(key, expected.to_owned());
            }
        };
        let issuer = self.issuer();
        expect(
            (issuer.starts_with("https://") || issuer.starts_with("http://"))
                && !issuer.ends_with('/')
                && !issuer.contains(['?', '#'])
                && !issuer.contains(char::is_whitespace),
            "server.public_url",
            "expected an http or https URL without trailing slash, query or fragment",
        );
        expect(
            self.mode == Mode::Development || issuer.starts_with("https://"),
            "server.public_url",
            "expected an https URL in production",
        );
        expect(
            self.server.kv_listen.is_none_or(|at| at.ip().is_loopback())
                || self.server.kv_token.is_some(),
            "server.kv_token",
            "expected a token, because server.kv_listen is not a loopback address",
        );
        expect(
            self.server
                .metrics_listen
                .is_none_or(|at| at.ip().is_loopback())
                || self.server.metrics_token.is_some(),
            "server.metrics_token",
            "expected a token, because server.metrics_listen is not a loopback address",
        );
        for (key, token) in [
            ("server.kv_token", &self.server.kv_token),
            ("server.metrics_token", &self.server.metrics_token),
            ("gate.introspection_token", &self.gate.introspection_token),
        ] {
            // An empty variable in a deployment's template is a mistake, not a token.
            expect(
                token
                    .as_ref()
                    .is_none_or(|token| !token.expose().is_empty()),
                key,
                "expected a token that is not empty",
            );
        }
        expect(
            !self.tokens.audience.is_empty(),
            "tokens.audience",
            "expected a name",
        );
        expect(
            !self.tokens.client_id.is_empty(),
            "tokens.client_id",
            "expected a name",
        );
        expect(
            (1..=MAX_ACCESS_TOKEN_SECONDS).contains(&self.tokens.access_token_seconds),
            "tokens.access_token_seconds",
            "expected 1 to 86400",
        );
        expect(
            self.tokens.leeway_seconds <= 300,
            "tokens.leeway_seconds",
            "expected 0 to 300",
        );
        expect(
            argon2::Params::new(
                self.password.memory_kib,
                self.password.iterations,
                self.password.parallelism,
                None,
            )
            .is_ok()
                && self.password.memory_kib <= 1_048_576,
            "password",
            "expected argon2 parameters: memory_kib from 8 times parallelism to 1048576, \
             iterations and parallelism at least 1",
        );
        expect(
            self.mode == Mode::Development
                || (self.password.memory_kib >= 7_168
                    && u64::from(self.password.memory_kib) * u64::from(self.password.iterations)
                        >= 35_000),
            "password",
            "expected at least one of OWASP's minima in production, for instance \
             memory_kib = 19456 and iterations = 2",
        );
        expect(
            self.password.concurrency <= MAX_CONCURRENCY,
            "password.concurrency",
            "expected 1 to 256, or 0 for as many as there are cores",
        );
        expect(
            self.password.queue >= 1,
            "password.queue",
            "expected at least 1",
        );
        expect(
            (1..=600).contains(&self.password.reset_seconds),
            "password.reset_seconds",
            "expected 1 to 600",
        );
        expect(
            self.password.reset_url.as_deref().is_none_or(|url| {
                (url.starts_with("https://") || url.starts_with("http://"))
                    && url.bytes().all(|byte| byte.is_ascii_graphic())
                    && !url.contains(['?', '#'])
            }),
            "password.reset_url",
            "expected an absolute http or https URL without query and fragment",
        );
        expect(
            (1..=100).contains(&self.lockout.max_failures),
            "lockout.max_failures",
            "expected 1 to 100",
        );
        expect(
            (1..=600).contains(&self.otp.ttl_seconds),
            "otp.ttl_seconds",
            "expected 1 to 600",
        );
        expect(
            (1..=10).contains(&self.otp.max_tries),
            "otp.max_tries",
            "expected 1 to 10",
        );
        expect(
            self.sessions.per_user >= 1,
            "sessions.per_user",
            "expected at least 1",
        );
        expect(
            self.sessions.idle_seconds >= 1
                && self.sessions.absolute_seconds >= self.sessions.idle_seconds,
            "sessions.absolute_seconds",
            "expected at least sessions.idle_seconds, which is at least 1",
        );
        expect(
            (1..=300).contains(&self.revocation.heartbeat_seconds),
            "revocation.heartbeat_seconds",
            "expected 1 to 300",
        );
        expect(
            (10..=1_000).contains(&self.revocation.poll_milliseconds),
            "revocation.poll_milliseconds",
            "expected 10 to 1000",
        );
        expect(
            self.revocation.kv_rest.is_whole(),
            "revocation.kv_rest",
            "expected account_id, namespace_id and api_token together, and an https base_url",
        );
        expect(
            (1..=1_000_000).contains(&self.server.max_connections),
            "server.max_connections",
            "expected 1 to 1000000",
        );
        expect(
            (1..=16_777_216).contains(&self.server.max_body_bytes),
            "server.max_body_bytes",
            "expected 1 to 16777216",
        );
        expect(
            self.server.request_timeout_seconds >= 1,
            "server.request_timeout_seconds",
            "expected at least 1",
        );
        expect(
            self.mode == Mode::Development
                || !(matches!(self.notify.email, Channel::File)
                    || matches!(self.notify.sms, Channel::File)),
            "notify",
            "expected a sender other than \"file\" in production",
        );
        for (key, channel) in [
            ("notify.email", &self.notify.email),
            ("notify.sms", &self.notify.sms),
        ] {
            if let Some(missing) = channel.missing() {
                expect(false, key, missing);
            }
        }
        expect(
            !matches!(self.notify.sms, Channel::Smtp(_)),
            "notify.sms",
            "expected kind = \"file\", \"http\" or \"off\"",
        );
        match wrong.into_iter().next() {
            None => Ok(()),
            Some((key, expected)) => Err(ConfigError::Impossible { key, expected }),
        }
    }
}
