//! An issuer of the keys that a gate accepts.

use crate::{gate::pipeline::Gate, issue::Issuer, store::KeyRegistry};

impl Gate {
    /// Returns an issuer of the keys that this gate accepts: with its formats, its hasher, its
    /// scope catalogue and its audit.
    ///
    /// ```
    /// use keyward::{
    ///     Challenge, CredentialSource, Gate, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng,
    ///     Timestamp, verify::Verifier,
    /// };
    ///
    /// const API: KeyFormat = KeyFormat::hex("acme_");
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
    /// # let now = Timestamp::from_unix_secs(1_700_000_000);
    /// let gate = Gate::builder(API, Verifier::new(KeyHasher::sha256()), CredentialSource::bearer())
    ///     .with_challenge(Challenge::bearer("acme")?)
    ///     .build()?;
    /// let issuer = gate.issuer(MemoryStore::new());
    /// let draft = KeyDraft::new("acme".parse()?, "laptop".parse()?);
    /// let issued = issuer.issue(API.kind(), draft, &mut SysRng, now).await?;
    /// assert!(issued.key.expose().starts_with("acme_"));
    /// # Ok(()) }) }
    /// ```
    pub fn issuer<R: KeyRegistry>(&self, registry: R) -> Issuer<R> {
        let config = self.config();
        let verifier = &config.verifier;
        let catalog = verifier.catalog().cloned().unwrap_or_default();
        Issuer::with_catalog(registry, config.formats.clone(), verifier.hasher().clone(), catalog)
            .with_audit(config.audit.clone())
    }
}
