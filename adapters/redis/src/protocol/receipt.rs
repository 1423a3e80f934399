//! An admission that can be given back.

use crate::protocol::{command::RemoteCommand, pack::pack};

/// The number of the script's action.
const GIVE_BACK: u64 = 3;

/// An admission or granted permits that can be given back. Dropping it changes nothing.
///
/// It is not `Clone`, and a refund consumes it. Given back twice, it would take back another
/// request's admission of the same millisecond, and more than the limit would pass. So the command
/// must be sent **at most once**, by a client that never sends again on its own.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "only its receipt refunds an admission"]
pub struct RemoteReceipt {
    /// For each limit its name, and what was counted in each window.
    pub(super) parts: Vec<(Vec<u8>, Vec<Counted>)>,
    pub(super) units: u32,
}

/// The place of an admission in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// The length of the window in milliseconds.
    pub(super) span: u64,
    pub(super) era: u64,
    pub(super) stamp: u64,
}

impl RemoteReceipt {
    /// Returns the number of units counted.
    pub const fn units(&self) -> u32 {
        self.units
    }

    /// Builds the command that gives all units back. The reply is one byte: 1 if any still counted,
    /// else 0.
    pub fn refund(self) -> RemoteCommand {
        let units = self.units;
        self.refund_some(units)
    }

    /// Builds the command that gives `units` back, at most all. They must be unspent, and must not be
    /// spent from before this is sent.
    pub fn refund_some(self, units: u32) -> RemoteCommand {
        let mut argument = Vec::with_capacity(5 + 61 * self.parts.len());
        pack(&mut argument, GIVE_BACK, 1);
        pack(&mut argument, units.min(self.units).into(), 4);
        let mut keys = Vec::with_capacity(self.parts.len());
        for (name, windows) in self.parts {
            keys.push(name);
            pack(&mut argument, windows.len() as u64, 1);
            for Counted { span, era, stamp } in windows {
                pack(&mut argument, span, 5);
                pack(&mut argument, era, 4);
                pack(&mut argument, stamp, 6);
            }
        }
        RemoteCommand::script(keys, argument)
    }
}
