//! Lucent: public write-only ingest keys for web pages, and scoped tokens for a data API.
//!
//! `cargo run --example lucent` prints credentials and commands to paste; with `--json` it
//! prints them as one line for a program. Everything is in memory.
//!
//! Environment: `BIND`, `PORT`, `GRACE_SECONDS`, `TOKEN_SECONDS` (the lifetime of an OAuth access
//! token, one hour by default and at most) and `WINDOW_SECONDS` (the window of the rate limit,
//! 60 by default). `--help` lists them.
//!
//! How keys are checked is all in `auth.rs`. Where Lucent's documentation is silent, this
//! service does the following:
//!
//! - The key is verified before anything of the body is read or judged.
//! - A replay is a JSON value of at most 4 MiB, before and after gzip (413). A gzip body is
//!   known by `Content-Encoding: gzip`, or by how it begins, since `sendBeacon` cannot send
//!   that header. What is not JSON is a 400, another encoding a 415. Replays are not kept.
//! - Another method than `POST` needs a key too, and is then a 405.
//! - The two values of one credential that differ are a 400, also of the query parameter.
//! - An owner of the tier `enterprise` has 1,000 requests per 60 s like one of `higher`.
//! - The limit holds on ingest alone. The data API has none.
//! - An issue of another organization is as unknown (404) as one that does not exist. A status
//!   has 1 to 64 characters without control characters (422).
//! - At `POST /oauth/token` a client authenticates by Basic or in the form, not by both. Every
//!   401 there asks for Basic. Tokens have the scopes that were asked for, and those alone.
//! - A legacy key that is rotated gets a `luc_api_` secret; the old one works on in its grace.
//!   An access token that an administrator mints expires like any other.
//! - Usage counts every request whose key was good, throttled and forbidden ones too. Keys that
//!   have been revoked or expired for a day are forgotten, at the latest when clients ask for
//!   further tokens.
//! - A store that fails or hangs is a 503, and lets nobody through.
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
/// The settings of this service alone, for the help text.
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
    // The plaintext ends here; the service itself keeps hashes only.
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

Commands to paste, one a line. The last one ends the public key:

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

/// Writes to stderr why the service ends.
fn complain(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _unread = writeln!(io::stderr(), "lucent: {reason}");
    ExitCode::from(code)
}
