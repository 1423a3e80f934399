//! The part of a banner that describes the admin routes.

use std::fmt;

use keyward::key::{KeyId, KeyKind, OwnerId, PlaintextKey};

/// The admin routes, one per line.
pub const ADMIN_ROUTES: &str = "  \
  GET    /admin/keys              list all keys with their usage (admin token, as below)
  POST   /admin/keys              create a key
  POST   /admin/keys/{id}/rotate  rotate a key; its previous secret works for the grace period
  POST   /admin/keys/{id}/revoke  revoke a key with all its secrets
  PUT    /admin/owners/{owner}    move an owner to another tier";

/// The lifecycle of a key as `curl` commands to paste: list, create, rotate, revoke.
///
/// The text contains the admin token. Print it in a banner and never in a log.
pub struct AdminSteps<'a> {
    /// The URL of the service, without a path.
    pub url: &'a str,
    /// The token for the admin routes.
    pub token: &'a PlaintextKey,
    /// The kind of the key to create.
    pub kind: KeyKind,
    /// The owner of the key to create.
    pub owner: &'a OwnerId,
    /// The name that the banner uses for the key to rotate and revoke.
    pub name: &'a str,
    /// The key to rotate and revoke.
    pub key: KeyId,
}

impl fmt::Display for AdminSteps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, token, kind, owner, name, key } = self;
        let token = format_args!("-H 'authorization: Bearer {}'", token.expose());
        write!(
            f,
            r#"# List the keys, create one, rotate the {name}, and revoke it:
curl -i {url}/admin/keys {token}
curl -i {url}/admin/keys {token} -d '{{"kind":"{kind}","name":"mine","owner":"{owner}"}}'
curl -i -X POST {url}/admin/keys/{key}/rotate {token}
curl -i -X POST {url}/admin/keys/{key}/revoke {token}"#
        )
    }
}
