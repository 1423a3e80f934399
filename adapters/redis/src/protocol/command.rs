//! A command as a list of byte strings.

use crate::limit::remote::script::RemoteScript;

/// A command to send to the server, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a command does nothing until it is sent"]
pub struct RemoteCommand {
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    /// What is asked, packed as the script says at its top.
    Script {
        keys: Vec<Vec<u8>>,
        asked: Vec<u8>,
    },
    Delete {
        key: Vec<u8>,
    },
}

impl RemoteCommand {
    pub(super) const fn script(keys: Vec<Vec<u8>>, asked: Vec<u8>) -> Self {
        Self { body: Body::Script { keys, asked } }
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
            Body::Script { keys, asked } => {
                take(b"EVALSHA");
                take(RemoteScript::SHA1.as_bytes());
                take(&number(keys.len() as u64));
                keys.iter().for_each(|key| take(key));
                take(asked);
            }
        }
    }

    fn render(&self, name: &[u8], script: &[u8]) -> Vec<Vec<u8>> {
        match &self.body {
            Body::Delete { key } => vec![b"DEL".to_vec(), key.clone()],
            Body::Script { keys, asked } => {
                let mut parts = Vec::with_capacity(4 + keys.len());
                parts.extend([name.to_vec(), script.to_vec(), number(keys.len() as u64)]);
                parts.extend(keys.iter().cloned());
                parts.push(asked.clone());
                parts
            }
        }
    }
}

fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The low bytes of `number`, little-endian. All that is packed fits: windows are at most a year,
/// which is 35 bits of milliseconds, and stamps are milliseconds since 1970, or fewer.
pub(super) fn pack(asked: &mut Vec<u8>, number: u64, bytes: usize) {
    asked.extend(number.to_le_bytes().into_iter().take(bytes));
}
