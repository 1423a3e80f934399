//! Performs the `curl` lines of a banner as a shell and curl would.

use std::process::Command;

use super::http::Request;

/// The request of one `curl` line.
#[derive(Clone, Debug)]
pub(crate) struct CurlLine {
    pub(crate) method: String,
    /// The URL up to the path.
    pub(crate) origin: String,
    /// The path and the query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    body: Option<String>,
}

impl CurlLine {
    /// Parses a line that starts with `curl`. A shell splits it, which also checks its quoting.
    pub(crate) fn read(line: &str) -> Self {
        let words = r#"curl() { for word; do printf '%s\0' "$word"; done; }"#;
        let script = format!("{words}\n{line}\n");
        let output = Command::new("sh").arg("-c").arg(script).output().expect("a shell");
        assert!(output.status.success(), "{line}: {output:?}");
        let words = String::from_utf8(output.stdout).expect("text");
        let mut words = words.split_terminator('\0');
        let (mut method, mut url, mut headers, mut data) = (None, None, Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} of {line}"));
            match word {
                "-i" => {}
                "-X" => method = Some(value()),
                "-d" => data.push(value()),
                "-u" => {
                    let line = format!("Basic {}", base64(value().as_bytes()));
                    headers.push(("authorization".to_owned(), line));
                }
                "-H" => {
                    let (name, value) = value().split_once(": ").expect("a name and a value");
                    headers.push((name.to_owned(), value.to_owned()));
                }
                _ => {
                    assert!(!word.starts_with('-') && url.is_none(), "{word} of {line}");
                    url = Some(word);
                }
            }
        }
        let url = url.unwrap_or_else(|| panic!("no URL in {line}"));
        let path = url.strip_prefix("http://").and_then(|rest| rest.find('/'));
        let (origin, target) = url.split_at(path.expect("a path") + "http://".len());
        // curl joins several data arguments and sends them as a form unless a type is given.
        let body = (!data.is_empty()).then(|| data.join("&"));
        if body.is_some()
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            let form = "application/x-www-form-urlencoded".to_owned();
            headers.push(("content-type".to_owned(), form));
        }
        let method = method.unwrap_or(if body.is_some() { "POST" } else { "GET" });
        Self {
            method: method.to_owned(),
            origin: origin.to_owned(),
            target: target.to_owned(),
            headers,
            body,
        }
    }

    /// Builds the request that curl would send.
    pub(crate) fn request(&self) -> Request {
        let request = self.to(&self.method, &self.target);
        match &self.body {
            Some(body) => request.body(body),
            None => request,
        }
    }

    /// Builds another request without a body and with the headers of this one.
    pub(crate) fn to(&self, method: &str, target: &str) -> Request {
        let request = Request::new(method, target);
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// Encodes as RFC 4648 §4, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| -> String {
        let padded = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or_default()));
        let bits = padded[0] << 16 | padded[1] << 8 | padded[2];
        let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
        (0..4).map(|at| if at <= chunk.len() { digit(at) } else { '=' }).collect()
    };
    bytes.chunks(3).map(group).collect()
}
