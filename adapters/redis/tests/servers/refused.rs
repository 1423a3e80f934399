//! What a server refuses: memory, foreign values, rights.

use super::*;

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
    let readme = include_str!("../../README.md");
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
