//! A private PostgreSQL for the tests of one program, or the server that the environment names.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::disallowed_methods, reason = "a server takes time to start")]

use std::{
    fs::File,
    io::Write as _,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr as _,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use keyward_sqlx::PostgresStore;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// The directories of Debian's server programs, by version; `PATH` is searched after them.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The server of this test program, or the reason why there is none.
static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(Server::start);

/// Returns the options to connect to a new, empty database.
///
/// Without a server it returns `None`, and the test reports that it did not run. With
/// `KEYWARD_REQUIRE_POSTGRES=1` it fails.
pub(crate) async fn fresh_database(test: &str) -> Option<PgConnectOptions> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = match &*SERVER {
        Ok(server) => server,
        Err(reason) => {
            not_run(test, reason);
            return None;
        }
    };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("keyward_{}_{number}", std::process::id());
    let mut connection = server.options.connect().await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Some(server.options.clone().database(&name))
}

/// A store in a new database, with several connections.
pub(crate) async fn postgres_store(test: &str) -> Option<PostgresStore> {
    let store = connect(&fresh_database(test).await?).await;
    store.migrate().await.unwrap();
    Some(store)
}

/// A store with its own pool, like that of another process.
pub(crate) async fn connect(options: &PgConnectOptions) -> PostgresStore {
    let pool = PgPoolOptions::new().max_connections(6);
    PostgresStore::new(pool.connect_with(options.clone()).await.unwrap())
}

/// Reports that a test did not run, or fails if it is required.
pub(crate) fn not_run(test: &str, reason: &str) {
    assert!(
        std::env::var_os("KEYWARD_REQUIRE_POSTGRES").is_none_or(|it| it != "1"),
        "{test} needs PostgreSQL: {reason}"
    );
    // Directly to stderr, because the test harness captures the output of passing tests.
    let said = writeln!(std::io::stderr(), "NOT RUN: {test} needs PostgreSQL: {reason}");
    said.unwrap();
}

struct Server {
    options: PgConnectOptions,
    _cluster: Option<Cluster>,
}

impl Server {
    fn start() -> Result<Self, String> {
        if let Ok(url) = std::env::var("KEYWARD_TEST_POSTGRES_URL") {
            let options = PgConnectOptions::from_str(&url).map_err(|error| error.to_string())?;
            return Ok(Self { options, _cluster: None });
        }
        let cluster = Cluster::new()?;
        cluster.start();
        Ok(Self { options: cluster.options(), _cluster: Some(cluster) })
    }
}

/// Waits for the end of its input, then stops the server whose directory is `$0`, if it is the
/// process named in its pid file, and removes the directory.
const GUARD: &str = r#"read _
pid=$(head -1 "$0/data/postmaster.pid") && grep -q "$0/data" "/proc/$pid/cmdline" && kill -QUIT "$pid"
sleep 0.3
rm -rf "$0""#;

/// A private server in a temporary directory, reached through a socket in it.
pub(crate) struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    user: Option<(u32, u32)>,
    child: Mutex<Option<Child>>,
    /// Stops the server and removes the directory when the test program exits for any reason: then
    /// the pipe to it closes.
    _guard: Child,
}

impl Cluster {
    /// Creates a cluster without starting its server.
    pub(crate) fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let bin = server_programs().ok_or("it is not installed, and no URL is given")?;
        let user = unprivileged_user()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // A short path, because a socket path has at most 107 bytes.
        let dir = PathBuf::from(format!("/tmp/keyward-pg-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| error.to_string())?;
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid)).map_err(|error| error.to_string())?;
        }
        let guard = Command::new("sh")
            .arg("-c")
            .arg(GUARD)
            .arg(&dir)
            .current_dir("/")
            // A separate process group, because ctrl-c ends this program and the server but must
            // not end this guard.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let cluster = Self { bin, dir, user, child: Mutex::new(None), _guard: guard };
        let made = cluster
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "-D"])
            .arg(cluster.dir.join("data"))
            .output()
            .map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        Ok(cluster)
    }

    /// Starts the server, and returns when it accepts connections.
    ///
    /// After a crash this takes several attempts, until the remains of the previous server are
    /// gone.
    pub(crate) fn start(&self) {
        let started = (0..200).any(|_| self.try_start());
        assert!(started, "the server does not start: {}", self.log());
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn try_start(&self) -> bool {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut child = self
            .command("postgres")
            .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-k"])
            .arg(&self.dir)
            .arg("-D")
            .arg(self.dir.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        // The pid file names the server, and its eighth line reports when it is ready.
        let ready = || {
            let file = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).ok()?;
            let mut lines = file.lines();
            let its = lines.next()?.trim() == pid;
            Some(its && lines.nth(6)?.trim() == "ready")
        };
        while child.try_wait().unwrap().is_none() {
            if ready() == Some(true) {
                *self.child.lock().unwrap() = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Kills the server's main process with SIGKILL. Its children notice that and exit.
    pub(crate) fn kill(&self) {
        // Also waits for it, because an unreaped process still appears to exist to the next server.
        let mut child = self.child.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.dir)
            .username("postgres")
            .database("postgres")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(&self.dir).env_clear().env("TZ", "UTC");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn server_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    // The newest version first, by the number in the path.
    dirs.sort_by_key(|dir| {
        let version = dir.parent().and_then(|dir| dir.file_name()?.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    let paths = std::env::var_os("PATH").unwrap_or_default();
    dirs.extend(std::env::split_paths(&paths));
    dirs.into_iter().find(|dir| dir.join("initdb").exists() && dir.join("pg_ctl").exists())
}

/// Returns the user of the server process: the current user, except for root, which the
/// servers reject: then the one of Debian's package, if there is one.
fn unprivileged_user() -> Result<Option<(u32, u32)>, String> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self").map_err(|error| error.to_string())?.uid();
    if own != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let user = ids("postgres").or_else(|| ids("nobody"));
    user.map(Some).ok_or_else(|| "we are root, and there is no other user to run it".to_owned())
}
