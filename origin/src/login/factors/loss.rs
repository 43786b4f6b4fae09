//! Help for somebody who has lost every second factor, recovery codes among them.

use super::{any, remove_all};
use crate::accounts;
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::login::messages;
use crate::sessions::{self, Ending};

/// Removes every second factor of an account for an operator, who has made sure who asks; ends its
/// sessions and tells its owner, in case it was somebody else.
///
/// # Errors
/// [`Error::NotFound`] when there is no such account, or it has none.
pub(crate) async fn reset_factors(state: &State, user_id: UserId) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    if !any(&mut tx, user_id).await? {
        return Err(Error::NotFound);
    }
    remove_all(&mut tx, user_id).await?;
    sessions::end_of_user(state, &mut tx, user_id, Ending::All, "operator").await?;
    let event = Event::new(
        events::Kind::FactorChange,
        Outcome::Success,
        Actor::Operator,
    );
    events::record(state, &mut tx, &event.about(user_id).because("removed")).await?;
    let contact = accounts::contact(state, &mut tx, user_id).await?;
    let now = state.clock.now();
    let what = "all of them, by an operator";
    let notice = contact.and_then(|(kind, _, to)| messages::factor_removed(kind, &to, what, now));
    let notice = state.mailer.keep(&mut tx, user_id, notice).await?;
    tx.commit().await?;
    state.mailer.deliver(notice);
    Ok(())
}
