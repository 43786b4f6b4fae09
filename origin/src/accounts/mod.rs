//! Accounts: who people are, what they log in with, what they may do.

use serde::Serialize;
use sqlx::AnyConnection;

use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Event};
use crate::ids::UserId;
use crate::login::messages;
use crate::notify::Message;
use crate::sessions::{self, Ending};
use crate::social;
use crate::vault::Purpose;
use crate::{access, login};

pub mod contacts;
pub(crate) mod country;
mod erasure;
mod export;
pub mod identifier;
mod index;
pub mod kyc;
mod leaving;
mod lookup;
mod number;
pub mod profile;
mod registration;
mod routes;
pub mod status;
mod store;
mod username;

pub use erasure::{erase, upkeep};
pub use identifier::{Blind, Identifier, Kind};
pub(crate) use index::{rebuild_index, remove_old_indexes};
pub use lookup::{LookedUp, look_up, nobody};
pub use profile::Profile;
pub(crate) use routes::address;
pub use routes::routes;
pub use status::Status;

/// What a person sees of their account.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct User {
    /// The account's id: `sub` of its tokens.
    #[schema(value_type = String, format = "uuid")]
    pub id: UserId,
    /// The e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether it was proved; absent without address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// The telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// Whether it was proved; absent without number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number_verified: Option<bool>,
    /// The user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// What they say of themselves.
    #[serde(flatten)]
    pub profile: Profile,
    /// Roles.
    pub roles: Vec<String>,
    /// Permissions, those that their roles bring among them.
    pub permissions: Vec<String>,
    /// To what level they are verified, 0 if not.
    pub kyc_level: i64,
    /// `none`, `pending`, `verified`, `rejected` or `expired`.
    pub kyc_status: String,
    /// When the verification is over, in seconds since 1970; absent where it does not end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kyc_expires_at: Option<i64>,
    /// The customer they belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// When they logged in last, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login: Option<i64>,
    /// When the account was made, in seconds since 1970.
    pub created_at: i64,
    /// Whether its owner may log in.
    #[serde(skip)]
    pub active: bool,
    /// How the account is.
    #[serde(skip)]
    pub status: Status,
    /// Permissions of the account itself.
    #[serde(skip)]
    pub own_permissions: Vec<String>,
}

/// Who has an identifier.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The account.
    pub user_id: UserId,
    /// Whether they proved that it is theirs.
    pub verified: bool,
    /// Whether its owner may log in.
    pub active: bool,
}

/// What an account is made of.
#[derive(Clone, Copy, Default)]
pub struct NewAccount<'a> {
    /// What it logs in with, and whether that was proved. One that somebody else has is left out.
    pub identifiers: &'a [(Identifier, bool)],
    /// The password, already hashed.
    pub password: Option<&'a str>,
    /// The name.
    pub name: Option<&'a str>,
    /// Roles.
    pub roles: &'a [String],
    /// Permissions: scopes of the first-party client's tokens, too.
    pub permissions: &'a [String],
    /// The customer they belong to.
    pub customer_id: Option<&'a str>,
    /// The level to which the person is verified.
    pub kyc_level: u32,
}

/// The account with this id.
///
/// # Errors
/// When the database or the vault fails.
pub async fn load(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<User>, Error> {
    match store::user(connection, id).await? {
        Some(row) => complete(state, connection, id, row).await.map(Some),
        None => Ok(None),
    }
}

/// The account of a row, with its identifiers.
async fn complete(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
    row: store::UserRow,
) -> Result<User, Error> {
    let profile = Profile::open(state, id, &row.profile)?;
    let standing = kyc::Standing::of(&row, state.clock.now());
    let roles = list(&row.roles)?;
    let own_permissions = list(&row.permissions)?;
    // A word of a later version is no reason to let somebody in.
    let status = Status::from_word(&row.status).unwrap_or(Status::Disabled);
    let mut user = User {
        id,
        email: None,
        email_verified: None,
        phone_number: None,
        phone_number_verified: None,
        username: None,
        profile,
        permissions: access::permissions(&state.config.access, &roles, &own_permissions),
        roles,
        kyc_level: standing.level,
        kyc_status: standing.status,
        kyc_expires_at: standing.expires_at,
        customer_id: row.customer_id,
        last_login: row.last_login_at.map(Timestamp::unix_seconds),
        created_at: row.created_at.unix_seconds(),
        active: status.may_log_in(),
        status,
        own_permissions,
    };
    // The primary of each kind comes first.
    for row in store::identifiers(connection, id).await? {
        let spelling = open_spelling(state, row.kind, &row.name, &row.spelling)?;
        let verified = Some(row.verified_at.is_some());
        match row.kind {
            Kind::Email if user.email.is_none() => {
                (user.email, user.email_verified) = (Some(spelling), verified);
            }
            Kind::Phone if user.phone_number.is_none() => {
                (user.phone_number, user.phone_number_verified) = (Some(spelling), verified);
            }
            Kind::Username => user.username = Some(spelling),
            Kind::Email | Kind::Phone => {}
        }
    }
    Ok(user)
}

/// An account whose owner may log in; none if there is no such account or it is disabled.
///
/// # Errors
/// When the database or the vault fails.
pub async fn find_active(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<User>, Error> {
    let user = load(state, connection, id).await?;
    Ok(user.filter(|user| user.active))
}

/// Who has the identifier, if anybody has.
///
/// # Errors
/// When the database fails.
pub async fn holder(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
) -> Result<Option<Holder>, Error> {
    let found = store::holder(connection, kind, blind).await?;
    Ok(found.map(|(user_id, verified, active)| Holder {
        user_id,
        verified,
        active,
    }))
}

/// The address or number by which the account is reached: the proved mail address, of several the
/// primary one, else the number, else an address that was not proved yet.
///
/// # Errors
/// When the database or the vault fails.
pub async fn contact(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<(Kind, Blind, String)>, Error> {
    let rows = store::identifiers(connection, id).await?;
    let best = rows
        .iter()
        .filter(|row| row.kind.medium().is_some())
        .min_by_key(|row| (row.verified_at.is_none(), row.kind != Kind::Email));
    let Some(row) = best else { return Ok(None) };
    let spelling = open_spelling(state, row.kind, &row.name, &row.spelling)?;
    let blind = Identifier::stored(row.kind, &spelling).blind(&state.vault)?;
    Ok(Some((row.kind, blind, spelling)))
}

/// The index of everything that the account can be named by: its addresses, numbers and user name.
///
/// # Errors
/// When the database or the vault fails.
pub async fn names(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Vec<Blind>, Error> {
    let rows = store::identifiers(connection, id).await?;
    rows.iter()
        .map(|row| {
            let spelling = open_spelling(state, row.kind, &row.name, &row.spelling)?;
            Identifier::stored(row.kind, &spelling).blind(&state.vault)
        })
        .collect()
}

/// The proved address of this kind, where the account has one.
///
/// # Errors
/// When the database or the vault fails.
pub async fn proved_address(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
    kind: Kind,
) -> Result<Option<(Blind, String)>, Error> {
    let rows = store::identifiers(connection, id).await?;
    let proved = rows
        .iter()
        .find(|row| row.kind == kind && row.verified_at.is_some());
    let Some(row) = proved else { return Ok(None) };
    let spelling = open_spelling(state, row.kind, &row.name, &row.spelling)?;
    let blind = Identifier::stored(row.kind, &spelling).blind(&state.vault)?;
    Ok(Some((blind, spelling)))
}

/// Makes an account within the caller's transaction.
///
/// # Errors
/// When the database or the vault fails.
pub async fn create(
    state: &State,
    connection: &mut AnyConnection,
    new: &NewAccount<'_>,
) -> Result<UserId, Error> {
    // Before anything is sealed: a process that has not noticed yet which master key seals would write
    // the profile under the one before, behind a rotation that has passed there.
    index::follow(connection, &state.vault).await?;
    let now = state.clock.now();
    let id = UserId::generate(&state.random);
    let profile = Profile {
        name: new.name.map(str::to_owned),
        ..Profile::default()
    };
    let json = |list: &[String]| {
        serde_json::to_string(list).map_err(|_| Error::internal("a list as JSON"))
    };
    store::insert_user(
        connection,
        &store::NewUser {
            id,
            roles: &json(new.roles)?,
            permissions: &json(new.permissions)?,
            customer_id: new.customer_id,
            kyc_level: i64::from(new.kyc_level),
            profile: &profile.seal(state, id)?,
            now,
        },
    )
    .await?;
    for (identifier, verified) in new.identifiers {
        index::add(state, connection, id, identifier, *verified).await?;
    }
    if let Some(phc) = new.password {
        store::set_password(connection, id, phc, now).await?;
    }
    Ok(id)
}

/// Records within the caller's transaction that somebody made an account for themselves, by `method`.
///
/// # Errors
/// As [`events::record`].
pub async fn note_made(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    method: &str,
) -> Result<(), Error> {
    let made = Event::own(
        events::Kind::Registration,
        events::Outcome::Success,
        user_id,
    );
    events::record(state, connection, &made.by(method)).await
}

/// Records that the holder of an identifier proved it. The first time, everything from before goes:
/// password, sessions, reset links, second factors, links to other identity providers, and every
/// other name and address of the account. Whoever set them had not shown that this address was
/// theirs, and through another address of their own they would come back.
///
/// # Errors
/// When the database fails.
pub async fn prove(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    blind: &Blind,
) -> Result<(), Error> {
    if store::mark_verified(connection, kind, blind, state.clock.now()).await? {
        store::delete_password(connection, user_id).await?;
        store::delete_other_identifiers(connection, user_id, kind, blind).await?;
        login::reset::withdraw(connection, user_id).await?;
        social::withdraw(connection, user_id).await?;
        login::factors::remove_all(connection, user_id).await?;
        sessions::end_all(state, connection, user_id, Ending::All).await?;
    }
    Ok(())
}

/// The stored password hash, if the account has a password.
///
/// # Errors
/// When the database fails.
pub async fn password(connection: &mut AnyConnection, id: UserId) -> Result<Option<String>, Error> {
    store::password(connection, id).await
}

/// Stores a password hash.
///
/// # Errors
/// [`Error::NotFound`] when the account is gone; when the database fails.
pub async fn set_password(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
    phc: &str,
) -> Result<(), Error> {
    store::set_password(connection, id, phc, state.clock.now()).await
}

/// Whether somebody was let in: notes the login, and wakes an account that its owner deactivated or
/// deleted a while ago. Each case is one statement, so that a login and the erasure never both win.
///
/// # Errors
/// When the database or the vault fails.
pub async fn enter(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<Entered>, Error> {
    let now = state.clock.now();
    if let Some(row) = store::note_login_of_active(connection, id, now).await? {
        let user = complete(state, connection, id, row).await?;
        return Ok(Some(Entered { user, notice: None }));
    }
    let Some(mut user) = find_active(state, connection, id).await? else {
        return Ok(None);
    };
    if !store::note_login(connection, id, now).await? {
        return Ok(None);
    }
    user.last_login = Some(now.unix_seconds());
    let mut notice = None;
    if user.status != Status::Active {
        status::woken(state, connection, &user).await?;
        user.status = Status::Active;
        let contact = contact(state, connection, id).await?;
        notice = contact.and_then(|(kind, _, to)| messages::account_taken_back(kind, &to));
    }
    Ok(Some(Entered { user, notice }))
}

/// Whoever is let in.
pub struct Entered {
    /// The account, which is active.
    pub user: User,
    /// What its owner must be told.
    pub notice: Option<Message>,
}

/// Changes what a person says of themselves.
async fn set_profile(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
    profile: &Profile,
) -> Result<Vec<&'static str>, Error> {
    let row = store::user(connection, id).await?.ok_or(Error::NotFound)?;
    let before = Profile::open(state, id, &row.profile)?;
    let sealed = profile.seal(state, id)?;
    store::update_profile(connection, id, &sealed, state.clock.now()).await?;
    Ok(profile.changed(&before))
}

/// Binds a sealed spelling to its row: one moved to another's row does not open.
fn spelling_aad(kind: Kind, name: &[u8]) -> Vec<u8> {
    [kind.as_str().as_bytes(), b"\0", name].concat()
}

fn open_spelling(state: &State, kind: Kind, name: &[u8], sealed: &[u8]) -> Result<String, Error> {
    let text = state
        .vault
        .open(Purpose::Identifier, &spelling_aad(kind, name), sealed)?;
    String::from_utf8(text.to_vec()).map_err(|_| Error::internal("stored spelling is not UTF-8"))
}

fn list(json: &str) -> Result<Vec<String>, Error> {
    serde_json::from_str(json).map_err(|_| Error::internal("stored list is not JSON"))
}
