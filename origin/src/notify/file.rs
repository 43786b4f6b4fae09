//! The development outbox: one JSON line for each message.

use std::path::{Path, PathBuf};

use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;

use super::Message;
use super::client::Failure;

/// Where the outbox is.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("outbox.jsonl")
}

pub(super) struct Outbox(PathBuf);

impl Outbox {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(path(data_dir))
    }

    pub(super) async fn append(&self, message: &Message) -> Result<(), Failure> {
        let mut line =
            serde_json::to_vec(message).map_err(|error| Failure::fatal(error.to_string()))?;
        line.push(b'\n');
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        options.mode(0o600);
        // One write of a whole line in append mode: lines of concurrent messages do not mix.
        let written = async {
            let mut file = options.open(&self.0).await?;
            file.write_all(&line).await?;
            file.flush().await
        };
        written
            .await
            .map_err(|error| Failure::transient(error.to_string()))
    }
}
