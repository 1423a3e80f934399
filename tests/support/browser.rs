//! Headless Chromium with a temporary profile.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Finds the browser: `CHROMIUM`, or `chromium` or `chromium-browser` in `PATH`.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "CHROMIUM names no file: {}", named.display());
        return Some(named);
    }
    let path = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)));
    candidates.find(|candidate| candidate.is_file())
}

/// A running browser. Dropping it kills all of its processes.
pub(crate) struct Browser {
    child: Child,
    profile: PathBuf,
}

impl Browser {
    /// Opens a page.
    pub(crate) fn open(executable: &Path, url: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("chromium-{}-{count}", std::process::id()));
        fs::create_dir_all(&profile).expect("a folder for the profile");
        let log = fs::File::create(profile.join("stderr")).expect("a file for its messages");
        let child = Command::new(executable)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--no-default-browser-check", "--no-proxy-server"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .env("HOME", &profile)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A separate process group, so that its child processes can be killed with it.
            .process_group(0)
            .spawn()
            .expect("the browser starts");
        Self { child, profile }
    }

    /// Returns its stderr output so far.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.profile.join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("kill -KILL -{}", self.child.id());
        let _ended_already = Command::new("sh").arg("-c").arg(group).stderr(Stdio::null()).status();
        let _status = self.child.wait();
        let _left_behind = fs::remove_dir_all(&self.profile);
    }
}
