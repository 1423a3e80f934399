//! Settings of a server that weaken the limit.

use std::fmt;

use redis::Value;

/// The findings about a server, or about each node of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerReport {
    warnings: Vec<ServerWarning>,
}

impl ServerReport {
    /// Returns the warnings to log; empty if there is nothing to change.
    pub fn warnings(&self) -> &[ServerWarning] {
        &self.warnings
    }
}

/// A setting of a server that weakens the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerWarning {
    /// The server drops keys when its memory is full. A dropped limit starts from zero, so up to
    /// another limit is admitted within a window. With `noeviction` the server refuses to count
    /// instead.
    MayEvict {
        /// The server's `maxmemory-policy`.
        policy: String,
    },
    /// The server does not report its `maxmemory-policy`.
    PolicyUnknown,
}

impl fmt::Display for ServerWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayEvict { policy } => write!(
                f,
                "maxmemory-policy is {policy}: limits may be forgotten when memory is full; set noeviction"
            ),
            Self::PolicyUnknown => f.write_str("the server does not report its maxmemory-policy"),
        }
    }
}

/// Reads the reply to `INFO memory`, of one server or, by address, of each node.
pub(crate) fn read(reply: &Value) -> Option<ServerReport> {
    let mut warnings = Vec::new();
    match reply {
        Value::Map(nodes) => {
            for (_, info) in nodes {
                warnings.extend(warning(text(info)?));
            }
        }
        info => warnings.extend(warning(text(info)?)),
    }
    warnings.dedup();
    Some(ServerReport { warnings })
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn warning(info: &str) -> Option<ServerWarning> {
    let mut lines = info.lines();
    match lines.find_map(|line| line.trim().strip_prefix("maxmemory_policy:")) {
        Some("noeviction") => None,
        Some(policy) => {
            let letters = policy.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
            Some(ServerWarning::MayEvict { policy: letters.take(32).collect() })
        }
        None => Some(ServerWarning::PolicyUnknown),
    }
}
