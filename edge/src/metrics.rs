//! What an isolate counts of its requests, and what it tells of each to Analytics Engine.
//!
//! Counts live as long as the isolate. On one's own machines that is the process, and they are
//! read at the gate; on Cloudflare isolates are many and short, and a data point a request goes to
//! an Analytics Engine dataset instead.

use core::fmt::Write as _;

use serde::Serialize;

use crate::record::Record;

/// Requests by what was decided, and how their tokens were judged.
#[derive(Debug, Default)]
pub struct Counts {
    /// By decision and code, in the order of their first.
    requests: Vec<(Outcome, u64)>,
    from_cache: u64,
    verified: u64,
    stale: u64,
}

/// A decision and the code of its refusal, empty where there is none.
type Outcome = (&'static str, &'static str);

/// What a request counts as, in one number: it goes to JavaScript with what is to be forwarded, and
/// comes back when that has been answered. 0 counts as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub u32);

/// Bits of a [`Tally`] below the number of its outcome.
const TALLY_BITS: u32 = 3;

/// What is true now and is not counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Seconds since the revocation list was signed; none without a list.
    pub list_age: Option<i64>,
    /// Entries of that list.
    pub list_entries: usize,
    /// Keys of the JWK Set that count.
    pub keys: usize,
    /// The number under which the policy was signed; none without one of the store.
    pub policy_sequence: Option<u64>,
}

/// One request as a data point of Analytics Engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataPoint<'a> {
    /// What points are sampled by: the decision, so that a flood of one kind hides no other.
    pub indexes: [&'a str; 1],
    /// Decision, code, route, method; empty where there is none.
    pub blobs: [&'a str; 4],
    /// Status; 1 where the signature was spared by the cache; 1 where a stale list was accepted;
    /// the list's age in seconds, -1 without one.
    pub doubles: [f64; 4],
}

impl Counts {
    /// Counts one request.
    pub fn count(&mut self, record: &Record<'_>) {
        let tally = self.tally(record);
        self.add(tally);
    }

    /// What `record` will count as.
    pub fn tally(&mut self, record: &Record<'_>) -> Tally {
        let outcome = (record.decision, record.code.unwrap_or_default());
        let known = self.requests.iter().position(|(own, _)| *own == outcome);
        let number = known.unwrap_or_else(|| {
            self.requests.push((outcome, 0));
            self.requests.len() - 1
        });
        let cached = match record.cached {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        // There are as many outcomes as decisions and codes, some hundred.
        let number = u32::try_from(number + 1).unwrap_or_default();
        Tally(number << TALLY_BITS | cached << 1 | u32::from(record.stale))
    }

    /// Counts a request that was told apart before.
    pub fn add(&mut self, tally: Tally) {
        let number = (tally.0 >> TALLY_BITS) as usize;
        let Some((_, count)) = number
            .checked_sub(1)
            .and_then(|at| self.requests.get_mut(at))
        else {
            return;
        };
        *count += 1;
        match tally.0 >> 1 & 3 {
            1 => self.verified += 1,
            2 => self.from_cache += 1,
            _ => {}
        }
        self.stale += u64::from(tally.0 & 1);
    }

    /// All of it in the text format of `OpenMetrics`.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let mut line = |arguments: core::fmt::Arguments<'_>| {
            let _ = text.write_fmt(arguments);
            text.push('\n');
        };
        line(format_args!(
            "# TYPE edgekeep_gate_requests counter\n\
             # HELP edgekeep_gate_requests Requests by decision, and by the code of the refusal."
        ));
        for ((decision, code), count) in self.requests.iter().filter(|(_, count)| *count > 0) {
            line(format_args!(
                "edgekeep_gate_requests_total{{decision=\"{decision}\",code=\"{code}\"}} {count}"
            ));
        }
        line(format_args!(
            "# TYPE edgekeep_gate_tokens counter\n\
             # HELP edgekeep_gate_tokens Accepted tokens, by whether the signature was verified or spared by the cache.\n\
             edgekeep_gate_tokens_total{{cached=\"false\"}} {}\n\
             edgekeep_gate_tokens_total{{cached=\"true\"}} {}\n\
             # TYPE edgekeep_gate_stale counter\n\
             # HELP edgekeep_gate_stale Requests that passed although the list was older than it should be.\n\
             edgekeep_gate_stale_total {}",
            self.verified, self.from_cache, self.stale
        ));
        if let Some(age) = gauges.list_age {
            line(format_args!(
                "# TYPE edgekeep_gate_list_age_seconds gauge\n\
                 # HELP edgekeep_gate_list_age_seconds Time since the revocation list was signed.\n\
                 edgekeep_gate_list_age_seconds {age}"
            ));
        }
        if let Some(sequence) = gauges.policy_sequence {
            line(format_args!(
                "# TYPE edgekeep_gate_policy_sequence gauge\n\
                 # HELP edgekeep_gate_policy_sequence Number under which the policy was signed.\n\
                 edgekeep_gate_policy_sequence {sequence}"
            ));
        }
        line(format_args!(
            "# TYPE edgekeep_gate_list_entries gauge\n\
             # HELP edgekeep_gate_list_entries Entries of the revocation list.\n\
             edgekeep_gate_list_entries {}\n\
             # TYPE edgekeep_gate_keys gauge\n\
             # HELP edgekeep_gate_keys Keys of the JWK Set that count.\n\
             edgekeep_gate_keys {}\n\
             # EOF",
            gauges.list_entries, gauges.keys
        ));
        text
    }
}

impl<'a> DataPoint<'a> {
    /// The point of one request.
    pub fn of(record: &Record<'a>) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds: exact for longer than anybody waits"
        )]
        let list_age = record.list_age.unwrap_or(-1) as f64;
        let flag = |set: bool| if set { 1.0 } else { 0.0 };
        Self {
            indexes: [record.decision],
            blobs: [
                record.decision,
                record.code.unwrap_or_default(),
                record.route.unwrap_or_default(),
                record.method,
            ],
            doubles: [
                f64::from(record.status),
                flag(record.cached == Some(true)),
                flag(record.stale),
                list_age,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            method: "GET",
            route: Some("/api/**"),
            decision: "forward",
            status: 200,
            ..Record::default()
        }
    }

    #[test]
    fn counts_by_decision_and_code() {
        let mut counts = Counts::default();
        counts.count(&Record {
            cached: Some(false),
            ..record()
        });
        counts.count(&Record {
            cached: Some(true),
            stale: true,
            ..record()
        });
        counts.count(&Record {
            decision: "refuse",
            code: Some("token_expired"),
            ..record()
        });
        let text = counts.text(&Gauges {
            list_age: Some(7),
            list_entries: 3,
            keys: 2,
            policy_sequence: Some(1_767_225_600_123),
        });
        for line in [
            "edgekeep_gate_requests_total{decision=\"forward\",code=\"\"} 2",
            "edgekeep_gate_requests_total{decision=\"refuse\",code=\"token_expired\"} 1",
            "edgekeep_gate_tokens_total{cached=\"false\"} 1",
            "edgekeep_gate_tokens_total{cached=\"true\"} 1",
            "edgekeep_gate_stale_total 1",
            "edgekeep_gate_list_age_seconds 7",
            "edgekeep_gate_list_entries 3",
            "edgekeep_gate_keys 2",
            "edgekeep_gate_policy_sequence 1767225600123",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let nothing_held = Counts::default().text(&Gauges::default());
        for name in ["list_age", "policy_sequence"] {
            assert!(!nothing_held.contains(name), "{nothing_held}");
        }
    }

    #[test]
    fn counts_what_was_forwarded_once_it_is_answered() {
        let mut counts = Counts::default();
        let text = |counts: &Counts| counts.text(&Gauges::default());
        let tally = counts.tally(&Record {
            cached: Some(true),
            stale: true,
            ..record()
        });
        assert!(!text(&counts).contains("decision="), "nothing yet");
        counts.add(tally);
        for line in [
            "edgekeep_gate_requests_total{decision=\"forward\",code=\"\"} 1",
            "edgekeep_gate_tokens_total{cached=\"true\"} 1",
            "edgekeep_gate_stale_total 1",
        ] {
            assert!(text(&counts).contains(line), "{line}");
        }
        // Of an instance that was before this one, or of nobody.
        let before = text(&counts);
        counts.add(Tally(0));
        counts.add(Tally(7));
        counts.add(Tally(u32::MAX));
        assert_eq!(text(&counts), before);
    }

    #[test]
    fn a_data_point_tells_neither_who_nor_what_for() {
        let point = DataPoint::of(&Record {
            path: Some("/api/people/7"),
            sub: Some("user-1"),
            sid: Some("session-1"),
            cached: Some(true),
            list_age: Some(12),
            ..record()
        });
        assert_eq!(point.indexes, ["forward"]);
        assert_eq!(point.blobs, ["forward", "", "/api/**", "GET"]);
        // As text: they are whole numbers, and lints rightly dislike comparing floats.
        assert_eq!(format!("{:?}", point.doubles), "[200.0, 1.0, 0.0, 12.0]");
        assert!(DataPoint::of(&record()).doubles[3] < 0.0);
    }
}
