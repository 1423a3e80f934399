//! Lucitra: keys of organizations, rate-limit headers, and endpoints of one tier.
//!
//! `cargo run --example lucitra` prints credentials and commands to paste. With `--json`, it prints
//! the credentials as one line of JSON for a program. Everything is in memory.
//!
//! Environment: `BIND`, `PORT`, `GRACE_SECONDS`, `SESSION_SECONDS` (the lifetime of the session that
//! is shown at startup, twelve hours by default), `WINDOW_SECONDS` (the window of the rate limits, 60
//! by default), `REDIS_MILLISECONDS` (the longest wait for Redis, 500 by default) and `DEMO_SEED` (the
//! seed of the demo keys, so that several processes have the same keys; anybody who knows the seed
//! knows the keys). `--help` lists them.
//!
//! With `--redis redis://127.0.0.1/`, all processes with the same address share exact limits. With
//! `--leases 1000` too, they lease permits for one second. If Redis is unreachable, requests get 503.
//!
//! All checks of keys are in `auth.rs`, and all checks of sessions are in `sessions.rs`. The
//! documentation of Lucitra does not state the following, so this service chose it:
//!
//! - Each key has a window, and each dashboard user has a separate window. The tier of the
//!   organization sets both limits. A request above the limit gets 429.
//! - A session is a JWT of this service as bearer. It has the rights of a key of its organization.
//! - Every path under `/v1/` requires a key, for every method, so that 404 and 405 have the rate-limit
//!   headers too. Any other path outside of `/admin/` gets 404 without a key.
//! - Every invalid key or session gets the same 401. Different values of `Authorization` get 400.
//! - If a key is suspended or expires, or its grace period ends, while its request is served, the
//!   response is the same as for a revoked key. `delay_ms` is at most a minute (400).
//! - Errors of the admin routes have the same form: `{"error":{"code","message"}}`.
//! - Usage counts every request with a good key, including throttled and forbidden ones.
//! - If the store fails or hangs, the request is refused with 503.
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
const ABOUT: &str =
    "Lucitra: keys of organizations, rate-limit headers, and endpoints of one tier.";
/// The environment variables of this service only, for the help text.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("SESSION_SECONDS", "lifetime of the dashboard session shown at startup [default: 43200]"),
    ("WINDOW_SECONDS", "window of the rate limits [default: 60]"),
    ("REDIS_MILLISECONDS", "longest time that a request waits for Redis [default: 500]"),
    ("DEMO_SEED", "seed of the demo keys; processes with the same seed have the same keys"),
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
    let redis = redis.help("Share the limits with all processes that use the same Redis server");
    let leases = Arg::new("leases").long("leases").value_name("MILLISECONDS").requires("redis");
    let leases = leases.help("Lease permits from Redis for this time, to call it less often");
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

/// The Redis server that shares the limits.
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
    // Several processes with the same seed have the same keys. 0 means random keys.
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
    // Drops the plaintext. The service itself keeps only hashes.
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

Commands to paste, one per line. The last one revokes the api key:

# List datasets, and request a path that only the enterprise key can use:
curl -i {url}/v1/datasets -H 'authorization: Bearer {api_key}'
curl -i {url}/v1/compliance/reports -H 'authorization: Bearer {api_key}'
curl -i {url}/v1/compliance/reports -H 'authorization: Bearer {enterprise_key}'
{steps}

Ctrl-c stops the service.
"#,
        admin_token = admin_token.expose(),
    )
}

/// Writes the reason why the service ends to stderr.
fn complain(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _unread = writeln!(io::stderr(), "lucitra: {reason}");
    ExitCode::from(code)
}
