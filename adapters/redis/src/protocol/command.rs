//! A command as a list of byte strings.

use crate::protocol::script::RemoteScript;

/// A command for the server, as a list of byte strings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a command does nothing until it is sent"]
pub struct RemoteCommand {
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    /// The packed argument, as the top of the script describes it.
    Script {
        keys: Vec<Vec<u8>>,
        argument: Vec<u8>,
    },
    Delete {
        key: Vec<u8>,
    },
}

impl RemoteCommand {
    pub(super) const fn script(keys: Vec<Vec<u8>>, argument: Vec<u8>) -> Self {
        Self { body: Body::Script { keys, argument } }
    }

    /// Builds the command that forgets a limit. Permits that were leased of it are still spent. The
    /// reply is the number of keys that existed.
    pub const fn reset(name: Vec<u8>) -> Self {
        Self { body: Body::Delete { key: name } }
    }

    /// Returns the parts to send, which name the script by its SHA-1. If the server replies
    /// `NOSCRIPT` it did nothing; then send [`RemoteCommand::parts_with_text`].
    pub fn parts(&self) -> Vec<Vec<u8>> {
        self.render(b"EVALSHA", RemoteScript::SHA1.as_bytes())
    }

    /// Returns the parts with the whole script, which the server then keeps.
    pub fn parts_with_text(&self) -> Vec<Vec<u8>> {
        self.render(b"EVAL", RemoteScript::TEXT.as_bytes())
    }

    /// Returns the names of the keys. A cluster refuses the command unless all lie in one slot.
    pub fn keys(&self) -> &[Vec<u8>] {
        match &self.body {
            Body::Script { keys, .. } => keys,
            Body::Delete { key } => std::slice::from_ref(key),
        }
    }

    /// Calls `take` with each part of [`RemoteCommand::parts`], without copying.
    pub fn each_part(&self, mut take: impl FnMut(&[u8])) {
        match &self.body {
            Body::Delete { key } => {
                take(b"DEL");
                take(key);
            }
            Body::Script { keys, argument } => {
                take(b"EVALSHA");
                take(RemoteScript::SHA1.as_bytes());
                take(&number(keys.len() as u64));
                keys.iter().for_each(|key| take(key));
                take(argument);
            }
        }
    }

    fn render(&self, name: &[u8], script: &[u8]) -> Vec<Vec<u8>> {
        match &self.body {
            Body::Delete { key } => vec![b"DEL".to_vec(), key.clone()],
            Body::Script { keys, argument } => {
                let mut parts = Vec::with_capacity(4 + keys.len());
                parts.extend([name.to_vec(), script.to_vec(), number(keys.len() as u64)]);
                parts.extend(keys.iter().cloned());
                parts.push(argument.clone());
                parts
            }
        }
    }
}

fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}
