//! Any text as a policy: no panic, and a compiled one answers for any request.
#![no_main]

use edgekeep_shared::path::canonicalise;
use edgekeep_shared::policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (text, method, raw) = input;
    match Policy::parse(text) {
        Ok(policy) => {
            assert!(!policy.rules().is_empty());
            if let Ok(path) = canonicalise(raw)
                && let Some(rule) = policy.find(method, &path)
            {
                assert!(rule.pattern().parameters(&path).all(|(_, value)| !value.is_empty()));
            }
        }
        Err(error) => {
            let lines = text.bytes().filter(|&b| b == b'\n').count() + 1;
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
            assert!(!error.to_string().is_empty());
        }
    }
});
