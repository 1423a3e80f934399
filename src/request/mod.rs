//! HTTP request and response data, independent of any HTTP crate.

pub(crate) mod bodies;
pub(crate) mod challenge;
pub(crate) mod head;
pub(crate) mod header;
mod json;
pub(crate) mod public_reason;
pub(crate) mod query;
pub(crate) mod rate_headers;
pub(crate) mod reason;
pub(crate) mod source;

pub use self::{
    bodies::{ErrorBodies, ErrorBody, ErrorFacts, ErrorText},
    challenge::{Challenge, ChallengeErrorCode},
    head::{PlainHead, RequestHead},
    header::ResponseHeader,
    public_reason::PublicReason,
    query::redact_query,
    rate_headers::RateHeaders,
    reason::{LimitedBy, RefusalReason},
    source::{Credential, CredentialError, CredentialSource, CredentialSources},
};
