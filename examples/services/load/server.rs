//! The service, in a separate process.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router, middleware::from_fn_with_state};
use keyward::{
    KeyDraft, Limiter, MemoryStore, SysRng, SystemClock,
    key::{KeyName, Owner, OwnerId},
    store::KeyRegistry,
};
use keyward_services::{ENTERPRISE, MINUTE, Service};
use serde_json::{Value, json};

use crate::{
    app::{self, App, Durations},
    auth::KEYS,
    limits::Limits,
    organization::Organization,
    sessions::or_session,
};

/// Enough keys, so that none reaches its 1,000 requests in any 60 seconds.
const KEY_COUNT: usize = 2_048;
const OWNER: OwnerId = OwnerId::from_static("org_load");
const DURATIONS: Durations = Durations { session: MINUTE, window: MINUTE };

/// The router to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// The router of lucitra.
    WithLayer,
    /// The routes of lucitra without the layer for keys.
    Bare,
}

impl Serving {
    const fn name(self) -> &'static str {
        match self {
            Self::WithLayer => "with-layer",
            Self::Bare => "bare",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::WithLayer, Self::Bare].into_iter().find(|serving| serving.name() == name)
    }
}

/// A running service. It is stopped when this value is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    keys: Vec<String>,
}

impl Server {
    pub(crate) fn start(serving: Serving) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?)
            .args(["serve", serving.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe")?;
        // Built before the line is read, so that an error stops the process.
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, address, keys: Vec::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let started: Value = serde_json::from_str(&line)?;
        let url = started["listening"].as_str().unwrap_or_default();
        server.address = url.strip_prefix("http://").unwrap_or_default().parse()?;
        server.keys = serde_json::from_value(started["keys"].clone())?;
        Ok(server)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Returns the processor time of all its threads, in steps of 10 ms: `utime` and `stime` of
    /// proc_pid_stat(5). Linux counts them in clock ticks, 100 per second.
    pub(crate) fn processor_time(&self) -> Result<Duration, Box<dyn Error>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program is in parentheses and may contain any character.
        let (_, fields) = stat.rsplit_once(')').ok_or("not in the form of proc_pid_stat(5)")?;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Serves until it is killed.
pub(crate) async fn serve(serving: Serving) -> Result<(), Box<dyn Error>> {
    let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(SystemClock::new()));
    let limits = Limits::Here(Arc::new(Limiter::system()?));
    let (app, _demo) = App::with_demo(store, clock, DURATIONS, limits, &mut SysRng).await?;
    let mut keys = Vec::new();
    app.issuer.registry().put_owner(Owner::new(OWNER).with_tier(ENTERPRISE)).await?;
    for _ in 0..KEY_COUNT {
        let draft = KeyDraft::new(OWNER, KeyName::from_static("load"));
        let now = app.clock.now();
        keys.push(app.issuer.issue(KEYS.kind(), draft, &mut SysRng, now).await?.key);
    }
    let router = match serving {
        Serving::WithLayer => app::router(&Arc::new(app), Router::new())?,
        Serving::Bare => {
            let (open, paid) = app::routes();
            let or_session = from_fn_with_state(Arc::new(app), or_session);
            app::around(
                open.merge(paid).route_layer(or_session).layer(Extension(Organization(OWNER))),
            )?
        }
    };
    let service = Service::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let keys: Vec<&str> = keys.iter().map(|key| key.expose()).collect();
    service.announce_json(&json!({ "listening": service.url(), "keys": keys }))?;
    service.serve(router).await?;
    Ok(())
}
