//! A request under way: decided, served, and perhaps asked about once more.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response, header::CACHE_CONTROL, request::Parts};
use keyward::{
    KeyStore, Outcome, Route,
    gate::{Admission, PendingRecheck, Refusal},
    store::StoreFuture,
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    ForeignCredential, ResponseBody,
    answer::{Responses, insert_headers, tell_limit},
    decide::{Deciding, recheck},
    head::{mark_sensitive, redact_query},
    keys::Shared,
    trace,
};

pin_project! {
    /// The future of [`ApiKeyService`](crate::ApiKeyService).
    ///
    /// It can be sent wherever the inner service, its future and the request's body can.
    pub struct ResponseFuture<S, F, B, R, K> {
        shared: Arc<Shared<K>>,
        route: Route,
        manner: Manner,
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
        Answered {
            response: Option<Response<ResponseBody<R>>>,
        },
    }
}

/// How this request is answered.
#[derive(Debug)]
pub(crate) struct Manner {
    pub(crate) answers: Responses,
    /// What the answer says to caches, unless the inner service does.
    pub(crate) cache_control: Option<HeaderValue>,
    /// Whether another layer stands around this one and has to be told of the limit.
    pub(crate) inside: bool,
}

/// What is kept of an admission while the request is served.
struct Admitted {
    admission: Admission,
    recheck: Option<PendingRecheck>,
}

impl<S, F, B, R, K> ResponseFuture<S, F, B, R, K> {
    /// A request that is to be decided before the service is called.
    pub(crate) const fn deciding(
        shared: Arc<Shared<K>>,
        route: Route,
        manner: Manner,
        deciding: Deciding,
        service: S,
        request: (Parts, B),
    ) -> Self {
        let state = State::Deciding { deciding, service, request: Some(request) };
        Self { shared, route, manner, state }
    }

    /// A request that is answered already.
    pub(crate) const fn answered(
        shared: Arc<Shared<K>>,
        route: Route,
        manner: Manner,
        response: Response<ResponseBody<R>>,
    ) -> Self {
        let state = State::Answered { response: Some(response) };
        Self { shared, route, manner, state }
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
                    let outcome = ready!(Pin::new(deciding).poll(context));
                    trace::decided(&outcome);
                    // Without a request this was asked again after its end.
                    let Some((mut parts, body)) = request.take() else { return Poll::Pending };
                    let admitted = match outcome {
                        Outcome::Refused(refusal) => {
                            let answer = this.manner.answers.refusal(&refusal);
                            let response = Some(answer.map(ResponseBody::refused));
                            this.state.set(State::Answered { response });
                            continue;
                        }
                        Outcome::ForeignCredential => {
                            parts.extensions.insert(ForeignCredential {
                                gate: this.shared.gate.clone(),
                                route: this.route.clone(),
                                clock: Arc::clone(&this.shared.clock),
                                answers: this.manner.answers,
                            });
                            None
                        }
                        Outcome::Admitted(admission) => {
                            Some(Admitted::new(this.shared, this.route, admission, &mut parts))
                        }
                    };
                    mark_sensitive(&mut parts, &this.shared.sensitive);
                    let serving = service.call(Request::from_parts(parts, body));
                    State::Serving { serving, admitted }
                }
                StateProjection::Serving { serving, admitted } => {
                    let mut response = ready!(serving.poll(context))?;
                    if let Some(value) = this.manner.cache_control.take() {
                        tell_caches(response.headers_mut(), value);
                    }
                    match admitted.take() {
                        None => {
                            State::Answered { response: Some(response.map(ResponseBody::served)) }
                        }
                        Some(Admitted { admission, recheck: None }) => State::Answered {
                            response: Some(with_headers(response, &admission, this.manner.inside)),
                        },
                        Some(Admitted { admission, recheck: Some(pending) }) => State::Rechecking {
                            rechecking: recheck(this.shared, pending),
                            response: Some(response),
                            admission,
                        },
                    }
                }
                StateProjection::Rechecking { rechecking, response, admission } => {
                    let stands = ready!(Pin::new(rechecking).poll(context));
                    let response = match (stands, response.take()) {
                        (Ok(()), response) => response
                            .map(|response| with_headers(response, admission, this.manner.inside)),
                        (Err(refusal), _) => {
                            trace::refused(&refusal);
                            let mut answer = this.manner.answers.refusal(&refusal);
                            insert_headers(answer.headers_mut(), admission.headers());
                            Some(answer.map(ResponseBody::refused))
                        }
                    };
                    State::Answered { response }
                }
                StateProjection::Answered { response } => {
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
    /// Tells the inner service who sent the request, and keeps what the answer needs.
    fn new<K>(shared: &Shared<K>, route: &Route, admission: Admission, parts: &mut Parts) -> Self {
        let recheck = shared.recheck.then(|| shared.gate.recheck(admission.caller(), route));
        parts.extensions.insert(admission.caller().clone());
        if let Some(decision) = admission.decision() {
            parts.extensions.insert(*decision);
        }
        if shared.redact_query {
            redact_query(parts, &shared.gate);
        }
        Self { admission, recheck }
    }
}

impl<S, F, B, R, K> fmt::Debug for ResponseFuture<S, F, B, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("route", &self.route).finish_non_exhaustive()
    }
}

/// The inner service's answer, with what the gate says of the caller's limit.
fn with_headers<R>(
    mut response: Response<R>,
    admission: &Admission,
    inside: bool,
) -> Response<ResponseBody<R>> {
    tell_limit(&mut response, admission, inside);
    response.map(ResponseBody::served)
}

/// What the inner service says to caches itself stands.
fn tell_caches(headers: &mut HeaderMap, value: HeaderValue) {
    if !headers.contains_key(CACHE_CONTROL) {
        let _full = headers.try_insert(CACHE_CONTROL, value);
    }
}
