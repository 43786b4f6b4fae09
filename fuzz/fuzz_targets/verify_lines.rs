//! Any bytes as the input of `edgekeep verify`: no panic, one answer for each line, each on a
//! line of its own.
#![no_main]

use edgekeep_origin::cli::answer_lines;
use edgekeep_shared::error::Rejection;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    let (json, bytes) = input;
    let judge =
        |token: &[u8]| String::from_utf8(token.to_vec()).map_err(|_| Rejection::TokenMalformed);
    let mut output = Vec::new();
    answer_lines(bytes, &mut output, json, judge).expect("memory does not fail");
    let lines = bytes.split(|&byte| byte == b'\n').count()
        - usize::from(bytes.is_empty() || bytes.ends_with(b"\n"));
    let output = String::from_utf8(output).expect("answers are text");
    assert_eq!(output.lines().count(), lines);
    assert!(
        output
            .lines()
            .all(|line| line.starts_with("ok ") || line.starts_with("reject "))
    );
});
