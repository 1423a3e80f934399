//! A cluster of three nodes.

use super::*;

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
