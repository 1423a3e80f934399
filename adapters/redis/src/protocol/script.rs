//! The script.

/// The script that decides in Redis or Valkey, as [`Limiter`](keyward::limit::Limiter) does in memory.
///
/// [How the script decides](#how-the-script-decides) describes its data, its guarantee with all
/// conditions, and the proof for leases.
#[doc = ""]
#[doc = include_str!("how_it_decides.md")]
#[derive(Clone, Copy, Debug)]
pub struct RemoteScript;

impl RemoteScript {
    /// The text, in the Lua 5.1 of the servers.
    pub const TEXT: &str = include_str!("script.lua");

    /// The SHA-1 of the text in hexadecimal, with which a server finds a script that it has seen. A
    /// server that has not seen it replies `NOSCRIPT` and does nothing; then send
    /// [`RemoteCommand::parts_with_text`](crate::protocol::RemoteCommand::parts_with_text), which the
    /// server keeps.
    pub const SHA1: &str = "f49b37d9121d227529fd39f3dd545094a8155cc7";

    /// The line that reads the clock and sets how much longer keys live than they must. The text has
    /// it once. A test with a clock of its own replaces it and sends seconds and microseconds as last
    /// arguments.
    pub const CLOCK_LINE: &str = "local clock, slack = redis.call('TIME'), 0\n";
}

#[cfg(test)]
mod tests {
    use sha1::{Digest, Sha1};

    use super::*;

    #[test]
    fn the_sum_is_that_of_the_text() {
        let sum = Sha1::digest(RemoteScript::TEXT);
        assert_eq!(const_hex::encode(sum), RemoteScript::SHA1);
    }

    #[test]
    fn the_clock_is_read_in_one_place() {
        assert_eq!(RemoteScript::TEXT.matches(RemoteScript::CLOCK_LINE).count(), 1);
        assert_eq!(RemoteScript::TEXT.matches("'TIME'").count(), 1);
    }
}
