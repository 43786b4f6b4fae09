//! Links that prove an address, beside the code in the same message.
//!
//! Code and link share a row: whichever is used first deletes it, and both end with it. A link has
//! 256 bits, so that guesses of it are not counted, and wrong guesses of the code, which anybody can
//! make who knows the address, leave it good.
//!
//! The token stands in the fragment of the page's URL. Whatever opens links on a person's behalf
//! (scanners of mail, previews) sends no fragment, and no log or `Referer` has it: only the page
//! sends it on, by `POST`. The page comes from the configuration, never from a request.
//!
//! Links go by mail only: one would make an SMS two of them, and teach people to follow links in
//! messages whose sender anybody can choose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use super::codes::{self, CodeFor, Guess};
use crate::abuse::sends;
use crate::accounts::{Blind, Kind};
use crate::app::State;
use crate::error::Error;
use crate::vault::{Purpose, Secret};

/// What leaked tokens are searched for by.
const PREFIX: &str = "ekl_";

/// Longest token of a link, in bytes; they have 47.
const MAX_TOKEN: usize = 64;

/// A link that was found. It still has to be used up.
pub struct Linked {
    recipient: Blind,
    payload: Zeroizing<Vec<u8>>,
    token_hash: [u8; 32],
}

/// What came out of a message to an address: its code, or its link.
pub enum Proof {
    /// The code, which was guessed right.
    Code(Guess),
    /// The link.
    Link(Linked),
}

impl Proof {
    /// The address that it proves.
    pub const fn recipient(&self) -> &Blind {
        match self {
            Self::Code(guess) => &guess.recipient,
            Self::Link(linked) => &linked.recipient,
        }
    }

    /// What was kept beside it.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Code(guess) => &guess.payload,
            Self::Link(linked) => &linked.payload,
        }
    }

    /// Uses code and link up within the caller's transaction; of several that were shown at once,
    /// one succeeds.
    ///
    /// # Errors
    /// [`Error::CodeInvalid`] when they were used or replaced meanwhile.
    pub async fn consume(
        &self,
        state: &State,
        connection: &mut AnyConnection,
        purpose: CodeFor,
    ) -> Result<(), Error> {
        let linked = match self {
            Self::Code(guess) => return codes::consume(connection, purpose, guess).await,
            Self::Link(linked) => linked,
        };
        let now = state.clock.now();
        let places = purpose.places();
        let deleted = sqlx::query(
            "DELETE FROM one_time_codes
             WHERE purpose IN ($1, $2, $3) AND link_hash = $4 AND expires_at > $5",
        )
        .bind(&*places[0])
        .bind(&*places[1])
        .bind(&*places[2])
        .bind(linked.token_hash.as_slice())
        .bind(now)
        .execute(&mut *connection)
        .await?;
        if deleted.rows_affected() != 1 {
            return Err(Error::CodeInvalid("link used meanwhile"));
        }
        sends::answered(connection, &linked.recipient, now).await
    }
}

/// Refuses tokens that are nobody's.
///
/// # Errors
/// [`Error::RequestInvalid`].
pub fn checked_token(token: &Secret) -> Result<(), Error> {
    if (1..=MAX_TOKEN).contains(&token.expose().len()) {
        Ok(())
    } else {
        Err(Error::invalid("token: expected 1 to 64 bytes."))
    }
}

/// Gives the code that was just issued to an address of this kind, bound to `issued`, a link to `page`,
/// for its message; none to what is not a mail address, or without a page. An undeliverable code gets
/// one like any other.
///
/// # Errors
/// When the database or the vault fails.
pub async fn attach(
    state: &State,
    connection: &mut AnyConnection,
    purpose: CodeFor,
    (kind, issued): (Kind, &Secret),
    page: Option<&str>,
) -> Result<Option<Secret>, Error> {
    let Some(page) = page.filter(|_| kind == Kind::Email) else {
        return Ok(None);
    };
    let random: [u8; 32] = state.random.bytes();
    let token = Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)));
    sqlx::query("UPDATE one_time_codes SET link_hash = $2 WHERE token_hash = $1")
        .bind(codes::hash_token(state, issued)?.as_slice())
        .bind(hash(state, purpose, &token)?.as_slice())
        .execute(connection)
        .await?;
    Ok(Some(Secret::new(format!(
        "{page}#token={}",
        token.expose()
    ))))
}

/// Finds what waits for a link, without using anything up.
///
/// # Errors
/// [`Error::CodeInvalid`] for one that is unknown or used; [`Error::CodeExpired`] when its time is
/// over.
pub async fn find(state: &State, purpose: CodeFor, token: &Secret) -> Result<Proof, Error> {
    let token_hash = hash(state, purpose, token)?;
    let places = purpose.places();
    let mut reader = state.db.read().await?;
    let row = sqlx::query(
        "SELECT purpose, recipient, payload, expires_at FROM one_time_codes
         WHERE purpose IN ($1, $2, $3) AND link_hash = $4",
    )
    .bind(&*places[0])
    .bind(&*places[1])
    .bind(&*places[2])
    .bind(token_hash.as_slice())
    .fetch_optional(&mut *reader)
    .await?
    .ok_or(Error::CodeInvalid("no such link"))?;
    let expires_at: crate::clock::Timestamp = row.try_get("expires_at")?;
    if expires_at <= state.clock.now() {
        return Err(Error::CodeExpired);
    }
    let recipient: Vec<u8> = row.try_get("recipient")?;
    let recipient = read_blind(&recipient)?;
    let place: String = row.try_get("purpose")?;
    let sealed: Vec<u8> = row.try_get("payload")?;
    Ok(Proof::Link(Linked {
        payload: codes::open(state, &place, &recipient, &sealed)?,
        recipient,
        token_hash,
    }))
}

/// The address that a link was sent to, whether or not its time is over.
///
/// # Errors
/// When the database or the vault fails.
pub async fn recipient(
    state: &State,
    purpose: CodeFor,
    token: &Secret,
) -> Result<Option<Blind>, Error> {
    let places = purpose.places();
    let mut reader = state.db.read().await?;
    let found: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT recipient FROM one_time_codes
         WHERE purpose IN ($1, $2, $3) AND link_hash = $4",
    )
    .bind(&*places[0])
    .bind(&*places[1])
    .bind(&*places[2])
    .bind(hash(state, purpose, token)?.as_slice())
    .fetch_optional(&mut *reader)
    .await?;
    found.as_deref().map(read_blind).transpose()
}

fn read_blind(bytes: &[u8]) -> Result<Blind, Error> {
    Blind::try_from(bytes).map_err(|_| Error::internal("blind index of the wrong length"))
}

fn hash(state: &State, purpose: CodeFor, token: &Secret) -> Result<[u8; 32], Error> {
    let parts = [
        b"link",
        purpose.as_str().as_bytes(),
        token.expose().as_bytes(),
    ];
    Ok(state.vault.mac(Purpose::Code, &parts)?)
}
