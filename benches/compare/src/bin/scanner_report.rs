//! Counts what the rules for secret scanners find in a corpus without keys, and prints a table in
//! Markdown: `cargo run --release -p keyward-compare --bin scanner_report -- . ~/.cargo/registry/src`.
//!
//! Every match in such a corpus is a false positive. The second column has the count of the same rule
//! with `\b` on both sides, which finds no key behind a word character.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use keyward::{KeyFormat, key::KeyFormats};
use regex::bytes::Regex;

/// From long prefixes to the shortest key that a format allows.
const FORMATS: [KeyFormat; 6] = [
    KeyFormat::hex("luc_pk_"),
    KeyFormat::hex("lqt_"),
    KeyFormat::base62("ghp_", 30).with_checksum(),
    KeyFormat::base62("sk-live-", 32),
    KeyFormat::hex_bytes("k-", 16),
    KeyFormat::base62("k", 22),
];

/// A rule with what it found.
struct Row {
    format: KeyFormat,
    rule: Regex,
    bounded: Regex,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    rule: usize,
    bounded: usize,
    /// Matches of the rule that the format accepts, its checksum too.
    accepted: usize,
}

fn main() -> ExitCode {
    let roots: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if roots.is_empty() {
        eprintln!("usage: scanner_report DIRECTORY…");
        return ExitCode::FAILURE;
    }
    let mut rows: Vec<Row> = FORMATS.iter().map(Row::new).collect();
    println!("| corpus | files | MiB |\n|---|---:|---:|");
    for root in &roots {
        let (mut files, mut bytes) = (0_usize, 0_usize);
        visit(root, &mut |text| {
            files += 1;
            bytes += text.len();
            rows.iter_mut().for_each(|row| row.count(text));
        });
        println!("| {} | {files} | {:.1} |", root.display(), bytes as f64 / f64::from(1 << 20));
    }
    println!("\n| rule | found | with `\\b` on both sides | accepted by the format |");
    println!("|---|---:|---:|---:|");
    for Row { rule, counts: Counts { rule: found, bounded, accepted }, .. } in &rows {
        println!("| `{}` | {found} | {bounded} | {accepted} |", rule.as_str().replace('|', "\\|"));
    }
    ExitCode::SUCCESS
}

impl Row {
    fn new(format: &KeyFormat) -> Self {
        let rule = format.scanner_rule();
        let key = rule.regex.split_once(')').map_or("", |(key, _)| key);
        let compile = |text: &str| Regex::new(text).expect("a rule is an expression");
        Self {
            format: *format,
            bounded: compile(&format!(r"\b{key})\b")),
            rule: compile(&rule.regex),
            counts: Counts::default(),
        }
    }

    fn count(&mut self, text: &[u8]) {
        let formats = KeyFormats::from(self.format);
        let mut found = self.rule.captures_iter(text).filter_map(|found| found.get(1)).peekable();
        if found.peek().is_none() {
            return;
        }
        for key in found {
            self.counts.rule += 1;
            self.counts.accepted += usize::from(formats.parse(key.as_bytes()).is_ok());
        }
        self.counts.bounded += self.bounded.find_iter(text).count();
    }
}

/// Reads every file below a directory, except for what is built or kept by version control.
fn visit(path: &Path, read: &mut impl FnMut(&[u8])) {
    let Ok(kind) = fs::symlink_metadata(path) else { return };
    if kind.is_file() {
        if let Ok(text) = fs::read(path) {
            read(&text);
        }
    } else if kind.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
        let Ok(entries) = fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            visit(&entry.path(), read);
        }
    }
}
