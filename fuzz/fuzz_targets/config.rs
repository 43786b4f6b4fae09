//! Any text as a configuration, with any variables over it: no panic, and what is refused is said.
#![no_main]

use std::path::Path;

use edgekeep_origin::config::{Config, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Vec<(&str, &str)>)| {
    let (text, variables) = input;
    // Each variable is tried in several readings: more of them cost time and find nothing.
    let environment: Environment = variables
        .iter()
        .take(4)
        .map(|(name, value)| (format!("EDGEKEEP_{name}"), (*value).to_owned()))
        .collect();
    if let Err(error) = Config::parse(Path::new("fuzz.toml"), text, &environment) {
        assert!(!error.to_string().is_empty());
    }
});
