//! Windows of one limit on a real server, by a clock that the test sets: none forgets what another
//! counts, and none costs what another holds.

mod support;

use keyward::{
    Quota, Quotas,
    limit::{Decision, LimitKey},
    quota::Precision,
};
use keyward_redis::protocol::{RemoteCharge, RemoteCommand, RemoteNames, RemoteReplyError};
use support::{Server, script_with_given_clock, servers, traffic::quota_of};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// One limit on a server of its own.
struct Limit {
    _server: Server,
    connection: redis::Connection,
    sum: Vec<u8>,
    names: RemoteNames,
    now: u64,
}

impl Limit {
    fn new() -> Self {
        let server = Server::start(&[]);
        let mut connection = server.connection();
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script_with_given_clock());
        let sum = load.query(&mut connection).unwrap();
        let names = RemoteNames::new("w");
        Self { _server: server, connection, sum, names, now: 1_800_000_000_000 }
    }

    fn key() -> LimitKey {
        LimitKey::owner("a")
    }

    fn command(&self, command: &RemoteCommand) -> redis::Cmd {
        let mut parts = command.parts();
        parts[1].clone_from(&self.sum);
        parts.push((self.now / 1_000).to_string().into_bytes());
        parts.push((self.now % 1_000 * 1_000).to_string().into_bytes());
        let mut sent = redis::Cmd::new();
        for part in parts {
            sent.arg(part);
        }
        sent
    }

    fn send(&mut self, command: &RemoteCommand) -> Vec<u8> {
        self.command(command).query(&mut self.connection).unwrap()
    }

    fn try_take(&mut self, quotas: &Quotas, cost: u32) -> Result<Decision, RemoteReplyError> {
        let charge = RemoteCharge::new(&self.names, &[(Self::key(), quotas)], cost).unwrap();
        let reply = self.send(&charge.check());
        charge.read(&reply).map(|reply| reply.decision)
    }

    fn take(&mut self, quotas: &Quotas) -> Decision {
        self.try_take(quotas, 1).unwrap()
    }

    /// How many of so many are admitted.
    fn admitted(&mut self, quotas: &Quotas, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(self.take(quotas).allowed)).sum()
    }

    /// What counts, and what remains, in each window.
    fn status(&mut self, quotas: &Quotas) -> Vec<(u32, u32)> {
        let charge = RemoteCharge::new(&self.names, &[(Self::key(), quotas)], 1).unwrap();
        let reply = self.send(&charge.status());
        let status = charge.read_status(&reply).unwrap();
        status.limits[0].iter().map(|window| (window.used, window.remaining)).collect()
    }

    /// The number of commands that the script has sent so far.
    fn commands(&mut self) -> u64 {
        let info: String =
            redis::cmd("INFO").arg("commandstats").query(&mut self.connection).unwrap();
        let of_script = ["getrange", "get", "setrange", "set", "pexpire", "pttl", "del"];
        let calls = info.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            of_script.contains(&name).then(|| rest.split(',').next()?.parse::<u64>().ok())?
        });
        calls.sum()
    }

    fn dump(&mut self, name: &[u8]) -> Vec<u8> {
        redis::cmd("DUMP").arg(name).query(&mut self.connection).unwrap()
    }
}

fn one(limit: u32, window: u64) -> Quotas {
    Quotas::from(quota_of(limit, window))
}

fn two(one: Quota, other: Quota) -> Quotas {
    Quotas::new(&[one, other]).unwrap()
}

#[test]
fn ten_an_hour_beside_twenty_a_second_admits_ten_an_hour() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let (mut hourly, mut quickly) = (0, 0);
    for _ in 0..600 {
        hourly += limit.admitted(&one(10, HOUR), 12);
        quickly += limit.admitted(&one(20, SECOND), 1);
        limit.now += 2 * SECOND;
    }
    assert_eq!((hourly, quickly), (10, 600));
}

#[test]
fn five_a_minute_beside_ten_a_second_admits_five_a_minute() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let mut searches = 0;
    for _ in 0..20 {
        searches += limit.admitted(&one(5, MINUTE), 8);
        limit.admitted(&one(10, SECOND), 1);
        limit.now += 1_500;
    }
    assert_eq!(searches, 5);
}

#[test]
fn an_old_process_keeps_its_limit_while_new_ones_ask_a_shorter_window() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let mut old = limit.admitted(&one(10, HOUR), 4);
    // The new window begins with what the old one counts.
    assert_eq!(limit.status(&one(6, MINUTE)), [(4, 2)]);
    assert_eq!(limit.admitted(&one(6, MINUTE), 9), 2);
    for _ in 0..59 {
        old += limit.admitted(&one(10, HOUR), 3);
        limit.admitted(&one(6, MINUTE), 1);
        limit.now += MINUTE;
    }
    assert_eq!(old, 10);
    limit.now += MINUTE;
    assert_eq!(limit.admitted(&one(10, HOUR), 12), 7, "the first seven have left");
}

#[test]
fn used_up_windows_stay_used_up_when_a_shorter_one_is_asked() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let both = two(quota_of(10, MINUTE), quota_of(20, DAY));
    assert_eq!(limit.admitted(&both, 12), 10);
    let before = limit.take(&both);
    let shorter = limit.take(&one(11, SECOND));
    assert!(shorter.allowed, "one more than the ten that it begins with");
    assert_eq!(limit.take(&both), before, "refused, and the wait is unchanged");
    limit.now += MINUTE;
    assert_eq!(limit.admitted(&both, 12), 10, "what the shorter one counted is not counted here");
    assert_eq!(limit.status(&both), [(10, 0), (20, 0)]);
}

#[test]
fn a_changed_limit_acts_at_once_and_forgets_nothing() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    assert_eq!(limit.admitted(&one(10, MINUTE), 10), 10);
    limit.now += 1;
    assert_eq!(limit.admitted(&one(3, MINUTE), 1), 0);
    assert_eq!(limit.status(&one(3, MINUTE)), [(10, 0)]);
    assert_eq!(limit.admitted(&one(12, MINUTE), 9), 2, "ten still count");
    limit.now += MINUTE - 1;
    assert_eq!(limit.admitted(&one(3, MINUTE), 9), 1, "two of the twelve still count");
}

#[test]
fn a_new_window_begins_with_the_newest_of_the_fullest() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let (few, many) = (one(100, DAY), one(50, 10 * SECOND));
    limit.admitted(&few, 3);
    for _ in 0..20 {
        limit.now += 100;
        assert!(limit.take(&many).allowed);
    }
    // The day has three; ten seconds have twenty of their own and those three. A minute begins with
    // its limit of the newest of these.
    assert_eq!(limit.status(&many), [(23, 27)]);
    assert_eq!(limit.status(&one(8, MINUTE)), [(8, 0)]);
    let waits = limit.take(&one(8, MINUTE)).retry_after.unwrap().as_millis() as u64;
    assert_eq!(waits, MINUTE - 700, "until the oldest of eight leaves");
    // A second begins with those that are younger than a second.
    assert_eq!(limit.status(&one(100, SECOND)), [(10, 90)]);
    assert_eq!(limit.status(&few), [(3, 97)], "nothing is added to those that are there");
}

#[test]
fn a_window_keeps_its_precision() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let coarse = |limit| Quotas::from(quota_of(limit, MINUTE).with_precision(Precision::Coarse));
    // A segment of a minute is 235 milliseconds long.
    limit.now = limit.now / 235 * 235 + 7;
    assert!(limit.take(&one(1, MINUTE)).allowed);
    let waits = |limit: &mut Limit, quotas: &Quotas| {
        limit.take(quotas).retry_after.unwrap().as_millis() as u64
    };
    assert_eq!(waits(&mut limit, &coarse(1)), MINUTE, "it is exact");
    // Counts beyond what an exact window can hold make it coarse for good.
    assert!(limit.take(&one(100_000, MINUTE)).allowed);
    assert_eq!(waits(&mut limit, &one(2, MINUTE)), MINUTE + 234 - 7);
    assert_eq!(limit.try_take(&one(100_000, MINUTE), 99_998).unwrap().remaining, 0);
    assert!(!limit.take(&one(100_000, MINUTE)).allowed);
}

#[test]
fn a_ninth_live_window_is_an_error_and_an_idle_one_makes_place() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    for window in 1..=8 {
        limit.admitted(&one(10, window * MINUTE), 2);
    }
    let before: Vec<_> = (1..=8).map(|window| limit.status(&one(10, window * MINUTE))).collect();
    let ninth = one(10, HOUR);
    let refused = Err(RemoteReplyError::TooManyWindows { position: 0 });
    assert_eq!(limit.try_take(&ninth, 1), refused);
    assert_eq!(limit.try_take(&two(quota_of(9, MINUTE), quota_of(9, HOUR)), 1), refused);
    let after: Vec<_> = (1..=8).map(|window| limit.status(&one(10, window * MINUTE))).collect();
    assert_eq!(before, after, "nothing has changed");
    // The windows of one and two minutes, the first among them, have passed.
    limit.now += 2 * MINUTE;
    assert_eq!(limit.admitted(&one(10, 3 * MINUTE), 10), 10 - before[2][0].0);
    assert!(limit.try_take(&ninth, 1).is_ok());
    assert!(limit.try_take(&one(10, 2 * HOUR), 1).is_ok());
    assert_eq!(limit.try_take(&one(10, 3 * HOUR), 1), refused);
    assert_eq!(limit.status(&one(10, 3 * MINUTE)), [(10, 0)], "the others are as they were");
    assert_eq!(limit.status(&one(10, 8 * MINUTE)), after[7]);
    // What the error names: a reset forgets all windows.
    assert_eq!(limit.send(&RemoteCommand::reset(limit.names.of(&Limit::key()))), [1]);
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut limit.connection).unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(limit.admitted(&one(10, 3 * HOUR), 12), 10);
    assert_eq!(limit.send(&RemoteCommand::reset(limit.names.of(&Limit::key()))), [1]);
    assert_eq!(limit.send(&RemoteCommand::reset(limit.names.of(&Limit::key()))), [0]);
}

#[test]
fn a_clock_up_to_one_window_behind_frees_nothing() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let quotas = one(10, SECOND);
    assert_eq!(limit.admitted(&quotas, 12), 10);
    for behind in [1, 500, 1_000] {
        limit.now -= behind;
        assert_eq!(limit.admitted(&quotas, 1), 0, "{behind} ms behind");
        limit.now += behind;
    }
    // Further behind it was set back, and is followed: nothing waits longer than a window.
    limit.now -= 1_001;
    let refused = limit.take(&quotas);
    assert_eq!(refused.retry_after.unwrap().as_millis(), 1_000);
    limit.now += 1_000;
    assert_eq!(limit.admitted(&quotas, 12), 10);
}

#[test]
fn a_neighbour_of_60_000_stamps_is_neither_read_nor_moved() {
    if !servers() {
        return;
    }
    let mut limit = Limit::new();
    let large = Quotas::from(
        quota_of(60_000, DAY).try_with_precision(Precision::Exact).expect("it is small enough"),
    );
    let small = two(quota_of(5, SECOND), quota_of(100, MINUTE));
    let charge = RemoteCharge::new(&limit.names, &[(Limit::key(), &large)], 1).unwrap();
    for _ in 0..600 {
        let mut pipe = redis::Pipeline::new();
        for _ in 0..100 {
            limit.now += 1;
            pipe.add_command(limit.command(&charge.check()));
        }
        let replies: Vec<Vec<u8>> = pipe.query(&mut limit.connection).unwrap();
        assert!(replies.iter().all(|reply| reply[0] == 1));
    }
    assert_eq!(limit.status(&large), [(60_000, 0)]);
    limit.now += MINUTE;
    let name = limit.names.of(&Limit::key());
    let mut neighbour = limit.dump(&name);
    assert!(neighbour.len() > 60_000 * 6);
    // The small ones begin with what is younger than they, which is nothing.
    let mut before = limit.commands();
    for round in 0..100 {
        assert!(limit.take(&small).allowed);
        let commands = limit.commands() - before;
        assert!(commands < 100, "{commands} commands in round {round}");
        let now = limit.dump(&name);
        if round == 0 {
            // But for the number of windows, which is one byte, and what `DUMP` adds to its end.
            let differ = neighbour.iter().zip(&now).filter(|(a, b)| a != b).count();
            assert!(now.len() == neighbour.len() && differ <= 1 + 10, "{differ} bytes differ");
        } else {
            assert_eq!(now, neighbour);
        }
        // And the large one among them is refused, as cheaply.
        before = limit.commands();
        assert!(!limit.take(&large).allowed);
        let commands = limit.commands() - before;
        assert!(commands < 10, "{commands} commands of the large one in round {round}");
        neighbour = limit.dump(&name);
        limit.now += SECOND;
        before = limit.commands();
    }
    // A new shape takes no more of the neighbour than its own limit.
    before = limit.commands();
    assert_eq!(limit.status(&one(7, HOUR)), [(7, 0)]);
    let commands = limit.commands() - before;
    assert!(commands < 100, "{commands} commands of a new window");
    let info: String = redis::cmd("INFO").arg("commandstats").query(&mut limit.connection).unwrap();
    println!("{}", info.lines().find(|line| line.contains("evalsha")).unwrap_or_default());
}
