//! The confinement of an issuer to one owner.

use crate::{issue::error::IssuerError, key::owner::OwnerId};

/// The keys that an issuer manages.
#[derive(Clone, Debug)]
pub(super) enum Within {
    All,
    Owner(OwnerId),
    /// It was confined to two different owners, so it manages no key.
    Nobody,
}

impl Within {
    /// Returns the owner to whose keys a change by id is restricted.
    pub(super) fn owner<E>(&self) -> Result<Option<&OwnerId>, IssuerError<E>> {
        match self {
            Self::All => Ok(None),
            Self::Owner(within) => Ok(Some(within)),
            Self::Nobody => Err(IssuerError::NotFound),
        }
    }

    pub(super) fn admits(&self, owner: &OwnerId) -> bool {
        match self {
            Self::All => true,
            Self::Owner(within) => within == owner,
            Self::Nobody => false,
        }
    }
}
