//! A command as a list of byte strings.

use crate::protocol::script::RemoteScript;

/// A command for the server, as a list of byte strings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a command does nothing until it is sent"]
pub struct RemoteCommand {
    keys: Vec<Vec<u8>>,
    /// The packed argument, as the top of the script describes it.
    argument: Vec<u8>,
}

/// The number of the script's action.
const FORGET: u8 = 5;

impl RemoteCommand {
    pub(super) const fn script(keys: Vec<Vec<u8>>, argument: Vec<u8>) -> Self {
        Self { keys, argument }
    }

    /// Builds the command that forgets all windows of a limit. Permits that were leased of it are
    /// still spent. The reply is one byte: 1 if the limit existed, else 0.
    pub fn reset(name: Vec<u8>) -> Self {
        Self::script(vec![name], vec![FORGET])
    }

    /// Returns the parts to send, which name the script by its SHA-1. If the server replies
    /// `NOSCRIPT` it did nothing; then send [`RemoteCommand::parts_with_text`].
    pub fn parts(&self) -> Vec<Vec<u8>> {
        self.list(b"EVALSHA", RemoteScript::SHA1.as_bytes())
    }

    /// Returns the parts with the whole script, which the server then keeps.
    pub fn parts_with_text(&self) -> Vec<Vec<u8>> {
        self.list(b"EVAL", RemoteScript::TEXT.as_bytes())
    }

    /// Returns the names of the limits. A cluster refuses the command unless all lie in one slot.
    ///
    /// The script also uses keys whose names begin with one of these and `:`. They lie in the same
    /// slot, because the part in braces is the same.
    pub fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// Calls `take` with each part of [`RemoteCommand::parts`], without copying.
    pub fn each_part(&self, take: impl FnMut(&[u8])) {
        self.render(b"EVALSHA", RemoteScript::SHA1.as_bytes(), take);
    }

    fn list(&self, name: &[u8], script: &[u8]) -> Vec<Vec<u8>> {
        let mut parts = Vec::with_capacity(4 + self.keys.len());
        self.render(name, script, |part| parts.push(part.to_vec()));
        parts
    }

    fn render(&self, name: &[u8], script: &[u8], mut take: impl FnMut(&[u8])) {
        take(name);
        take(script);
        take(&number(self.keys.len() as u64));
        self.keys.iter().for_each(|key| take(key));
        take(&self.argument);
    }
}

fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}
