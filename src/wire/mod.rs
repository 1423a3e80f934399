//! What stands in requests and answers, as plain data: no HTTP crate is known here.

pub(crate) mod challenge;
pub(crate) mod error_body;
pub(crate) mod head;
pub(crate) mod header;
mod json;
pub(crate) mod public_reason;
pub(crate) mod query;
pub(crate) mod rate_headers;
pub(crate) mod source;
