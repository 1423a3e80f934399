//! What of a request is looked at.

use std::fmt;

use crate::limit::key::LimitKey;

/// The head of a request, as far as credentials can stand in it.
///
/// A host implements it for its own request type, or fills a [`PlainHead`]. Values are
/// bytes, since nothing promises that a client sends text.
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
    /// The values of all lines of the header `name`, in the order in which they were sent.
    ///
    /// Names compare in any case (RFC 9110 §5.1); `name` comes in lower case. Blanks around
    /// a value are not part of it (§5.5), so the host has removed them, and nothing else.
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]>;

    /// What stands in the target behind the first `?`, still percent-encoded.
    fn query(&self) -> Option<&[u8]>;

    /// On whom failed attempts are counted, where a gate limits them: of a client's address
    /// that is [`LimitKey::address`]. Without one nothing is counted.
    ///
    /// It is the host's to know. An address out of a header such as `X-Forwarded-For` is
    /// whatever the client wrote, unless a proxy of the host's own has set it.
    fn address(&self) -> Option<LimitKey> {
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

    fn address(&self) -> Option<LimitKey> {
        (**self).address()
    }
}

/// A [`RequestHead`] that holds copies, for tests and for hosts without a type of their own.
///
/// Its `Debug` shows the names of headers and no value.
#[derive(Clone, Default)]
#[must_use]
pub struct PlainHead {
    headers: Vec<(String, Vec<u8>)>,
    query: Option<Vec<u8>>,
    address: Option<LimitKey>,
}

impl PlainHead {
    /// A head without headers and query.
    pub const fn new() -> Self {
        Self { headers: Vec::new(), query: None, address: None }
    }

    /// The head with one more line, behind those of the same name.
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The head with this query, still percent-encoded and without the `?`.
    pub fn with_query(mut self, query: impl AsRef<[u8]>) -> Self {
        self.query = Some(query.as_ref().to_vec());
        self
    }

    /// The head with whom failed attempts are counted on.
    pub fn with_address(mut self, address: LimitKey) -> Self {
        self.address = Some(address);
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

    fn address(&self) -> Option<LimitKey> {
        self.address
    }
}

impl fmt::Debug for PlainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("PlainHead").field("headers", &names).finish_non_exhaustive()
    }
}
