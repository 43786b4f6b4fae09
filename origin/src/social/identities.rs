//! Whose identity it is: an account's for good, or nobody's yet.
//!
//! An identity and an account belong together when both sides are proved at once: by the person
//! who is logged in and comes back from the provider, or because the account was made for the
//! identity. An equal address is no proof, however verified: who may have typed it in at the
//! provider, and when, is not known here, and the account may be older than that person's address.

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;

use super::provider::Provider;
use super::store::{self, Identity, Owner};
use crate::accounts::{self, Identifier, Kind, NewAccount};
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::WithoutEmail;
use crate::error::Error;
use crate::events::{self, Event, Outcome};
use crate::ids::{IdentityId, UserId};
use crate::login::codes::{self, CodeFor};
use crate::login::messages;
use crate::notify::Kept;
use crate::sessions::{self, Ending};
use crate::vault::Purpose;

/// Links of one account: more than there are providers, less than a list that nobody reads.
const MAX_LINKS: usize = 20;

/// What a provider said of a person, as far as it is needed after the callback. Sealed at rest.
#[derive(Serialize, Deserialize)]
pub(super) struct Person {
    pub(super) subject: String,
    /// The address, where it counts as proved.
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    /// What the identity is called, for its owner.
    pub(super) label: Option<String>,
    /// When they proved to the provider who they are, in seconds since 1970.
    pub(super) authenticated_at: Option<i64>,
}

/// What is kept of an identity. Sealed at rest.
#[derive(Serialize, Deserialize)]
struct Details {
    issuer: String,
    subject: String,
    label: Option<String>,
}

/// A link as its owner sees it; instants are seconds since 1970.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SocialIdentity)]
pub(crate) struct View {
    #[schema(value_type = String, format = "uuid")]
    id: IdentityId,
    provider: String,
    /// What the provider calls it: the address there, or the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    linked_at: i64,
    last_used_at: i64,
}

impl View {
    fn new(state: &State, identity: &Identity) -> Result<Self, Error> {
        let json = state
            .vault
            .open(Purpose::Social, identity.id.as_bytes(), &identity.details)?;
        let details: Details = serde_json::from_slice(&json)
            .map_err(|_| Error::internal("details of an identity are not JSON"))?;
        Ok(Self {
            id: identity.id,
            provider: identity.provider.clone(),
            label: details.label,
            linked_at: identity.created_at.unix_seconds(),
            last_used_at: identity.last_used_at.unix_seconds(),
        })
    }
}

/// The account that an identity logs in to, made where there is none yet; or why not, which is to
/// be answered once the caller has committed.
pub(super) async fn resolve(
    state: &State,
    connection: &mut AnyConnection,
    provider: &Provider,
    person: &Person,
) -> Result<Result<UserId, Error>, Error> {
    let now = state.clock.now();
    let blind = blind(state, provider, &person.subject)?;
    if let Some(identity) = store::use_identity(connection, &blind, now).await? {
        let active = accounts::find_active(state, connection, identity.user_id).await?;
        return Ok(match active {
            Some(_) => Ok(identity.user_id),
            // No more than somebody unknown is told.
            None => Err(Error::IdentityRefused("account not active")),
        });
    }
    if !provider.settings.sign_up {
        return Ok(Err(Error::IdentityRefused(
            "unknown, and nobody may sign up",
        )));
    }
    let email = person
        .email
        .as_deref()
        .and_then(|text| Identifier::email(text).ok());
    let identifiers = match email {
        Some(email) => {
            let blind = email.blind(&state.vault)?;
            if accounts::holder(connection, Kind::Email, &blind)
                .await?
                .is_some()
            {
                // The provider vouches for the address, so whoever this is may know: a code sent
                // there would tell them as much.
                return Ok(Err(Error::Conflict(
                    "There is an account with this address. Log in to it first, then link.",
                )));
            }
            // What waits for the proof of this address was set by whoever before it.
            codes::withdraw(connection, CodeFor::Registration, &blind).await?;
            vec![(email, true)]
        }
        None if provider.settings.without_email == WithoutEmail::Create => Vec::new(),
        // Whether somebody has that address is not looked at: this person has not proved it.
        None => {
            return Ok(Err(Error::IdentityRefused(
                "no address that counts as proved",
            )));
        }
    };
    let name = accounts::profile::checked_name("name", person.name.clone()).unwrap_or_default();
    let account = NewAccount {
        identifiers: &identifiers,
        name: name.as_deref(),
        ..NewAccount::default()
    };
    let user_id = accounts::create(state, connection, &account).await?;
    let identity = new_identity(state, user_id, provider, person, now)?;
    if !store::insert_identity(connection, &identity, &blind).await? {
        return Err(Error::Unavailable("the identity was linked meanwhile"));
    }
    accounts::note_made(state, connection, user_id, "social").await?;
    Ok(Ok(user_id))
}

/// Links an identity to the account of somebody who is logged in, with what they are told; or why
/// not, which is to be answered once the caller has committed.
pub(super) async fn link(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    provider: &Provider,
    person: &Person,
) -> Result<Result<(View, Kept), Error>, Error> {
    let now = state.clock.now();
    let blind = blind(state, provider, &person.subject)?;
    if let Some(identity) = store::use_identity(connection, &blind, now).await? {
        return Ok(if identity.user_id == user_id {
            Ok((View::new(state, &identity)?, Kept::default()))
        } else {
            Err(Error::Conflict("This identity belongs to another account."))
        });
    }
    if store::identities(connection, user_id).await?.len() >= MAX_LINKS {
        return Ok(Err(Error::Conflict(
            "The account has as many links as it may have.",
        )));
    }
    let identity = new_identity(state, user_id, provider, person, now)?;
    if !store::insert_identity(connection, &identity, &blind).await? {
        return Err(Error::Unavailable("the identity was linked meanwhile"));
    }
    note(state, connection, user_id, (&provider.name, "linked")).await?;
    let contact = accounts::contact(state, connection, user_id).await?;
    let called = provider.display_name();
    let notice = contact.and_then(|(kind, _, to)| messages::identity_linked(kind, &to, called));
    let notice = state.mailer.keep(connection, user_id, notice).await?;
    Ok(Ok((View::new(state, &identity)?, notice)))
}

/// The links of an account.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn list(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<View>, Error> {
    let identities = store::identities(connection, user_id).await?;
    identities
        .iter()
        .map(|identity| View::new(state, identity))
        .collect()
}

/// Removes a link, ends its owner's other sessions where they wish it, and tells them.
///
/// # Errors
/// [`Error::NotFound`] for another's; [`Error::Conflict`] for the last way in.
pub(super) async fn remove(
    state: &State,
    owner: Owner,
    id: IdentityId,
    ends_others: bool,
) -> Result<(), Error> {
    let user_id = owner.user_id;
    let mut tx = state.db.write().await?;
    let removed = store::remove_identity(&mut tx, user_id, id, state.clock.now()).await?;
    let Some(name) = removed else {
        let own = store::identities(&mut tx, user_id).await?;
        return Err(if own.iter().any(|identity| identity.id == id) {
            Error::Conflict("Nothing else would let you in. Set a password or prove an address.")
        } else {
            Error::NotFound
        });
    };
    if ends_others {
        end_other_sessions(state, &mut tx, owner).await?;
    }
    let known = state.social.provider(&name).ok();
    let called = known.map_or(&*name, Provider::display_name);
    note(state, &mut tx, user_id, (&name, "unlinked")).await?;
    let contact = accounts::contact(state, &mut tx, user_id).await?;
    let notice = contact.and_then(|(kind, _, to)| messages::identity_removed(kind, &to, called));
    let notice = state.mailer.keep(&mut tx, user_id, notice).await?;
    tx.commit().await?;
    state.mailer.deliver(notice);
    Ok(())
}

/// Ends every session of an account but the one in which its ways to log in change (ASVS 7.4.3).
pub(super) async fn end_other_sessions(
    state: &State,
    connection: &mut AnyConnection,
    owner: Owner,
) -> Result<(), Error> {
    let rest = Ending::AllBut(owner.session_id);
    sessions::end_of_user(state, connection, owner.user_id, rest, "identity").await
}

/// Records that a way to log in came or went.
async fn note(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    (provider, reason): (&str, &str),
) -> Result<(), Error> {
    let event = Event::own(events::Kind::Identity, Outcome::Success, user_id);
    events::record(state, connection, &event.by(provider).because(reason)).await
}

/// Removes every link of an account whose owner has only now proved an address of it: whoever
/// made the links had not, and would come back through them.
///
/// # Errors
/// When the database fails.
pub(crate) async fn withdraw(connection: &mut AnyConnection, user_id: UserId) -> Result<(), Error> {
    store::withdraw(connection, user_id).await
}

fn new_identity(
    state: &State,
    user_id: UserId,
    provider: &Provider,
    person: &Person,
    now: Timestamp,
) -> Result<Identity, Error> {
    let id = IdentityId::generate(&state.random);
    let details = Details {
        issuer: provider.issuer().to_owned(),
        subject: person.subject.clone(),
        label: person.label.clone(),
    };
    let json = serde_json::to_vec(&details).map_err(|_| Error::internal("identity as JSON"))?;
    Ok(Identity {
        id,
        user_id,
        provider: provider.name.clone(),
        details: state.vault.seal(Purpose::Social, id.as_bytes(), &json)?,
        created_at: now,
        last_used_at: now,
    })
}

/// The issuer with its length before it: no two identities are written alike, as a name has no
/// colon.
fn blind(state: &State, provider: &Provider, subject: &str) -> Result<[u8; 32], Error> {
    let (name, issuer) = (&provider.name, provider.issuer());
    let text = format!("{name}:{}:{issuer}{subject}", issuer.len());
    Ok(state.vault.blind_index(Purpose::Social, &text)?)
}
