//! Lucent: public write-only ingest keys for web pages, and scoped tokens for a data API.
//!
//! `cargo run --example lucent` prints credentials and commands to paste. With `--json`, it prints
//! the credentials as one line of JSON for a program. Everything is in memory.
//!
//! Environment: `BIND`, `PORT`, `GRACE_SECONDS`, `TOKEN_SECONDS` (the lifetime of an OAuth access
//! token, one hour by default and at most) and `WINDOW_SECONDS` (the window of the rate limit,
//! 60 by default). `--help` lists them.
//!
//! All checks of keys are in `auth.rs`. The documentation of Lucent does not state the following, so
//! this service chose it:
//!
//! - The key is verified before the body is read.
//! - A replay is a JSON value of at most 4 MiB, before and after decompression (413). A gzip body has
//!   `Content-Encoding: gzip`, or begins like gzip, because `sendBeacon` cannot send that header. A
//!   body that is not JSON gets 400, and another encoding gets 415. Replays are not stored.
//! - A method other than `POST` needs a key too, and then gets 405.
//! - Two different values of one credential get 400, also in the query parameter.
//! - An owner of the tier `enterprise` has 1,000 requests per 60 s, like one of `higher`.
//! - The limit applies only to ingest. The data API has no limit.
//! - An issue of another organization gets the same 404 as an unknown one. A status has 1 to 64
//!   characters without control characters (422).
//! - At `POST /oauth/token`, a client authenticates with Basic or in the form, but not with both. Every
//!   401 there has a Basic challenge. A token has exactly the requested scopes.
//! - A rotated legacy key gets a `luc_api_` secret. The old secret works until its grace period ends.
//!   An access token that an administrator mints expires like any other.
//! - Usage counts every request with a good key, including throttled and forbidden ones. Keys that
//!   were revoked or expired at least a day ago are purged when clients request new tokens.
//! - If the store fails or hangs, the request is refused with 503.
#![forbid(unsafe_code)]

mod app;
mod auth;
mod clients;
mod gzip;
mod ingest;
mod issues;
mod kinds;
mod oauth;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use keyward::{ErrorBodies, MemoryStore, SystemClock, key::PlaintextKey};
use keyward_services::{
    ADMIN_ROUTES, Admin, AdminSteps, Announcement, Service, SettingError, Settings, command,
    read_command_line, seconds, window,
};
use serde_json::json;

use crate::app::{App, Demo, Durations, router};

const HOUR: Duration = Duration::from_secs(3_600);
const ABOUT: &str = "Lucent: public write-only ingest keys, and scoped tokens for a data API.";
/// The environment variables of this service only, for the help text.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("TOKEN_SECONDS", "lifetime of an OAuth access token, at most 3600 [default: 3600]"),
    ("WINDOW_SECONDS", "window of the rate limit on ingest [default: 60]"),
];

#[tokio::main]
async fn main() -> ExitCode {
    let matches = match read_command_line(command("lucent", ABOUT, &ENVIRONMENT)) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let (settings, durations) = match settings() {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    match run(Announcement::of(&matches), settings, durations).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

fn settings() -> Result<(Settings, Durations), SettingError> {
    let token = seconds("TOKEN_SECONDS", HOUR, HOUR)?;
    Ok((Settings::from_env()?, Durations { token, window: window()? }))
}

async fn run(
    announcement: Announcement,
    settings: Settings,
    durations: Durations,
) -> Result<(), Box<dyn Error>> {
    let registry = Arc::new(MemoryStore::new());
    let (app, demo) = App::with_demo(registry, Arc::new(SystemClock::new()), durations).await?;
    let admin = Admin::new(
        app.issuer.clone(),
        Arc::clone(&app.usage),
        Arc::clone(&app.clock),
        settings.grace,
    );
    let admin = admin.with_lifetime(kinds::ACCESS_TOKEN.kind(), durations.token);
    let (admin, admin_token) = admin.into_router("lucent-admin", ErrorBodies::flat()).await?;
    let router = router(Arc::new(app), admin)?;
    let service = Service::bind(settings.address).await?;
    match announcement {
        Announcement::Json => service.announce_json(&json!({
            "listening": service.url(),
            "public_key": demo.public_key.expose(),
            "api_key": demo.api_key.expose(),
            "write_key": demo.write_key.expose(),
            "legacy_key": demo.legacy_key.expose(),
            "client_id": demo.client.id,
            "client_secret": demo.client.secret.expose(),
            "admin_token": admin_token.expose(),
            "organization": demo.organization,
        }))?,
        _ => service.announce(&banner(&service.url(), &demo, &admin_token))?,
    }
    // Drops the plaintext. The service itself keeps only hashes.
    drop((demo, admin_token));
    service.serve(router).await?;
    Ok(())
}

fn banner(url: &str, demo: &Demo, admin_token: &PlaintextKey) -> String {
    let Demo { public_key, api_key, write_key, legacy_key, client, organization, .. } = demo;
    let steps = AdminSteps {
        url,
        token: admin_token,
        kind: kinds::PUBLIC.kind(),
        owner: organization,
        name: "public key",
        key: demo.public_key_id,
    };
    format!(
        r#"Lucent listens on {url}

  organization   {organization}
  public key     {public_key}
  api key        {api_key}   (reads)
  write key      {write_key}   (reads and writes)
  legacy key     {legacy_key}   (reads)
  client id      {client_id}
  client secret  {client_secret}
  admin token    {admin_token}

Routes:
  POST   /api/sdk/replay          send a replay (public key in X-Lucent-Api-Key or ?api_key=)
  GET    /api/v1/issues           list issues (bearer token with read:lucent)
  PATCH  /api/v1/issues/{{id}}      change an issue (bearer token with write:issues)
  POST   /oauth/token             get an access token (client id and secret)
{ADMIN_ROUTES}

Commands to paste, one per line. The last one revokes the public key:

# Send a replay as a web page does, and read the organization's issues:
curl -i '{url}/api/sdk/replay?api_key={public_key}' -H 'content-type: text/plain' -d '{{"events":[]}}'
curl -i {url}/api/v1/issues -H 'authorization: Bearer {api_key}'
# Get an access token:
curl -i {url}/oauth/token -u {client_id}:{client_secret} -d grant_type=client_credentials -d scope=read:lucent
{steps}

Ctrl-c stops the service.
"#,
        public_key = public_key.expose(),
        api_key = api_key.expose(),
        write_key = write_key.expose(),
        legacy_key = legacy_key.expose(),
        client_id = client.id,
        client_secret = client.secret.expose(),
        admin_token = admin_token.expose(),
    )
}

/// Writes the reason why the service ends to stderr.
fn complain(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _unread = writeln!(io::stderr(), "lucent: {reason}");
    ExitCode::from(code)
}
