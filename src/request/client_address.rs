//! The address of a client behind proxies.

use std::net::IpAddr;

use crate::{key::network::IpNetwork, request::head::RequestHead};

/// The proxies of a host, and the header in which they report the address of a client.
///
/// Anybody can send such a header. So it counts only if the peer of the connection is one of these
/// proxies, and it is read from the right, where each proxy has added the address of its own peer: the
/// first address that is no proxy of the host is the client. What is to the left of it is text of the
/// client, and is not read.
///
/// Name the one header that the proxies set. A header that they pass on unchanged is text of the client.
///
/// **Name the addresses of the proxies, and not the network in which they are.** Whoever has one of these
/// addresses can name any client: a request of another host in `10.0.0.0/8` would choose its address,
/// if that network were trusted.
///
/// ```
/// use keyward::request::{PlainHead, TrustedProxies};
///
/// let proxies = TrustedProxies::x_forwarded_for(["10.0.0.1".parse()?, "10.0.0.2".parse()?]);
/// let head = PlainHead::new().with_header("x-forwarded-for", "1.1.1.1, 203.0.113.7, 10.0.0.2");
/// let client = |peer: &str| proxies.client(peer.parse().unwrap(), &head).unwrap().to_string();
/// assert_eq!(client("10.0.0.1"), "203.0.113.7"); // 1.1.1.1 is what the client wrote
/// assert_eq!(client("198.51.100.1"), "198.51.100.1"); // no proxy: the header does not count
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TrustedProxies {
    networks: Vec<IpNetwork>,
    header: Header,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Forwarded,
    XForwardedFor,
}

impl TrustedProxies {
    /// Trusts proxies in these networks, which set `Forwarded` (RFC 7239).
    pub fn forwarded(networks: impl IntoIterator<Item = IpNetwork>) -> Self {
        Self { networks: networks.into_iter().collect(), header: Header::Forwarded }
    }

    /// Trusts proxies in these networks, which set `X-Forwarded-For`.
    pub fn x_forwarded_for(networks: impl IntoIterator<Item = IpNetwork>) -> Self {
        Self { networks: networks.into_iter().collect(), header: Header::XForwardedFor }
    }

    /// Returns the address of the client of a request whose connection has this peer.
    ///
    /// It is `None` if the place of the client in the header is no address, such as `unknown`. If every
    /// address is that of a proxy, the leftmost one is the client: a proxy that makes requests of its own.
    pub fn client<H: RequestHead>(&self, peer: IpAddr, head: &H) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if !self.is_trusted(client) {
            return Some(client);
        }
        // A header of several lines is one list (RFC 9110 §5.3).
        let lines: Vec<&[u8]> = head.header(self.header.name()).collect();
        for line in lines.into_iter().rev() {
            let has_quotes = self.header == Header::Forwarded;
            let items = from_right(line, b',', has_quotes).filter(|item| !item.is_empty());
            for item in items {
                client = self.header.address(item)?.to_canonical();
                if !self.is_trusted(client) {
                    return Some(client);
                }
            }
        }
        Some(client)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

impl Header {
    const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::XForwardedFor => "x-forwarded-for",
        }
    }

    /// Returns the address of an item of the list.
    fn address(self, item: &[u8]) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => node(str::from_utf8(item).ok()?),
            Self::Forwarded => {
                let mut values = from_right(item, b';', true).filter_map(|pair| {
                    let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
                    name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
                });
                let value = values.next()?;
                // Each parameter occurs once (§4).
                if values.next().is_some() { None } else { node(unquoted(value)?) }
            }
        }
    }
}

/// Returns the items of a list from the right, trimmed.
///
/// Only from there are they what proxies have written: a quote that the client opened, or bytes that are
/// no text, are to the left of that.
fn from_right(list: &[u8], separator: u8, has_quotes: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let at = last_separator(list, separator, has_quotes);
        rest = at.and_then(|at| list.get(..at));
        let item = at.map_or(Some(list), |at| list.get(at + 1..))?;
        Some(item.trim_ascii())
    })
}

/// Returns the position of the last separator that is in no quoted string, read from the right.
fn last_separator(text: &[u8], separator: u8, has_quotes: bool) -> Option<usize> {
    let mut is_quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        if has_quotes && *byte == b'"' {
            let before = text.get(..at).unwrap_or_default();
            let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            is_quoted ^= escapes % 2 == 0;
        } else if *byte == separator && !is_quoted {
            return Some(at);
        }
    }
    None
}

/// Returns the text of a token or of a quoted string (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        None => Some(value),
        // No address has an escape.
        Some(inner) => inner.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
    }
}

/// Returns the address of a node (RFC 7239 §6), with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let has_port = port.strip_prefix(':').is_some_and(is_port);
        let address = address.parse().ok().map(IpAddr::V6);
        return address.filter(|_| port.is_empty() || has_port);
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    address.parse().ok().map(IpAddr::V4).filter(|_| is_port(port))
}

fn is_port(text: &str) -> bool {
    matches!(text.len(), 1..=5) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::head::PlainHead;

    fn proxies(header: Header) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        TrustedProxies { networks: networks.to_vec(), header }
    }

    fn client(header: Header, peer: &str, lines: &[&str]) -> Option<String> {
        let head =
            lines.iter().fold(PlainHead::new(), |head, line| head.with_header(header.name(), line));
        let found = proxies(header).client(peer.parse().unwrap(), &head);
        found.map(|address| address.to_string())
    }

    #[test]
    fn a_client_cannot_choose_its_address() {
        for (what, peer, lines, expected) in [
            ("no proxy", "203.0.113.7", &["1.1.1.1"][..], Some("203.0.113.7")),
            ("no header", "10.0.0.1", &[], Some("10.0.0.1")),
            ("an empty header", "10.0.0.1", &["", " , "], Some("10.0.0.1")),
            ("one proxy", "10.0.0.1", &["203.0.113.7"], Some("203.0.113.7")),
            ("spoofed at the left", "10.0.0.1", &["1.1.1.1, 203.0.113.7"], Some("203.0.113.7")),
            ("spoofed line before", "10.0.0.1", &["1.1.1.1", "203.0.113.7"], Some("203.0.113.7")),
            ("spoofed proxy", "10.0.0.1", &["10.9.9.9, 203.0.113.7"], Some("203.0.113.7")),
            ("a quote at the left", "10.0.0.1", &["\"x, 203.0.113.7"], Some("203.0.113.7")),
            ("words at the left", "10.0.0.1", &["ha ha, 203.0.113.7"], Some("203.0.113.7")),
            ("two proxies", "10.0.0.1", &["203.0.113.7, 10.0.0.2"], Some("203.0.113.7")),
            ("two lines", "10.0.0.1", &["1.1.1.1, 203.0.113.7", "10.0.0.2"], Some("203.0.113.7")),
            ("proxies alone", "10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            ("with a port", "10.0.0.1", &["203.0.113.7:443"], Some("203.0.113.7")),
            ("IPv6", "2001:db8::1", &["2a00::7"], Some("2a00::7")),
            ("IPv6 with a port", "2001:db8::1", &["[2a00::7]:443"], Some("2a00::7")),
            ("a mapped peer", "::ffff:10.0.0.1", &["203.0.113.7"], Some("203.0.113.7")),
            ("a mapped client", "10.0.0.1", &["::ffff:203.0.113.7"], Some("203.0.113.7")),
            ("a mapped proxy", "10.0.0.1", &["1.1.1.1, ::ffff:10.0.0.2"], Some("1.1.1.1")),
            ("unknown", "10.0.0.1", &["1.1.1.1, unknown"], None),
            ("no address", "10.0.0.1", &["1.1.1.1, 203.0.113"], None),
            ("an octal address", "10.0.0.1", &["1.1.1.1, 010.0.0.2"], None),
            ("a zone", "10.0.0.1", &["fe80::1%eth0"], None),
            ("a bad port", "10.0.0.1", &["203.0.113.7:x"], None),
            ("an open bracket", "10.0.0.1", &["[2a00::7"], None),
        ] {
            let found = client(Header::XForwardedFor, peer, lines);
            assert_eq!(found.as_deref(), expected, "{what}: {peer} {lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_by_its_grammar() {
        for (line, expected) in [
            ("for=203.0.113.7", Some("203.0.113.7")),
            ("For=\"203.0.113.7:4711\"", Some("203.0.113.7")),
            ("for=\"[2a00::7]\"", Some("2a00::7")),
            ("FOR=\"[2a00::7]:4711\";proto=https;by=10.0.0.1", Some("2a00::7")),
            ("proto=http;for=203.0.113.7;host=\"a;b,c\"", Some("203.0.113.7")),
            ("for=1.1.1.1, for=203.0.113.7", Some("203.0.113.7")),
            ("for=203.0.113.7, for=10.0.0.2;by=10.0.0.1", Some("203.0.113.7")),
            // A quote of the client hides nothing: the proxy's own item is behind it.
            ("for=\"1.1.1.1, for=203.0.113.7", Some("203.0.113.7")),
            ("for=1.1.1.1;host=\"x\\\", for=203.0.113.7", Some("203.0.113.7")),
            ("for=1.1.1.1\\, for=\"203.0.113.7:1\"", Some("203.0.113.7")),
            ("for=1.1.1.1, for=203.0.113.7;host=\"a, for=10.0.0.9\"", Some("203.0.113.7")),
            ("\u{e9}, for=203.0.113.7", Some("203.0.113.7")),
            ("for=203.0.113.7;host=\"a;for=1.1.1.1\"", Some("203.0.113.7")),
            ("for=unknown", None),
            ("for=_hidden", None),
            ("for=1.1.1.1, by=10.0.0.1", None),
            ("for=1.1.1.1;for=203.0.113.7", None),
            ("203.0.113.7", None),
            ("for=\"203.0.113.7", None),
            ("for=\"2\\03.0.113.7\"", None),
        ] {
            let found = client(Header::Forwarded, "10.0.0.1", &[line]);
            assert_eq!(found.as_deref(), expected, "{line}");
        }
        // The header that the host did not name does not count.
        let head = PlainHead::new().with_header("x-forwarded-for", "1.1.1.1");
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(proxies(Header::Forwarded).client(peer, &head), Some(peer));
    }
}
