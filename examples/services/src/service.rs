//! Startup and clean shutdown of a service.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use axum::Router;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

/// The time that open connections have to finish after a stop signal.
const FAREWELL: Duration = Duration::from_secs(2);

/// A service that listens, but does not serve yet.
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    address: SocketAddr,
    interrupt: Signal,
    terminate: Signal,
}

impl Service {
    /// Listens on `address`, and handles Ctrl-C and SIGTERM from here on. So neither stops the
    /// process uncleanly after it has printed its address.
    ///
    /// # Errors
    ///
    /// Those of the operating system, such as an address in use.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Returns the address of the service, as a URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Prints the one line of JSON that a program waits for.
    ///
    /// # Errors
    ///
    /// If stdout is closed.
    pub fn announce_json(&self, line: &Value) -> io::Result<()> {
        print_flushed(&format!("{line}\n"))
    }

    /// Prints the banner for a person.
    ///
    /// # Errors
    ///
    /// If stdout is closed.
    pub fn announce(&self, banner: &str) -> io::Result<()> {
        print_flushed(banner)
    }

    /// Serves until Ctrl-C or SIGTERM. Then open requests get two seconds to finish.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub async fn serve(self, router: Router) -> io::Result<()> {
        let Self { listener, interrupt, terminate, .. } = self;
        let (told, farewell) = oneshot::channel();
        let stop = async move {
            either(interrupt, terminate).await;
            let _unheard = told.send(());
        };
        // Attempts with wrong credentials are counted by the address of the peer.
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop).into_future();
        tokio::pin!(serving);
        tokio::select! {
            result = &mut serving => return result,
            _ = farewell => {}
        }
        // A client that never finishes its request must not keep the process alive.
        timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
    }
}

async fn either(mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn print_flushed(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
