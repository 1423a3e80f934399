//! Scripted schedules of calls through two caches, one for each mistake to detect.
//!
//! A schedule controls which call overtakes which, and how much time passes: a call that another
//! one overtakes stops at a [`Point`] until the schedule continues it, and the clock stands still
//! until the schedule moves it. So the mistake is detected at the first attempt on any machine, and
//! correct code passes.

use std::sync::Arc;

use keyward::{
    KeyStore, Timestamp,
    key::{Grace, KeyId, KeyRecord, KeyState, Owner, OwnerChange, OwnerId, Revocation},
    store::{
        Change, InsertError, Invalidate, KeyRegistry, Listing, Lookup, OwnerListing,
        OwnerPageRequest, OwnerRemoval, PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
};
use keyward_sqlx::SqlStoreError;
use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    Database, hear,
    history::{Cache, History, RESOLUTION, Recorder, STALENESS, Time, Told},
    support::{NOW, issue, lookup, rotate, secret},
    until,
};

/// A point at which a call can be stopped.
#[derive(Clone, Copy, PartialEq)]
enum Point {
    AfterRead,
    BeforeWrite,
    AfterWrite,
}

/// The planted stops; the next call that reaches the point stops there.
#[derive(Default)]
struct Stops(Mutex<Vec<Planted>>);

/// A stop, as seen by the stopped call.
struct Planted {
    point: Point,
    reach: oneshot::Sender<()>,
    gone_on: oneshot::Receiver<()>,
}

/// A stop, as seen by the schedule.
struct Stop {
    reached: oneshot::Receiver<()>,
    go_on: oneshot::Sender<()>,
}

impl Stops {
    fn at(&self, point: Point) -> Stop {
        let ((reach, reached), (go_on, gone_on)) = (oneshot::channel(), oneshot::channel());
        self.0.lock().push(Planted { point, reach, gone_on });
        Stop { reached, go_on }
    }

    async fn pass(&self, point: Point) {
        let stop = self.0.lock().extract_if(.., |it| it.point == point).next();
        let Some(Planted { reach, gone_on, .. }) = stop else { return };
        reach.send(()).unwrap();
        gone_on.await.unwrap();
    }
}

/// The possible faults of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// Overwrites any stored record with any given record.
    StaleRevisionWins,
    /// Reactivates a revoked key.
    Resurrects,
}

/// A store that stops at planted points, and may have a fault.
pub(crate) struct Staged<S> {
    store: S,
    stops: Arc<Stops>,
    fault: Fault,
}

impl<S: Database> KeyStore for Staged<S> {
    type Error = SqlStoreError;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, SqlStoreError> {
        let found = self.store.find(lookup).await;
        self.stops.pass(Point::AfterRead).await;
        found
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, SqlStoreError> {
        self.store.find_by_id(id).await
    }
}

impl<S: Database> KeyRegistry for Staged<S> {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<SqlStoreError>> {
        self.store.insert_at(record, now).await
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<SqlStoreError>> {
        self.stops.pass(Point::BeforeWrite).await;
        let id = record.id();
        let is_revoked = matches!(record.state(), KeyState::Revoked { .. });
        let record = match (self.fault, self.store.find_by_id(id).await.unwrap()) {
            // Acknowledged as the next revision of any that is stored.
            (Fault::StaleRevisionWins, Some(stored)) => {
                let mut parts = record.into_parts();
                parts.revision = stored.record().revision() + 1;
                parts.build().unwrap()
            }
            _ => record,
        };
        self.store.replace(record).await?;
        if let (Fault::Resurrects, true) = (self.fault, is_revoked) {
            let active = "state = 'active', state_since = NULL";
            let sql = format!("UPDATE keyward_keys SET {active} WHERE id = '{id}'");
            self.store.tamper(sql).await;
        }
        self.stops.pass(Point::AfterWrite).await;
        Ok(())
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, SqlStoreError> {
        self.store.revoke(id, within, revocation).await
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, SqlStoreError> {
        self.store.revoke_all(owner, revocation).await
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, SqlStoreError> {
        self.store.suspend(id, within, now).await
    }

    async fn purge(&self, before: Timestamp, limit: u16) -> Result<Vec<KeyId>, SqlStoreError> {
        self.store.purge(before, limit).await
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, SqlStoreError> {
        self.store.list(owner, page).await
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, SqlStoreError> {
        self.store.list_all(page).await
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, SqlStoreError> {
        self.store.owner(id).await
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), SqlStoreError> {
        self.store.put_owner(owner).await
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, SqlStoreError> {
        self.store.list_owners(page).await
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, SqlStoreError> {
        self.store.remove_owner(id).await
    }

    async fn change_owner(
        &self,
        owner: &OwnerId,
        change: OwnerChange,
    ) -> Result<(), SqlStoreError> {
        self.store.change_owner(owner, change).await
    }
}

/// The sequence of operations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schedule {
    /// A cache is queried for a key that was written through it.
    OwnWrites,
    /// A cache is queried after the bound since the other one revoked the key.
    OldAnswers,
    /// Both change the same revision.
    OneRevision,
    /// A cache is queried after the announcement that the other one revoked the key.
    Announcements,
    /// A query has read; a revocation overtakes it before it returns.
    OvertakenQueries,
    /// A revocation has begun; a query overtakes it before the write.
    OvertakenWrites,
    /// A query returns shortly before the bound since its read ends.
    SlowQueries,
    /// A revocation is dropped between its write and its return.
    DroppedWrites,
}

impl Schedule {
    pub(crate) const ALL: [Self; 8] = [
        Self::OwnWrites,
        Self::OldAnswers,
        Self::OneRevision,
        Self::Announcements,
        Self::OvertakenQueries,
        Self::OvertakenWrites,
        Self::SlowQueries,
        Self::DroppedWrites,
    ];
}

/// The source of the second cache's announcements.
#[derive(Clone, Copy)]
pub(crate) enum Announcer<'d> {
    /// The schedule, at its own time.
    ByHand,
    /// The database; the schedule waits for it.
    Database(&'d PgConnectOptions),
}

impl Announcer<'_> {
    async fn begin<K: Invalidate + 'static>(self, told: &Arc<Told<K>>) -> Option<JoinHandle<()>> {
        match self {
            Self::ByHand => {
                told.invalidate(&Change::Everything);
                None
            }
            Self::Database(options) => Some(hear(options, Arc::clone(told)).await),
        }
    }

    /// Waits until this revision of the key is announced.
    async fn announced<K: Invalidate>(self, told: &Told<K>, id: KeyId, revision: u64) {
        let change = Change::key(id);
        match self {
            Self::ByHand => (0..revision).for_each(|_| told.invalidate(&change)),
            Self::Database(_) => {
                let heard = told.heard();
                let count = |change| heard.lock().iter().filter(|it| it.0 == change).count() as u64;
                // Or a reconnection, after which anything may have changed.
                let is_told = || count(change.clone()) >= revision || count(Change::Everything) > 1;
                until("the change is announced", is_told).await;
            }
        }
    }
}

struct Script<K> {
    recorder: Arc<Recorder<K>>,
    stops: [Arc<Stops>; 2],
}

/// Runs a schedule with these caches on stores with this fault and returns the history.
pub(crate) async fn play<S, K>(
    schedule: Schedule,
    stores: &[S; 2],
    fault: Fault,
    announcer: Announcer<'_>,
    make: impl Fn(Staged<S>, Arc<Time>) -> K,
) -> History
where
    S: Database,
    K: Cache + Invalidate + 'static,
{
    let clock = Time::driven();
    let stops: [Arc<Stops>; 2] = Default::default();
    let caches = [0, 1].map(|cache| {
        let (store, stops) = (stores[cache].clone(), Arc::clone(&stops[cache]));
        Arc::new(make(Staged { store, stops, fault }, Arc::clone(&clock)))
    });
    let told = Arc::new(Told::new(Arc::clone(&caches[1]), Arc::clone(&clock)));
    let listening = announcer.begin(&told).await;
    let script = Script { recorder: Arc::new(Recorder::new(clock, caches)), stops };
    script
        .play(schedule, async |id, revision| announcer.announced(&told, id, revision).await)
        .await;
    listening.inspect(JoinHandle::abort);
    let mut history = std::mem::take(&mut *script.recorder.history.lock());
    history.heard[1].append(&mut told.heard().lock());
    history
}

impl<K: Cache + 'static> Script<K> {
    async fn play(&self, schedule: Schedule, announced: impl AsyncFn(KeyId, u64)) {
        let (record, key) = issue("owner", NOW);
        let (id, first) = (record.id(), lookup(&key));
        self.recorder.insert(0, record.clone()).await;
        let revoked = record.revoke(NOW).unwrap();
        match schedule {
            Schedule::OwnWrites => {
                self.verify(0, id, &first).await;
                let (rotated, key) = rotate(&record, NOW);
                let second = lookup(&key);
                assert!(self.recorder.replace(0, rotated.clone()).await);
                self.verify(0, id, &first).await;
                self.verify(0, id, &second).await;
                assert!(self.recorder.replace(0, rotated.revoke(NOW).unwrap()).await);
                self.verify(0, id, &first).await;
                self.verify(0, id, &second).await;
            }
            Schedule::OldAnswers => {
                self.verify(1, id, &first).await;
                self.recorder.replace(0, revoked).await;
                self.recorder.clock.advance(STALENESS - 5 * RESOLUTION);
                // Within the bound the key may still be accepted.
                self.verify(1, id, &first).await;
                self.recorder.clock.advance(10 * RESOLUTION);
                self.verify(1, id, &first).await;
            }
            Schedule::OneRevision => {
                self.verify(0, id, &first).await;
                let one = self.recorder.get(0, id).await.unwrap();
                let other = self.recorder.get(1, id).await.unwrap();
                self.recorder.replace(0, one.revoke(NOW).unwrap()).await;
                self.recorder
                    .replace(1, other.rotate(secret(NOW).0, Grace::DAY, NOW).unwrap())
                    .await;
                self.verify(0, id, &first).await;
            }
            Schedule::Announcements => {
                self.verify(1, id, &first).await;
                self.recorder.replace(0, revoked).await;
                self.verify(1, id, &first).await;
                announced(id, 2).await;
                self.verify(1, id, &first).await;
            }
            Schedule::OvertakenQueries => {
                let query = self.stops[0].at(Point::AfterRead);
                let early = self.spawn_verify(0, id, first.clone());
                query.reached.await.unwrap();
                self.recorder.replace(0, revoked).await;
                query.go_on.send(()).unwrap();
                early.await.unwrap();
                self.verify(0, id, &first).await;
            }
            Schedule::OvertakenWrites => {
                let write = self.stops[0].at(Point::BeforeWrite);
                let recorder = Arc::clone(&self.recorder);
                let writing = tokio::spawn(async move { recorder.replace(0, revoked).await });
                write.reached.await.unwrap();
                self.verify(0, id, &first).await;
                write.go_on.send(()).unwrap();
                writing.await.unwrap();
                self.verify(0, id, &first).await;
            }
            Schedule::SlowQueries => {
                let query = self.stops[1].at(Point::AfterRead);
                let slow = self.spawn_verify(1, id, first.clone());
                query.reached.await.unwrap();
                self.recorder.replace(0, revoked).await;
                self.recorder.clock.advance(STALENESS - 5 * RESOLUTION);
                query.go_on.send(()).unwrap();
                slow.await.unwrap();
                self.recorder.clock.advance(10 * RESOLUTION);
                self.verify(1, id, &first).await;
            }
            Schedule::DroppedWrites => {
                self.verify(0, id, &first).await;
                let began = self.recorder.clock.instant();
                let write = self.stops[0].at(Point::AfterWrite);
                let (recorder, it) = (Arc::clone(&self.recorder), revoked.clone());
                let writing = tokio::spawn(async move { recorder.replace(0, it).await });
                write.reached.await.unwrap();
                writing.abort();
                assert!(writing.await.unwrap_err().is_cancelled());
                // From here on the dropped write counts as made.
                self.recorder.has_written(0, began, revoked);
                self.verify(0, id, &first).await;
            }
        }
    }

    async fn verify(&self, cache: usize, id: KeyId, lookup: &Lookup) {
        verify(&self.recorder, cache, id, lookup).await;
    }

    fn spawn_verify(&self, cache: usize, id: KeyId, lookup: Lookup) -> JoinHandle<()> {
        let recorder = Arc::clone(&self.recorder);
        tokio::spawn(async move { verify(&recorder, cache, id, &lookup).await })
    }
}

async fn verify<K: Cache>(recorder: &Recorder<K>, cache: usize, id: KeyId, lookup: &Lookup) {
    let call = recorder.verify(cache, id, lookup).await;
    recorder.history.lock().verified.push(call);
}
