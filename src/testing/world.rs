//! The keys of the checks.

use std::time::Duration;

use rand::{SeedableRng, TryRng, rngs::StdRng};

use crate::{
    clock::timestamp::Timestamp,
    issue::issuer::Issuer,
    key::{
        allowlist::Allowlist, draft::KeyDraft, format::KeyFormat, formats::KeyFormats,
        grace::Grace, hasher::KeyHasher, id::KeyId, network::IpNetwork, origin::Origin,
        plaintext::PlaintextKey, record::KeyRecord, scope::ScopeSet, secret::StoredSecret,
    },
    quota::{
        Quota, allowance::Allowance, overrides::Overrides, policy_name::PolicyName, quotas::Quotas,
    },
    store::{KeyRegistry, lookup::Lookup},
    verify::verifier::Verifier,
};

/// Mints keys and issues records, the same on every run.
pub(super) struct World {
    rng: StdRng,
    pub(super) hasher: KeyHasher,
    pub(super) now: Timestamp,
}

const FORMAT: KeyFormat = KeyFormat::hex("lqt_");

impl World {
    pub(super) fn new(seed: u8) -> Self {
        Self {
            rng: StdRng::from_seed([seed; 32]),
            hasher: KeyHasher::sha256(),
            now: Timestamp::from_unix_millis(1_700_000_000_123),
        }
    }

    pub(super) fn old_hasher() -> KeyHasher {
        KeyHasher::hmac_sha256(1, &[1; 32]).unwrap()
    }

    pub(super) fn new_hasher() -> KeyHasher {
        KeyHasher::hmac_sha256(2, &[2; 32]).unwrap().accept_pepper(1, &[1; 32]).unwrap()
    }

    /// Returns an issuer of the keys of the checks over a store.
    pub(super) fn issuer<R: KeyRegistry>(&self, store: R) -> Issuer<R> {
        Issuer::new(store, FORMAT, self.hasher.clone())
    }

    /// Returns a generator for an issuer.
    pub(super) fn rng(&mut self) -> StdRng {
        StdRng::from_rng(&mut self.rng)
    }

    pub(super) fn secret(&mut self) -> (StoredSecret, PlaintextKey) {
        let key = FORMAT.mint(&mut self.rng).unwrap();
        (StoredSecret::of(&key, &self.hasher, self.now), key)
    }

    pub(super) fn issue(&mut self, owner: &str) -> (KeyRecord, PlaintextKey) {
        let (secret, key) = self.secret();
        let mut id = [0; 16];
        let Ok(()) = self.rng.try_fill_bytes(&mut id);
        let draft = KeyDraft::new(owner.parse().unwrap(), "key".parse().unwrap())
            .with_scopes(ScopeSet::empty());
        (KeyRecord::issue(KeyId::from_bytes(id), draft, secret, self.now).unwrap(), key)
    }

    pub(super) fn rotate(&mut self, record: &KeyRecord) -> (KeyRecord, PlaintextKey) {
        let (secret, key) = self.secret();
        (record.rotate(secret, Grace::DAY, self.now).unwrap(), key)
    }

    pub(super) fn lookup(&self, key: &PlaintextKey) -> Lookup {
        let formats = KeyFormats::from(FORMAT);
        Verifier::new(self.hasher.clone()).lookup(&formats.parse(key.expose()).unwrap())
    }
}

/// As many overrides as there can be, with the longest names, and each kind of value.
pub(super) fn overrides() -> Overrides {
    let quota = |limit, millis| Quota::new(limit, Duration::from_millis(millis)).unwrap();
    let year = 366 * 86_400_000;
    let longest = [year - 3, year - 2, year - 1, year].map(|millis| quota(u32::MAX, millis));
    let longest = Allowance::from(Quotas::new(&longest).unwrap());
    let mut overrides = Overrides::single(PolicyName::DEFAULT, quota(100, 60_000));
    for at in 1..Overrides::MAX {
        let name = PolicyName::new(&format!("{at:x<64}")).unwrap();
        let allowance = [longest, Allowance::Unlimited, Allowance::Blocked][at % 3];
        overrides = overrides.with(name, allowance).unwrap();
    }
    overrides
}

/// As many networks as there can be, of both families, with the longest texts.
pub(super) fn networks() -> Allowlist<IpNetwork> {
    let network = |n: u8| match n % 2 {
        0 => format!("255.255.255.{n}/32"),
        _ => format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff{n:02x}/128"),
    };
    Allowlist::new((0..64).map(|n| network(n).parse().unwrap())).unwrap()
}

/// As many origins as there can be, with the longest texts.
pub(super) fn origins() -> Allowlist<Origin> {
    let host = "x".repeat(Origin::MAX_LEN - "https://".len() - 2);
    Allowlist::new((0..64).map(|n| format!("https://{n:02}{host}").parse().unwrap())).unwrap()
}
