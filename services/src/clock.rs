//! Time, read in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use edgekeep_shared::gate::refresh::Millis;

/// Where the time comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands still until a test sets it; milliseconds since 1970.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at so many milliseconds since 1970 until [`set`](Self::set) moves it.
    pub fn fixed(at: Millis) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at)))
    }

    /// Sets a fixed clock, and those that were cloned from it; the machine's is left alone.
    pub fn set(&self, at: Millis) {
        if let Self::Fixed(clock) = self {
            clock.store(at, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> Millis {
        match self {
            Self::System => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the one place where the machine's clock is read"
                )]
                let now = SystemTime::now();
                // A clock before 1970 reads as the epoch: every token is then not valid yet.
                let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX)
            }
            Self::Fixed(clock) => clock.load(Ordering::SeqCst),
        }
    }
}
