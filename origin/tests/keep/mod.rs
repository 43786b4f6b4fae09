//! Accounts and sessions for tests that are about what comes after the login.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

use edgekeep_origin::app::State;
use edgekeep_origin::ids::UserId;
use edgekeep_origin::sessions::{self, NewSession, Tokens};
use edgekeep_origin::vault::Purpose;

/// Adds an active account with a role, a permission and KYC level 2.
pub(crate) async fn user(state: &State) -> UserId {
    let id = UserId::generate(&state.random);
    let profile = state
        .vault
        .seal(Purpose::Profile, id.as_bytes(), b"{}")
        .unwrap();
    let mut tx = state.db.write().await.unwrap();
    sqlx::query(
        "INSERT INTO users (id, status, roles, permissions, kyc_level, kyc_status, customer_id,
                            profile, created_at, updated_at)
         VALUES ($1, 'active', '[\"admin\"]', '[\"report:write\"]', 2, 'verified', 'c-1', $2, 0, 0)",
    )
    .bind(id)
    .bind(profile)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    id
}

/// Opens a session as a login with a password would.
pub(crate) async fn open(state: &State, user_id: UserId) -> Tokens {
    let mut tx = state.db.write().await.unwrap();
    let new = NewSession {
        user_id,
        client_id: "default".to_owned(),
        device_id: Some("phone".to_owned()),
        address: Some([192, 0, 2, 1].into()),
        user_agent: Some("test".to_owned()),
        app_version: None,
        amr: vec!["pwd".to_owned()],
        auth_time: state.clock.now(),
        second_factor_at: None,
        sent_to: None,
        seen: None,
    };
    let opened = sessions::open(state, &mut tx, new).await.unwrap();
    tx.commit().await.unwrap();
    opened.tokens
}
