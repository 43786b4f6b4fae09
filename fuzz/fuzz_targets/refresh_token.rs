//! Any text as a refresh token: no panic, and only what this server's key made is one.
#![no_main]

use std::sync::LazyLock;

use edgekeep_origin::random::Random;
use edgekeep_origin::sessions::RefreshToken;
use edgekeep_origin::vault::{MasterKeys, Vault};
use edgekeep_shared::base64url::encode;
use libfuzzer_sys::fuzz_target;

static VAULT: LazyLock<Vault> = LazyLock::new(|| {
    let keys = MasterKeys::from_versions([(1, [7; 32])]).expect("a key");
    Vault::new(&keys, Random::seeded(1))
});

fuzz_target!(|input: (&str, &[u8])| {
    let (text, bytes) = input;
    let dressed = format!("ekr_{}", encode(bytes));
    for text in [text, &dressed] {
        // The MAC's key is not to be guessed; what parses must at least write itself again.
        if let Some(token) = RefreshToken::parse(text, &VAULT) {
            assert_eq!(token.to_text(&VAULT).expect("a vault").as_str(), text);
        }
    }
});
