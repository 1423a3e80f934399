//! The head of a request, as the gate reads it and as it goes on.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, Request, Uri, request::Parts, uri::PathAndQuery};
use keyward::{
    Gate,
    gate::{Admission, Charged, CheckedRoute},
    limit::LimitKey,
    request::RequestHead,
};

use crate::trace;

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
    address: Option<&'p CountedBy>,
    subjects: &'p [(u8, CountedBy)],
}

impl<'p> Head<'p> {
    pub(crate) fn new(
        parts: &'p Parts,
        address: Option<&'p CountedBy>,
        subjects: &'p [(u8, CountedBy)],
    ) -> Self {
        Self { head: parts.into(), parts, address, subjects }
    }
}

impl RequestHead for Head<'_> {
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.head.header(name)
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query()
    }

    fn address(&self) -> Option<LimitKey> {
        let address = self.address?.of(self.parts);
        if address.is_none() {
            trace::no_address();
        }
        address
    }

    fn subject(&self, number: u8) -> Option<LimitKey> {
        let (_, subject) = self.subjects.iter().find(|(own, _)| *own == number)?;
        subject.of(self.parts)
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

/// Replaces the keys in the query, in every copy of the target.
pub(crate) fn redact_query(parts: &mut Parts, gate: &Gate) {
    if let Some(redacted) = redacted(&parts.uri, gate) {
        parts.uri = redacted;
    }
    #[cfg(feature = "axum")]
    redact_original_uri(&mut parts.extensions, gate);
}

/// Returns the same target without keys; `None` if it contains none.
fn redacted(uri: &Uri, gate: &Gate) -> Option<Uri> {
    let Cow::Owned(text) = gate.redact(uri.path_and_query()?.as_str()) else { return None };
    // The replacement is plain text, so this is a valid target. If it were not, no query is
    // better than one with a key.
    let target = PathAndQuery::try_from(text).or_else(|_| PathAndQuery::try_from(uri.path()));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
    Some(Uri::from_parts(parts).unwrap_or_default())
}

/// Removes the keys from the copy of the target that axum keeps beside the request.
#[cfg(feature = "axum")]
fn redact_original_uri(extensions: &mut http::Extensions, gate: &Gate) {
    if let Some(::axum::extract::OriginalUri(uri)) = extensions.get_mut()
        && let Some(redacted) = redacted(uri, gate)
    {
        *uri = redacted;
    }
}
