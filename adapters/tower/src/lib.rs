//! API keys and exact rate limits as a [`tower`](https://docs.rs/tower) layer, over
//! [`keyward`]: for hyper, axum, tonic and whatever else serves `http` requests.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod body;
mod deadline;
mod decide;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod grpc;
mod head;
mod keys;
mod layer;
mod passed_on;
mod preflight;
mod remote;
mod route;
mod service;
mod trace;
mod true_preflights;

pub use answer::http_response;
pub use body::ResponseBody;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use extract::{Caller, CallerRejection};
pub use future::ResponseFuture;
pub use keys::ApiKeys;
pub use layer::ApiKeyLayer;
pub use passed_on::PassedOn;
pub use preflight::{Preflights, is_preflight};
pub use service::ApiKeyService;
pub use true_preflights::{RestoreMethod, TruePreflights, TruePreflightsLayer};
