//! What the compiler says to somebody who passes a wrong type: which type to pass.
//!
//! Each program is compiled against the library that this test was built with.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// The compiler, the directory of the libraries, and the newest build of `keyward` there.
struct Compiler {
    deps: PathBuf,
    library: PathBuf,
    out: PathBuf,
}

impl Compiler {
    fn find() -> Self {
        let deps = env::current_exe().unwrap().parent().unwrap().to_path_buf();
        let is_library = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libkeyward-") && name.ends_with(".rlib")
        };
        let built =
            |path: &PathBuf| -> SystemTime { fs::metadata(path).unwrap().modified().unwrap() };
        let files = fs::read_dir(&deps).unwrap().map(|entry| entry.unwrap().path());
        let library = files.filter(|path| is_library(path)).max_by_key(built);
        let out = env::temp_dir().join(format!("keyward-diagnostics-{}", std::process::id()));
        fs::create_dir_all(&out).unwrap();
        Self { library: library.expect("cargo builds the library before its tests"), deps, out }
    }

    /// Returns whether a program compiles, and what the compiler says.
    fn compile(&self, name: &str, program: &str) -> (bool, String) {
        let source = self.out.join(format!("{name}.rs"));
        fs::write(&source, program).unwrap();
        let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(compiler)
            .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--out-dir"])
            .arg(&self.out)
            .arg("-L")
            .arg(format!("dependency={}", self.deps.display()))
            .arg("--extern")
            .arg(format!("keyward={}", self.library.display()))
            .arg(&source)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        let _left_to_the_system = fs::remove_dir_all(&self.out);
    }
}

#[test]
fn the_compiler_names_the_type_to_pass() {
    let compiler = Compiler::find();
    let program = |store: &str, clock: &str, registry: &str| {
        format!(
            "use keyward::*;
            pub struct Mine;
            pub fn store(store: {store}) -> impl KeyStore {{ store }}
            pub fn clock(clock: {clock}) -> impl Clock {{ clock }}
            pub fn registry(store: {registry}) -> impl store::KeyRegistry {{ store }}"
        )
    };
    // The control: without a wrong type it compiles.
    let (good, said) =
        compiler.compile("good", &program("MemoryStore", "SystemClock", "MemoryStore"));
    assert!(good, "{said}");
    for (name, program, expected) in [
        (
            "store",
            program("Mine", "SystemClock", "MemoryStore"),
            ["`Mine` is no store of keys", "use `keyward::MemoryStore`"],
        ),
        (
            "clock",
            program("MemoryStore", "Mine", "MemoryStore"),
            ["`Mine` is no clock", "use `keyward::SystemClock`"],
        ),
        (
            "registry",
            program("MemoryStore", "SystemClock", "Mine"),
            ["`Mine` is no store whose keys can be changed", "an `Issuer` needs more"],
        ),
    ] {
        let (compiles, said) = compiler.compile(name, &program);
        assert!(!compiles, "{name}");
        for text in expected {
            assert!(said.contains(text), "{name}: {text}\n{said}");
        }
    }
}
