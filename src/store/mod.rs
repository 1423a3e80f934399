//! Where records live is the host's business; this is all that is asked of it.

pub(crate) mod invalidate;
pub(crate) mod lookup;
pub(crate) mod memory;

pub use self::{
    invalidate::{Change, Invalidate},
    lookup::Lookup,
    memory::MemoryStore,
};

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
};

use thiserror::Error;

use crate::{
    clock::timestamp::Timestamp,
    error::InvalidText,
    key::{
        id::KeyId,
        owner::{Owner, OwnerId},
        record::{KeyRecord, RecordError},
    },
};

/// Finds the record of a presented key: the only I/O on a request's path.
///
/// ```
/// use keyward::{store::{Lookup, StoreError, StoredKey}, KeyStore};
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
/// }
/// ```
pub trait KeyStore: Send + Sync {
    /// What goes wrong in this store. A request that meets an error is answered with
    /// 503, never let through.
    type Error: Error + Send + Sync + 'static;

    /// The record one of whose secrets, current or retiring, has one of the hashes, and
    /// its owner as of now; `None` if there is none.
    ///
    /// At most one record has a given hash. Two records for two hashes of one lookup mean that
    /// the same secret was taken over twice, under two schemes: a store that can see this
    /// answers with an error.
    ///
    /// Whether the record is still good is not the store's question: it returns revoked,
    /// expired and suspended ones, and retired secrets as long as the record holds them.
    fn find(
        &self,
        lookup: &Lookup,
    ) -> impl Future<Output = Result<Option<StoredKey>, Self::Error>> + Send;
}

/// A store that can be changed.
///
/// `keyward::testing` (feature `testing`) has a suite that shows whether an
/// implementation keeps these promises.
pub trait KeyRegistry: KeyStore {
    /// Adds a new record. It never replaces one.
    ///
    /// # Errors
    ///
    /// [`InsertError::DuplicateId`] or [`InsertError::DuplicateSecret`] if a record with this
    /// id, or with one of these hashes, is there already; then nothing has changed.
    fn insert(
        &self,
        record: KeyRecord,
    ) -> impl Future<Output = Result<(), InsertError<Self::Error>>> + Send;

    /// Replaces the record of the same id whose revision is one lower: a
    /// compare-and-swap, seen by the next `find`.
    ///
    /// # Errors
    ///
    /// [`ReplaceError::Conflict`] if the stored revision is any other, since somebody
    /// else came first, [`ReplaceError::NotFound`] if there is no such id, and
    /// [`ReplaceError::DuplicateSecret`] if another record has one of the hashes; then
    /// nothing has changed.
    fn replace(
        &self,
        record: KeyRecord,
    ) -> impl Future<Output = Result<(), ReplaceError<Self::Error>>> + Send;

    /// Removes records whose [`KeyRecord::ends_at`] lies before `ended_before`, at most `limit`
    /// of them, and returns their ids. Fewer than `limit` means that no more are left.
    ///
    /// `ended_before` is an instant that has passed; [`Issuer::purge`](crate::issue::Issuer::purge)
    /// works it out. So only keys that are revoked or expired go, and never one that is in use,
    /// suspended, or has a secret in its grace. Whether a record has ended is asked when it is
    /// removed, so that a change at the same time either comes first and counts, or is refused
    /// as [`ReplaceError::NotFound`].
    ///
    /// The store has forgotten a removed record: its secrets are not found, no listing shows
    /// it, and another may take its id or its hashes. Its owner stays, if it was put.
    fn purge(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<KeyId>, Self::Error>> + Send;

    /// The key with this id, joined with its owner.
    fn get(&self, id: KeyId)
    -> impl Future<Output = Result<Option<StoredKey>, Self::Error>> + Send;

    /// The keys of one owner in the order of [`Cursor`], a page at a time.
    fn list(
        &self,
        owner: &OwnerId,
        page: PageRequest,
    ) -> impl Future<Output = Result<Listing, Self::Error>> + Send;

    /// The keys of all owners in the order of [`Cursor`], a page at a time.
    fn list_all(
        &self,
        page: PageRequest,
    ) -> impl Future<Output = Result<Listing, Self::Error>> + Send;

    /// The owner with this id, if one was put.
    fn owner(
        &self,
        id: &OwnerId,
    ) -> impl Future<Output = Result<Option<Arc<Owner>>, Self::Error>> + Send;

    /// Adds or replaces an owner; the next `find` of any of its keys returns it so.
    ///
    /// A key whose owner was never put is found with [`Owner::new`]: no tier, no quotas.
    fn put_owner(&self, owner: Owner) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What a store finds: a key's record, joined with its owner. Clones share both.
///
/// One allocation holds the record, so that a request touches as little memory as it can.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey(Arc<Joined>);

#[derive(PartialEq, Eq)]
#[repr(C)]
struct Joined {
    owner: Arc<Owner>,
    record: KeyRecord,
}

impl StoredKey {
    /// A record and its owner as of now.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if this is not the record's owner. A store answers with an error of its
    /// own then, for its tables contradict each other.
    pub fn join(record: KeyRecord, owner: Arc<Owner>) -> Result<Self, RecordError> {
        if owner.id != *record.owner() {
            return Err(RecordError::ForeignOwner);
        }
        Ok(Self::new(record, owner))
    }

    /// A record and its owner, which the caller has looked up by the record's own word.
    pub(crate) fn new(record: KeyRecord, owner: Arc<Owner>) -> Self {
        Self(Arc::new(Joined { record, owner }))
    }

    /// The record.
    #[inline]
    pub fn record(&self) -> &KeyRecord {
        &self.0.record
    }

    /// Whether this is shared, which every held one is. Asked before cloning, so that the
    /// memory of the count is fetched together with the record's and not after it.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 0
    }

    /// The record's owner as of when the store was asked.
    pub fn owner(&self) -> &Arc<Owner> {
        &self.0.owner
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("record", self.record())
            .field("owner", self.owner())
            .finish()
    }
}

/// Why a record was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InsertError<E> {
    /// A record with this id is there already.
    #[error("a key with this id exists")]
    DuplicateId,
    /// A record with one of the hashes is there already.
    #[error("a key with this secret exists")]
    DuplicateSecret,
    /// The store failed. Whether the record was inserted is not known.
    #[error("the store failed")]
    Store(#[source] E),
}

impl<E> InsertError<E> {
    /// The same error, with the store's own turned into another.
    pub fn map_store<F>(self, map: impl FnOnce(E) -> F) -> InsertError<F> {
        match self {
            Self::DuplicateId => InsertError::DuplicateId,
            Self::DuplicateSecret => InsertError::DuplicateSecret,
            Self::Store(error) => InsertError::Store(map(error)),
        }
    }
}

/// Why a record was not replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplaceError<E> {
    /// There is no record with this id.
    #[error("there is no key with this id")]
    NotFound,
    /// The record has been changed by somebody else.
    #[error("the key was changed by somebody else")]
    Conflict,
    /// Another record has one of the hashes.
    #[error("another key has this secret")]
    DuplicateSecret,
    /// The store failed. Whether the record was replaced is not known.
    #[error("the store failed")]
    Store(#[source] E),
}

impl<E> ReplaceError<E> {
    /// The same error, with the store's own turned into another.
    pub fn map_store<F>(self, map: impl FnOnce(E) -> F) -> ReplaceError<F> {
        match self {
            Self::NotFound => ReplaceError::NotFound,
            Self::Conflict => ReplaceError::Conflict,
            Self::DuplicateSecret => ReplaceError::DuplicateSecret,
            Self::Store(error) => ReplaceError::Store(map(error)),
        }
    }
}

/// A place in a listing: the creation and the id of the last key that was seen.
///
/// Listings are in ascending order of it, oldest key first. Neither changes in a key's
/// life, so paging misses no key and repeats none while others come and go. Its text is
/// made for URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// When the key was created.
    pub created_at: Timestamp,
    /// The key's id.
    pub id: KeyId,
}

impl Cursor {
    /// The place of this record.
    pub const fn of(record: &KeyRecord) -> Self {
        Self { created_at: record.created_at(), id: record.id() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_at.as_unix_millis(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (millis, id) = text.split_once('-').ok_or(NO_CURSOR)?;
        let cursor = Self {
            created_at: Timestamp::from_unix_millis(millis.parse().map_err(|_| NO_CURSOR)?),
            id: id.parse().map_err(|_| NO_CURSOR)?,
        };
        // One text a place: no sign, no leading zero, nothing beyond the last timestamp.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NO_CURSOR) }
    }
}

const NO_CURSOR: InvalidText = InvalidText::new("a cursor that a page of a listing returned");

/// Which part of a listing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    after: Option<Cursor>,
    size: u16,
}

impl PageRequest {
    /// The most records of a page.
    pub const MAX_SIZE: u16 = 1_000;

    /// The first `size` records; a size of 0 counts as 1, and one above
    /// [`PageRequest::MAX_SIZE`] as that.
    pub const fn first(size: u16) -> Self {
        let size = if size > Self::MAX_SIZE { Self::MAX_SIZE } else { size };
        Self { after: None, size: if size == 0 { 1 } else { size } }
    }

    /// The page behind `cursor`, of the same size.
    #[must_use]
    pub const fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self }
    }

    /// The last place that was seen.
    pub const fn cursor(&self) -> Option<Cursor> {
        self.after
    }

    /// How many records are asked for, at least 1.
    pub const fn size(&self) -> usize {
        self.size as usize
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The keys, oldest first, each with its owner.
    pub keys: Vec<StoredKey>,
    /// Where the next page begins; `None` if there is none.
    pub next: Option<Cursor>,
}

impl Listing {
    /// The page that a query for one record more than `page` asks for has returned: the
    /// record too many shows that there is a next page.
    pub fn from_one_more(mut keys: Vec<StoredKey>, page: PageRequest) -> Self {
        let more = keys.len() > page.size();
        keys.truncate(page.size());
        let next = keys.last().filter(|_| more).map(|found| Cursor::of(found.record()));
        Self { keys, next }
    }
}

/// Passes the traits on through a pointer to a store.
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
        }

        impl<S: KeyRegistry + ?Sized> KeyRegistry for $pointer {
            fn insert(
                &self,
                record: KeyRecord,
            ) -> impl Future<Output = Result<(), InsertError<Self::Error>>> + Send {
                (**self).insert(record)
            }

            fn replace(
                &self,
                record: KeyRecord,
            ) -> impl Future<Output = Result<(), ReplaceError<Self::Error>>> + Send {
                (**self).replace(record)
            }

            fn purge(
                &self,
                ended_before: Timestamp,
                limit: u16,
            ) -> impl Future<Output = Result<Vec<KeyId>, Self::Error>> + Send {
                (**self).purge(ended_before, limit)
            }

            fn get(
                &self,
                id: KeyId,
            ) -> impl Future<Output = Result<Option<StoredKey>, Self::Error>> + Send {
                (**self).get(id)
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
        }
    )*};
}

through_pointer!(&S, Box<S>, Arc<S>);

/// The error of a store that was chosen at run time.
///
/// It shows and continues the store's own error.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct StoreError(Box<dyn Error + Send + Sync>);

impl StoreError {
    /// Wraps a store's own error.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// The store's own error, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

/// The boxed future of a store that was chosen at run time.
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
}

impl<S: KeyStore> DynKeyStore for S {
    fn find_boxed<'a>(
        &'a self,
        lookup: &'a Lookup,
    ) -> StoreFuture<'a, Result<Option<StoredKey>, StoreError>> {
        StoreFuture::new(async move { self.find(lookup).await.map_err(StoreError::new) })
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

impl KeyStore for dyn DynKeyStore + '_ {
    type Error = StoreError;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, StoreError> {
        self.find_boxed(lookup).await
    }
}

/// A [`KeyRegistry`] that can be chosen at run time, see [`DynKeyStore`].
pub trait DynKeyRegistry: DynKeyStore {
    /// [`KeyRegistry::insert`] as a boxed future.
    fn insert_boxed(
        &self,
        record: KeyRecord,
    ) -> StoreFuture<'_, Result<(), InsertError<StoreError>>>;

    /// [`KeyRegistry::replace`] as a boxed future.
    fn replace_boxed(
        &self,
        record: KeyRecord,
    ) -> StoreFuture<'_, Result<(), ReplaceError<StoreError>>>;

    /// [`KeyRegistry::purge`] as a boxed future.
    fn purge_boxed(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> StoreFuture<'_, Result<Vec<KeyId>, StoreError>>;

    /// [`KeyRegistry::get`] as a boxed future.
    fn get_boxed(&self, id: KeyId) -> StoreFuture<'_, Result<Option<StoredKey>, StoreError>>;

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
}

impl<S: KeyRegistry> DynKeyRegistry for S {
    fn insert_boxed(
        &self,
        record: KeyRecord,
    ) -> StoreFuture<'_, Result<(), InsertError<StoreError>>> {
        StoreFuture::new(async move {
            self.insert(record).await.map_err(|error| error.map_store(StoreError::new))
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

    fn purge_boxed(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> StoreFuture<'_, Result<Vec<KeyId>, StoreError>> {
        StoreFuture::new(
            async move { self.purge(ended_before, limit).await.map_err(StoreError::new) },
        )
    }

    fn get_boxed(&self, id: KeyId) -> StoreFuture<'_, Result<Option<StoredKey>, StoreError>> {
        StoreFuture::new(async move { self.get(id).await.map_err(StoreError::new) })
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
}

impl KeyStore for dyn DynKeyRegistry + '_ {
    type Error = StoreError;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, StoreError> {
        self.find_boxed(lookup).await
    }
}

impl KeyRegistry for dyn DynKeyRegistry + '_ {
    async fn insert(&self, record: KeyRecord) -> Result<(), InsertError<StoreError>> {
        self.insert_boxed(record).await
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<StoreError>> {
        self.replace_boxed(record).await
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, StoreError> {
        self.purge_boxed(ended_before, limit).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        self.get_boxed(id).await
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        issue::Issuer,
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
