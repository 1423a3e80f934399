//! Replicas that are promoted, and primaries that are demoted.

use super::*;

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
    let hundred = Quotas::from(quota_of(100, 3_600_000));
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
    assert_eq!(admitted(&limiter, &hundred, 40, now()).await, 40);
    in_step(&old, &new);
    promote(&new);
    let mut connection = old.connection();
    let mut command = redis::cmd("REPLICAOF");
    let _: () = command.arg("127.0.0.1").arg(new.port).query(&mut connection).unwrap();
    // The name still leads to the old one: another connection is opened, and it is as bad.
    let readonly = RemoteError::Gone(Gone::ReadOnly);
    assert_eq!(limiter.check(key(), &hundred, 1, &clock()).await, Err(readonly));
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    // The name moves while requests come: from then on each is decided.
    let (limiter, quotas) = (Arc::new(limiter), hundred);
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
    assert_eq!(admitted(&clone, &hundred, 3, now()).await, 0);
    assert_eq!(opened.load(Ordering::Relaxed), until_now);
    // The control: without the function it stays there.
    let other = stays.check(LimitKey::owner("other"), &hundred, 1, &clock()).await;
    assert_eq!(other, Err(readonly));
}

fn promote(server: &Server) {
    let mut connection = server.connection();
    let _: () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query(&mut connection).unwrap();
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
