//! How a request comes out, and what is awaited on the way.

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        pending::{PendingCharge, PendingLookup},
        refusal::Refusal,
    },
    limit::decision::Decision,
    request::{
        header::ResponseHeader,
        rate_headers::{Lines, RateHeaders},
    },
    verify::KeyCaller,
};

/// What happens next with a request.
#[derive(Debug)]
#[must_use = "a request that is not decided must not pass"]
pub enum Step {
    /// The host finds the key's record.
    Lookup(PendingLookup),
    /// The host charges the limits.
    Charge(PendingCharge),
    /// The request is decided.
    Done(Outcome),
}

/// How a request comes out.
#[derive(Debug)]
#[must_use = "only an admitted request may pass"]
pub enum Outcome {
    /// It may pass.
    Admitted(Admission),
    /// It may not: this is the answer.
    Refused(Refusal),
    /// It carries a credential of no known kind, such as a JWT, and the gate was told to
    /// leave those to the host. **Nothing is proved**: the host checks it, and answers with
    /// [`Gate::refuse`](crate::gate::Gate::refuse) if it is not good either.
    ForeignCredential,
}

impl Outcome {
    /// The admission, if it is one.
    pub fn admitted(self) -> Option<Admission> {
        match self {
            Self::Admitted(admission) => Some(admission),
            Self::Refused(_) | Self::ForeignCredential => None,
        }
    }

    /// The refusal, if it is one.
    pub fn refused(self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Admitted(_) | Self::ForeignCredential => None,
        }
    }
}

/// A request that may pass: who sent it, and what to tell it.
#[derive(Clone, Debug)]
pub struct Admission {
    pub(super) caller: KeyCaller,
    pub(super) decision: Option<Decision>,
    pub(super) rate_headers: RateHeaders,
    pub(super) now: Timestamp,
}

impl Admission {
    /// Who sent the request: verified, charged and authorized.
    pub const fn caller(&self) -> &KeyCaller {
        &self.caller
    }

    /// The caller alone, for the request's extensions.
    pub fn into_caller(self) -> KeyCaller {
        self.caller
    }

    /// What the limiter said, if the route has limits.
    pub const fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// The headers to add to the answer, whatever it is. Making them allocates nothing, but
    /// for those of a draft.
    #[inline]
    pub fn headers(&self) -> impl Iterator<Item = ResponseHeader<'static>> + use<> {
        Lines::new(self.rate_headers, self.decision.as_ref(), self.now)
    }
}
