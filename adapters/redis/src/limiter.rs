//! The exact mode: the server decides every request.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use keyward::{
    clock::{Timer, Timestamp},
    gate::PendingCharge,
    limit::{Decision, LimitKey},
    quota::Quotas,
};
use parking_lot::Mutex;
use redis::aio::ConnectionLike;

use crate::{
    circuit::Circuit,
    error::{Failure, Gone, RemoteError},
    fallback::{DecidedBy, Fallback, RemoteDecision},
    link::{Link, Wait},
    protocol::{LeaseTerms, RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt, RemoteReply},
    report::{self, ServerReport},
};

/// An exact limiter on a server that several processes share.
///
/// It decides as [`Limiter`](keyward::limit::Limiter) does, by the server's clock, in one round trip:
/// see [`RemoteScript`](crate::protocol::RemoteScript). Clones are cheap and share all state.
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
/// A request whose future was dropped or timed out may have been counted, which only refuses more.
/// This crate never sends a request twice. A cluster client's own retries may, and count it twice.
#[must_use]
pub struct RedisLimiter<C> {
    link: Link<C>,
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    names: RemoteNames,
    fallback: Fallback,
    circuit: Arc<Mutex<Circuit>>,
    close_after_new_primary: bool,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisLimiter<C> {
    /// Builds a limiter over this connection: a `MultiplexedConnection`, a `ConnectionManager`, or a
    /// `ClusterConnection`, which are cheap to clone.
    ///
    /// `timer` returns a future that completes after a duration, such as `tokio::time::sleep`, because
    /// this crate contains no runtime. By default a request waits half a second, names begin with
    /// `keyward`, and after three failures in a row the server is left alone for a second at a time.
    pub fn new<F>(
        connection: C,
        fallback: Fallback,
        timer: impl Fn(Duration) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Shared {
            names: RemoteNames::new("keyward"),
            fallback,
            circuit: circuit(3, Duration::from_secs(1)),
            close_after_new_primary: false,
        };
        Self { link: Link::new(connection, Timer::new(timer)), shared: Arc::new(shared) }
    }

    /// Sets the names of limits. They must be the same in all processes that share a limit.
    pub fn with_names(mut self, names: RemoteNames) -> Self {
        Arc::make_mut(&mut self.shared).names = names;
        self
    }

    /// Sets the time that a request waits for the server before the fallback decides.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { link: Link { timeout, ..self.link }, ..self }
    }

    /// Sets the circuit breaker. After `failures` in a row, one request in each `pause` tries the
    /// server and the fallback decides the others at once, until one succeeds. `failures` is at least
    /// 1.
    pub fn with_circuit(mut self, failures: u32, pause: Duration) -> Self {
        Arc::make_mut(&mut self.shared).circuit = circuit(failures.max(1), pause);
        self
    }

    /// Admits a request only if this number of replicas confirms it, and waits at most `at_most`
    /// beyond the timeout. If the number includes all replicas that may be promoted, admissions
    /// survive a failover.
    ///
    /// A request that was counted and not confirmed is refused with [`RemoteError::NotReplicated`]. The
    /// connection serves no other request while the server waits, so use several connections. Not for
    /// a cluster, whose client does not send `WAIT` to the node that counted.
    pub fn with_confirmation(self, replicas: u32, at_most: Duration) -> Self {
        let wait = (replicas > 0).then_some(Wait { replicas, at_most });
        Self { link: Link { wait, ..self.link }, ..self }
    }

    /// Refuses everything for a window and a quarter after the first request to a primary that was
    /// promoted, restarted or is new: see [`RemoteCharge::close_after_new_primary`]. Each limit is
    /// closed for the longest of its windows. All processes that share a limit must set it.
    pub fn close_after_new_primary(mut self) -> Self {
        Arc::make_mut(&mut self.shared).close_after_new_primary = true;
        self
    }

    /// Reports settings of the server that weaken the limit. Call it at start and log the warnings:
    /// this crate logs nothing.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached. The circuit breaker does not take part.
    pub async fn inspect(&self) -> Result<ServerReport, RemoteError> {
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        let reply = self.link.clone().plain(info).await.map_err(RemoteError::from)?;
        report::read(&reply).ok_or(RemoteError::Reply)
    }

    /// Decides whether a request of `cost` may pass, and counts it if so, like
    /// [`Limiter::check`](keyward::limit::Limiter::check).
    ///
    /// `now` is this process's clock. It is used for the instants of the decision, for the circuit
    /// breaker, and for the fallback if the server is gone. The server decides by its own clock.
    ///
    /// # Errors
    ///
    /// If the request can never be charged, or was not decided.
    pub async fn check(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        self.check_all(&[(key.into(), quotas)], cost, now).await
    }

    /// Decides like [`RedisLimiter::check`] for several limits: all or none. On a cluster their names
    /// must lie [together](RemoteNames::with_tag).
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

    /// Decides like [`RedisLimiter::check_all`] and returns a receipt with which an admission of the
    /// server can be given back.
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
                let answer = charge.read(&reply).map_err(RemoteError::from)?;
                let charged =
                    RemoteDecision { decision: answer.decision_at(now), by: DecidedBy::Server };
                Ok((charged, answer.receipt))
            }
            Err(failure) => Ok((self.without_server(failure, limits, cost, now)?, None)),
        }
    }

    /// Returns the decision of [`RedisLimiter::check`] and counts nothing.
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check`]. If the server is gone it is an error under every fallback.
    pub async fn peek(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        let charge = self.charge(&[(key.into(), quotas)], cost)?;
        let reply = self.link.clone().ask(&charge.peek()).await?;
        let answer = charge.read(&reply).map_err(RemoteError::from)?;
        Ok(RemoteDecision { decision: answer.decision_at(now), by: DecidedBy::Server })
    }

    /// Gives an admission back. Returns whether any of it still counted.
    ///
    /// It is sent once, and lost if in doubt. The connection must not send again on its own, or another
    /// request's admission may be taken back: switch the retries of a cluster client off.
    ///
    /// # Errors
    ///
    /// If the server did not reply. The admission may have been given back or not.
    pub async fn refund(&self, receipt: RemoteReceipt) -> Result<bool, RemoteError> {
        let reply = self.link.clone().ask(&receipt.refund()).await?;
        Ok(reply == [1])
    }

    /// Forgets everything counted for a key. Returns whether anything was. Leased permits of it are
    /// still spent.
    ///
    /// # Errors
    ///
    /// If the server did not reply.
    pub async fn reset(&self, key: impl Into<LimitKey>) -> Result<bool, RemoteError> {
        let command = RemoteCommand::reset(self.shared.names.of(&key.into()));
        let reply = self.link.clone().ask(&command).await?;
        Ok(reply == [1])
    }

    /// Decides the limits of a request at a gate, for `ApiKeys::charge_with` of `keyward-tower`.
    pub fn decide(
        &self,
        pending: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<Decision, RemoteError>> + Send + use<C> {
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
        Ok(if self.shared.close_after_new_primary {
            charge.close_after_new_primary(&self.shared.names)
        } else {
            charge
        })
    }

    /// Asks for a lease. [`RedisLimiter::without_server`] handles the failure.
    pub(crate) async fn lease(
        &self,
        charge: &RemoteCharge,
        terms: &LeaseTerms,
        now: Timestamp,
    ) -> Result<RemoteReply, Failure> {
        let reply = self.ask(&charge.lease(terms), now).await?;
        charge.read(&reply).map_err(|error| Failure::Lasting(error.into()))
    }

    /// Sends a command that gives permits back, once.
    pub(crate) async fn give_back(&self, command: &RemoteCommand) -> Result<bool, RemoteError> {
        let reply = self.link.clone().ask(command).await?;
        Ok(reply == [1])
    }

    /// Decides by the fallback if the server is gone.
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
                self.shared.fallback.decide(gone, &limits, cost, now)
            }
        }
    }

    async fn ask(&self, command: &RemoteCommand, now: Timestamp) -> Result<Vec<u8>, Failure> {
        if !self.shared.circuit.lock().allows(now) {
            return Err(Gone::CircuitOpen.into());
        }
        let reply = self.link.clone().ask_replicated(command).await;
        let mut circuit = self.shared.circuit.lock();
        match reply {
            Err(Failure::Gone(_)) => circuit.failed(now),
            // Any reply, even an error, shows that the server is there.
            Ok(_) | Err(Failure::Lasting(_)) => circuit.succeeded(),
        }
        reply
    }
}

fn circuit(failures: u32, pause: Duration) -> Arc<Mutex<Circuit>> {
    Arc::new(Mutex::new(Circuit::new(failures, pause)))
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
            .field("fallback", &self.shared.fallback)
            .field("close_after_new_primary", &self.shared.close_after_new_primary)
            .finish_non_exhaustive()
    }
}
