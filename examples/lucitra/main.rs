//! Lucitra: keys of organizations, limits in headers, and endpoints of one tier.
//!
//! `cargo run --example lucitra` prints credentials and commands to paste; with `--json` it
//! prints them as one line for a program. Everything is in memory.
//!
//! Environment: `BIND`, `PORT`, `GRACE_SECONDS`, and `SESSION_SECONDS` (how long the session of
//! the start line is good, twelve hours unless told), and `DEMO_SEED` (for several processes that
//! are to show the same keys: anybody who knows the number knows the keys).
//!
//! With `--redis redis://127.0.0.1/` all processes that are told the same address share their limits,
//! exactly; with `--leases 1000` beside it, by leases of a second. When Redis is gone, that is a 503.
//!
//! How keys are checked is all in `auth.rs`, and how sessions are in `sessions.rs`. Where
//! Lucitra's documentation is silent, this service does the following:
//!
//! - Each key has its window, and each user of the dashboard has one beside those of the keys,
//!   by the tier of the organization. What is above it is a 429 for both.
//! - A session is a JWT of this service as bearer. It may do what a key of its organization may.
//! - The key is asked for on every path under `/v1/`, whatever the method, so that 404 and 405
//!   tell of the limit too. Any other path that is not `/admin/…` is a 404 without a key.
//! - Whatever is wrong with a key or a session, the answer is the same 401. Different values of
//!   `Authorization` are a 400.
//! - A key that was suspended or has expired, or whose grace has ended, while its request was
//!   served, is answered like one that was revoked. `delay_ms` is at most a minute (400).
//! - Failures of the admin surface have the same form: `{"error":{"code","message"}}`.
//! - Usage counts every request whose key was good, throttled and forbidden ones too.
//! - A store that fails or hangs is a 503, and lets nobody through.
#![forbid(unsafe_code)]

mod app;
mod auth;
mod datasets;
mod enterprise;
mod limits;
mod organization;
mod sessions;

use std::{
    env,
    error::Error,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use keyward::{ErrorBodies, Limiter, MemoryStore, SysRng, SystemClock, key::PlaintextKey};
use keyward_examples::{Admin, Arguments, Service, SettingError, Settings, seconds};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::{
    app::{App, Demo, router},
    limits::Limits,
};

const HALF_A_DAY: Duration = Duration::from_secs(12 * 3_600);
const LONGEST_SESSION: Duration = Duration::from_secs(30 * 86_400);
const USAGE: &str = "usage: lucitra [--json] [--redis URL [--leases MILLISECONDS]]";

#[tokio::main]
async fn main() -> ExitCode {
    let Some((arguments, shared)) = arguments(env::args_os().skip(1)) else {
        return complain(&USAGE, 2);
    };
    let (settings, session) = match settings() {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    match run(arguments, shared, settings, session).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

fn settings() -> Result<(Settings, Duration), SettingError> {
    Ok((Settings::from_env()?, seconds("SESSION_SECONDS", HALF_A_DAY, LONGEST_SESSION)?))
}

/// Where limits are shared, if they are.
struct Shared {
    url: String,
    leases: Option<Duration>,
}

/// What the command line asks for; `None` if it is none of ours.
fn arguments(all: impl Iterator<Item = OsString>) -> Option<(Arguments, Option<Shared>)> {
    let (mut rest, mut url, mut leases) = (Vec::new(), None, None);
    let mut all = all;
    while let Some(argument) = all.next() {
        if argument == "--redis" && url.is_none() {
            url = Some(all.next()?.into_string().ok()?);
        } else if argument == "--leases" && leases.is_none() {
            let millis = all.next()?.into_string().ok()?.parse().ok()?;
            leases = Some(Duration::from_millis(millis));
        } else {
            rest.push(argument);
        }
    }
    let shared = url.map(|url| Shared { url, leases });
    let misplaced = shared.is_none() && leases.is_some();
    Arguments::read(rest.into_iter()).filter(|_| !misplaced).map(|arguments| (arguments, shared))
}

async fn run(
    arguments: Arguments,
    shared: Option<Shared>,
    settings: Settings,
    session: Duration,
) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(MemoryStore::new());
    let clock = Arc::new(SystemClock::new());
    let limits = match shared {
        None => Limits::Here(Arc::new(Limiter::system()?)),
        Some(Shared { url, leases }) => Limits::in_redis(&url, leases).await?,
    };
    // Several processes that are to show the same keys are told the same number.
    let (app, demo) = match keyward_examples::whole_number("DEMO_SEED", 0, 0..=u64::MAX)? {
        0 => App::with_demo(registry, clock, session, limits.clone(), &mut SysRng).await?,
        seed => {
            let mut random = StdRng::seed_from_u64(seed);
            App::with_demo(registry, clock, session, limits.clone(), &mut random).await?
        }
    };
    let (issuer, usage) = (app.issuer.clone(), Arc::clone(&app.usage));
    let admin = Admin::new(issuer, usage, Arc::clone(&app.clock), settings.grace);
    let (admin, admin_token) = admin.into_router("lucitra-admin", ErrorBodies::nested()).await?;
    let router = router(&Arc::new(app), admin)?;
    let service = Service::bind(settings.address).await?;
    match arguments {
        Arguments::Json => service.announce_json(&json!({
            "listening": service.url(),
            "api_key": demo.api_key.expose(),
            "enterprise_key": demo.enterprise_key.expose(),
            "admin_token": admin_token.expose(),
            "session_jwt": demo.session_jwt,
        }))?,
        _ => service.announce(&banner(&service.url(), &demo, &admin_token))?,
    }
    // The plaintext ends here; the service itself keeps hashes only.
    drop((demo, admin_token));
    service.serve(router).await?;
    limits.close().await;
    Ok(())
}

fn banner(url: &str, demo: &Demo, admin_token: &PlaintextKey) -> String {
    let (api_key, enterprise_key) = (demo.api_key.expose(), demo.enterprise_key.expose());
    let (session, admin_token) = (&demo.session_jwt, admin_token.expose());
    format!(
        r#"Lucitra listens on {url}

  api key         {api_key}   (standard tier)
  enterprise key  {enterprise_key}
  session         {session}
  admin token     {admin_token}

List datasets, and ask for what only the enterprise key may see:

curl -i {url}/v1/datasets -H 'authorization: Bearer {api_key}'
curl -i {url}/v1/compliance/reports -H 'authorization: Bearer {api_key}'

The keys and their usage: GET /admin/keys with the admin token as bearer. Ctrl-c ends it.
"#
    )
}

/// Says on stderr why the service ends.
fn complain(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _unread = writeln!(io::stderr(), "lucitra: {reason}");
    ExitCode::from(code)
}
