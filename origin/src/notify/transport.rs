//! The ways a message can leave, as one enum.

use std::path::Path;

use super::{Message, file::Outbox, http::Hook, smtp::Server};
use crate::config::Channel;

pub(super) enum Transport {
    File(Outbox),
    Off,
    Smtp(Box<Server>),
    Http(Hook),
}

impl Transport {
    pub(super) fn new(channel: &Channel, data_dir: &Path) -> Result<Self, String> {
        Ok(match channel {
            Channel::File => Self::File(Outbox::new(data_dir)),
            Channel::Off | Channel::Memory => Self::Off,
            Channel::Smtp(smtp) => Self::Smtp(Box::new(Server::new(smtp)?)),
            Channel::Http(hook) => Self::Http(Hook::new(hook)?),
        })
    }

    /// Sends `message`; the error is for the log and names neither recipient nor text.
    pub(super) async fn send(&self, message: &Message) -> Result<(), String> {
        match self {
            Self::File(outbox) => outbox.append(message).await,
            Self::Off => Ok(()),
            Self::Smtp(server) => server.send(message).await,
            Self::Http(hook) => hook.send(message).await,
        }
    }
}
