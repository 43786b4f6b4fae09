//! The database, and the one place that knows there can be two of them.
//!
//! `sqlx`'s `Any` driver runs one SQL text on SQLite and PostgreSQL: `$1` placeholders, `BIGINT`
//! for numbers, instants (microseconds) and truth values, `TEXT`, and bytes (ids are 16 of them).
//! The alternatives were two copies of every statement, or a query builder that hides what is
//! sent; the price of `Any` is that statements are checked by running the suite on both engines,
//! not by a macro. `BLOB` in a migration is the one word PostgreSQL spells differently.
//!
//! SQLite has one writer. Write transactions take a pool of one connection and begin immediately,
//! so that two of them queue here, in order, and never meet `SQLITE_BUSY` halfway; reads run
//! beside them on connections that cannot write. Never begin a write while holding another.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Executor as _, Pool, SqlSafeStr as _, Transaction};

use crate::config::Config;
use crate::error::Error;

/// A write transaction; it does nothing until [`Transaction::commit`].
pub type Tx = Transaction<'static, Any>;

/// A connection for reading.
pub type Reader = PoolConnection<Any>;

/// Every migration, oldest first: version, name, text.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "accounts",
        include_str!("../../migrations/0001_accounts.sql"),
    ),
    (2, "login", include_str!("../../migrations/0002_login.sql")),
    (
        100,
        "tokens",
        include_str!("../../migrations/0100_tokens.sql"),
    ),
    (
        101,
        "sessions",
        include_str!("../../migrations/0101_sessions.sql"),
    ),
    (
        102,
        "revocations",
        include_str!("../../migrations/0102_revocations.sql"),
    ),
    (
        103,
        "control keys",
        include_str!("../../migrations/0103_control_keys.sql"),
    ),
    (
        104,
        "audit",
        include_str!("../../migrations/0104_audit.sql"),
    ),
    (
        105,
        "vault",
        include_str!("../../migrations/0105_vault.sql"),
    ),
    (
        106,
        "sends",
        include_str!("../../migrations/0106_sends.sql"),
    ),
    (
        107,
        "limits",
        include_str!("../../migrations/0107_limits.sql"),
    ),
    (
        108,
        "social",
        include_str!("../../migrations/0108_social.sql"),
    ),
    (
        109,
        "factors",
        include_str!("../../migrations/0109_factors.sql"),
    ),
    (
        110,
        "the whole account",
        include_str!("../../migrations/0110_accounts.sql"),
    ),
    (
        111,
        "captcha",
        include_str!("../../migrations/0111_captcha.sql"),
    ),
    (
        112,
        "passkeys",
        include_str!("../../migrations/0112_passkeys.sql"),
    ),
    (
        114,
        "anomaly",
        include_str!("../../migrations/0114_anomaly.sql"),
    ),
    (
        115,
        "links",
        include_str!("../../migrations/0115_links.sql"),
    ),
    (
        117,
        "audit by user",
        include_str!("../../migrations/0117_audit_by_user.sql"),
    ),
    (
        119,
        "notices",
        include_str!("../../migrations/0119_notices.sql"),
    ),
    (
        121,
        "stepped_up",
        include_str!("../../migrations/0121_stepped_up.sql"),
    ),
    (
        122,
        "lock_status",
        include_str!("../../migrations/0122_lock_status.sql"),
    ),
    (
        125,
        "notice_leases",
        include_str!("../../migrations/0125_notice_leases.sql"),
    ),
    (
        126,
        "unbound_tries",
        include_str!("../../migrations/0126_unbound_tries.sql"),
    ),
    (
        130,
        "audit seals",
        include_str!("../../migrations/0130_audit_seals.sql"),
    ),
    (
        131,
        "trusted since",
        include_str!("../../migrations/0131_trusted_since.sql"),
    ),
    (
        141,
        "replaced recovery codes",
        include_str!("../../migrations/0141_replaced_recovery_codes.sql"),
    ),
];

/// How long a request waits for a connection before it is told `unavailable`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers beside SQLite's one writer: reads are microseconds, so a few suffice.
const SQLITE_READERS: u32 = 4;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names an engine that is not supported.
    #[error("database.url: expected sqlite:…, found {0}")]
    Engine(String),
    /// The connection failed.
    #[error("database: {0}")]
    Connect(#[from] sqlx::Error),
    /// A migration failed, or the schema is newer than this binary.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// The pools.
#[derive(Clone, Debug)]
pub struct Db {
    writer: Pool<Any>,
    readers: Pool<Any>,
}

impl Db {
    /// Opens the configured database without changing its schema.
    ///
    /// # Errors
    /// When the URL is not understood or the database cannot be reached.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let url = config.database_url();
        if !url.starts_with("sqlite:") {
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(OpenError::Engine(format!("{scheme}:…")));
        }
        let writer = AnyPoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            // A reconnect would only lose the page cache.
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(set_up(connection, false)))
            .connect(&url)
            .await?;
        let readers = AnyPoolOptions::new()
            .max_connections(SQLITE_READERS)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(set_up(connection, true)))
            .connect(&url)
            .await?;
        Ok(Self { writer, readers })
    }

    /// Brings the schema up to this binary's.
    ///
    /// # Errors
    /// When a migration fails, or one that was applied differs from the one in this binary.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        let migrations = MIGRATIONS
            .iter()
            .map(|&(version, name, text)| {
                Migration::new(
                    version,
                    name.into(),
                    MigrationType::Simple,
                    AssertSqlSafe(text).into_sql_str(),
                    false,
                )
            })
            .collect();
        let migrator = Migrator::with_migrations(migrations);
        let mut connection = self.writer.acquire().await?;
        migrator.run_direct(None, &mut *connection, false).await?;
        Ok(())
    }

    /// Begins a write transaction; waits its turn behind other writers.
    ///
    /// # Errors
    /// [`Error::Database`] when no connection comes free in five seconds (`unavailable`).
    pub async fn write(&self) -> Result<Tx, Error> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A connection for reading, beside the writer.
    ///
    /// # Errors
    /// [`Error::Database`] when no connection comes free in five seconds (`unavailable`).
    pub async fn read(&self) -> Result<Reader, Error> {
        Ok(self.readers.acquire().await?)
    }

    /// Whether a write could be made now: takes the write lock and gives it back.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn probe(&self) -> Result<(), Error> {
        Ok(self.write().await?.rollback().await?)
    }

    /// Closes both pools after their present work.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// SQLite's settings for one connection.
///
/// `synchronous=FULL`: a revocation that was answered is on disk when the machine dies a moment
/// later. WAL alone (`NORMAL`) would lose it.
async fn set_up(connection: &mut AnyConnection, read_only: bool) -> Result<(), sqlx::Error> {
    connection
        .execute(
            "PRAGMA busy_timeout = 5000;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA secure_delete = ON;
             PRAGMA trusted_schema = OFF;",
        )
        .await?;
    if read_only {
        connection.execute("PRAGMA query_only = ON;").await?;
    }
    Ok(())
}

/// The URL of the SQLite file at `path`, made if it is not there.
pub fn sqlite_url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
    url.push_str("?mode=rwc");
    url
}

/// Whether `error` says that a row with that key is already there.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
