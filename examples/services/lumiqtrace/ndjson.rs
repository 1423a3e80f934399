//! Events, one JSON object per line.

use std::collections::BTreeMap;

use keyward::key::OwnerId;
use serde_json::value::{RawValue, to_raw_value};
use thiserror::Error;

/// Returns the events in order, or an error if one line is wrong. In each event, `project_id` is set to
/// the project of the key. All other members are kept as they were sent.
///
/// Lines end with LF or CRLF; the last line can end without either. A blank line is not a JSON object
/// and is refused. An empty body has no lines.
pub(crate) fn parse(body: &[u8], project: &OwnerId) -> Result<Vec<Box<RawValue>>, LineError> {
    let body = body
        .strip_suffix(b"\n")
        .map_or_else(|| if body.is_empty() { None } else { Some(body) }, Some);
    let lines = body.into_iter().flat_map(|body| body.split(|&byte| byte == b'\n'));
    lines
        .zip(1..)
        .map(|(text, line)| event(text, project).map_err(|problem| LineError { line, problem }))
        .collect()
}

/// The number of the wrong line, from 1, and the reason. The text repeats nothing of the line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub(crate) struct LineError {
    line: usize,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Problem {
    #[error("not UTF-8")]
    NotUtf8,
    #[error("blank")]
    Blank,
    #[error("not JSON")]
    NotJson,
    #[error("not a JSON object")]
    NotAnObject,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not a string of at least one character")]
    NotAnId(&'static str),
    #[error("timestamp is neither a string nor a number")]
    NotATimestamp,
}

fn event(line: &[u8], project: &OwnerId) -> Result<Box<RawValue>, Problem> {
    let text = str::from_utf8(line).map_err(|_| Problem::NotUtf8)?;
    if text.trim_ascii().is_empty() {
        return Err(Problem::Blank);
    }
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(text)
        .map_err(|error| if error.is_data() { Problem::NotAnObject } else { Problem::NotJson })?;
    for id in ["event_id", "trace_id", "span_id"] {
        let value = members.get(id).ok_or(Problem::Missing(id))?.get();
        if !value.starts_with('"') || value == r#""""# {
            return Err(Problem::NotAnId(id));
        }
    }
    let timestamp = members.get("timestamp").ok_or(Problem::Missing("timestamp"))?.get();
    if timestamp == r#""""# || !timestamp.starts_with(['"', '-']) && !starts_with_digit(timestamp) {
        return Err(Problem::NotATimestamp);
    }
    let project = to_raw_value(project).map_err(|_| Problem::NotJson)?;
    members.insert("project_id".to_owned(), &project);
    to_raw_value(&members).map_err(|_| Problem::NotJson)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|character: char| character.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: OwnerId = OwnerId::from_static("proj_abc123");
    const GOOD: &str = r#"{"event_id":"e","trace_id":"t","span_id":"s","timestamp":1}"#;

    fn accepted(body: impl AsRef<[u8]>) -> Result<usize, String> {
        parse(body.as_ref(), &PROJECT).map(|events| events.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_one_with_nothing() {
        assert_eq!(accepted(""), Ok(0));
        assert_eq!(accepted(GOOD), Ok(1));
        assert_eq!(accepted(format!("{GOOD}\n")), Ok(1));
        assert_eq!(accepted(format!("{GOOD}\r\n{GOOD}\r\n")), Ok(2));
        assert_eq!(accepted(format!("{GOOD}\n  {GOOD}\t\n")), Ok(2));
    }

    #[test]
    fn the_first_bad_line_is_named() {
        for (bad, error) in [
            ("", "blank"),
            (" \t\r", "blank"),
            ("null", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("\"event_id\"", "not a JSON object"),
            ("{", "not JSON"),
            ("{}x", "not JSON"),
            ("\u{feff}{}", "not JSON"),
            ("{}", "event_id is missing"),
            (r#"{"event_id":"e","trace_id":"t","span_id":"s"}"#, "timestamp is missing"),
            (r#"{"event_id":7}"#, "event_id is not a string of at least one character"),
            (
                r#"{"event_id":"e","trace_id":""}"#,
                "trace_id is not a string of at least one character",
            ),
            (
                r#"{"event_id":"e","trace_id":"t","span_id":null}"#,
                "span_id is not a string of at least one character",
            ),
            (
                r#"{"event_id":"e","trace_id":"t","span_id":"s","timestamp":{}}"#,
                "timestamp is neither a string nor a number",
            ),
            (
                r#"{"event_id":"e","trace_id":"t","span_id":"s","timestamp":true}"#,
                "timestamp is neither a string nor a number",
            ),
        ] {
            let body = format!("{GOOD}\n{GOOD}\n{bad}\n{GOOD}\n[");
            assert_eq!(accepted(body), Err(format!("line 3: {error}")), "{bad:?}");
        }
        let mut body = format!("{GOOD}\n").into_bytes();
        body.extend(b"{\"event_id\":\"\xff\"}");
        assert_eq!(accepted(body), Err("line 2: not UTF-8".to_owned()));
        assert_eq!(accepted("\n"), Err("line 1: blank".to_owned()));
        assert_eq!(accepted(format!("{GOOD}\n\n")), Err("line 2: blank".to_owned()));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(500_000);
        assert_eq!(accepted(format!("{{\"x\":{deep}")), Err("line 1: not JSON".to_owned()));
    }

    #[test]
    fn the_project_is_the_keys_and_the_rest_is_kept() {
        let line = r#"{"event_id":"e","trace_id":"t","span_id":"s","timestamp":1,"project_id":"x","n":12345678901234567890123}"#;
        let events = parse(line.as_bytes(), &PROJECT).unwrap();
        let text = events[0].get();
        assert!(text.contains(r#""project_id":"proj_abc123""#), "{text}");
        assert!(text.contains(r#""n":12345678901234567890123"#), "{text}");
        assert!(!text.contains(r#""x""#), "{text}");
    }
}
