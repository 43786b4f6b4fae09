//! An issuer in this process: its JWK Set, its feed, its word on tokens, and the key-value store
//! that it fills. Every door can be told to fail in its own way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use edgekeep_shared::control::DocumentType;
use edgekeep_shared::revocation::{
    Edits, Entries, Entry, HashKey, HashedEntry, encode, encode_delta,
};
use edgekeep_shared::time::UnixTime;

use crate::clock;
use crate::keys::{self, Key};
use crate::server::{Framing, Reply, Request, Server};

/// Where something is asked of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// `/.well-known/jwks.json`
    Jwks,
    /// `/.well-known/revocations`
    Feed,
    /// The same for who holds a list, where the issuer knows deltas
    FeedDelta,
    /// `/oauth/introspect`
    Introspection,
    /// The key-value store's `revocations`
    KvList,
    /// The key-value store's `revocations-delta`
    KvDelta,
    /// The key-value store's `jwks`
    KvJwks,
    /// The key-value store's `policy`
    KvPolicy,
}

/// How a door behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Honest,
    /// This status, with a text.
    Status(u16),
    /// As it should, but so much later.
    Late(Duration),
    /// Never.
    Silent,
    /// 200 with these bytes.
    Bytes(Vec<u8>),
    /// 200 with spaces, for ever.
    Endless,
    /// 500 with spaces, for ever.
    EndlessFailure,
    /// 200 with what these bytes are in gzip.
    Gzip(Vec<u8>),
}

/// Spaces, for ever.
fn endless(status: u16) -> Reply {
    Reply::new(status, vec![b' '; 1 << 16]).framed(Framing::Endless)
}

/// So many MiB of spaces in gzip (RFC 1952), which makes a hundredth of that of them.
pub fn spaces(mebibytes: usize) -> Vec<u8> {
    let mut bits = Vec::new();
    // Codes of the fixed alphabet have their highest bit first (RFC 1951 §3.2.6).
    let mut code = |code: u32, length: u32| {
        bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
    };
    // The last block, fixed alphabet; one space.
    code(0b110, 3);
    code(0x30 + u32::from(b' '), 8);
    // 258 times what stands one before.
    for _ in 0..(mebibytes << 20) / 258 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    // The end.
    code(0, 7);
    let byte = |bits: &[bool]| {
        let numbered = bits.iter().enumerate();
        numbered.fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at)
    };
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.extend(bits.chunks(8).map(byte));
    // Whoever reads as far as the check would find it wrong.
    bytes.extend([0; 8]);
    bytes
}

/// A revoked thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// A `jti`.
    Token(String),
    /// A `sid`.
    Session(String),
    /// A `kid`.
    Key(String),
    /// A `sub`, up to an instant.
    Subject(String, UnixTime),
}

/// The key of all hashes.
pub const HASH_KEY: HashKey = HashKey([7; 16]);

impl Revoked {
    fn entry(&self) -> Entry<'_> {
        match self {
            Self::Token(id) => Entry::Token(id),
            Self::Session(id) => Entry::Session(id),
            Self::Key(id) => Entry::Key(id),
            Self::Subject(id, at) => Entry::Subject(id, *at),
        }
    }
}

/// What the issuer publishes.
pub struct Published {
    /// The issuer's URL.
    pub url: String,
    /// The JWK Set document.
    pub jwks: String,
    /// Its `max-age`.
    pub max_age: u32,
    /// Its `Age`, as if a cache had kept it.
    pub age: Option<u32>,
    /// The control key.
    pub control_key: Key,
    /// What is revoked.
    pub revoked: Vec<Revoked>,
    /// The list's issue time; `None` is now.
    pub signed_at: Option<UnixTime>,
    /// The policy in the key-value store.
    pub policy: Option<String>,
    /// Whether tokens are active.
    pub active: bool,
    /// Whether it knows deltas.
    pub deltas: bool,
    /// How many entries each list had that was signed since then: entries are only ever added.
    told: BTreeMap<u64, usize>,
    sequence: u64,
    behaviours: BTreeMap<Door, Behaviour>,
    hits: BTreeMap<Door, usize>,
}

impl Published {
    /// The next number: larger than the last, and the time in milliseconds.
    fn next_sequence(&mut self) -> u64 {
        let milliseconds = u64::try_from(clock::since_epoch().as_millis()).unwrap_or(u64::MAX);
        self.sequence = milliseconds.max(self.sequence + 1);
        self.sequence
    }

    /// A document of now, with the next number.
    pub fn sign(&mut self, document_type: DocumentType, body: &[u8]) -> Vec<u8> {
        let sequence = self.next_sequence();
        let at = self.signed_at.unwrap_or_else(clock::now);
        self.control_key
            .document(document_type, &self.url, sequence, at, body)
    }

    /// The body of the list.
    pub fn list_body(&self) -> Vec<u8> {
        encode(&HASH_KEY, self.revoked.iter().map(Revoked::entry))
    }

    /// The list of now.
    pub fn list(&mut self) -> Vec<u8> {
        let body = self.list_body();
        let document = self.sign(DocumentType::Revocations, &body);
        self.told.insert(self.sequence, self.revoked.len());
        document
    }

    /// The body of the delta to the list of now from one that was signed.
    ///
    /// # Panics
    /// When there was none of that number.
    pub fn delta_body(&self, since: u64) -> Vec<u8> {
        let hashed = |revoked: &Revoked| HASH_KEY.hash_entry(revoked.entry());
        let added = self.revoked[self.told[&since]..].iter().map(hashed);
        let states = added.map(|(entry, at): (HashedEntry, _)| (entry, Some(at)));
        let all = Entries::new(&HASH_KEY, self.revoked.iter().map(Revoked::entry));
        encode_delta(&HASH_KEY, since, all.counts(), &Edits::new(states))
    }

    /// The delta to the list of now from one that was signed.
    ///
    /// # Panics
    /// When there was none of that number.
    pub fn delta(&mut self, since: u64) -> Vec<u8> {
        let body = self.delta_body(since);
        let document = self.sign(DocumentType::RevocationsDelta, &body);
        self.told.insert(self.sequence, self.revoked.len());
        document
    }

    /// The number of the first list that was signed.
    pub fn first_told(&self) -> Option<u64> {
        self.told.first_key_value().map(|(sequence, _)| *sequence)
    }

    /// The number of the list that a request for a delta names, if that was signed.
    fn since(&self, request: &Request) -> Option<u64> {
        let (_, query) = request.target.split_once("?since=")?;
        let (since, _) = query.split_once("&key=")?;
        let since = since.parse().ok()?;
        (self.deltas && self.told.contains_key(&since)).then_some(since)
    }

    fn honest(&mut self, door: Door, request: &Request) -> Reply {
        match door {
            Door::FeedDelta => match self.since(request) {
                Some(since) => Reply::new(200, self.delta(since)),
                None => Reply::new(500, ""),
            },
            Door::KvDelta => match self.first_told().filter(|_| self.deltas) {
                Some(first) => Reply::new(200, self.delta(first)),
                None => Reply::new(404, ""),
            },
            Door::Jwks => {
                let control = format!("public, max-age={}", self.max_age);
                let reply = Reply::new(200, self.jwks.clone()).header("Cache-Control", &control);
                match self.age {
                    Some(age) => reply.header("Age", &age.to_string()),
                    None => reply,
                }
            }
            Door::Feed | Door::KvList => Reply::new(200, self.list()),
            Door::Introspection => Reply::new(200, format!(r#"{{"active":{}}}"#, self.active))
                .header("Content-Type", "application/json"),
            Door::KvJwks => {
                let body = self.jwks.clone().into_bytes();
                Reply::new(200, self.sign(DocumentType::JwkSet, &body))
            }
            Door::KvPolicy => match self.policy.clone() {
                Some(text) => Reply::new(200, self.sign(DocumentType::Policy, text.as_bytes())),
                None => Reply::new(404, ""),
            },
        }
    }

    fn answer(&mut self, door: Door, request: &Request) -> Reply {
        let door = match door {
            Door::Feed if self.since(request).is_some() => Door::FeedDelta,
            door => door,
        };
        *self.hits.entry(door).or_default() += 1;
        let reply = match self.behaviours.get(&door).cloned().unwrap_or_default() {
            Behaviour::Honest => self.honest(door, request),
            Behaviour::Status(status) => Reply::new(status, "out of order"),
            Behaviour::Late(delay) => self.honest(door, request).after(Some(delay)),
            Behaviour::Silent => Reply::new(200, "").after(None),
            Behaviour::Bytes(bytes) => Reply::new(200, bytes),
            Behaviour::Endless => endless(200),
            Behaviour::EndlessFailure => endless(500),
            Behaviour::Gzip(bytes) => Reply::new(200, bytes)
                .header("Content-Encoding", "gzip")
                .framed(Framing::Chunks),
        };
        if door == Door::FeedDelta {
            let media_type = "application/vnd.edgekeep.revocations-delta";
            return reply.header("Content-Type", media_type);
        }
        reply
    }
}

/// A running issuer.
pub struct Issuer {
    origin: Server,
    kv: Server,
    published: Arc<Mutex<Published>>,
}

impl Issuer {
    /// Starts one that publishes `key`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(key: &Key) -> Self {
        let published = Arc::new(Mutex::new(Published {
            url: String::new(),
            jwks: keys::set(&[key]),
            max_age: 300,
            age: None,
            control_key: Key::eddsa(200),
            revoked: Vec::new(),
            signed_at: None,
            policy: None,
            active: true,
            deltas: false,
            told: BTreeMap::new(),
            sequence: 0,
            behaviours: BTreeMap::new(),
            hits: BTreeMap::new(),
        }));
        let serve = |door: fn(&Request) -> Option<Door>| {
            let published = Arc::clone(&published);
            move |request: &Request| match door(request) {
                Some(door) => published.lock().unwrap().answer(door, request),
                None => Reply::new(404, ""),
            }
        };
        let origin = Server::start(serve(|request| match request.path() {
            "/.well-known/jwks.json" => Some(Door::Jwks),
            "/.well-known/revocations" => Some(Door::Feed),
            "/oauth/introspect" => Some(Door::Introspection),
            _ => None,
        }))
        .await;
        let kv = Server::start(serve(|request| match request.path() {
            "/revocations" => Some(Door::KvList),
            "/revocations-delta" => Some(Door::KvDelta),
            "/jwks" => Some(Door::KvJwks),
            "/policy" => Some(Door::KvPolicy),
            _ => None,
        }))
        .await;
        published.lock().unwrap().url = origin.url();
        Self {
            origin,
            kv,
            published,
        }
    }

    /// The issuer: `iss` of its tokens.
    pub fn url(&self) -> String {
        self.origin.url()
    }

    /// Where the key-value store listens.
    pub const fn kv(&self) -> SocketAddr {
        self.kv.address()
    }

    /// What it publishes, to look at and to change.
    ///
    /// # Panics
    /// When a handler has.
    pub fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap()
    }

    /// Tells a door how to behave.
    ///
    /// # Panics
    /// When a handler has.
    pub fn set(&self, door: Door, behaviour: Behaviour) {
        self.published().behaviours.insert(door, behaviour);
    }

    /// How often a door was knocked at.
    ///
    /// # Panics
    /// When a handler has.
    pub fn hits(&self, door: Door) -> usize {
        self.published().hits.get(&door).copied().unwrap_or(0)
    }

    /// Revokes.
    ///
    /// # Panics
    /// When a handler has.
    pub fn revoke(&self, revoked: Revoked) {
        self.published().revoked.push(revoked);
    }

    /// Every request that the API's side got.
    pub fn requests(&self) -> Vec<Request> {
        self.origin.seen()
    }

    /// Every request that the key-value store got.
    pub fn kv_requests(&self) -> Vec<Request> {
        self.kv.seen()
    }

    /// How many of the API's answers without end nobody reads any more.
    pub fn cut_off(&self) -> usize {
        self.origin.cut_off()
    }

    /// Stops the API's side; the key-value store stays.
    pub async fn stop_origin(&mut self) {
        self.origin.stop().await;
    }

    /// Stops the key-value store.
    pub async fn stop_kv(&mut self) {
        self.kv.stop().await;
    }

    /// Starts again what was stopped.
    pub async fn resume(&mut self) {
        self.origin.resume().await;
        self.kv.resume().await;
    }
}
