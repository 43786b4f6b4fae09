//! `edgekeep sms`: what SMS cost, and the breaker on codes that do not come back.

use std::path::Path;

use clap::Subcommand;

use crate::abuse::sends::{self, BreakerState, BreakerStatus};
use crate::tokens::keyring::rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Show what was spent, and for each country how many codes came back.
    Status,
    /// Close the breaker: codes are sent again at once.
    Reset {
        /// The country (ISO 3166, for instance CH), or `*` for that of all of them; left out: every
        /// breaker.
        #[arg(value_name = "COUNTRY")]
        scope: Option<String>,
    },
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(action: Action, file: Option<&Path>) -> anyhow::Result<()> {
    let state = super::open(file).await?;
    match action {
        Action::Status => {
            let sms = &state.config.sms;
            let status = sends::status(&state.admission).await?;
            println!("hour  {} of {} spent", status.spent_hour, sms.per_hour);
            println!("day   {} of {} spent", status.spent_day, sms.per_day);
            for breaker in &status.breakers {
                println!("{}", line(breaker));
            }
        }
        Action::Reset { scope } => {
            if let Some(scope) = &scope {
                let known = scope == "*"
                    || (scope.len() == 2 && scope.bytes().all(|b| b.is_ascii_uppercase()));
                anyhow::ensure!(known, "expected a country such as CH, or *; found {scope}");
            }
            let mut tx = state.db.write().await?;
            sends::reset(&mut tx, scope.as_deref(), state.clock.now()).await?;
            tx.commit().await?;
            println!(
                "codes are sent again to {}",
                scope.as_deref().unwrap_or("every country")
            );
        }
    }
    state.db.close().await;
    Ok(())
}

fn line(breaker: &BreakerStatus) -> String {
    let state = match breaker.state {
        BreakerState::Closed => "closed".to_owned(),
        BreakerState::Trial => "trial".to_owned(),
        BreakerState::Open(until) => format!("open until {}", rfc3339(until)),
    };
    format!(
        "{:<4}  {} of the latest {} codes came back  {state}",
        breaker.scope.to_string(),
        breaker.answered,
        breaker.sent
    )
}
