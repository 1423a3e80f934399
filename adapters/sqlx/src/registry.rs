//! The store traits over the tables of a database.

/// Implements [`KeyStore`](keyward::KeyStore) and [`KeyRegistry`](keyward::store::KeyRegistry) for
/// a store with a `pool` and a method `purge_ended`.
macro_rules! registry {
    ($store:ty) => {
        impl $store {
            /// The statement that counts the keys of an owner with a cap, for `EXPLAIN`. Its parameters
            /// are written `$1` to `$4`: the owner, the instant, the cap, the id of the new key.
            pub const CAP_SQL: &'static str =
                $crate::statements::Statements::STANDARD.count_live_keys;
        }

        impl keyward::KeyStore for $store {
            type Error = $crate::SqlStoreError;

            async fn find(
                &self,
                lookup: &keyward::store::Lookup,
            ) -> Result<Option<keyward::store::StoredKey>, $crate::SqlStoreError> {
                $crate::tables::Tables(&self.pool).find(lookup).await
            }

            async fn find_by_id(
                &self,
                id: keyward::key::KeyId,
            ) -> Result<Option<keyward::store::StoredKey>, $crate::SqlStoreError> {
                $crate::tables::Tables(&self.pool).find_by_id(id).await
            }
        }

        impl keyward::store::KeyRegistry for $store {
            async fn insert_at(
                &self,
                record: keyward::key::KeyRecord,
                now: keyward::Timestamp,
            ) -> Result<(), keyward::store::InsertError<$crate::SqlStoreError>> {
                $crate::tables::Tables(&self.pool).insert(&record, now).await
            }

            async fn replace(
                &self,
                record: keyward::key::KeyRecord,
            ) -> Result<(), keyward::store::ReplaceError<$crate::SqlStoreError>> {
                $crate::tables::Tables(&self.pool).replace(&record).await
            }

            async fn revoke(
                &self,
                id: keyward::key::KeyId,
                within: Option<&keyward::key::OwnerId>,
                revocation: keyward::key::Revocation,
            ) -> Result<Option<keyward::store::Withdrawn>, $crate::SqlStoreError> {
                $crate::withdraw::revoke(&self.pool, id, within, revocation).await
            }

            async fn revoke_all(
                &self,
                owner: &keyward::key::OwnerId,
                revocation: keyward::key::Revocation,
            ) -> Result<Vec<keyward::key::KeyId>, $crate::SqlStoreError> {
                $crate::withdraw::revoke_all(&self.pool, owner, revocation).await
            }

            async fn suspend(
                &self,
                id: keyward::key::KeyId,
                within: Option<&keyward::key::OwnerId>,
                now: keyward::Timestamp,
            ) -> Result<Option<keyward::store::Withdrawn>, $crate::SqlStoreError> {
                $crate::withdraw::suspend(&self.pool, id, within, now).await
            }

            async fn purge(
                &self,
                ended_before: keyward::Timestamp,
                limit: u16,
            ) -> Result<Vec<keyward::key::KeyId>, $crate::SqlStoreError> {
                self.purge_ended(ended_before, limit).await
            }

            async fn list(
                &self,
                owner: &keyward::key::OwnerId,
                page: keyward::store::PageRequest,
            ) -> Result<keyward::store::Listing, $crate::SqlStoreError> {
                $crate::listing::list(&self.pool, Some(owner), page).await
            }

            async fn list_all(
                &self,
                page: keyward::store::PageRequest,
            ) -> Result<keyward::store::Listing, $crate::SqlStoreError> {
                $crate::listing::list(&self.pool, None, page).await
            }

            async fn owner(
                &self,
                id: &keyward::key::OwnerId,
            ) -> Result<Option<std::sync::Arc<keyward::key::Owner>>, $crate::SqlStoreError> {
                $crate::tables::Tables(&self.pool).owner(id).await
            }

            async fn put_owner(
                &self,
                owner: keyward::key::Owner,
            ) -> Result<(), $crate::SqlStoreError> {
                $crate::tables::Tables(&self.pool).put_owner(&owner).await
            }

            async fn list_owners(
                &self,
                page: keyward::store::OwnerPageRequest,
            ) -> Result<keyward::store::OwnerListing, $crate::SqlStoreError> {
                $crate::listing::list_owners(&self.pool, page).await
            }

            async fn remove_owner(
                &self,
                id: &keyward::key::OwnerId,
            ) -> Result<keyward::store::OwnerRemoval, $crate::SqlStoreError> {
                $crate::tables::Tables(&self.pool).remove_owner(id).await
            }

            async fn change_owner(
                &self,
                owner: &keyward::key::OwnerId,
                change: keyward::key::OwnerChange,
            ) -> Result<(), $crate::SqlStoreError> {
                $crate::tables::Tables(&self.pool).change_owner(owner, change).await
            }
        }
    };
}
pub(crate) use registry;
