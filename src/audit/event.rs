//! An event: what happened, to which key, when.

use crate::{
    audit::action::AuditAction,
    clock::timestamp::Timestamp,
    key::{actor::Actor, id::KeyId, kind::KeyKind, owner::OwnerId},
    request::request_id::RequestId,
};

/// An event: an outcome of a request or a change of a key. It has ids and reasons, and never a secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The time of the event: the `now` of the decision.
    pub at: Timestamp,
    /// What happened.
    pub action: AuditAction,
    /// The key, if it is proved. A request with an unknown secret has none.
    pub key: Option<KeyId>,
    /// The owner of the key.
    pub owner: Option<OwnerId>,
    /// The kind of the key. For a presented key it is the kind that it claims to be of.
    pub kind: Option<KeyKind>,
    /// Who made the change, if the issuer [acts as](crate::issue::Issuer::acting_as) somebody.
    pub actor: Option<Actor>,
    /// The request in which it happened: that of the head
    /// ([`RequestHead::request_id`](crate::request::RequestHead::request_id)), or that for which the
    /// issuer [works](crate::issue::Issuer::for_request).
    pub request_id: Option<RequestId>,
}

impl AuditEvent {
    pub(crate) const fn new(at: Timestamp, action: AuditAction) -> Self {
        let (actor, request_id) = (None, None);
        Self { at, action, key: None, owner: None, kind: None, actor, request_id }
    }
}
