//! Finding a key by its text.

use crate::{
    issue::{error::IssuerError, issuer::Issuer},
    store::{KeyRegistry, stored_key::StoredKey},
    verify::{prove::prove, verified::MatchedSecret},
};

/// A key that was found by its text: the record, and which of its secrets the text is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeakedKey {
    /// The key with its owner. It can be revoked, expired or suspended.
    pub key: StoredKey,
    /// The secret. The deadline of a retiring one can have passed.
    pub matched: MatchedSecret,
}

impl<R: KeyRegistry> Issuer<R> {
    /// Finds the key whose secret is this text, for example from a report of a leak. White space around
    /// it is ignored.
    ///
    /// Returns `None` if the text is no key of an accepted format, if no record has this secret, or if
    /// this issuer is confined to another owner. A record forgets a secret when it has retired, so a
    /// secret from before that is not found.
    ///
    /// The result neither contains nor logs the text. It is no proof of identity and authorizes
    /// nothing. The usual next call is [`Issuer::rotate_now`] or [`Issuer::revoke`]:
    ///
    /// ```
    /// use keyward::{Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng, Timestamp};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
    /// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
    /// let issuer = Issuer::new(MemoryStore::new(), INGEST, KeyHasher::sha256());
    /// # let now = Timestamp::from_unix_secs(1_700_000_000);
    /// # let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
    /// # let issued = issuer.issue(INGEST.kind(), draft, &mut SysRng, now).await?;
    /// # let reported = issued.key.expose();
    /// if let Some(leaked) = issuer.find_leaked(reported).await? {
    ///     println!("{} of {}", leaked.key.record().id(), leaked.key.record().owner());
    ///     issuer.revoke(leaked.key.record().id(), now).await?;
    /// }
    /// # assert!(issuer.find_leaked("lqt_unknown").await?.is_none());
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`IssuerError::Store`].
    pub async fn find_leaked(
        &self,
        text: &str,
    ) -> Result<Option<LeakedKey>, IssuerError<R::Error>> {
        let text = text.trim();
        let Ok(presented) = self.formats().parse(text) else { return Ok(None) };
        let lookup = self.verifier().lookup(&presented);
        let found = self.registry.find(&lookup).await.map_err(IssuerError::Store)?;
        let Some(key) = found.filter(|found| self.within.admits(found.record().owner())) else {
            return Ok(None);
        };
        let matched = prove(&lookup, key.record());
        Ok(matched.map(|matched| LeakedKey { key, matched }))
    }
}
