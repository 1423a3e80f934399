//! Two processes of the runnable service that share their limits in a real Redis: they admit
//! exactly 100 requests in total, and with leases never more.

mod support;

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use support::{
    http::{self, Request, Response},
    service::{Example, Service},
    time::{A_DAY, wait_for},
};

static LUCITRA: Example = Example::new("lucitra");

#[test]
fn two_processes_admit_exactly_100_requests_in_total() {
    let Some(redis) = Redis::start() else { return };
    let services = [(); 2].map(|()| start(&redis, &[]));
    assert_eq!(admitted(&services, 80), 100);
    // A refusal has the usual body, and its wait is that of the shared window.
    let refused = ask(&services[0]);
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.headers("retry-after")[0].parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert_eq!(refused.headers("x-ratelimit-remaining"), ["0"]);
}

#[test]
fn two_processes_with_leases_never_exceed_the_limit() {
    let Some(redis) = Redis::start() else { return };
    // A window longer than the test, so that no unused permit expires on a slow machine.
    let services = [(); 2].map(|()| start(&redis, &["--leases", "3600000"]));
    let all = admitted(&services, 130);
    // Permits held by an idle process are not available to the other.
    assert!((60..=100).contains(&all), "{all}");
    // A process returns its unused permits when it exits.
    let [one, other] = services;
    let (status, ..) = one.end_by("TERM");
    assert!(status.success());
    assert!(all + admitted(&[other], 60) <= 100);
}

#[test]
fn requests_fail_closed_without_redis_and_recover_with_it() {
    let Some(redis) = Redis::start() else { return };
    let service = start(&redis, &[]);
    assert_eq!(ask(&service).status, 200);
    let socket = redis.socket.clone();
    drop(redis);
    assert_eq!(ask(&service).status, 503);
    let _redis = Redis::start_at(socket);
    wait_for("Redis is found again", || ask(&service).status == 200);
}

#[test]
fn an_invalid_redis_address_is_not_printed() {
    let ended = LUCITRA.run(&["--redis", "canary://user:canary@nowhere"], &[]);
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success() && told.contains("--redis") && !told.contains("canary"),
        "{told}"
    );
}

fn start(redis: &Redis, more: &[&str]) -> Service {
    let url = format!("redis+unix://{}", redis.socket.display());
    let mut arguments = vec!["--redis", &url];
    arguments.extend(more);
    // On a busy machine Redis may respond later than the default of half a second.
    let patience = ("REDIS_MILLISECONDS", "60000");
    LUCITRA.start_with(&arguments, &[("DEMO_SEED", "20260101"), patience, A_DAY])
}

fn ask(service: &Service) -> Response {
    let key = format!("Bearer {}", service.given("api_key"));
    http::send(service.address(), Request::get("/v1/datasets").header("authorization", key))
}

/// Returns the number of admitted requests if each process receives this many, concurrently.
fn admitted(services: &[Service], times: u32) -> u32 {
    std::thread::scope(|scope| {
        let askers: Vec<_> = services
            .iter()
            .map(|service| {
                scope.spawn(move || {
                    (0..times)
                        .filter(|_| match ask(service).status {
                            200 => true,
                            429 => false,
                            other => panic!("{other}; {}", service.log()),
                        })
                        .count() as u32
                })
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    })
}

/// A private Redis server on a Unix socket, killed when it is dropped.
struct Redis {
    socket: PathBuf,
    child: Child,
}

impl Redis {
    /// Returns `None` and prints a message if redis-server is not installed. With
    /// `KEYWARD_REQUIRE_REDIS=1`, as in `.ci/run`, that is a failure.
    fn start() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keyward-{}-{count}.sock", std::process::id());
        let redis = Self::start_at(std::env::temp_dir().join(name));
        if redis.is_none() {
            let required = std::env::var("KEYWARD_REQUIRE_REDIS").is_ok_and(|text| text == "1");
            assert!(!required, "KEYWARD_REQUIRE_REDIS=1, but redis-server was not found");
            println!("NOT RUN: there is no redis-server (Debian's package of that name)");
        }
        redis
    }

    fn start_at(socket: PathBuf) -> Option<Self> {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket);
        let child = command.current_dir(std::env::temp_dir()).stdout(Stdio::null()).spawn().ok()?;
        let redis = Self { socket, child };
        wait_for("Redis listens", || UnixStream::connect(&redis.socket).is_ok());
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
        let _gone_already = std::fs::remove_file(&self.socket);
    }
}
