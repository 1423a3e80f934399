//! The connection: sends a command and waits for the reply with a timeout.

use std::{fmt, future::Future, time::Duration};

use keyward::clock::Timer;
use redis::{Cmd, Pipeline, Value, aio::ConnectionLike};

use crate::{
    error::{Failure, Gone, RemoteError},
    protocol::RemoteCommand,
};

/// A connection and a timer of the host.
#[derive(Clone)]
pub(crate) struct Link<C> {
    pub(crate) connection: C,
    pub(crate) timer: Timer,
    pub(crate) timeout: Duration,
    pub(crate) wait: Option<Wait>,
}

/// The number of replicas to wait for, and the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) replicas: u32,
    pub(crate) at_most: Duration,
}

impl<C: ConnectionLike + Clone + Send> Link<C> {
    pub(crate) fn new(connection: C, timer: Timer) -> Self {
        Self { connection, timer, timeout: Duration::from_millis(500), wait: None }
    }

    /// Sends a command and waits for the reply. Sends the script's text if the server does not know it.
    pub(crate) async fn ask(mut self, command: &RemoteCommand) -> Result<Vec<u8>, Failure> {
        let (timer, timeout) = (self.timer.clone(), self.timeout);
        within(&timer, timeout, async move { self.ask_twice(command, None).await }).await
    }

    /// Sends like [`Link::ask`], and waits until replicas have confirmed the request.
    pub(crate) async fn ask_replicated(
        mut self,
        command: &RemoteCommand,
    ) -> Result<Vec<u8>, Failure> {
        let (timer, wait) = (self.timer.clone(), self.wait);
        let timeout = self.timeout + wait.map_or(Duration::ZERO, |wait| wait.at_most);
        within(&timer, timeout, async move { self.ask_twice(command, wait).await }).await
    }

    /// Sends a command other than the script.
    pub(crate) async fn plain(mut self, command: Cmd) -> Result<Value, Failure> {
        let (timer, timeout) = (self.timer.clone(), self.timeout);
        let sent = async move {
            let reply = self.connection.req_packed_command(&command).await;
            reply.and_then(Value::extract_error).map_err(|error| Failure::of(&error))
        };
        within(&timer, timeout, sent).await
    }

    async fn ask_twice(
        &mut self,
        command: &RemoteCommand,
        wait: Option<Wait>,
    ) -> Result<Vec<u8>, Failure> {
        // A server that does not know the script has done nothing, so this charges nothing twice.
        let reply = match self.send(by_sum(command), wait).await {
            Err(error) if Failure::is_unknown_script(&error) => {
                self.send(by_text(command), wait).await
            }
            reply => reply,
        };
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

    /// Returns the reply and the number of replicas that confirmed. Both commands go in one packet: if
    /// the connection were replaced between them, `WAIT` would have nothing to wait for.
    async fn send(
        &mut self,
        command: Cmd,
        wait: Option<Wait>,
    ) -> Result<(Value, u32), redis::RedisError> {
        let Some(wait) = wait else {
            let reply = self.connection.req_packed_command(&command).await?;
            return Ok((reply.extract_error()?, 0));
        };
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(command);
        // `WAIT` with zero milliseconds waits for ever.
        let millis = wait.at_most.as_millis().max(1) as u64;
        pipeline.cmd("WAIT").arg(wait.replicas).arg(millis);
        // Each reply is read by itself: the error of a pipeline hides the server's message.
        let mut replies = self.connection.req_packed_commands(&pipeline, 0, 2).await?.into_iter();
        let (first, confirmed) = (replies.next(), replies.next());
        let reply = first.unwrap_or(Value::Nil).extract_error()?;
        let confirmed = confirmed.unwrap_or(Value::Nil).extract_error()?;
        Ok((reply, redis::from_redis_value(confirmed)?))
    }
}

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

/// Awaits `future`, or fails if the timer completes first.
async fn within<T>(
    timer: &Timer,
    after: Duration,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timer.race(after, future).await.unwrap_or(Err(Failure::Gone(Gone::Timeout)))
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
