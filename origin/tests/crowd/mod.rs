//! Many revocations at once.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

use edgekeep_origin::app::State;
use edgekeep_origin::clock::Timestamp;

/// Writes `count` entries at once, as many logouts leave them.
pub(crate) async fn revoke_many(state: &State, count: i64) {
    let mut tx = state.db.write().await.unwrap();
    let now = state.clock.now();
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO revocations (kind, value, not_before, expires_at, created_at, reason, change)
         SELECT 'sid', 'many-' || i, 0, $2, $3, 'test',
             i + (SELECT value FROM counters WHERE name = 'revocations') FROM n",
    )
    .bind(count)
    .bind(Timestamp::from_unix_seconds(now.unix_seconds() + 1_200))
    .bind(now)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query("UPDATE counters SET value = value + $1 WHERE name = 'revocations'")
        .bind(count)
        .execute(&mut *tx)
        .await
        .unwrap();
    state.signal.raise();
    tx.commit().await.unwrap();
}
