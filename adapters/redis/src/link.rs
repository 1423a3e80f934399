//! The connection: sends a command and waits for the reply with a timeout.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keyward::clock::Timer;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisResult, Value, aio::ConnectionLike};

use crate::{
    error::{Failure, Gone, RemoteError},
    protocol::RemoteCommand,
};

/// A connection and a timer of the host.
#[derive(Clone)]
pub(crate) struct Link<C> {
    place: Arc<Place<C>>,
    pub(crate) timer: Timer,
    pub(crate) timeout: Duration,
    pub(crate) wait: Option<Wait>,
}

/// The connection that all clones use, and the means to open another.
struct Place<C> {
    current: Mutex<Current<C>>,
    open: Option<Open<C>>,
    /// Whether a request is opening another connection.
    opening: AtomicBool,
}

#[derive(Clone)]
struct Current<C> {
    connection: C,
    /// The number of connections before this one.
    number: u64,
}

type Opening<C> = Pin<Box<dyn Future<Output = RedisResult<C>> + Send>>;
type Open<C> = Box<dyn Fn() -> Opening<C> + Send + Sync>;

/// The number of replicas to wait for, and the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) replicas: u32,
    pub(crate) at_most: Duration,
}

impl<C: ConnectionLike + Clone + Send> Link<C> {
    pub(crate) fn new(connection: C, timer: Timer) -> Self {
        let place = Arc::new(Place::new(connection, None));
        Self { place, timer, timeout: Duration::from_millis(500), wait: None }
    }

    /// Sets the function that opens another connection when this one leads to a replica.
    pub(crate) fn with_reconnect<F>(self, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = RedisResult<C>> + Send + 'static,
    {
        let connection = self.place.current.lock().connection.clone();
        let open: Open<C> = Box::new(move || Box::pin(open()));
        Self { place: Arc::new(Place::new(connection, Some(open))), ..self }
    }

    /// Sends a command and waits for the reply. Sends the script's text if the server does not know it.
    pub(crate) async fn ask(&self, command: &RemoteCommand) -> Result<Vec<u8>, Failure> {
        self.within(self.timeout, self.ask_primary(command, None)).await
    }

    /// Sends like [`Link::ask`], and waits until replicas have confirmed the request.
    pub(crate) async fn ask_replicated(&self, command: &RemoteCommand) -> Result<Vec<u8>, Failure> {
        let more = self.wait.map_or(Duration::ZERO, |wait| wait.at_most);
        let timeout = self.timeout.saturating_add(more);
        self.within(timeout, self.ask_primary(command, self.wait)).await
    }

    /// Sends a command other than the script.
    pub(crate) async fn plain(&self, command: Cmd) -> Result<Value, Failure> {
        let mut connection = self.place.current.lock().connection.clone();
        let sent = async move {
            let reply = connection.req_packed_command(&command).await;
            reply.and_then(Value::extract_error).map_err(|error| Failure::of(&error))
        };
        self.within(self.timeout, sent).await
    }

    /// Sends a command, and once more over another connection if the server has become a replica: then
    /// it has done nothing.
    async fn ask_primary(
        &self,
        command: &RemoteCommand,
        wait: Option<Wait>,
    ) -> Result<Vec<u8>, Failure> {
        let Current { mut connection, number } = self.place.current.lock().clone();
        let mut reply = ask_twice(&mut connection, command, wait).await;
        if reply.as_ref().is_err_and(Failure::is_of_replica)
            && let Some(mut other) = self.place.other_than(number).await
        {
            reply = ask_twice(&mut other, command, wait).await;
        }
        let (reply, confirmed) = reply.map_err(|error| Failure::of(&error))?;
        let Value::BulkString(reply) = reply else {
            return Err(Failure::Lasting(RemoteError::Reply));
        };
        match wait {
            // Only an admission needs to be replicated.
            Some(Wait { replicas, .. }) if reply.first() == Some(&1) && confirmed < replicas => {
                let (wanted, confirmed) = (replicas, confirmed);
                Err(Failure::Lasting(RemoteError::NotReplicated { confirmed, wanted }))
            }
            _ => Ok(reply),
        }
    }

    /// Awaits `future`, or fails if the timer completes first.
    async fn within<T>(
        &self,
        after: Duration,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.timer.race(after, future).await.unwrap_or(Err(Failure::Gone(Gone::Timeout)))
    }
}

impl<C: Clone> Place<C> {
    fn new(connection: C, open: Option<Open<C>>) -> Self {
        let current = Mutex::new(Current { connection, number: 0 });
        Self { current, open, opening: AtomicBool::new(false) }
    }

    /// Returns a connection that follows the one with this number: one that another request has opened
    /// meanwhile, or a new one. Returns `None` if none can be opened, or another request is doing so.
    async fn other_than(&self, number: u64) -> Option<C> {
        let open = self.open.as_ref()?;
        let turn = Turn::take(&self.opening)?;
        {
            let current = self.current.lock();
            if current.number != number {
                return Some(current.connection.clone());
            }
        }
        let connection = open().await.ok()?;
        *self.current.lock() =
            Current { connection: connection.clone(), number: number.wrapping_add(1) };
        drop(turn);
        Some(connection)
    }
}

/// The turn of one request to open a connection. Dropping it, also with the request's future, ends it.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(taken: &'a AtomicBool) -> Option<Self> {
        (!taken.swap(true, Ordering::AcqRel)).then_some(Self(taken))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Sends a command, and the script's text if the server does not know the script: such a server has
/// done nothing, so nothing is charged twice.
async fn ask_twice<C: ConnectionLike>(
    connection: &mut C,
    command: &RemoteCommand,
    wait: Option<Wait>,
) -> RedisResult<(Value, u32)> {
    match send(connection, by_sum(command), wait).await {
        Err(error) if Failure::is_unknown_script(&error) => {
            send(connection, by_text(command), wait).await
        }
        reply => reply,
    }
}

/// Returns the reply and the number of replicas that confirmed. Both commands go in one packet: if the
/// connection were replaced between them, `WAIT` would have nothing to wait for.
async fn send<C: ConnectionLike>(
    connection: &mut C,
    command: Cmd,
    wait: Option<Wait>,
) -> RedisResult<(Value, u32)> {
    let Some(wait) = wait else {
        let reply = connection.req_packed_command(&command).await?;
        return Ok((reply.extract_error()?, 0));
    };
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.add_command(command);
    // `WAIT` with zero milliseconds waits for ever.
    let millis = u64::try_from(wait.at_most.as_millis()).unwrap_or(u64::MAX);
    pipeline.cmd("WAIT").arg(wait.replicas).arg(millis.clamp(1, MAX_WAIT));
    // Each reply is read by itself: the error of a pipeline hides the server's message.
    let mut replies = connection.req_packed_commands(&pipeline, 0, 2).await?.into_iter();
    let (first, confirmed) = (replies.next(), replies.next());
    let reply = first.unwrap_or(Value::Nil).extract_error()?;
    let confirmed = confirmed.unwrap_or(Value::Nil).extract_error()?;
    Ok((reply, redis::from_redis_value(confirmed)?))
}

/// The longest time in milliseconds that `WAIT` is given: a day. The server adds it to its clock.
const MAX_WAIT: u64 = 86_400_000;

fn by_sum(command: &RemoteCommand) -> Cmd {
    let mut sent = Cmd::new();
    command.each_part(|part| {
        sent.arg(part);
    });
    sent
}

fn by_text(command: &RemoteCommand) -> Cmd {
    let mut sent = Cmd::new();
    for part in command.parts_with_text() {
        sent.arg(part);
    }
    sent
}

impl<C> fmt::Debug for Link<C> {
    /// Formats the link without the connection, whose own form may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("timeout", &self.timeout)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
