//! Processor time for captchas, bounded: drawing an image and checking a proof of work are done
//! beside the threads that answer requests, few at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::Error;

/// At a time; the rest of the machine is for what captchas protect.
const RUNNING: usize = 2;

/// Running or waiting. An image or a check takes about a millisecond, so the last of these waits
/// for some thirty; one more is answered `unavailable`.
const PLACES: usize = 64;

/// Where work is handed in.
#[derive(Debug)]
pub(super) struct Work {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            running: Arc::new(Semaphore::new(RUNNING)),
        }
    }
}

impl Work {
    /// Does `work` when its turn comes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too much waits.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let busy = |_| Error::Unavailable("too many captchas at a time");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let turn = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| Error::Unavailable("stopping"))?;
        // The permits go with the work: a request that is given up does not make room for more.
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((place, turn));
            result
        });
        done.await
            .map_err(|_| Error::internal("captcha work panicked"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_so_much_waits() {
        let work = Arc::new(Work::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let mut tasks = Vec::new();
        for _ in 0..PLACES {
            let (work, held) = (Arc::clone(&work), Arc::clone(&held));
            tasks.push(tokio::spawn(async move {
                work.run(move || held.lock().map(|held| held.recv()).is_ok())
                    .await
            }));
        }
        while work.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(work.run(|| ()).await, Err(Error::Unavailable(_))));
        for _ in 0..PLACES {
            release.send(()).unwrap();
        }
        for task in tasks {
            assert!(task.await.unwrap().unwrap());
        }
        assert!(work.run(|| ()).await.is_ok());
    }
}
