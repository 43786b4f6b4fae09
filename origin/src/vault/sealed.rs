//! Every column that holds sealed values: what rotating the master key seals anew.
//!
//! Whoever adds a sealed column adds a line here; `tests/vault.rs` compares the list with the schema.

use sqlx::any::AnyRow;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _};

use super::{Purpose, Vault, VaultError};
use crate::error::Error;

/// A column of sealed values.
#[derive(Debug)]
pub struct Sealed {
    /// The table.
    pub table: &'static str,
    /// The column; rows where it is null have nothing sealed.
    pub column: &'static str,
    /// What it is sealed for.
    pub purpose: Purpose,
    /// The columns that make up the row's key.
    pub key: &'static [Part],
    /// What the value is bound to, one after another.
    pub aad: &'static [Part],
}

/// A part of a key or of what a value is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A column of text.
    Text(&'static str),
    /// A column of bytes.
    Bytes(&'static str),
    /// Text that is the same in every row.
    Fixed(&'static str),
}

use Part::{Bytes, Fixed, Text};

/// The list. Identifiers come with their index, so [`super::rotation`] treats them by themselves.
pub const SEALED: &[Sealed] = &[
    of("kept_keys", "sealed", Purpose::KeptKey, &[Text("name")]),
    of(
        "control_keys",
        "private_key",
        Purpose::ControlKey,
        &[Text("kid")],
    ),
    of(
        "signing_keys",
        "private_key",
        Purpose::SigningKey,
        &[Text("kid")],
    ),
    of("users", "profile", Purpose::Profile, &[Bytes("id")]),
    of("users", "status_note", Purpose::Status, &[Bytes("id")]),
    of("kyc_submissions", "details", Purpose::Kyc, &[Bytes("id")]),
    of(
        "contact_undos",
        "details",
        Purpose::Contact,
        &[Bytes("token_hash")],
    ),
    IDENTIFIERS,
    of("notices", "message", Purpose::Notice, &[Bytes("id")]),
    of("sessions", "details", Purpose::Session, &[Bytes("id")]),
    of("audit_events", "details", Purpose::Audit, &[Bytes("id")]),
    of(
        "social_identities",
        "details",
        Purpose::Social,
        &[Bytes("id")],
    ),
    flow("kept", &[Fixed("kept\0"), Bytes("state_hash")]),
    flow("facts", &[Fixed("facts\0"), Bytes("state_hash")]),
    Sealed {
        table: "one_time_codes",
        column: "payload",
        purpose: Purpose::Registration,
        key: &[Text("purpose"), Bytes("recipient")],
        aad: &[Text("purpose"), Fixed("\0"), Bytes("recipient")],
    },
    of("totp_factors", "secret", Purpose::Totp, &[Bytes("user_id")]),
    of("totp_pending", "secret", Purpose::Totp, &[Bytes("user_id")]),
    of("passkeys", "details", Purpose::Passkey, &[Bytes("id")]),
    of(
        "passkey_ceremonies",
        "state",
        Purpose::Passkey,
        &[Bytes("token_hash")],
    ),
    Sealed {
        table: "mfa_tokens",
        column: "payload",
        purpose: Purpose::Mfa,
        key: &[Bytes("token_hash")],
        aad: &[Bytes("user_id"), Bytes("token_hash")],
    },
];

/// The spelling of identifiers, bound to their index.
pub(super) const IDENTIFIERS: Sealed = Sealed {
    table: "identifiers",
    column: "spelling",
    purpose: Purpose::Identifier,
    key: &[Text("kind"), Bytes("blind")],
    aad: &[Text("kind"), Fixed("\0"), Bytes("blind")],
};

/// A column whose values are bound to their row's key and nothing else.
const fn of(
    table: &'static str,
    column: &'static str,
    purpose: Purpose,
    key: &'static [Part],
) -> Sealed {
    Sealed {
        table,
        column,
        purpose,
        key,
        aad: key,
    }
}

/// A column of logins at other providers that are under way.
const fn flow(column: &'static str, aad: &'static [Part]) -> Sealed {
    Sealed {
        table: "social_flows",
        column,
        purpose: Purpose::Social,
        key: &[Bytes("state_hash")],
        aad,
    }
}

/// A value of a key's column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

/// One sealed value and where it stands.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: Vec<Value>,
    pub(super) aad: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Found {
    /// The version of the master key that sealed it.
    pub(super) fn version(&self) -> u8 {
        self.value.first().copied().unwrap_or(0)
    }

    /// The key of a row of [`IDENTIFIERS`].
    pub(super) fn kind_and_name(&self) -> (String, Vec<u8>) {
        match self.key.as_slice() {
            [Value::Text(kind), Value::Bytes(name)] => (kind.clone(), name.clone()),
            _ => <(String, Vec<u8>)>::default(),
        }
    }
}

type Statement<'q> = Query<'q, Any, <Any as sqlx::Database>::Arguments>;

fn bind<'q>(statement: Statement<'q>, values: &[Value]) -> Statement<'q> {
    values
        .iter()
        .fold(statement, |statement, value| match value {
            Value::Text(text) => statement.bind(text.clone()),
            Value::Bytes(bytes) => statement.bind(bytes.clone()),
        })
}

impl Part {
    fn column(self) -> Option<&'static str> {
        match self {
            Text(name) | Bytes(name) => Some(name),
            Fixed(_) => None,
        }
    }

    fn read(self, row: &AnyRow) -> Result<Value, sqlx::Error> {
        Ok(match self {
            Text(name) => Value::Text(row.try_get(name)?),
            Bytes(name) => Value::Bytes(row.try_get(name)?),
            Fixed(text) => Value::Text(text.to_owned()),
        })
    }
}

impl Sealed {
    /// `table.column`, for people.
    pub fn name(&self) -> String {
        format!("{}.{}", self.table, self.column)
    }

    fn key_columns(&self) -> String {
        let columns: Vec<&str> = self.key.iter().filter_map(|part| part.column()).collect();
        columns.join(", ")
    }

    /// At most `limit` values behind `after` in the order of the key, whatever sealed them.
    pub(super) async fn page(
        &self,
        connection: &mut AnyConnection,
        after: Option<&[Value]>,
        limit: i64,
    ) -> Result<Vec<Found>, Error> {
        let (table, column, key) = (self.table, self.column, self.key_columns());
        let mut columns: Vec<&str> = self
            .key
            .iter()
            .chain(self.aad)
            .filter_map(|part| part.column())
            .chain([column])
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let columns = columns.join(", ");
        let places: Vec<String> = (1..=self.key.len()).map(|n| format!("${n}")).collect();
        let behind = match after {
            None => String::new(),
            Some(_) => format!("AND ({key}) > ({})", places.join(", ")),
        };
        // Names come from the list above and nowhere else.
        let text = format!(
            "SELECT {columns} FROM {table} WHERE {column} IS NOT NULL {behind}
             ORDER BY {key} LIMIT {limit}"
        );
        let statement = bind(sqlx::query(AssertSqlSafe(text)), after.unwrap_or_default());
        let rows = statement.fetch_all(connection).await?;
        rows.iter()
            .map(|row| {
                let mut aad = Vec::new();
                for part in self.aad {
                    match part.read(row)? {
                        Value::Text(text) => aad.extend_from_slice(text.as_bytes()),
                        Value::Bytes(bytes) => aad.extend_from_slice(&bytes),
                    }
                }
                let key = self.key.iter().map(|part| part.read(row));
                Ok(Found {
                    key: key.collect::<Result<_, _>>()?,
                    aad,
                    value: row.try_get(column)?,
                })
            })
            .collect()
    }

    /// The same value sealed under the present master key.
    pub(super) fn anew(&self, vault: &Vault, found: &Found) -> Result<Vec<u8>, VaultError> {
        let plain = vault.open(self.purpose, &found.aad, &found.value)?;
        vault.seal(self.purpose, &found.aad, &plain)
    }

    /// Puts `value` in the place of what was found, if that is still there; whether it was.
    pub(super) async fn replace(
        &self,
        connection: &mut AnyConnection,
        found: &Found,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        let (table, column) = (self.table, self.column);
        let key: Vec<String> = (self.key.iter())
            .filter_map(|part| part.column())
            .zip(3..)
            .map(|(name, place)| format!("{name} = ${place}"))
            .collect();
        let key = key.join(" AND ");
        let text = format!("UPDATE {table} SET {column} = $1 WHERE {column} = $2 AND {key}");
        let statement = sqlx::query(AssertSqlSafe(text))
            .bind(value)
            .bind(found.value.clone());
        let updated = bind(statement, &found.key).execute(connection).await?;
        Ok(updated.rows_affected() == 1)
    }

    /// How many values there are by the version that sealed them.
    pub(super) async fn counts(
        &self,
        connection: &mut AnyConnection,
    ) -> Result<Vec<(u8, i64)>, Error> {
        let (table, column) = (self.table, self.column);
        let text = format!(
            "SELECT substr({column}, 1, 1) AS version, COUNT(*) AS count FROM {table}
             WHERE {column} IS NOT NULL GROUP BY substr({column}, 1, 1)"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .fetch_all(connection)
            .await?;
        rows.iter()
            .map(|row| {
                let version: Vec<u8> = row.try_get("version")?;
                Ok((version.first().copied().unwrap_or(0), row.try_get("count")?))
            })
            .collect()
    }
}
