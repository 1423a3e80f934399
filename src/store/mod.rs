//! The store traits, the in-memory store and change notifications.
//!
//! The host decides where records live. [`KeyStore`] finds a key for a request; [`KeyRegistry`]
//! adds what an [`Issuer`](crate::issue::Issuer) needs to change keys.

pub(crate) mod dyn_store;
pub(crate) mod error;
pub(crate) mod invalidate;
pub(crate) mod listing;
pub(crate) mod lookup;
pub(crate) mod memory;
pub(crate) mod owner_listing;
mod pointer;
pub(crate) mod stored_key;
pub(crate) mod withdrawn;

pub use self::{
    dyn_store::{DynKeyRegistry, DynKeyStore, StoreError, StoreFuture},
    error::{InsertError, ReplaceError},
    invalidate::{Change, Invalidate},
    listing::{Cursor, DamagedKey, Listing, PageRequest},
    lookup::Lookup,
    memory::MemoryStore,
    owner_listing::{DamagedOwner, OwnerListing, OwnerPageRequest, OwnerRemoval},
    stored_key::StoredKey,
    withdrawn::Withdrawn,
};

use std::{error::Error, future::Future, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    key::{
        id::KeyId,
        owner::{Owner, OwnerChange, OwnerId, Tier},
        record::KeyRecord,
        state::Revocation,
    },
    quota::overrides::Overrides,
};

/// Finds the record of a presented key: the only I/O on the path of a request.
///
/// ```
/// use keyward::{key::KeyId, store::{Lookup, StoredKey}, KeyStore};
///
/// struct Table;
///
/// impl KeyStore for Table {
///     type Error = std::io::Error;
///
///     async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Self::Error> {
///         // SELECT … FROM secrets JOIN keys … JOIN owners … WHERE secrets.hash IN (…)
///         let _hashes: Vec<String> = lookup.hashes().map(ToString::to_string).collect();
///         Ok(None)
///     }
///
///     async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Self::Error> {
///         // SELECT … WHERE keys.id = …
///         let _id = id.to_string();
///         Ok(None)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no store of keys",
    note = "use `keyward::MemoryStore`, the stores of `keyward-sqlx` or an `Arc` of a store; a type of \
            your own implements `keyward::KeyStore`, see `keyward::guide::your_own_database`"
)]
pub trait KeyStore: Send + Sync {
    /// The error of this store. A request that meets one is refused with 503 and never
    /// admitted.
    type Error: Error + Send + Sync + 'static;

    /// Returns the key that has one of the hashes, current or retiring, joined with its owner;
    /// `None` if there is no such key.
    ///
    /// At most one record has a given hash. If two records match two hashes of one lookup, the
    /// same secret was imported twice, under two schemes. A store that can detect this returns an
    /// error.
    ///
    /// The store does not judge a record: it returns revoked, expired and suspended ones, and
    /// finds a retired secret while the record still holds it.
    fn find(
        &self,
        lookup: &Lookup,
    ) -> impl Future<Output = Result<Option<StoredKey>, Self::Error>> + Send;

    /// Returns the key with this id, joined with its owner; `None` if there is no such key.
    ///
    /// It sees every change that [`KeyStore::find`] sees. A store that caches serves both under
    /// the same bounds.
    fn find_by_id(
        &self,
        id: KeyId,
    ) -> impl Future<Output = Result<Option<StoredKey>, Self::Error>> + Send;

    /// Returns what [`KeyStore::find`] would return, without I/O and without blocking, or `None`
    /// if this store cannot do so now.
    ///
    /// The default returns `None`. A store in memory always returns `Some`; a cache does on a
    /// hit. A caller that receives `None` calls `find`.
    fn try_find(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, Self::Error>> {
        let _ = lookup;
        None
    }
}

/// A store whose keys and owners can be changed.
///
/// `keyward::testing` (feature `testing`) has a suite that shows whether an implementation keeps
/// these promises.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no store whose keys can be changed",
    note = "an `Issuer` needs more than a `KeyStore`: use `keyward::MemoryStore` or the stores of \
            `keyward-sqlx`, or implement `keyward::store::KeyRegistry`, see \
            `keyward::guide::your_own_database`"
)]
pub trait KeyRegistry: KeyStore {
    /// Adds a new record at `now`. It never replaces one.
    ///
    /// # Errors
    ///
    /// [`InsertError::DuplicateId`] if the store holds a record with this id,
    /// [`InsertError::DuplicateSecret`] if it holds one with one of these hashes,
    /// [`InsertError::TooManyKeys`] if the owner has a cap and as many keys. A key counts unless it
    /// ended by `now`. Of concurrent insertions no more succeed than the
    /// cap allows. Nothing has changed then.
    fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), InsertError<Self::Error>>> + Send;

    /// Adds a new record at the time of its creation, see [`KeyRegistry::insert_at`]. For an imported
    /// record, which was created earlier, call that method: at the old time, keys that have ended since
    /// would count.
    fn insert(
        &self,
        record: KeyRecord,
    ) -> impl Future<Output = Result<(), InsertError<Self::Error>>> + Send {
        let now = record.created_at();
        self.insert_at(record, now)
    }

    /// Replaces the record with the same id, the same creation nonce and a revision that is one
    /// lower.
    ///
    /// This is a compare-and-swap. The next `find` sees the new record. The nonce keeps a change
    /// that was decided before a purge from a key that was imported under the same id after it.
    ///
    /// # Errors
    ///
    /// [`ReplaceError::Conflict`] if the stored record has any other revision, because another
    /// change came first; [`ReplaceError::NotFound`] if there is no record with this id and nonce;
    /// [`ReplaceError::DuplicateSecret`] if another record has one of the hashes. Nothing has
    /// changed then.
    fn replace(
        &self,
        record: KeyRecord,
    ) -> impl Future<Output = Result<(), ReplaceError<Self::Error>>> + Send;

    /// Revokes the key with this id forever, with all of its secrets. `within` restricts this to
    /// the keys of one owner. Returns `None` if there is no such key.
    ///
    /// It expects no revision. One atomic change tests the owner, sets the state and raises the
    /// revision. So it succeeds however many other changes are made at the same time, and a change
    /// of a record that was read before it is refused with [`ReplaceError::Conflict`]. A key that
    /// is revoked keeps the instant and the reason of its first revocation.
    ///
    /// It reads nothing else of the key, so a store revokes a key whose other data is damaged.
    fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> impl Future<Output = Result<Option<Withdrawn>, Self::Error>> + Send;

    /// Revokes all keys of an owner that are not revoked, as one change, and returns their ids.
    ///
    /// It and [`KeyRegistry::insert_at`] exclude each other for keys of this owner: a key is inserted
    /// before it and revoked, or after it.
    fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> impl Future<Output = Result<Vec<KeyId>, Self::Error>> + Send;

    /// Suspends the key with this id. `within` restricts this to the keys of one owner. Returns
    /// `None` if there is no such key.
    ///
    /// Like [`KeyRegistry::revoke`] it expects no revision and raises it. So only a change of a
    /// record that was read after it resumes the key. A suspended key stays suspended since the
    /// same instant, and its revision is raised too. A revoked key does not change.
    fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Withdrawn>, Self::Error>> + Send;

    /// Removes at most `limit` records whose [`KeyRecord::ends_at`] is before `ended_before`, and
    /// returns their ids. Fewer than `limit` ids mean that no such record remains.
    ///
    /// `ended_before` is an instant in the past; [`Issuer::purge`](crate::issue::Issuer::purge)
    /// computes it. Only revoked and expired keys are removed, never one that is in use or
    /// suspended, and never one with a secret in its grace. The store checks that a record has
    /// ended when it removes it. So a concurrent change either comes first and counts, or is
    /// refused with [`ReplaceError::NotFound`].
    ///
    /// A removed record is forgotten: its secrets are not found, no listing contains it, and
    /// another record may use its id and its hashes. Its owner stays if it was put.
    fn purge(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<KeyId>, Self::Error>> + Send;

    /// Returns a page of the keys of one owner, in the order of [`Cursor`].
    ///
    /// A key whose stored data does not form a record is reported in [`Listing::damaged`] and hides
    /// no other key. This holds for [`KeyRegistry::list_all`] too.
    fn list(
        &self,
        owner: &OwnerId,
        page: PageRequest,
    ) -> impl Future<Output = Result<Listing, Self::Error>> + Send;

    /// Returns a page of the keys of all owners, in the order of [`Cursor`].
    fn list_all(
        &self,
        page: PageRequest,
    ) -> impl Future<Output = Result<Listing, Self::Error>> + Send;

    /// Returns the owner with this id, if one was put.
    fn owner(
        &self,
        id: &OwnerId,
    ) -> impl Future<Output = Result<Option<Arc<Owner>>, Self::Error>> + Send;

    /// Adds an owner, or replaces the fields of one that exists except its state. The next `find` of
    /// any of its keys returns the new owner.
    ///
    /// What was read before cannot undo a suspension: only [`KeyRegistry::suspend_owner`] and
    /// [`KeyRegistry::resume_owner`] change the state of an owner that exists. To change one field
    /// and keep what others change at the same time, call the method of the field.
    ///
    /// A key whose owner was never put is joined with [`Owner::new`]: active, without tier, overrides
    /// and cap.
    fn put_owner(&self, owner: Owner) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Changes one field of an owner, and adds the owner if it was never put. The next `find` of any
    /// of its keys returns the new owner. [`Owner::changed`] is the same change as a pure function.
    ///
    /// One atomic change reads and writes this field alone, so changes of different fields never
    /// undo each other.
    fn change_owner(
        &self,
        owner: &OwnerId,
        change: OwnerChange,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Sets or removes the tier of an owner.
    fn set_tier(
        &self,
        owner: &OwnerId,
        tier: Option<Tier>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.change_owner(owner, OwnerChange::Tier(tier))
    }

    /// Replaces what an owner is allowed by limits per key and per owner.
    fn set_overrides(
        &self,
        owner: &OwnerId,
        overrides: Overrides,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.change_owner(owner, OwnerChange::Overrides(overrides))
    }

    /// Sets or removes the largest number of keys of an owner. Keys that exist stay.
    fn set_key_cap(
        &self,
        owner: &OwnerId,
        cap: Option<u32>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.change_owner(owner, OwnerChange::KeyCap(cap))
    }

    /// Suspends an owner: all of its keys, also those issued later, are refused until it is resumed.
    /// An owner that is suspended stays suspended since the same instant.
    fn suspend_owner(
        &self,
        owner: &OwnerId,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.change_owner(owner, OwnerChange::Suspend { now })
    }

    /// Resumes an owner. Its keys that are suspended or revoked themselves stay so.
    fn resume_owner(
        &self,
        owner: &OwnerId,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.change_owner(owner, OwnerChange::Resume)
    }

    /// Returns a page of the owners that were put, in ascending order of the bytes of their ids.
    ///
    /// An owner whose stored data does not form an owner is reported in [`OwnerListing::damaged`]
    /// and hides no other owner.
    fn list_owners(
        &self,
        page: OwnerPageRequest,
    ) -> impl Future<Output = Result<OwnerListing, Self::Error>> + Send;

    /// Removes an owner that was put, unless it is suspended or has a key that is not revoked.
    ///
    /// A removed owner is as one that was never put: active and without a cap. So a suspended owner
    /// is not removed: a removal would resume it for keys that are issued afterwards. The state is
    /// tested in the same atomic change.
    ///
    /// [`KeyRegistry::revoke_all`] before it revokes the keys. Expired keys count as keys too until
    /// they are revoked or purged: a late change could extend one. Revoked keys remain until they
    /// are purged, and are joined with [`Owner::new`] from then on.
    ///
    /// It and [`KeyRegistry::insert`] exclude each other for keys of this owner: a key is inserted
    /// before it, and it is refused, or after it.
    fn remove_owner(
        &self,
        id: &OwnerId,
    ) -> impl Future<Output = Result<OwnerRemoval, Self::Error>> + Send;
}
