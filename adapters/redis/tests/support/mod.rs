//! Real servers, started by the tests on private ports and ended with them.

#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod model;
pub(crate) mod naive;
pub(crate) mod traffic;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use keyward_redis::protocol::RemoteScript;

/// Whether there are servers to test with. If not it says so, and fails where
/// `KEYWARD_REQUIRE_REDIS=1`, as in `.ci/run`.
pub(crate) fn servers() -> bool {
    let found = Command::new(program()).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        let required = std::env::var("KEYWARD_REQUIRE_REDIS").is_ok_and(|text| text == "1");
        assert!(!required, "KEYWARD_REQUIRE_REDIS=1, and there is no {}", program());
        println!("NOT RUN: there is no {} (Debian's redis-server, or REDIS_SERVER)", program());
    }
    found
}

/// What to start: `redis-server`, or what `REDIS_SERVER` names, such as `valkey-server`.
fn program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into())
}

/// A server of ours. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) port: u16,
    directory: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        let directory = directory();
        let mut server = Self { port: free_port(), directory, options, child: None };
        server.revive();
        server
    }

    /// Starts it again where it was, with what it has on disk.
    pub(crate) fn revive(&mut self) {
        let mut command = Command::new(program());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(&self.directory);
        command.args(&self.options).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("the server starts"));
        let answers = (0..2_000).any(|_| {
            pause(Duration::from_millis(10));
            self.try_connection().is_some()
        });
        assert!(answers, "the server does not answer");
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was running");
            child.wait().expect("it is over");
        }
    }

    /// `SIGSTOP`, so that it hangs and its connections stay.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("a good address")
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        self.try_connection().expect("a connection")
    }

    fn try_connection(&self) -> Option<redis::Connection> {
        let mut connection = self.client().get_connection().ok()?;
        let info: String = redis::cmd("PING").query(&mut connection).ok()?;
        (info == "PONG").then_some(connection)
    }
}

/// Lets real time pass for a real server.
#[expect(clippy::disallowed_methods, reason = "servers start and keys expire in real time")]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("keyward-redis-{}-{number}", std::process::id());
    let directory = Path::new(&std::env::temp_dir()).join(name);
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// The script with the tests' own clock in place of the server's: one line differs, and keys live
/// a day longer, since the clock that lets them expire is still the server's.
pub(crate) fn script_with_given_clock() -> String {
    let line = "local clock, slack = {ARGV[#ARGV - 1], ARGV[#ARGV]}, 86400000\n";
    RemoteScript::TEXT.replacen(RemoteScript::CLOCK_LINE, line, 1)
}
