//! A private MariaDB or MySQL for the tests of one program, or the server that the environment names.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::disallowed_methods, reason = "a server takes time to start")]

use std::{
    fs::File,
    io::Write as _,
    os::unix::{fs::chown, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr as _,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use keyward_sqlx::MySqlStore;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _,
    mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode},
};

/// The server of this test program, or the reason why there is none.
static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(Server::start);

/// Returns the options to connect to a new, empty database.
///
/// Without a server it returns `None`, and the test reports that it did not run. With
/// `KEYWARD_REQUIRE_MYSQL=1` it fails.
pub(crate) async fn fresh_database(test: &str) -> Option<MySqlConnectOptions> {
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
    // With a collation for which upper and lower case are the same.
    let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Some(server.options.clone().database(&name))
}

/// A store in a new database, with several connections.
pub(crate) async fn mysql_store(test: &str) -> Option<MySqlStore> {
    let store = connect(&fresh_database(test).await?).await;
    store.migrate().await.unwrap();
    Some(store)
}

/// A store with its own pool, like that of another process.
pub(crate) async fn connect(options: &MySqlConnectOptions) -> MySqlStore {
    let pool = MySqlPoolOptions::new().max_connections(6);
    MySqlStore::new(pool.connect_with(options.clone()).await.unwrap())
}

/// Reports that a test did not run, or fails if it is required.
pub(crate) fn not_run(test: &str, reason: &str) {
    assert!(
        std::env::var_os("KEYWARD_REQUIRE_MYSQL").is_none_or(|it| it != "1"),
        "{test} needs MariaDB or MySQL: {reason}"
    );
    // Directly to stderr, because the test harness captures the output of passing tests.
    let said = writeln!(std::io::stderr(), "NOT RUN: {test} needs MariaDB or MySQL: {reason}");
    said.unwrap();
}

struct Server {
    options: MySqlConnectOptions,
    _cluster: Option<Cluster>,
}

impl Server {
    fn start() -> Result<Self, String> {
        if let Ok(url) = std::env::var("KEYWARD_TEST_MYSQL_URL") {
            let options = MySqlConnectOptions::from_str(&url).map_err(|error| error.to_string())?;
            return Ok(Self { options, _cluster: None });
        }
        let cluster = Cluster::new()?;
        cluster.start();
        let options = options(&cluster.dir.join("socket"));
        Ok(Self { options, _cluster: Some(cluster) })
    }
}

/// Waits for the end of its input, then stops the server whose directory is `$0`, if it is the
/// process named in its pid file, and removes the directory.
const GUARD: &str = r#"read _
pid=$(head -1 "$0/pid") && grep -q "$0/data" "/proc/$pid/cmdline" && kill -KILL "$pid"
sleep 0.3
rm -rf "$0""#;

/// A private server in a temporary directory, reached through a socket in it.
pub(crate) struct Cluster {
    programs: Programs,
    dir: PathBuf,
    user: Option<(u32, u32)>,
    child: Mutex<Option<Child>>,
    /// Stops the server and removes the directory when the test program exits for any reason: then
    /// the pipe to it closes.
    _guard: Child,
}

/// The programs of a server: the server itself, and for MariaDB the one that makes its directory.
struct Programs {
    server: PathBuf,
    install: Option<PathBuf>,
}

impl Programs {
    fn find() -> Option<Self> {
        let mut dirs = vec![PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")];
        dirs.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let find = |name: &str| dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists());
        match (find("mariadbd"), find("mariadb-install-db"), find("mysqld")) {
            (Some(server), Some(install), _) => Some(Self { server, install: Some(install) }),
            (_, _, Some(server)) => Some(Self { server, install: None }),
            _ => None,
        }
    }
}

impl Cluster {
    /// Makes the directory of a server without starting it.
    pub(crate) fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let programs = Programs::find().ok_or("it is not installed, and no URL is given")?;
        let user = unprivileged_user()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // A short path, because a socket path has at most 107 bytes.
        let dir = PathBuf::from(format!("/tmp/keyward-my-{}-{number}", std::process::id()));
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
        let cluster = Self { programs, dir, user, child: Mutex::new(None), _guard: guard };
        let mut make = match &cluster.programs.install {
            Some(install) => {
                let mut make = cluster.command(install);
                make.arg("--no-defaults")
                    .args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                make
            }
            None => {
                let mut make = cluster.command(&cluster.programs.server);
                make.args(["--no-defaults", "--initialize-insecure"]);
                make
            }
        };
        let made = make.arg(cluster.data()).output().map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        Ok(cluster)
    }

    /// Starts the server, and returns when it accepts connections.
    pub(crate) fn start(&self) {
        let started = (0..20).any(|_| self.try_start());
        assert!(started, "the server does not start: {}", self.log());
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn data(&self) -> String {
        format!("--datadir={}", self.dir.join("data").display())
    }

    fn try_start(&self) -> bool {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let (socket, pid) = (self.dir.join("socket"), self.dir.join("pid"));
        // Nobody accepts on the socket of a server that was killed, until the next one does.
        let _ = std::fs::remove_file(&socket);
        let mut child = self
            .command(&self.programs.server)
            .arg("--no-defaults")
            .arg(self.data())
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", pid.display()))
            .args(["--skip-networking", "--max-connections=200"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if UnixStream::connect(&socket).is_ok() {
                *self.child.lock().unwrap() = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&self) {
        // Also waits for it, because an unreaped process still appears to exist to the next server.
        let mut child = self.child.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Makes the database of [`Cluster::options`].
    pub(crate) async fn create_database(&self) {
        let mut connection = options(&self.dir.join("socket")).connect().await.unwrap();
        sqlx::raw_sql("CREATE DATABASE keyward").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The options to connect as the administrator.
    pub(crate) fn options(&self) -> MySqlConnectOptions {
        options(&self.dir.join("socket")).database("keyward")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().env("TZ", "UTC");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // A server that starts removes the temporary tables of others from a directory that they share.
        command.env("TMPDIR", &self.dir);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// The options to connect to a private server.
pub(crate) fn options(socket: &Path) -> MySqlConnectOptions {
    MySqlConnectOptions::new().socket(socket).username("root").ssl_mode(MySqlSslMode::Disabled)
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
    let user = ids("mysql").or_else(|| ids("nobody"));
    user.map(Some).ok_or_else(|| "we are root, and there is no other user to run it".to_owned())
}
