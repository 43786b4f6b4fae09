//! `edgekeep users create|remove-factors`

use std::io::{BufRead as _, stdin};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::accounts::{self, Identifier, NewAccount};
use crate::error::Error;
use crate::events::{self, Actor, Change, Event, Kind, Outcome};
use crate::ids::UserId;
use crate::login;
use crate::login::strength::{self, Person};
use crate::vault::Secret;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make an account whose addresses count as proved; prints its id.
    Create(Create),
    /// Remove every second factor of somebody who has lost them, and end their sessions.
    RemoveFactors {
        /// The account's id.
        id: UserId,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// E-mail address.
    #[arg(long)]
    email: Option<String>,
    /// Telephone number, international.
    #[arg(long)]
    phone: Option<String>,
    /// User name.
    #[arg(long)]
    username: Option<String>,
    /// A role; may be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A permission, and so a scope of the account's tokens; may be repeated.
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// The customer the person belongs to.
    #[arg(long, value_name = "ID")]
    customer_id: Option<String>,
    /// The level to which the person is verified.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3))]
    kyc_level: u32,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

pub(super) async fn run(action: Action, file: Option<&Path>) -> anyhow::Result<()> {
    match action {
        Action::Create(create) => create.run(file).await,
        Action::RemoveFactors { id } => remove_factors(id, file).await,
    }
}

/// How long the message to the owner may take.
const SENDING: Duration = Duration::from_secs(30);

async fn remove_factors(id: UserId, file: Option<&Path>) -> anyhow::Result<()> {
    let state = super::open(file).await?;
    let outcome = login::reset_factors(&state, id).await;
    state.mailer.drain(SENDING).await;
    state.db.close().await;
    match outcome {
        Err(Error::NotFound) => bail!("no account has the id {id}, or it has no second factor"),
        outcome => Ok(outcome?),
    }
}

impl Create {
    #[expect(clippy::print_stdout, reason = "the command's result")]
    async fn run(self, file: Option<&Path>) -> anyhow::Result<()> {
        let identifiers: Vec<(Identifier, bool)> = [
            self.email.as_deref().map(Identifier::email),
            self.phone
                .as_deref()
                .map(|number| Identifier::phone(number, None)),
            self.username.as_deref().map(Identifier::username),
        ]
        .into_iter()
        .flatten()
        .map(|parsed| parsed.map(|identifier| (identifier, true)).map_err(plain))
        .collect::<Result<_, _>>()?;
        if identifiers.is_empty() {
            bail!("expected --email, --phone or --username");
        }
        check_names("--role", &self.roles, MAX_ROLES)?;
        check_names("--permission", &self.permissions, MAX_PERMISSIONS)?;
        check_names("--customer-id", self.customer_id.as_slice(), 1)?;
        let password = self.password_stdin.then(read_password).transpose()?;
        let state = super::open(file).await?;
        let phc = match &password {
            Some(password) => {
                let person = Person {
                    email: self.email.as_deref(),
                    phone_number: self.phone.as_deref(),
                    username: self.username.as_deref(),
                    name: None,
                };
                strength::judge(&state, password, person)
                    .await
                    .map_err(plain)?;
                Some(state.hasher.hash(password).await?)
            }
            None => None,
        };
        let mut tx = state.db.write().await?;
        for (identifier, _) in &identifiers {
            let blind = identifier.blind(&state.vault)?;
            if accounts::holder(&mut tx, identifier.kind(), &blind)
                .await?
                .is_some()
            {
                bail!("an account has {} already", identifier.spelling());
            }
        }
        let account = NewAccount {
            identifiers: &identifiers,
            password: phc.as_deref(),
            roles: &self.roles,
            permissions: &self.permissions,
            customer_id: self.customer_id.as_deref(),
            kyc_level: self.kyc_level,
            ..NewAccount::default()
        };
        let id = accounts::create(&state, &mut tx, &account).await?;
        let granted = json!({
            "roles": self.roles,
            "permissions": self.permissions,
            "kyc_level": self.kyc_level,
        });
        let event = Event::new(Kind::Registration, Outcome::Success, Actor::Operator)
            .about(id)
            .changing(Change::new(Value::Null, granted));
        events::record(&state, &mut tx, &event).await?;
        tx.commit().await?;
        state.db.close().await;
        println!("{id}");
        Ok(())
    }
}

fn read_password() -> anyhow::Result<Secret> {
    let mut line = String::new();
    stdin()
        .lock()
        .read_line(&mut line)
        .context("standard input")?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The text meant for the one who typed.
fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::RequestInvalid(detail) => anyhow::anyhow!("{detail}"),
        other => other.into(),
    }
}

/// Roles of one account: they stand in every token, and each may have 64 characters.
const MAX_ROLES: usize = 16;

/// Permissions of one account: each stands in a token twice, as permission and as scope, so that
/// 32 of the longest make 4 KiB of the 6 KiB of claims that fit into the longest token.
const MAX_PERMISSIONS: usize = 32;

/// What tokens and headers carry as lists, separated by commas or spaces.
fn check_names(option: &str, names: &[String], most: usize) -> anyhow::Result<()> {
    if names.len() > most {
        bail!("{option}: expected at most {most}");
    }
    match names.iter().find(|name| !is_name(name)) {
        None => Ok(()),
        Some(name) => {
            bail!("{option} {name:?}: expected 1 to 64 letters, digits, '.', '_', ':' or '-'")
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}
