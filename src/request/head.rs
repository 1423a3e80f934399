//! The head of a request.

use std::{fmt, net::IpAddr};

use crate::{
    limit::{charged::Charged, key::LimitKey},
    request::veto::Veto,
};

/// The parts of a request's head that can contain credentials.
///
/// A host implements it for its own type of requests, or fills a [`PlainHead`]. Values are bytes,
/// because a client can send anything.
///
/// ```
/// use keyward::request::RequestHead;
///
/// struct MyRequest {
///     headers: Vec<(String, String)>,
///     query: Option<String>,
/// }
///
/// impl RequestHead for MyRequest {
///     fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
///         let named = self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name));
///         named.map(|(_, value)| value.as_bytes())
///     }
///
///     fn query(&self) -> Option<&[u8]> {
///         self.query.as_deref().map(str::as_bytes)
///     }
/// }
/// ```
pub trait RequestHead {
    /// Returns the values of all lines of the header `name`, in the order in which they were sent.
    ///
    /// The case of names does not matter (RFC 9110 §5.1), and `name` is in lower case. The host must
    /// remove the whitespace around a value, which is not part of it (§5.5), and nothing else.
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]>;

    /// Returns the part of the target behind the first `?`, percent-encoded.
    fn query(&self) -> Option<&[u8]>;

    /// Returns the address of the client, against which the networks of a key are checked. Without one, a
    /// request with such a key is refused with 503.
    ///
    /// Only the host knows it. A header such as `X-Forwarded-For` contains whatever the client wrote,
    /// unless a proxy of the host has set it: see [`TrustedProxies`](crate::request::TrustedProxies).
    fn client_ip(&self) -> Option<IpAddr> {
        None
    }

    /// Returns the key on which a gate counts failed attempts, and on which limits
    /// [per address](crate::limit::Limit::per_address) count: the [`LimitKey::address`] of the
    /// [client](RequestHead::client_ip), unless the host counts by something else. Without one, no failed
    /// attempt is counted, and a request to a route with such a limit is refused with 503.
    fn address(&self) -> Option<LimitKey> {
        self.client_ip().map(LimitKey::address)
    }

    /// Returns the host's own check of the key, if this request needs one. It runs after the secret is
    /// proved and before anything is charged.
    fn veto(&self) -> Option<Veto> {
        None
    }

    /// Returns the key on which limits of [`Subject::Host(number)`](crate::limit::Subject::Host)
    /// count, such as [`LimitKey::host`] of a tenant in the path. Without one, a request to a route
    /// with such a limit is refused with 503. It is called for the numbers that the route needs, each
    /// once, before the key is looked up.
    fn subject(&self, number: u8) -> Option<LimitKey> {
        let _number = number;
        None
    }

    /// Returns what a decision of the same gate on the same request has charged, which this one does
    /// not charge again. See [`Admission::charged`](crate::gate::Admission::charged).
    fn charged(&self) -> Option<&Charged> {
        None
    }
}

impl<H: RequestHead + ?Sized> RequestHead for &H {
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        (**self).header(name)
    }

    fn query(&self) -> Option<&[u8]> {
        (**self).query()
    }

    fn client_ip(&self) -> Option<IpAddr> {
        (**self).client_ip()
    }

    fn address(&self) -> Option<LimitKey> {
        (**self).address()
    }

    fn veto(&self) -> Option<Veto> {
        (**self).veto()
    }

    fn subject(&self, number: u8) -> Option<LimitKey> {
        (**self).subject(number)
    }

    fn charged(&self) -> Option<&Charged> {
        (**self).charged()
    }
}

/// A [`RequestHead`] of copies, for tests and for hosts without a type of their own.
///
/// Its `Debug` shows the names of headers and no values.
#[derive(Clone, Default)]
#[must_use]
pub struct PlainHead {
    headers: Vec<(String, Vec<u8>)>,
    query: Option<Vec<u8>>,
    client_ip: Option<IpAddr>,
    address: Option<LimitKey>,
    veto: Option<Veto>,
    subjects: Vec<(u8, LimitKey)>,
    charged: Option<Charged>,
}

impl PlainHead {
    /// Builds a head without headers and query.
    pub const fn new() -> Self {
        Self {
            headers: Vec::new(),
            query: None,
            client_ip: None,
            address: None,
            veto: None,
            subjects: Vec::new(),
            charged: None,
        }
    }

    /// Adds a header line behind those of the same name.
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the query, percent-encoded and without the `?`.
    pub fn with_query(mut self, query: impl AsRef<[u8]>) -> Self {
        self.query = Some(query.as_ref().to_vec());
        self
    }

    /// Sets the address of the client.
    pub fn with_client_ip(mut self, address: IpAddr) -> Self {
        self.client_ip = Some(address);
        self
    }

    /// Sets the host's own check of the key.
    pub fn with_veto(mut self, veto: Veto) -> Self {
        self.veto = Some(veto);
        self
    }

    /// Sets the key on which failed attempts and limits per address count, in place of that of the
    /// client's address.
    pub fn with_address(mut self, address: LimitKey) -> Self {
        self.address = Some(address);
        self
    }

    /// Sets the key on which limits of [`Subject::Host(number)`](crate::limit::Subject::Host) count.
    pub fn with_subject(mut self, number: u8, subject: LimitKey) -> Self {
        self.subjects.retain(|(other, _)| *other != number);
        self.subjects.push((number, subject));
        self
    }

    /// Sets what another decision on the same request has charged.
    pub fn with_charged(mut self, charged: Charged) -> Self {
        self.charged = Some(charged);
        self
    }
}

impl RequestHead for PlainHead {
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        let named = self.headers.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice())
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref()
    }

    fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }

    fn address(&self) -> Option<LimitKey> {
        self.address.or_else(|| self.client_ip.map(LimitKey::address))
    }

    fn veto(&self) -> Option<Veto> {
        self.veto.clone()
    }

    fn subject(&self, number: u8) -> Option<LimitKey> {
        self.subjects.iter().find(|(own, _)| *own == number).map(|(_, subject)| *subject)
    }

    fn charged(&self) -> Option<&Charged> {
        self.charged.as_ref()
    }
}

impl fmt::Debug for PlainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("PlainHead").field("headers", &names).finish_non_exhaustive()
    }
}
