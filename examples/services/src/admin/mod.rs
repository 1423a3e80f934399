//! The admin routes: the keys of a service and the tiers of their owners, behind one token.

mod keys;
mod owners;
mod row;

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::rejection::PathRejection,
    routing::{get, post, put},
};
use keyward::{
    Access, Challenge, Clock, CredentialSource, ErrorBodies, Gate, Issuer, KeyDraft, KeyFormat,
    KeyHasher, MemoryStore, SysRng,
    key::{Grace, KeyKind, KeyName, OwnerId, PlaintextKey},
    store::DynKeyRegistry,
};
use keyward_tower::ApiKeys;

use crate::{Failure, UsageTable};

/// The admin token is a key too, in a separate store.
const TOKEN: KeyFormat = KeyFormat::hex("admin_");

/// The admin routes: list keys with their usage, mint, rotate and revoke keys, and change the tier of
/// an owner.
///
/// | request | response |
/// |---|---|
/// | `GET /admin/keys` | 200 `{"keys":[…]}`, oldest first, revoked ones too |
/// | `POST /admin/keys` `{"kind","name","owner","scopes"?,"expires_at"?}` | 201, a row and the `key` |
/// | `POST /admin/keys/{id}/rotate` | 200, a row, the new `key` and `previous_valid_until` |
/// | `POST /admin/keys/{id}/revoke` | 204, also if the key is already revoked |
/// | `PUT /admin/owners/{owner}` `{"tier"}` | 200 `{"owner","tier"}` |
pub struct Admin {
    issuer: Issuer<Arc<dyn DynKeyRegistry>>,
    usage: Arc<UsageTable>,
    clock: Arc<dyn Clock>,
    grace: Grace,
    lifetimes: Vec<(KeyKind, Duration)>,
}

impl Admin {
    /// Builds the admin routes for the keys of this issuer. A rotated secret works for `grace`.
    pub fn new(
        issuer: Issuer<Arc<dyn DynKeyRegistry>>,
        usage: Arc<UsageTable>,
        clock: Arc<dyn Clock>,
        grace: Grace,
    ) -> Self {
        Self { issuer, usage, clock, grace, lifetimes: Vec::new() }
    }

    /// Sets how long keys of this kind are valid after they were minted.
    #[must_use]
    pub fn with_lifetime(mut self, kind: KeyKind, lifetime: Duration) -> Self {
        self.lifetimes.push((kind, lifetime));
        self
    }

    /// Returns the routes and the token for them. `errors` has the bodies for refused tokens; the
    /// errors of the handlers are [`Failure`]s.
    ///
    /// # Errors
    ///
    /// If the realm is invalid in a challenge, or if the random generator fails.
    pub async fn into_router(
        self,
        realm: &str,
        errors: ErrorBodies,
    ) -> Result<(Router, PlaintextKey), Box<dyn Error>> {
        let tokens = Issuer::new(Arc::new(MemoryStore::new()), TOKEN, KeyHasher::sha256());
        let draft = KeyDraft::new(OwnerId::from_static("admin"), KeyName::from_static("admin"));
        let token = tokens.issue(TOKEN.kind(), draft, &mut SysRng, self.clock.now()).await?;
        let gate = Gate::builder(TOKEN, tokens.verifier(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer(realm)?)
            .with_errors(errors.with_unauthenticated("Missing or invalid admin token"))
            .build()?;
        let keys = ApiKeys::new(gate, Arc::clone(tokens.registry()), Arc::clone(&self.clock));
        let router = Router::new()
            .route("/admin/keys", get(keys::list).post(keys::create))
            .route("/admin/keys/{id}/rotate", post(keys::rotate))
            .route("/admin/keys/{id}/revoke", post(keys::revoke))
            .route("/admin/owners/{owner}", put(owners::put))
            .method_not_allowed_fallback(async || Failure::method_not_allowed())
            .layer(keys.require(Access::any_key())?)
            .with_state(Arc::new(self));
        Ok((router, token.key))
    }
}

fn unreadable(_: PathRejection) -> Failure {
    Failure::bad_request("The path is not UTF-8")
}
