//! OAuth clients. Their secrets are keys too.

use keyward::{
    Access, Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng, Timestamp,
    issue::IssuerError,
    key::{KeyId, KeyName, OwnerId, PlaintextKey},
};

const SECRET: KeyFormat = KeyFormat::hex("luc_cs_");

/// The clients, in a separate store: the secret of a client works only at the token endpoint.
#[derive(Debug)]
pub(crate) struct Clients(Issuer<MemoryStore>);

/// The credentials of a client. The secret is shown once.
#[derive(Debug)]
pub(crate) struct ClientCredentials {
    pub(crate) id: KeyId,
    pub(crate) secret: PlaintextKey,
}

/// An authenticated client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: KeyId,
    pub(crate) organization: OwnerId,
}

impl Clients {
    pub(crate) fn new() -> Self {
        Self(Issuer::new(MemoryStore::new(), SECRET, KeyHasher::sha256()))
    }

    /// Creates a client of an organization.
    pub(crate) async fn register(
        &self,
        organization: OwnerId,
        now: Timestamp,
    ) -> Result<ClientCredentials, IssuerError<std::convert::Infallible>> {
        let draft = KeyDraft::new(organization, KeyName::from_static("demo client"));
        let issued = self.0.issue(SECRET.kind(), draft, &mut SysRng, now).await?;
        Ok(ClientCredentials { id: issued.record.id(), secret: issued.key })
    }

    /// Returns the client with this id, if this is its secret.
    pub(crate) fn authenticate(&self, id: &str, secret: &str, now: Timestamp) -> Option<Client> {
        let presented = self.0.formats().parse(secret).ok()?;
        let verifier = self.0.verifier();
        let lookup = verifier.lookup(&presented);
        let found = self.0.registry().find_sync(&lookup);
        let verified = verifier.verify(&lookup, found, now).ok()?;
        let caller = verified.authorize(&Access::any_key()).ok()?;
        let client = Client { id: caller.key_id(), organization: caller.owner_id().clone() };
        (client.id.to_string() == id).then_some(client)
    }
}
