//! The command line of a service: `--json`, `--help`, and arguments of its own.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The environment variables that all services read, for the help text.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("BIND", "IP address to listen on [default: 127.0.0.1]"),
    ("PORT", "TCP port to listen on; 0 picks a free one [default: 3000]"),
    ("GRACE_SECONDS", "how long the previous secret of a rotated key works [default: 86400]"),
];

/// The form of the text that a service prints at startup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Announcement {
    /// A banner for a person.
    Banner,
    /// `--json`: one line of JSON for a program.
    Json,
}

impl Announcement {
    /// Returns the form that the command line chooses.
    pub fn of(matches: &ArgMatches) -> Self {
        if matches.get_flag("json") { Self::Json } else { Self::Banner }
    }
}

/// Builds the command line that all services share: `--json`, `--help`, and a help text that
/// lists the environment variables. `environment` has the variables of this service with their meaning.
pub fn command(name: &'static str, about: &'static str, environment: &[(&str, &str)]) -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    let json = json.help("Print one line of JSON with the credentials instead of a banner");
    let variables = ENVIRONMENT.iter().chain(environment);
    let width = variables.clone().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = variables.map(|(name, meaning)| format!("\n  {name:width$}  {meaning}"));
    Command::new(name)
        .about(about)
        .after_help(format!("Environment:{}", lines.collect::<String>()))
        .arg(json)
}

/// Reads the command line of this process. `--help` prints the help text.
///
/// # Errors
///
/// The exit code of the process: 0 after the help text, 2 for invalid arguments, with the reason on
/// stderr.
pub fn read_command_line(command: Command) -> Result<ArgMatches, ExitCode> {
    read(command, env::args_os()).map_err(|end| match end {
        End::Help(text) => {
            let _unread = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        End::Unusable(why) => {
            let _unread = writeln!(io::stderr(), "{why}");
            ExitCode::from(2)
        }
    })
}

/// The reason why the process ends before it starts the service.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Help(String),
    Unusable(String),
}

fn read(command: Command, words: impl IntoIterator<Item = OsString>) -> Result<ArgMatches, End> {
    let name = command.get_name().to_owned();
    command.try_get_matches_from(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => End::Help(error.render().to_string()),
        _ => End::Unusable(format!("{name}: {}; see {name} --help", Reason(&error))),
    })
}

/// The text about invalid arguments. It never repeats a value, which may be a URL with a password.
struct Reason<'e>(&'e clap::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind().as_str().unwrap_or("unusable arguments"))?;
        match self.0.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(argument)) => {
                let is_option = argument.starts_with('-');
                if self.0.kind() != ErrorKind::UnknownArgument || is_option {
                    let option = argument.split('=').next().unwrap_or_default();
                    write!(f, ": {option}")?;
                }
                Ok(())
            }
            Some(ContextValue::Strings(arguments)) => write!(f, ": {}", arguments.join(", ")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(words: &[&str]) -> Result<ArgMatches, End> {
        let url = Arg::new("url").long("url").value_parser(|url: &str| {
            if url == "good" { Ok(url.to_owned()) } else { Err("canary is not good") }
        });
        let leases = Arg::new("leases").long("leases").requires("url");
        let command = command("example", "An example.", &[("LONGEST_NAME_OF_ALL", "a meaning")]);
        let words = ["example"].iter().chain(words).map(OsString::from);
        read(command.arg(url).arg(leases), words)
    }

    #[test]
    fn the_help_lists_arguments_and_environment() {
        for words in [&["--help"][..], &["-h"], &["--json", "--help"]] {
            let Err(End::Help(text)) = read_words(words) else { panic!("{words:?}") };
            for shown in ["An example.", "--json", "--url", "LONGEST_NAME_OF_ALL  a meaning"] {
                assert!(text.contains(shown), "{shown} in {text}");
            }
            for (name, meaning) in ENVIRONMENT {
                assert!(text.contains(&format!("{name:19}  {meaning}")), "{name} in {text}");
            }
        }
    }

    #[test]
    fn arguments_that_are_none_are_named_and_values_are_not_repeated() {
        for (words, named) in [
            (&["--yaml"][..], "--yaml"),
            (&["--yaml=canary"], "--yaml"),
            (&["canary"], "unexpected argument"),
            (&["--json", "canary"], "unexpected argument"),
            (&["--json", "--json"], "--json"),
            (&["--json=canary"], "--json"),
            (&["--url"], "--url"),
            (&["--url", "canary"], "--url"),
            (&["--url", "good", "--url", "good"], "--url"),
            (&["--leases", "canary"], "--url"),
        ] {
            let Err(End::Unusable(why)) = read_words(words) else { panic!("{words:?}") };
            assert!(why.starts_with("example: ") && why.contains(named), "{words:?}: {why}");
            assert!(why.ends_with("; see example --help") && !why.contains("canary"), "{why}");
        }
        assert!(read_words(&["--json", "--url", "good", "--leases", "5"]).is_ok());
    }
}
