//! `edgekeep keys`: the signing keys and the control key of the instance in the data folder.

use std::path::Path;

use clap::Subcommand;

use crate::events::Actor;
use crate::revocation::control_key;
use crate::tokens::keyring::{Key, KeyState, rfc3339};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Show every signing key, oldest first.
    List,
    /// Let the standby sign and publish the next standby; a running server follows within a second.
    ///
    /// Fails, and names the earliest time, while a verifier may hold a JWK Set without the standby.
    Rotate,
    /// Turn away a key and everything it signed, for ever; the standby takes its place at once.
    Revoke {
        /// The key's `kid`.
        #[arg(value_name = "KID")]
        kid: String,
    },
    /// Print the control keys' public halves as a JSON array of JWKs, for the gates to pin
    /// (`CONTROL_KEYS`); change the key in three steps: `prepare`, pin both, `activate`.
    Control {
        #[command(subcommand)]
        action: Option<ControlAction>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ControlAction {
    /// Make a second control key that does not sign yet, and print both for the gates to pin.
    Prepare,
    /// Let the second one sign and erase the first; a running server follows within a second.
    ///
    /// A gate that does not pin it by then believes no list any more, and refuses once the one it
    /// has is too old.
    Activate {
        /// The `kid` of the key that waits, as `prepare` printed it.
        #[arg(value_name = "KID")]
        kid: String,
        /// Also within five minutes of `prepare`: the old key has leaked, or every gate is known to
        /// pin the new one.
        #[arg(long)]
        now: bool,
    },
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(action: Action, file: Option<&Path>) -> anyhow::Result<()> {
    let state = super::open(file).await?;
    match action {
        Action::List => {
            for key in state.keyring.ring().keys() {
                println!("{}", line(key));
            }
        }
        Action::Rotate => {
            state.keyring.rotate(Actor::Operator).await?;
            println!("{} signs from now on", state.keyring.ring().active()?.0);
        }
        Action::Revoke { kid } => {
            state.keyring.revoke(&kid, Actor::Operator).await?;
            println!(
                "{kid} is revoked; {} signs, within a second",
                state.keyring.ring().active()?.0
            );
            // No server need be running that would make the next standby.
            state.keyring.complete().await?;
        }
        Action::Control { action: None } => println!("{}", control_key::to_pin(&state).await?),
        Action::Control {
            action: Some(ControlAction::Prepare),
        } => {
            let kid = control_key::prepare(&state).await?;
            tracing::info!("once every gate pins both, run `edgekeep keys control activate {kid}`");
            println!("{}", control_key::to_pin(&state).await?);
        }
        Action::Control {
            action: Some(ControlAction::Activate { kid, now }),
        } => {
            control_key::activate(&state, &kid, now).await?;
            println!("{kid} signs what the gates are told; they need to pin no other");
        }
    }
    state.db.close().await;
    Ok(())
}

fn line(key: &Key) -> String {
    let note = match key.state {
        KeyState::Pending => format!("may sign from {}", rfc3339(key.activate_not_before)),
        KeyState::Active => key
            .activated_at
            .map(|at| format!("signs since {}", rfc3339(at)))
            .unwrap_or_default(),
        KeyState::Retiring => key
            .retire_after
            .map(|at| format!("published until {}", rfc3339(at)))
            .unwrap_or_default(),
        KeyState::Retired | KeyState::Revoked => {
            format!("created {}", rfc3339(key.created_at))
        }
    };
    let (state, algorithm) = (key.state.name(), key.algorithm);
    format!("{}  {state:<8}  {algorithm}  {note}", key.kid)
        .trim_end()
        .to_owned()
}
