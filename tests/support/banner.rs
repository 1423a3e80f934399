//! The command line of a service: its help text, and its banner with commands to paste.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use super::{
    curl::CurlLine,
    http,
    service::{Example, SETTINGS, signal_process, wait},
};

/// The last line of a banner.
const END: &str = "Ctrl-c stops the service.";

/// Asserts that `--help` lists these arguments and exactly these variables and exits with 0, and
/// that an unknown argument exits with 2.
pub(crate) fn check_command_line(example: &Example, arguments: &[&str], variables: &[&str]) {
    // The help works even with invalid settings.
    for words in [&["--help"][..], &["-h"], &["--json", "--help"]] {
        let output = example.run(words, &[("PORT", "abc")]);
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert_eq!(output.stderr, b"", "{words:?}");
        for argument in arguments.iter().chain(&["--json", "--help"]) {
            assert!(text.contains(argument), "{argument} in {text}");
        }
        let (_, environment) = text.split_once("\nEnvironment:\n").expect("the environment");
        let listed: BTreeSet<&str> =
            environment.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let expected = ["BIND", "GRACE_SECONDS", "PORT"].iter().chain(variables).copied();
        assert_eq!(listed, expected.collect(), "{text}");
        assert!(listed.iter().all(|name| SETTINGS.contains(name)), "{listed:?}");
    }
    for (words, named) in [
        (&["--yaml"][..], "--yaml"),
        (&["--json", "--yaml=canary"], "--yaml"),
        (&["canary"], "unexpected argument"),
        (&["--json", "--json"], "--json"),
    ] {
        let output = example.run(words, &[]);
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(output.stdout, b"", "{words:?}");
        assert!(told.contains(named) && told.contains("--help"), "{words:?}: {told}");
        assert!(told.lines().count() == 1 && !told.contains("canary"), "{words:?}: {told}");
    }
}

/// Performs the commands of the banner in order and asserts their statuses. The last command
/// revokes the key of the first one. Then asserts that each route of the banner exists. `{id}` is
/// the id of that key, and `names` maps the other placeholders to values.
pub(crate) fn check_banner(example: &Example, statuses: &[u16], names: &[(&str, &str)]) {
    let mut banner = Banner::of(example);
    let commands: Vec<_> = banner.lines.iter().filter(|line| line.starts_with("curl ")).collect();
    let commands: Vec<_> = commands.into_iter().map(|line| CurlLine::read(line)).collect();
    let address = commands[0].origin.strip_prefix("http://").expect("a URL");
    let address = address.parse().expect("an address");
    let listens = banner.lines[0].ends_with(&format!(" listens on {}", commands[0].origin));
    assert!(listens, "{:?}", banner.lines);
    assert_eq!(commands.len(), statuses.len(), "{:?}", banner.lines);
    for (command, status) in commands.iter().zip(statuses) {
        let response = http::send(address, command.request());
        assert_eq!(response.status, *status, "{command:?}: {response:?}");
        assert_eq!(command.origin, commands[0].origin);
    }
    let response = http::send(address, commands[0].request());
    assert_eq!(response.status, 401, "the last command revoked the key");

    let rotate = commands.iter().find_map(|command| command.target.strip_suffix("/rotate"));
    let (_, id) = rotate.and_then(|path| path.rsplit_once('/')).expect("a key to rotate");
    let mut routes = 0;
    for line in &banner.lines {
        let mut words = line.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else { continue };
        if !line.starts_with("  ") || !path.starts_with('/') {
            continue;
        }
        let path = names
            .iter()
            .chain(&[("{id}", id), ("*", "x")])
            .fold(path.to_owned(), |path, (name, with)| path.replace(name, with));
        // With a valid credential, an unknown route would return 404.
        for credential in &commands {
            let response = http::send(address, credential.to(method, &path));
            assert!(!matches!(response.status, 404 | 405), "{method} {path}: {response:?}");
        }
        routes += 1;
    }
    assert!(routes >= 7, "the banner lists the routes: {:?}", banner.lines);
    signal_process(&banner.child, "INT");
    assert_eq!(wait(&mut banner.child).code(), Some(0));
}

struct Banner {
    child: Child,
    lines: Vec<String>,
}

impl Banner {
    fn of(example: &Example) -> Self {
        let child = example.command(&[]).stderr(Stdio::null()).spawn().expect("it starts");
        // Held from here on, so that the service is killed if its banner is invalid.
        let mut banner = Self { child, lines: Vec::new() };
        let mut lines = BufReader::new(banner.child.stdout.take().expect("piped")).lines();
        while banner.lines.last().is_none_or(|line| line != END) {
            let line = lines.next().unwrap_or_else(|| panic!("no end in {:?}", banner.lines));
            banner.lines.push(line.expect("text"));
        }
        banner
    }
}

impl Drop for Banner {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}
