//! The outcome of a request.

use std::sync::Arc;

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        charges::Charges,
        checked::{Checked, CheckedRoute, RouteId},
        refusal::Refusal,
    },
    limit::{charged::Charged, decision::Decision},
    quota::policy_name::PolicyName,
    request::{
        header::ResponseHeader,
        rate_headers::{Lines, RateHeaders},
    },
    verify::verified::KeyCaller,
};

/// The outcome of a request.
#[derive(Debug)]
#[must_use = "only an admitted request may pass"]
pub enum Outcome {
    /// The request may pass.
    Admitted(Admission),
    /// The request may not pass. The refusal is the response.
    Refused(Refusal),
    /// The request carries a credential of no known kind, such as a JWT, and the gate leaves
    /// those to the host. **Nothing is proved.** The host checks the credential, and responds
    /// with [`Gate::refuse`](crate::gate::Gate::refuse) if it is invalid too.
    ForeignCredential,
    /// The request has no credential, and its route
    /// [allows that](crate::gate::Route::allow_missing). **Nobody is authenticated**, and nothing was
    /// charged.
    Anonymous,
}

impl Outcome {
    /// Returns the admission, if the request was admitted.
    pub fn admitted(self) -> Option<Admission> {
        match self {
            Self::Admitted(admission) => Some(admission),
            Self::Refused(_) | Self::ForeignCredential | Self::Anonymous => None,
        }
    }

    /// Returns the refusal, if the request was refused.
    pub fn refused(self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Admitted(_) | Self::ForeignCredential | Self::Anonymous => None,
        }
    }
}

/// An admitted request: its caller, and the rate-limit headers of its response.
#[derive(Clone, Debug)]
pub struct Admission {
    pub(super) caller: KeyCaller,
    pub(super) decision: Option<Decision>,
    /// The identity of the route. A reference would be counted in memory that all threads write.
    pub(super) route: RouteId,
    /// The route, if the headers list its limits.
    pub(super) listed: Option<Arc<Checked>>,
    pub(super) charges: Charges,
    pub(super) rate_headers: RateHeaders,
    pub(super) now: Timestamp,
}

impl Admission {
    /// Returns the caller: verified, charged and authorized.
    pub const fn caller(&self) -> &KeyCaller {
        &self.caller
    }

    /// Returns the caller alone, for the extensions of the request.
    pub fn into_caller(self) -> KeyCaller {
        self.caller
    }

    /// Returns the decision of the limiter, if the request was charged. It is not on a route
    /// without limits, nor if every limit allows the caller everything or was
    /// [charged](Charged) by another layer.
    pub const fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// Returns the name of the limit that the [decision](Admission::decision) is about. `route` is the
    /// one on which the request was decided; for another one this returns `None`.
    pub fn policy<'r>(&self, route: &'r CheckedRoute) -> Option<&'r PolicyName> {
        let (route, position) = (self.decided_on(route)?, self.decision()?.position);
        Some(&route.charged_policy(&self.charges, &self.caller, position)?.name)
    }

    /// Returns everything that was charged for this request, here and by the layers around this
    /// one; `None` if that is nothing. A layer inside of this one hands it to the gate in
    /// [`RequestHead::charged`](crate::request::RequestHead::charged), so that a limit which both
    /// layers name is charged once.
    ///
    /// `route` is the one on which the request was decided. With another one, only what the layers
    /// around this one charged is returned.
    pub fn charged(&self, route: &CheckedRoute) -> Option<Charged> {
        match self.decided_on(route) {
            Some(route) if self.decision.is_some() => {
                Some(route.charged(&self.charges, &self.caller))
            }
            _ => self.charges.before().cloned(),
        }
    }

    /// Returns the headers to add to the response, whatever its status. Only the styles of the
    /// IETF drafts allocate.
    #[inline]
    pub fn headers(&self) -> impl Iterator<Item = ResponseHeader<'static>> + use<> {
        Lines::new(self.rate_headers, self.decision.as_ref(), self.now, || {
            let route = self.listed.as_ref();
            route.map(|route| route.charged_quotas(&self.charges, &self.caller)).unwrap_or_default()
        })
    }

    fn decided_on<'r>(&self, route: &'r CheckedRoute) -> Option<&'r Checked> {
        let shared = route.shared();
        (shared.id() == self.route).then_some(&**shared)
    }
}
