//! What the process logs while messages are sent: everything, down to the finest level of every
//! crate.
#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod logged {
    use std::io;
    use std::sync::{Mutex, Once, PoisonError};

    static START: Once = Once::new();
    static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Writer;

    impl io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
            text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Collects from now on what every test of this process logs.
    pub(crate) fn start() {
        start_at(tracing::Level::TRACE);
    }

    /// [`start`], of what is as grave as this.
    pub(crate) fn start_at(level: tracing::Level) {
        START.call_once(|| {
            tracing_subscriber::fmt()
                .with_max_level(level)
                .with_writer(|| Writer)
                .with_ansi(false)
                .init();
        });
    }

    fn text() -> String {
        let text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Fails unless `part` was logged.
    #[track_caller]
    pub(crate) fn holds(part: &str) {
        assert!(text().contains(part), "not logged: {part}");
    }

    /// The text without fractions of numbers: six digits of a second may be those of a code.
    fn without_fractions(text: &str) -> String {
        let mut is_fraction = false;
        let mut before = ' ';
        text.chars()
            .filter(|&c| {
                is_fraction = c.is_ascii_digit() && (is_fraction || before == '.');
                before = c;
                !is_fraction
            })
            .collect()
    }

    /// Fails if any of these was logged.
    #[track_caller]
    pub(crate) fn holds_none(secrets: &[&str]) {
        let all = text();
        let whole = without_fractions(&all);
        for secret in secrets {
            let is_code = secret.bytes().all(|byte| byte.is_ascii_digit());
            let text = if is_code { &whole } else { &all };
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in the log: {line:?}");
        }
    }
}
