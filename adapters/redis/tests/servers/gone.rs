//! Servers that are killed, hang, or do not confirm.

use super::*;

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
async fn zero_milliseconds_for_confirmation_do_not_wait_for_ever() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let unconfirmed = limiter(&server).await.with_confirmation(1, Duration::ZERO);
    let error = unconfirmed.check(key(), &minute(9), 1, &clock()).await.unwrap_err();
    assert_eq!(error, RemoteError::NotReplicated { confirmed: 0, wanted: 1 });
}
