//! Any bytes as a path: no panic, and what is accepted has one form.
#![no_main]

use edgekeep_shared::path::{MAX_PATH_BYTES, canonicalise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let Ok(path) = canonicalise(raw) else {
        return;
    };
    let text = path.as_str();
    assert!(text.len() <= MAX_PATH_BYTES && text.starts_with('/') && !text.contains("//"));
    assert!(text.bytes().all(|b| b.is_ascii_graphic()));
    assert!(path.segments().all(|segment| !segment.ends_with('.')));
    let again = canonicalise(text).expect("a canonical path is accepted");
    assert!(again.is_borrowed() && again.as_str() == text);
});
