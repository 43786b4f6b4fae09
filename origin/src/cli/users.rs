//! `edgekeep users`: making accounts, and looking after them.

use std::io::{BufRead as _, stdin};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sqlx::AnyConnection;

use super::plain;
use crate::access::{self, names};
use crate::accounts::status::{self, By};
use crate::accounts::{self, Identifier, NewAccount, User};
use crate::app::State;
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
    #[command(flatten)]
    On(OnAccounts),
}

/// What is done with accounts that are there.
#[derive(Debug, Subcommand)]
pub(super) enum OnAccounts {
    /// Show accounts in the order of their ids: id, status, roles.
    List {
        /// Accounts behind this id.
        #[arg(long, value_name = "ID")]
        after: Option<UserId>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show an account as JSON.
    Show(Whose),
    /// Give an account roles and permissions beside those that it has.
    Grant {
        #[command(flatten)]
        whose: Whose,
        /// A role; may be repeated.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// A permission of the account's own; may be repeated.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Take a role from an account, the last administrator's too.
    RevokeRole {
        #[command(flatten)]
        whose: Whose,
        /// The role.
        #[arg(value_name = "ROLE")]
        role: String,
    },
    /// Close an account: its sessions end, and nobody logs in to it until it is enabled.
    Disable {
        #[command(flatten)]
        whose: Whose,
        /// Why; kept for administrators.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Open an account that was closed.
    Enable(Whose),
    /// Remove every second factor of somebody who has lost them, and end their sessions.
    RemoveFactors(Whose),
    /// Erase an account at once, with everything about the person.
    Delete {
        #[command(flatten)]
        whose: Whose,
        /// There is no way back: say that it is meant.
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// An account, by its id or by what its owner logs in with.
#[derive(Debug, Args)]
pub(super) struct Whose {
    /// The account's id, or an address, a number or a user name that it has.
    #[arg(value_name = "ACCOUNT")]
    account: String,
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
    let on_accounts = match action {
        Action::Create(create) => return create.run(file).await,
        Action::On(action) => action,
    };
    let state = super::open(file).await?;
    let done = on_accounts.run(&state).await;
    state.db.close().await;
    done
}

/// How long the message to the owner may take.
const SENDING: Duration = Duration::from_secs(30);

impl OnAccounts {
    #[expect(clippy::print_stdout, reason = "the command's result")]
    async fn run(self, state: &State) -> anyhow::Result<()> {
        match self {
            Self::List { after, limit } => {
                let mut reader = state.db.read().await?;
                for user in access::page(state, &mut reader, after, limit.into()).await? {
                    let (status, roles) = (user.status.as_str(), user.roles.join(","));
                    println!("{}  {status:<11}  {roles}", user.id);
                }
            }
            Self::Show(whose) => {
                let mut reader = state.db.read().await?;
                let id = whose.find(state, &mut reader).await?;
                let account = access::account(state, &mut reader, id).await?;
                let account = account.context("there is no such account")?;
                println!("{}", serde_json::to_string_pretty(&account)?);
            }
            Self::Grant {
                whose,
                roles,
                permissions,
            } => {
                if roles.is_empty() && permissions.is_empty() {
                    bail!("expected --role or --permission");
                }
                let mut tx = state.db.write().await?;
                let user = whose.load(state, &mut tx).await?;
                let roles = [user.roles, roles].concat();
                let permissions = [user.own_permissions, permissions].concat();
                access::set_roles(state, &mut tx, By::OPERATOR, user.id, &roles)
                    .await
                    .map_err(plain)?;
                access::set_permissions(state, &mut tx, By::OPERATOR, user.id, &permissions)
                    .await
                    .map_err(plain)?;
                tx.commit().await?;
                println!("{} has them", user.id);
            }
            Self::RevokeRole { whose, role } => {
                let mut tx = state.db.write().await?;
                let user = whose.load(state, &mut tx).await?;
                let left: Vec<String> =
                    user.roles.iter().filter(|&r| *r != role).cloned().collect();
                if left.len() == user.roles.len() {
                    bail!("the account does not have the role {role:?}");
                }
                access::set_roles(state, &mut tx, By::OPERATOR, user.id, &left)
                    .await
                    .map_err(plain)?;
                tx.commit().await?;
                println!("{} does not have it any more", user.id);
            }
            Self::Disable { whose, reason } => {
                let mut tx = state.db.write().await?;
                let id = whose.find(state, &mut tx).await?;
                status::disable(state, &mut tx, By::OPERATOR, id, reason.as_deref())
                    .await
                    .map_err(plain)?;
                tx.commit().await?;
                println!("{id} is disabled");
            }
            Self::Enable(whose) => {
                let mut tx = state.db.write().await?;
                let id = whose.find(state, &mut tx).await?;
                status::enable(state, &mut tx, By::OPERATOR, id)
                    .await
                    .map_err(plain)?;
                tx.commit().await?;
                println!("{id} is enabled");
            }
            Self::RemoveFactors(whose) => {
                let mut reader = state.db.read().await?;
                let id = whose.find(state, &mut reader).await?;
                drop(reader);
                let outcome = login::reset_factors(state, id).await;
                state.mailer.drain(SENDING).await;
                match outcome {
                    Err(Error::NotFound) => {
                        bail!("no account has the id {id}, or it has no second factor")
                    }
                    outcome => outcome?,
                }
                println!("{id} has no second factor any more");
            }
            Self::Delete { whose, yes: _ } => {
                let mut tx = state.db.write().await?;
                let id = whose.find(state, &mut tx).await?;
                accounts::erase(state, &mut tx, By::OPERATOR, id)
                    .await
                    .map_err(plain)?;
                tx.commit().await?;
                println!("{id} is erased");
            }
        }
        Ok(())
    }
}

impl Whose {
    async fn find(&self, state: &State, connection: &mut AnyConnection) -> anyhow::Result<UserId> {
        if let Ok(id) = self.account.parse() {
            return Ok(id);
        }
        let identifier = Identifier::typed(&self.account).map_err(plain)?;
        let blind = identifier.blind(&state.vault)?;
        let holder = accounts::holder(connection, identifier.kind(), &blind).await?;
        Ok(holder.context("nobody has that identifier")?.user_id)
    }

    async fn load(&self, state: &State, connection: &mut AnyConnection) -> anyhow::Result<User> {
        let id = self.find(state, connection).await?;
        let user = accounts::load(state, connection, id).await?;
        user.context("there is no such account")
    }
}

impl Create {
    /// Looks at what was given before anything is opened.
    async fn run(self, file: Option<&Path>) -> anyhow::Result<()> {
        self.identifiers()?;
        let checked = |option, names: &[String], most| {
            names::checked(option, names, most).map_err(|text| anyhow::anyhow!("{text}"))
        };
        let create = Self {
            roles: checked("--role", &self.roles, names::MAX_ROLES)?,
            permissions: checked("--permission", &self.permissions, names::MAX_PERMISSIONS)?,
            ..self
        };
        checked("--customer-id", create.customer_id.as_slice(), 1)?;
        let password = create.password_stdin.then(read_password).transpose()?;
        let state = super::open(file).await?;
        let done = create.make(&state, password.as_ref()).await;
        state.db.close().await;
        done
    }

    fn identifiers(&self) -> anyhow::Result<Vec<(Identifier, bool)>> {
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
        Ok(identifiers)
    }

    #[expect(clippy::print_stdout, reason = "the command's result")]
    async fn make(&self, state: &State, password: Option<&Secret>) -> anyhow::Result<()> {
        let identifiers = self.identifiers()?;
        let phc = match password {
            Some(password) => {
                let person = Person {
                    email: self.email.as_deref(),
                    phone_number: self.phone.as_deref(),
                    username: self.username.as_deref(),
                    name: None,
                };
                strength::judge(state, password, person)
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
        let id = accounts::create(state, &mut tx, &account).await?;
        let granted = json!({
            "roles": self.roles,
            "permissions": self.permissions,
            "kyc_level": self.kyc_level,
        });
        let event = Event::new(Kind::Registration, Outcome::Success, Actor::Operator)
            .about(id)
            .changing(Change::new(Value::Null, granted));
        events::record(state, &mut tx, &event).await?;
        tx.commit().await?;
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
