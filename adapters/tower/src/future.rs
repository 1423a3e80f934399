//! The future of a request: decide, serve, and perhaps recheck.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response, header::CACHE_CONTROL, request::Parts};
use keyward::{
    KeyStore, Outcome,
    gate::{Admission, CheckedRoute, PendingRecheck, Refusal},
    limit::Decision,
    request::RequestId,
    store::StoreFuture,
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::ResponseBody,
    caller::Caller,
    decide::{Deciding, recheck},
    foreign::{ForeignCredential, WithoutCaller},
    head::{leave_charged, mark_sensitive},
    keep_response::KeepResponse,
    response::{Protocol, identified, insert_headers, report_limit},
    shared::Shared,
};

pin_project! {
    /// The future of [`ApiKeyService`](crate::ApiKeyService).
    ///
    /// It is `Send` if the inner service, its future and the body of the request are.
    pub struct ResponseFuture<S, F, B, R, K> {
        shared: Arc<Shared<K>>,
        route: CheckedRoute,
        style: Style,
        #[pin]
        state: State<S, F, B, R>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, B, R> {
        Deciding {
            deciding: Deciding,
            service: S,
            request: Option<(Parts, B)>,
        },
        Serving {
            #[pin]
            serving: F,
            admitted: Option<Admitted>,
        },
        Rechecking {
            rechecking: StoreFuture<'static, Result<(), Box<Refusal>>>,
            response: Option<Response<R>>,
            admission: Admission,
        },
        Done {
            response: Option<Response<ResponseBody<R>>>,
        },
    }
}

/// The style of the response.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) protocol: Protocol,
    /// The `Cache-Control` of the response, unless the inner service sets one.
    pub(crate) cache_control: Option<HeaderValue>,
    /// Whether an outer layer of this crate needs the limit of this one.
    pub(crate) inside: bool,
    /// The decision of an outer layer, for a handler whose own layer had nothing left to charge.
    pub(crate) outer: Option<Decision>,
}

/// The part of an admission that is kept while the request is served.
struct Admitted {
    admission: Admission,
    recheck: Option<PendingRecheck>,
}

impl<S, F, B, R, K> ResponseFuture<S, F, B, R, K> {
    /// Creates the future of a request that is decided before the service is called.
    pub(crate) const fn deciding(
        shared: Arc<Shared<K>>,
        route: CheckedRoute,
        style: Style,
        deciding: Deciding,
        service: S,
        request: (Parts, B),
    ) -> Self {
        let state = State::Deciding { deciding, service, request: Some(request) };
        Self { shared, route, style, state }
    }

    /// Creates the future of a request whose response is ready.
    pub(crate) const fn done(
        shared: Arc<Shared<K>>,
        route: CheckedRoute,
        style: Style,
        response: Response<ResponseBody<R>>,
    ) -> Self {
        let state = State::Done { response: Some(response) };
        Self { shared, route, style, state }
    }
}

impl<S, B, R, K> Future for ResponseFuture<S, S::Future, B, R, K>
where
    S: Service<Request<B>, Response = Response<R>>,
    K: KeyStore + 'static,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Deciding { deciding, service, request } => {
                    let decided = ready!(Pin::new(deciding).poll(context));
                    if let Some(outcome) = &decided {
                        this.shared.log.decided(outcome, this.route, &*this.shared.clock);
                    }
                    // Without a request this was polled after its end.
                    let Some((mut parts, body)) = request.take() else { return Poll::Pending };
                    let is_admitted = matches!(decided, Some(Outcome::Admitted(_)));
                    // An admitted request can be refused only after its handler.
                    let request_id = match is_admitted && !this.shared.recheck {
                        true => None,
                        false => this.shared.request_id(&parts),
                    };
                    let without_caller = |request_id| ForeignCredential {
                        request_id,
                        gate: this.shared.gate.clone(),
                        route: this.route.clone(),
                        clock: Arc::clone(&this.shared.clock),
                        protocol: this.style.protocol,
                    };
                    let admitted = match decided {
                        Some(Outcome::Refused(refusal)) => {
                            let refusal = identified(refusal, request_id);
                            let refused = this.style.protocol.refusal(&refusal);
                            let response = Some(refused.map(ResponseBody::refused));
                            this.state.set(State::Done { response });
                            continue;
                        }
                        None => {
                            parts.extensions.insert(WithoutCaller(without_caller(request_id)));
                            this.shared.credentials.pass_on(&mut parts, &this.shared.gate);
                            None
                        }
                        Some(Outcome::Anonymous) => {
                            parts.extensions.insert(WithoutCaller(without_caller(request_id)));
                            // What looks like a key in a query is none, and no log must show it.
                            this.shared.credentials.pass_on(&mut parts, &this.shared.gate);
                            None
                        }
                        Some(Outcome::ForeignCredential) => {
                            parts.extensions.insert(without_caller(request_id));
                            None
                        }
                        Some(Outcome::Admitted(admission)) => {
                            let outer = this.style.outer.filter(|_| this.route.is_limited());
                            if let Some(decision) = admission.decision().copied().or(outer) {
                                parts.extensions.insert(decision);
                            }
                            leave_charged(&mut parts, &admission, this.route);
                            let route = &*this.route;
                            Some(Admitted::new(
                                this.shared,
                                route,
                                admission,
                                request_id,
                                &mut parts,
                            ))
                        }
                    };
                    mark_sensitive(&mut parts, &this.shared.sensitive);
                    let serving = service.call(Request::from_parts(parts, body));
                    State::Serving { serving, admitted }
                }
                StateProjection::Serving { serving, admitted } => {
                    let mut response = ready!(serving.poll(context))?;
                    if let Some(value) = this.style.cache_control.take() {
                        set_cache_control(response.headers_mut(), value);
                    }
                    let is_kept = response.extensions().get::<KeepResponse>().is_some();
                    match admitted.take() {
                        None => State::Done { response: Some(response.map(ResponseBody::served)) },
                        Some(Admitted { admission, recheck: Some(pending) }) if !is_kept => {
                            State::Rechecking {
                                rechecking: recheck(this.shared, pending),
                                response: Some(response),
                                admission,
                            }
                        }
                        Some(Admitted { admission, .. }) => State::Done {
                            response: Some(with_headers(response, &admission, this.style.inside)),
                        },
                    }
                }
                StateProjection::Rechecking { rechecking, response, admission } => {
                    let rechecked = ready!(Pin::new(rechecking).poll(context));
                    let response = match (rechecked, response.take()) {
                        (Ok(()), response) => response
                            .map(|response| with_headers(response, admission, this.style.inside)),
                        (Err(refusal), _) => {
                            this.shared.log.refused(&refusal, &*this.shared.clock);
                            let mut refused = this.style.protocol.refusal(&refusal);
                            insert_headers(refused.headers_mut(), admission.headers());
                            Some(refused.map(ResponseBody::refused))
                        }
                    };
                    State::Done { response }
                }
                StateProjection::Done { response } => {
                    return response
                        .take()
                        .map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
                }
            };
            this.state.set(next);
        }
    }
}

impl Admitted {
    /// Puts the caller into the request, and keeps the part that the response needs.
    fn new<K>(
        shared: &Shared<K>,
        route: &CheckedRoute,
        admission: Admission,
        request_id: Option<RequestId>,
        parts: &mut Parts,
    ) -> Self {
        let recheck = || shared.gate.recheck(admission.caller(), route);
        let recheck = shared.recheck.then(|| recheck().with_request_id(request_id));
        parts.extensions.insert(Caller(admission.caller().clone()));
        shared.credentials.pass_on(parts, &shared.gate);
        Self { admission, recheck }
    }
}

impl<S, F, B, R, K> fmt::Debug for ResponseFuture<S, F, B, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("route", &self.route).finish_non_exhaustive()
    }
}

/// Returns the response of the inner service with the rate-limit headers of the gate.
fn with_headers<R>(
    mut response: Response<R>,
    admission: &Admission,
    inside: bool,
) -> Response<ResponseBody<R>> {
    report_limit(&mut response, admission, inside);
    response.map(ResponseBody::served)
}

/// Sets `Cache-Control` unless the inner service has set it.
fn set_cache_control(headers: &mut HeaderMap, value: HeaderValue) {
    if !headers.contains_key(CACHE_CONTROL) {
        let _full = headers.try_insert(CACHE_CONTROL, value);
    }
}
