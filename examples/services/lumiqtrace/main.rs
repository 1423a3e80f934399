//! LumiqTrace: project-scoped ingest keys beside dashboard sessions.
//!
//! `cargo run --example lumiqtrace` prints credentials and commands to paste; with `--json`
//! it prints them as one line for a program. Everything is in memory, but for the keys if
//! `--database sqlite:keys.db` or `--database postgres://user@host/name` says where to keep
//! them: then those of earlier runs still work, and what was revoked stays revoked. The URL may
//! hold a password that `ps` would show, so PostgreSQL's own `PGPASSWORD` is read too.
//!
//! Environment: `BIND`, `PORT`, `GRACE_SECONDS`, and `SESSION_SECONDS` (the lifetime of a
//! dashboard session, one hour by default). `--help` lists them.
//!
//! Where LumiqTrace's documentation is silent, this service does the following:
//!
//! - The key is verified before anything of the body is read or judged.
//! - Lines end with LF or CRLF, the last one with or without it. A blank line is no JSON
//!   object and refused; an empty body holds no events. A body has at most 1 MiB (413).
//! - The three ids are strings of at least one character, the timestamp is a string or a
//!   number. An event is listed as it was sent, with `project_id` set to the key's project.
//! - A missing `Content-Type` counts as NDJSON; another one, or a compressed body, is a 415.
//!   The routes in JSON take any type.
//! - The same value of a credential sent twice is one value; two different ones are a 400.
//! - Every login that opens no session is the same 401, a body that is no login included.
//! - An unknown project is refused like a foreign one (403), an unknown key of one's own
//!   project with 404, and a key of another project likewise.
//! - A body that is not JSON is a 400; a name that is missing, empty, longer than 128 bytes
//!   or with control characters is a 422. Members that are not ours are not read.
//! - A deleted key is not listed. Deleting it again is a 204, rotating it a 409; so is a
//!   fourth rotation while three earlier secrets are in their grace.
//! - A project keeps its newest 16 MiB of events.
//! - A store that fails is a 503, and lets nobody through.
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
const ABOUT: &str = "LumiqTrace: project-scoped ingest keys beside dashboard sessions.";
/// The settings of this service alone, for the help text.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("SESSION_SECONDS", "lifetime of a dashboard session [default: 3600]"),
    ("PGPASSWORD", "password for PostgreSQL, which then stands in no argument"),
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
    // The plaintext ends here; the service itself keeps hashes only.
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

Commands to paste, one a line. The last one ends the ingest key:

# Send an event, and read it back with a session of one login:
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

/// Writes to stderr why the service ends.
fn complain(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _unread = writeln!(io::stderr(), "lumiqtrace: {reason}");
    ExitCode::from(code)
}
