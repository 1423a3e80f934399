//! Leases among several nodes over a bad network: never more than the limit in any window.
//!
//! Everything is drawn from a seed: delays, lost, repeated and overtaking replies, requests that a
//! client sends twice, clocks that drift as far as stated, a server clock that is set back, crashes,
//! pauses, returns. 60,000 spent permits by default, in CI 200,000; `KEYWARD_LEASE_SPENDS` asks for more:
//! `KEYWARD_LEASE_SPENDS=10000000 cargo test --release -p keyward-redis --test lease_simulator`.

mod support;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use keyward::{Quotas, limit::LimitKey};
use keyward_redis::{
    LeaseConfig,
    lease::{Granted, LeaseHolding, LeaseStep},
    protocol::{LeaseTerms, RemoteCharge, RemoteCommand, RemoteNames, RemoteReceipt},
};
use support::{
    Server,
    model::{Model, Take},
    script_with_given_clock, servers,
    traffic::{Random, quota_of},
};

const SPENDS: u64 = 60_000;
/// How many permits are spent in one run: a new seed, and with it new limits, nodes and network.
const PER_RUN: u64 = 20_000;

#[test]
fn nobody_is_admitted_too_much() {
    let wanted = std::env::var("KEYWARD_LEASE_SPENDS").ok();
    let wanted = wanted.map_or(SPENDS, |text| text.parse().unwrap());
    let (mut total, mut seed) = (Outcome::default(), 0);
    while total.spent < wanted {
        let outcome = simulate(seed, Bug::None);
        assert_eq!(outcome.over, 0, "seed {seed}: {outcome:?}");
        total.add(&outcome);
        seed += 1;
    }
    println!("{seed} runs: {total:?}");
    // What was to go wrong did, and a good part was decided without asking.
    assert!(total.locally > total.spent / 10 && total.refused > 0);
    assert!(total.lost > 0 && total.repeated > 0 && total.crashes > 0 && total.returned > 0);
}

/// The simulator sees what the rules are there for.
#[test]
fn broken_rules_are_seen() {
    for bug in [
        Bug::StampsNow,
        Bug::ReturnsTwice,
        Bug::CountsFromTheReply,
        Bug::ForgetsDrift,
        Bug::SpendsWhatItReturns,
        Bug::ServerStepsForward,
    ] {
        // The same seed on every machine.
        let found = (0..60).map(|seed| (seed, simulate(seed, bug).over)).find(|it| it.1 > 0);
        let (seed, over) = found.unwrap_or_else(|| panic!("{bug:?} admits nobody too much"));
        println!("{bug:?}: {over} too many with seed {seed}");
    }
}

/// The model that the simulator asks decides as the script does.
#[test]
fn the_model_is_the_script() {
    if !servers() {
        return;
    }
    let server = Server::start(&[]);
    let mut connection = server.connection();
    let mut random = Random(7);
    for run in 0..40 {
        let names = RemoteNames::new(&format!("m{run}"));
        let (limit, span) = (1 + random.below(60) as u32, 20 + random.below(2_000));
        let quotas = Quotas::from(quota_of(limit, span));
        let mut model = Model::default();
        let (mut now, mut receipts) = (1_767_323_045_678 + random.below(1 << 33), Vec::new());
        for step in 0..200_u64 {
            now += random.below(span / 20 + 2);
            // Set back by less than a window in all.
            let at = now - random.below(2) * random.below(span / 2);
            let mut run = |command: RemoteCommand| -> Vec<u8> {
                let mut parts = command.parts_with_text();
                parts[1] = script_with_given_clock().into_bytes();
                let mut sent = redis::Cmd::new();
                for part in parts {
                    sent.arg(part);
                }
                sent.arg(at / 1_000).arg(at % 1_000 * 1_000 + step);
                sent.query(&mut connection).unwrap()
            };
            if random.below(6) == 0 && !receipts.is_empty() {
                let which = random.below(receipts.len() as u64) as usize;
                let (receipt, stamp, units): (RemoteReceipt, u64, u32) =
                    receipts.swap_remove(which);
                let some = 1 + random.below(u64::from(units)) as u32;
                let given = run(receipt.refund_some(some));
                assert_eq!(given, [u8::from(model.back(stamp, some))]);
                continue;
            }
            let take = Take {
                need: 1 + random.below(2) as u32 * random.below(u64::from(limit)) as u32,
                want: random.below(40) as u32,
                divisor: 1 + random.below(4) as u32,
                lease: random.below(2) * random.below(span / 4 + 1),
            };
            let charge =
                RemoteCharge::new(&names, &[(LimitKey::owner("a"), &quotas)], take.need).unwrap();
            let terms = LeaseTerms {
                length: Duration::from_millis(take.lease),
                most: take.want,
                divisor: take.divisor,
            };
            let mut reply = run(charge.lease(&terms));
            let answer = charge.read(&reply).unwrap();
            // The model knows no eras.
            if let Some(era) = reply.get_mut(24..28) {
                era.fill(0);
            }
            assert_eq!(
                reply,
                model.take(limit, span, take, at),
                "run {run:?} step {step}",
                run = names
            );
            if let Some(receipt) = answer.receipt {
                receipts.push((receipt, stamp_of(&reply), answer.granted));
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The server stamps grants at the instant of the grant.
    StampsNow,
    /// What is returned is sent twice.
    ReturnsTwice,
    /// A node is told a length that is counted from the reply: as much longer as it was under way.
    CountsFromTheReply,
    /// Leases are not shortened by the rate of drift, while clocks drift a lot.
    ForgetsDrift,
    /// What is returned is spent all the same.
    SpendsWhatItReturns,
    /// The server's clock goes forward by steps.
    ServerStepsForward,
}

#[derive(Debug, Default)]
struct Outcome {
    spent: u64,
    locally: u64,
    refused: u64,
    /// How many were spent when the window was full already.
    over: u64,
    lost: u64,
    repeated: u64,
    crashes: u64,
    returned: u64,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.spent += other.spent;
        self.locally += other.locally;
        self.refused += other.refused;
        self.over += other.over;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.crashes += other.crashes;
        self.returned += other.returned;
    }
}

/// What happens, in order of true time in microseconds.
enum Event {
    Arrives {
        node: usize,
    },
    /// A question, with the node's life in which it was asked.
    AtServer {
        node: usize,
        life: u64,
        sent: u64,
        take: Take,
        asked: Option<u64>,
        times: u32,
    },
    Reply {
        node: usize,
        life: u64,
        sent: u64,
        take: Take,
        number: u64,
        reply: Vec<u8>,
    },
    Lost {
        node: usize,
        life: u64,
        number: u64,
    },
    Returned {
        stamp: u64,
        units: u32,
    },
}

struct Node {
    holding: LeaseHolding,
    config: LeaseConfig,
    /// Its clock: so far ahead, and so many millionths faster or slower.
    ahead: u64,
    rate_ppm: i64,
    paused_until: u64,
    life: u64,
}

impl Node {
    fn clock(&self, now: u64) -> Duration {
        let nanos = u128::from(now) * 1_000;
        let drift = (nanos as i128 * i128::from(self.rate_ppm) / 1_000_000) as i64;
        Duration::from_nanos((nanos as u64).saturating_add_signed(drift) + self.ahead)
    }
}

struct World {
    random: Random,
    bug: Bug,
    limit: u32,
    span: u64,
    quotas: Quotas,
    charge: [RemoteCharge; 2],
    nodes: Vec<Node>,
    server: Model,
    /// By how much the server's clock is behind the true time, in milliseconds.
    behind: u64,
    stepped_forward: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    what: Vec<Option<Event>>,
    free: Vec<u64>,
    /// What was spent within one window, by the millisecond.
    window: VecDeque<(u64, u32)>,
    within: u64,
    worst_delay: u64,
    gap: u64,
    phase_ends: u64,
    outcome: Outcome,
}

fn simulate(seed: u64, bug: Bug) -> Outcome {
    let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 77);
    let limit = [1, 10, 50, 200, 1_000, 5_000][random.below(6) as usize];
    let span = [50, 200, 1_000, 10_000][random.below(4) as usize];
    let quotas = Quotas::from(quota_of(limit, span));
    let drift = if bug == Bug::ForgetsDrift {
        200_000
    } else {
        [100, 1_000, 50_000][random.below(3) as usize]
    };
    let nodes = (0..2 + random.below(7)).map(|_| {
        let length = 1 + random.below(span / 3);
        let divisor = [1, 2, 4, 10][random.below(4) as usize];
        let stated = if bug == Bug::ForgetsDrift { 0 } else { drift };
        let rate_ppm = random.below(2 * drift + 1) as i64 - drift as i64;
        Node {
            holding: LeaseHolding::default(),
            config: LeaseConfig::new(Duration::from_millis(length))
                .with_divisor(divisor)
                .with_drift_ppm(stated as u32),
            ahead: random.below(1 << 40),
            // A good part is as slow as stated.
            rate_ppm: if random.below(3) == 0 { -(drift as i64) } else { rate_ppm },
            paused_until: 0,
            life: 0,
        }
    });
    let nodes: Vec<_> = nodes.collect();
    let names = RemoteNames::new("s");
    let charge =
        |cost| RemoteCharge::new(&names, &[(LimitKey::owner("a"), &quotas)], cost).unwrap();
    let mut world = World {
        bug,
        limit,
        span,
        charge: [charge(1), charge(2.min(limit))],
        quotas,
        nodes,
        server: Model { stamps_now: bug == Bug::StampsNow, ..Model::default() },
        behind: 0,
        stepped_forward: 0,
        events: BinaryHeap::new(),
        what: Vec::new(),
        free: Vec::new(),
        window: VecDeque::new(),
        within: 0,
        worst_delay: span * [1, 20, 200][random.below(3) as usize],
        gap: 1,
        phase_ends: 0,
        outcome: Outcome::default(),
        random,
    };
    let start = 1_767_323_045_678_000;
    for node in 0..world.nodes.len() {
        let after = world.random.below(span * 1_000) + 1;
        world.at(start + after, Event::Arrives { node });
    }
    while let Some(Reverse((now, at))) = world.events.pop() {
        world.free.push(at);
        if let Some(event) = world.what[at as usize].take() {
            world.happens(event, now);
        }
        if world.outcome.spent >= PER_RUN {
            break;
        }
    }
    world.outcome
}

impl World {
    fn at(&mut self, time: u64, event: Event) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.what.push(None);
            self.what.len() as u64 - 1
        });
        self.what[place as usize] = Some(event);
        self.events.push(Reverse((time, place)));
    }

    fn delay(&mut self) -> u64 {
        let worst =
            if self.random.below(20) == 0 { 20 * self.worst_delay } else { self.worst_delay };
        1 + self.random.below(worst)
    }

    fn server_clock(&self, now: u64) -> u64 {
        now / 1_000 - self.behind + self.stepped_forward
    }

    fn happens(&mut self, event: Event, now: u64) {
        match event {
            Event::Arrives { node } => self.arrives(node, now),
            Event::AtServer { node, life, sent, take, asked, times } => {
                for _ in 1..times {
                    // The client sent it twice, and only the second reply is heard.
                    let clock = self.server_clock(now);
                    self.server.take(self.limit, self.span, take, clock);
                }
                let reply = self.server.take(self.limit, self.span, take, self.server_clock(now));
                if reply[0] == 1 {
                    self.spend(take.need, now);
                } else {
                    self.outcome.refused += 1;
                }
                let Some(number) = asked else { return };
                if self.random.below(50) == 0 {
                    self.outcome.lost += 1;
                    let after = self.delay() + self.span * 1_000;
                    self.at(now + after, Event::Lost { node, life, number });
                    return;
                }
                let repeats = 1 + u64::from(self.random.below(20) == 0);
                self.outcome.repeated += repeats - 1;
                for _ in 0..repeats {
                    let after = self.delay();
                    let reply = reply.clone();
                    self.at(now + after, Event::Reply { node, life, sent, take, number, reply });
                }
            }
            Event::Reply { node, life, sent, take, number, reply } => {
                let paused = self.nodes[node].paused_until;
                if now < paused {
                    return self.at(paused, Event::Reply { node, life, sent, take, number, reply });
                }
                if self.nodes[node].life != life {
                    return;
                }
                let which = usize::from(take.need > 1);
                let answer = self.charge[which].read(&reply).unwrap();
                let mut length = Duration::from_millis(take.lease);
                if self.bug == Bug::CountsFromTheReply {
                    length += Duration::from_micros(now - sent);
                }
                let node = &mut self.nodes[node];
                let received = node.clock(now);
                let granted = Granted {
                    decision: answer.decision,
                    units: answer.granted,
                    length,
                    receipt: answer.receipt,
                };
                let quotas = [self.quotas];
                node.holding.answered(&node.config, &quotas, number, granted, received);
            }
            Event::Lost { node, life, number } => {
                if self.nodes[node].life == life {
                    self.nodes[node].holding.lost(number);
                }
            }
            Event::Returned { stamp, units } => {
                self.outcome.returned += u64::from(self.server.back(stamp, units));
            }
        }
    }

    fn arrives(&mut self, node: usize, now: u64) {
        if now >= self.phase_ends {
            // A quiet time and a rush by turns: what the whole limit is asked for so many times.
            let load = [1, 3, 6, 9, 40][self.random.below(5) as usize];
            let gap = self.span * 10_000 * self.nodes.len() as u64;
            self.gap = (gap / (load * u64::from(self.limit))).max(1);
            self.phase_ends = now + self.span * (100 + self.random.below(3_000));
        }
        let next = now + 1 + self.random.below(2 * self.gap);
        let paused = self.nodes[node].paused_until;
        self.at(next.max(paused), Event::Arrives { node });
        match self.random.below(2_000) {
            0 => {
                let pause = self.random.below(self.span * 3_000);
                self.nodes[node].paused_until = now + pause;
                return;
            }
            1 => {
                self.outcome.crashes += 1;
                self.nodes[node].holding = LeaseHolding::default();
                self.nodes[node].life += 1;
            }
            2..=20 => self.returns(node, now),
            // The clock of the server, by less than a window in all.
            21 if self.behind + 2 < self.span => self.behind += 1,
            22..=30 if self.bug == Bug::ServerStepsForward => self.stepped_forward += self.span / 2,
            _ => {}
        }
        let cost = if self.limit > 1 && self.random.below(10) == 0 { 2 } else { 1 };
        let node_at = &mut self.nodes[node];
        let clock = node_at.clock(now);
        let step = node_at.holding.decide(&node_at.config, &[self.quotas], cost, clock);
        let life = node_at.life;
        let (take, asked) = match step {
            LeaseStep::Decided(decision) => {
                if decision.allowed {
                    self.outcome.locally += u64::from(cost);
                    self.spend(cost, now);
                } else {
                    self.outcome.refused += 1;
                    assert!(decision.retry_after.is_some_and(|wait| wait > Duration::ZERO));
                }
                return;
            }
            LeaseStep::Ask { terms, number } => {
                let lease = terms.length.as_millis() as u64;
                let want = terms.most.max(cost);
                (Take { need: cost, want, divisor: terms.divisor, lease }, Some(number))
            }
            LeaseStep::AskExactly => (Take { need: cost, want: cost, divisor: 1, lease: 0 }, None),
        };
        let times = 1 + u32::from(self.random.below(100) == 0);
        let (sent, after) = (now, self.delay());
        self.at(now + after, Event::AtServer { node, life, sent, take, asked, times });
    }

    fn returns(&mut self, node: usize, now: u64) {
        for unspent in self.nodes[node].holding.forfeit() {
            let units = unspent.units;
            if self.bug == Bug::SpendsWhatItReturns {
                self.spend(units, now);
            }
            let parts = unspent.receipt.refund_some(units).parts();
            let stamp = stamp_of(parts.last().unwrap());
            let times = if self.bug == Bug::ReturnsTwice { 2 } else { 1 };
            for _ in 0..times {
                if self.random.below(10) > 0 {
                    let after = self.delay();
                    self.at(now + after, Event::Returned { stamp, units });
                }
            }
        }
    }

    /// Counts what is spent, and looks back one window.
    fn spend(&mut self, units: u32, now: u64) {
        let millis = now / 1_000;
        while let Some(&(at, gone)) = self.window.front()
            && at + self.span <= millis
        {
            self.window.pop_front();
            self.within -= u64::from(gone);
        }
        self.window.push_back((millis, units));
        self.within += u64::from(units);
        self.outcome.spent += u64::from(units);
        if self.within > u64::from(self.limit) {
            self.outcome.over += 1;
        }
    }
}

/// With which a grant ends, and what is asked to give it back.
fn stamp_of(bytes: &[u8]) -> u64 {
    let stamp = bytes.last_chunk::<6>().unwrap();
    stamp.iter().rev().fold(0, |stamp, &byte| stamp << 8 | u64::from(byte))
}
