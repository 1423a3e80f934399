//! The script against the core's limiter: every decision equal.
//!
//! Traces run side by side, one step of each in one pipeline. 2,000 short ones and 10 long ones by
//! default, in CI 10,000 and 40; `KEYWARD_PARITY_TRACES=1000000` asks for more:
//! `KEYWARD_PARITY_TRACES=1000000 cargo test --release -p keyward-redis --test parity`.

mod support;

use keyward::{
    Limiter, Timestamp,
    limit::{Decision, LimitKey, LimiterConfig, Ticket},
};
use keyward_redis::protocol::{RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt};
use support::{
    Server, script_with_given_clock, servers,
    traffic::{Request, Shape, Traffic},
};

const TRACES: u64 = 2_000;

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
    // And long ones, whose rings grow, wrap and change shape.
    let long = (wanted / 200).clamp(10, 40);
    let traces = (0..long).map(|seed| Trace::new(seed, 3_000, 30)).collect();
    run(&mut remote, traces, &mut total).unwrap_or_else(|difference| panic!("{difference}"));
    println!("{wanted} traces: {total:?}, no difference");
    let Total { admitted, refused, refunded, peeked, reset } = total;
    let all = admitted + refused;
    assert!(admitted > all / 20 && refused > all / 20 && refunded > 0 && peeked > 0 && reset > 0);
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
        // A stamp that is exactly one window old still counts.
        ("if v.leaves(number) > v.now", "if v.leaves(number) >= v.now"),
        // It leaves one millisecond early.
        ("if v.leaves(number) > v.now", "if v.leaves(number) > v.now + 1"),
        // A clock that was set back is never followed.
        ("if w.last - at <= quota.span then", "if true then"),
        // What is refused is counted.
        (
            "settle(doc, w, seen[k].quotas[n], seen[k].views[n]) end",
            "settle(doc, w, seen[k].quotas[n], seen[k].views[n]); push(doc, w, seen[k].quotas[n], 1, at) end",
        ),
        // A receipt of another era is taken.
        ("doc.era == era and", ""),
        // A ring that grows forgets where it begins.
        ("local from = other.first * other.width", "local from = 0"),
    ] {
        let script = script_with_given_clock();
        assert_eq!(script.matches(text).count(), 1, "{text}");
        let mut remote = Remote::new(&server, script.replace(text, bug));
        let traces = (0..60).map(|seed| Trace::new(seed, 300, 3)).collect();
        let outcome = run(&mut remote, traces, &mut Total::default());
        assert!(outcome.is_err(), "not found: {bug}");
    }
}

#[derive(Debug, Default)]
struct Total {
    admitted: u64,
    refused: u64,
    refunded: u64,
    peeked: u64,
    reset: u64,
}

/// One run of traffic on both sides.
struct Trace {
    seed: u64,
    steps: u64,
    asked: u64,
    traffic: Traffic,
    names: RemoteNames,
    limiter: Limiter,
    /// Admissions that can still be given back, on both sides.
    tickets: Vec<(Ticket, RemoteReceipt, Timestamp)>,
    /// Refunds and resets go into traces whose clock behaves, and those are two thirds.
    gives_back: bool,
}

/// What was asked of one trace in this step.
enum Asked {
    Check(RemoteCharge, Decision, Option<Box<(Ticket, Timestamp)>>),
    Peek(RemoteCharge, Decision),
    /// Whether the core says that it did something.
    Refund(bool),
    /// The core may have forgotten a key that was idle; the server, for these tests, never has.
    Reset(bool),
}

impl Trace {
    fn new(seed: u64, steps: u64, keys: u64) -> Self {
        let shape = Shape::ALL[(seed % 10) as usize];
        let config = LimiterConfig::default().with_max_keys(256);
        let still = !matches!(shape, Shape::ClockSteps | Shape::OutOfOrder);
        Self {
            seed,
            steps,
            asked: 0,
            traffic: Traffic::new(shape, seed, keys),
            names: RemoteNames::new(&format!("t{seed}")),
            limiter: Limiter::new(config.with_shards(1), [3; 16]),
            tickets: Vec::new(),
            gives_back: still && !(seed / 10).is_multiple_of(3),
        }
    }

    fn ask(&mut self, total: &mut Total) -> (RemoteCommand, Asked, Timestamp) {
        let request = self.traffic.next();
        let at = request.at;
        let other = self.traffic.random().below(20);
        // After two windows of silence the core may have forgotten what could be refunded.
        let window = self.traffic.window();
        self.tickets.retain(|&(.., admitted)| at.saturating_since(admitted) < window);
        if self.gives_back && other == 0 && !self.tickets.is_empty() {
            let which = self.traffic.random().below(self.tickets.len() as u64) as usize;
            let (ticket, receipt, _) = self.tickets.swap_remove(which);
            let done = self.limiter.refund(ticket);
            total.refunded += u64::from(done);
            return (receipt.refund(), Asked::Refund(done), at);
        }
        if self.gives_back && other == 1 && self.traffic.random().below(4) == 0 {
            let key: LimitKey = request.limits[0].0;
            let done = self.limiter.reset(key);
            total.reset += u64::from(done);
            return (RemoteCommand::reset(self.names.of(&key)), Asked::Reset(done), at);
        }
        let Request { limits, cost, .. } = &request;
        let charge = RemoteCharge::new(&self.names, &request.limits(), *cost).unwrap();
        // Not before each key has been seen: see `Shape::ClockSteps`.
        self.asked += 1;
        if let ([(key, quotas)], 2) = (&limits[..], other)
            && self.asked > 30
        {
            total.peeked += 1;
            let expected = self.limiter.peek(*key, quotas, *cost, at).unwrap();
            return (charge.peek(), Asked::Peek(charge, expected), at);
        }
        let (expected, ticket) = self.limiter.admit_all(&request.limits(), *cost, at).unwrap();
        *(if expected.allowed { &mut total.admitted } else { &mut total.refused }) += 1;
        self.traffic.answered(&expected);
        (
            charge.check(),
            Asked::Check(charge, expected, ticket.map(|ticket| Box::new((ticket, at)))),
            at,
        )
    }

    fn compare(&mut self, asked: Asked, reply: &[u8]) -> Result<(), String> {
        let seed = self.seed;
        match asked {
            Asked::Refund(expected) | Asked::Reset(expected @ true) => {
                if reply != [u8::from(expected)] {
                    return Err(format!("seed {seed}: {reply:?}, expected {expected}"));
                }
            }
            Asked::Reset(false) => {}
            Asked::Peek(charge, expected) => {
                let answer = charge.read(reply).map_err(|error| format!("{error}: {reply:?}"))?;
                if answer.decision != expected {
                    return Err(format!(
                        "seed {seed}: {:?}, expected {expected:?}",
                        answer.decision
                    ));
                }
            }
            Asked::Check(charge, expected, ticket) => {
                let answer = charge.read(reply).map_err(|error| format!("{error}: {reply:?}"))?;
                if answer.decision != expected {
                    return Err(format!(
                        "seed {seed}: {:?}, expected {expected:?}",
                        answer.decision
                    ));
                }
                let both = ticket.zip(answer.receipt);
                self.tickets.extend(both.map(|(ticket, receipt)| (ticket.0, receipt, ticket.1)));
            }
        }
        Ok(())
    }
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
            if parts[0] == b"EVALSHA" {
                parts[1].clone_from(&remote.sum);
                let millis = at.as_unix_millis();
                // Within the millisecond the steps differ, as calls on a server do.
                parts.push((millis / 1_000).to_string().into_bytes());
                parts.push((millis % 1_000 * 1_000 + step % 1_000).to_string().into_bytes());
            }
            pipe.add_command(command_of(&parts));
            all.push((trace, asked));
        }
        let replies: Vec<redis::Value> =
            pipe.query(&mut remote.connection).map_err(|error| format!("step {step}: {error}"))?;
        for ((trace, asked), reply) in all.into_iter().zip(replies) {
            let reply = match reply {
                redis::Value::BulkString(reply) => reply,
                // Of a reset.
                other => vec![redis::from_redis_value(other).unwrap()],
            };
            trace
                .compare(asked, &reply)
                .map_err(|difference| format!("step {step}, {difference}"))?;
        }
    }
    Ok(())
}

fn command_of(parts: &[Vec<u8>]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for part in parts {
        command.arg(part);
    }
    command
}
