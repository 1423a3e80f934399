//! HTTP request and response data, independent of any HTTP crate.

pub(crate) mod bodies;
pub(crate) mod challenge;
pub(crate) mod client_address;
pub(crate) mod credential;
pub(crate) mod error_text;
pub(crate) mod facts;
pub(crate) mod head;
pub(crate) mod header;
mod json;
mod placeholder;
pub(crate) mod public_reason;
pub(crate) mod query;
pub(crate) mod rate_headers;
pub(crate) mod reason;
pub(crate) mod request_id;
pub(crate) mod source;
pub(crate) mod sources;
mod strip;
pub(crate) mod veto;

pub use self::{
    bodies::ErrorBodies,
    challenge::{Challenge, ChallengeErrorCode},
    client_address::TrustedProxies,
    credential::CredentialError,
    error_text::ErrorText,
    facts::{ErrorBody, ErrorFacts},
    head::{PlainHead, RequestHead},
    header::ResponseHeader,
    public_reason::PublicReason,
    query::redact_query,
    rate_headers::{Draft, RateHeaders},
    reason::RefusalReason,
    request_id::RequestId,
    source::CredentialSource,
    sources::{Credential, CredentialSources},
    veto::Veto,
};
