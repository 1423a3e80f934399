//! Lucitra: keys of organizations, limits in headers, and endpoints of one tier.
//!
//! `cargo run --example lucitra` prints credentials and commands to paste; with `--json` it
//! prints them as one line for a program. Everything is in memory.
//!
//! Environment: `BIND`, `PORT`, `GRACE_SECONDS`, `SESSION_SECONDS` (the lifetime of the session of
//! the start line, twelve hours by default), `WINDOW_SECONDS` (the window of the rate limits, 60 by
//! default), `REDIS_MILLISECONDS` (the longest wait for Redis, 500 by default) and `DEMO_SEED` (for
//! several processes that are to show the same keys: anybody who knows the number knows the keys).
//! `--help` lists them.
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
    error::Error,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Arg, ArgMatches, Command, value_parser};
use keyward::{ErrorBodies, Limiter, MemoryStore, SysRng, SystemClock, key::PlaintextKey};
use keyward_services::{
    ADMIN_ROUTES, Admin, AdminSteps, Announcement, Service, SettingError, Settings, command,
    read_command_line, seconds, whole_number, window,
};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::{
    app::{App, Demo, Durations, router},
    auth::KEYS,
    limits::Limits,
};

const HALF_A_DAY: Duration = Duration::from_secs(12 * 3_600);
const LONGEST_SESSION: Duration = Duration::from_secs(30 * 86_400);
const ABOUT: &str = "Lucitra: keys of organizations, limits in headers, and endpoints of one tier.";
/// The settings of this service alone, for the help text.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("SESSION_SECONDS", "lifetime of the dashboard session shown at the start [default: 43200]"),
    ("WINDOW_SECONDS", "window of the rate limits [default: 60]"),
    ("REDIS_MILLISECONDS", "longest wait of a request for Redis [default: 500]"),
    ("DEMO_SEED", "a number; processes with the same one show the same, guessable keys"),
];

#[tokio::main]
async fn main() -> ExitCode {
    let matches = match read_command_line(command_line()) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let own = match OwnSettings::from_env() {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    match run(Announcement::of(&matches), Shared::of(&matches), own).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

fn command_line() -> Command {
    let redis = Arg::new("redis").long("redis").value_name("URL");
    let redis = redis.help("Share the limits with all processes that name the same Redis");
    let leases = Arg::new("leases").long("leases").value_name("MILLISECONDS").requires("redis");
    let leases = leases.help("Lease permits from Redis for this long, to ask it less often");
    command("lucitra", ABOUT, &ENVIRONMENT).arg(redis).arg(leases.value_parser(value_parser!(u64)))
}

/// The settings from the environment.
struct OwnSettings {
    common: Settings,
    durations: Durations,
    redis_patience: Duration,
    demo_seed: u64,
}

impl OwnSettings {
    fn from_env() -> Result<Self, SettingError> {
        let session = seconds("SESSION_SECONDS", HALF_A_DAY, LONGEST_SESSION)?;
        let patience = whole_number("REDIS_MILLISECONDS", 500, 1..=60_000)?;
        Ok(Self {
            common: Settings::from_env()?,
            durations: Durations { session, window: window()? },
            redis_patience: Duration::from_millis(patience),
            demo_seed: whole_number("DEMO_SEED", 0, 0..=u64::MAX)?,
        })
    }
}

/// The Redis in which limits are shared.
struct Shared {
    url: String,
    leases: Option<Duration>,
}

impl Shared {
    fn of(matches: &ArgMatches) -> Option<Self> {
        let url = matches.get_one::<String>("redis")?.clone();
        let leases = matches.get_one("leases").copied().map(Duration::from_millis);
        Some(Self { url, leases })
    }
}

async fn run(
    announcement: Announcement,
    shared: Option<Shared>,
    own: OwnSettings,
) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(MemoryStore::new());
    let clock = Arc::new(SystemClock::new());
    let limits = match shared {
        None => Limits::Here(Arc::new(Limiter::system()?)),
        Some(Shared { url, leases }) => Limits::in_redis(&url, leases, own.redis_patience).await?,
    };
    // Several processes that are to show the same keys are told the same number.
    let (app, demo) = match own.demo_seed {
        0 => App::with_demo(registry, clock, own.durations, limits.clone(), &mut SysRng).await?,
        seed => {
            let mut random = StdRng::seed_from_u64(seed);
            App::with_demo(registry, clock, own.durations, limits.clone(), &mut random).await?
        }
    };
    let (issuer, usage) = (app.issuer.clone(), Arc::clone(&app.usage));
    let admin = Admin::new(issuer, usage, Arc::clone(&app.clock), own.common.grace);
    let (admin, admin_token) = admin.into_router("lucitra-admin", ErrorBodies::nested()).await?;
    let router = router(&Arc::new(app), admin)?;
    let service = Service::bind(own.common.address).await?;
    match announcement {
        Announcement::Json => service.announce_json(&json!({
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
    let session = &demo.session_jwt;
    let steps = AdminSteps {
        url,
        token: admin_token,
        kind: KEYS.kind(),
        owner: &demo.organization,
        name: "api key",
        key: demo.api_key_id,
    };
    format!(
        r#"Lucitra listens on {url}

  api key         {api_key}   (standard tier)
  enterprise key  {enterprise_key}
  session         {session}
  admin token     {admin_token}

Routes:
  GET    /v1/datasets             list datasets (key or session as bearer)
  GET    /v1/compliance/*         enterprise tier only, as are the next four
  GET    /v1/audit/*
  GET    /v1/provenance/*
  GET    /v1/model-cards/*
  GET    /v1/certifications/*
{ADMIN_ROUTES}

Commands to paste, one a line. The last one ends the api key:

# List datasets, and ask for what only the enterprise key may see:
curl -i {url}/v1/datasets -H 'authorization: Bearer {api_key}'
curl -i {url}/v1/compliance/reports -H 'authorization: Bearer {api_key}'
curl -i {url}/v1/compliance/reports -H 'authorization: Bearer {enterprise_key}'
{steps}

Ctrl-c stops the service.
"#,
        admin_token = admin_token.expose(),
    )
}

/// Writes to stderr why the service ends.
fn complain(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _unread = writeln!(io::stderr(), "lucitra: {reason}");
    ExitCode::from(code)
}
