//! The script against a naive model of the architecture page: every decision equal.
//!
//! Traces run side by side, one step of each in one pipeline. 2,600 short ones and 13 long ones by
//! default, in CI 10,000 and 40; `KEYWARD_PARITY_TRACES=1000000` asks for more:
//! `KEYWARD_PARITY_TRACES=1000000 cargo test --release -p keyward-redis --test parity every_decision`.

mod support;

use std::time::Duration;

use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{Decision, LimitKey, LimiterConfig},
};
use keyward_redis::protocol::{
    LeaseTerms, RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt, RemoteReplyError,
};
use support::{
    Server,
    naive::{Decided, Naive, Take, TooMany},
    script_with_given_clock, servers,
    traffic::{Request, Shape, Traffic},
};

const TRACES: u64 = 2_600;

#[test]
fn every_decision_agrees() {
    if !servers() {
        return;
    }
    let wanted = std::env::var("KEYWARD_PARITY_TRACES").ok();
    let wanted = wanted.map_or(TRACES, |text| text.parse().unwrap());
    let server = Server::start(&[]);
    let mut remote = Remote::new(&server, script_with_given_clock());
    let mut total = Total::default();
    let mut seed = 0;
    while seed < wanted {
        let batch = (wanted - seed).min(500);
        let traces = (seed..seed + batch).map(|seed| Trace::new(seed, 4 + seed % 40, 3)).collect();
        run(&mut remote, traces, &mut total).unwrap_or_else(|difference| panic!("{difference}"));
        seed += batch;
    }
    // And long ones, whose rings grow and wrap, and whose windows are many.
    let long = (wanted / 200).clamp(13, 40);
    let traces = (0..long).map(|seed| Trace::new(seed, 3_000, 30)).collect();
    run(&mut remote, traces, &mut total).unwrap_or_else(|difference| panic!("{difference}"));
    println!("{wanted} traces: {total:?}, no difference");
    let Total { admitted, refused, leased, refunded, peeked, told, reset, too_many } = total;
    let all = admitted + refused;
    assert!(admitted > all / 20 && refused > all / 20);
    for seen in [leased, refunded, peeked, told, reset, too_many] {
        assert!(seen > 0, "{total:?}");
    }
}

/// The test finds these bugs, planted in the script.
#[test]
fn planted_bugs_are_found() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    for (text, bug) in [
        // On the short way: a stamp that is exactly one window old still counts, and the same
        // bugs as below.
        ("- 1 + span > now then", "- 1 + span >= now then"),
        ("- 1 + span > now then", "- 1 + span > now + 1 then"),
        ("if newest >= number then number, used", "if false then number, used"),
        ("data:sub(start + 1) .. data:sub(33, start)", "data:sub(33)"),
        ("changing .. data:sub(33, from) .. slot", "changing .. data:sub(33, from - 1) .. slot"),
        ("> after - limit - 1 then", ">= 0 then"),
        // Windows of different lengths share what they count.
        ("if others > 0 and length ~= span then", "length = span\n    if false then"),
        ("if not w or w.span == span then return w end", "if w then w.span = span return w end"),
        // An exact window counts on beyond what it can hold.
        ("if coarse == 0 and limit > EXACT then", "if false then"),
        ("    if w.coarse == 0 and quota.limit > EXACT then", "    if false then"),
        // A new window begins empty, or with another window's than the one that has the most, or
        // with the oldest, or with what lies before its time.
        ("if not most or y.units > most.units then", "if false then"),
        ("if not most or y.units > most.units then", "if not most then"),
        ("base = (base + surplus) % other.modulus", ""),
        ("return y.now - y.stamp(slot(w, i)) < span end", "return true end"),
        // A ninth live window is let in; an idle one is never dropped.
        ("+ #kept + missing > MOST then return nil", "+ #kept + missing > 99 then return nil"),
        ("return needed[w.span] or v.live > 0", "return true"),
        // A stamp that is exactly one window old still counts.
        ("if leaves(w, v, v.oldest) > now then", "if leaves(w, v, v.oldest) >= now then"),
        // It leaves one millisecond early.
        ("if leaves(w, v, v.oldest) > now then", "if leaves(w, v, v.oldest) > now + 1 then"),
        // Of many that leave at once, some still count.
        ("v.base = before(w, v.out)", ""),
        // A clock that was set back is never followed.
        ("if at < last and last - at <= span then", "if at < last then"),
        // What is refused is counted.
        (
            "      settle(w, v)\n",
            "      settle(w, v)\n      if not answer.allowed then push(w, 9, 1, v.now) end\n",
        ),
        // A receipt of another era is taken.
        ("if w and w.era == era then", "if w then"),
        // A ring that grows forgets where it begins.
        ("local from = (w.first + i) % w.room\n", "local from = i\n"),
    ] {
        let script = script_with_given_clock();
        assert_eq!(script.matches(text).count(), 1, "{text}");
        let mut remote = Remote::new(&server, script.replace(text, bug));
        let traces = (0..60).map(|seed| Trace::new(seed, 300, 3)).collect();
        let outcome = run(&mut remote, traces, &mut Total::default());
        assert!(outcome.is_err(), "not found: {bug}");
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    admitted: u64,
    refused: u64,
    leased: u64,
    refunded: u64,
    peeked: u64,
    told: u64,
    reset: u64,
    too_many: u64,
}

/// One run of traffic on both sides.
struct Trace {
    seed: u64,
    steps: u64,
    traffic: Traffic,
    names: RemoteNames,
    naive: Naive,
    /// Admissions that can still be given back, on both sides.
    tickets: Vec<(u64, RemoteReceipt)>,
}

/// What was asked of one trace in this step, and what the model expects.
enum Asked {
    Take(RemoteCharge, Result<Decided, TooMany>),
    Peek(RemoteCharge, Result<Decision, TooMany>),
    Status(RemoteCharge, Result<Vec<Vec<(u32, u64)>>, TooMany>),
    Done(bool),
}

impl Trace {
    fn new(seed: u64, steps: u64, keys: u64) -> Self {
        let shape = Shape::ALL[seed as usize % Shape::ALL.len()];
        Self {
            seed,
            steps,
            traffic: Traffic::new(shape, seed, keys),
            names: RemoteNames::new(&format!("t{seed}")),
            naive: Naive::default(),
            tickets: Vec::new(),
        }
    }

    fn ask(&mut self, total: &mut Total) -> (RemoteCommand, Asked, Timestamp) {
        let request = self.traffic.next();
        let (at, window) = (request.at, self.traffic.window().as_millis() as u64);
        let random = self.traffic.random();
        let other = random.below(20);
        if other == 0 && !self.tickets.is_empty() {
            let (ticket, receipt) =
                self.tickets.swap_remove(random.below(self.tickets.len() as u64) as usize);
            let units = match random.below(3) {
                0 => 1 + random.below(u64::from(receipt.units())) as u32,
                _ => receipt.units(),
            };
            let done = self.naive.refund(ticket, units);
            total.refunded += u64::from(done);
            return (receipt.refund_some(units), Asked::Done(done), at);
        }
        if other == 1 && random.below(4) == 0 {
            let key: LimitKey = request.limits[0].0;
            let done = self.naive.reset(key);
            total.reset += u64::from(done);
            return (RemoteCommand::reset(self.names.of(&key)), Asked::Done(done), at);
        }
        let Request { cost, .. } = request;
        let limits = request.limits();
        let charge = RemoteCharge::new(&self.names, &limits, cost).unwrap();
        let many = |many: bool, total: &mut Total| total.too_many += u64::from(many);
        match other {
            2 => {
                total.peeked += 1;
                let expected = self.naive.peek(&limits, cost, at);
                many(expected.is_err(), total);
                (charge.peek(), Asked::Peek(charge, expected), at)
            }
            3 => {
                total.told += 1;
                let expected = self.naive.status(&limits, at);
                many(expected.is_err(), total);
                (charge.status(), Asked::Status(charge, expected), at)
            }
            _ => {
                let (mut take, mut command) = (Take::one(cost), charge.check());
                // Only in some traces, because the stamps of all lie ahead then.
                if self.seed.is_multiple_of(5) && other < 8 {
                    let lease = random.below(window / 4 + 1);
                    let (most, divisor) = (random.below(40) as u32, 1 + random.below(4) as u32);
                    let length = Duration::from_millis(lease);
                    command = charge.lease(&LeaseTerms { length, most, divisor });
                    take = Take { need: cost, want: most.max(cost), divisor, lease };
                    total.leased += 1;
                }
                let expected = self.naive.take(&limits, take, at);
                many(expected.is_err(), total);
                if let Ok(Decided { decision, .. }) = expected {
                    *(if decision.allowed { &mut total.admitted } else { &mut total.refused }) += 1;
                    self.traffic.answered(&decision);
                }
                (command, Asked::Take(charge, expected), at)
            }
        }
    }

    fn compare(&mut self, asked: Asked, reply: &[u8]) -> Result<(), String> {
        let seed = self.seed;
        let unlike = |answer: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            Err(format!("seed {seed}: {answer:?}, expected {expected:?}"))
        };
        match asked {
            Asked::Done(expected) => {
                if reply != [u8::from(expected)] {
                    return unlike(&reply, &expected);
                }
            }
            Asked::Peek(charge, expected) => {
                let answer = charge.read(reply).map(|answer| answer.decision);
                let expected = expected.map_err(too_many);
                if answer != expected {
                    return unlike(&answer, &expected);
                }
            }
            Asked::Status(charge, expected) => {
                let answer = charge.read_status(reply).map(|status| {
                    let limits = status.limits.iter();
                    limits
                        .map(|windows| {
                            let windows = windows.iter();
                            windows.map(|it| (it.used, it.reset_at.as_unix_millis())).collect()
                        })
                        .collect::<Vec<Vec<_>>>()
                });
                let expected = expected.map_err(too_many);
                if answer != expected {
                    return unlike(&answer, &expected);
                }
            }
            Asked::Take(charge, expected) => {
                let answer = charge.read(reply);
                let told = answer.as_ref().map(|it| (it.decision, it.granted)).map_err(|it| *it);
                let wanted = expected.map(|it| (it.decision, it.granted)).map_err(too_many);
                if told != wanted {
                    return unlike(&told, &wanted);
                }
                if let (Ok(answer), Ok(Decided { ticket, .. })) = (answer, expected) {
                    self.tickets.extend(answer.receipt.map(|receipt| (ticket, receipt)));
                }
            }
        }
        Ok(())
    }
}

fn too_many(TooMany { position }: TooMany) -> RemoteReplyError {
    RemoteReplyError::TooManyWindows { position }
}

/// A server with the script that takes its clock from us.
struct Remote {
    connection: redis::Connection,
    sum: Vec<u8>,
}

impl Remote {
    fn new(server: &Server, script: String) -> Self {
        let mut connection = server.connection();
        let sum = redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection).unwrap();
        Self { connection, sum }
    }
}

/// Runs the traces side by side, and tells the first difference.
fn run(remote: &mut Remote, mut traces: Vec<Trace>, total: &mut Total) -> Result<(), String> {
    let _: () = redis::cmd("FLUSHALL").query(&mut remote.connection).unwrap();
    let longest = traces.iter().map(|trace| trace.steps).max().unwrap_or(0);
    for step in 0..longest {
        let mut pipe = redis::Pipeline::new();
        let mut all = Vec::new();
        for trace in traces.iter_mut().filter(|trace| step < trace.steps) {
            let (command, asked, at) = trace.ask(total);
            let mut parts = command.parts();
            parts[1].clone_from(&remote.sum);
            let millis = at.as_unix_millis();
            // Within the millisecond the steps differ, as calls on a server do.
            parts.push((millis / 1_000).to_string().into_bytes());
            parts.push((millis % 1_000 * 1_000 + step % 1_000).to_string().into_bytes());
            pipe.add_command(command_of(&parts));
            all.push((trace, asked));
        }
        let replies: Vec<redis::Value> =
            pipe.query(&mut remote.connection).map_err(|error| format!("step {step}: {error}"))?;
        for ((trace, asked), reply) in all.into_iter().zip(replies) {
            let redis::Value::BulkString(reply) = reply else {
                return Err(format!("step {step}, seed {}: {reply:?}", trace.seed));
            };
            trace
                .compare(asked, &reply)
                .map_err(|difference| format!("step {step}, {difference}"))?;
        }
    }
    Ok(())
}

/// On a clock that never steps, over quotas that do not change, the core's limiter decides the same.
#[test]
fn the_core_decides_the_same() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let mut remote = Remote::new(&server, script_with_given_clock());
    let several = [Quota::per_second(7), Quota::per_minute(40)];
    let several = Quotas::new(&several).unwrap();
    let quotas = [Quotas::from(Quota::per_second(3)), Quotas::from(Quota::per_minute(20)), several];
    let core = Limiter::new(LimiterConfig::default(), [3; 16]);
    let mut random = support::traffic::Random(9);
    let (names, mut now) = (RemoteNames::new("core"), 1_767_323_045_678);
    let mut seen = [0; 2];
    for step in 0..3_000 {
        now += random.below(300);
        let at = Timestamp::from_unix_millis(now);
        let which = random.below(3) as usize;
        let limits = [(LimitKey::key([which as u8; 16]), &quotas[which])];
        let cost = 1 + random.below(2) as u32;
        let charge = RemoteCharge::new(&names, &limits, cost).unwrap();
        let mut parts = charge.check().parts();
        parts[1].clone_from(&remote.sum);
        parts.push((now / 1_000).to_string().into_bytes());
        parts.push((now % 1_000 * 1_000).to_string().into_bytes());
        let reply: Vec<u8> = command_of(&parts).query(&mut remote.connection).unwrap();
        let decision = charge.read(&reply).unwrap().decision;
        assert_eq!(decision, core.check_all(&limits, cost, at).unwrap(), "step {step}");
        seen[usize::from(decision.allowed)] += 1;
    }
    assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
}

fn command_of(parts: &[Vec<u8>]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for part in parts {
        command.arg(part);
    }
    command
}
