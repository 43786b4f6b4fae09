//! Accounts by the thousand, made by the origin's own code before it serves: one transaction for
//! many, and one password hash for all, which a hundred thousand logins would take twenty minutes
//! to compute. What stands in the database is what registering one by one leaves there: sealed,
//! indexed, with an event of the audit trail for each.

use std::path::Path;

use anyhow::{Context as _, Result};
use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::app::State;
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{Config, Environment};
use edgekeep_origin::events::{self, Actor, Event, Kind, Outcome};
use edgekeep_origin::random::Random;
use edgekeep_origin::vault::Secret;

/// Accounts of one transaction.
const BATCH: usize = 2_000;

/// The address of the account with this number.
pub(crate) fn address(number: usize) -> String {
    format!("person-{number:06}@example.com")
}

/// An address as long and as well spelt as that of an account, which nobody has.
pub(crate) fn nobody(number: usize) -> String {
    format!("nobody-{number:06}@example.com")
}

/// Makes the accounts `0..count` in the instance of `file` and `environment`, all with `password`
/// and a proved address.
pub(crate) async fn make(
    file: &Path,
    environment: &Environment,
    count: usize,
    password: &str,
) -> Result<()> {
    let config = Config::load(Some(file), environment).context("the origin's configuration")?;
    let state = State::open(config, Clock::System, Random::Os).await?;
    let phc = state.hasher.hash(&Secret::new(password.to_owned())).await?;
    for first in (0..count).step_by(BATCH) {
        let mut tx = state.db.write().await?;
        for number in first..count.min(first + BATCH) {
            let account = NewAccount {
                identifiers: &[(Identifier::email(&address(number))?, true)],
                password: Some(&phc),
                ..NewAccount::default()
            };
            let id = accounts::create(&state, &mut tx, &account).await?;
            let made = Event::new(Kind::Registration, Outcome::Success, Actor::Operator).about(id);
            events::record(&state, &mut tx, &made).await?;
        }
        tx.commit().await?;
    }
    state.db.close().await;
    Ok(())
}
