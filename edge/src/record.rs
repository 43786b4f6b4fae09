//! One structured line for every request: what was decided and why, never a token.

use core::fmt::Write as _;

/// Which requests have a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logged {
    /// Each.
    #[default]
    All,
    /// Those that were refused or would have been, and those that passed by an old list.
    Refusals,
}

/// What is recorded of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// The correlation id, `X-Request-ID` in and out.
    pub request_id: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path: canonical where it was forwarded, as it came where it was refused. The query may
    /// hold anything, secrets included, and is left out.
    pub path: Option<&'a str>,
    /// The rule that decided.
    pub route: Option<&'a str>,
    /// `forward`, `refuse`, `preflight` or `report`.
    pub decision: &'static str,
    /// The code of the refusal, also where the rule only reports.
    pub code: Option<&'static str>,
    /// The status of the answer.
    pub status: u16,
    /// The subject of the verified token.
    pub sub: Option<&'a str>,
    /// The issuer of the verified token, where there are several.
    pub iss: Option<&'a str>,
    /// The session of the verified token.
    pub sid: Option<&'a str>,
    /// Whether the signature was spared by the cache.
    pub cached: Option<bool>,
    /// Whether the list was older than it should be and counted only because the rule allows it.
    pub stale: bool,
    /// Seconds since the revocation list was signed.
    pub list_age: Option<i64>,
}

/// The line of a request whose answer is yet to come: what stands around code and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<S> {
    /// Up to the code.
    pub head: S,
    /// The code, or nothing; with the comma behind it.
    pub code: S,
    /// What follows the status.
    pub tail: S,
}

impl Record<'_> {
    /// Whether it has a line.
    pub const fn is_logged(&self, logged: Logged) -> bool {
        matches!(logged, Logged::All) || self.code.is_some() || self.stale
    }

    /// The line, as JSON.
    pub fn line(&self) -> String {
        self.open_line().close(self.status)
    }

    /// The line without its status.
    pub fn open_line(&self) -> Line<String> {
        let mut head = String::with_capacity(192);
        head.push('{');
        member(&mut head, "request_id", self.request_id);
        member(&mut head, "method", self.method);
        for (name, value) in [("path", self.path), ("route", self.route)] {
            if let Some(value) = value {
                member(&mut head, name, value);
            }
        }
        member(&mut head, "decision", self.decision);
        let mut tail = String::with_capacity(128);
        for (name, value) in [("sub", self.sub), ("iss", self.iss), ("sid", self.sid)] {
            if let Some(value) = value {
                tail.push(',');
                member(&mut tail, name, value);
                tail.pop();
            }
        }
        // Writing into a string cannot fail.
        if let Some(cached) = self.cached {
            let _ = write!(tail, ",\"cached\":{cached}");
        }
        if self.stale {
            tail.push_str(",\"stale\":true");
        }
        if let Some(age) = self.list_age {
            let _ = write!(tail, ",\"list_age\":{age}");
        }
        tail.push('}');
        Line {
            head,
            code: self.code.map(code).unwrap_or_default(),
            tail,
        }
    }
}

impl<S: AsRef<str>> Line<S> {
    /// The whole line.
    pub fn close(&self, status: u16) -> String {
        self.with_code(self.code.as_ref(), status)
    }

    /// The whole line with this code instead.
    pub fn refused(&self, with: &str, status: u16) -> String {
        self.with_code(&code(with), status)
    }

    fn with_code(&self, code: &str, status: u16) -> String {
        let (head, tail) = (self.head.as_ref(), self.tail.as_ref());
        format!("{head}{code}\"status\":{status}{tail}")
    }
}

fn code(code: &str) -> String {
    format!("\"code\":\"{code}\",")
}

/// A member with the comma behind it.
fn member(line: &mut String, name: &str, value: &str) {
    line.push('"');
    line.push_str(name);
    line.push_str("\":");
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if value.bytes().all(plain) {
        line.push('"');
        line.push_str(value);
        line.push('"');
    } else {
        // A string always serialises.
        line.push_str(&serde_json::to_string(value).unwrap_or_default());
    }
    line.push(',');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_there_is_in_a_fixed_order() {
        let record = Record {
            request_id: "id-1",
            method: "GET",
            decision: "refuse",
            status: 400,
            ..Record::default()
        };
        assert_eq!(
            record.line(),
            r#"{"request_id":"id-1","method":"GET","decision":"refuse","status":400}"#
        );
        let record = Record {
            path: Some("/a"),
            route: Some("/**"),
            code: Some("token_expired"),
            sub: Some("user"),
            iss: Some("https://id.example"),
            sid: Some("session"),
            cached: Some(false),
            stale: true,
            list_age: Some(-1),
            ..record
        };
        let line = record.line();
        assert_eq!(
            line,
            r#"{"request_id":"id-1","method":"GET","path":"/a","route":"/**","decision":"refuse","code":"token_expired","status":400,"sub":"user","iss":"https://id.example","sid":"session","cached":false,"stale":true,"list_age":-1}"#
        );
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["status"], 400);
        let refused = record.open_line().refused("upstream_unavailable", 502);
        assert_eq!(
            refused,
            line.replace("token_expired", "upstream_unavailable")
                .replace("400", "502")
        );
    }

    #[test]
    fn without_the_rest_refusals_and_old_lists_have_a_line() {
        let passed = Record::default();
        let code = Some("insufficient_role");
        let reported = Record { code, ..passed };
        let stale = true;
        let by_an_old_list = Record { stale, ..passed };
        for (record, has_line) in [(passed, false), (reported, true), (by_an_old_list, true)] {
            assert!(record.is_logged(Logged::All));
            assert_eq!(record.is_logged(Logged::Refusals), has_line);
        }
    }

    #[test]
    fn is_one_line_of_json_whatever_is_in_it() {
        let hostile = "a\"b\\c\nd\u{0}e\u{7f}f\u{2028}ü";
        let record = Record {
            request_id: hostile,
            path: Some(hostile),
            sub: Some(hostile),
            ..Record::default()
        };
        let line = record.line();
        assert!(!line.contains('\n'));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        for member in ["request_id", "path", "sub"] {
            assert_eq!(parsed[member], hostile);
        }
    }
}
