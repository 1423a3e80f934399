//! Pointers to stores, which are stores.

use std::{future::Future, sync::Arc};

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

/// Implements the traits for a pointer to a store.
macro_rules! through_pointer {
    ($($pointer:ty),*) => {$(
        impl<S: KeyStore + ?Sized> KeyStore for $pointer {
            type Error = S::Error;

            fn find(
                &self,
                lookup: &Lookup,
            ) -> impl Future<Output = Result<Option<StoredKey>, Self::Error>> + Send {
                (**self).find(lookup)
            }

            fn find_by_id(
                &self,
                id: KeyId,
            ) -> impl Future<Output = Result<Option<StoredKey>, Self::Error>> + Send {
                (**self).find_by_id(id)
            }

            fn try_find(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, Self::Error>> {
                (**self).try_find(lookup)
            }
        }

        impl<S: KeyRegistry + ?Sized> KeyRegistry for $pointer {
            fn insert_at(
                &self,
                record: KeyRecord,
                now: Timestamp,
            ) -> impl Future<Output = Result<(), InsertError<Self::Error>>> + Send {
                (**self).insert_at(record, now)
            }

            fn replace(
                &self,
                record: KeyRecord,
            ) -> impl Future<Output = Result<(), ReplaceError<Self::Error>>> + Send {
                (**self).replace(record)
            }

            fn revoke(
                &self,
                id: KeyId,
                within: Option<&OwnerId>,
                revocation: Revocation,
            ) -> impl Future<Output = Result<Option<Withdrawn>, Self::Error>> + Send {
                (**self).revoke(id, within, revocation)
            }

            fn revoke_all(
                &self,
                owner: &OwnerId,
                revocation: Revocation,
            ) -> impl Future<Output = Result<Vec<KeyId>, Self::Error>> + Send {
                (**self).revoke_all(owner, revocation)
            }

            fn suspend(
                &self,
                id: KeyId,
                within: Option<&OwnerId>,
                now: Timestamp,
            ) -> impl Future<Output = Result<Option<Withdrawn>, Self::Error>> + Send {
                (**self).suspend(id, within, now)
            }

            fn purge(
                &self,
                ended_before: Timestamp,
                limit: u16,
            ) -> impl Future<Output = Result<Vec<KeyId>, Self::Error>> + Send {
                (**self).purge(ended_before, limit)
            }

            fn list(
                &self,
                owner: &OwnerId,
                page: PageRequest,
            ) -> impl Future<Output = Result<Listing, Self::Error>> + Send {
                (**self).list(owner, page)
            }

            fn list_all(
                &self,
                page: PageRequest,
            ) -> impl Future<Output = Result<Listing, Self::Error>> + Send {
                (**self).list_all(page)
            }

            fn owner(
                &self,
                id: &OwnerId,
            ) -> impl Future<Output = Result<Option<Arc<Owner>>, Self::Error>> + Send {
                (**self).owner(id)
            }

            fn put_owner(
                &self,
                owner: Owner,
            ) -> impl Future<Output = Result<(), Self::Error>> + Send {
                (**self).put_owner(owner)
            }

            fn list_owners(
                &self,
                page: OwnerPageRequest,
            ) -> impl Future<Output = Result<OwnerListing, Self::Error>> + Send {
                (**self).list_owners(page)
            }

            fn remove_owner(
                &self,
                id: &OwnerId,
            ) -> impl Future<Output = Result<OwnerRemoval, Self::Error>> + Send {
                (**self).remove_owner(id)
            }

            fn change_owner(
                &self,
                owner: &OwnerId,
                change: OwnerChange,
            ) -> impl Future<Output = Result<(), Self::Error>> + Send {
                (**self).change_owner(owner, change)
            }
        }
    )*};
}

through_pointer!(&S, Box<S>, Arc<S>);
