//! The judgement of every message before it leaves, and the count that it is part of from then on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyConnection;

use super::breaker;
use super::number::Number;
use super::store::{self, Sent, Share};
use crate::abuse::network::Network;
use crate::accounts::Identifier;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Mail, Mode, Sms};
use crate::db::Db;
use crate::error::Error;
use crate::notify::{Medium, Message, Sort};
use crate::vault::{Purpose, Vault};

/// Why a message does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The number is in a country that is not allowed.
    Country,
    /// The number is of a sort that is not allowed, or in no plan.
    NumberType,
    /// Too few codes come back.
    Conversion,
    /// The number has had its share.
    Number,
    /// The number and its neighbours have.
    Prefix,
    /// The network that asks has.
    Network,
    /// The hour's budget is spent.
    Hour,
    /// The day's budget is spent.
    Day,
}

impl Refusal {
    /// Whether the same message will be refused whenever it comes. What is used up is not, nor is
    /// a breaker open for ever.
    pub(crate) const fn is_final(self) -> bool {
        match self {
            Self::Country | Self::NumberType => true,
            Self::Conversion
            | Self::Number
            | Self::Prefix
            | Self::Network
            | Self::Hour
            | Self::Day => false,
        }
    }

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::NumberType => "number_type",
            Self::Conversion => "conversion",
            Self::Number => "number",
            Self::Prefix => "prefix",
            Self::Network => "network",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// Judges messages by the rules of `[sms]` and `[mail]`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    sms: Sms,
    mail: Mail,
    judges_sms: bool,
    judges_mail: bool,
    per_ip: bool,
    /// How long a code may take to come back.
    settle: Duration,
    db: Db,
    vault: Vault,
    clock: Clock,
}

impl Admission {
    /// The rules of `config`, with counts in `db`.
    pub fn new(config: &Config, db: &Db, vault: &Vault, clock: &Clock) -> Self {
        let mut sms = config.sms.clone();
        sms.countries.get_or_insert_with(|| match config.mode {
            Mode::Development => vec!["*".to_owned()],
            Mode::Production => Vec::new(),
        });
        Self(Arc::new(Rules {
            sms,
            mail: config.mail.clone(),
            judges_sms: config.sms.defended(&config.notify.sms),
            judges_mail: config.notify.email.is_provider(),
            per_ip: config.limits.per_ip,
            settle: Duration::from_secs(config.otp.ttl_seconds),
            db: db.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
        }))
    }

    /// Whether messages of this sort are judged; the others leave uncounted.
    pub fn judges(&self, medium: Medium) -> bool {
        match medium {
            Medium::Email => self.0.judges_mail,
            Medium::Sms => self.0.judges_sms,
        }
    }

    /// Judges messages in their order, each after those before it are counted, in one transaction
    /// that is committed when this returns.
    ///
    /// # Errors
    /// When the database fails: none of them may be sent.
    pub async fn judge(
        &self,
        messages: &[([u8; 16], &Message)],
    ) -> Result<Vec<Result<(), Refusal>>, Error> {
        let rules = &*self.0;
        let now = rules.clock.now();
        let mut tx = rules.db.write().await?;
        store::lock(&mut tx).await?;
        store::forget(&mut tx, now).await?;
        let mut verdicts = Vec::with_capacity(messages.len());
        for (id, message) in messages {
            verdicts.push(match message.channel {
                Medium::Sms => rules.judge_sms(&mut tx, *id, message, now).await?,
                Medium::Email => rules.judge_mail(&mut tx, *id, message, now).await?,
            });
        }
        // Also what follows from a refusal: a breaker that opened stays open.
        tx.commit().await?;
        Ok(verdicts)
    }

    /// Notes that an admitted message did not leave: it counts, because nobody knows what a
    /// provider that failed has sent, but that its code does not come back says nothing.
    pub async fn not_sent(&self, id: [u8; 16]) {
        let noted = async {
            let mut tx = self.0.db.write().await?;
            store::unmeasure(&mut tx, id).await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, "a message that failed counts as one whose code is lost");
        }
    }

    pub(super) fn sms(&self) -> &Sms {
        &self.0.sms
    }

    pub(super) fn settle(&self) -> Duration {
        self.0.settle
    }

    pub(super) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl Rules {
    async fn judge_sms(
        &self,
        connection: &mut AnyConnection,
        id: [u8; 16],
        message: &Message,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, Error> {
        let sms = &self.sms;
        let Some(number) = Number::parse(&message.to) else {
            return Ok(Err(Refusal::NumberType));
        };
        if !number.is_allowed_country(sms) {
            return Ok(Err(Refusal::Country));
        }
        if !sms.number_types.contains(&number.kind) {
            return Ok(Err(Refusal::NumberType));
        }
        let share = share(message);
        // A notice that could not be delivered comes again.
        if share != Share::Asked && store::is_counted(connection, id).await? {
            return Ok(Ok(()));
        }
        let measured = message.sort.is_code();
        if measured {
            let (rules, region) = (&sms.conversion, &number.region);
            if !breaker::allows(connection, rules, self.settle, region, now).await? {
                return Ok(Err(Refusal::Conversion));
            }
        }
        let Ok(identifier) = Identifier::phone(&message.to, None) else {
            return Ok(Err(Refusal::NumberType));
        };
        let sent = Sent {
            id,
            channel: Medium::Sms,
            share,
            network: self.network(message.asked_by)?,
            recipient: Some(identifier.blind(&self.vault)?),
            prefix: Some(self.hash(b"prefix", number.prefix.as_bytes())?),
            region: Some(&number.region),
            price: number.price(sms),
            measured,
        };
        let counts = store::counts(connection, &sent, now).await?;
        let over = |count: i64, limit: u32| count >= i64::from(limit);
        let overspent = |spent: i64, budget: u64| {
            spent.saturating_add(sent.price) > i64::try_from(budget).unwrap_or(i64::MAX)
        };
        let refusal = if over(counts.number_hour, sms.per_number_per_hour)
            || over(counts.number_day, sms.per_number_per_day)
        {
            Some(Refusal::Number)
        } else if over(counts.prefix_hour, sms.per_prefix_per_hour) {
            Some(Refusal::Prefix)
        } else if sent.network.is_some() && over(counts.network_hour, sms.per_network_per_hour) {
            Some(Refusal::Network)
        } else if share == Share::Undo {
            // The caps of its number bound it; the budgets are what others spend.
            None
        } else if overspent(counts.spent_hour, sms.per_hour) {
            Some(Refusal::Hour)
        } else if overspent(counts.spent_day, sms.per_day) {
            Some(Refusal::Day)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Ok(Err(refusal));
        }
        store::add(connection, sent, now).await?;
        Ok(Ok(()))
    }

    async fn judge_mail(
        &self,
        connection: &mut AnyConnection,
        id: [u8; 16],
        message: &Message,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, Error> {
        // Nobody may keep a notice from its reader by using the budget up.
        if !message.is_solicited() {
            return Ok(Ok(()));
        }
        let network = self.network(message.asked_by)?;
        let (everybody, from_network) = store::mails(connection, network, now).await?;
        if network.is_some() && from_network >= i64::from(self.mail.per_network_per_hour) {
            return Ok(Err(Refusal::Network));
        }
        if everybody >= i64::try_from(self.mail.per_hour).unwrap_or(i64::MAX) {
            return Ok(Err(Refusal::Hour));
        }
        let sent = Sent {
            id,
            channel: Medium::Email,
            share: Share::Asked,
            network,
            recipient: None,
            prefix: None,
            region: None,
            price: 0,
            measured: false,
        };
        store::add(connection, sent, now).await?;
        Ok(Ok(()))
    }

    /// The network of an address, where networks are counted.
    fn network(&self, address: Option<IpAddr>) -> Result<Option<[u8; 32]>, Error> {
        match address {
            Some(address) if self.per_ip => {
                let network = Network::from(address).bytes();
                self.hash(b"network", &network).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn hash(&self, what: &[u8], value: &[u8]) -> Result<[u8; 32], Error> {
        Ok(self.vault.mac(Purpose::Abuse, &[what, value])?)
    }
}

/// With which others a message is counted.
fn share(message: &Message) -> Share {
    match message.sort {
        Sort::Undo => Share::Undo,
        Sort::Warned => Share::Warned,
        Sort::TrustedCode => Share::Trusted,
        Sort::SecondFactorCode => Share::SecondFactor,
        Sort::TrustedSecondFactorCode => Share::TrustedSecondFactor,
        Sort::ReauthenticationCode => Share::Reauthentication,
        _ if message.is_solicited() => Share::Asked,
        _ => Share::Told,
    }
}
