//! Tokens that differ a little from those of the corpus, the same for the same seed.
//!
//! Some are changed as text: they end at the parser or the signature. Most are taken apart, changed as
//! JSON and signed again by the key that they name, so that whatever comes after the signature gets
//! its share.

use edgekeep_corpus::{Case, Key, Scene, Verdict, corpus, signing_keys};
use edgekeep_shared::base64url;
use serde_json::{Map, Value};

use crate::numbers::Numbers;

/// Tokens of the corpus that are longer than this are left out: they are refused for their length
/// before anything, and carrying them takes all the time. The largest that is read has 8,192 bytes.
const LONGEST: usize = 9_000;

/// Bytes that mean something in a token, or to whoever cuts one out of something.
const IN_TOKEN: &[u8] = b"Aa0_-.=+/ \t\r\n\0\"\\%~\x7f\x80\xc3\xff";

/// The same in its JSON.
const IN_JSON: &[u8] =
    b"{}[]:,\"\\ 0123456789-+.eEntfu/\n\0\x1f\x7f\xc3\xa9\xed\xa0\x80\xef\xbb\xbf\xff";

/// Members of headers.
const HEADER_NAMES: &[&str] = &[
    "alg",
    "typ",
    "kid",
    "crit",
    "b64",
    "cty",
    "jwk",
    "jku",
    "x5u",
    "x5c",
    "zip",
    "enc",
    "x",
    "__proto__",
    r"\u0061lg",
    "Alg",
    "",
];

/// Values of them, as they are written.
const HEADER_VALUES: &[&str] = &[
    r#""ES256""#,
    r#""EdDSA""#,
    r#""Ed25519""#,
    r#""RS256""#,
    r#""HS256""#,
    r#""none""#,
    r#""es256""#,
    r#""at+jwt""#,
    r#""AT+JWT""#,
    r#""application/at+jwt""#,
    r#""Application/At+Jwt""#,
    r#""JWT""#,
    r#""application/""#,
    r#""es256-other""#,
    r#""stranger""#,
    r#""es256""#,
    r#""eddsa""#,
    r#""rs256""#,
    r#""eddsa-identity""#,
    r#""hs256""#,
    r#"["exp"]"#,
    "[]",
    "{}",
    "true",
    "false",
    "null",
    "0",
    r#""""#,
    r#""\u0045S256""#,
    r#""a\u0074+jwt""#,
    r#""\ud800""#,
    "1e400",
];

/// Claims.
const CLAIM_NAMES: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "sid",
    "scope",
    "roles",
    "permissions",
    "amr",
    "acr",
    "auth_time",
    "kyc_level",
    "kyc_status",
    "device_id",
    "customer_id",
    "x",
    "__proto__",
    r"e\u0078p",
    "EXP",
    "",
];

/// Values of them, as they are written; instants are added for the scene.
const CLAIM_VALUES: &[&str] = &[
    "null",
    "true",
    r#""""#,
    r#""a""#,
    r#"" ""#,
    "[]",
    r#"["a"]"#,
    r#"["a",1]"#,
    r#"["a",["b"]]"#,
    "{}",
    r#"{"a":{"b":[1,2]}}"#,
    "0",
    "-0",
    "-1",
    "1",
    "0.0",
    "1.5",
    "1e3",
    "1E+2",
    "1e-2",
    "1e400",
    "-1e400",
    "255",
    "256",
    "4294967295",
    "4294967296",
    "253402300799",
    "253402300800",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "01",
    "1.",
    ".5",
    "+1",
    "0x10",
    "NaN",
    r#""\ud83d\udd11""#,
    r#""\ud83d""#,
    r#""\u0000""#,
    "\"\u{e9}\u{2028}\u{1f511}\"",
    r#""report:read  x ""#,
];

/// Claims whose value is judged, and not only read.
const JUDGED_NAMES: &[&str] = &["iss", "aud", "exp", "nbf", "iat"];

/// Instants beside now, in seconds, around everything that is decided by a second.
const OFFSETS: &[i64] = &[
    -86_461, -86_460, -86_401, -86_400, -61, -60, -59, -1, 0, 1, 839, 840, 841, 86_339, 86_340,
    86_341, 86_400, 86_401,
];

/// The members of an object as text, however wrong.
#[derive(Debug)]
struct Members(Vec<(String, String)>);

impl Members {
    fn of(object: &Map<String, Value>) -> Self {
        let member = |(name, value): (&String, &Value)| {
            let name = Value::from(name.as_str()).to_string();
            (name[1..name.len() - 1].to_owned(), value.to_string())
        };
        Self(object.iter().map(member).collect())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(other, _)| other == name)?;
        value.strip_prefix('"')?.strip_suffix('"')
    }

    /// One change: mostly a value, else a member more, less, twice, elsewhere or of another name.
    fn change(&mut self, numbers: &mut Numbers, names: &[&str], values: &[String]) {
        let name = *numbers.one(names);
        let value = numbers.one(values).clone();
        let at = numbers.below(self.0.len().max(1));
        match numbers.below(12) {
            0 if !self.0.is_empty() => drop(self.0.remove(at)),
            1 if !self.0.is_empty() => name.clone_into(&mut self.0[at].0),
            2 if !self.0.is_empty() => self.0.push(self.0[at].clone()),
            3 if !self.0.is_empty() => self.0.rotate_left(at),
            4 => self.0.insert(at, (name.to_owned(), value)),
            _ if !self.0.is_empty() && numbers.once_in(2) => self.0[at].1 = value,
            _ => self.set(name, value),
        }
    }

    fn json(&self) -> Vec<u8> {
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    }
}

/// Tokens of a seed.
#[derive(Debug)]
pub struct Mutations {
    seed: u64,
    all: Vec<Vec<u8>>,
    good: Vec<Vec<u8>>,
    claim_values: Vec<String>,
    judged_values: Vec<String>,
    header_values: Vec<String>,
}

impl Mutations {
    /// What `seed` makes of the corpus of `scene`.
    pub fn new(seed: u64, scene: &Scene) -> Self {
        let mut cases = corpus(scene);
        cases.retain(|case| case.token.len() <= LONGEST);
        let token = |case: &Case| case.token.clone();
        let is_good = |case: &&Case| case.verdict == Verdict::Accepted;
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        let own = [&scene.issuer, &scene.audience, &scene.subject];
        let instants = OFFSETS
            .iter()
            .map(|offset| (scene.now + offset).to_string());
        let judged_values: Vec<String> = instants
            .chain(own.map(|text| Value::from(text.as_str()).to_string()))
            .chain(own.map(|text| serde_json::json!(["x", text]).to_string()))
            .collect();
        Self {
            seed,
            good: cases.iter().filter(is_good).map(token).collect(),
            all: cases.iter().map(token).collect(),
            claim_values: [&texts(CLAIM_VALUES)[..], &judged_values].concat(),
            judged_values,
            header_values: texts(HEADER_VALUES),
        }
    }

    /// The token of that number.
    pub fn token(&self, keys: &[Key], number: u64) -> Vec<u8> {
        let numbers = &mut Numbers::of(self.seed.rotate_left(32) ^ number);
        let from = if numbers.once_in(3) {
            &self.all
        } else {
            &self.good
        };
        let base = numbers.one(from).clone();
        let signed_again = if numbers.once_in(4) {
            None
        } else {
            self.signed_again(numbers, keys, &base)
        };
        let Some(token) = signed_again else {
            return self.spoilt(numbers, base);
        };
        if numbers.once_in(12) {
            self.spoilt(numbers, token)
        } else {
            token
        }
    }

    /// The token with other members, under a good signature; `None` where it has none to begin with.
    fn signed_again(&self, numbers: &mut Numbers, keys: &[Key], base: &[u8]) -> Option<Vec<u8>> {
        let parts: Vec<&[u8]> = base.split(|&byte| byte == b'.').collect();
        let [header, payload, _] = parts[..] else {
            return None;
        };
        let object = |part| serde_json::from_slice(&base64url::decode(part).ok()?).ok();
        let mut header = Members::of(&object(header)?);
        let mut payload = Members::of(&object(payload)?);
        // The RSA key's signature takes as long as a hundred of the others'.
        if header.text("kid") == Some("rs256") && !numbers.once_in(50) {
            let key = &keys[numbers.below(2)];
            header.set("kid", Value::from(key.kid()).to_string());
            header.set(
                "alg",
                Value::from(["ES256", "EdDSA"][usize::from(key.kid() == "eddsa")]).to_string(),
            );
        }
        if numbers.once_in(4) {
            header.change(numbers, HEADER_NAMES, &self.header_values);
        }
        if numbers.once_in(3) {
            let name = *numbers.one(JUDGED_NAMES);
            payload.set(name, numbers.one(&self.judged_values).clone());
        }
        for _ in 0..numbers.below(3) {
            payload.change(numbers, CLAIM_NAMES, &self.claim_values);
        }
        let named = keys
            .iter()
            .find(|key| Some(key.kid()) == header.text("kid"));
        let key = match named {
            Some(key) if !numbers.once_in(30) => key,
            _ => &keys[numbers.below(2)],
        };
        let mut parts = [header.json(), payload.json()];
        if numbers.once_in(10) {
            let part = numbers.below(2);
            change_bytes(numbers, &mut parts[part], IN_JSON);
        }
        let mut spelt = parts.map(|part| base64url::encode(&part).into_bytes());
        if numbers.once_in(20) {
            let part = numbers.below(2);
            change_tail(numbers, &mut spelt[part]);
        }
        let input = spelt.join(&b'.');
        let mut signature = key.sign(&input);
        if numbers.once_in(20) {
            change_signature(numbers, &mut signature);
        }
        Some([&input, base64url::encode(&signature).as_bytes()].join(&b'.'))
    }

    /// The token changed as text, once or a few times.
    fn spoilt(&self, numbers: &mut Numbers, mut token: Vec<u8>) -> Vec<u8> {
        for _ in 0..=numbers.below(3) {
            match numbers.below(6) {
                0 => {
                    let other = numbers.one(&self.all).clone();
                    exchange_parts(numbers, &mut token, &other);
                }
                1 => with_part(numbers, &mut token, change_tail),
                2 => with_part(numbers, &mut token, |numbers, part| {
                    if let Ok(mut bytes) = base64url::decode(part) {
                        change_signature(numbers, &mut bytes);
                        *part = base64url::encode(&bytes).into_bytes();
                    }
                }),
                _ => change_bytes(numbers, &mut token, IN_TOKEN),
            }
        }
        token
    }
}

/// The keys that sign: ES256, Ed25519, RSA.
pub fn keys() -> [Key; 3] {
    signing_keys()
}

/// A bit, a byte or a stretch changed, left out, doubled or put in.
fn change_bytes(numbers: &mut Numbers, bytes: &mut Vec<u8>, alphabet: &[u8]) {
    if bytes.is_empty() {
        bytes.push(*numbers.one(alphabet));
        return;
    }
    let at = numbers.below(bytes.len());
    match numbers.below(8) {
        0 => drop(bytes.remove(at)),
        1 => bytes.insert(at, bytes[at]),
        2 => bytes[at] ^= 1 << numbers.below(8),
        3 => bytes.truncate(at),
        4 => {
            let end = (at + 1 + numbers.below(40)).min(bytes.len());
            drop(bytes.drain(at..end));
        }
        5 => bytes.insert(at, *numbers.one(alphabet)),
        6 => {
            let other = numbers.below(bytes.len());
            bytes.swap(at, other);
        }
        _ => bytes[at] = *numbers.one(alphabet),
    }
}

/// Another last letter, which may be one with bits behind the last byte; or padding.
fn change_tail(numbers: &mut Numbers, part: &mut Vec<u8>) {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    match numbers.below(4) {
        0 => part.push(b'='),
        1 => part.push(*numbers.one(LETTERS)),
        _ => {
            if let Some(last) = part.last_mut() {
                *last = *numbers.one(LETTERS);
            }
        }
    }
}

/// What can be done to the bytes of a signature: halves of boundary numbers, other lengths, bits.
fn change_signature(numbers: &mut Numbers, signature: &mut Vec<u8>) {
    /// The order of P-256's group, and of Ed25519's in little-endian.
    const ORDERS: [[u8; 32]; 2] = [
        *b"\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51",
        *b"\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10",
    ];
    let half = signature.len() / 2;
    let at = if numbers.once_in(2) { 0 } else { half };
    match numbers.below(8) {
        0 => signature.push(0),
        1 => drop(signature.pop()),
        2 => signature.insert(0, 0),
        3 => signature.rotate_left(half),
        4 if half >= 32 => signature[at..at + 32].fill(0),
        5 if half >= 32 => signature[at..at + 32].fill(0xff),
        6 if half >= 32 => {
            let order = numbers.one(&ORDERS);
            signature[at..at + 32].copy_from_slice(order);
        }
        _ => {
            if !signature.is_empty() {
                let at = numbers.below(signature.len());
                signature[at] ^= 1 << numbers.below(8);
            }
        }
    }
}

/// One part of `token` changed by `change`.
fn with_part(
    numbers: &mut Numbers,
    token: &mut Vec<u8>,
    change: impl Fn(&mut Numbers, &mut Vec<u8>),
) {
    let mut parts: Vec<Vec<u8>> = token
        .split(|&byte| byte == b'.')
        .map(<[u8]>::to_vec)
        .collect();
    let at = numbers.below(parts.len());
    change(numbers, &mut parts[at]);
    *token = parts.join(&b'.');
}

/// Parts swapped, doubled, left out, or of another token.
fn exchange_parts(numbers: &mut Numbers, token: &mut Vec<u8>, other: &[u8]) {
    let mut parts: Vec<&[u8]> = token.split(|&byte| byte == b'.').collect();
    let others: Vec<&[u8]> = other.split(|&byte| byte == b'.').collect();
    let (at, to) = (numbers.below(parts.len()), numbers.below(parts.len()));
    match numbers.below(6) {
        0 => parts.swap(at, to),
        1 => drop(parts.remove(at)),
        2 => parts.insert(at, parts[to]),
        3 => parts[at] = b"",
        _ => parts[at] = others[at.min(others.len() - 1)],
    }
    *token = parts.join(&b'.');
}
