//! What about a server would weaken the limit.

use std::fmt;

use redis::Value;

/// What was found out about a server, or about each node of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerReport {
    warnings: Vec<ServerWarning>,
}

impl ServerReport {
    /// What to tell whoever runs it; empty if all is well.
    pub fn warnings(&self) -> &[ServerWarning] {
        &self.warnings
    }
}

/// Something about a server that weakens the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerWarning {
    /// When its memory is full it drops keys, and a key that was dropped begins anew: up to
    /// another limit is admitted within a window. `noeviction` makes it refuse to count instead.
    MayEvict {
        /// Its `maxmemory-policy`.
        policy: String,
    },
    /// It does not tell its `maxmemory-policy`.
    PolicyUnknown,
}

impl fmt::Display for ServerWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayEvict { policy } => write!(
                f,
                "maxmemory-policy is {policy}: limits may be forgotten when memory is full; set noeviction"
            ),
            Self::PolicyUnknown => f.write_str("the server does not tell its maxmemory-policy"),
        }
    }
}

/// Reads `INFO memory`, of one server or, by address, of each node.
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
