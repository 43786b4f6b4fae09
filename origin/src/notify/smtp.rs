//! Mail through a server (RFC 5321), by lettre.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::Message;
use super::client::Failure;
use crate::config::{Smtp, SmtpTls};

/// For a connection, and for each command: a server that takes longer is tried again.
const TIMEOUT: Duration = Duration::from_secs(15);

/// 5xx that refuse whoever sends and not the mail: a server that takes none (RFC 7504 §3), and what
/// authentication is refused with (RFC 4954 §6).
const OURS: [&str; 5] = ["521", "530", "534", "535", "538"];

type Client = AsyncSmtpTransport<Tokio1Executor>;

pub(super) struct Server {
    client: Client,
    from: Mailbox,
}

impl Server {
    pub(super) fn new(smtp: &Smtp) -> Result<Self, String> {
        let builder = match smtp.tls {
            SmtpTls::Starttls => Client::starttls_relay(&smtp.host),
            SmtpTls::Implicit => Client::relay(&smtp.host),
            SmtpTls::None => Ok(Client::builder_dangerous(&smtp.host)),
        };
        let mut builder = builder
            .map_err(|error| format!("notify.email: {error}"))?
            .timeout(Some(TIMEOUT));
        if let Some(port) = smtp.port {
            builder = builder.port(port);
        }
        if let (Some(username), Some(password)) = (&smtp.username, &smtp.password) {
            builder = builder.credentials(Credentials::new(
                username.clone(),
                password.expose().to_owned(),
            ));
        }
        let from = smtp
            .from
            .parse()
            .map_err(|error| format!("notify.email.from: {error}"))?;
        Ok(Self {
            client: builder.build(),
            from,
        })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), Failure> {
        let address = message
            .to
            .parse()
            .map_err(|_| Failure::fatal("address not usable"))?;
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(message.subject.unwrap_or_default())
            .body(message.text.clone())
            .map_err(|_| Failure::fatal("mail not buildable"))?;
        // The error may quote the recipient: only its kind is kept.
        self.client.send(mail).await.map(drop).map_err(|error| {
            let status = error.status().map(|code| code.to_string());
            let status = status.as_deref().unwrap_or("none");
            let cause = format!("smtp failed, status {status}");
            // 5xx (RFC 5321 §4.2.1): the same mail will be refused again. Without a status the
            // server was not reached, or something broke off; or it does not offer what is asked
            // of it, TLS above all, which says nothing about the mail.
            if error.is_client() || OURS.contains(&status) {
                Failure::misconfigured(cause)
            } else if error.is_permanent() {
                Failure::fatal(cause)
            } else {
                Failure::transient(cause)
            }
        })
    }
}
