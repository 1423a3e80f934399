//! Builds, starts and stops a runnable service.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use super::pause;

/// All environment variables that the services read.
pub(crate) const SETTINGS: [&str; 9] = [
    "BIND",
    "DEMO_SEED",
    "GRACE_SECONDS",
    "PGPASSWORD",
    "PORT",
    "REDIS_MILLISECONDS",
    "SESSION_SECONDS",
    "TOKEN_SECONDS",
    "WINDOW_SECONDS",
];

/// One of the services under `examples/`.
pub(crate) struct Example {
    name: &'static str,
    executable: OnceLock<PathBuf>,
}

impl Example {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, executable: OnceLock::new() }
    }

    /// Starts it on a free port with `--json`, and waits until it listens.
    pub(crate) fn start(&self, environment: &[(&str, &str)]) -> Service {
        self.start_with(&[], environment)
    }

    /// Like [`Example::start`], with more arguments.
    #[allow(dead_code, reason = "each test file uses a part")]
    pub(crate) fn start_with(&self, more: &[&str], environment: &[(&str, &str)]) -> Service {
        let mut command = self.command(environment);
        let mut child = command.arg("--json").args(more).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match stderr.read(&mut buffer) {
                    Ok(count @ 1..) => {
                        copy.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .extend(&buffer[..count]);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
        });
        let mut line = String::new();
        stdout.read_line(&mut line).expect("stdout is readable");
        // Held by the service from here on, so that it is killed if the line is invalid.
        let mut service = Service {
            child,
            stdout,
            log,
            reader: Some(reader),
            started: Value::Null,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        assert!(line.ends_with('\n'), "no start line; stderr: {}", service.log());
        service.started = serde_json::from_str(&line).expect("one line of JSON");
        let url = service.started["listening"].as_str().expect("the member `listening`");
        let address = url.strip_prefix("http://").expect("a URL without a path");
        service.address = address.parse().expect("an address and a port");
        service
    }

    /// Runs it with these arguments until it exits by itself.
    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.command(environment).args(arguments).output().expect("it starts")
    }

    /// Builds a command with piped output and without the service settings of the test environment.
    pub(crate) fn command(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.executable.get_or_init(|| build(self.name)));
        for name in SETTINGS {
            command.env_remove(name);
        }
        command
            .env("PORT", "0")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A running service. It is killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    started: Value,
    address: SocketAddr,
}

impl Service {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The start line.
    pub(crate) fn started(&self) -> &Value {
        &self.started
    }

    /// Returns a text member of the start line.
    pub(crate) fn given(&self, member: &str) -> &str {
        self.started[member].as_str().unwrap_or_else(|| panic!("{member} in the start line"))
    }

    /// Returns its stderr output so far.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Sends a signal such as `INT` and waits for the exit. Returns the exit status, the remaining
    /// stdout output, and the complete stderr output.
    pub(crate) fn end_by(mut self, signal: &str) -> (ExitStatus, String, String) {
        signal_process(&self.child, signal);
        let status = wait(&mut self.child);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text on stdout");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("stderr was read");
        }
        (status, rest, self.log())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn signal_process(child: &Child, signal: &str) {
    // `kill` is built into every shell, while the program may not be installed.
    let kill = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", child.id())).status();
    assert!(kill.expect("a shell").success());
}

pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    // The timeout only ends a test that hangs.
    for _ in 0..3_600 {
        if let Some(status) = child.try_wait().expect("its status") {
            return status;
        }
        pause(Duration::from_millis(50));
    }
    let _ended_meanwhile = child.kill();
    panic!("the service did not end");
}

/// Returns the executable of the example. It is built with the profile of the tests, so that `cargo
/// test` has already built all of its dependencies.
fn build(name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--profile=test", "--message-format=json-render-diagnostics"])
        // No package is named: features are then unified over the default members, as in the test
        // build, and nothing is built a second time.
        .args(["--example", name])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the example {name} does not build");
    let messages = String::from_utf8(output.stdout).expect("messages of cargo");
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo names the executable")
}
