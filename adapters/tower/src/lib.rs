//! API keys and exact rate limits as a [`tower`](https://docs.rs/tower) layer: for hyper, axum,
//! tonic, and whatever else serves `http` requests.
//!
//! [`keyward`] decides and knows no HTTP type; this crate carries requests to its
//! [`Gate`](keyward::Gate) and answers back. A service describes its keys, its limits and its
//! answers in the gate, puts it with a store and a clock into [`ApiKeys`], and each route gets
//! its layer from [`ApiKeys::require`].
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use axum::{Router, routing::get};
//! use keyward::{
//!     Access, Challenge, CredentialSource, Gate, Issuer, KeyFormat, KeyHasher, Limiter,
//!     MemoryStore, Quota, RateHeaders, Route, SystemClock,
//! };
//! use keyward_tower::{ApiKeys, Caller};
//!
//! const KEYS: KeyFormat = KeyFormat::hex("luci_");
//!
//! async fn datasets(caller: Caller) -> String {
//!     format!("those of {}", caller.owner_id())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::new());
//! let issuer = Issuer::new(Arc::clone(&store), KEYS, KeyHasher::sha256());
//! let gate = Gate::builder(KEYS, issuer.verifier(), CredentialSource::bearer())
//!     .with_challenge(Challenge::bearer("lucitra")?)
//!     .with_limiter(Limiter::system()?)
//!     .with_rate_headers(RateHeaders::x_ratelimit())
//!     .build()?;
//! let keys = ApiKeys::new(gate, store, SystemClock::new())
//!     .with_deadline(Duration::from_secs(2), tokio::time::sleep);
//!
//! let hundred = Quota::per_minute(100);
//! let route = Route::new(Access::any_key()).limit_key(hundred);
//! let router: Router =
//!     Router::new().route("/v1/datasets", get(datasets).route_layer(keys.require(route)?));
//! # let _ = router; Ok(()) }
//! ```
//!
//! # What a layer does
//!
//! - A request whose key meets what the route requires goes on, with its
//!   [`keyward::verify::KeyCaller`] in its extensions and the limiter's [`keyward::limit::Decision`] beside it.
//!   Its answer gets the headers of the rate limit, whatever it is.
//! - Any other is answered as the gate words it, and never reaches the inner service. There is
//!   no error of this layer's: the inner service's passes through untouched.
//! - What cannot be decided is 503: a store that fails, or has not answered at the
//!   [deadline](ApiKeys::with_deadline). A store that panics takes the request with it; nothing
//!   passes.
//! - Before a request goes on, the headers that can hold keys are marked as sensitive, and keys
//!   in its query are [replaced](ApiKeys::keep_query).
//! - Where a key does not stand in `Authorization`, its answer is
//!   [kept out of shared caches](ApiKeys::with_cache_control).
//! - With [`ApiKeys::recheck`], a key that is revoked while its request is served is answered
//!   with 401.
//! - With [`ApiKeys::serve_grpc`], gRPC requests are refused with a gRPC status.
//! - With a gate that passes unknown credentials on, they reach the inner service marked as
//!   [`ForeignCredential`], for the host's own check.
//! - What would silently not be done is refused when the layer is made, with a [`LayerError`].
//!
//! # Among other layers
//!
//! Outermost first. Whatever is to be on refusals too has to stand outside, and what logs has to
//! stand inside of what hides.
//!
//! 1. `SetSensitiveRequestHeadersLayer` of tower-http with the headers that hold keys, since
//!    the next ones see the request before this crate's layer does.
//! 2. A `map_request` that removes `x-request-id`, unless a client may choose it: tower-http's
//!    `SetRequestIdLayer` keeps what it finds.
//! 3. `SetRequestIdLayer`.
//! 4. `TraceLayer`. Its default span holds the whole target: where keys can stand in a query,
//!    make the span from [`Gate::redact`](keyward::Gate::redact).
//! 5. `PropagateRequestIdLayer`.
//! 6. [`TruePreflightsLayer`] with a `CorsLayer` in it. Bare, that answers every `OPTIONS`,
//!    preflight or not, before a key is asked for.
//! 7. The layer of [`ApiKeys::require`], on each route.
//!
//! ```
//! use axum::{Router, extract::Request, http::header::{AUTHORIZATION, HeaderName, RETRY_AFTER}};
//! use keyward::Gate;
//! use keyward_tower::TruePreflightsLayer;
//! use tower::ServiceBuilder;
//! use tower_http::{
//!     cors::{Any, CorsLayer},
//!     request_id::{MakeRequestId, PropagateRequestIdLayer, SetRequestIdLayer},
//!     sensitive_headers::SetSensitiveRequestHeadersLayer,
//!     trace::TraceLayer,
//! };
//!
//! const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
//!
//! fn around<M>(routes: Router, gate: Gate, ids: M) -> Router
//! where
//!     M: MakeRequestId + Clone + Send + Sync + 'static,
//! {
//!     // Browsers send a bearer key only if it is named: `Any` does not cover `Authorization`.
//!     // What a script is to read of an answer has to be named too.
//!     let cors = CorsLayer::new()
//!         .allow_origin(Any)
//!         .allow_headers([AUTHORIZATION])
//!         .expose_headers([RETRY_AFTER]);
//!     routes.layer(
//!         ServiceBuilder::new()
//!             .layer(SetSensitiveRequestHeadersLayer::new([AUTHORIZATION]))
//!             .map_request(|mut request: Request| {
//!                 request.headers_mut().remove(REQUEST_ID);
//!                 request
//!             })
//!             .layer(SetRequestIdLayer::new(REQUEST_ID, ids))
//!             .layer(TraceLayer::new_for_http().make_span_with(move |request: &Request| {
//!                 let target = request.uri().to_string();
//!                 tracing::info_span!("request", target = %gate.redact(&target))
//!             }))
//!             .layer(PropagateRequestIdLayer::new(REQUEST_ID))
//!             .layer(TruePreflightsLayer::new(cors)),
//!     )
//! }
//! ```
//!
//! Of two layers of this crate around one another each asks for what it requires, and the answer
//! tells of one limit: that which refused, else that with less left, else that whose reset is
//! later, as if one limiter had decided on both. A header that the handler itself wrote is
//! replaced. If both read a key from the same query, the outer one has to
//! [keep it](ApiKeys::keep_query).
//!
//! # Features
//!
//! None is on by default. `axum` adds the extractors `Caller` and `Option<Caller>`, and takes
//! keys out of axum's `OriginalUri` too. `tracing` adds an event for each outcome: `admitted` at
//! the level DEBUG, `refused` at INFO, `cannot decide` at ERROR, with the key's id and the
//! precise reason, and nothing of what was sent.
//!
//! # What it does not do
//!
//! It has no runtime, reads no clock of its own and spawns nothing: the clock is an argument,
//! and so is the timer. It does not read bodies.

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
mod layer_error;
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
pub use head::HttpHead;
pub use keys::ApiKeys;
pub use layer::ApiKeyLayer;
pub use layer_error::LayerError;
pub use passed_on::ForeignCredential;
pub use preflight::{Preflights, is_preflight};
pub use service::ApiKeyService;
pub use true_preflights::{RestoreMethod, TruePreflights, TruePreflightsLayer};

/// The README's wirings, compiled.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
