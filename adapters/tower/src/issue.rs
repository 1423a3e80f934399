//! Issuing keys from the store of the layers.

use std::{error::Error, fmt, sync::Arc};

use keyward::{
    Issuer, KeyDraft,
    error::InvalidText,
    issue::{Issued, IssuerError},
    key::KeyFormat,
    store::{KeyRegistry, StoreError, StoreFuture},
    verify::KeyCaller,
};

use crate::{keys::ApiKeys, rehash::Rehasher};

impl<K: KeyRegistry> ApiKeys<K> {
    /// Mints a key for an owner and stores its hash. The plaintext is in
    /// [`Issued::key`] and nowhere else, so show it once.
    ///
    /// The key has the first format of the gate that is not legacy, and the default scopes of
    /// its kind. Everything else about keys is done with the [issuer](ApiKeys::issuer).
    ///
    /// # Errors
    ///
    /// [`IssueError::Text`] if `owner` or `name` is invalid, else the error of the issuer.
    pub async fn issue(&self, owner: &str, name: &str) -> Result<Issued, IssueError<K::Error>> {
        let owner = owner.parse()?;
        self.issue_draft(KeyDraft::new(owner, name.parse()?)).await
    }

    /// Mints a key as [`ApiKeys::issue`] does, with the scopes, the expiry and the overrides of
    /// `draft`.
    ///
    /// # Errors
    ///
    /// The error of the issuer.
    pub async fn issue_draft(&self, draft: KeyDraft) -> Result<Issued, IssueError<K::Error>> {
        let shared = self.shared();
        let mut formats = shared.gate.formats().iter();
        let format = formats.find(|format| format.successor().is_none());
        let kind = format.map(KeyFormat::kind).ok_or(IssuerError::UnknownKind)?;
        let (mut random, now) = (shared.random.clone(), shared.clock.now());
        Ok(self.issuer().issue(kind, draft, &mut random, now).await?)
    }

    /// Returns an issuer over the store: it rotates, revokes, suspends and lists keys.
    ///
    /// It has the formats, the hasher, the scopes and the audit of the gate.
    pub fn issuer(&self) -> Issuer<Arc<K>> {
        self.gate().issuer(Arc::clone(self.store()))
    }
}

impl<K: KeyRegistry + 'static> ApiKeys<K> {
    /// Replaces the hash of an admitted key by one under the current scheme of the
    /// [hasher](crate::ApiKeysBuilder::with_hasher), where the key is stored under an older one. So a
    /// table that was imported, or an older pepper, is left behind as its keys are used.
    ///
    /// The first request of each such key waits for one write, at most as long as the
    /// [deadline](ApiKeys::with_deadline). It goes on whether the write succeeds or not, if the key is
    /// still in force: after a write that did not succeed, or that took longer than
    /// [`ApiKeys::with_recheck_after`] allows, the key is looked up again, by its id. A later request tries again: after a failure when a minute has passed, and when another change of the
    /// key came first, after a second. The feature `tracing` warns about each failure.
    ///
    /// ```
    /// use keyward::{KeyHasher, MemoryStore, key::HashScheme};
    /// use keyward_tower::ApiKeys;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ApiKeys::bearer("acme_", MemoryStore::new())
    ///     .with_hasher(KeyHasher::sha256().accept(HashScheme::Sha256Token)?)
    ///     .build()?
    ///     .rehash_on_use();
    /// # let _ = keys; Ok(()) }
    /// ```
    pub fn rehash_on_use(self) -> Self {
        let issuer = self.issuer();
        let save = move |caller: KeyCaller, now| {
            let issuer = issuer.clone();
            StoreFuture::new(
                async move { issuer.rehash(&caller, now).await.map_err(StoreError::new) },
            )
        };
        self.with_rehasher(Rehasher::new(save))
    }
}

/// The error of [`ApiKeys::issue`].
#[derive(Debug)]
#[non_exhaustive]
pub enum IssueError<E> {
    /// The owner or the name is invalid.
    Text(InvalidText),
    /// The issuer failed.
    Issuer(IssuerError<E>),
}

impl<E> From<InvalidText> for IssueError<E> {
    fn from(error: InvalidText) -> Self {
        Self::Text(error)
    }
}

impl<E> From<IssuerError<E>> for IssueError<E> {
    fn from(error: IssuerError<E>) -> Self {
        Self::Issuer(error)
    }
}

impl<E: Error> fmt::Display for IssueError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(error) => error.fmt(f),
            Self::Issuer(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for IssueError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Text(error) => error.source(),
            Self::Issuer(error) => error.source(),
        }
    }
}
