//! The threads that hash passwords, and the queue before them.
//!
//! They are threads of their own and not tokio's for blocking work, since what they do takes every
//! core there is: the one that has finished takes the next hash at once, where a permit that was
//! given back would first have to wake a task, and that task a thread, while a core has nothing to
//! do. Each keeps the memory of a hash.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use argon2::Block;
use tokio::sync::oneshot;

use crate::error::Error;

/// A bounded queue, and the threads that work it off.
pub(super) struct Turns {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Told when there is work, or when there will be none.
    ready: Condvar,
    /// What waits or runs.
    taken: AtomicUsize,
    /// How much may.
    most: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

impl Turns {
    /// So many `threads`, which keep memory of `usual` blocks each; `most` may wait or run.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn new(threads: usize, most: usize, usual: usize) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
            taken: AtomicUsize::new(0),
            most,
        });
        // Made first: if one cannot be started, dropping it ends those that were.
        let turns = Self { shared };
        for number in 0..threads {
            let shared = Arc::clone(&turns.shared);
            thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || shared.work(usual))
                .map_err(|error| Error::internal(format!("a thread to hash: {error}")))?;
        }
        Ok(turns)
    }

    /// How much waits or runs.
    pub(super) fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// Runs `work` when its turn comes. What nobody waits for any more is not begun.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too much waits already.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = Place::take(&self.shared)?;
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move |memory: &mut Memory| {
            // In this order, so that a panic, too, gives the place back before anybody hears of it.
            let sender = sender;
            let place = place;
            if !sender.is_closed() {
                let done = work(memory);
                // Whoever has the answer finds the place free.
                drop(place);
                // Nobody may wait for it any more.
                let _ = sender.send(done);
            }
        });
        self.shared.lock().jobs.push_back(job);
        self.shared.ready.notify_one();
        receiver
            .await
            .map_err(|_| Error::internal("what was to be hashed has panicked"))
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.ready.notify_all();
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("taken", &self.taken())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; nothing once there will be none.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.is_closed {
                return None;
            }
            queue = self
                .ready
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self, usual: usize) {
        let mut memory = Memory {
            usual,
            blocks: Vec::new(),
        };
        while let Some(job) = self.next() {
            // One that panics answers its request with an error, and the thread goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| job(&mut memory)));
            memory.let_go();
        }
    }
}

/// The memory of one hash.
///
/// It is not wiped in between, as argon2 does not wipe what it frees: the next hash writes every
/// block before it reads it, and what stands there is derived from a keyed hash.
pub(super) struct Memory {
    /// Blocks of one hash with today's parameters.
    usual: usize,
    blocks: Vec<Block>,
}

impl Memory {
    /// At least so many `blocks`; more than usual where a stored hash asks for it.
    pub(super) fn blocks(&mut self, blocks: usize) -> &mut [Block] {
        if self.blocks.len() < blocks {
            // Made anew, not grown: growing would copy what nobody reads.
            self.blocks = Vec::new();
            self.blocks = vec![Block::new(); blocks.max(self.usual)];
        }
        &mut self.blocks
    }

    /// Keeps no more than is usual.
    fn let_go(&mut self) {
        if self.blocks.len() > self.usual {
            self.blocks = Vec::new();
        }
    }
}

/// A place among what waits or runs, given back when dropped.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Result<Self, Error> {
        let place = Self(Arc::clone(shared));
        if shared.taken.fetch_add(1, Ordering::SeqCst) >= shared.most {
            return Err(Error::Unavailable("too many passwords wait to be hashed"));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Occupies the one thread of `turns` until the sender is dropped.
    async fn occupy(turns: &Arc<Turns>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (release, held) = mpsc::channel::<()>();
        let (starting, started) = oneshot::channel();
        let turns = Arc::clone(turns);
        let running = tokio::spawn(async move {
            let work = move |_: &mut Memory| {
                starting.send(()).unwrap();
                let _ = held.recv();
            };
            turns.take(work).await.unwrap();
        });
        started.await.unwrap();
        (release, running)
    }

    #[tokio::test]
    async fn a_full_queue_is_refused_and_empties_again() {
        let turns = Arc::new(Turns::new(1, 2, 8).unwrap());
        let (release, running) = occupy(&turns).await;
        let waiting = {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.take(|_| 7).await })
        };
        while turns.taken() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            turns.take(|_| 8).await,
            Err(Error::Unavailable(_))
        ));
        drop(release);
        running.await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), 7);
        assert_eq!(turns.taken(), 0);
        assert_eq!(turns.take(|_| 9).await.unwrap(), 9);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let turns = Arc::new(Turns::new(1, 9, 8).unwrap());
        let (release, running) = occupy(&turns).await;
        let (starting, started) = mpsc::channel();
        let abandoned = turns.take(move |_| starting.send(()).unwrap());
        assert!(
            tokio::time::timeout(Duration::from_millis(1), abandoned)
                .await
                .is_err()
        );
        // Its place is taken until its turn comes, so that a flood of requests that are given up
        // fills no memory.
        assert_eq!(turns.taken(), 2);
        drop(release);
        running.await.unwrap();
        turns.take(|_| ()).await.unwrap();
        assert!(started.recv().is_err());
        assert_eq!(turns.taken(), 0);
    }

    #[tokio::test]
    async fn a_panic_is_one_request_s() {
        let turns = Turns::new(1, 9, 8).unwrap();
        let outcome = turns.take(|_| assert_eq!(1, 2)).await;
        assert!(matches!(outcome, Err(Error::Internal(_))));
        assert_eq!(turns.taken(), 0);
        assert_eq!(turns.take(|_| 3).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn no_more_memory_is_kept_than_is_usual() {
        let turns = Turns::new(1, 9, 8).unwrap();
        for (wanted, lent) in [(4, 8), (8, 8), (16, 16), (8, 8), (1, 8)] {
            let blocks = turns.take(move |memory| memory.blocks(wanted).len());
            assert_eq!(blocks.await.unwrap(), lent, "{wanted}");
        }
    }

    #[tokio::test]
    async fn threads_end_with_their_queue() {
        let turns = Turns::new(3, 9, 8).unwrap();
        let shared = Arc::downgrade(&turns.shared);
        turns.take(|_| ()).await.unwrap();
        drop(turns);
        while shared.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
