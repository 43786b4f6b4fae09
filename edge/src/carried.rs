//! What JavaScript is told to do: one text, a line for each part of it.
//!
//! JavaScript carries and decides nothing. It makes the answer that stands here, or sends on the
//! request with the changes that stand here; `shim.js` has the other half of this format. No part has
//! a line feed in it but a body, which comes last: header values and URLs cannot hold one, and in a
//! line of the log it is escaped.

use core::fmt::Write as _;

use edgekeep_shared::{
    error::Rejection,
    gate::Refusal,
    policy::{Caching, is_other_cache_field},
};

use crate::{
    answer::{self, Answer, Changes, Fields},
    metrics::Tally,
    record::Line,
    upstream::Outgoing,
};

/// The lines of a [`forward`] before its lists.
const FORWARD_LINES: usize = 17;

/// What is written down about a request that is answered here.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The line of the log.
    pub line: String,
    /// The data point as JSON; empty where there is no dataset.
    pub point: String,
}

/// What is written down about a request once the upstream has answered.
#[derive(Debug)]
pub struct Recording {
    /// The line of the log.
    pub line: Line<String>,
    /// Whether it is written if the upstream answers. If not, it is in any case.
    pub is_logged: bool,
    /// The data point as JSON; empty where there is no dataset.
    pub point: String,
    /// What it counts as.
    pub tally: Tally,
    /// What it counts as if the upstream does not answer.
    pub unanswered: Tally,
}

/// Make this answer.
pub fn answer(answer: &Answer<'_>, recorded: &Recorded) -> String {
    let mut text = String::with_capacity(1_024);
    let Recorded { line, point } = recorded;
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "answer\n{}\n{line}\n{point}\n{}",
        answer.status,
        answer.fields.len()
    );
    write_fields(&mut text, &answer.fields);
    text.push('\n');
    text.push_str(&answer.body);
    text
}

/// Send the request on. `network` says that it goes there whatever is bound; `changes` are made in what
/// is answered; `request_id` and `recording` are for what comes of it.
pub fn forward(
    outgoing: &Outgoing<'_>,
    network: bool,
    changes: &Changes,
    request_id: &str,
    recording: &Recording,
) -> String {
    let mut text = String::with_capacity(1_536);
    let Changes {
        dropped,
        added,
        caching,
    } = changes;
    let Recording {
        line: Line { head, code, tail },
        is_logged,
        point,
        tally,
        unanswered,
    } = recording;
    let _ = write!(
        text,
        "forward\n{}\n{}\n{}\n{head}\n{code}\n{tail}\n{point}\n{}\n{}\n{request_id}\n{}\n{}\n{}\n{}\n{}\n{}",
        outgoing.url,
        if network { "network" } else { "" },
        if outgoing.is_private { "no-store" } else { "" },
        tally.0,
        unanswered.0,
        outgoing.removed.len(),
        outgoing.set.len(),
        added.len(),
        dropped.len(),
        word(*caching),
        if *is_logged { "logged" } else { "" },
    );
    for name in &outgoing.removed {
        text.push('\n');
        text.push_str(name);
    }
    write_fields(&mut text, &outgoing.set);
    write_fields(&mut text, added);
    for name in *dropped {
        text.push('\n');
        text.push_str(name);
    }
    text
}

/// How a [`forward`] says who may keep the answer; nothing where that is the upstream's to say.
const fn word(caching: Caching) -> &'static str {
    match caching {
        Caching::Upstream => "",
        Caching::Private => "private",
        Caching::NoStore => "no-store",
    }
}

/// `Cache-Control` of an answer that came with `upstream`, by the word of its [`forward`]. By a word
/// that is none of these nobody may keep it.
pub fn cache_control(word: &str, upstream: &str) -> String {
    let caching = match word {
        "private" => Caching::Private,
        _ => Caching::NoStore,
    };
    caching.control(Some(upstream)).unwrap_or_default()
}

/// Those of the names of an answer's header fields, a line each, by which caches go beside `Cache-Control`.
pub fn other_cache_fields(names: &str) -> String {
    let others: Vec<&str> = names
        .split('\n')
        .filter(|name| is_other_cache_field(name))
        .collect();
    others.join("\n")
}

/// Ask again and wait; `verified` says that the signature was verified for this very request.
pub fn wait(verified: bool) -> String {
    format!("wait\n{verified}")
}

/// Verify the signature of this number, and ask again with the verdict.
pub fn signature(ticket: u32) -> String {
    format!("signature\n{ticket}")
}

/// What to do about `text`, a [`forward`] whose upstream does not answer, which is to refuse it; nothing if
/// it is none. `is_https` says that the request has come over TLS.
pub fn unanswered(text: &str, is_https: bool) -> Option<String> {
    let lines: Vec<&str> = text.split('\n').collect();
    let at = |index: usize| lines.get(index).copied();
    let number = |index: usize| at(index)?.parse::<usize>().ok();
    if at(0) != Some("forward") {
        return None;
    }
    let line = Line {
        head: at(4)?,
        code: at(5)?,
        tail: at(6)?,
    };
    let refusal = Refusal::new(Rejection::UpstreamUnavailable, None);
    let mut refused = answer::refuse(&refusal, None, at(10)?).over_tls(is_https);
    let added = FORWARD_LINES + number(11)? + 2 * number(12)?;
    let added = lines.get(added..added + 2 * number(13)?)?;
    for pair in added.chunks_exact(2) {
        if let [name, value] = pair {
            refused.fields.push((*name, (*value).to_owned()));
        }
    }
    let code = refusal.rejection.code();
    let recorded = Recorded {
        line: line.refused(code, refused.status),
        point: at(7)
            .map(|point| with_code(point, code, refused.status))
            .unwrap_or_default(),
    };
    Some(answer(&refused, &recorded))
}

/// The data point with a code and a status, if it is one.
fn with_code(point: &str, code: &str, status: u16) -> String {
    let Ok(mut point) = serde_json::from_str::<serde_json::Value>(point) else {
        return String::new();
    };
    if let Some(known) = point.pointer_mut("/blobs/1") {
        *known = code.into();
    }
    if let Some(known) = point.pointer_mut("/doubles/0") {
        *known = status.into();
    }
    point.to_string()
}

fn write_fields(text: &mut String, fields: &Fields<'_>) {
    for (name, value) in fields {
        text.push('\n');
        text.push_str(name);
        text.push('\n');
        text.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn recording() -> Recording {
        let record = Record {
            request_id: "id-1",
            method: "GET",
            decision: "report",
            code: Some("insufficient_role"),
            ..Record::default()
        };
        Recording {
            line: record.open_line(),
            is_logged: true,
            point: r#"{"indexes":["report"],"blobs":["report","insufficient_role","","GET"],"doubles":[0.0]}"#.into(),
            tally: Tally(8),
            unanswered: Tally(16),
        }
    }

    fn changes() -> Changes {
        Changes {
            dropped: &[
                "Access-Control-Allow-Origin",
                "Access-Control-Allow-Credentials",
            ],
            added: vec![("Vary", "Origin".to_owned())],
            caching: Caching::NoStore,
        }
    }

    fn outgoing() -> Outgoing<'static> {
        Outgoing {
            url: "http://upstream/a?b".into(),
            removed: vec!["x-user-id", "te"],
            set: vec![("X-Request-ID", "id-1".into()), ("X-User-ID", "u".into())],
            is_private: true,
        }
    }

    #[test]
    fn has_a_line_for_each_part() {
        let text = forward(&outgoing(), true, &changes(), "id-1", &recording());
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(
            lines[..4],
            ["forward", "http://upstream/a?b", "network", "no-store"]
        );
        assert_eq!(
            lines[8..FORWARD_LINES],
            ["8", "16", "id-1", "2", "2", "1", "2", "no-store", "logged"]
        );
        assert_eq!(
            lines[FORWARD_LINES..],
            [
                "x-user-id",
                "te",
                "X-Request-ID",
                "id-1",
                "X-User-ID",
                "u",
                "Vary",
                "Origin",
                "Access-Control-Allow-Origin",
                "Access-Control-Allow-Credentials"
            ]
        );
        let made = Answer {
            status: 200,
            fields: vec![("A", "b".to_owned())],
            body: "one\ntwo".to_owned(),
        };
        let text = answer(&made, &Recorded::default());
        assert_eq!(text, "answer\n200\n\n\n1\nA\nb\none\ntwo");
    }

    #[test]
    fn says_who_may_keep_an_answer() {
        let control = "public, max-age=60";
        for (caching, expected) in [
            (Caching::Private, "private, max-age=60"),
            (Caching::NoStore, "no-store"),
        ] {
            assert_eq!(cache_control(word(caching), control), expected);
        }
        assert_eq!(cache_control("public", control), "no-store");
        let names = "age\nakamai-cache-control\ncache-control\nexpires\nvary";
        assert_eq!(other_cache_fields(names), "akamai-cache-control\nexpires");
        assert_eq!(other_cache_fields(""), "");
        let changes = Changes::default();
        let recording = Recording {
            is_logged: false,
            ..recording()
        };
        let text = forward(&outgoing(), true, &changes, "id-1", &recording);
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[14..FORWARD_LINES], ["0", "", ""]);
        assert_eq!(lines.len(), FORWARD_LINES + 2 + 2 * 2);
    }

    #[test]
    fn a_request_without_an_upstream_is_refused_and_recorded_so() {
        let text = forward(&outgoing(), false, &changes(), "id-1", &recording());
        let refused = unanswered(&text, true).unwrap();
        let lines: Vec<&str> = refused.split('\n').collect();
        assert_eq!(lines[..2], ["answer", "502"]);
        assert_eq!(
            lines[2],
            r#"{"request_id":"id-1","method":"GET","decision":"report","code":"upstream_unavailable","status":502}"#
        );
        let point: serde_json::Value = serde_json::from_str(lines[3]).unwrap();
        assert_eq!(point["blobs"][1], "upstream_unavailable");
        assert_eq!(point["doubles"][0], 502);
        assert!(refused.contains("\nX-Request-ID\nid-1\n"));
        assert!(refused.contains("\nStrict-Transport-Security\n"));
        assert!(refused.contains("\nVary\nOrigin\n{"));
        for other in ["", "answer\n200", "forward", "forward\n1\n2"] {
            assert!(unanswered(other, true).is_none(), "{other}");
        }
    }
}
