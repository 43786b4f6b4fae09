//! What a source can say that must change nothing for whoever holds something good.

use edgekeep_shared::control::DocumentType;
use edgekeep_shared::revocation::{HashKey, encode};
use edgekeep_shared::time::UnixTime;

use crate::clock;
use crate::issuer::{Behaviour, Issuer};
use crate::keys::{self, Key};

/// A fault, and what it is called.
pub type Fault = (&'static str, Behaviour);

/// What is no better JWK Set than the one of `key`.
pub fn of_sets(key: &Key) -> Vec<Fault> {
    let set = keys::set(&[key]);
    let twice = set.replace("\"keys\":[", &format!("\"keys\":[{},", key.jwk()));
    let mut too_large = set.clone().into_bytes();
    too_large.resize(70_000, b' ');
    let bytes = |bytes: &[u8]| Behaviour::Bytes(bytes.to_vec());
    vec![
        ("an empty set", bytes(b"{\"keys\":[]}")),
        ("no set", bytes(b"{}")),
        ("nothing", bytes(b"")),
        ("HTML", bytes(b"<!doctype html>")),
        ("one cut off", bytes(&set.as_bytes()[..40])),
        ("a key twice", bytes(twice.as_bytes())),
        ("70,000 bytes", bytes(&too_large)),
        ("500", Behaviour::Status(500)),
        ("a redirect", Behaviour::Status(302)),
        ("304 that nobody asked for", Behaviour::Status(304)),
    ]
}

/// What is no better list than the one of `issuer`, whose tokens are signed by `token_key`: `old` among it,
/// a list from before. It is said at the instant `now`.
///
/// # Panics
/// When a handler has.
pub fn of_lists(issuer: &Issuer, token_key: &Key, old: Vec<u8>, now: UnixTime) -> Vec<Fault> {
    let (url, list) = (issuer.url(), DocumentType::Revocations);
    let control = issuer.published().control_key.clone();
    let empty = encode(&HashKey([1; 16]), []);
    let sequence = u64::try_from(clock::since_epoch().as_millis()).unwrap() + 3_600_000;
    let document =
        |key: &Key, kind, issuer: &str, at| key.document(kind, issuer, sequence, at, &empty);
    let signed =
        |key: &Key, kind, issuer: &str, at| Behaviour::Bytes(document(key, kind, issuer, at));
    let mut flipped = document(&control, list, &url, now);
    flipped[60] ^= 1;
    let foreign = "https://x.example";
    vec![
        ("a replayed one", Behaviour::Bytes(old)),
        (
            "one of a strange key",
            signed(&Key::eddsa(66), list, &url, now),
        ),
        ("one of the token key", signed(token_key, list, &url, now)),
        (
            "one of another issuer",
            signed(&control, list, foreign, now),
        ),
        (
            "a policy",
            signed(&control, DocumentType::Policy, &url, now),
        ),
        (
            "one from the future",
            signed(&control, list, &url, now.plus(36_000)),
        ),
        ("a flipped bit", Behaviour::Bytes(flipped)),
        ("an unsigned one", Behaviour::Bytes(empty.clone())),
        ("500", Behaviour::Status(500)),
        ("a redirect", Behaviour::Status(302)),
        ("304 that nobody asked for", Behaviour::Status(304)),
        ("30 MiB", Behaviour::Bytes(vec![b'E'; 30 << 20])),
    ]
}

/// What does not lead on from a list of `issuer`.
///
/// # Panics
/// When none was signed yet.
pub fn of_deltas(issuer: &Issuer) -> Vec<Fault> {
    let mut published = issuer.published();
    let since = published.first_told().unwrap();
    let body = published.delta_body(since);
    let list = published.sign(DocumentType::Revocations, &body);
    let mut flipped = published.delta(since);
    *flipped.last_mut().unwrap() ^= 1;
    vec![
        ("one signed as a list", Behaviour::Bytes(list)),
        ("a flipped bit", Behaviour::Bytes(flipped)),
        ("nothing", Behaviour::Bytes(Vec::new())),
        ("600 KiB", Behaviour::Bytes(vec![b'E'; 600 << 10])),
    ]
}
