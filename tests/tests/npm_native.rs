//! WebAssembly and native code say the same of any token: the same function, built twice.

use std::collections::BTreeMap;

use edgekeep_shared::jwk::JwkSet;
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::Verifier;
use edgekeep_tests::keys::{self, Key};
use edgekeep_tests::package::{Host, project, script};
use edgekeep_tests::process;
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example";
const NOW: i64 = 1_800_000_000;

/// How many tokens are compared.
const TOKENS: usize = 10_000;

/// What is put in the place of a character of a token's text.
const IN_TOKEN: &str = "Aa0_-.=+/ \n\t\u{0}\"\\\u{7f}\u{e9}\u{2028}\u{1f511}";

/// The same for its JSON.
const IN_JSON: &str = "{}[]:,\"\\ 0123456789-+.eEntfu/\n\u{0}\u{1f}\u{e9}\u{2028}\u{feff}\u{1f511}";

/// What is put in the place of a claim's value.
const VALUES: &[&str] = &[
    "null",
    "true",
    "\"\"",
    "\"api\"",
    "[]",
    "[\"api\"]",
    "[\"api\",1]",
    "{}",
    "0",
    "-0",
    "-1",
    "1e3",
    "1e400",
    "1800000000.0",
    "1799999994",
    "1799999995",
    "1799999996",
    "1800000005",
    "1800000006",
    "1800086399",
    "1800086400",
    "253402300799",
    "253402300800",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "255",
    "256",
    "\"\\ud83d\\udd11\"",
    "\"\\ud83d\"",
    "\"\\u0000\"",
];

/// Numbers that are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// `text` with a few characters replaced, left out or doubled.
    fn mutate(&mut self, text: &str, alphabet: &str) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        let mut text: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(3) {
            let at = self.below(text.len());
            match self.below(4) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, text[at]),
                _ => text[at] = self.one(&alphabet),
            }
        }
        text.into_iter().collect()
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "user-1", "aud": "api", "client_id": "default",
        "iat": NOW - 600, "nbf": NOW - 600, "exp": NOW + 300, "jti": "token-1", "sid": "session-1",
        "scope": "report:read", "roles": ["member"], "kyc_level": 2, "auth_time": NOW - 1,
    })
}

fn token(numbers: &mut Numbers, key: &Key) -> String {
    let (header, mut claims) = (key.header().to_string(), claims());
    match numbers.below(8) {
        0 | 1 => numbers.mutate(&key.issue(&claims), IN_TOKEN),
        2 => key.token(&numbers.mutate(&header, IN_JSON), &claims.to_string()),
        3 => key.token(&header, &numbers.mutate(&claims.to_string(), IN_JSON)),
        4 => {
            let names: Vec<String> = claims.as_object().unwrap().keys().cloned().collect();
            claims.as_object_mut().unwrap().remove(&numbers.one(&names));
            key.issue(&claims)
        }
        _ => {
            let names: Vec<String> = claims.as_object().unwrap().keys().cloned().collect();
            let name = numbers.one(&names);
            claims[&name] = json!("@");
            let value = numbers.one(VALUES);
            key.token(&header, &claims.to_string().replace("\"@\"", value))
        }
    }
}

#[test]
fn webassembly_and_native_code_say_the_same_of_any_token() {
    let all = [Key::es256(1), Key::eddsa(2)];
    let stranger = Key::eddsa(3);
    let set = keys::set(&[&all[0], &all[1]]);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let tokens: Vec<String> = (0..TOKENS)
        .map(|number| {
            let key = if number % 50 == 0 {
                &stranger
            } else {
                &all[number % 2]
            };
            token(&mut numbers, key)
        })
        .collect();

    let options = json!([{
        "issuer": ISSUER, "audience": "api", "revocation": "none",
        "jwks": serde_json::from_str::<Value>(&set).unwrap(),
    }]);
    let folder = project();
    let mut command = script(Host::Node, folder.path(), "verdicts.mjs");
    command
        .env("EDGEKEEP_OPTIONS", options.to_string())
        .env("EDGEKEEP_NOW", NOW.to_string());
    let lines: Vec<String> = tokens
        .iter()
        .map(|token| format!("t\t{}", json!(token)))
        .collect();
    let output = process::run(command, lines.join("\n").as_bytes());
    let by_package = String::from_utf8(output.stdout).unwrap();
    let by_package: Vec<&str> = by_package
        .split_terminator('\n')
        .map(|line| line.strip_prefix("t\t").unwrap())
        .collect();
    assert_eq!(
        by_package.len(),
        TOKENS,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let verifier = Verifier::new(ISSUER, "api").with_leeway(5);
    let set = JwkSet::parse(set.as_bytes()).unwrap();
    let mut seen = BTreeMap::<String, usize>::new();
    for (token, by_package) in tokens.iter().zip(by_package) {
        let native = match verifier.verify(token.as_bytes(), &set, UnixTime(NOW)) {
            Ok(token) => format!("ok {}", token.claims().subject),
            Err(rejection) => rejection.code().to_owned(),
        };
        assert_eq!(by_package, native, "{token}");
        let word = native.split(' ').next().unwrap();
        *seen.entry(word.to_owned()).or_default() += 1;
    }
    // Every verdict that a token by itself can have was among them.
    for verdict in [
        "ok",
        "token_malformed",
        "algorithm_not_allowed",
        "wrong_type",
        "key_unknown",
        "signature_invalid",
        "claim_missing",
        "claim_invalid",
        "issuer_mismatch",
        "audience_mismatch",
        "token_expired",
        "token_not_yet_valid",
    ] {
        assert!(seen.contains_key(verdict), "{verdict}: {seen:?}");
    }
}
