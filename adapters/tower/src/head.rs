//! The head of a request, as the gate reads it and as it goes on.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri, header::Entry, request::Parts,
    uri::PathAndQuery,
};
use keyward::{
    Clock, Gate,
    gate::{Admission, Charged, CheckedRoute},
    limit::LimitKey,
    request::{RequestHead, RequestId, TrustedProxies, Veto},
};

use crate::trace::Log;

/// The head of an `http` request as keyward reads it, for a host that reads credentials itself:
/// [foreign ones](crate::ForeignCredential::credential), or those of routes without a layer.
///
/// ```
/// use http::Request;
/// use keyward::{request::CredentialSources, CredentialSource};
/// use keyward_tower::HttpHead;
///
/// let request = Request::builder().header("authorization", "Bearer abc").body(())?;
/// let bearer = CredentialSources::from(CredentialSource::bearer());
/// let head = HttpHead::from(&request);
/// assert_eq!(bearer.extract(&head)?.unwrap().token(), b"abc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its `Debug` shows nothing of the request.
#[derive(Clone, Copy)]
pub struct HttpHead<'r> {
    headers: &'r HeaderMap,
    uri: &'r Uri,
}

impl<'r> From<&'r Parts> for HttpHead<'r> {
    fn from(parts: &'r Parts) -> Self {
        Self { headers: &parts.headers, uri: &parts.uri }
    }
}

impl<'r, B> From<&'r Request<B>> for HttpHead<'r> {
    fn from(request: &'r Request<B>) -> Self {
        Self { headers: request.headers(), uri: request.uri() }
    }
}

impl RequestHead for HttpHead<'_> {
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.headers.get_all(name).iter().map(|value| value.as_bytes())
    }

    fn query(&self) -> Option<&[u8]> {
        self.uri.query().map(str::as_bytes)
    }
}

impl fmt::Debug for HttpHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHead").finish_non_exhaustive()
    }
}

/// The head that the gate reads, with everything that limits count by.
pub(crate) struct Head<'p> {
    head: HttpHead<'p>,
    parts: &'p Parts,
    settings: Settings<'p>,
    log: &'p Log,
    clock: &'p dyn Clock,
}

/// What the host has told of its requests.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'p> {
    pub(crate) ip: Option<&'p IpOf>,
    pub(crate) proxies: Option<&'p TrustedProxies>,
    pub(crate) address: Option<&'p CountedBy>,
    pub(crate) subjects: &'p [(u8, CountedBy)],
    pub(crate) veto: Option<&'p VetoOf>,
    pub(crate) request_id: Option<&'p RequestIdOf>,
}

/// The host's function that returns the address of the peer of a request.
pub(crate) type IpOf = Arc<dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync>;

/// The host's function that returns the id of a request.
pub(crate) type RequestIdOf = Arc<dyn Fn(&Parts) -> Option<RequestId> + Send + Sync>;

/// The host's function that returns its check of the key of a request.
pub(crate) type VetoOf = Arc<dyn Fn(&Parts) -> Option<Veto> + Send + Sync>;

impl<'p> Head<'p> {
    pub(crate) fn new(
        parts: &'p Parts,
        settings: Settings<'p>,
        log: &'p Log,
        clock: &'p dyn Clock,
    ) -> Self {
        Self { head: parts.into(), parts, settings, log, clock }
    }
}

impl RequestHead for Head<'_> {
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.head.header(name)
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query()
    }

    fn client_ip(&self) -> Option<IpAddr> {
        let peer = (self.settings.ip?)(self.parts)?;
        match self.settings.proxies {
            Some(proxies) => proxies.client(peer, &self.head),
            None => Some(peer),
        }
    }

    fn veto(&self) -> Option<Veto> {
        (self.settings.veto?)(self.parts)
    }

    fn address(&self) -> Option<LimitKey> {
        let address = match self.settings.address {
            Some(address) => address.of(self.parts),
            None => self.settings.ip.and_then(|_| self.client_ip()).map(LimitKey::address),
        };
        if address.is_none() {
            self.log.no_address(self.clock);
        }
        address
    }

    fn subject(&self, number: u8) -> Option<LimitKey> {
        let (_, subject) = self.settings.subjects.iter().find(|(own, _)| *own == number)?;
        subject.of(self.parts)
    }

    fn request_id(&self) -> Option<RequestId> {
        (self.settings.request_id?)(self.parts)
    }

    fn charged(&self) -> Option<&Charged> {
        self.parts.extensions.get().map(|ChargedBefore(charged)| charged)
    }
}

/// What this layer and those around it have charged, for layers inside of this one.
#[derive(Clone)]
struct ChargedBefore(Charged);

/// Leaves in the request what was charged for it.
pub(crate) fn leave_charged(parts: &mut Parts, admission: &Admission, route: &CheckedRoute) {
    if let Some(charged) = admission.charged(route) {
        parts.extensions.insert(ChargedBefore(charged));
    }
}

/// The host's function that returns what a request is counted by: its address, or a subject that
/// only the host knows.
#[derive(Clone)]
#[expect(clippy::type_complexity, reason = "this is where the type gets a name")]
pub(crate) struct CountedBy(Arc<dyn Fn(&Parts) -> Option<LimitKey> + Send + Sync>);

impl CountedBy {
    pub(crate) fn new(find: impl Fn(&Parts) -> Option<LimitKey> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    pub(crate) fn of(&self, parts: &Parts) -> Option<LimitKey> {
        (self.0)(parts)
    }
}

/// Marks the values of these headers as sensitive, so that `Debug` omits them and HTTP/2 keeps
/// them out of its tables when they are forwarded.
pub(crate) fn mark_sensitive(parts: &mut Parts, names: &[HeaderName]) {
    for (name, value) in &mut parts.headers {
        if names.contains(name) {
            value.set_sensitive(true);
        }
    }
}

/// What the inner service sees of the credentials of an admitted request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Headers as they were sent, and queries in which keys are replaced.
    #[default]
    RedactQuery,
    /// Everything.
    Keep,
    /// Nothing.
    Strip,
}

impl Credentials {
    /// Changes a request that goes on.
    pub(crate) fn pass_on(self, parts: &mut Parts, gate: &Gate) {
        let change = match self {
            Self::Keep => return,
            Self::RedactQuery => redacted,
            Self::Strip => {
                strip_headers(&mut parts.headers, gate);
                stripped
            }
        };
        if let Some(changed) = changed(&parts.uri, gate, change) {
            parts.uri = changed;
        }
        #[cfg(feature = "axum")]
        change_original_uri(&mut parts.extensions, gate, change);
    }
}

/// Removes from headers the credentials that a gate reads from them.
fn strip_headers(headers: &mut HeaderMap, gate: &Gate) {
    for name in gate.sources().header_names() {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        let Entry::Occupied(entry) = headers.entry(&name) else { continue };
        let (_, lines) = entry.remove_entry_mult();
        let lines: Vec<HeaderValue> = lines.collect();
        for line in lines {
            let left = gate.sources().stripped_header(name.as_str(), line.as_bytes());
            // A part of a valid value is valid.
            let left = left.and_then(|left| HeaderValue::from_bytes(&left).ok());
            if let Some(left) = left {
                headers.append(&name, left);
            }
        }
    }
}

type Change = for<'u> fn(&Gate, &'u str) -> Cow<'u, str>;

fn redacted<'u>(gate: &Gate, target: &'u str) -> Cow<'u, str> {
    gate.redact(target)
}

fn stripped<'u>(gate: &Gate, target: &'u str) -> Cow<'u, str> {
    gate.sources().stripped_target(target)
}

/// Returns the same target without keys; `None` if it contains none.
fn changed(uri: &Uri, gate: &Gate, change: Change) -> Option<Uri> {
    let target = uri.path_and_query()?.as_str();
    let text = change(gate, target);
    if *text == *target {
        return None;
    }
    // The replacement is plain text, so this is a valid target. If it were not, no query is
    // better than one with a key.
    let target = PathAndQuery::try_from(&*text).or_else(|_| PathAndQuery::try_from(uri.path()));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
    Some(Uri::from_parts(parts).unwrap_or_default())
}

/// Removes the keys from the copy of the target that axum keeps beside the request.
#[cfg(feature = "axum")]
fn change_original_uri(extensions: &mut http::Extensions, gate: &Gate, change: Change) {
    if let Some(::axum::extract::OriginalUri(uri)) = extensions.get_mut()
        && let Some(changed) = changed(uri, gate, change)
    {
        *uri = changed;
    }
}
