//! `edgekeep verify`: judges tokens from standard input, as a gate would. No database, no
//! configuration.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use edgekeep_shared::error::Rejection;
use edgekeep_shared::jwk::{Algorithm, JwkSet, MAX_SET_BYTES};
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::token::MAX_TOKEN_BYTES;
use edgekeep_shared::verifier::{MAX_LEEWAY, Verifier};

use crate::clock::Clock;

/// Longest line that is kept as it is: one byte more than a token may have.
const MAX_LINE_BYTES: usize = MAX_TOKEN_BYTES + 1;

/// Longest JSON line that is kept: every byte of a token may be written `\u00XX`, and there are
/// two quotation marks.
const MAX_JSON_LINE_BYTES: usize = 6 * MAX_LINE_BYTES + 2;

/// How lines are read and answered, as `--help` says it.
const LINES: &str = "\
Prints one line for each line: `ok <sub>` or `reject <code>`.

A line ends with a line feed, which is not part of it; everything else is, a carriage return too.
An empty line is a token without any part (`token_malformed`). A line of any length gets its
answer: beyond what a token may have it is `token_too_large` and not kept in memory. Control
characters in a subject are written `\\u{…}`, so that a line stays a line. The exit status is 0
whenever every line was answered.";

/// What tokens are judged against.
#[derive(Debug, Args)]
#[command(after_help = LINES)]
pub(super) struct Options {
    /// A file with the issuer's JWK Set.
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    /// The issuer, exactly as tokens name it.
    #[arg(long, value_name = "ISS")]
    issuer: String,
    /// The audience that tokens must name.
    #[arg(long, value_name = "AUD")]
    audience: String,
    /// The expected media type.
    #[arg(long, value_name = "TYPE", default_value = "at+jwt")]
    typ: String,
    /// An algorithm to accept, given once for each; all that the JWK Set has keys for unless given.
    #[arg(long = "alg", value_name = "ALG", value_parser = algorithm)]
    algorithms: Vec<Algorithm>,
    /// Seconds of clock difference to tolerate.
    #[arg(long, value_name = "S", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_LEEWAY)))]
    leeway: u32,
    /// The instant to judge at, in seconds since 1970; the machine's clock unless given.
    #[arg(long, value_name = "UNIX", allow_negative_numbers = true)]
    now: Option<i64>,
    /// Each line is a JSON string. A line that is none is `token_malformed`; one of more than six
    /// times what a token may have is `token_too_large` unread.
    #[arg(long)]
    json: bool,
}

fn algorithm(name: &str) -> Result<Algorithm, &'static str> {
    Algorithm::from_name(name).ok_or("expected ES256, EdDSA (or Ed25519) or RS256")
}

/// The keys of a file; those that are left out are named on standard error.
#[expect(clippy::print_stderr, reason = "a warning beside the answers")]
pub(super) fn read_keys(file: &Path) -> anyhow::Result<JwkSet> {
    let path = file.display();
    let file = std::fs::File::open(file).with_context(|| format!("{path}"))?;
    let mut bytes = Vec::new();
    // One byte more than may be: the parser then says what is wrong.
    file.take(MAX_SET_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{path}"))?;
    let keys = JwkSet::parse(&bytes).with_context(|| format!("{path}"))?;
    // One bad key does not spoil the set (RFC 7517, section 5), but whoever meets `key_unknown`
    // should not have to guess why.
    for (index, error) in keys.refused() {
        eprintln!("{path}: key {} is left out: {error}", index + 1);
    }
    Ok(keys)
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let keys = read_keys(&options.jwks)?;
    let verifier = Verifier::new(&*options.issuer, &*options.audience)
        .with_type(&*options.typ)
        .with_leeway(options.leeway);
    let verifier = if options.algorithms.is_empty() {
        verifier
    } else {
        verifier.with_algorithms(&*options.algorithms)
    };
    let now = || {
        UnixTime(
            options
                .now
                .unwrap_or_else(|| Clock::System.now().unix_seconds()),
        )
    };
    let judge = |token: &[u8]| {
        let token = verifier.verify(token, &keys, now())?;
        Ok(token.claims().subject.clone())
    };
    answer_lines(io::stdin().lock(), io::stdout().lock(), options.json, judge)
        .context("standard input or output")
}

/// Answers every line of `input`; whoever waits for an answer before sending the next line gets it.
/// `judge` says the subject of a token's bytes, or why there is none.
///
/// # Errors
/// When reading or writing fails; no content of a line is an error.
pub fn answer_lines(
    input: impl Read,
    output: impl Write,
    json: bool,
    judge: impl Fn(&[u8]) -> Result<String, Rejection>,
) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let mut output = BufWriter::new(output);
    let limit = if json {
        MAX_JSON_LINE_BYTES
    } else {
        MAX_LINE_BYTES
    };
    let mut line = Vec::new();
    while let Some(whole) = read_line(&mut input, limit, &mut line)? {
        let verdict = if !whole {
            Err(Rejection::TokenTooLarge)
        } else if json {
            match serde_json::from_slice::<String>(&line) {
                Ok(token) => judge(token.as_bytes()),
                Err(_) => Err(Rejection::TokenMalformed),
            }
        } else {
            judge(&line)
        };
        match verdict {
            Ok(subject) => writeln!(output, "ok {}", on_one_line(&subject))?,
            Err(rejection) => writeln!(output, "reject {}", rejection.code())?,
        }
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()
}

/// Reads one line without its line feed, at most `limit` bytes of it; whether that is all of it.
/// None at the end of the input.
fn read_line(
    input: &mut impl BufRead,
    limit: usize,
    line: &mut Vec<u8>,
) -> io::Result<Option<bool>> {
    line.clear();
    let (mut begun, mut whole) = (false, true);
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(begun.then_some(whole));
        }
        begun = true;
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let kept = part.len().min(limit - line.len());
        line.extend_from_slice(&part[..kept]);
        whole &= kept == part.len();
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

/// `text` with control characters and line separators written out.
fn on_one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers to `input`, where a token is good if it begins with `good`, and is its subject.
    fn answers(input: &[u8], json: bool) -> Vec<String> {
        let judge = |token: &[u8]| {
            if token.len() > MAX_TOKEN_BYTES {
                Err(Rejection::TokenTooLarge)
            } else if token.starts_with(b"good") {
                Ok(String::from_utf8(token.to_vec()).unwrap())
            } else {
                Err(Rejection::TokenMalformed)
            }
        };
        let mut output = Vec::new();
        answer_lines(input, &mut output, json, judge).unwrap();
        let output = String::from_utf8(output).unwrap();
        output.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_line_gets_one_answer() {
        for (input, expected) in [
            (&b""[..], &[][..]),
            (b"good", &["ok good"]),
            (b"good\n", &["ok good"]),
            (b"\n", &["reject token_malformed"]),
            (
                b"bad\n\ngood1\ngood2",
                &[
                    "reject token_malformed",
                    "reject token_malformed",
                    "ok good1",
                    "ok good2",
                ],
            ),
            (b"\xff\xfe\x00\n", &["reject token_malformed"]),
            (b"good\r\n", &["ok good\\u{d}"]),
        ] {
            assert_eq!(answers(input, false), expected, "{input:?}");
        }
    }

    #[test]
    fn json_lines_may_hold_any_character() {
        for (input, expected) in [
            (&b"\"good\""[..], "ok good"),
            (b" \"good\" \r\n", "ok good"),
            (b"\"good\\n\\u2028x\"", "ok good\\u{a}\\u{2028}x"),
            (b"good", "reject token_malformed"),
            (b"\"good", "reject token_malformed"),
            (b"\"good\"\"good\"", "reject token_malformed"),
            (b"[\"good\"]", "reject token_malformed"),
            (b"\"good\\ud800\"", "reject token_malformed"),
            (b"\"good\xff\"", "reject token_malformed"),
            (b"\n", "reject token_malformed"),
        ] {
            assert_eq!(answers(input, true), [expected], "{input:?}");
        }
    }

    #[test]
    fn length_is_judged_to_the_byte_and_long_lines_are_not_kept() {
        let line = |length: usize| [b"good".to_vec(), vec![b'x'; length - 4]].concat();
        for (length, ok) in [
            (MAX_TOKEN_BYTES, true),
            (MAX_TOKEN_BYTES + 1, false),
            (MAX_TOKEN_BYTES + 2, false),
            (3 << 20, false),
        ] {
            let input = [line(length), b"\ngood\n".to_vec()].concat();
            let answers = answers(&input, false);
            assert_eq!(answers.len(), 2, "{length}");
            assert_eq!(answers[0].starts_with("ok"), ok, "{length}");
            assert!(ok || answers[0] == "reject token_too_large", "{length}");
            assert_eq!(answers[1], "ok good");
        }
        let escaped = |length: usize| format!("\"good{}\"", "\\u0078".repeat(length - 4));
        assert!(answers(escaped(MAX_TOKEN_BYTES).as_bytes(), true)[0].starts_with("ok"));
        for length in [MAX_TOKEN_BYTES + 1, MAX_TOKEN_BYTES + 2, 100_000] {
            let answers = answers(escaped(length).as_bytes(), true);
            assert_eq!(answers, ["reject token_too_large"], "{length}");
        }
        let mut kept = Vec::new();
        let mut input = BufReader::new(io::repeat(b'x').take(50 << 20));
        assert_eq!(
            read_line(&mut input, MAX_LINE_BYTES, &mut kept).unwrap(),
            Some(false)
        );
        assert!(kept.capacity() < 64 * 1024);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_get_as_many_answers_as_lines(input: Vec<u8>, json: bool) {
            let lines = input.split(|&byte| byte == b'\n').count()
                - usize::from(input.is_empty() || input.ends_with(b"\n"));
            assert_eq!(answers(&input, json).len(), lines);
        }
    }
}
