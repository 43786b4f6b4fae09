//! `edgekeep serve`

use crate::app::{self, State};
use crate::clock::Clock;
use crate::config::Config;
use crate::random::Random;

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    super::log::set_up(&config.log)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let state = State::open(config, Clock::System, Random::Os).await?;
    Ok(app::serve(state).await?)
}
