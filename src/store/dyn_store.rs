//! Stores that are chosen at run time.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use thiserror::Error as ThisError;

use crate::{
    clock::timestamp::Timestamp,
    key::{
        id::KeyId,
        owner::{Owner, OwnerChange, OwnerId},
        record::KeyRecord,
        state::Revocation,
    },
    store::{
        KeyRegistry, KeyStore,
        error::{InsertError, ReplaceError},
        listing::{Listing, PageRequest},
        lookup::Lookup,
        owner_listing::{OwnerListing, OwnerPageRequest, OwnerRemoval},
        stored_key::StoredKey,
        withdrawn::Withdrawn,
    },
};

/// The error of a store that is chosen at run time.
///
/// Its text and its source are those of the store's own error.
#[derive(Debug, ThisError)]
#[error(transparent)]
pub struct StoreError(Box<dyn Error + Send + Sync>);

impl StoreError {
    /// Wraps a store's own error.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// Returns the store's own error, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

/// The boxed future of a store that is chosen at run time.
pub struct StoreFuture<'a, T>(Pin<Box<dyn Future<Output = T> + Send + 'a>>);

impl<'a, T> StoreFuture<'a, T> {
    /// Boxes a future.
    pub fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self(Box::pin(future))
    }
}

impl<T> Future for StoreFuture<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for StoreFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreFuture").finish_non_exhaustive()
    }
}

/// A [`KeyStore`] that can be chosen at run time.
///
/// Every `KeyStore` is one, and a `dyn DynKeyStore` is a `KeyStore` again:
///
/// ```
/// use std::sync::Arc;
/// use keyward::{store::DynKeyStore, KeyStore, MemoryStore};
///
/// fn takes_any(_: impl KeyStore) {}
/// let chosen: Arc<dyn DynKeyStore> = Arc::new(MemoryStore::new());
/// takes_any(chosen);
/// ```
pub trait DynKeyStore: Send + Sync {
    /// [`KeyStore::find`] as a boxed future.
    fn find_boxed<'a>(
        &'a self,
        lookup: &'a Lookup,
    ) -> StoreFuture<'a, Result<Option<StoredKey>, StoreError>>;

    /// [`KeyStore::find_by_id`] as a boxed future.
    fn find_by_id_boxed(&self, id: KeyId)
    -> StoreFuture<'_, Result<Option<StoredKey>, StoreError>>;

    /// [`KeyStore::try_find`] with the error of a store that is chosen at run time.
    fn try_find_dyn(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, StoreError>>;
}

impl<S: KeyStore> DynKeyStore for S {
    fn find_boxed<'a>(
        &'a self,
        lookup: &'a Lookup,
    ) -> StoreFuture<'a, Result<Option<StoredKey>, StoreError>> {
        StoreFuture::new(async move { self.find(lookup).await.map_err(StoreError::new) })
    }

    fn find_by_id_boxed(
        &self,
        id: KeyId,
    ) -> StoreFuture<'_, Result<Option<StoredKey>, StoreError>> {
        StoreFuture::new(async move { self.find_by_id(id).await.map_err(StoreError::new) })
    }

    fn try_find_dyn(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, StoreError>> {
        self.try_find(lookup).map(|found| found.map_err(StoreError::new))
    }
}

impl fmt::Debug for dyn DynKeyStore + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynKeyStore").finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn DynKeyRegistry + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynKeyRegistry").finish_non_exhaustive()
    }
}

/// Implements [`KeyStore`] for a trait object by its boxed futures.
macro_rules! boxed_store {
    ($($store:ty),*) => {$(
        impl KeyStore for $store {
            type Error = StoreError;

            async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, StoreError> {
                self.find_boxed(lookup).await
            }

            async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
                self.find_by_id_boxed(id).await
            }

            fn try_find(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, StoreError>> {
                self.try_find_dyn(lookup)
            }
        }
    )*};
}

boxed_store!(dyn DynKeyStore + '_, dyn DynKeyRegistry + '_);

/// A [`KeyRegistry`] that can be chosen at run time, see [`DynKeyStore`].
pub trait DynKeyRegistry: DynKeyStore {
    /// [`KeyRegistry::insert_at`] as a boxed future.
    fn insert_at_boxed(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> StoreFuture<'_, Result<(), InsertError<StoreError>>>;

    /// [`KeyRegistry::replace`] as a boxed future.
    fn replace_boxed(
        &self,
        record: KeyRecord,
    ) -> StoreFuture<'_, Result<(), ReplaceError<StoreError>>>;

    /// [`KeyRegistry::revoke`] as a boxed future.
    fn revoke_boxed<'a>(
        &'a self,
        id: KeyId,
        within: Option<&'a OwnerId>,
        revocation: Revocation,
    ) -> StoreFuture<'a, Result<Option<Withdrawn>, StoreError>>;

    /// [`KeyRegistry::revoke_all`] as a boxed future.
    fn revoke_all_boxed<'a>(
        &'a self,
        owner: &'a OwnerId,
        revocation: Revocation,
    ) -> StoreFuture<'a, Result<Vec<KeyId>, StoreError>>;

    /// [`KeyRegistry::suspend`] as a boxed future.
    fn suspend_boxed<'a>(
        &'a self,
        id: KeyId,
        within: Option<&'a OwnerId>,
        now: Timestamp,
    ) -> StoreFuture<'a, Result<Option<Withdrawn>, StoreError>>;

    /// [`KeyRegistry::purge`] as a boxed future.
    fn purge_boxed(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> StoreFuture<'_, Result<Vec<KeyId>, StoreError>>;

    /// [`KeyRegistry::list`] as a boxed future.
    fn list_boxed<'a>(
        &'a self,
        owner: &'a OwnerId,
        page: PageRequest,
    ) -> StoreFuture<'a, Result<Listing, StoreError>>;

    /// [`KeyRegistry::list_all`] as a boxed future.
    fn list_all_boxed(&self, page: PageRequest) -> StoreFuture<'_, Result<Listing, StoreError>>;

    /// [`KeyRegistry::owner`] as a boxed future.
    fn owner_boxed<'a>(
        &'a self,
        id: &'a OwnerId,
    ) -> StoreFuture<'a, Result<Option<Arc<Owner>>, StoreError>>;

    /// [`KeyRegistry::put_owner`] as a boxed future.
    fn put_owner_boxed(&self, owner: Owner) -> StoreFuture<'_, Result<(), StoreError>>;

    /// [`KeyRegistry::list_owners`] as a boxed future.
    fn list_owners_boxed(
        &self,
        page: OwnerPageRequest,
    ) -> StoreFuture<'_, Result<OwnerListing, StoreError>>;

    /// [`KeyRegistry::remove_owner`] as a boxed future.
    fn remove_owner_boxed<'a>(
        &'a self,
        id: &'a OwnerId,
    ) -> StoreFuture<'a, Result<OwnerRemoval, StoreError>>;

    /// [`KeyRegistry::change_owner`] as a boxed future.
    fn change_owner_boxed<'a>(
        &'a self,
        owner: &'a OwnerId,
        change: OwnerChange,
    ) -> StoreFuture<'a, Result<(), StoreError>>;
}

impl<S: KeyRegistry> DynKeyRegistry for S {
    fn insert_at_boxed(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> StoreFuture<'_, Result<(), InsertError<StoreError>>> {
        StoreFuture::new(async move {
            self.insert_at(record, now).await.map_err(|error| error.map_store(StoreError::new))
        })
    }

    fn replace_boxed(
        &self,
        record: KeyRecord,
    ) -> StoreFuture<'_, Result<(), ReplaceError<StoreError>>> {
        StoreFuture::new(async move {
            self.replace(record).await.map_err(|error| error.map_store(StoreError::new))
        })
    }

    fn revoke_boxed<'a>(
        &'a self,
        id: KeyId,
        within: Option<&'a OwnerId>,
        revocation: Revocation,
    ) -> StoreFuture<'a, Result<Option<Withdrawn>, StoreError>> {
        StoreFuture::new(async move {
            self.revoke(id, within, revocation).await.map_err(StoreError::new)
        })
    }

    fn revoke_all_boxed<'a>(
        &'a self,
        owner: &'a OwnerId,
        revocation: Revocation,
    ) -> StoreFuture<'a, Result<Vec<KeyId>, StoreError>> {
        StoreFuture::new(async move {
            self.revoke_all(owner, revocation).await.map_err(StoreError::new)
        })
    }

    fn suspend_boxed<'a>(
        &'a self,
        id: KeyId,
        within: Option<&'a OwnerId>,
        now: Timestamp,
    ) -> StoreFuture<'a, Result<Option<Withdrawn>, StoreError>> {
        StoreFuture::new(
            async move { self.suspend(id, within, now).await.map_err(StoreError::new) },
        )
    }

    fn purge_boxed(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> StoreFuture<'_, Result<Vec<KeyId>, StoreError>> {
        StoreFuture::new(
            async move { self.purge(ended_before, limit).await.map_err(StoreError::new) },
        )
    }

    fn list_boxed<'a>(
        &'a self,
        owner: &'a OwnerId,
        page: PageRequest,
    ) -> StoreFuture<'a, Result<Listing, StoreError>> {
        StoreFuture::new(async move { self.list(owner, page).await.map_err(StoreError::new) })
    }

    fn list_all_boxed(&self, page: PageRequest) -> StoreFuture<'_, Result<Listing, StoreError>> {
        StoreFuture::new(async move { self.list_all(page).await.map_err(StoreError::new) })
    }

    fn owner_boxed<'a>(
        &'a self,
        id: &'a OwnerId,
    ) -> StoreFuture<'a, Result<Option<Arc<Owner>>, StoreError>> {
        StoreFuture::new(async move { self.owner(id).await.map_err(StoreError::new) })
    }

    fn put_owner_boxed(&self, owner: Owner) -> StoreFuture<'_, Result<(), StoreError>> {
        StoreFuture::new(async move { self.put_owner(owner).await.map_err(StoreError::new) })
    }

    fn list_owners_boxed(
        &self,
        page: OwnerPageRequest,
    ) -> StoreFuture<'_, Result<OwnerListing, StoreError>> {
        StoreFuture::new(async move { self.list_owners(page).await.map_err(StoreError::new) })
    }

    fn remove_owner_boxed<'a>(
        &'a self,
        id: &'a OwnerId,
    ) -> StoreFuture<'a, Result<OwnerRemoval, StoreError>> {
        StoreFuture::new(async move { self.remove_owner(id).await.map_err(StoreError::new) })
    }

    fn change_owner_boxed<'a>(
        &'a self,
        owner: &'a OwnerId,
        change: OwnerChange,
    ) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::new(
            async move { self.change_owner(owner, change).await.map_err(StoreError::new) },
        )
    }
}

impl KeyRegistry for dyn DynKeyRegistry + '_ {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<StoreError>> {
        self.insert_at_boxed(record, now).await
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<StoreError>> {
        self.replace_boxed(record).await
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, StoreError> {
        self.revoke_boxed(id, within, revocation).await
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, StoreError> {
        self.revoke_all_boxed(owner, revocation).await
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, StoreError> {
        self.suspend_boxed(id, within, now).await
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, StoreError> {
        self.purge_boxed(ended_before, limit).await
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, StoreError> {
        self.list_boxed(owner, page).await
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, StoreError> {
        self.list_all_boxed(page).await
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, StoreError> {
        self.owner_boxed(id).await
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), StoreError> {
        self.put_owner_boxed(owner).await
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, StoreError> {
        self.list_owners_boxed(page).await
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, StoreError> {
        self.remove_owner_boxed(id).await
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), StoreError> {
        self.change_owner_boxed(owner, change).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        issue::issuer::Issuer,
        key::{format::KeyFormat, hasher::KeyHasher},
        store::memory::MemoryStore,
    };

    #[test]
    fn a_confined_issuer_over_a_boxed_store_works_where_futures_must_be_send() {
        let store: Arc<dyn DynKeyRegistry> = Arc::new(MemoryStore::new());
        let issuer = Issuer::new(store, KeyFormat::hex("lqt_"), KeyHasher::sha256());
        fn spawn<F: Future<Output = usize> + Send>(future: F) -> usize {
            pollster::block_on(future)
        }
        let owner = OwnerId::from_static("proj_abc123");
        let listed = spawn(async move {
            let confined = issuer.within(owner.clone());
            confined.list(&owner, PageRequest::first(1)).await.map_or(1, |page| page.keys.len())
        });
        assert_eq!(listed, 0);
    }
}
