//! Listings of owners in pages, and the removal of one.

use std::{borrow::Cow, sync::Arc};

use crate::{
    key::owner::{Owner, OwnerId},
    store::listing::PageRequest,
};

/// The part of a listing of owners to return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerPageRequest {
    after: Option<OwnerId>,
    size: usize,
}

impl OwnerPageRequest {
    /// Requests the first `size` owners. A size of 0 counts as 1, and one above
    /// [`PageRequest::MAX_SIZE`] as that.
    pub const fn first(size: u16) -> Self {
        Self { after: None, size: PageRequest::first(size).size() }
    }

    /// Requests the page after this owner, of the same size.
    #[must_use]
    pub fn after(self, owner: OwnerId) -> Self {
        Self { after: Some(owner), ..self }
    }

    /// Returns the owner after which the page begins, if it is not the first.
    pub const fn cursor(&self) -> Option<&OwnerId> {
        self.after.as_ref()
    }

    /// Returns the requested number of owners, at least 1.
    pub const fn size(&self) -> usize {
        self.size
    }
}

/// One page of a listing of owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerListing {
    /// The owners, in ascending order of the bytes of their ids.
    pub owners: Vec<Arc<Owner>>,
    /// The owners of this page whose stored data does not form an owner. They are not in `owners`,
    /// and hide no other owner.
    pub damaged: Vec<DamagedOwner>,
    /// The owner after which the next page begins; `None` if this is the last page.
    pub next: Option<OwnerId>,
}

impl OwnerListing {
    /// Builds a page of these owners, of which none is damaged.
    pub const fn new(owners: Vec<Arc<Owner>>, next: Option<OwnerId>) -> Self {
        Self { owners, damaged: Vec::new(), next }
    }

    /// Builds a page from a query for one owner more than `page` requests. The extra owner shows
    /// that there is a next page.
    pub fn from_one_more(mut owners: Vec<Arc<Owner>>, page: &OwnerPageRequest) -> Self {
        let more = owners.len() > page.size();
        owners.truncate(page.size());
        let next = owners.last().filter(|_| more).map(|owner| owner.id.clone());
        Self::new(owners, next)
    }

    /// Sets the damaged owners of the page.
    #[must_use]
    pub fn with_damaged(self, damaged: Vec<DamagedOwner>) -> Self {
        Self { damaged, ..self }
    }
}

/// An owner in a listing whose stored data does not form an owner. Its keys are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedOwner {
    /// The owner; `None` if what is stored as its id is not one.
    pub id: Option<OwnerId>,
    /// The place of the damage in the store, such as a table and a column. It contains no stored
    /// data.
    pub column: Cow<'static, str>,
}

impl DamagedOwner {
    /// Builds the report of a damaged owner.
    pub fn new(id: Option<OwnerId>, column: impl Into<Cow<'static, str>>) -> Self {
        Self { id, column: column.into() }
    }
}

/// The outcome of [`KeyRegistry::remove_owner`](crate::store::KeyRegistry::remove_owner).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an owner that is suspended or has live keys is not removed"]
pub enum OwnerRemoval {
    /// The owner was removed.
    Removed,
    /// The owner was never put, or it was removed before. Nothing has changed.
    NotFound,
    /// The owner has a key that is not revoked. Nothing has changed.
    HasKeys,
    /// The owner is suspended, whatever keys it has. Nothing has changed.
    Suspended,
}
