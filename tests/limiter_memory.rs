//! What the limiter allocates, by a counting allocator: the memory formula, the plateau
//! under a flood, and what a flood does to newcomers.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{LimitKey, LimiterConfig},
};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator; counts what this thread holds and how often it has asked.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        LARGEST.set(LARGEST.get().max(layout.size()));
        HELD.set(HELD.get() + layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        LARGEST.set(LARGEST.get().max(layout.size()));
        HELD.set(HELD.get() + layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const NOW: Timestamp = Timestamp::from_unix_secs(1_767_323_045);

fn per_minute(limit: u32) -> Quotas {
    Quotas::single(Quota::per_minute(limit))
}

fn limiter(max_keys: u32) -> Limiter {
    Limiter::new(LimiterConfig::default().with_max_keys(max_keys), [5; 16])
}

fn key(number: u64) -> LimitKey {
    // Random ids, as keys have.
    let mixed = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    LimitKey::key((mixed ^ mixed >> 64).to_le_bytes())
}

/// The bytes that `keys` keys of `stamps` requests each hold, per tracked key.
fn bytes_per_key(max_keys: u32, keys: u64, limit: u32, stamps: u32) -> f64 {
    let before = HELD.get();
    let limiter = limiter(max_keys);
    for number in 0..keys {
        for _ in 0..stamps {
            assert!(limiter.check(key(number), &per_minute(limit), 1, NOW).unwrap().allowed);
        }
    }
    assert_eq!(limiter.len(), keys as usize, "nobody is in overflow");
    (HELD.get() - before) as f64 / limiter.len() as f64
}

/// At the cap: the entry's 64 bytes, its share of the index, and 4 bytes for each request of
/// the limit once there are more than six.
#[test]
fn a_key_at_the_cap_is_small() {
    // One shard, so that it is filled to the last place before anybody is in overflow.
    let at_the_cap = |limit, stamps| {
        let before = HELD.get();
        let config = LimiterConfig::default().with_max_keys(1 << 15).with_shards(1);
        let limiter = Limiter::new(config, [5; 16]);
        for number in 0..1 << 15 {
            for _ in 0..stamps {
                assert!(limiter.check(key(number), &per_minute(limit), 1, NOW).unwrap().allowed);
            }
        }
        assert_eq!(limiter.len(), limiter.max_keys());
        (HELD.get() - before) as f64 / limiter.len() as f64
    };
    let (six, hundred) = (at_the_cap(100, 6), at_the_cap(100, 100));
    println!("at the cap: {six:.1} bytes a key at 6 stamps, {hundred:.1} at 100");
    assert!(six <= 96.0, "{six}");
    assert!(hundred <= 480.0, "{hundred}");
}

/// Growing: just after the table has doubled.
#[test]
fn a_key_in_a_growing_table_is_small() {
    // The default's 64 shards double at slightly different times; the worst is searched.
    let worst = |stamps| {
        (0..8)
            .map(|step| {
                let keys = (1 << 15) + (step << 12);
                bytes_per_key(1 << 20, keys, 100, stamps)
            })
            .fold(0.0, f64::max)
    };
    let (six, hundred) = (worst(6), worst(100));
    println!("growing: {six:.1} bytes a key at 6 stamps, {hundred:.1} at 100");
    assert!(six <= 160.0, "{six}");
    assert!(hundred <= 560.0, "{hundred}");
}

/// A tracked key allocates once, when its stamps spill; deciding allocates nothing.
#[test]
fn a_key_allocates_once() {
    let limiter = limiter(1_000);
    let quotas = per_minute(100);
    let _first = limiter.check(key(1), &quotas, 1, NOW).unwrap();
    let allocations = |requests: u64, from: Timestamp| {
        let before = CALLS.get();
        for request in 0..requests {
            let now = from + Duration::from_millis(request);
            let _any = limiter.check(key(1), &quotas, 1, now).unwrap();
        }
        CALLS.get() - before
    };
    assert_eq!(allocations(5, NOW), 0, "six stamps lie in the entry");
    assert_eq!(allocations(1, NOW), 1, "the seventh spills");
    assert_eq!(allocations(1_000, NOW), 0, "admitted or refused");
    assert_eq!(allocations(100_000, NOW + Duration::from_secs(3_600)), 0, "a ring for ever");
}

/// Ten million random keys, each once: memory reaches its bound and stays there, and the
/// keys that were tracked before decide as if there were no flood.
#[test]
fn a_flood_leaves_memory_on_a_plateau() {
    const FLOOD: u64 = 10_000_000;
    let quotas = per_minute(20);
    let (limiter, quiet) = (limiter(10_000), limiter(10_000));
    let before = HELD.get();
    let mut now = NOW;
    let (mut plateau, mut resident) = (0, 0);
    for number in 0..FLOOD {
        // The tracked keys first, then a flood at a thousand a second among their requests.
        if number % 100 == 0 {
            let tracked = key((1 << 60) + number / 100 % 50);
            let expected = quiet.check(tracked, &quotas, 1, now).unwrap();
            assert_eq!(limiter.check(tracked, &quotas, 1, now).unwrap(), expected);
        }
        if number >= 5_000 {
            let _any = limiter.check(key(number), &quotas, 1, now).unwrap();
            now = now + Duration::from_millis(1);
        }
        if number == FLOOD / 4 {
            (plateau, resident) = (HELD.get() - before, resident_kib());
        }
    }
    let after = HELD.get() - before;
    println!("{plateau} bytes after {} keys, {after} after {FLOOD}", FLOOD / 4);
    let more = resident_kib() - resident;
    println!("resident memory has grown by {more} KiB since");
    assert!(more < 1_024, "resident memory has grown by {more} KiB");
    assert!(limiter.len() <= limiter.max_keys());
    assert!(after <= plateau + plateau / 50, "{plateau} bytes became {after}");
    // The formula, with all in overflow: entries, index, rings, and cells.
    let bound = limiter.max_keys() as isize * (64 + 11 + 4 * 20 + 192 + 4) + 64 * 256;
    assert!(after <= bound, "{after} of {bound}");
}

/// What the system says this process occupies; nothing where it does not say.
fn resident_kib() -> i64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<i64>().ok());
    pages.map_or(0, |pages| pages * 4)
}

/// A flood that drains the limit of each of its keys, and then newcomers that never sent
/// anything: the share of these that is refused.
#[test]
fn newcomers_after_a_drain_flood() {
    const CAP: u32 = 16_384;
    let quotas = per_minute(100);
    let shares = [3, 4, 6, 9, 12].map(|times| {
        let limiter = limiter(CAP);
        for number in 0..u64::from(CAP * times) {
            let _any = limiter.check(key(number), &quotas, 100, NOW).unwrap();
        }
        let newcomers = 10_000;
        let refused = (0..newcomers)
            .filter(|number| {
                let key = key((1 << 60) + number);
                !limiter.peek(key, &quotas, 1, NOW).unwrap().allowed
            })
            .count();
        (times, refused as f64 * 100.0 / newcomers as f64)
    });
    println!("newcomers refused after a flood of so many times the cap: {shares:.1?} %");
    for (times, refused) in shares {
        // rate-net 2.1.0: 0, 3, 38 and 86 %.
        assert!(times > 6 || refused < 0.5, "{refused} % at {times} times the cap");
        assert!(times > 9 || refused < 10.0, "{refused} % at {times} times the cap");
    }
}

/// A window that a key does not have yet is told as it would begin: in the memory of its own limit.
#[test]
fn the_status_of_a_new_window_takes_the_memory_of_its_limit() {
    let limiter = limiter(16);
    for _ in 0..10 {
        assert!(limiter.check(key(1), &per_minute(100), 1, NOW).unwrap().allowed);
    }
    let hourly = Quotas::single(Quota::per_hour(200));
    LARGEST.set(0);
    let status = limiter.status(key(1), &hourly, NOW).unwrap();
    assert_eq!((status[0].used, status[0].remaining), (10, 190));
    assert!(LARGEST.get() <= 4 * 200, "{} bytes at once", LARGEST.get());
    // As many as the limit of the new window are told, as it would begin with no more.
    let few = Quotas::single(Quota::per_hour(7));
    let status = limiter.status(key(1), &few, NOW).unwrap();
    assert_eq!((status[0].used, status[0].remaining), (7, 0));
    assert!(!limiter.check(key(1), &few, 1, NOW).unwrap().allowed);
}
