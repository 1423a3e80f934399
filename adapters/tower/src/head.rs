//! The head of a request, as the gate reads it and as it goes on.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderName, Uri, request::Parts, uri::PathAndQuery};
use keyward::{Gate, LimitKey, RequestHead};

/// What the gate reads of a request.
pub(crate) struct Head<'p> {
    pub(crate) parts: &'p Parts,
    pub(crate) address: Option<LimitKey>,
}

impl RequestHead for Head<'_> {
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.parts.headers.get_all(name).iter().map(|value| value.as_bytes())
    }

    fn query(&self) -> Option<&[u8]> {
        self.parts.uri.query().map(str::as_bytes)
    }

    fn address(&self) -> Option<LimitKey> {
        self.address
    }
}

/// On whom failed attempts are counted: the host's word.
#[derive(Clone)]
#[expect(clippy::type_complexity, reason = "this is where the type gets a name")]
pub(crate) struct ClientAddress(Arc<dyn Fn(&Parts) -> Option<LimitKey> + Send + Sync>);

impl ClientAddress {
    pub(crate) fn new(
        address: impl Fn(&Parts) -> Option<LimitKey> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(address))
    }

    pub(crate) fn of(&self, parts: &Parts) -> Option<LimitKey> {
        (self.0)(parts)
    }
}

/// Marks the values of these headers as sensitive: then `Debug` shows nothing of them, and
/// HTTP/2 keeps them out of its tables when they are sent further.
pub(crate) fn mark_sensitive(parts: &mut Parts, names: &[HeaderName]) {
    for (name, value) in &mut parts.headers {
        if names.contains(name) {
            value.set_sensitive(true);
        }
    }
}

/// Replaces the keys in the query, wherever the target is kept.
pub(crate) fn redact_query(parts: &mut Parts, gate: &Gate) {
    if let Some(redacted) = redacted(&parts.uri, gate) {
        parts.uri = redacted;
    }
    #[cfg(feature = "axum")]
    crate::extract::redact_original_uri(&mut parts.extensions, gate);
}

/// The same target without keys; `None` if there are none in it.
pub(crate) fn redacted(uri: &Uri, gate: &Gate) -> Option<Uri> {
    let Cow::Owned(text) = gate.redact(uri.path_and_query()?.as_str()) else { return None };
    // What replaces a key is plain text, so this is a target again. If ever it were none, then
    // rather no query than one with a key.
    let target = PathAndQuery::try_from(text).or_else(|_| PathAndQuery::try_from(uri.path()));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
    Some(Uri::from_parts(parts).unwrap_or_default())
}
