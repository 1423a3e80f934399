//! The exact mode: the server decides every request.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use keyward::{
    clock::{Clock, Timer},
    gate::{Charge, PendingCharge},
    limit::{LimitKey, WindowStatus},
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
/// use keyward::{limit::LimitKey, Quota, Quotas, SystemClock};
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
/// let clock = SystemClock::new();
/// let charged = limiter.check(LimitKey::owner("acme"), &quotas, 1, &clock).await?;
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
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.link.timeout = timeout;
        self
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
    pub fn with_confirmation(mut self, replicas: u32, at_most: Duration) -> Self {
        self.link.wait = (replicas > 0).then_some(Wait { replicas, at_most });
        self
    }

    /// Leaves a server that has become a replica: opens another connection with this function, and sends
    /// the request over that. A replica writes nothing, so the request is counted once.
    ///
    /// `open` finds the present primary: it resolves a name again, or asks a sentinel. One request at a
    /// time calls it, and all clones of this limiter then use its connection. It is part of the
    /// request's wait, so it must take less than [the timeout](RedisLimiter::with_timeout). If it fails,
    /// or if the server that it leads to is a replica too, the fallback decides, and the circuit
    /// breaker limits how often it is called.
    ///
    /// ```no_run
    /// # use keyward_redis::{Fallback, RedisLimiter};
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = redis::Client::open("redis://redis.internal/")?;
    /// let connection = client.get_connection_manager().await?;
    /// let limiter = RedisLimiter::new(connection, Fallback::Refuse, tokio::time::sleep)
    ///     .with_reconnect(move || {
    ///         let client = client.clone();
    ///         async move { client.get_connection_manager().await }
    ///     });
    /// # let _ = limiter; Ok(()) }
    /// ```
    pub fn with_reconnect<F>(self, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = redis::RedisResult<C>> + Send + 'static,
    {
        Self { link: self.link.with_reconnect(open), ..self }
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
        let reply = self.link.plain(info).await.map_err(RemoteError::from)?;
        report::read(&reply).ok_or(RemoteError::Reply)
    }

    /// Decides whether a request of `cost` may pass, and counts it if so, like
    /// [`Limiter::check`](keyward::limit::Limiter::check).
    ///
    /// The server decides by its own clock. `clock` is this process's: it is read again after the wait
    /// for the server, for the instants of the decision, the circuit breaker, and the fallback.
    ///
    /// # Errors
    ///
    /// If the request can never be charged, or was not decided.
    pub async fn check(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        clock: &dyn Clock,
    ) -> Result<RemoteDecision, RemoteError> {
        self.check_all(&[(key.into(), quotas)], cost, clock).await
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
        clock: &dyn Clock,
    ) -> Result<RemoteDecision, RemoteError> {
        Ok(self.admit_all(limits, cost, clock).await?.0)
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
        clock: &dyn Clock,
    ) -> Result<(RemoteDecision, Option<RemoteReceipt>), RemoteError> {
        let charge = self.charge(limits, cost)?;
        let command = charge.check();
        match self.ask(&command, clock).await {
            Ok(reply) => {
                let answer = charge.read(&reply)?;
                let decision = answer.decision_at(clock.now());
                Ok((RemoteDecision { decision, by: DecidedBy::Server }, answer.receipt))
            }
            Err(failure) => Ok((self.without_server(failure, limits, cost, clock)?, None)),
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
        clock: &dyn Clock,
    ) -> Result<RemoteDecision, RemoteError> {
        let charge = self.charge(&[(key.into(), quotas)], cost)?;
        let reply = self.link.ask(&charge.peek()).await?;
        let answer = charge.read(&reply)?;
        Ok(RemoteDecision { decision: answer.decision_at(clock.now()), by: DecidedBy::Server })
    }

    /// Returns the state of each window of a key, in the order of `quotas`. It counts and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// If the server did not reply, under every fallback, or if the key has eight live windows of
    /// other lengths.
    pub async fn status(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        clock: &dyn Clock,
    ) -> Result<Vec<WindowStatus>, RemoteError> {
        let charge = self.charge(&[(key.into(), quotas)], 1)?;
        let reply = self.link.ask(&charge.status()).await?;
        let mut limits = charge.read_status(&reply)?.at(clock.now());
        limits.pop().ok_or(RemoteError::Reply)
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
        let reply = self.link.ask(&receipt.refund()).await?;
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
        let reply = self.link.ask(&command).await?;
        Ok(reply == [1])
    }

    /// Decides the limits of a request at a gate, for `ApiKeys::charge_with` of `keyward-tower`.
    ///
    /// An admission that the gate does not let pass, because its key was revoked or has expired in the
    /// meantime, is given back.
    ///
    /// `clock` is one that the future can keep, such as an `Arc` of the host's.
    pub fn decide<K: Clock + 'static>(
        &self,
        pending: &PendingCharge,
        clock: K,
    ) -> impl Future<Output = Result<Charge, RemoteError>> + Send + use<C, K> {
        let limits: Vec<(LimitKey, Quotas)> =
            pending.limits().map(|(key, quotas)| (key, *quotas)).collect();
        let (limiter, cost) = (self.clone(), pending.cost());
        async move {
            let limits: Vec<_> = limits.iter().map(|(key, quotas)| (*key, quotas)).collect();
            let (decided, receipt) = limiter.admit_all(&limits, cost, &clock).await?;
            let charge = Charge::from(decided.decision);
            Ok(match receipt {
                None => charge,
                Some(receipt) => charge.with_refund(async move {
                    // In doubt the request stays counted.
                    let _in_doubt = limiter.refund(receipt).await;
                }),
            })
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
        clock: &dyn Clock,
    ) -> Result<RemoteReply, Failure> {
        let reply = self.ask(&charge.lease(terms), clock).await?;
        charge.read(&reply).map_err(|error| Failure::Lasting(error.into()))
    }

    /// Sends a command that gives permits back, once.
    pub(crate) async fn give_back(&self, command: &RemoteCommand) -> Result<bool, RemoteError> {
        let reply = self.link.ask(command).await?;
        Ok(reply == [1])
    }

    /// Decides by the fallback if the server is gone: at the present instant, because a request that
    /// has waited for the server would look late, or as if the clock had been set back.
    pub(crate) fn without_server(
        &self,
        failure: Failure,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        clock: &dyn Clock,
    ) -> Result<RemoteDecision, RemoteError> {
        match failure {
            Failure::Lasting(error) => Err(error),
            Failure::Gone(gone) => {
                let limits: Vec<_> = limits.iter().map(|(key, quotas)| (*key, **quotas)).collect();
                self.shared.fallback.decide(gone, &limits, cost, clock.now())
            }
        }
    }

    async fn ask(&self, command: &RemoteCommand, clock: &dyn Clock) -> Result<Vec<u8>, Failure> {
        if !self.shared.circuit.lock().allows(clock.now()) {
            return Err(Gone::CircuitOpen.into());
        }
        let reply = self.link.ask_replicated(command).await;
        let now = clock.now();
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
