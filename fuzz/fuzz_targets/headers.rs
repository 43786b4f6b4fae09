//! Any text as a header: no panic, and what is written comes back as it was.
#![no_main]

use edgekeep_shared::headers::{
    bearer_token, connection_options, cookie_value, decode_list, encode_list, must_strip,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, Vec<String>)| {
    let (header, name, values) = input;
    if let Ok(token) = bearer_token([header]) {
        assert!(!token.is_empty() && header.contains(token));
    }
    if let Ok(Some(value)) = cookie_value(header, name) {
        assert!(header.contains(value));
    }
    let _ = (connection_options(header).count(), must_strip(name.as_bytes()));
    let _ = decode_list(header);
    if values.iter().all(|value| !value.is_empty()) {
        let mut text = String::new();
        encode_list(&values, &mut text);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(decode_list(&text), Some(values));
    }
});
