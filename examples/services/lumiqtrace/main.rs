//! LumiqTrace: ingest keys of projects, and dashboard sessions.
//!
//! `cargo run --example lumiqtrace` prints credentials and commands to paste. With `--json`, it
//! prints the credentials as one line of JSON for a program.
//!
//! Everything is in memory by default. With `--database sqlite:keys.db` or
//! `--database postgres://user@host/name`, the keys are in a database: then keys of earlier runs
//! still work, and revoked keys stay revoked. `ps` shows a password in the URL, so put it into
//! PostgreSQL's own variable `PGPASSWORD` instead.
//!
//! Environment: `BIND`, `PORT`, `GRACE_SECONDS`, and `SESSION_SECONDS` (the lifetime of a
//! dashboard session, one hour by default). `--help` lists them.
//!
//! The documentation of LumiqTrace does not state the following, so this service chose it:
//!
//! - The key is verified before the body is read.
//! - Lines end with LF or CRLF; the last line can end without either. A blank line is not a JSON
//!   object and is refused. An empty body has no events. A body has at most 1 MiB (413).
//! - The three ids are strings of at least one character. The timestamp is a string or a number.
//!   An event is listed as it was sent, with `project_id` set to the project of the key.
//! - A missing `Content-Type` counts as NDJSON. Any other type, or a compressed body, gets 415.
//!   The JSON routes accept any type.
//! - The same value of a credential sent twice is one value. Two different values get 400.
//! - Every login that fails gets the same 401, also if the body is not a login.
//! - An unknown project gets the same 403 as a foreign one. An unknown key gets the same 404 as a
//!   key of another project.
//! - A body that is not JSON gets 400. A name that is missing, empty, longer than 128 bytes or
//!   contains control characters gets 422. Unknown members are ignored.
//! - A deleted key is not listed. Deleting it again gets 204, and rotating it gets 409. A fourth
//!   rotation while three earlier secrets are in their grace period gets 409 too.
//! - A project keeps its newest 16 MiB of events.
//! - If the store fails, the request is refused with 503.
#![forbid(unsafe_code)]

mod app;
mod bearer;
mod database;
mod events;
mod ingest;
mod keys;
mod ndjson;
mod sessions;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Arg, Command};
use keyward::SystemClock;
use keyward_services::{
    Announcement, Service, SettingError, Settings, command, read_command_line, seconds,
};
use serde_json::json;

use crate::{
    app::{App, Demo, router},
    database::Database,
};

const HOUR: Duration = Duration::from_secs(3_600);
const LONGEST_SESSION: Duration = Duration::from_secs(30 * 86_400);
const ABOUT: &str = "LumiqTrace: ingest keys of projects, and dashboard sessions.";
/// The environment variables of this service only, for the help text.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("SESSION_SECONDS", "lifetime of a dashboard session [default: 3600]"),
    ("PGPASSWORD", "password for PostgreSQL, so that it need not be in --database"),
];

#[tokio::main]
async fn main() -> ExitCode {
    let matches = match read_command_line(command_line()) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let (settings, session) = match settings() {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    let database = matches.get_one("database").unwrap_or(&Database::Memory);
    match run(Announcement::of(&matches), database, settings, session).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

fn command_line() -> Command {
    let database = Arg::new("database").long("database").value_name("URL");
    let database = database
        .help("Keep the keys in sqlite:FILE or postgres://USER@HOST/NAME [default: in memory]")
        .value_parser(|url: &str| Database::parse(url).ok_or("neither sqlite: nor postgres://"));
    command("lumiqtrace", ABOUT, &ENVIRONMENT).arg(database)
}

fn settings() -> Result<(Settings, Duration), SettingError> {
    Ok((Settings::from_env()?, seconds("SESSION_SECONDS", HOUR, LONGEST_SESSION)?))
}

async fn run(
    announcement: Announcement,
    database: &Database,
    settings: Settings,
    session: Duration,
) -> Result<(), Box<dyn Error>> {
    let registry = database.open().await?;
    let clock = Arc::new(SystemClock::new());
    let (app, demo) = App::with_demo(registry, clock, settings.grace, session).await?;
    let service = Service::bind(settings.address).await?;
    match announcement {
        Announcement::Json => service.announce_json(&json!({
            "listening": service.url(),
            "ingest_key": demo.ingest_key.expose(),
            "email": demo.email,
            "password": demo.password.expose(),
            "project_id": demo.project.as_str(),
            "foreign_project_id": demo.foreign_project.as_str(),
        }))?,
        _ => service.announce(&banner(&service.url(), &demo, &app.demo_session(&demo)?))?,
    }
    // Drops the plaintext. The service itself keeps only hashes.
    drop(demo);
    service.serve(router(Arc::new(app))?).await?;
    Ok(())
}

fn banner(url: &str, demo: &Demo, session: &str) -> String {
    let Demo { email, password, project, foreign_project, ingest_key, ingest_key_id } = demo;
    let (ingest_key, password) = (ingest_key.expose(), password.expose());
    format!(
        r#"LumiqTrace listens on {url}

  ingest key       {ingest_key}
  project          {project}
  email            {email}
  password         {password}
  foreign project  {foreign_project}

Routes:
  POST   /v1/ingest                           send events (ingest key in x-api-key)
  POST   /v1/auth/login                       log in; returns a session token
  GET    /v1/events                           list the events of ?projectId= (session as bearer)
  GET    /v1/projects/{{project}}/keys          list the keys of a project (session, as below)
  POST   /v1/projects/{{project}}/keys          create a key
  POST   /v1/projects/{{project}}/keys/{{id}}/rotate
                                              rotate a key; its previous secret works for a while
  DELETE /v1/projects/{{project}}/keys/{{id}}     revoke a key with all its secrets

Commands to paste, one per line. The last one revokes the ingest key:

# Send an event, and read it back with a dashboard session:
curl -i {url}/v1/ingest -H 'x-api-key: {ingest_key}' -H 'content-type: application/x-ndjson' -d '{{"event_id":"e1","trace_id":"t1","span_id":"s1","timestamp":"2026-01-02T03:04:05Z"}}'
curl -i '{url}/v1/events?projectId={project}' -H 'authorization: Bearer {session}'
# Log in for another session:
curl -i {url}/v1/auth/login -d '{{"email":"{email}","password":"{password}"}}'
# List the keys, create one, rotate the ingest key, and revoke it:
curl -i {url}/v1/projects/{project}/keys -H 'authorization: Bearer {session}'
curl -i {url}/v1/projects/{project}/keys -H 'authorization: Bearer {session}' -d '{{"name":"mine"}}'
curl -i -X POST {url}/v1/projects/{project}/keys/{ingest_key_id}/rotate -H 'authorization: Bearer {session}'
curl -i -X DELETE {url}/v1/projects/{project}/keys/{ingest_key_id} -H 'authorization: Bearer {session}'

Ctrl-c stops the service.
"#
    )
}

/// Writes the reason why the service ends to stderr.
fn complain(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _unread = writeln!(io::stderr(), "lumiqtrace: {reason}");
    ExitCode::from(code)
}
