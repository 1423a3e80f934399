//! The exact mode: shared limits, windows, status, refunds, expiry.

use super::*;

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
