//! API keys and exact rate limits as a [`tower`](https://docs.rs/tower) layer: for hyper, axum,
//! tonic, and every other server that uses the crate `http`.
//!
//! [`keyward`] decides and contains no HTTP type. This crate passes requests to its
//! [`Gate`](keyward::Gate) and responses back. Each route gets its layer from
//! [`ApiKeys::require`].
//!
//! # The short form
//!
//! [`ApiKeys::bearer`] has a [default](ApiKeysBuilder) for everything.
//!
//! ```
//! use axum::{Router, routing::get};
//! use keyward::{Access, MemoryStore, Quota};
//! use keyward_tower::{ApiKeys, Caller};
//!
//! async fn data(caller: Caller) -> String {
//!     format!("those of {}", caller.owner_id())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = ApiKeys::bearer("acme_", MemoryStore::new()).limit(Quota::per_minute(100)).build()?;
//! let issued = keys.issue("acme", "laptop").await?; // shown once: issued.key.expose()
//! let app: Router =
//!     Router::new().route("/v1/data", get(data).route_layer(keys.require(Access::any_key())?));
//! # let _ = (app, issued); Ok(()) }
//! ```
//!
//! # The full form
//!
//! [`ApiKeys::new`] takes a gate that you build. Everything else is the same.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use axum::{Router, routing::get};
//! use keyward::{
//!     Access, Challenge, CredentialSource, Gate, Issuer, KeyFormat, KeyHasher, Limiter,
//!     MemoryStore, Quota, RateHeaders, SystemClock, limit::Limit,
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
//!     .with_limit(Limit::new("default", Quota::per_minute(100)))
//!     .with_rate_headers(RateHeaders::x_ratelimit())
//!     .build()?;
//! let keys = ApiKeys::new(gate, store, SystemClock::new())
//!     .with_deadline(Duration::from_secs(2), tokio::time::sleep);
//!
//! let route = Access::any_key().with_limit("default");
//! let router: Router =
//!     Router::new().route("/v1/datasets", get(datasets).route_layer(keys.require(route)?));
//! # let _ = router; Ok(()) }
//! ```
//!
//! # A whole router
//!
//! With the feature `axum`, `ApiKeys::guard` protects a whole router by rules. It denies every
//! request that matches no rule, so a forgotten route or method is closed and not open.
//!
//! # What a layer does
//!
//! - A request whose key meets the requirements of the route goes on, with its [`Caller`] in its
//!   extensions and the [`Decision`](keyward::limit::Decision) of the limiter beside it. Its
//!   response gets the rate-limit headers, whatever its status.
//! - Any other request is refused with a response of the gate, and never reaches the inner service.
//!   The layer adds no error type; an error of the inner service passes through unchanged.
//! - If the store fails or misses the [deadline](ApiKeys::with_deadline), the request is refused
//!   with 503. A panic of the store unwinds through the request, which does not reach the inner
//!   service.
//! - Before a request goes on, the headers that can hold keys are marked as sensitive, and keys
//!   in its query are [replaced](ApiKeys::keep_query).
//! - A response to a key outside of `Authorization` is
//!   [kept out of shared caches](ApiKeys::with_cache_control).
//! - With [`ApiKeys::recheck`], if a key is revoked while its request is served, the response is 401,
//!   unless the handler marked it with [`KeepResponse`].
//! - With [`ApiKeys::serve_grpc`], gRPC requests are refused with a gRPC status and its details.
//! - With a gate that leaves foreign credentials to the host, they reach the inner service marked
//!   as [`ForeignCredential`], for the host's own check.
//! - On a route that [allows missing credentials](keyward::Route::allow_missing), a request without one
//!   goes on without a [`Caller`].
//! - A setting without effect is a [`ConfigError`](keyward::ConfigError) of
//!   [`ApiKeys::require`].
//!
//! # Among other layers
//!
//! The list begins with the outermost layer. A layer that also changes refusals must be outside of
//! this crate's layer. A layer that logs must be inside of a layer that hides secrets.
//!
//! 1. `SetSensitiveRequestHeadersLayer` of tower-http with the headers that hold keys, because the
//!    following layers see the request before this crate's layer does.
//! 2. A `map_request` that removes `x-request-id`, unless a client may choose it: tower-http's
//!    `SetRequestIdLayer` keeps an existing one.
//! 3. `SetRequestIdLayer`.
//! 4. `TraceLayer`. Its default span contains the whole target. If a query can contain keys,
//!    create the span from [`Gate::redact`](keyward::Gate::redact).
//! 5. `PropagateRequestIdLayer`.
//! 6. [`TruePreflightsLayer`] with a `CorsLayer` in it. A bare `CorsLayer` responds to every
//!    `OPTIONS`, preflight or not, before a key is read.
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
//!     // The response headers that a script may read must be named too.
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
//! Of two nested layers of this crate each enforces its own route. A limit that both routes name is
//! charged once, if both layers have the same gate (or clones of it) and find the same key: the
//! inner one charges only what is missing, whatever its cost is. The response reports one limit: the
//! one that refused, else the one with less left, else the one with the later reset, as if one
//! limiter had decided on both. A header that the handler itself set is replaced. If both
//! read a key from the same query, the outer one must [keep it](ApiKeys::keep_query).
//!
//! # Features
//!
//! None is on by default. `axum` adds the extractors `Caller` and `Option<Caller>` and
//! `ApiKeys::guard`, and removes keys from axum's `OriginalUri` too. `tracing` adds an event for
//! each outcome: `admitted` at the level DEBUG, `refused` at INFO, `cannot decide` at ERROR, with
//! the id of the key and the precise reason, and nothing that the client sent. `refused` has the limit and
//! the window that refused. `cannot decide` is at most one event a second for each kind of failure, with the
//! number of requests, and the reason has every source of the error, down to "no such table".
//!
//! # What it does not do
//!
//! It contains no runtime and starts no tasks: the timer is an argument. The clock is an argument
//! of [`ApiKeys::new`]; [`ApiKeys::bearer`] uses [`SystemClock`](keyward::SystemClock) by default.
//! It does not read bodies.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod builder;
mod caller;
mod decide;
#[cfg(feature = "axum")]
mod extract;
mod foreign;
mod future;
mod grpc;
mod grpc_details;
#[cfg(feature = "axum")]
mod guard;
mod head;
mod issue;
mod keep_response;
mod keys;
mod layer;
#[cfg(feature = "tracing")]
mod outages;
mod path;
mod preflight;
#[cfg(feature = "axum")]
mod probe;
mod random;
mod rehash;
mod remote;
mod response;
mod route;
#[cfg(feature = "axum")]
mod rules;
mod service;
mod shared;
mod trace;
mod true_preflights;

pub use self::{
    body::ResponseBody,
    builder::ApiKeysBuilder,
    caller::Caller,
    foreign::ForeignCredential,
    future::ResponseFuture,
    head::HttpHead,
    issue::IssueError,
    keep_response::KeepResponse,
    keys::ApiKeys,
    layer::ApiKeyLayer,
    path::decoded_segments,
    preflight::{Preflights, is_preflight},
    response::http_response,
    service::ApiKeyService,
    true_preflights::{RestoreMethod, TruePreflights, TruePreflightsLayer},
};
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use self::{
    extract::CallerRejection,
    guard::{Guarded, GuardedFuture},
    path::path_parameter,
    probe::check_layers,
    rules::Rules,
};

/// Compiles the README.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
