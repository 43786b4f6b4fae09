//! SQL of what accounts may do, and of finding accounts.

use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::UserId;

/// The roles of an account that is active; none of one that is not.
pub(super) async fn roles_of_active(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Vec<String>, Error> {
    let row = sqlx::query("SELECT roles FROM users WHERE id = $1 AND status = 'active'")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else {
        return Ok(Vec::new());
    };
    let json: String = row.try_get("roles")?;
    serde_json::from_str(&json).map_err(|_| Error::internal("stored list is not JSON"))
}

/// Writes roles; false when the account is gone, or is the last active one that has `kept`.
pub(super) async fn set_roles(
    connection: &mut AnyConnection,
    id: UserId,
    roles: &str,
    kept: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE users SET roles = $2, updated_at = $3
         WHERE id = $1
           AND ($4 = '' OR replace(roles, $4, '') = roles OR status <> 'active'
                OR EXISTS (SELECT 1 FROM users AS others
                           WHERE others.id <> $1 AND others.status = 'active'
                             AND replace(others.roles, $4, '') <> others.roles))",
    )
    .bind(id)
    .bind(roles)
    .bind(now)
    .bind(kept)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

pub(super) async fn set_permissions(
    connection: &mut AnyConnection,
    id: UserId,
    permissions: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE users SET permissions = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(permissions)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn set_customer(
    connection: &mut AnyConnection,
    id: UserId,
    customer_id: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE users SET customer_id = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(customer_id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Accounts behind `after` in the order of their ids.
pub(super) async fn page(
    connection: &mut AnyConnection,
    after: UserId,
    limit: i64,
) -> Result<Vec<UserId>, Error> {
    let rows = sqlx::query("SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}
