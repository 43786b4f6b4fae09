//! The time, and waiting for something to become true.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use edgekeep_shared::time::UnixTime;

/// How often [`eventually`] looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Since 1970.
///
/// # Panics
/// On a machine whose clock stands before that.
#[expect(
    clippy::disallowed_methods,
    reason = "these tests judge running processes: the machine's time is the one they share"
)]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Now, in whole seconds.
///
/// # Panics
/// As [`since_epoch`].
pub fn now() -> UnixTime {
    UnixTime(since_epoch().as_secs().try_into().unwrap())
}

/// Waits until `holds` gives something, and says how long that took; `None` after `limit`.
pub async fn eventually<T, F>(
    limit: Duration,
    mut holds: impl FnMut() -> F,
) -> Option<(T, Duration)>
where
    F: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(value) = holds().await {
            return Some((value, begun.elapsed()));
        }
        if begun.elapsed() >= limit {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
