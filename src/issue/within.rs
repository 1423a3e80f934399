//! The confinement of an issuer to one owner.

use crate::key::owner::OwnerId;

/// The keys that an issuer manages.
#[derive(Clone, Debug)]
pub(super) enum Within {
    All,
    Owner(OwnerId),
    /// It was confined to two different owners, so it manages no key.
    Nobody,
}

impl Within {
    pub(super) fn admits(&self, owner: &OwnerId) -> bool {
        match self {
            Self::All => true,
            Self::Owner(within) => within == owner,
            Self::Nobody => false,
        }
    }
}
