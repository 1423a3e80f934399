//! What revoking and suspending did.

/// What [`KeyRegistry::revoke`](crate::store::KeyRegistry::revoke) or
/// [`KeyRegistry::suspend`](crate::store::KeyRegistry::suspend) did to a key. In either case the key
/// is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// The key is in the requested state. A suspended key keeps the instant of its first suspension.
    Now,
    /// The key was revoked before. Nothing has changed.
    RevokedBefore,
}
