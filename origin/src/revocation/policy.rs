//! The policy that gates find in their key-value store. It is a file, and is followed while the server
//! runs: what stands in it is published when it has changed, and where that is no policy the last good
//! one stays.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgekeep_shared::policy::{MAX_POLICY_BYTES, Policy};

use crate::app::State;

/// How often the file is looked at. A gate looks at its store every 30 s, so that a shorter time would
/// save nothing; and what is read is at most 256 KiB.
const INTERVAL: Duration = Duration::from_secs(2);

/// Why a file is no policy: its name, the line, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoPolicy(String);

/// The text of a policy and what it compiles to.
///
/// # Errors
/// [`NoPolicy`]
pub fn read(file: &Path) -> Result<(String, Policy), NoPolicy> {
    let text = text(file)?;
    let policy = compile(file, &text)?;
    Ok((text, policy))
}

fn text(file: &Path) -> Result<String, NoPolicy> {
    let failed = |error: std::io::Error| NoPolicy(format!("{}: {error}", file.display()));
    let source = std::fs::File::open(file).map_err(failed)?;
    let mut text = String::new();
    // One byte more than may be: the reader then says what is wrong.
    source
        .take(MAX_POLICY_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn compile(file: &Path, text: &str) -> Result<Policy, NoPolicy> {
    Policy::parse(text).map_err(|error| {
        let place = match (error.line, error.column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            (Some(line), None) => format!(":{line}"),
            _ => String::new(),
        };
        NoPolicy(format!("{}{place}: {}", file.display(), error.message))
    })
}

/// What a look at the file has given.
type Reading = Result<String, NoPolicy>;

/// Follows the file.
#[derive(Debug)]
pub struct Follower {
    file: PathBuf,
    /// What was read last.
    seen: Reading,
    /// What was judged last.
    judged: Reading,
}

impl Follower {
    /// Reads the file that the configuration names and has its policy published; none where it names
    /// none.
    ///
    /// # Errors
    /// [`NoPolicy`]: a server does not start with a policy that it cannot publish.
    pub fn begin(state: &State) -> Result<Option<Self>, NoPolicy> {
        let Some(file) = state.config.gate.policy_file.clone() else {
            return Ok(None);
        };
        let (text, _) = read(&file)?;
        state.publisher.take_policy(&text);
        Ok(Some(Self {
            file,
            seen: Ok(text.clone()),
            judged: Ok(text),
        }))
    }

    /// Publishes what the file becomes, and tells of what is no policy; never returns.
    pub async fn keep(mut self, state: State, mut hangups: Hangups) {
        loop {
            let is_asked = tokio::select! {
                () = hangups.next() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            let file = self.file.clone();
            let Ok(reading) = tokio::task::spawn_blocking(move || text(&file)).await else {
                continue;
            };
            match self.look(reading, is_asked) {
                Some(Ok(text)) => state.publisher.take_policy(&text),
                Some(Err(error)) => {
                    state.publisher.refuse_policy();
                    tracing::warn!(%error, "the policy file is refused: gates keep the last good policy");
                }
                None => {}
            }
        }
    }

    /// What to publish or to refuse after a look, if anything.
    ///
    /// A change counts once two looks have read the same: half of a file may well be a policy, with a
    /// rule that does not yet say what it asks for. An operator who asks by a signal has written it.
    fn look(&mut self, reading: Reading, is_asked: bool) -> Option<Reading> {
        let is_settled = reading == self.seen;
        self.seen = reading;
        if !is_asked && (!is_settled || self.seen == self.judged) {
            return None;
        }
        self.judged.clone_from(&self.seen);
        let text = match &self.judged {
            Ok(text) => text,
            Err(error) => return Some(Err(error.clone())),
        };
        Some(compile(&self.file, text).map(|_| text.clone()))
    }
}

/// The signals by which an operator says that the file has changed: SIGHUP, where there is one.
#[derive(Debug, Default)]
pub struct Hangups {
    #[cfg(unix)]
    signals: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    /// From here on SIGHUP does not end the process.
    pub fn caught() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let signals = signal(SignalKind::hangup())
                .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be caught"))
                .ok();
            Self { signals }
        }
        #[cfg(not(unix))]
        Self::default()
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[route]]\nmatch = \"/a\"\n";
    const BETTER: &str = "[[route]]\nmatch = \"/b\"\n";
    const BAD: &str = "[[route]]\nmatch = \"/b\"\nsurprise = 1\n";

    #[test]
    fn a_change_counts_once_it_was_read_twice_or_when_somebody_asks() {
        let good = || Ok(GOOD.to_owned());
        let gone = || Err(NoPolicy("policy.toml: No such file".to_owned()));
        let refused = "policy.toml:3:1: ";
        let mut follower = Follower {
            file: "policy.toml".into(),
            seen: good(),
            judged: good(),
        };
        for (step, (reading, is_asked, expected)) in [
            (good(), false, None),
            (Ok(BETTER.to_owned()), false, None),
            (Ok(BETTER.to_owned()), false, Some(Ok(BETTER))),
            (Ok(BETTER.to_owned()), false, None),
            // Written again while it is being looked at.
            (Ok(BAD.to_owned()), false, None),
            (gone(), false, None),
            (Ok(BETTER.to_owned()), false, None),
            (Ok(BETTER.to_owned()), false, None),
            // Refused once, and again for whoever asks.
            (Ok(BAD.to_owned()), false, None),
            (Ok(BAD.to_owned()), false, Some(Err(refused))),
            (Ok(BAD.to_owned()), false, None),
            (Ok(BAD.to_owned()), true, Some(Err(refused))),
            (gone(), false, None),
            (gone(), false, Some(Err("policy.toml: No such file"))),
            (gone(), false, None),
            // The last good one is taken like any other: it is refused no more.
            (Ok(BETTER.to_owned()), false, None),
            (Ok(BETTER.to_owned()), false, Some(Ok(BETTER))),
            // What an operator asks for is done at once.
            (good(), true, Some(Ok(GOOD))),
            (good(), false, None),
            (good(), true, Some(Ok(GOOD))),
        ]
        .into_iter()
        .enumerate()
        {
            let outcome = follower.look(reading, is_asked);
            match (outcome, expected) {
                (None, None) => {}
                (Some(Ok(text)), Some(Ok(expected))) => assert_eq!(text, expected, "step {step}"),
                (Some(Err(error)), Some(Err(expected))) => {
                    assert!(error.0.starts_with(expected), "step {step}: {error}");
                }
                (outcome, _) => panic!("step {step}: {outcome:?}"),
            }
        }
    }
}
