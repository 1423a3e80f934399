//! What can be given back.

use crate::limit::remote::command::{RemoteCommand, pack};

/// What the script is to do, as it is numbered there.
const GIVE_BACK: u64 = 3;

/// An admission elsewhere, or permits that were granted, to be given back. Dropping it changes
/// nothing.
///
/// Not `Clone`, and a refund consumes it: given back twice, it would take another's admission
/// back if that fell into the same millisecond, and more than the limit would pass. So the
/// command must be sent **at most once**: by a client that never sends again on its own.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an admission is refunded only by its receipt"]
pub struct RemoteReceipt {
    /// For each key: its name, its era, and the stamp in each window.
    pub(super) parts: Vec<(Vec<u8>, u64, Vec<u64>)>,
    pub(super) units: u32,
}

impl RemoteReceipt {
    /// How many units were counted.
    pub const fn units(&self) -> u32 {
        self.units
    }

    /// Gives all back. The reply is one byte: 1 if any of it still counted, or else 0.
    pub fn refund(self) -> RemoteCommand {
        let units = self.units;
        self.refund_some(units)
    }

    /// Gives so many back, at most all: what was not spent and, before this is sent, never will be.
    pub fn refund_some(self, units: u32) -> RemoteCommand {
        let mut asked = Vec::with_capacity(5 + 29 * self.parts.len());
        pack(&mut asked, GIVE_BACK, 1);
        pack(&mut asked, units.min(self.units).into(), 4);
        let mut keys = Vec::with_capacity(self.parts.len());
        for (name, era, stamps) in self.parts {
            keys.push(name);
            pack(&mut asked, era, 4);
            pack(&mut asked, stamps.len() as u64, 1);
            stamps.into_iter().for_each(|stamp| pack(&mut asked, stamp, 6));
        }
        RemoteCommand::script(keys, asked)
    }
}
