//! A request against limits, as a command.

use std::time::Duration;

use keyward::{
    limit::{ChargeError, LimitKey, Limiter},
    quota::{Precision, Quotas},
};

use crate::protocol::{
    command::RemoteCommand,
    names::RemoteNames,
    pack::pack,
    reply::{RemoteReply, RemoteReplyError, RemoteStatus, read, read_status},
};

/// A request of some cost against one or several limits, all or nothing. The server decides it as
/// [`Limiter::check_all`] decides in memory, with the same decisions.
///
/// ```
/// use keyward::{limit::LimitKey, Quota, Quotas};
/// use keyward_redis::protocol::{RemoteCharge, RemoteNames};
///
/// let quotas = Quotas::from(Quota::per_minute(100));
/// let names = RemoteNames::new("keyward");
/// let charge = RemoteCharge::new(&names, &[(LimitKey::owner("acme"), &quotas)], 1)?;
///
/// let parts = charge.check().parts();
/// assert_eq!(parts[0], b"EVALSHA");
/// // The client sends them, and the server replies with one string of bytes:
/// let reply = b"\x01\0\0\0\x63\0\0\0\x60\xea\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\0\0";
/// let reply = charge.read(reply)?;
/// assert!(reply.decision.allowed);
/// assert_eq!(reply.decision.remaining, 99);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a charge does nothing until its command is sent"]
pub struct RemoteCharge {
    names: Vec<Vec<u8>>,
    quotas: Vec<Quotas>,
    cost: u32,
    /// The key of the known primary, and the milliseconds for which a new one is closed.
    guard: Option<(Vec<u8>, u64)>,
}

/// The terms of a lease: permits that the server grants now and a process spends later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The time in which the permits may be spent, counted from before the request was sent: `L`, in
    /// whole milliseconds. A fraction is cut off.
    pub length: Duration,
    /// The maximum number of permits granted at once.
    pub most: u32,
    /// At most the remaining permits divided by this number are granted, but at least the cost. Near
    /// the limit that is the need of one request.
    pub divisor: u32,
}

/// The numbers of the script's actions.
const TAKE: u64 = 1;
const LOOK: u64 = 2;
const STATUS: u64 = 4;

impl LeaseTerms {
    /// The longest lease: 18 hours, which keeps the script's numbers far from overflow. A longer one
    /// is **stamped** as this, so its permits must not be spent later.
    pub const MAX_LENGTH: Duration = Duration::from_secs(18 * 3_600);
}

impl RemoteCharge {
    /// Builds a request of `cost` against these limits.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check_all`]: a request that could never be admitted is not sent.
    pub fn new(
        names: &RemoteNames,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
    ) -> Result<Self, ChargeError> {
        Limiter::check_chargeable(limits, cost)?;
        Ok(Self {
            names: limits.iter().map(|(key, _)| names.of(key)).collect(),
            quotas: limits.iter().map(|(_, quotas)| **quotas).collect(),
            cost,
            guard: None,
        })
    }

    /// Refuses everything for the longest of the windows and a quarter of it, counted from the first
    /// request to a primary that was promoted, restarted, or is new.
    ///
    /// By then the admissions that its predecessor did not replicate have left every window. So the
    /// limit holds across the change, provided that the predecessor admits no more. The quarter covers
    /// leased permits, which may be spent after the predecessor is gone; no lease on such a limit may
    /// be longer than that. This takes a second key, so on a cluster all names must lie
    /// [together](RemoteNames::with_tag).
    pub fn close_after_new_primary(self, names: &RemoteNames) -> Self {
        let windows = self.quotas.iter().flat_map(Quotas::as_slice);
        let longest = windows.map(|quota| quota.window_millis()).max().unwrap_or(0);
        Self { guard: Some((names.primary(), longest.saturating_add(longest / 4))), ..self }
    }

    /// Builds the command that decides, and counts the request if it is admitted.
    pub fn check(&self) -> RemoteCommand {
        self.command(TAKE, self.cost, self.cost, 1, 0)
    }

    /// Builds the command that returns the decision of [`RemoteCharge::check`] and changes nothing.
    pub fn peek(&self) -> RemoteCommand {
        self.command(LOOK, self.cost, self.cost, 1, 0)
    }

    /// Builds the command that decides and takes permits beyond the cost, to be spent without a round
    /// trip.
    pub fn lease(&self, terms: &LeaseTerms) -> RemoteCommand {
        let length = terms.length.min(LeaseTerms::MAX_LENGTH).as_millis() as u64;
        self.command(TAKE, self.cost, terms.most.max(self.cost), terms.divisor.max(1), length)
    }

    /// Builds the command that returns the state of every window of these limits and changes
    /// nothing, for [`RemoteCharge::read_status`]. The cost and a new primary have no part in it.
    pub fn status(&self) -> RemoteCommand {
        let open = Self { guard: None, ..self.clone() };
        open.command(STATUS, 0, 0, 1, 0)
    }

    /// Reads the reply to [`RemoteCharge::status`].
    ///
    /// # Errors
    ///
    /// As for [`RemoteCharge::read`].
    pub fn read_status(&self, reply: &[u8]) -> Result<RemoteStatus, RemoteReplyError> {
        read_status(reply, &self.quotas)
    }

    /// Reads the reply to a check, a peek or a lease: one string of bytes.
    ///
    /// # Errors
    ///
    /// If it is not a reply of the script, or if a limit has too many live windows.
    pub fn read(&self, reply: &[u8]) -> Result<RemoteReply, RemoteReplyError> {
        read(reply, &self.names, &self.quotas, self.cost)
    }

    /// Returns the cost of the request, which is the same for each limit.
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns the quotas of each limit, in the order of [`RemoteCharge::new`].
    pub fn quotas(&self) -> &[Quotas] {
        &self.quotas
    }

    fn command(&self, act: u64, need: u32, want: u32, divisor: u32, lease: u64) -> RemoteCommand {
        let mut keys = self.names.clone();
        let guard = self.guard.as_ref().map_or(0, |(_, millis)| *millis);
        keys.extend(self.guard.iter().map(|(name, _)| name.clone()));
        let mut argument = Vec::with_capacity(22 + 31 * self.quotas.len());
        pack(&mut argument, act, 1);
        pack(&mut argument, need.into(), 4);
        pack(&mut argument, want.into(), 4);
        pack(&mut argument, divisor.into(), 4);
        pack(&mut argument, lease, 4);
        pack(&mut argument, guard, 5);
        for quotas in &self.quotas {
            pack(&mut argument, quotas.as_slice().len() as u64, 1);
            for quota in quotas.as_slice() {
                let coarse = quota.precision() == Precision::Coarse;
                pack(&mut argument, quota.window_millis(), 5);
                pack(&mut argument, quota.limit().into(), 4);
                pack(&mut argument, coarse.into(), 1);
            }
        }
        RemoteCommand::script(keys, argument)
    }
}
