//! The exact mode: every request is decided by the server.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use keyward::{
    Quotas, Timestamp,
    gate::PendingCharge,
    limit::{LimitKey, RemoteAnswer, RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt},
};
use parking_lot::Mutex;
use redis::aio::ConnectionLike;

use crate::{
    DecidedBy, Fallback, RemoteDecision, RemoteError, ServerReport,
    circuit::Circuit,
    error::{Failure, Gone},
    link::{Link, Wait},
    report,
};

/// The exact limiter over a server that several processes share.
///
/// It decides as [`keyward::Limiter`] does, by the server's clock, in one round trip: see
/// [`RemoteScript`](keyward::limit::RemoteScript). Cloning it is cheap, and the clones share all.
///
/// ```no_run
/// use keyward::{limit::LimitKey, Clock, Quota, Quotas, SystemClock};
/// use keyward_redis::{RedisLimiter, Fallback};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// let connection = client.get_connection_manager().await?;
/// let limiter = RedisLimiter::new(connection, Fallback::Refuse, tokio::time::sleep);
/// for warning in limiter.inspect().await?.warnings() {
///     eprintln!("{warning}");
/// }
///
/// let quotas = Quotas::from(Quota::per_minute(100));
/// let now = SystemClock::new().now();
/// let charged = limiter.check(LimitKey::owner("acme"), &quotas, 1, now).await?;
/// assert!(charged.decision.allowed);
/// # Ok(()) }
/// ```
///
/// A future that is dropped, and one that timed out, may have been counted: that errs on the
/// side of refusing. Nothing is ever sent a second time, but by a cluster client's own retries,
/// which may count a request twice.
#[must_use]
pub struct RedisLimiter<C> {
    link: Link<C>,
    shared: Arc<Shared>,
}

struct Shared {
    names: RemoteNames,
    when_gone: Fallback,
    circuit: Mutex<Circuit>,
    closed_after_new_primary: bool,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisLimiter<C> {
    /// A limiter over this connection: a `MultiplexedConnection`, a `ConnectionManager`, or a
    /// `ClusterConnection`, which are cheap to clone.
    ///
    /// `timer` makes the future to wait for, such as `tokio::time::sleep`: this crate has no
    /// runtime. Unless told otherwise a request waits half a second, keys begin with `keyward`,
    /// and after three failures in a row the server is left alone for a second at a time.
    pub fn new<F>(
        connection: C,
        when_gone: Fallback,
        timer: impl Fn(Duration) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Shared {
            names: RemoteNames::new("keyward"),
            when_gone,
            circuit: Mutex::new(Circuit::new(3, Duration::from_secs(1))),
            closed_after_new_primary: false,
        };
        Self { link: Link::new(connection, timer), shared: Arc::new(shared) }
    }

    /// How keys are named. All processes that share a limit must say the same.
    pub fn with_names(self, names: RemoteNames) -> Self {
        self.with(|shared| Shared { names, ..shared })
    }

    /// How long a request waits for the server before the policy decides.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { link: Link { timeout, ..self.link }, ..self }
    }

    /// After so many failures in a row, the server is asked by one request in each `pause`, and the
    /// policy decides the others at once, until one succeeds. At least one failure.
    pub fn with_circuit(self, failures: u32, pause: Duration) -> Self {
        let circuit = Mutex::new(Circuit::new(failures.max(1), pause));
        self.with(|shared| Shared { circuit, ..shared })
    }

    /// Admits only what so many replicas have confirmed, for which it waits at most so long beyond
    /// the timeout: with all replicas that may be promoted, what was admitted survives a failover.
    ///
    /// What was counted and not confirmed is refused with [`RemoteError::NotReplicated`]. The
    /// connection answers nobody else while the server waits, so this wants several connections.
    /// Not for a cluster, where `WAIT` is not sent to the node that counted.
    pub fn with_confirmation(self, replicas: u32, at_most: Duration) -> Self {
        let wait = (replicas > 0).then_some(Wait { replicas, at_most });
        Self { link: Link { wait, ..self.link }, ..self }
    }

    /// Refuses everything for a window and a quarter after a primary was first asked, promoted,
    /// restarted or new: see [`RemoteCharge::closed_after_new_primary`]. Each limit is closed for
    /// the longest of its windows. All processes that share a limit must say the same.
    pub fn close_after_new_primary(self) -> Self {
        self.with(|shared| Shared { closed_after_new_primary: true, ..shared })
    }

    /// What about the server would weaken the limit, to be asked at start and logged: this crate
    /// logs nothing.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked. Its circuit is not concerned.
    pub async fn inspect(&self) -> Result<ServerReport, RemoteError> {
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        let reply = self.link.clone().plain(info).await.map_err(RemoteError::from)?;
        report::read(&reply).ok_or(RemoteError::Reply)
    }

    /// Decides whether a request of `cost` may pass, and counts it if so, as
    /// [`keyward::Limiter::check`].
    ///
    /// `now` is this process's clock, by which the instants of the decision are told: for these, for
    /// the circuit, and for the policy if the server is gone. It decides nothing else.
    ///
    /// # Errors
    ///
    /// If it can never be charged, or was not decided.
    pub async fn check(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        self.check_all(&[(key.into(), quotas)], cost, now).await
    }

    /// As [`RedisLimiter::check`], for several limits: all or none. On a cluster their names must
    /// lie [together](RemoteNames::with_tag).
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check`].
    pub async fn check_all(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        Ok(self.admit_all(limits, cost, now).await?.0)
    }

    /// As [`RedisLimiter::check_all`], with a receipt by which an admission of the server's can be
    /// given back.
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check`].
    pub async fn admit_all(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<(RemoteDecision, Option<RemoteReceipt>), RemoteError> {
        let charge = self.charge(limits, cost)?;
        let command = charge.check();
        match self.ask(&command, now).await {
            Ok(reply) => {
                let answer = charge.read(&reply).map_err(|_| RemoteError::Reply)?;
                let charged =
                    RemoteDecision { decision: answer.decision_at(now), by: DecidedBy::Server };
                Ok((charged, answer.receipt))
            }
            Err(failure) => Ok((self.without_server(failure, limits, cost, now)?, None)),
        }
    }

    /// What [`RedisLimiter::check`] would answer, while nothing is counted.
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check`]; if the server is gone, whatever the policy is.
    pub async fn peek(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        let charge = self.charge(&[(key.into(), quotas)], cost)?;
        let reply = self.link.clone().ask(&charge.peek()).await?;
        let answer = charge.read(&reply).map_err(|_| RemoteError::Reply)?;
        Ok(RemoteDecision { decision: answer.decision_at(now), by: DecidedBy::Server })
    }

    /// Gives an admission back. True if any of it still counted.
    ///
    /// It is sent once, and is lost if in doubt. The connection must not send again on its own, or
    /// another's admission may be taken back: of a cluster client, switch the retries off.
    ///
    /// # Errors
    ///
    /// If the server did not answer. Whether it was given back is not known then.
    pub async fn refund(&self, receipt: RemoteReceipt) -> Result<bool, RemoteError> {
        let reply = self.link.clone().ask(&receipt.refund()).await?;
        Ok(reply == [1])
    }

    /// Forgets what was counted for a key. False if nothing was. Leases of it that are out are
    /// still spent.
    ///
    /// # Errors
    ///
    /// If the server did not answer.
    pub async fn reset(&self, key: impl Into<LimitKey>) -> Result<bool, RemoteError> {
        let mut delete = redis::cmd("DEL");
        delete.arg(self.shared.names.of(&key.into()));
        let reply = self.link.clone().plain(delete).await?;
        redis::from_redis_value(reply).map_err(|_| RemoteError::Reply)
    }

    /// Decides the limits of a request at a gate: what `ApiKeys::charge_with` of `keyward-tower`
    /// asks for.
    pub fn decide(
        &self,
        pending: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<keyward::limit::Decision, RemoteError>> + Send + use<C> {
        let limits: Vec<(LimitKey, Quotas)> =
            pending.limits().map(|(key, quotas)| (key, *quotas)).collect();
        let (limiter, cost) = (self.clone(), pending.cost());
        async move {
            let limits: Vec<_> = limits.iter().map(|(key, quotas)| (*key, quotas)).collect();
            Ok(limiter.check_all(&limits, cost, now).await?.decision)
        }
    }

    pub(crate) fn charge(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
    ) -> Result<RemoteCharge, RemoteError> {
        let charge = RemoteCharge::new(&self.shared.names, limits, cost)?;
        Ok(if self.shared.closed_after_new_primary {
            charge.closed_after_new_primary(&self.shared.names)
        } else {
            charge
        })
    }

    /// Asks for a lease. What the server is gone for is for [`RedisLimiter::without_server`].
    pub(crate) async fn lease(
        &self,
        charge: &RemoteCharge,
        terms: &keyward::limit::LeaseTerms,
        now: Timestamp,
    ) -> Result<RemoteAnswer, Failure> {
        let reply = self.ask(&charge.lease(terms), now).await?;
        charge.read(&reply).map_err(|_| Failure::Lasting(RemoteError::Reply))
    }

    /// Gives back permits, once.
    pub(crate) async fn give_back(&self, command: &RemoteCommand) -> Result<bool, RemoteError> {
        let reply = self.link.clone().ask(command).await?;
        Ok(reply == [1])
    }

    pub(crate) fn without_server(
        &self,
        failure: Failure,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        match failure {
            Failure::Lasting(error) => Err(error),
            Failure::Gone(gone) => {
                let limits: Vec<_> = limits.iter().map(|(key, quotas)| (*key, **quotas)).collect();
                self.shared.when_gone.decide(gone, &limits, cost, now)
            }
        }
    }

    async fn ask(&self, command: &RemoteCommand, now: Timestamp) -> Result<Vec<u8>, Failure> {
        if !self.shared.circuit.lock().asks(now) {
            return Err(Gone::CircuitOpen.into());
        }
        let reply = self.link.clone().ask_replicated(command).await;
        let mut circuit = self.shared.circuit.lock();
        match reply {
            Err(Failure::Gone(_)) => circuit.failed(now),
            // Whatever it says, it answers.
            Ok(_) | Err(Failure::Lasting(_)) => circuit.succeeded(),
        }
        reply
    }

    fn with(self, change: impl FnOnce(Shared) -> Shared) -> Self {
        let shared = Arc::try_unwrap(self.shared).unwrap_or_else(|shared| shared.duplicate());
        Self { shared: Arc::new(change(shared)), ..self }
    }
}

impl From<Failure> for RemoteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone(gone) => gone.into(),
            Failure::Lasting(error) => error,
        }
    }
}

impl Shared {
    fn duplicate(&self) -> Self {
        Self {
            names: self.names.clone(),
            when_gone: self.when_gone.clone(),
            circuit: Mutex::new(*self.circuit.lock()),
            closed_after_new_primary: self.closed_after_new_primary,
        }
    }
}

impl<C: Clone> Clone for RedisLimiter<C> {
    fn clone(&self) -> Self {
        Self { link: self.link.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for RedisLimiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter")
            .field("link", &self.link)
            .field("names", &self.shared.names)
            .field("when_gone", &self.shared.when_gone)
            .field("closed_after_new_primary", &self.shared.closed_after_new_primary)
            .finish_non_exhaustive()
    }
}
