//! Builds a runnable service, starts it, and ends it.

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

/// All that the services read from the environment.
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

    /// As [`Example::start`], with more arguments.
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
        stdout.read_line(&mut line).expect("a start line");
        // Held by the service from here on, so that it is ended if the line is bad.
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
        let url = service.started["listening"].as_str().expect("where it listens");
        let address = url.strip_prefix("http://").expect("a URL without a path");
        service.address = address.parse().expect("an address and a port");
        service
    }

    /// Runs it with these arguments until it ends by itself.
    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.command(environment).args(arguments).output().expect("it starts")
    }

    /// A command that pipes its output, with no setting of whoever runs the tests.
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

    /// A text of the start line.
    pub(crate) fn given(&self, member: &str) -> &str {
        self.started[member].as_str().unwrap_or_else(|| panic!("{member} in the start line"))
    }

    /// What it wrote to stderr so far.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Sends a signal such as `INT`, waits for the end, and returns how it ended and what
    /// else it wrote to stdout and in all to stderr.
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
    // `kill` is built into every shell, while the program of that name may be missing.
    let kill = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", child.id())).status();
    assert!(kill.expect("a shell").success());
}

pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    // The bound only ends a test that hangs.
    for _ in 0..3_600 {
        if let Some(status) = child.try_wait().expect("its status") {
            return status;
        }
        pause(Duration::from_millis(50));
    }
    let _ended_meanwhile = child.kill();
    panic!("the service did not end");
}

/// The executable of the example. The profile is that of the tests, so that `cargo test`
/// has built all of its dependencies already.
fn build(name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--profile=test", "--message-format=json-render-diagnostics"])
        // No package is named: features are then unified over the default members, as they were for
        // the tests, and nothing is built a second time.
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
