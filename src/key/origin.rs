//! Origins of web pages.

use crate::{
    error::InvalidText,
    key::allowlist::Allowlist,
    text::{Text, text_noun},
};

/// The origin of a web page, as browsers send it in `Origin` (RFC 6454 §6.2): a scheme, a host and
/// a port that is not the default one, such as `https://app.example.com` or `http://localhost:3000`.
///
/// It is compared byte by byte, so it is written as browsers write it: in lower case, without a path
/// and without the ports 80 of `http` and 443 of `https`, and a host name with other characters in
/// its `xn--` form. `null` is no origin, because many unrelated pages have it.
///
/// An allowlist of origins keeps a key out of other web pages. It is no protection against a program,
/// which can send any `Origin`.
///
/// ```
/// use keyward::key::Origin;
///
/// assert!(Origin::new("https://app.example.com").is_ok());
/// assert!(Origin::new("https://app.example.com/").is_err());
/// assert!(Origin::new("https://app.example.com:443").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Text);

impl Origin {
    /// The largest number of bytes of an origin.
    pub const MAX_LEN: usize = 280;

    const fn check(text: &str) -> Result<(), InvalidText> {
        let bytes = text.as_bytes();
        if bytes.len() > Self::MAX_LEN {
            return Err(NO_ORIGIN);
        }
        let scheme = match scheme_len(bytes) {
            Some(len) => len,
            None => return Err(NO_ORIGIN),
        };
        let host = match host_end(bytes, scheme + 3) {
            Some(end) => end,
            None => return Err(NO_ORIGIN),
        };
        if host == bytes.len() || is_port(bytes, scheme, host) { Ok(()) } else { Err(NO_ORIGIN) }
    }
}

/// Returns the length of the scheme before `://`.
const fn scheme_len(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'a'..=b'z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at > 0
                && at + 2 < text.len()
                && text[at + 1] == b'/'
                && text[at + 2] == b'/' =>
            {
                return Some(at);
            }
            _ => return None,
        }
        at += 1;
    }
    None
}

/// Returns the end of the host that begins at `start`: a name, an IPv4 address, or an IPv6 address
/// in brackets.
const fn host_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    if at < text.len() && text[at] == b'[' {
        at += 1;
        while at < text.len() && matches!(text[at], b'0'..=b'9' | b'a'..=b'f' | b':' | b'.') {
            at += 1;
        }
        let is_closed = at > start + 2 && at < text.len() && text[at] == b']';
        return if is_closed { Some(at + 1) } else { None };
    }
    while at < text.len() && matches!(text[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_') {
        at += 1;
    }
    if at > start { Some(at) } else { None }
}

/// Returns whether a colon and a port that is not the default one are all that remains.
const fn is_port(text: &[u8], scheme: usize, host: usize) -> bool {
    let digits = text.len() - host;
    if text[host] != b':' || digits < 2 || digits > 6 || text[host + 1] == b'0' {
        return false;
    }
    let mut port = 0_u32;
    let mut at = host + 1;
    while at < text.len() {
        if !text[at].is_ascii_digit() {
            return false;
        }
        port = port * 10 + (text[at] - b'0') as u32;
        at += 1;
    }
    let is_http =
        scheme >= 4 && text[0] == b'h' && text[1] == b't' && text[2] == b't' && text[3] == b'p';
    let is_default =
        is_http && (scheme == 4 && port == 80 || scheme == 5 && text[4] == b's' && port == 443);
    port <= u16::MAX as u32 && !is_default
}

text_noun!(Origin);

impl Allowlist<Origin> {
    /// Returns whether the value of an `Origin` header is one of the origins.
    pub fn admits(&self, origin: &str) -> bool {
        self.iter().any(|own| own.as_str() == origin)
    }
}

const NO_ORIGIN: InvalidText = InvalidText::new(
    "an origin as browsers send it, such as https://app.example.com: lower case, no path, no default \
     port",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for good in [
            "https://example.com",
            "http://localhost:3000",
            "https://a.b-c.example:8443",
            "http://127.0.0.1:8080",
            "http://[::1]:3000",
            "https://[2001:db8::1]",
            "https://xn--rksmrgs-5wao1o.example",
            "http://example.com:443",
            "https://example.com:80",
            "https://example.com:65535",
            "chrome-extension://abcdefghijklmnop",
            "capacitor://localhost",
        ] {
            assert_eq!(Origin::new(good).map(|it| it.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "null",
            "*",
            "https://",
            "https://*",
            "https://*.example.com",
            "example.com",
            "https:example.com",
            "https:/example.com",
            "https://example.com/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://user@a",
            "HTTPS://example.com",
            "https://Example.com",
            "https://ä.example",
            "https://a b",
            "https://a:",
            "https://a:0",
            "https://a:080",
            "https://a:65536",
            "https://a:99999",
            "https://a:123456",
            "https://a:1x",
            "https://a:443",
            "http://a:80",
            "https://[",
            "https://[]",
            "https://[::1",
            "https://[g]",
            "https://[::1]x",
            "https://[::1]:",
            "://a",
            "1://a",
            "https://a, https://b",
            "https://a\n",
            " https://a",
            "https://a ",
        ] {
            assert_eq!(Origin::new(bad), Err(NO_ORIGIN), "{bad:?}");
        }
        let long = format!("https://{}", "a".repeat(Origin::MAX_LEN));
        assert_eq!(Origin::new(&long), Err(NO_ORIGIN));
    }

    #[test]
    fn an_origin_is_admitted_by_all_of_its_bytes() {
        let list: Allowlist<Origin> = "https://a.example http://localhost:3000".parse().unwrap();
        for (origin, admitted) in [
            ("https://a.example", true),
            ("http://localhost:3000", true),
            ("http://a.example", false),
            ("https://a.example.evil.example", false),
            ("https://b.a.example", false),
            ("https://a.example:8443", false),
            ("http://localhost", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(list.admits(origin), admitted, "{origin}");
        }
    }
}
