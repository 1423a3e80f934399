//! Leases over a real server.

use super::*;

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
