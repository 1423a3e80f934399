//! A command as a list of byte strings.

use super::script::RemoteScript;

/// A command to send to the server, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a command does nothing until it is sent"]
pub struct RemoteCommand {
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    Script { keys: Vec<Vec<u8>>, arguments: Vec<Vec<u8>> },
    Delete { key: Vec<u8> },
}

impl RemoteCommand {
    pub(super) const fn script(keys: Vec<Vec<u8>>, arguments: Vec<Vec<u8>>) -> Self {
        Self { body: Body::Script { keys, arguments } }
    }

    /// Forgets a limit, so that it begins anew, whoever holds leases of it: what they hold is
    /// still spent. The reply is the number of keys that were there.
    pub const fn reset(name: Vec<u8>) -> Self {
        Self { body: Body::Delete { key: name } }
    }

    /// The parts by which to send it: the script by its sum. Where the server answers `NOSCRIPT`,
    /// nothing was done, and [`RemoteCommand::with_text`] does it.
    pub fn parts(&self) -> Vec<Vec<u8>> {
        self.render(b"EVALSHA", RemoteScript::SHA1.as_bytes())
    }

    /// The parts with the whole script, which the server keeps.
    pub fn with_text(&self) -> Vec<Vec<u8>> {
        self.render(b"EVAL", RemoteScript::TEXT.as_bytes())
    }

    /// The names of the keys, which on a cluster are all in one slot or the command is refused.
    pub fn keys(&self) -> &[Vec<u8>] {
        match &self.body {
            Body::Script { keys, .. } => keys,
            Body::Delete { key } => std::slice::from_ref(key),
        }
    }

    /// Hands the parts of [`RemoteCommand::parts`] to a client one by one, without copying them.
    pub fn each_part(&self, mut take: impl FnMut(&[u8])) {
        match &self.body {
            Body::Delete { key } => {
                take(b"DEL");
                take(key);
            }
            Body::Script { keys, arguments } => {
                take(b"EVALSHA");
                take(RemoteScript::SHA1.as_bytes());
                take(&number(keys.len() as u64));
                keys.iter().chain(arguments).for_each(|part| take(part));
            }
        }
    }

    fn render(&self, name: &[u8], script: &[u8]) -> Vec<Vec<u8>> {
        match &self.body {
            Body::Delete { key } => vec![b"DEL".to_vec(), key.clone()],
            Body::Script { keys, arguments } => {
                let mut parts = Vec::with_capacity(3 + keys.len() + arguments.len());
                parts.extend([name.to_vec(), script.to_vec(), number(keys.len() as u64)]);
                parts.extend(keys.iter().chain(arguments).cloned());
                parts
            }
        }
    }
}

pub(super) fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}
