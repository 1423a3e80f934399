//! The limiters over real servers: what happens when these are slow, stopped, killed, promoted,
//! full, or in a cluster.

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyward::{
    Limiter, ManualClock, Quotas, Timestamp,
    limit::{ChargeError, LimitKey},
};
use keyward_redis::{
    BootClock, DecidedBy, Fallback, Gone, LeaseConfig, LeasedLimiter, NodeClock, RedisLimiter,
    RemoteDecision, RemoteError, RemoteNames, ServerWarning,
};
use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use support::{Server, pause, servers, traffic::quota_of};
use tokio::time::sleep;

const KEY: [u8; 16] = [7; 16];

fn key() -> LimitKey {
    LimitKey::key(KEY)
}

fn minute(limit: u32) -> Quotas {
    Quotas::from(quota_of(limit, 60_000))
}

/// Some instant: the server's clock decides.
fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_800_000_000)
}

/// A clock that stands there.
fn clock() -> ManualClock {
    ManualClock::new(now())
}

/// How long to wait for what must come: far longer than any machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

async fn manager(server: &Server) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(None)
        .set_max_delay(Duration::from_millis(50));
    server.client().get_connection_manager_with_config(config).await.unwrap()
}

/// Waits for its server, however busy the machine is.
async fn limiter(server: &Server) -> RedisLimiter<ConnectionManager> {
    RedisLimiter::new(manager(server).await, Fallback::Refuse, sleep).with_timeout(PATIENCE)
}

/// How many of so many are admitted; all must be decided.
async fn admitted<C>(limiter: &RedisLimiter<C>, quotas: &Quotas, asked: u32, now: Timestamp) -> u32
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    let mut admitted = 0;
    for _ in 0..asked {
        let charged = limiter.check(key(), quotas, 1, &ManualClock::new(now)).await.unwrap();
        assert_eq!(charged.by, DecidedBy::Server);
        admitted += u32::from(charged.decision.allowed);
    }
    admitted
}

/// The most that were certainly admitted within one window, of which each was admitted no earlier than
/// its first instant and no later than its second. The server counts in whole milliseconds, so a
/// window may look shorter by one from outside.
fn most_in_a_window(spent: &[(Duration, Duration)], window: Duration) -> usize {
    let window = window - Duration::from_millis(1);
    let within = |from: Duration| {
        spent.iter().filter(|(before, after)| *before >= from && *after < from + window).count()
    };
    spent.iter().map(|(before, _)| within(*before)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_clients_share_a_limit_whatever_their_clocks_say() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let (window, quotas) = (Duration::from_secs(1), Quotas::from(quota_of(100, 1_000)));
    let (mut tasks, all) = (Vec::new(), Arc::new(AtomicU64::new(0)));
    for skew in [-5_000_i64, 0, 5_000] {
        let (limiter, all) = (limiter(&server).await, Arc::clone(&all));
        tasks.push(tokio::spawn(async move {
            let (mut spent, start) = (Vec::new(), BootClock.now());
            // All are greedy, so each window is filled; until there were four.
            while all.load(Ordering::Relaxed) < 301 && BootClock.now() - start < PATIENCE {
                let before = BootClock.now();
                let millis = now().as_unix_millis() + before.as_millis() as u64;
                let at = Timestamp::from_unix_millis(millis.saturating_add_signed(skew));
                let charged =
                    limiter.check(key(), &quotas, 1, &ManualClock::new(at)).await.unwrap();
                assert_eq!(charged.by, DecidedBy::Server);
                let decision = charged.decision;
                // By the clock of whoever asked, and as long as he is told to wait.
                let ahead = decision.reset_at.saturating_since(at);
                assert!(!ahead.is_zero() && ahead <= window, "{decision:?} at {at:?}");
                assert_eq!(decision.retry_after, (!decision.allowed).then_some(ahead));
                if decision.allowed {
                    spent.push((before, BootClock.now()));
                    all.fetch_add(1, Ordering::Relaxed);
                } else {
                    sleep(Duration::from_millis(3)).await;
                }
            }
            spent
        }));
    }
    let mut spent = Vec::new();
    for task in tasks {
        spent.extend(task.await.unwrap());
    }
    assert!(spent.len() > 300, "{}", spent.len());
    assert!(most_in_a_window(&spent, window) <= 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_the_scripts_is_not_noticed() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let one = limiter(&server).await;
    let mut connection = server.connection();
    let mut all = 0;
    for _ in 0..20 {
        all += admitted(&one, &minute(100), 7, now()).await;
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut connection).unwrap();
    }
    assert_eq!(all, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peek_refund_reset_and_costs() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let limiter = limiter(&server).await;
    let quotas = minute(10);
    let limits = [(key(), &quotas)];
    let (charged, receipt) = limiter.admit_all(&limits, 4, &clock()).await.unwrap();
    assert_eq!((charged.decision.allowed, charged.decision.remaining), (true, 6));
    let peeked = limiter.peek(key(), &quotas, 6, &clock()).await.unwrap().decision;
    assert!(peeked.allowed && peeked.remaining == 0);
    let refused = limiter.peek(key(), &quotas, 7, &clock()).await.unwrap().decision;
    assert!(!refused.allowed && refused.remaining == 6);
    assert!(refused.retry_after.unwrap() <= Duration::from_secs(60));
    assert!(limiter.refund(receipt.unwrap()).await.unwrap());
    assert_eq!(limiter.peek(key(), &quotas, 1, &clock()).await.unwrap().decision.remaining, 9);
    assert_eq!(admitted(&limiter, &quotas, 12, now()).await, 10);
    assert!(limiter.reset(key()).await.unwrap());
    assert!(!limiter.reset(key()).await.unwrap());
    assert_eq!(admitted(&limiter, &quotas, 12, now()).await, 10);
    let above = limiter.check(key(), &quotas, 11, &clock()).await.unwrap_err();
    assert!(matches!(above, RemoteError::Charge(ChargeError::AboveLimit { .. })));
    // Several limits, all or nothing, and the one that binds.
    let (small, large) = (minute(1), minute(5));
    let both = [(LimitKey::owner("a"), &large), (LimitKey::owner("b"), &small)];
    let first = limiter.check_all(&both, 1, &clock()).await.unwrap().decision;
    assert_eq!((first.allowed, first.position, first.remaining), (true, 1, 0));
    let second = limiter.check_all(&both, 1, &clock()).await.unwrap().decision;
    assert_eq!((second.allowed, second.position), (false, 1));
    let untouched = limiter.peek(LimitKey::owner("a"), &large, 1, &clock()).await.unwrap().decision;
    assert_eq!(untouched.remaining, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_uses_nothing() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let limiter = limiter(&server).await;
    let quotas = Quotas::new(&[quota_of(3, 60_000), quota_of(10, 86_400_000)]).unwrap();
    for used in 0..=3 {
        for _ in 0..2 {
            let [minute, day] = limiter.status(key(), &quotas, &clock()).await.unwrap()[..] else {
                panic!("one for each window")
            };
            assert_eq!((minute.quota, day.quota), (quotas.as_slice()[0], quotas.as_slice()[1]));
            assert_eq!((minute.used, minute.remaining), (used, 3 - used));
            assert_eq!((day.used, day.remaining), (used, 10 - used));
            // By the clock of whoever asks.
            let ahead = minute.reset_at.saturating_since(now());
            assert_eq!(ahead.is_zero(), used == 0, "{ahead:?}");
            assert!(ahead <= Duration::from_secs(60), "{ahead:?}");
        }
        let decision = limiter.check(key(), &quotas, 1, &clock()).await.unwrap().decision;
        assert_eq!(decision.allowed, used < 3);
    }
    let lowered = limiter.status(key(), &minute(2), &clock()).await.unwrap();
    assert_eq!((lowered[0].used, lowered[0].remaining), (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_expire_when_nothing_counts() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let limiter = limiter(&server).await;
    let quotas = Quotas::from(quota_of(3, 40_000));
    let mut connection = server.connection();
    assert_eq!(admitted(&limiter, &quotas, 5, now()).await, 3);
    let name = RemoteNames::new("keyward").of(&key());
    let left: i64 = redis::cmd("PTTL").arg(&name).query(&mut connection).unwrap();
    assert!((1..=42_500).contains(&left), "{left}");
    // A longer window begins with what is there, and lies beside it.
    let longer = Quotas::from(quota_of(3, 600_000));
    assert_eq!(admitted(&limiter, &longer, 1, now()).await, 0);
    // What names it lives as long, also when the first window is used again.
    assert_eq!(admitted(&limiter, &Quotas::from(quota_of(4, 40_000)), 2, now()).await, 1);
    for suffix in ["", ":windows", ":600000"] {
        let name = [&name[..], suffix.as_bytes()].concat();
        let left: i64 = redis::cmd("PTTL").arg(&name).query(&mut connection).unwrap();
        assert!((500_000..=637_500).contains(&left), "{suffix}: {left}");
    }
    limiter.reset(key()).await.unwrap();
    let short = Quotas::from(quota_of(3, 400));
    assert!(admitted(&limiter, &short, 1, now()).await == 1);
    let gone = (0..6_000).any(|_| {
        pause(Duration::from_millis(20));
        let there: i64 = redis::cmd("EXISTS").arg(&name).query(&mut connection).unwrap();
        there == 0
    });
    assert!(gone);
    assert_eq!(admitted(&limiter, &quotas, 5, now()).await, 3);
}

/// A rolling deployment: the old processes go on with their limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_with_other_windows_forget_nothing() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let (old, new) = (limiter(&server).await, limiter(&server).await);
    let (hour, second) = (Quotas::from(quota_of(10, 3_600_000)), Quotas::from(quota_of(20, 1_000)));
    let mut hourly = 0;
    for _ in 0..60 {
        hourly += admitted(&old, &hour, 3, now()).await;
        admitted(&new, &second, 1, now()).await;
    }
    assert_eq!(hourly, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ninth_live_window_is_an_error() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let limiter = limiter(&server).await;
    let hours = |hours: u64| Quotas::from(quota_of(10, hours * 3_600_000));
    for window in 1..=8 {
        admitted(&limiter, &hours(window), 1, now()).await;
    }
    let refused = RemoteError::TooManyWindows { position: 0 };
    assert_eq!(limiter.check(key(), &hours(9), 1, &clock()).await, Err(refused));
    assert_eq!(limiter.peek(key(), &hours(9), 1, &clock()).await, Err(refused));
    // It is no failure of the server, which no fallback mends.
    let open = RedisLimiter::new(manager(&server).await, Fallback::AllowUnlimited, sleep);
    assert_eq!(open.check(key(), &hours(9), 1, &clock()).await, Err(refused));
    let leased = LeasedLimiter::new(open, LeaseConfig::new(Duration::from_secs(1)));
    assert_eq!(leased.check(key(), &hours(9), 1, &clock()).await, Err(refused));
    assert!(limiter.reset(key()).await.unwrap());
    assert_eq!(admitted(&limiter, &hours(9), 12, now()).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_refuses_and_comes_back() {
    if !servers() {
        return;
    }
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let limiter = limiter(&server).await.with_circuit(3, Duration::from_millis(100));
    assert_eq!(admitted(&limiter, &minute(100), 30, now()).await, 30);
    server.kill();
    let mut gone = Vec::new();
    for step in 0..8 {
        let at = now() + Duration::from_millis(step);
        gone.push(limiter.check(key(), &minute(100), 1, &ManualClock::new(at)).await.unwrap_err());
    }
    assert!(gone.iter().all(|error| matches!(error, RemoteError::Gone(_))), "{gone:?}");
    // The circuit spares the others the wait.
    assert_eq!(gone[7], RemoteError::Gone(Gone::CircuitOpen));
    server.revive();
    let mut at = now();
    let mut all = 30;
    let began = BootClock.now();
    let mut refused = false;
    while !refused && BootClock.now() - began < PATIENCE {
        at = at + Duration::from_millis(200);
        // The circuit is closed again, or it is not yet.
        match limiter.check(key(), &minute(100), 1, &ManualClock::new(at)).await {
            Ok(charged) if charged.decision.allowed => all += 1,
            Ok(_) => refused = true,
            Err(_) => pause(Duration::from_millis(5)),
        }
    }
    assert!(refused, "it does not come back");
    // What was on disk counts. Requests that failed may have been counted.
    assert!((92..=100).contains(&all), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_is_waited_for_no_longer_than_told() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let timeout = Duration::from_millis(100);
    // By its own account it waits once, and for so long.
    let waits = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&waits);
    let timer = move |length| {
        told.lock().unwrap().push(length);
        sleep(length)
    };
    let strict = RedisLimiter::new(manager(&server).await, Fallback::Refuse, timer);
    let strict = strict.with_timeout(timeout).with_circuit(100, Duration::ZERO);
    let nodes = 4;
    let share = Fallback::local_share(nodes, Limiter::new(Default::default(), [1; 16]));
    let sharing = RedisLimiter::new(manager(&server).await, share, sleep).with_timeout(timeout);
    let open = RedisLimiter::new(manager(&server).await, Fallback::AllowUnlimited, sleep);
    let open = open.with_timeout(timeout);
    server.signal("-STOP");
    let hundred = minute(100);
    let here = clock();
    let waiting = tokio::time::timeout(PATIENCE, strict.check(key(), &hundred, 1, &here));
    let error = waiting.await.expect("it waits on").unwrap_err();
    assert_eq!(error, RemoteError::Gone(Gone::Timeout));
    assert_eq!(*waits.lock().unwrap(), [timeout]);
    let mut shared = 0;
    for _ in 0..40 {
        let charged = sharing.check(key(), &minute(100), 1, &clock()).await.unwrap();
        assert!(matches!(charged.by, DecidedBy::LocalShare(_)));
        shared += u32::from(charged.decision.allowed);
    }
    assert_eq!(shared, 25);
    for _ in 0..120 {
        let charged = open.check(key(), &minute(100), 1, &clock()).await.unwrap();
        assert!(charged.decision.allowed && matches!(charged.by, DecidedBy::Nobody(_)));
    }
    server.signal("-CONT");
    // It comes back without a restart, at one of the circuit's next tries: on a busy machine an
    // answer can take longer than told.
    let (began, mut later, mut by_server) = (BootClock.now(), now(), false);
    while !by_server && BootClock.now() - began < PATIENCE {
        later = later + Duration::from_secs(5);
        let charged =
            sharing.check(key(), &minute(100), 1, &ManualClock::new(later)).await.unwrap();
        by_server = charged.by == DecidedBy::Server;
    }
    assert!(by_server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_told_apart_and_repeats_nothing() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let mut connection = server.connection();
    let limiter = limiter(&server).await;
    assert_eq!(limiter.inspect().await.unwrap().warnings(), []);
    let config = |name: &str, value: &str, connection: &mut redis::Connection| {
        let mut command = redis::cmd("CONFIG");
        let _: () = command.arg("SET").arg(name).arg(value).query(connection).unwrap();
    };
    config("maxmemory-policy", "allkeys-lru", &mut connection);
    let report = limiter.inspect().await.unwrap();
    let policy = "allkeys-lru".to_owned();
    assert_eq!(report.warnings(), [ServerWarning::MayEvict { policy }]);
    config("maxmemory-policy", "noeviction", &mut connection);
    config("maxmemory", "1", &mut connection);
    let full = limiter.check(key(), &minute(9), 1, &clock()).await.unwrap_err();
    assert_eq!(full, RemoteError::Gone(Gone::OutOfMemory));
    let confirmed = limiter.clone().with_confirmation(1, Duration::from_millis(50));
    let full = confirmed.check(key(), &minute(9), 1, &clock()).await.unwrap_err();
    assert_eq!(full, RemoteError::Gone(Gone::OutOfMemory), "the error stands before the count");
    config("maxmemory", "0", &mut connection);
    let charged = limiter.check(LimitKey::owner("a"), &minute(9), 1, &clock()).await.unwrap();
    assert_eq!((charged.by, charged.decision.remaining), (DecidedBy::Server, 8));
    // Somebody else's value under the limit's name.
    let name = RemoteNames::new("keyward").of(&key());
    let _: () = redis::cmd("LPUSH").arg(&name).arg("x").query(&mut connection).unwrap();
    let foreign = limiter.check(key(), &minute(9), 1, &clock()).await.unwrap_err();
    assert_eq!(foreign, RemoteError::Reply);
    let _: () = redis::cmd("SET").arg(&name).arg("canary-value").query(&mut connection).unwrap();
    let foreign = limiter.check(key(), &minute(9), 1, &clock()).await.unwrap_err();
    assert_eq!(foreign, RemoteError::Reply);
    // A user who may not, whose name and password are told nowhere: not run a script at all, not read
    // or write within it, or not use these keys.
    for rights in [
        "+info ~*",
        "+evalsha +eval +info +time ~*",
        "+evalsha +eval +info +time +getrange ~*",
        "+evalsha +eval +info +time +getrange ~other:*",
        "+@all ~other:*",
        "+@all %R~*",
        "+@all %W~*",
    ] {
        let poor =
            user(&server, &format!("ACL SETUSER canary-user on >canary-password {rights}")).await;
        let error = poor.check(LimitKey::owner("b"), &minute(9), 1, &clock()).await.unwrap_err();
        assert_eq!(error, RemoteError::NotPermitted, "{rights}");
        let both = Quotas::new(&[quota_of(9, 1_000), quota_of(9, 2_000)]).unwrap();
        let error = poor.check(LimitKey::owner("b"), &both, 1, &clock()).await.unwrap_err();
        assert_eq!(error, RemoteError::NotPermitted, "{rights}");
        let told = format!("{error} {error:?} {foreign} {foreign:?} {poor:?}");
        assert!(!told.contains("canary"), "{told}");
    }
}

/// A limiter of this new user, whatever the fallback would admit.
async fn user(server: &Server, line: &str) -> RedisLimiter<ConnectionManager> {
    let mut connection = server.connection();
    let mut acl = redis::cmd("ACL");
    acl.arg("DELUSER").arg("canary-user");
    let _: u32 = acl.query(&mut connection).unwrap();
    let mut words = line.split_whitespace();
    let mut acl = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        acl.arg(word);
    });
    let _: () = acl.query(&mut connection).unwrap();
    let url = format!("redis://canary-user:canary-password@127.0.0.1:{}/", server.port);
    let client = redis::Client::open(url).unwrap();
    let manager = client.get_connection_manager().await.unwrap();
    RedisLimiter::new(manager, Fallback::AllowUnlimited, sleep).with_timeout(PATIENCE)
}

/// The line of the README permits all that the limiter does, and each command in it is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_in_the_readme_are_enough_and_all_needed() {
    if !servers() {
        return;
    }
    let readme = include_str!("../README.md");
    let line = readme.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
    let line = line.replace("SETUSER limiter", "SETUSER canary-user");
    let line = line.replace(">a-long-password", ">canary-password");
    let server = Server::start(&[]);
    let all = exercise(&user(&server, &line).await, 0).await;
    assert_eq!(all, Ok(()), "{line}");
    let commands: Vec<&str> = line.split_whitespace().filter(|it| it.starts_with('+')).collect();
    assert!(commands.len() > 5, "{line}");
    for (number, command) in commands.iter().enumerate() {
        // The server knows the script by now, and is to be sent its text.
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut server.connection()).unwrap();
        let words = line.split_whitespace().filter(|word| word != command);
        let less = words.collect::<Vec<_>>().join(" ");
        let error = exercise(&user(&server, &less).await, 1 + number as u8).await;
        assert_eq!(error, Err(RemoteError::NotPermitted), "without {command}");
    }
}

/// Everything that a limiter asks of a server.
async fn exercise(
    limiter: &RedisLimiter<ConnectionManager>,
    number: u8,
) -> Result<(), RemoteError> {
    let key = LimitKey::key([number; 16]);
    let names = RemoteNames::new("keyward");
    let limiter = limiter.clone().with_names(names);
    limiter.inspect().await?;
    let _ = limiter.clone().close_after_new_primary().check(key, &minute(9), 1, &clock()).await?;
    let lengths = |lengths: std::ops::RangeInclusive<u64>| {
        let all: Vec<_> = lengths.map(|seconds| quota_of(300, seconds * 1_000)).collect();
        Quotas::new(&all).unwrap()
    };
    let limits = [(key, &lengths(1..=4))];
    let (_, receipt) = limiter.admit_all(&limits, 2, &clock()).await?;
    limiter.refund(receipt.unwrap()).await?;
    // Strings that are long, so that they are written in part.
    for _ in 0..200 {
        let _ = limiter.check(key, &minute(10_000), 1, &clock()).await?;
        pause(Duration::from_millis(1));
    }
    let _ = limiter.status(key, &lengths(1..=4), &clock()).await?;
    let leased = LeasedLimiter::new(limiter.clone(), LeaseConfig::new(Duration::from_secs(1)));
    for _ in 0..5 {
        let _ = leased.check(key, &minute(10_000), 1, &clock()).await?;
    }
    leased.give_back().await;
    let confirmed = limiter.clone().with_confirmation(1, Duration::ZERO);
    let error = confirmed.check(key, &minute(10_000), 1, &clock()).await.unwrap_err();
    if !matches!(error, RemoteError::NotReplicated { .. }) {
        return Err(error);
    }
    limiter.reset(key).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_has_lost_what_it_was_not_told() {
    if !servers() {
        return;
    }
    // The unguarded limiter admits more: by what was admitted after the replica was cut off.
    let (old, new, limiters) = failover().await;
    let (before, after) = limiters;
    assert_eq!(admitted(&before, &minute(100), 40, now()).await, 40);
    in_step(&old, &new);
    promote(&new);
    assert_eq!(admitted(&before, &minute(100), 80, now()).await, 60);
    assert_eq!(
        admitted(&after, &minute(100), 80, now()).await,
        60,
        "60 are lost, and admitted again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_admissions_survive_a_failover() {
    if !servers() {
        return;
    }
    let (old, new, (before, after)) = failover().await;
    let confirmed = before.clone().with_confirmation(1, PATIENCE);
    assert_eq!(admitted(&confirmed, &minute(100), 40, now()).await, 40);
    promote(&new);
    let unconfirmed = before.with_confirmation(1, Duration::from_millis(200));
    let error = unconfirmed.check(key(), &minute(100), 1, &clock()).await.unwrap_err();
    assert_eq!(error, RemoteError::NotReplicated { confirmed: 0, wanted: 1 });
    assert_eq!(admitted(&after, &minute(100), 80, now()).await, 60);
    drop(old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_primary_is_closed_for_one_window() {
    if !servers() {
        return;
    }
    let window = Duration::from_millis(1_500);
    let quotas = Quotas::from(quota_of(100, 1_500));
    let (mut old, new, (before, after)) = failover().await;
    let (before, after) = (before.close_after_new_primary(), after.close_after_new_primary());
    // The first primary is new, too.
    let closed = before.check(key(), &quotas, 1, &clock()).await.unwrap().decision;
    assert!(!closed.allowed && closed.retry_after.unwrap() <= window + window / 4);
    pause(closed.retry_after.unwrap());
    let mut spent = Vec::new();
    let mut spend = async |limiter: &RedisLimiter<ConnectionManager>| {
        let from = BootClock.now();
        let charged = limiter.check(key(), &quotas, 1, &clock()).await.unwrap();
        assert_eq!(charged.by, DecidedBy::Server);
        if charged.decision.allowed {
            spent.push((from, BootClock.now()));
        }
        charged.decision.allowed
    };
    // On a busy machine the window is over before as many were asked for, and there are more.
    for _ in 0..40 {
        spend(&before).await;
    }
    in_step(&old, &new);
    promote(&new);
    let last = BootClock.now();
    let mut more = 0;
    for _ in 0..80 {
        more += u32::from(spend(&before).await);
    }
    assert!(more >= 60, "{more}");
    old.kill();
    let first = loop {
        let from = BootClock.now();
        assert!(from - last < PATIENCE, "it stays closed");
        if spend(&after).await {
            break BootClock.now();
        }
        pause(Duration::from_millis(10));
    };
    assert!(first - last >= window, "somebody was admitted within the window");
    let mut anew = 1;
    for _ in 0..120 {
        anew += u32::from(spend(&after).await);
    }
    assert!(anew >= 100, "{anew}");
    assert!(most_in_a_window(&spent, window) <= 100);
}

/// A primary with a replica that follows it, and a limiter over each.
async fn failover()
-> (Server, Server, (RedisLimiter<ConnectionManager>, RedisLimiter<ConnectionManager>)) {
    let old = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let new = Server::start(&[]);
    let mut connection = new.connection();
    let mut command = redis::cmd("REPLICAOF");
    let _: () = command.arg("127.0.0.1").arg(old.port).query(&mut connection).unwrap();
    let linked = (0..1_000).any(|_| {
        pause(Duration::from_millis(20));
        let info: String = redis::cmd("INFO").arg("replication").query(&mut connection).unwrap();
        info.contains("master_link_status:up")
    });
    assert!(linked);
    let limiters = (limiter(&old).await, limiter(&new).await);
    (old, new, limiters)
}

/// Waits until the replica knows what the primary has admitted.
fn in_step(old: &Server, new: &Server) {
    let offset = |server: &Server, name: &str| -> Option<String> {
        let mut connection = server.connection();
        let info: String = redis::cmd("INFO").arg("replication").query(&mut connection).unwrap();
        info.lines().find_map(|line| line.strip_prefix(name)).map(ToOwned::to_owned)
    };
    let same = (0..1_000).any(|_| {
        pause(Duration::from_millis(5));
        offset(old, "master_repl_offset:") == offset(new, "slave_repl_offset:")
    });
    assert!(same);
}

/// A replica is promoted while the name of the primary moves to it. The old primary, by then a
/// replica, is left without a restart, and the limit holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_primary_is_left() {
    if !servers() {
        return;
    }
    let (old, new, (before, _)) = failover().await;
    // The name is a port that a test can set.
    let name = Arc::new(AtomicU64::new(old.port.into()));
    let (opened, stays) = (Arc::new(AtomicU64::new(0)), before.clone());
    let counted = Arc::clone(&opened);
    let resolved = Arc::clone(&name);
    let limiter = before.with_reconnect(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let port = resolved.load(Ordering::Relaxed);
        async move {
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
            client.get_connection_manager().await
        }
    });
    let limiter = limiter.with_circuit(1_000, Duration::ZERO);
    let clone = limiter.clone();
    assert_eq!(admitted(&limiter, &minute(100), 40, now()).await, 40);
    in_step(&old, &new);
    promote(&new);
    let mut connection = old.connection();
    let mut command = redis::cmd("REPLICAOF");
    let _: () = command.arg("127.0.0.1").arg(new.port).query(&mut connection).unwrap();
    // The name still leads to the old one: another connection is opened, and it is as bad.
    let readonly = RemoteError::Gone(Gone::ReadOnly);
    assert_eq!(limiter.check(key(), &minute(100), 1, &clock()).await, Err(readonly));
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    // The name moves while requests come: from then on each is decided.
    let (limiter, quotas) = (Arc::new(limiter), minute(100));
    let mut tasks = Vec::new();
    for task in 0..4 {
        if task == 1 {
            name.store(new.port.into(), Ordering::Relaxed);
        }
        let limiter = Arc::clone(&limiter);
        tasks.push(tokio::spawn(async move {
            let (mut admitted, mut decided) = (0, 0);
            let began = BootClock.now();
            while decided < 30 && BootClock.now() - began < PATIENCE {
                match limiter.check(key(), &quotas, 1, &clock()).await {
                    Ok(charged) => {
                        assert_eq!(charged.by, DecidedBy::Server);
                        decided += 1;
                        admitted += u32::from(charged.decision.allowed);
                    }
                    Err(error) => assert_eq!(error, readonly),
                }
            }
            assert_eq!(decided, 30);
            admitted
        }));
    }
    let mut all = 40;
    for task in tasks {
        all += task.await.unwrap();
    }
    assert_eq!(all, 100, "what the old one had replicated counts");
    // Clones use the new connection, and nobody opens another.
    let until_now = opened.load(Ordering::Relaxed);
    assert_eq!(admitted(&clone, &minute(100), 3, now()).await, 0);
    assert_eq!(opened.load(Ordering::Relaxed), until_now);
    // The control: without the function it stays there.
    let other = stays.check(LimitKey::owner("other"), &minute(100), 1, &clock()).await;
    assert_eq!(other, Err(readonly));
}

fn promote(server: &Server) {
    let mut connection = server.connection();
    let _: () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query(&mut connection).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_each_limit_and_decides_several_where_they_lie_together() {
    if !servers() {
        return;
    }
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let bus = support::free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            (Server::start(&options), bus)
        })
        .collect();
    for (at, (node, _)) in nodes.iter().enumerate() {
        let mut connection = node.connection();
        let (from, to) = (at * 16_384 / 3, (at + 1) * 16_384 / 3 - 1);
        let mut slots = redis::cmd("CLUSTER");
        let _: () = slots.arg("ADDSLOTSRANGE").arg(from).arg(to).query(&mut connection).unwrap();
        let (first, bus) = &nodes[0];
        let mut meet = redis::cmd("CLUSTER");
        let _: () = meet
            .arg("MEET")
            .arg("127.0.0.1")
            .arg(first.port)
            .arg(bus)
            .query(&mut connection)
            .unwrap();
    }
    let whole = (0..2_000).any(|_| {
        pause(Duration::from_millis(20));
        nodes.iter().all(|(node, _)| {
            let info: String =
                redis::cmd("CLUSTER").arg("INFO").query(&mut node.connection()).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
    });
    assert!(whole);
    let urls = nodes.iter().map(|(node, _)| node.url());
    let client = redis::cluster::ClusterClientBuilder::new(urls).retries(0).build().unwrap();
    let connection = client.get_async_connection().await.unwrap();
    let limiter = RedisLimiter::new(connection, Fallback::Refuse, sleep);
    let quotas = minute(5);
    for number in 0..60_u8 {
        let mut admitted = 0;
        for _ in 0..7 {
            let charged =
                limiter.check(LimitKey::key([number; 16]), &quotas, 1, &clock()).await.unwrap();
            admitted += u32::from(charged.decision.allowed);
        }
        assert_eq!(admitted, 5);
    }
    let sizes: Vec<u32> = nodes
        .iter()
        .map(|(node, _)| redis::cmd("DBSIZE").query(&mut node.connection()).unwrap())
        .collect();
    assert!(sizes.iter().all(|&size| size > 5) && sizes.iter().sum::<u32>() == 60, "{sizes:?}");
    assert_eq!(limiter.inspect().await.unwrap().warnings(), []);
    let several: Vec<_> =
        (100..104_u8).map(|number| (LimitKey::key([number; 16]), &quotas)).collect();
    let apart = limiter.check_all(&several, 1, &clock()).await.unwrap_err();
    assert_eq!(apart, RemoteError::CrossSlot);
    let together = limiter.with_names(RemoteNames::new("keyward").with_tag("all"));
    assert!(together.check_all(&several, 1, &clock()).await.unwrap().decision.allowed);
    // All lengths of a limit, too, whose keys the script names: with the limit's own braces, and with
    // those of the tag.
    let lengths = Quotas::new(&[quota_of(3, 60_000), quota_of(9, 3_600_000)]).unwrap();
    let spread = together.clone().with_names(RemoteNames::new("spread"));
    for number in 0..30_u8 {
        let key = LimitKey::key([number; 16]);
        for limiter in [&spread, &together] {
            let mut admitted = 0;
            for _ in 0..5 {
                let charged = limiter.check(key, &lengths, 1, &clock()).await.unwrap();
                admitted += u32::from(charged.decision.allowed);
            }
            assert_eq!(admitted, 3);
            assert!(limiter.status(key, &minute(7), &clock()).await.unwrap()[0].used >= 3);
            assert!(limiter.reset(key).await.unwrap());
        }
    }
    let slot = |name: &[u8]| -> u16 {
        let mut connection = nodes[0].0.connection();
        redis::cmd("CLUSTER").arg("KEYSLOT").arg(name).query(&mut connection).unwrap()
    };
    let tagged = RemoteNames::new("keyward").with_tag("all");
    let slots: Vec<u16> = several.iter().map(|(key, _)| slot(&tagged.of(key))).collect();
    assert!(slots.iter().all(|&other| other == slots[0]), "{slots:?}");
    let name = RemoteNames::new("keyward").of(&key());
    for suffix in [&b":windows"[..], b":60000"] {
        assert_eq!(slot(&[&name, suffix].concat()), slot(&name));
    }
}

/// Three processes with leases, whose clocks have origins of their own: in any window no more than
/// the limit. A good part is decided without asking, or it goes on until it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_never_admit_more() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let quotas = Quotas::from(quota_of(1_000, 1_000));
    let (asked, all) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for skew in [0_u64, 5, 10] {
        let exact = limiter(&server).await;
        let origin = Duration::from_secs(skew);
        let node = move || BootClock.now() + origin;
        let config = LeaseConfig::new(Duration::from_millis(200)).with_divisor(3);
        let leased = LeasedLimiter::with_clock(exact, config, node);
        let asked = Arc::clone(&asked);
        let all = Arc::clone(&all);
        tasks.push(tokio::spawn(async move {
            let mut spent = Vec::new();
            let start = BootClock.now();
            let enough = || {
                let (all, asked) = (all.load(Ordering::Relaxed), asked.load(Ordering::Relaxed));
                all > 2_000 && asked < all / 2
            };
            while !enough() && BootClock.now() - start < PATIENCE {
                let before = BootClock.now();
                let charged = leased.check(key(), &quotas, 1, &clock()).await.unwrap();
                if charged.decision.allowed {
                    spent.push((before, BootClock.now()));
                    all.fetch_add(1, Ordering::Relaxed);
                }
                if charged.by == DecidedBy::Server {
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                sleep(Duration::from_millis(1)).await;
            }
            spent
        }));
    }
    let mut spent = Vec::new();
    for task in tasks {
        spent.extend(task.await.unwrap());
    }
    let most = most_in_a_window(&spent, Duration::from_secs(1));
    let asked = asked.load(Ordering::Relaxed);
    println!("{} admitted, {most} within a window, {asked} decided by the server", spent.len());
    assert!(most <= 1_000 && spent.len() > 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unspent_is_given_back() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let exact = limiter(&server).await;
    let leased = LeasedLimiter::new(exact.clone(), LeaseConfig::new(Duration::from_secs(10)));
    let mut by_lease = 0;
    for _ in 0..20 {
        let charged = leased.check(key(), &minute(1_000), 1, &clock()).await.unwrap();
        by_lease += u32::from(charged.by == DecidedBy::Lease);
    }
    assert!(by_lease >= 10, "{by_lease}");
    let before = exact.peek(key(), &minute(1_000), 1, &clock()).await.unwrap().decision.remaining;
    let given = leased.give_back().await;
    let after = exact.peek(key(), &minute(1_000), 1, &clock()).await.unwrap().decision.remaining;
    assert_eq!(u64::from(after - before), given);
    assert_eq!(after, 1_000 - 20 - 1);
    assert_eq!(leased.give_back().await, 0);
}

/// A future that is dropped neither blocks the next lease nor admits more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_futures_cost_nothing_but_capacity() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let exact: RedisLimiter<MultiplexedConnection> = RedisLimiter::new(
        server.client().get_multiplexed_async_connection().await.unwrap(),
        Fallback::Refuse,
        sleep,
    );
    let leased = LeasedLimiter::new(exact, LeaseConfig::new(Duration::from_secs(10)));
    let (quotas, here) = (minute(100), clock());
    let mut admitted = 0;
    for round in 0..300 {
        let mut check = Box::pin(leased.check(key(), &quotas, 1, &here));
        if round % 3 == 0 {
            // Polled once, so it is sent or decided, and then dropped.
            let once = std::future::poll_fn(|context| {
                std::task::Poll::Ready(check.as_mut().poll(context))
            });
            if let std::task::Poll::Ready(charged) = once.await {
                admitted += u32::from(charged.unwrap().decision.allowed);
            }
        } else {
            admitted += u32::from(check.await.unwrap().decision.allowed);
        }
    }
    assert!((1..=100).contains(&admitted), "{admitted}");
}

/// Wherever the clocks of server and process stand: `now()` is years before the server's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_decisions_are_told_by_the_clock_of_whoever_asks() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let config = LeaseConfig::new(Duration::from_secs(10));
    let leased = LeasedLimiter::new(limiter(&server).await, config);
    let (quotas, mut seen) = (minute(40), [0; 4]);
    for skew in [0, 40 * 365 * 86_400] {
        let at = now().saturating_add(Duration::from_secs(skew));
        for _ in 0..60 {
            let RemoteDecision { decision, by, .. } =
                leased.check(key(), &quotas, 1, &ManualClock::new(at)).await.unwrap();
            let ahead = decision.reset_at.saturating_since(at);
            let most = Duration::from_secs(60 + 10);
            assert!(!ahead.is_zero() && ahead <= most, "{decision:?} by {by:?} at {at:?}");
            let local = usize::from(by == DecidedBy::Lease);
            seen[2 * usize::from(decision.allowed) + local] += 1;
        }
        assert!(leased.reset(key()).await.unwrap());
    }
    assert!(seen.iter().all(|&count| count > 0), "refused and admitted, there and here: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_forfeits_what_this_process_holds() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let exact = limiter(&server).await;
    let leased = LeasedLimiter::new(exact.clone(), LeaseConfig::new(Duration::from_secs(10)));
    let other = LimitKey::owner("another");
    for round in 1..=3 {
        // Twice the limit: by then it is spent, and a refusal is remembered.
        let mut admitted = 0;
        for _ in 0..80 {
            let charged = leased.check(key(), &minute(40), 1, &clock()).await.unwrap();
            admitted += u32::from(charged.decision.allowed);
            let _both = leased.check(other, &minute(1_000), 1, &clock()).await.unwrap();
        }
        assert_eq!(admitted, 40, "round {round}");
        assert!(leased.reset(key()).await.unwrap());
        let left = exact.peek(key(), &minute(40), 1, &clock()).await.unwrap().decision.remaining;
        assert_eq!(left, 39, "round {round}");
    }
    assert!(!leased.reset(key()).await.unwrap(), "nothing was counted");
    // What is held is forfeited, not spent beside what the server counts anew.
    let held = leased.check(other, &minute(1_000), 1, &clock()).await.unwrap();
    assert!(leased.reset(other).await.unwrap());
    let anew = leased.check(other, &minute(1_000), 1, &clock()).await.unwrap();
    assert_eq!((held.by, anew.by), (DecidedBy::Lease, DecidedBy::Server));
}

/// The most within a window when a replica takes over while permits are leased which it was not
/// told of, and which the process that has them goes on spending.
async fn leased_across_a_failover(window: Duration, closed: bool) -> usize {
    let quotas = Quotas::from(quota_of(100, window.as_millis() as u64));
    let (mut old, new, (before, after)) = failover().await;
    let leased = |exact: RedisLimiter<ConnectionManager>| {
        let exact = if closed { exact.close_after_new_primary() } else { exact };
        LeasedLimiter::new(exact, LeaseConfig::new(window))
    };
    let (before, after) = (leased(before), leased(after));
    let mut spent = Vec::new();
    let mut spend = async |limiter: &LeasedLimiter<ConnectionManager>| {
        let from = BootClock.now();
        // A server that is gone admits nothing.
        let charged = limiter.check(key(), &quotas, 1, &clock()).await;
        let allowed = charged.is_ok_and(|charged| charged.decision.allowed);
        if allowed {
            spent.push((from, BootClock.now()));
        }
        (allowed, spent.len())
    };
    // The first primary is new, too.
    while spend(&before).await.1 < 20 {
        pause(Duration::from_millis(1));
    }
    in_step(&old, &new);
    promote(&new);
    while spend(&before).await.1 < 60 {
        pause(Duration::from_millis(1));
    }
    old.kill();
    let (over, mut anew) = (BootClock.now(), 0);
    // With the 60 from before these are more than the limit; and where it is closed for a window,
    // what comes then is seen, too.
    let least = if closed { 2 * window + window / 2 } else { Duration::ZERO };
    let passed = || BootClock.now() - over;
    while (anew < 45 || passed() < least) && passed() < PATIENCE {
        spend(&before).await;
        anew += usize::from(spend(&after).await.0);
        pause(Duration::from_millis(1));
    }
    assert!(anew >= 45, "{anew}");
    let most = most_in_a_window(&spent, window);
    println!("closed {closed}: {} admitted, {most} within a window", spent.len());
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_a_lost_primary_are_waited_for() {
    if !servers() {
        return;
    }
    assert!(leased_across_a_failover(Duration::from_millis(1_200), true).await <= 100);
    // The control: what the new primary was not told of it grants again. No machine is so busy
    // that this window is over meanwhile.
    assert!(leased_across_a_failover(Duration::from_secs(600), false).await > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_milliseconds_for_confirmation_do_not_wait_for_ever() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let unconfirmed = limiter(&server).await.with_confirmation(1, Duration::ZERO);
    let error = unconfirmed.check(key(), &minute(9), 1, &clock()).await.unwrap_err();
    assert_eq!(error, RemoteError::NotReplicated { confirmed: 0, wanted: 1 });
}
