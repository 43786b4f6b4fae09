//! What is known of the trusted issuers, and the verdicts that it leads to.

use edgekeep_shared::{
    base64url,
    control::{ControlKeys, MAX_DOCUMENT_BYTES},
    error::Rejection,
    gate::{
        self, Knowledge, Need, Obstacle, Progress, RevocationSources,
        cache::VerifiedTokens,
        keys::{Freshness, HeldKeys},
        list::{DEADLINE, FRESH, HeldList, KEPT},
        refresh::{Attempt, Millis},
    },
    headers,
    json::{self, Value},
    jwk::{JwkSet, MAX_SET_BYTES},
    policy::Revocation,
    revocation::{DELTA_MEDIA_TYPE, RevocationDelta, RevocationList, feed_query},
    token::MAX_TOKEN_BYTES,
    verifier::Verifier,
};
use serde::Serialize;

use crate::{
    answer::{Answer, SourceNumber, Verdict},
    options::{KeySource, ListSource, MAX_ISSUERS, Options, OptionsError},
};

/// Verified tokens per issuer and generation: with claims of 1 KiB two generations take 2 MiB, at most 4.
const CACHED_TOKENS: usize = 1_024;

/// What an attempt has beyond the deadline of its fetch, to be told of.
const SLACK: Millis = 200;

/// What is asked for: of each issuer two sources, numbered in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Keys,
    List,
}

impl Part {
    const fn source(self, issuer: usize) -> SourceNumber {
        2 * issuer + self as usize
    }

    const fn of(source: SourceNumber) -> (usize, Self) {
        let part = if source.is_multiple_of(2) {
            Self::Keys
        } else {
            Self::List
        };
        (source / 2, part)
    }
}

/// The sources that were asked for a token already, a bit each: a list would be one more step over
/// to JavaScript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited(pub u32);

// Two sources of each issuer must have their bit.
const _: () = assert!(2 * MAX_ISSUERS <= 32);

impl Waited {
    const fn has(self, source: SourceNumber) -> bool {
        self.0 >> source & 1 == 1
    }
}

/// A source as JavaScript asks it. Times are in milliseconds.
#[derive(Debug, Serialize)]
pub struct Source<'s> {
    /// Where it is; `None` is nowhere, and it is never asked.
    url: Option<&'s str>,
    /// Whether `If-None-Match` is worth sending.
    conditional: bool,
    /// The media type of what is to be [followed](Judge::follow), not offered.
    delta: &'static str,
    /// Bytes of an answer that are read at most.
    limit: usize,
    /// How long one fetch may take.
    deadline: Millis,
    /// How long a check of the list is good for.
    fresh: Millis,
    /// How long the list is kept checked after it was last used.
    kept: Millis,
}

/// One trusted issuer, and what is known of it.
#[derive(Debug)]
struct Issuer {
    verifier: Verifier,
    sources: RevocationSources,
    revocation: Revocation,
    key_source: KeySource,
    list_source: Option<ListSource>,
    keys: HeldKeys,
    list: HeldList,
    verified: VerifiedTokens,
}

impl Issuer {
    fn new(options: Options) -> Self {
        Self {
            sources: options.sources(),
            verifier: options.verifier,
            revocation: options.revocation,
            key_source: options.keys,
            list_source: options.list,
            keys: HeldKeys::default(),
            list: HeldList::default(),
            verified: VerifiedTokens::new(CACHED_TOKENS),
        }
    }

    /// Keys that were handed over are current whenever somebody looks.
    fn hold_given_keys(&mut self, now: Millis) {
        if let KeySource::Given(set) = &self.key_source
            && self.keys.is_due(now)
        {
            self.keys.offer(set.clone(), now, None);
        }
    }

    const fn url(&self, part: Part) -> Option<&str> {
        match (part, &self.key_source, &self.list_source) {
            (Part::Keys, KeySource::Url(url), _)
            | (Part::List, _, Some(ListSource { url, .. })) => Some(url.as_str()),
            _ => None,
        }
    }

    fn judge(
        &mut self,
        text: &str,
        mut progress: Progress,
        now: Millis,
    ) -> Result<gate::Admission, Obstacle<'static>> {
        // Where there is nowhere to ask, asking is done.
        progress.waited_for_keys |= self.url(Part::Keys).is_none();
        let mut knowledge = Knowledge {
            verifier: &self.verifier,
            keys: &self.keys,
            foreign: &[],
            list: &self.list,
            sources: self.sources,
            verified: &mut self.verified,
        };
        gate::judge(text, self.revocation, &mut knowledge, &mut progress, now)
    }
}

/// What is wrong with a document that a source gave.
pub type Problem = String;

/// Judges the tokens of some issuers.
#[derive(Debug)]
pub struct Judge {
    issuers: Vec<Issuer>,
}

impl Judge {
    /// A judge for the issuers of [`Options::read`]; it knows nothing of them yet.
    ///
    /// # Errors
    ///
    /// [`OptionsError`]
    pub fn new(options: &str) -> Result<Self, OptionsError> {
        let issuers = Options::read(options)?;
        Ok(Self {
            issuers: issuers.into_iter().map(Issuer::new).collect(),
        })
    }

    /// What can be asked, in the order of the numbers by which it is spoken of.
    pub fn sources(&self) -> Vec<Source<'_>> {
        let parts = [Part::Keys, Part::List];
        self.issuers
            .iter()
            .flat_map(|issuer| parts.map(|part| (issuer, part)))
            .map(|(issuer, part)| Source {
                url: issuer.url(part),
                conditional: part == Part::List,
                delta: DELTA_MEDIA_TYPE,
                limit: match part {
                    Part::Keys => MAX_SET_BYTES,
                    Part::List => MAX_DOCUMENT_BYTES,
                },
                deadline: DEADLINE,
                fresh: FRESH,
                kept: KEPT,
            })
            .collect()
    }

    /// Judges `token`; `waited` are the sources that were asked for it already.
    pub fn judge(&mut self, token: &str, waited: Waited, now: Millis) -> Answer {
        // A token of nobody is judged by the first issuer, which will find whose it is not.
        let index = self.issuer_of(token).unwrap_or(0);
        let Some(issuer) = self.issuers.get_mut(index) else {
            return reject(Rejection::IssuerMismatch, None).into();
        };
        issuer.hold_given_keys(now);
        let (keys, list) = (Part::Keys.source(index), Part::List.source(index));
        let mut due = Vec::new();
        // Without keys that count, whoever needs them waits for them.
        if issuer.url(Part::Keys).is_some()
            && issuer.keys.usable(now).is_some()
            && issuer.keys.is_due(now)
        {
            due.push(keys);
        }
        let progress = Progress {
            waited_for_keys: waited.has(keys),
            waited_for_list: waited.has(list),
            ..Progress::default()
        };
        let (used, verdict) = match issuer.judge(token, progress, now) {
            Ok(admission) => {
                if admission.list.check {
                    due.push(list);
                }
                let used = admission.list.used.then_some(list);
                let token = admission.token;
                (used, Verdict::Accept { token })
            }
            // Each issuer here is the own one of its knowledge: it has none beside it.
            Err(Obstacle::Wait(Need::Keys | Need::ForeignKeys(_))) => {
                (None, Verdict::Wait { wait: keys })
            }
            // Signatures are verified here, and nobody is asked about a token: neither is needed.
            Err(Obstacle::Wait(Need::List | Need::Introspection | Need::Signature(_))) => {
                (None, Verdict::Wait { wait: list })
            }
            Err(Obstacle::Refuse(refusal)) => {
                let source = match refusal.rejection {
                    Rejection::KeyUnknown | Rejection::KeysUnavailable => Some(keys),
                    Rejection::RevocationUnavailable => Some(list),
                    _ => None,
                };
                (None, reject(refusal.rejection, source))
            }
        };
        Answer { due, used, verdict }
    }

    /// Judges the token of an `Authorization` header; see [`judge`](Self::judge).
    pub fn judge_header(&mut self, authorization: &str, waited: Waited, now: Millis) -> Answer {
        match headers::bearer_token([authorization]) {
            Ok(token) => self.judge(token, waited, now),
            Err(rejection) => reject(rejection, None).into(),
        }
    }

    /// Whose the token says it is, where there is a choice; to look the issuer up with, and for
    /// nothing else: its own verifier compares `iss` after the signature.
    fn issuer_of(&self, token: &str) -> Option<usize> {
        if self.issuers.len() == 1 || token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let payload = base64url::decode(token.split('.').nth(1)?.as_bytes()).ok()?;
        let payload = json::parse_object(&payload).ok()?;
        let name = payload.member("iss").and_then(Value::as_str)?;
        self.issuers
            .iter()
            .position(|issuer| issuer.verifier.issuer() == name)
    }

    /// Begins to ask `source`, and gives the milliseconds that there are for it; `None` while
    /// somebody is asking, too soon after the last time, or where there is nowhere to ask. Whoever
    /// begins must end the [`Attempt`] of `now`: with [`offer`](Self::offer), [`follow`](Self::follow),
    /// [`confirm`](Self::confirm) or [`give_up`](Self::give_up).
    pub fn begin(&mut self, source: SourceNumber, now: Millis) -> Option<Millis> {
        let (issuer, part) = self.source(source)?;
        issuer.url(part)?;
        let limit = match part {
            Part::Keys => DEADLINE + SLACK,
            // Where a delta leads nowhere, the list is asked for, too.
            Part::List => 2 * DEADLINE + SLACK,
        };
        let begun = match part {
            Part::Keys => issuer.keys.begin(now, now + limit),
            Part::List => issuer.list.begin(now, now + limit),
        };
        begun.map(|_| limit)
    }

    /// The query of whoever holds what is held of `source`, which then may give a delta.
    pub fn held(&mut self, source: SourceNumber) -> Option<String> {
        let (issuer, part) = self.source(source)?;
        let (sequence, key) = issuer.list.held().filter(|_| part == Part::List)?;
        Some(feed_query(sequence, &key))
    }

    /// Ends an attempt with a delta, if it leads on from the held list; if not, the list is to be asked
    /// for.
    ///
    /// # Errors
    ///
    /// What is wrong with the delta.
    pub fn follow(
        &mut self,
        source: SourceNumber,
        attempt: Attempt,
        body: &[u8],
        now: Millis,
    ) -> Result<(), Problem> {
        let Some((issuer, Part::List)) = self.source(source) else {
            return Err("there is no list".to_owned());
        };
        issuer.follow(body, now)?;
        issuer.finish(Part::List, attempt, now, true);
        Ok(())
    }

    /// Ends an attempt with what `source` gave: a JWK Set, with what the answer says of its age, or a
    /// signed list. What is not better than what is held does not replace it.
    ///
    /// # Errors
    ///
    /// What is wrong with the document.
    pub fn offer(
        &mut self,
        source: SourceNumber,
        attempt: Attempt,
        body: &[u8],
        freshness: Freshness,
        now: Millis,
    ) -> Result<(), Problem> {
        let Some((issuer, part)) = self.source(source) else {
            return Ok(());
        };
        let taken = match part {
            Part::Keys => issuer.offer_keys(body, freshness, now),
            Part::List => issuer.offer_list(body, now),
        };
        issuer.finish(part, attempt, now, taken.is_ok());
        taken
    }

    /// Ends an attempt with the source's word that the list which was taken from it is the newest.
    pub fn confirm(&mut self, source: SourceNumber, attempt: Attempt, now: Millis) {
        if let Some((issuer, part)) = self.source(source) {
            let held = part == Part::List && issuer.list.list().is_some();
            issuer.finish(part, attempt, now, held);
        }
    }

    /// Ends an attempt without anything.
    pub fn give_up(&mut self, source: SourceNumber, attempt: Attempt, now: Millis) {
        if let Some((issuer, part)) = self.source(source) {
            issuer.finish(part, attempt, now, false);
        }
    }

    fn source(&mut self, source: SourceNumber) -> Option<(&mut Issuer, Part)> {
        let (issuer, part) = Part::of(source);
        Some((self.issuers.get_mut(issuer)?, part))
    }
}

impl Issuer {
    fn offer_keys(
        &mut self,
        body: &[u8],
        freshness: Freshness,
        now: Millis,
    ) -> Result<(), Problem> {
        let set = JwkSet::parse(body).map_err(|error| error.to_string())?;
        if set.is_empty() {
            return Err("the JWK Set has no key that can be used".to_owned());
        }
        let offered = self.keys.offer_answer(set, freshness, now);
        if offered.map_err(|_| "older than the JWK Set that is held, or than a day".to_owned())? {
            self.verified.clear();
        }
        Ok(())
    }

    fn control_keys(&self) -> Result<&ControlKeys, Problem> {
        match &self.list_source {
            Some(source) => Ok(&source.control_keys),
            None => Err("there is no control key".to_owned()),
        }
    }

    fn follow(&mut self, body: &[u8], now: Millis) -> Result<(), Problem> {
        let delta = RevocationDelta::open(body, self.control_keys()?, self.verifier.issuer())
            .map_err(|error| error.to_string())?;
        self.list
            .follow(&delta, now)
            .map_err(|error| error.to_string())
    }

    fn offer_list(&mut self, body: &[u8], now: Millis) -> Result<(), Problem> {
        let list = RevocationList::open(body, self.control_keys()?, self.verifier.issuer())
            .map_err(|error| error.to_string())?;
        self.list.offer(list, now).map_err(|reason| match reason {
            gate::list::NotTaken::Older => "older than the list that is held".to_owned(),
            gate::list::NotTaken::Future => "signed in the future".to_owned(),
        })
    }

    fn finish(&mut self, part: Part, attempt: Attempt, now: Millis, succeeded: bool) {
        match part {
            Part::Keys => self.keys.finish(attempt, now, succeeded),
            Part::List => self.list.finish(attempt, now, succeeded),
        }
    }
}

const fn reject(rejection: Rejection, source: Option<SourceNumber>) -> Verdict {
    Verdict::Reject {
        code: rejection.code(),
        status: rejection.status(),
        source,
    }
}
