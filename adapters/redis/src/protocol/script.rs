//! The script itself.

/// The script that decides in Redis or Valkey, as the [`Limiter`](crate::limit::Limiter) does in memory.
///
/// [How the limiter decides elsewhere](#how-the-limiter-decides-elsewhere) has what it keeps, what
/// it guarantees and under which conditions, and the proof for leases.
#[doc = ""]
#[doc = include_str!("how_it_decides_elsewhere.md")]
#[derive(Clone, Copy, Debug)]
pub struct RemoteScript;

impl RemoteScript {
    /// The text, in Lua 5.1 as servers have it.
    pub const TEXT: &str = include_str!("script.lua");

    /// The SHA-1 of the text in hexadecimal, by which a server that has seen it finds it. A server
    /// that has not answers `NOSCRIPT` and has done nothing: then send
    /// [`RemoteCommand::with_text`](crate::limit::RemoteCommand::with_text), which is kept from then on.
    pub const SHA1: &str = "53bfecb611d48b0928046bd2377a29cfec7b3411";

    /// The line that reads the clock and says how much longer keys live than they must. It stands
    /// in the text once; a test that wants a clock of its own replaces it and sends seconds and
    /// microseconds as last arguments.
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
