//! What is written down of a request: the line of the log, the counts, and a point where a dataset is
//! bound.

use std::cell::RefCell;

use edgekeep_shared::error::Rejection;

use crate::carried::{Recorded, Recording};
use crate::metrics::{Counts, DataPoint, Gauges, Tally};
use crate::record::{Logged, Record};

/// Records the requests of an isolate.
#[derive(Debug, Default)]
pub struct Recorder {
    counts: RefCell<Counts>,
    has_dataset: bool,
    logged: Logged,
}

impl Recorder {
    /// A recorder that has counted nothing.
    pub fn new(has_dataset: bool, logged: Logged) -> Self {
        Self {
            counts: RefCell::default(),
            has_dataset,
            logged,
        }
    }

    /// Counts a request that is answered here, and says what to write.
    pub fn record(&self, record: &Record<'_>) -> Recorded {
        self.counts.borrow_mut().count(record);
        let is_logged = record.is_logged(self.logged);
        Recorded {
            line: if is_logged {
                record.line()
            } else {
                String::new()
            },
            point: self.point(record),
        }
    }

    /// Says what to write, and what to [count](Self::count), once the upstream has answered.
    pub fn prepare(&self, record: &Record<'_>) -> Recording {
        let mut counts = self.counts.borrow_mut();
        Recording {
            line: record.open_line(),
            is_logged: record.is_logged(self.logged),
            point: self.point(record),
            tally: counts.tally(record),
            unanswered: counts.tally(&Record {
                code: Some(Rejection::UpstreamUnavailable.code()),
                ..*record
            }),
        }
    }

    /// Counts a request whose upstream has answered, or not.
    pub fn count(&self, tally: Tally) {
        self.counts.borrow_mut().add(tally);
    }

    /// The counts so far, as text.
    pub fn text(&self, gauges: &Gauges) -> String {
        self.counts.borrow().text(gauges)
    }

    fn point(&self, record: &Record<'_>) -> String {
        if !self.has_dataset {
            return String::new();
        }
        // A struct of strings and numbers always serialises.
        serde_json::to_string(&DataPoint::of(record)).unwrap_or_default()
    }
}
