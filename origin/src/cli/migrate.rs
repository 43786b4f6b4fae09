//! `edgekeep migrate`

use crate::config::Config;
use crate::db::Db;

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    super::log::set_up(&config.log)?;
    std::fs::create_dir_all(config.data_dir.as_path())?;
    let db = Db::open(&config).await?;
    db.migrate().await?;
    db.close().await;
    tracing::info!("the schema is up to date");
    Ok(())
}
