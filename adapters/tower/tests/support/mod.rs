//! A service with two kinds of keys, one of them publishable, on a clock that stands still.
#![allow(dead_code, reason = "not every test target uses all of it")]

pub(crate) mod client;

use std::{
    error::Error,
    fmt,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyward::{
    Access, Challenge, CredentialSource, ErrorBodies, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher,
    KeyStore, Limiter, ManualClock, MemoryStore, Quota, RateHeaders, Route, Scope, SysRng,
    Timestamp,
    gate::GateBuilder,
    key::{Grace, KeyFormats, KeyId, KeyName, Owner, OwnerId, ScopeCatalog, ScopeSet, Tier},
    limit::Limit,
    request::{CredentialSources, ErrorText, PublicReason},
    store::{Lookup, StoredKey},
};
use keyward_tower::ApiKeys;

pub(crate) const SECRET: KeyFormat = KeyFormat::hex("luci_");
pub(crate) const PUBLIC: KeyFormat = KeyFormat::hex("pub_");
pub(crate) const READ: Scope = Scope::from_static("read:data");
pub(crate) const WRITE: Scope = Scope::from_static("write:data");
pub(crate) const ENTERPRISE: Tier = Tier::from_static("enterprise");
pub(crate) const ACME: OwnerId = OwnerId::from_static("acme");
pub(crate) const NOON: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) issuer: Issuer<Arc<MemoryStore>>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) gate: Gate,
}

/// A key with its plaintext token.
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) token: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_gate(|gate| gate.with_limiter(limiter()))
    }

    /// A gate without a limiter, modified by a function.
    pub(crate) fn with_gate(change: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let store = Arc::new(MemoryStore::new());
        let formats = KeyFormats::new([SECRET, PUBLIC]).unwrap();
        let catalog = ScopeCatalog::new([READ, WRITE]).unwrap();
        let catalog = catalog.allow(SECRET.kind(), [READ], [READ, WRITE]).unwrap();
        let issuer =
            Issuer::with_catalog(Arc::clone(&store), formats.clone(), KeyHasher::sha256(), catalog);
        let sources = CredentialSources::first_of([
            CredentialSource::bearer(),
            CredentialSource::header("x-api-key"),
            CredentialSource::query("api_key").with_kinds([PUBLIC.kind()]),
        ]);
        let gate = Gate::builder(formats, issuer.verifier(), sources)
            .with_publishable([PUBLIC.kind()])
            .with_rate_headers(RateHeaders::x_ratelimit())
            .with_challenge(Challenge::bearer("test").unwrap().with_scope_in_place_of_realm())
            .with_errors(
                ErrorBodies::nested()
                    .with_unauthenticated("Missing or invalid API key.")
                    .with_text(
                        PublicReason::RateLimited,
                        ErrorText::new("Retry after {retry_after} seconds.")
                            .with_retry_after("retry_after"),
                    ),
            );
        let gate = change(with_limits(gate)).build().unwrap();
        Self { store, issuer, clock: Arc::new(ManualClock::new(NOON)), gate }
    }

    pub(crate) fn keys(&self) -> ApiKeys<Arc<MemoryStore>> {
        self.keys_over(Arc::clone(&self.store))
    }

    pub(crate) fn keys_over<K>(&self, store: K) -> ApiKeys<K> {
        let keys = ApiKeys::new(self.gate.clone(), store, Arc::clone(&self.clock));
        if self.gate.allows_foreign() { keys.handle_foreign() } else { keys }
    }

    /// Issues a key of acme with the read scope.
    pub(crate) fn key(&self) -> Key {
        self.issue(SECRET, None)
    }

    pub(crate) fn writing_key(&self) -> Key {
        self.issue(SECRET, Some(ScopeSet::new([READ, WRITE]).unwrap()))
    }

    pub(crate) fn public_key(&self) -> Key {
        self.issue(PUBLIC, None)
    }

    fn issue(&self, format: KeyFormat, scopes: Option<ScopeSet>) -> Key {
        let draft = KeyDraft::new(ACME, KeyName::from_static("test"));
        let draft = match scopes {
            Some(scopes) => draft.with_scopes(scopes),
            None => draft,
        };
        let issue = async { self.issuer.issue(format.kind(), draft, &mut SysRng, NOON).await };
        let issued = pollster::block_on(issue).unwrap();
        Key { id: issued.record.id(), token: issued.key.expose().to_owned() }
    }

    pub(crate) fn revoke(&self, key: &Key) {
        pollster::block_on(self.issuer.revoke(key.id, NOON)).unwrap();
    }

    pub(crate) fn suspend(&self, key: &Key) {
        pollster::block_on(self.issuer.suspend(key.id, NOON)).unwrap();
    }

    pub(crate) fn rotate(&self, key: &Key) {
        let rotate = async { self.issuer.rotate(key.id, Grace::DAY, &mut SysRng, NOON).await };
        pollster::block_on(rotate).unwrap();
    }

    pub(crate) fn rotate_now(&self, key: &Key) {
        let rotate = async { self.issuer.rotate_now(key.id, &mut SysRng, NOON).await };
        pollster::block_on(rotate).unwrap();
    }

    pub(crate) fn make_enterprise(&self) {
        self.store.put_owner_sync(Owner::new(ACME).with_tier(ENTERPRISE));
    }
}

pub(crate) fn limiter() -> Limiter {
    Limiter::system().unwrap()
}

/// A route for keys with the read scope and this limit per minute.
pub(crate) fn reading(per_minute: u32) -> Route {
    limited(Access::scope(READ), per_minute)
}

pub(crate) fn limited(access: Access, per_minute: u32) -> Route {
    access.with_limit(format!("{per_minute}-a-minute"))
}

/// Declares the limits that tests name by their numbers.
pub(crate) fn with_limits(gate: GateBuilder) -> GateBuilder {
    [1, 2, 3, 7, 9, 10, 20, 100].into_iter().fold(gate, |gate, number| {
        gate.with_limit(Limit::new(&format!("{number}-a-minute"), Quota::per_minute(number)))
    })
}

/// A store that never returns a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Fails,
    Hangs,
    Panics,
    /// Panics before it has returned a future.
    PanicsAtOnce,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database is down")
    }
}

impl Error for Down {}

impl KeyStore for Broken {
    type Error = Down;

    fn find(&self, _: &Lookup) -> impl Future<Output = Result<Option<StoredKey>, Down>> + Send {
        let broken = *self;
        assert_ne!(broken, Self::PanicsAtOnce, "planted panic before a future exists");
        async move {
            match broken {
                Self::Fails => Err(Down),
                Self::Hangs => pending().await,
                Self::Panics | Self::PanicsAtOnce => panic!("planted panic in the future"),
            }
        }
    }

    async fn find_by_id(&self, _: KeyId) -> Result<Option<StoredKey>, Down> {
        match self {
            Self::Fails => Err(Down),
            Self::Hangs => pending().await,
            Self::Panics | Self::PanicsAtOnce => panic!("planted panic in the future"),
        }
    }
}

/// Counts the calls of an inner service.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A shared log buffer.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
