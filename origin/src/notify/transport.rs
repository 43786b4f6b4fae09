//! The ways a message can leave, as one enum.

use std::path::Path;

use super::client::Failure;
use super::mailer::MessageId;
use super::{Message, file::Outbox, http::Hook, smtp::Server, sns, twilio};
use crate::clock::Timestamp;
use crate::config::Channel;

pub(super) enum Transport {
    File(Outbox),
    Off,
    Smtp(Box<Server>),
    Http(Hook),
    Twilio(twilio::Account),
    Sns(sns::Publisher),
}

/// One attempt to send a message.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// The same for every attempt.
    pub(super) id: MessageId,
    pub(super) message: &'a Message,
    pub(super) now: Timestamp,
}

impl Transport {
    pub(super) fn new(channel: &Channel, data_dir: &Path) -> Result<Self, String> {
        Ok(match channel {
            Channel::File => Self::File(Outbox::new(data_dir)),
            Channel::Off | Channel::Memory => Self::Off,
            Channel::Smtp(smtp) => Self::Smtp(Box::new(Server::new(smtp)?)),
            Channel::Http(hook) => Self::Http(Hook::new(hook)?),
            Channel::Twilio(settings) => Self::Twilio(twilio::Account::new(settings)?),
            Channel::Sns(settings) => Self::Sns(sns::Publisher::new(settings)?),
        })
    }

    /// Sends a message; the failure is for the log and names neither recipient nor text.
    pub(super) async fn send(&self, attempt: Attempt<'_>) -> Result<(), Failure> {
        match self {
            Self::File(outbox) => outbox.append(attempt.message).await,
            Self::Off => Ok(()),
            Self::Smtp(server) => server.send(attempt.message).await,
            Self::Http(hook) => hook.send(attempt).await,
            Self::Twilio(account) => account.send(attempt).await,
            Self::Sns(publisher) => publisher.send(attempt).await,
        }
    }
}
