//! Invariants 3 to 6 over random sequences of operations, against a naive model.
//!
//! The model keeps a log of events and computes each result from its beginning. `KEYWARD_SEQUENCES`
//! sets the number of sequences of each property (default 10⁵; CI runs 10⁶). A failure prints a
//! seed, and `KEYWARD_SEED` runs that sequence alone.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use keyward::{
    KeyDraft, KeyFormat, KeyHasher, MemoryStore, Quota, Timestamp,
    key::{
        Grace, KeyFormats, KeyHash, KeyId, KeyName, KeyRecord, KeyState, KeyStatus, Owner, OwnerId,
        ScopeSet, StoredSecret, TransitionError,
    },
    quota::{Allowance, Overrides, PolicyName},
    store::{InsertError, Lookup, ReplaceError, StoredKey},
    verify::{MatchedSecret, Verified, Verifier, VerifyError},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

// ---------------------------------------------------------------------------------------
// The model: a log that is read from its beginning for every query. Times are milliseconds, secrets
// are numbers.

#[derive(Clone, Copy, Debug)]
enum Event {
    Issued { at: u64, secret: usize, expiry: Option<u64> },
    Rotated { at: u64, secret: usize, grace: u64 },
    RotatedNow { at: u64, secret: usize },
    Revoked { at: u64 },
    Suspended { at: u64 },
    Resumed,
    ExpirySet { to: u64 },
    Renamed { to: usize },
    Rescoped { to: usize },
    Overridden { to: usize },
}

/// The state of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    NeverSeen,
    Current,
    Until(u64),
    Gone,
}

const DAY: u64 = 86_400_000;

fn fate(log: &[Event], secret: usize) -> Fate {
    let mut fate = Fate::NeverSeen;
    let mut expiry = u64::MAX;
    for event in log {
        match *event {
            Event::Issued { secret: first, expiry: at, .. } => {
                expiry = at.unwrap_or(u64::MAX);
                if first == secret {
                    fate = Fate::Current;
                }
            }
            Event::Rotated { at, secret: new, grace } => {
                fate = match fate {
                    _ if new == secret => Fate::Current,
                    Fate::Current => Fate::Until(expiry.min(at + grace)),
                    Fate::Until(deadline) if deadline <= at => Fate::Gone,
                    same => same,
                }
            }
            Event::RotatedNow { secret: new, .. } if new == secret => fate = Fate::Current,
            Event::RotatedNow { .. } if fate != Fate::NeverSeen => fate = Fate::Gone,
            Event::ExpirySet { to } => {
                expiry = to;
                if let Fate::Until(deadline) = fate {
                    fate = Fate::Until(deadline.min(to));
                }
            }
            _ => {}
        }
    }
    fate
}

fn born(log: &[Event]) -> u64 {
    match log.first() {
        Some(Event::Issued { at, .. }) => *at,
        _ => unreachable!("a log starts with the issue event"),
    }
}

fn revoked_since(log: &[Event]) -> Option<u64> {
    log.iter().find_map(|event| match event {
        Event::Revoked { at } => Some(*at),
        _ => None,
    })
}

fn suspended_since(log: &[Event]) -> Option<u64> {
    log.iter().rev().find_map(|event| match event {
        Event::Suspended { at } => Some(Some(*at)),
        Event::Resumed => Some(None),
        _ => None,
    })?
}

fn expiry(log: &[Event]) -> Option<u64> {
    log.iter().rev().find_map(|event| match event {
        Event::ExpirySet { to } => Some(Some(*to)),
        Event::Issued { expiry, .. } => Some(*expiry),
        _ => None,
    })?
}

/// Returns the secrets in the order of their creation.
fn secrets(log: &[Event]) -> impl DoubleEndedIterator<Item = usize> {
    log.iter().filter_map(|event| match event {
        Event::Issued { secret, .. }
        | Event::Rotated { secret, .. }
        | Event::RotatedNow { secret, .. } => Some(*secret),
        _ => None,
    })
}

/// The index of the key's name, scopes and overrides in the pool.
fn amendable(log: &[Event]) -> [usize; 3] {
    let last = |of: fn(&Event) -> Option<usize>| log.iter().rev().find_map(of).unwrap_or_default();
    [
        last(|event| if let Event::Renamed { to } = event { Some(*to) } else { None }),
        last(|event| if let Event::Rescoped { to } = event { Some(*to) } else { None }),
        last(|event| if let Event::Overridden { to } = event { Some(*to) } else { None }),
    ]
}

/// Returns whether the clock is wrong: long before the creation of the key or of its newest secret.
fn clock_is_behind(log: &[Event], now: u64) -> bool {
    let newest_secret = log.iter().rev().find_map(|event| match event {
        Event::Issued { at, .. } | Event::Rotated { at, .. } | Event::RotatedNow { at, .. } => {
            Some(*at)
        }
        _ => None,
    });
    Some(now + DAY) < newest_secret.max(Some(born(log)))
}

fn status(log: &[Event], now: u64) -> KeyStatus {
    if revoked_since(log).is_some() {
        KeyStatus::Revoked
    } else if expiry(log).is_some_and(|at| now >= at) {
        KeyStatus::Expired
    } else if suspended_since(log).is_some() {
        KeyStatus::Suspended
    } else {
        KeyStatus::Active
    }
}

fn alive(log: &[Event], now: u64) -> Result<(), TransitionError> {
    match status(log, now) {
        _ if clock_is_behind(log, now) => Err(TransitionError::ClockBehind),
        KeyStatus::Revoked => Err(TransitionError::Revoked),
        KeyStatus::Expired => Err(TransitionError::Expired),
        _ => Ok(()),
    }
}

fn answer(log: &[Event], secret: usize, now: u64) -> Result<MatchedSecret, VerifyError> {
    let fate = fate(log, secret);
    if matches!(fate, Fate::NeverSeen | Fate::Gone) {
        return Err(VerifyError::Unknown);
    }
    if clock_is_behind(log, now) {
        return Err(VerifyError::ClockBehind);
    }
    match status(log, now) {
        KeyStatus::Revoked => return Err(VerifyError::Revoked),
        KeyStatus::Expired => return Err(VerifyError::Expired),
        KeyStatus::Suspended => return Err(VerifyError::Suspended),
        _ => {}
    }
    match fate {
        Fate::Until(deadline) if now >= deadline => Err(VerifyError::PastGrace),
        Fate::Until(deadline) => {
            Ok(MatchedSecret::Retiring { valid_until: Timestamp::from_unix_millis(deadline) })
        }
        _ => Ok(MatchedSecret::Current),
    }
}

fn in_grace(log: &[Event], now: u64) -> usize {
    let live = |secret| matches!(fate(log, secret), Fate::Until(deadline) if now < deadline);
    secrets(log).filter(|secret| live(*secret)).count()
}

// ---------------------------------------------------------------------------------------
// The subject: the library's record, or one with a planted bug.

/// The library's operations, each of which a planted bug can replace.
struct Library {
    rotate: fn(&KeyRecord, StoredSecret, Grace, Timestamp) -> Result<KeyRecord, TransitionError>,
    rotate_now: fn(&KeyRecord, StoredSecret, Timestamp) -> Result<KeyRecord, TransitionError>,
    revoke: fn(&KeyRecord, Timestamp) -> Result<KeyRecord, TransitionError>,
    expire_at: fn(&KeyRecord, Timestamp, Timestamp) -> Result<KeyRecord, TransitionError>,
    rename: fn(&KeyRecord, KeyName, Timestamp) -> Result<KeyRecord, TransitionError>,
    set_scopes: fn(&KeyRecord, ScopeSet, Timestamp) -> Result<KeyRecord, TransitionError>,
    set_overrides: fn(&KeyRecord, Overrides, Timestamp) -> Result<KeyRecord, TransitionError>,
    verify: fn(&Verifier, &Lookup, Option<StoredKey>, Timestamp) -> Result<Verified, VerifyError>,
    replace: fn(&MemoryStore, KeyRecord) -> Result<(), ReplaceError<Infallible>>,
}

const REAL: Library = Library {
    rotate: KeyRecord::rotate,
    rotate_now: KeyRecord::rotate_now,
    revoke: KeyRecord::revoke,
    expire_at: KeyRecord::expire_at,
    rename: KeyRecord::rename,
    set_scopes: KeyRecord::set_scopes,
    set_overrides: KeyRecord::set_overrides,
    verify: Verifier::verify,
    replace: MemoryStore::replace_sync,
};

/// Keys that are hashed once, so that a sequence computes no hashes. Every sequence uses the same
/// keys on a record of its own.
struct Pool {
    lookups: Vec<Lookup>,
    verifier: Verifier,
    owner: Arc<Owner>,
    /// The names, scopes and quotas of the operations; each key starts with the first.
    names: [KeyName; 3],
    scopes: [ScopeSet; 3],
    overrides: [Overrides; 3],
}

/// The maximum number of secrets in one sequence.
const POOL: usize = 40;
const ID: KeyId = KeyId::from_bytes([7; 16]);
const OWNER: OwnerId = OwnerId::from_static("proj_abc123");
const QUOTA: Quota = Quota::per_minute(100);
const OTHER: PolicyName = PolicyName::from_static("other");

fn limited(allowance: Allowance) -> Overrides {
    Overrides::single(PolicyName::DEFAULT, allowance)
}

impl Pool {
    fn new() -> Self {
        let format = KeyFormat::hex("lqt_");
        let formats = KeyFormats::from(format);
        let verifier = Verifier::new(KeyHasher::sha256());
        let mut rng = StdRng::seed_from_u64(0x706f_6f6c);
        let mut lookup = || {
            let key = format.mint(&mut rng).unwrap();
            verifier.lookup(&formats.parse(key.expose()).unwrap())
        };
        let lookups = (0..POOL).map(|_| lookup()).collect();
        let owner = Arc::new(Owner::new(OWNER));
        let names = ["ingest", "ingest, old", "backup"].map(KeyName::from_static);
        let scopes = ["write:issues", "", "read:lucent write:issues"].map(|it| it.parse().unwrap());
        let overrides = [
            limited(Allowance::from(QUOTA)),
            Overrides::none(),
            limited(Allowance::Blocked).with(OTHER, Quota::per_second(1)).unwrap(),
        ];
        Self { lookups, verifier, owner, names, scopes, overrides }
    }

    fn secret(&self, secret: usize, now: u64) -> StoredSecret {
        let lookup = &self.lookups[secret];
        StoredSecret::new(*hash(lookup), lookup.kind(), at(now))
    }

    fn draft(&self) -> KeyDraft {
        let ([name, ..], [scopes, ..]) = (&self.names, &self.scopes);
        let overrides = limited(Allowance::from(QUOTA));
        KeyDraft::new(OWNER, name.clone()).with_scopes(scopes.clone()).with_overrides(overrides)
    }

    fn digest(&self, secret: usize) -> &[u8; 32] {
        hash(&self.lookups[secret]).digest()
    }

    /// The record as a store would hold it.
    fn join(&self, record: KeyRecord) -> Result<StoredKey, String> {
        StoredKey::join(record, Arc::clone(&self.owner)).map_err(|error| error.to_string())
    }

    /// Finds the record like a store: by a hash that it contains.
    fn find(&self, stored: &StoredKey, secret: usize) -> Option<StoredKey> {
        let digest = self.digest(secret);
        stored.record().hashes().any(|held| held.digest() == digest).then(|| stored.clone())
    }
}

/// Returns the only hash of a secret that is looked up under one scheme.
fn hash(lookup: &Lookup) -> &KeyHash {
    lookup.hashes().next().expect("a lookup has a hash")
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

// ---------------------------------------------------------------------------------------
// A sequence.

/// The weight of each operation in the random choice.
struct Mix {
    rotate: u32,
    rotate_now: u32,
    revoke: u32,
    suspend: u32,
    resume: u32,
    expire: u32,
    amend: u32,
    advance: u32,
    jump: u32,
    step_back: u32,
}

impl Mix {
    fn draw(&self, rng: &mut StdRng) -> Operation {
        let table = [
            (self.rotate, Operation::Rotate),
            (self.rotate_now, Operation::RotateNow),
            (self.revoke, Operation::Revoke),
            (self.suspend, Operation::Suspend),
            (self.resume, Operation::Resume),
            (self.expire, Operation::Expire),
            (self.amend, Operation::Rename),
            (self.amend, Operation::SetScopes),
            (self.amend, Operation::SetOverrides),
            (self.advance, Operation::Advance),
            (self.jump, Operation::Jump),
            (self.step_back, Operation::StepBack),
        ];
        let mut at = rng.random_range(0..table.iter().map(|(weight, _)| weight).sum());
        for (weight, operation) in table {
            if at < weight {
                return operation;
            }
            at -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Rotate,
    RotateNow,
    Revoke,
    Suspend,
    Resume,
    Expire,
    Rename,
    SetScopes,
    SetOverrides,
    Advance,
    Jump,
    StepBack,
}

impl Operation {
    fn is_of_the_clock(self) -> bool {
        matches!(self, Self::Advance | Self::Jump | Self::StepBack)
    }
}

/// A key's history so far: the subject and the model.
struct Life<'p> {
    pool: &'p Pool,
    library: &'p Library,
    stored: StoredKey,
    log: Vec<Event>,
    now: u64,
    minted: usize,
}

const START: u64 = 1_700_000_000_000;

/// The result of a check. The message is built only on failure.
type Checked = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

impl<'p> Life<'p> {
    fn begin(pool: &'p Pool, library: &'p Library, rng: &mut StdRng) -> Self {
        let now = START;
        let expiry = rng.random_bool(0.3).then(|| now + rng.random_range(1..3_000));
        let mut draft = pool.draft();
        draft.expires_at = expiry.map(at);
        let secret = pool.secret(0, now);
        // Half of the keys are imported some days after their creation elsewhere.
        let (record, born) = if rng.random_bool(0.5) {
            (KeyRecord::issue(ID, draft, secret, at(now)), now)
        } else {
            let born = now - rng.random_range(0..=2 * DAY);
            let secret = pool.secret(0, born);
            (KeyRecord::import(ID, draft, secret, at(now)), born)
        };
        let log = vec![Event::Issued { at: born, secret: 0, expiry }];
        Self { pool, library, stored: pool.join(record.unwrap()).unwrap(), log, now, minted: 1 }
    }

    fn record(&self) -> &KeyRecord {
        self.stored.record()
    }

    /// Applies one operation to the subject, and the expected effect to the model.
    fn step(&mut self, operation: Operation, rng: &mut StdRng) -> Checked {
        let now = self.now;
        let (expected, found, event) = match operation {
            Operation::Rotate | Operation::RotateNow => {
                // Sometimes a secret that the key already has.
                let held = rng.random_bool(0.05);
                let secret = if held { rng.random_range(0..self.minted) } else { self.minted };
                let grace = rng.random_range(1..=1_000);
                let grace = if rng.random_bool(0.02) { 90 * DAY } else { grace };
                let retired = matches!(fate(&self.log, secret), Fate::Gone);
                if held && retired {
                    return Ok(()); // a removed secret would count as a new one
                }
                let mut expected = alive(&self.log, now);
                if expected.is_ok() && held {
                    expected = Err(TransitionError::DuplicateSecret);
                }
                let new = self.pool.secret(secret, now);
                if operation == Operation::Rotate {
                    if expected.is_ok() && in_grace(&self.log, now) >= 3 {
                        expected = Err(TransitionError::TooManyRetiring);
                    }
                    let promised = Grace::new(Duration::from_millis(grace)).unwrap();
                    let found = (self.library.rotate)(self.record(), new, promised, at(now));
                    (expected, found, Event::Rotated { at: now, secret, grace })
                } else {
                    let found = (self.library.rotate_now)(self.record(), new, at(now));
                    (expected, found, Event::RotatedNow { at: now, secret })
                }
            }
            Operation::Revoke => {
                let found = (self.library.revoke)(self.record(), at(now));
                (Ok(()), found, Event::Revoked { at: now })
            }
            Operation::Suspend => {
                let expected = if revoked_since(&self.log).is_some() {
                    Err(TransitionError::Revoked)
                } else if suspended_since(&self.log).is_some() {
                    Err(TransitionError::AlreadySuspended)
                } else {
                    Ok(())
                };
                (expected, self.record().suspend(at(now)), Event::Suspended { at: now })
            }
            Operation::Resume => {
                let mut expected = alive(&self.log, now);
                if expected.is_ok() && suspended_since(&self.log).is_none() {
                    expected = Err(TransitionError::NotSuspended);
                }
                (expected, self.record().resume(at(now)), Event::Resumed)
            }
            Operation::Expire => {
                let to = now.saturating_add_signed(rng.random_range(-2..=2_000));
                let mut expected = alive(&self.log, now);
                if expected.is_ok() && to <= now {
                    expected = Err(TransitionError::ExpiryInPast);
                }
                let found = (self.library.expire_at)(self.record(), at(to), at(now));
                (expected, found, Event::ExpirySet { to })
            }
            Operation::Rename | Operation::SetScopes | Operation::SetOverrides => {
                let expected = alive(&self.log, now);
                let (record, pool, now) = (self.record(), self.pool, at(now));
                let to = rng.random_range(0..3);
                let (found, event) = match operation {
                    Operation::Rename => {
                        let name = pool.names[to].clone();
                        ((self.library.rename)(record, name, now), Event::Renamed { to })
                    }
                    Operation::SetScopes => {
                        let scopes = pool.scopes[to].clone();
                        ((self.library.set_scopes)(record, scopes, now), Event::Rescoped { to })
                    }
                    _ => {
                        let overrides = pool.overrides[to].clone();
                        let found = (self.library.set_overrides)(record, overrides, now);
                        (found, Event::Overridden { to })
                    }
                };
                (expected, found, event)
            }
            Operation::Advance => {
                self.now += rng.random_range(1..=500);
                return Ok(());
            }
            Operation::Jump => {
                self.now = self.edge(rng);
                return Ok(());
            }
            Operation::StepBack => {
                self.now -= match rng.random_range(0..4) {
                    0 => 1,
                    1 | 2 => rng.random_range(1..=1_000),
                    _ => rng.random_range(1..=2 * DAY),
                };
                return Ok(());
            }
        };
        ensure!(
            found.as_ref().map(|_| ()).map_err(|error| *error) == expected,
            "{operation:?} at {now}: {:?}, expected {expected:?}",
            found.map(|_| ())
        );
        if let Ok(record) = found {
            self.stored = self.pool.join(record)?;
            self.log.push(event);
            if secrets(&self.log).next_back() == Some(self.minted) {
                self.minted += 1;
            }
        }
        Ok(())
    }

    /// Returns a time at which something may change, or one millisecond before or after it.
    fn edge(&self, rng: &mut StdRng) -> u64 {
        let edge = match fate(&self.log, rng.random_range(0..self.minted)) {
            Fate::Until(deadline) => deadline,
            _ => expiry(&self.log).unwrap_or(self.now),
        };
        edge - 1 + rng.random_range(0..3)
    }

    fn verify(&self, secret: usize, now: u64) -> Result<Verified, VerifyError> {
        let found = self.pool.find(&self.stored, secret);
        let lookup = &self.pool.lookups[secret];
        (self.library.verify)(&self.pool.verifier, lookup, found, at(now))
    }

    /// Compares subject and model for one secret at one time.
    fn check_answer(&self, secret: usize, now: u64) -> Checked {
        let expected = answer(&self.log, secret, now);
        let found = self.verify(secret, now).map(|verified| verified.matched());
        ensure!(found == expected, "secret {secret} at {now}: {found:?}, not {expected:?}");
        Ok(())
    }

    /// Checks every secret just before, at and just after its deadline and the key's expiry, and
    /// now.
    fn check_all_answers(&self) -> Checked {
        for secret in 0..self.minted {
            self.check_answer(secret, self.now)?;
            if let Fate::Until(deadline) = fate(&self.log, secret) {
                for now in deadline - 1..=deadline + 1 {
                    self.check_answer(secret, now)?;
                }
            }
        }
        if let Some(expiry) = expiry(&self.log) {
            let current = secrets(&self.log).next_back().unwrap_or_default();
            for now in expiry - 1..=expiry + 1 {
                self.check_answer(current, now)?;
            }
        }
        Ok(())
    }

    fn check_status(&self) -> Checked {
        let (found, expected) = (self.record().status(at(self.now)), status(&self.log, self.now));
        ensure!(found == expected, "{found:?}, not {expected:?}");
        Ok(())
    }

    /// Compares the record's own statements about any time with the model.
    fn check_record(&self) -> Checked {
        let (record, log) = (self.record(), &self.log);
        ensure!(record.revision() == log.len() as u64, "revision {}", record.revision());
        let state = match (revoked_since(log), suspended_since(log)) {
            (Some(since), _) => KeyState::Revoked { since: at(since) },
            (None, Some(since)) => KeyState::Suspended { since: at(since) },
            (None, None) => KeyState::Active,
        };
        ensure!(record.state() == state, "{:?}, not {state:?}", record.state());
        ensure!(record.expires_at() == expiry(log).map(at), "{:?}", record.expires_at());
        ensure!(record.created_at() == at(born(log)), "{:?}", record.created_at());
        let [name, scopes, overrides] = amendable(log);
        ensure!(*record.name() == self.pool.names[name], "named {}", record.name());
        ensure!(*record.scopes() == self.pool.scopes[scopes], "scopes {}", record.scopes());
        ensure!(
            *record.overrides() == self.pool.overrides[overrides],
            "overrides {}",
            record.overrides()
        );
        let current = secrets(log).next_back().unwrap_or_default();
        let digest = |secret: usize| self.pool.digest(secret);
        ensure!(record.current().hash.digest() == digest(current), "{current} is not current");
        let mut retiring = record.retiring().iter();
        for secret in secrets(log) {
            if let Fate::Until(deadline) = fate(log, secret) {
                let Some(next) = retiring.next() else {
                    return Err(format!("secret {secret} is missing"));
                };
                ensure!(
                    next.secret.hash.digest() == digest(secret),
                    "{secret} is not the next to retire"
                );
                ensure!(
                    next.valid_until == at(deadline),
                    "secret {secret} until {:?}, expected {deadline}",
                    next.valid_until
                );
            }
        }
        ensure!(retiring.next().is_none(), "more is retiring than was rotated out");
        Ok(())
    }
}

/// Runs one sequence of about twelve operations, calling `observe` after each.
fn live(
    pool: &Pool,
    library: &Library,
    mix: &Mix,
    seed: u64,
    mut observe: impl FnMut(&Life<'_>, Option<Operation>) -> Checked,
) -> Checked {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut life = Life::begin(pool, library, &mut rng);
    let length = rng.random_range(6..=18);
    let mut told = |life: &Life<'_>, operation, result: Checked| {
        result.and_then(|()| observe(life, operation)).map_err(|failure| {
            format!("{failure}\n  after {operation:?} at {}, log {:?}", life.now, life.log)
        })
    };
    told(&life, None, Ok(()))?;
    for _ in 0..length {
        let operation = mix.draw(&mut rng);
        let result = life.step(operation, &mut rng).and_then(|()| {
            life.check_status()?;
            if !operation.is_of_the_clock() {
                life.check_record()?;
            }
            let secret = rng.random_range(0..life.minted);
            let edge = life.edge(&mut rng);
            life.check_answer(secret, if rng.random_bool(0.5) { life.now } else { edge })
        });
        told(&life, Some(operation), result)?;
    }
    let result = life.check_all_answers();
    told(&life, None, result)
}

/// Runs a property over many seeds, or over the one of `KEYWARD_SEED`.
fn for_all_sequences(run: impl Fn(u64) -> Checked) {
    let number = |name: &str| {
        std::env::var(name).ok().map(|text| {
            text.parse::<u64>().unwrap_or_else(|error| panic!("{name} is {text:?}: {error}"))
        })
    };
    let (first, sequences) = match number("KEYWARD_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("KEYWARD_SEQUENCES").unwrap_or(100_000)),
    };
    assert!(sequences > 0, "KEYWARD_SEQUENCES must be positive");
    if let Some((seed, failure)) = first_failure(first, sequences, run) {
        panic!("KEYWARD_SEED={seed} replays this: {failure}");
    }
}

fn first_failure(
    first: u64,
    sequences: u64,
    run: impl Fn(u64) -> Checked,
) -> Option<(u64, String)> {
    (first..first + sequences).find_map(|seed| run(seed).err().map(|failure| (seed, failure)))
}

// ---------------------------------------------------------------------------------------
// The properties. Each checks, besides the model, a rule that needs no model.

const ROTATING: Mix = Mix {
    rotate: 40,
    rotate_now: 6,
    revoke: 1,
    suspend: 3,
    resume: 4,
    expire: 5,
    amend: 2,
    advance: 25,
    jump: 10,
    step_back: 6,
};

const AT_THE_EDGE: Mix = Mix { rotate: 30, expire: 12, advance: 12, jump: 34, ..ROTATING };

const DYING: Mix = Mix { revoke: 14, rotate_now: 10, suspend: 8, resume: 12, ..ROTATING };

/// A key keeps its identity, has one current secret and at most three in a grace period. No granted
/// grace period is shortened except by revocation, by rotation without grace, or by expiry.
fn invariant_3(pool: &Pool, library: &Library, seed: u64) -> Checked {
    let mut promised: Vec<(usize, Timestamp)> = Vec::new();
    let mut before: Option<KeyRecord> = None;
    live(pool, library, &ROTATING, seed, |life, operation| {
        let record = life.record();
        ensure!(record.id() == ID && *record.owner() == OWNER, "another id or owner");
        // Each of these changes only in the operation that requests it.
        if let Some(before) = &before {
            let same = [
                (Operation::Rename, record.name() == before.name()),
                (Operation::SetScopes, record.scopes() == before.scopes()),
                (Operation::SetOverrides, record.overrides() == before.overrides()),
            ];
            for (may, same) in same {
                ensure!(same || operation == Some(may), "{operation:?} did what {may:?} does");
            }
            if same.iter().any(|(may, _)| operation == Some(*may)) {
                let unchanged = (record.state(), record.expires_at(), record.retiring())
                    == (before.state(), before.expires_at(), before.retiring());
                ensure!(unchanged, "{operation:?} changed more than it should");
            }
        }
        before = Some(record.clone());
        ensure!(record.retiring().len() <= KeyRecord::MAX_RETIRING, "too many are retiring");
        if matches!(operation, Some(Operation::RotateNow | Operation::Expire)) {
            promised.clear();
        }
        for (secret, deadline) in &promised {
            if at(life.now) < *deadline
                && life.record().status(at(life.now)) == KeyStatus::Active
                && !clock_is_behind(&life.log, life.now)
            {
                let verified = life
                    .verify(*secret, life.now)
                    .map_err(|error| format!("a promised grace was cut short: {error:?}"))?;
                ensure!(verified.key_id() == ID, "rotating made another key");
                ensure!(
                    verified.record().overrides() == record.overrides(),
                    "an old secret has other overrides"
                );
                ensure!(verified.scopes() == record.scopes(), "an old secret has other scopes");
            }
        }
        promised.clear();
        for secret in 0..life.minted {
            let digest = life.pool.digest(secret);
            let held = record.retiring().iter().find(|held| held.secret.hash.digest() == digest);
            if let Some(held) = held.filter(|held| at(life.now) < held.valid_until) {
                promised.push((secret, held.valid_until));
            }
        }
        Ok(())
    })
}

/// A deadline never moves later and is within the key's expiry when it is set. From the deadline on
/// the secret is rejected, whatever operations follow.
fn invariant_4(pool: &Pool, library: &Library, seed: u64) -> Checked {
    let mut deadlines = [None::<Timestamp>; POOL];
    let mut revision = 0;
    live(pool, library, &AT_THE_EDGE, seed, |life, operation| {
        if life.record().revision() == revision && operation.is_some() {
            return Ok(()); // this property depends on the record only
        }
        revision = life.record().revision();
        for (secret, deadline) in deadlines.iter_mut().enumerate().take(life.minted) {
            let digest = life.pool.digest(secret);
            let held =
                life.record().retiring().iter().find(|held| held.secret.hash.digest() == digest);
            if let Some(held) = held {
                ensure!(
                    deadline.is_none_or(|deadline| held.valid_until <= deadline),
                    "the deadline of secret {secret} moved from {deadline:?} to {:?}",
                    held.valid_until
                );
                let expiry = life.record().expires_at().unwrap_or(Timestamp::MAX);
                ensure!(held.valid_until <= expiry, "secret {secret} outlasts its key");
                *deadline = Some(held.valid_until);
            }
            if let Some(deadline) = deadline {
                let refused = life.verify(secret, deadline.as_unix_millis()).is_err();
                ensure!(refused, "secret {secret} is accepted at its deadline");
            }
        }
        Ok(())
    })
}

/// Revocation is permanent and covers all secrets. No operation reactivates a revoked or expired
/// key.
fn invariant_5(pool: &Pool, library: &Library, seed: u64) -> Checked {
    let mut revoked = false;
    let mut before = (0, false);
    live(pool, library, &DYING, seed, |life, operation| {
        revoked |= operation == Some(Operation::Revoke);
        if revoked {
            ensure!(matches!(life.record().state(), KeyState::Revoked { .. }), "revoked no more");
            for secret in 0..life.minted {
                for now in [life.now, START, START + 400 * DAY] {
                    ensure!(life.verify(secret, now).is_err(), "secret {secret} works at {now}");
                }
            }
        }
        // The only allowed changes to an expired key are revocation and suspension.
        let (revision, expired) = before;
        let changed = life.record().revision() != revision;
        let may = matches!(operation, Some(Operation::Revoke | Operation::Suspend) | None);
        ensure!(!(expired && changed && !may), "an expired key was changed");
        before =
            (life.record().revision(), life.record().status(at(life.now)) == KeyStatus::Expired);
        Ok(())
    })
}

/// Of the changes that several clients make to records read at different times, only the change to
/// the latest record succeeds. All others have no effect.
fn invariant_6(pool: &Pool, library: &Library, seed: u64) -> Checked {
    let mut rng = StdRng::seed_from_u64(seed);
    let store = MemoryStore::new();
    let record = KeyRecord::issue(ID, pool.draft(), pool.secret(0, START), at(START)).unwrap();
    let mut now = START;
    let mut minted = 1;
    // The naive model: all records that were ever stored, and each attempted change with the index
    // of its base record.
    let mut accepted = vec![record.clone()];
    let mut attempts: Vec<(usize, KeyRecord)> = Vec::new();
    ensure!(
        (library.replace)(&store, record.clone()) == Err(ReplaceError::NotFound),
        "a record that was never inserted was replaced"
    );
    ensure!(store.insert_sync(record.clone()).is_ok(), "the insert failed");
    ensure!(
        store.insert_sync(record) == Err(InsertError::DuplicateId),
        "a second insert of the same id"
    );
    let mut held = [0; 3];
    for _ in 0..rng.random_range(6..=18) {
        let client = rng.random_range(0..held.len());
        let latest = accepted.len() - 1;
        let (base, attempt) = match rng.random_range(0..10) {
            0..4 => {
                let found = store.find_by_id_sync(ID);
                let found = found.as_ref().map(StoredKey::record);
                ensure!(found == Some(&accepted[latest]), "not the latest record");
                held[client] = latest;
                continue;
            }
            4..6 if !attempts.is_empty() => attempts[rng.random_range(0..attempts.len())].clone(),
            _ => {
                now += rng.random_range(0..50);
                let base = &accepted[held[client]];
                let secret = pool.secret(minted, now);
                let grace = Grace::new(Duration::from_millis(rng.random_range(1..200))).unwrap();
                let attempt = match rng.random_range(0..15) {
                    0..6 => (library.rotate)(base, secret, grace, at(now)),
                    6..8 => (library.rotate_now)(base, secret, at(now)),
                    8 => base.suspend(at(now)),
                    9 | 10 => base.resume(at(now)),
                    11 => (library.revoke)(base, at(now)),
                    12 => (library.rename)(base, pool.names[1].clone(), at(now)),
                    13 => (library.set_scopes)(base, pool.scopes[1].clone(), at(now)),
                    _ => (library.set_overrides)(base, Overrides::none(), at(now)),
                };
                minted += 1;
                let Ok(attempt) = attempt else { continue };
                (held[client], attempt)
            }
        };
        attempts.push((base, attempt.clone()));
        let result = (library.replace)(&store, attempt.clone());
        let expected = if base == latest { Ok(()) } else { Err(ReplaceError::Conflict) };
        ensure!(
            result == expected,
            "a change to record {base} of {latest}: {result:?}, expected {expected:?}"
        );
        if result.is_ok() {
            accepted.push(attempt);
        }
        let latest = &accepted[accepted.len() - 1];
        let stored = store.find_by_id_sync(ID);
        ensure!(
            stored.as_ref().map(StoredKey::record) == Some(latest),
            "the store holds another record"
        );
        // A lookup finds the secrets of the latest record only, and returns that record.
        for lookup in pool.lookups.iter().take(minted) {
            let digest = *hash(lookup);
            let secret_is_held = latest.current().hash == digest
                || latest.retiring().iter().any(|held| held.secret.hash == digest);
            let found = store.find_sync(lookup);
            ensure!(found.is_some() == secret_is_held, "found {found:?} of {latest:?}");
            ensure!(
                found.is_none_or(|found| found.record() == latest),
                "an older record was found"
            );
        }
    }
    Ok(())
}

#[test]
fn invariant_3_the_key_stays_the_same_while_its_secrets_change() {
    let pool = Pool::new();
    for_all_sequences(|seed| invariant_3(&pool, &REAL, seed));
}

#[test]
fn invariant_4_a_deadline_never_moves_later_and_is_enforced() {
    let pool = Pool::new();
    for_all_sequences(|seed| invariant_4(&pool, &REAL, seed));
}

#[test]
fn invariant_5_revoked_and_expired_are_permanent() {
    let pool = Pool::new();
    for_all_sequences(|seed| invariant_5(&pool, &REAL, seed));
}

#[test]
fn invariant_6_every_change_is_a_compare_and_swap() {
    let pool = Pool::new();
    for_all_sequences(|seed| invariant_6(&pool, &REAL, seed));
}

/// A property proves nothing about situations that no sequence reaches, such as rotating a revoked
/// key. These sequences reach all of them.
#[test]
fn random_sequences_reach_every_tested_situation() {
    let pool = Pool::new();
    let (mut answers, mut refusals) = (BTreeMap::new(), BTreeMap::new());
    for seed in 0..5_000 {
        let mix = [&ROTATING, &AT_THE_EDGE, &DYING][seed as usize % 3];
        live(&pool, &REAL, mix, seed, |life, _| {
            for secret in 0..life.minted {
                let answer = match answer(&life.log, secret, life.now) {
                    Ok(MatchedSecret::Current) => "current".to_owned(),
                    Ok(_) => "retiring".to_owned(),
                    Err(error) => format!("{error:?}"),
                };
                *answers.entry(answer).or_insert(0) += 1;
            }
            let refusal = match alive(&life.log, life.now) {
                Ok(()) if in_grace(&life.log, life.now) == 3 => "TooManyRetiring".to_owned(),
                Ok(()) => "none".to_owned(),
                Err(error) => format!("{error:?}"),
            };
            *refusals.entry(refusal).or_insert(0) += 1;
            Ok(())
        })
        .unwrap();
    }
    for (table, expected) in [
        (&answers, "current retiring Unknown PastGrace Revoked Expired Suspended ClockBehind"),
        (&refusals, "none TooManyRetiring Revoked Expired ClockBehind"),
    ] {
        for name in expected.split(' ') {
            assert!(table.get(name).is_some_and(|count| *count > 100), "{name}: {table:?}");
        }
        assert_eq!(table.len(), expected.split(' ').count(), "{table:?}");
    }
}

// ---------------------------------------------------------------------------------------
// Planted bugs in the subject. Each must be detected, which shows that the model can fail.

mod planted {
    use super::*;

    type Property = fn(&Pool, &Library, u64) -> Checked;

    fn is_caught(bug: &str, library: &Library, property: Property) {
        let pool = Pool::new();
        let failure = first_failure(0, 20_000, |seed| property(&pool, library, seed));
        assert!(failure.is_some(), "{bug} was not found in 20,000 sequences");
        // The seed reproduces the failure.
        let (seed, failure) = failure.unwrap_or_default();
        assert_eq!(property(&pool, library, seed), Err(failure), "{bug}");
    }

    #[test]
    fn acceptance_at_the_deadline_is_detected() {
        let library = Library {
            verify: |verifier, lookup, found, now| {
                let earlier = at(now.as_unix_millis() - 1);
                match verifier.verify(lookup, found.clone(), now) {
                    Err(VerifyError::PastGrace) => verifier.verify(lookup, found, earlier),
                    result => result,
                }
            },
            ..REAL
        };
        is_caught("accepting at the deadline", &library, invariant_4);
    }

    #[test]
    fn rejection_one_millisecond_early_is_detected() {
        let library = Library {
            verify: |verifier, lookup, found, now| {
                let later = now + Duration::from_millis(1);
                match verifier.verify(lookup, found.clone(), later) {
                    Err(VerifyError::PastGrace) => Err(VerifyError::PastGrace),
                    _ => verifier.verify(lookup, found, now),
                }
            },
            ..REAL
        };
        is_caught("refusing a millisecond early", &library, invariant_4);
    }

    #[test]
    fn a_rotation_that_extends_an_earlier_grace_is_detected() {
        let library = Library {
            rotate: |record, secret, grace, now| {
                let mut parts = record.rotate(secret, grace, now)?.into_parts();
                let longest = parts.retiring.iter().map(|held| held.valid_until).max();
                for held in &mut parts.retiring {
                    held.valid_until = longest.unwrap_or(held.valid_until);
                }
                Ok(parts.build().unwrap())
            },
            ..REAL
        };
        is_caught("extending a grace", &library, invariant_4);
        is_caught("extending a grace", &library, invariant_3);
    }

    #[test]
    fn a_grace_beyond_the_expiry_is_detected() {
        let library = Library {
            expire_at: |record, to, now| {
                let retiring = record.clone().into_parts().retiring;
                let mut parts = record.expire_at(to, now)?.into_parts();
                // Deadlines move with the expiry, also to later times.
                for (held, before) in parts.retiring.iter_mut().zip(retiring) {
                    if record.expires_at() == Some(before.valid_until) {
                        held.valid_until = to;
                    }
                }
                Ok(parts.build().unwrap())
            },
            ..REAL
        };
        is_caught("a grace that follows the expiry", &library, invariant_4);
    }

    #[test]
    fn a_rotation_that_shortens_an_earlier_grace_is_detected() {
        let library = Library {
            rotate: |record, secret, grace, now| {
                let mut parts = record.clone().into_parts();
                if parts.retiring.len() == KeyRecord::MAX_RETIRING {
                    parts.retiring.remove(0);
                }
                parts.build().unwrap().rotate(secret, grace, now)
            },
            ..REAL
        };
        is_caught("dropping the oldest grace", &library, invariant_3);
    }

    #[test]
    fn a_rotation_that_reactivates_a_revoked_key_is_detected() {
        let library = Library {
            rotate: |record, secret, grace, now| {
                let mut parts = record.clone().into_parts();
                if matches!(parts.state, KeyState::Revoked { .. }) {
                    parts.state = KeyState::Active;
                }
                parts.build().unwrap().rotate(secret, grace, now)
            },
            ..REAL
        };
        is_caught("un-revoking by rotation", &library, invariant_5);
    }

    #[test]
    fn a_rotation_that_reactivates_an_expired_key_is_detected() {
        let library = Library {
            rotate_now: |record, secret, now| {
                let mut parts = record.clone().into_parts();
                parts.expires_at = None;
                parts.build().unwrap().rotate_now(secret, now)
            },
            ..REAL
        };
        is_caught("un-expiring by rotation", &library, invariant_5);
    }

    #[test]
    fn a_scope_grant_to_a_revoked_key_is_detected() {
        let library = Library {
            set_scopes: |record, scopes, now| {
                let mut parts = record.clone().into_parts();
                (parts.state, parts.expires_at) = (KeyState::Active, None);
                parts.build().unwrap().set_scopes(scopes, now)
            },
            ..REAL
        };
        is_caught("un-revoking by granting scopes", &library, invariant_5);
    }

    #[test]
    fn a_rename_that_changes_more_than_the_name_is_detected() {
        let library = Library {
            rename: |record, name, now| {
                let mut parts = record.rename(name, now)?.into_parts();
                parts.retiring.clear();
                Ok(parts.build().unwrap())
            },
            ..REAL
        };
        is_caught("a renaming that drops graces", &library, invariant_3);
        let library = Library {
            rename: |record, name, now| {
                let mut parts = record.rename(name, now)?.into_parts();
                parts.scopes = ScopeSet::empty();
                Ok(parts.build().unwrap())
            },
            ..REAL
        };
        is_caught("a renaming that drops scopes", &library, invariant_3);
    }

    #[test]
    fn overrides_set_without_a_new_revision_are_detected() {
        let library = Library {
            set_overrides: |record, overrides, now| {
                let mut parts = record.set_overrides(overrides, now)?.into_parts();
                parts.revision = record.revision();
                Ok(parts.build().unwrap())
            },
            ..REAL
        };
        is_caught("overrides without a revision", &library, invariant_6);
    }

    #[test]
    fn a_revocation_that_keeps_older_secrets_valid_is_detected() {
        let library = Library {
            verify: |verifier, lookup, found, now| {
                let result = verifier.verify(lookup, found.clone(), now);
                let revoked = result.as_ref().err() == Some(&VerifyError::Revoked);
                let Some(found) = found.filter(|_| revoked) else {
                    return result;
                };
                let mut parts = found.record().clone().into_parts();
                if parts.current.hash == *hash(lookup) {
                    return result;
                }
                parts.state = KeyState::Active;
                let spared = StoredKey::join(parts.build().unwrap(), Arc::clone(found.owner()));
                verifier.verify(lookup, Some(spared.unwrap()), now)
            },
            ..REAL
        };
        is_caught("revoking only the current secret", &library, invariant_5);
    }

    #[test]
    fn a_store_where_the_last_write_wins_is_detected() {
        let library = Library {
            replace: |store, record| {
                let mut parts = record.into_parts();
                if let Some(stored) = store.find_by_id_sync(parts.id) {
                    parts.revision = stored.record().revision() + 1;
                }
                store.replace_sync(parts.build().unwrap())
            },
            ..REAL
        };
        is_caught("last write wins", &library, invariant_6);
    }

    #[test]
    fn a_rotation_that_keeps_the_revision_is_detected() {
        let library = Library {
            rotate: |record, secret, grace, now| {
                let mut parts = record.rotate(secret, grace, now)?.into_parts();
                parts.revision = record.revision();
                Ok(parts.build().unwrap())
            },
            ..REAL
        };
        is_caught("a rotation without a revision", &library, invariant_6);
    }
}
