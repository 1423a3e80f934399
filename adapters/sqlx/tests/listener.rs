//! The listener announces changes by others, and invalidates everything after a gap in its
//! connection.

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{process::Command, sync::Arc, time::Duration};

use keyward::{
    Timestamp,
    key::{KeyHash, KeyId, KeyRecord, Owner, OwnerId},
    store::{Change, Invalidate, KeyRegistry as _},
    testing::BlockOn as _,
    usage::Usage,
};
use keyward_sqlx::{ChangeListener, ListenerReport, PostgresStore, SqlStoreError};
use postgres::{connect, postgres_store};
use sqlx::{Row as _, postgres::PgConnectOptions};
use support::{NOW, OnTokio, issue, rotate};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel},
        oneshot,
    },
    task::JoinHandle,
    time::timeout,
};

/// A timeout far longer than any machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The application name of a listener's connection on the server.
const LISTENER: &str = "keyward-listener";

/// Records the announced changes.
struct Told(UnboundedSender<Change>);

impl Invalidate for Told {
    fn invalidate(&self, change: &Change) {
        let _ = self.0.send(change.clone());
    }
}

/// A listener, and the changes it has announced.
struct Heard {
    changes: UnboundedReceiver<Change>,
    task: JoinHandle<()>,
}

impl Heard {
    /// Starts a listener for all changes from here on.
    async fn from(options: &PgConnectOptions) -> Self {
        Self::pausing(options, tokio::time::sleep).await
    }

    async fn pausing<P, F>(options: &PgConnectOptions, pause: P) -> Self
    where
        P: Fn(Duration) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let (sender, changes) = unbounded_channel();
        let listener = ChangeListener::new(options.clone().application_name(LISTENER));
        let told = Arc::new(Told(sender));
        let task = tokio::spawn(async move {
            listener.run(told, pause).await;
        });
        let mut heard = Self { changes, task };
        assert_eq!(heard.next().await, Change::Everything, "the listener has connected");
        heard
    }

    async fn next(&mut self) -> Change {
        let next = timeout(PATIENCE, self.changes.recv()).await;
        next.expect("no change was announced").unwrap()
    }

    /// Returns all changes before the announcement of this owner, which this function triggers.
    async fn before_mark(&mut self, store: &PostgresStore, mark: &'static str) -> Vec<Change> {
        let mark = OwnerId::from_static(mark);
        store.put_owner(Owner::new(mark.clone())).await.unwrap();
        let mut heard = Vec::new();
        loop {
            match self.next().await {
                Change::Owner { id } if id == mark => return heard,
                change => heard.push(change),
            }
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the announced ids and hashes, or `None` if everything was invalidated.
fn keys(heard: &[Change]) -> Option<(Vec<KeyId>, Vec<KeyHash>)> {
    let (mut ids, mut hashes) = (Vec::new(), Vec::new());
    for change in heard {
        let Change::Key { id, hashes: more } = change else { return None };
        ids.push(*id);
        hashes.extend(more);
    }
    ids.sort();
    ids.dedup();
    Some((ids, hashes))
}

fn knows_all(heard: &[Change], record: &KeyRecord) -> bool {
    let (ids, hashes) = keys(heard).unwrap();
    ids == [record.id()] && record.hashes().all(|hash| hashes.contains(hash))
}

#[test]
fn each_change_is_announced_by_its_transaction() {
    OnTokio.block_on(async {
        let Some(store) = postgres_store("each_change_is_announced").await else { return };
        let mut heard = Heard::from(&store.pool().connect_options()).await;

        let (record, _) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();
        assert!(knows_all(&heard.before_mark(&store, "inserted").await, &record));
        let (rotated, _) = rotate(&record, NOW);
        store.replace(rotated.clone()).await.unwrap();
        assert!(knows_all(&heard.before_mark(&store, "rotated").await, &rotated));
        let revoked = rotated.revoke(NOW).unwrap();
        store.replace(revoked.clone()).await.unwrap();
        assert!(knows_all(&heard.before_mark(&store, "revoked").await, &revoked));
        let of_owner = store.put_owner(Owner::new(OwnerId::from_static("it's 'me'")));
        of_owner.await.unwrap();
        assert_eq!(
            heard.before_mark(&store, "put").await,
            [Change::owner(OwnerId::from_static("it's 'me'"))]
        );

        // Changes without effect on decisions and failed changes are not announced.
        let used = [(record.id(), Usage::new(1, Some(NOW)))].into_iter().collect();
        store.save_usage(&used).await.unwrap();
        store.replace(revoked.clone()).await.unwrap_err();
        store.insert(record.clone()).await.unwrap_err();
        let mut undone = store.pool().begin().await.unwrap();
        let revoke = "UPDATE keyward_keys SET state = 'revoked', state_since = 1";
        sqlx::raw_sql(revoke).execute(&mut *undone).await.unwrap();
        undone.rollback().await.unwrap();
        assert_eq!(heard.before_mark(&store, "nothing").await, []);

        assert_eq!(store.purge(Timestamp::MAX, 9).await.unwrap(), [record.id()]);
        assert!(knows_all(&heard.before_mark(&store, "purged").await, &revoked));
    });
}

#[test]
fn manual_sql_changes_are_announced() {
    OnTokio.block_on(async {
        let Some(store) = postgres_store("manual_sql_changes").await else { return };
        let mut heard = Heard::from(&store.pool().connect_options()).await;
        let (record, _) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();
        heard.before_mark(&store, "inserted").await;

        let id = record.id();
        let key = (vec![id], vec![]);
        let with_hash = (vec![id], vec![record.current().hash]);
        for (sql, expected) in [
            ("UPDATE keyward_keys SET state = 'revoked', state_since = 1", Some(&key)),
            ("UPDATE keyward_keys SET expires_at = 5", Some(&key)),
            ("UPDATE keyward_secrets SET hint = NULL", Some(&with_hash)),
            ("DELETE FROM keyward_keys", Some(&with_hash)),
            ("TRUNCATE keyward_secrets", None),
            ("TRUNCATE keyward_owners", None),
            // So many changes that single announcements are no better than invalidating everything.
            (
                "INSERT INTO keyward_keys (id, owner, name, created_at)
                 SELECT md5(i::text), 'o', 'n', 1 FROM generate_series(1, 101) i",
                None,
            ),
        ] {
            sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
            let told = heard.before_mark(&store, "mark").await;
            match expected {
                Some((ids, hashes)) => {
                    let (heard_ids, mut heard_hashes) = keys(&told).unwrap();
                    heard_hashes.dedup();
                    assert_eq!((&heard_ids, &heard_hashes), (ids, hashes), "{sql}");
                }
                None => assert!(told.contains(&Change::Everything), "{sql}: {told:?}"),
            }
        }
        sqlx::raw_sql("INSERT INTO keyward_owners (id) VALUES ('a')")
            .execute(store.pool())
            .await
            .unwrap();
        heard.before_mark(&store, "mark").await;
        sqlx::query("UPDATE keyward_owners SET tier = 'low' WHERE id = 'a'")
            .execute(store.pool())
            .await
            .unwrap();
        let told = heard.before_mark(&store, "mark").await;
        assert_eq!(told, [Change::owner(OwnerId::from_static("a"))]);

        // Without the trigger the change is not announced, and this test detects that.
        let drop = "DROP TRIGGER keyward_updated ON keyward_keys";
        sqlx::raw_sql(drop).execute(store.pool()).await.unwrap();
        let revoke = "UPDATE keyward_keys SET expires_at = 6";
        sqlx::raw_sql(revoke).execute(store.pool()).await.unwrap();
        assert_eq!(heard.before_mark(&store, "mark").await, []);
    });
}

/// Missed changes are unknown, so everything is invalidated.
#[test]
fn a_lost_connection_invalidates_everything() {
    OnTokio.block_on(async {
        let Some(store) = postgres_store("a_lost_connection").await else { return };
        let mut heard = Heard::from(&store.pool().connect_options()).await;
        let others = connect(&store.pool().connect_options()).await;
        let (record, _) = issue("owner", NOW);
        others.insert(record.clone()).await.unwrap();
        heard.before_mark(&store, "inserted").await;
        for round in 0..5 {
            let killed = sqlx::query(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = $1",
            );
            let killed = killed.bind(LISTENER).fetch_one(others.pool()).await.unwrap();
            // The connection of the previous round may still be closing.
            assert!(killed.get::<i64, _>(0) >= 1, "round {round}: no listener is connected");
            // A change while no listener is connected.
            let (renamed, _) = issue("another", NOW);
            others.insert(renamed).await.unwrap();
            // One invalidation for the lost connection, and one for the new one.
            for _ in 0..2 {
                loop {
                    // An announcement that arrived before the disconnection is valid too.
                    match heard.next().await {
                        Change::Everything => break,
                        Change::Key { .. } => {}
                        other => panic!("round {round}: {other:?}"),
                    }
                }
            }
            // Announcements arrive again.
            others.insert(issue("another", NOW).0).await.unwrap();
            assert!(keys(&heard.before_mark(&store, "again").await).is_some(), "round {round}");
        }
    });
}

/// A listener without a server announces nothing and keeps retrying.
#[test]
fn a_listener_reconnects_after_a_server_restart() {
    OnTokio.block_on(async {
        let cluster = match postgres::Cluster::new() {
            Ok(cluster) => cluster,
            Err(reason) => {
                return postgres::not_run("a_listener_reconnects_after_a_server_restart", &reason);
            }
        };
        let (sender, mut changes) = unbounded_channel();
        let (reporter, mut reports) = unbounded_channel();
        let listener = ChangeListener::new(cluster.options());
        let listener = listener.with_report(move |report| reporter.send(report).unwrap());
        // The pauses between attempts return immediately; the timeouts do not.
        let pause = |length: Duration| {
            let attempts = length <= ChangeListener::LONGEST_PAUSE;
            tokio::time::sleep(if attempts { Duration::from_millis(20) } else { length })
        };
        let task = tokio::spawn(async move {
            listener.run(Told(sender), pause).await;
        });
        tokio::task::yield_now().await;
        assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
        for _ in 0..2 {
            // Each consecutive failure is reported with its cause.
            for expected in 1..3 {
                let report = timeout(PATIENCE, reports.recv()).await;
                let Ok(Some(ListenerReport::Failed { cause, attempt })) = report else {
                    panic!("{report:?}")
                };
                let cause = cause.expect("a failed attempt has a cause");
                assert!(matches!(cause, SqlStoreError::NoConnection(_)), "{cause:?}");
                assert_eq!(attempt, expected);
            }
            cluster.start();
            let heard = timeout(PATIENCE, changes.recv()).await;
            assert_eq!(heard.expect("the listener does not connect"), Some(Change::Everything));
            // Attempts failed until the server had started.
            while let Some(report) = reports.recv().await {
                match report {
                    ListenerReport::Listening => break,
                    report => {
                        assert!(matches!(report, ListenerReport::Failed { .. }), "{report:?}")
                    }
                }
            }
            cluster.kill();
            let heard = timeout(PATIENCE, changes.recv()).await;
            assert_eq!(
                heard.expect("the listener does not notice the lost connection"),
                Some(Change::Everything)
            );
            let report = reports.recv().await;
            assert!(matches!(report, Some(ListenerReport::Lost { .. })), "{report:?}");
        }
        task.abort();
    });
}

/// A firewall that dropped the connection state: neither side is notified.
#[test]
fn a_silent_connection_is_replaced() {
    OnTokio.block_on(async {
        let cluster = match postgres::Cluster::new() {
            Ok(cluster) => cluster,
            Err(reason) => return postgres::not_run("a_silent_connection_is_replaced", &reason),
        };
        cluster.start();
        let store = connect(&cluster.options()).await;
        store.migrate().await.unwrap();
        let (asked, mut pauses) = unbounded_channel();
        let pause = move |length| {
            let (over, is_over) = oneshot::channel();
            asked.send((length, over)).unwrap();
            async move { is_over.await.unwrap() }
        };
        let mut heard = Heard::pausing(&cluster.options(), pause).await;
        let pid = sqlx::query("SELECT pid FROM pg_stat_activity WHERE application_name = $1");
        let pid = pid.bind(LISTENER).fetch_one(store.pool()).await.unwrap();
        let signal = |name: &str| {
            let status =
                Command::new("kill").args([name, &pid.get::<i32, _>(0).to_string()]).status();
            assert!(status.unwrap().success());
        };
        signal("-STOP");
        let (record, _) = issue("owner", NOW);
        store.insert(record.clone()).await.unwrap();
        // Silence for this time, and then no response for this time.
        let silence = ChangeListener::LONGEST_SILENCE;
        for expected in [silence, silence, ChangeListener::FIRST_PAUSE] {
            let over = loop {
                let next = timeout(PATIENCE, pauses.recv()).await;
                let (length, over): (_, oneshot::Sender<()>) = next.unwrap().unwrap();
                // The awaited event came first, as the connection did.
                if over.is_closed() {
                    continue;
                }
                assert_eq!(length, expected);
                break over;
            };
            assert!(
                expected != silence || heard.changes.is_empty(),
                "the connection was replaced too early"
            );
            over.send(()).unwrap();
        }
        // One invalidation when the connection is closed, one when there is a new one.
        for _ in 0..2 {
            assert_eq!(heard.next().await, Change::Everything);
        }
        store.replace(record.revoke(NOW).unwrap()).await.unwrap();
        let told = heard.before_mark(&store, "mark").await;
        assert_eq!(keys(&told).unwrap().0, [record.id()]);
        signal("-CONT");
    });
}
