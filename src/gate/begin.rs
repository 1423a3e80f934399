//! Where a decision begins, and the refusals of the host's own checks.

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        checked::CheckedRoute,
        pending::{PendingLookup, Step},
        pipeline::Gate,
        refusal::{Bound, Principal, Refusal},
        steps::Examined,
    },
    limit::decision::Decision,
    request::{
        head::RequestHead, public_reason::PublicReason, reason::RefusalReason,
        request_id::RequestId,
    },
};

impl Gate {
    /// Reads the credential of a request, and requests a lookup of its key.
    ///
    /// Nothing of the head is kept. A request that is refused without a lookup is decided at
    /// once.
    pub fn begin<H: RequestHead>(&self, head: &H, route: &CheckedRoute, now: Timestamp) -> Step {
        match self.examine(head, route, now) {
            Examined::Done(outcome) => Step::Done(outcome),
            Examined::Lookup(attempt) => {
                Step::Lookup(PendingLookup { route: route.clone(), attempt })
            }
        }
    }

    /// Builds a refusal in the style of this gate for a check of the host's own: a foreign
    /// credential, a body, a deadline. The body and the audit event name the request by `request_id`,
    /// if there is one.
    pub fn refuse(
        &self,
        route: &CheckedRoute,
        reason: PublicReason,
        request_id: Option<RequestId>,
        now: Timestamp,
    ) -> Refusal {
        self.refused_by_host(route, reason, None, request_id, now)
    }

    /// As [`Gate::refuse`], for a caller whom the host has authenticated and charged itself,
    /// such as the user of a session. The response reports that limit as it reports a key's.
    pub fn refuse_charged(
        &self,
        route: &CheckedRoute,
        reason: PublicReason,
        decision: Decision,
        request_id: Option<RequestId>,
        now: Timestamp,
    ) -> Refusal {
        self.refused_by_host(route, reason, Some(decision), request_id, now)
    }

    fn refused_by_host(
        &self,
        route: &CheckedRoute,
        reason: PublicReason,
        decision: Option<Decision>,
        request_id: Option<RequestId>,
        now: Timestamp,
    ) -> Refusal {
        let reason = match route.belongs_to(self) {
            true => RefusalReason::Host(reason),
            false => RefusalReason::ForeignRoute,
        };
        let bound = decision.map(Bound::unnamed);
        let principal = Principal::nobody().of_request(request_id.clone());
        self.refusal(route, reason, principal, bound, now).named(request_id)
    }
}
