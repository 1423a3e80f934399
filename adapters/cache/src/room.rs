//! Where answers are held: bounded, and free to lose any of them at any time.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

use keyward::{Timestamp, key::KeyHash, store::Lookup};
use moka::{ops::compute::Op, sync::Cache};
use parking_lot::RwLock;

use crate::{
    changes::Changes,
    held::{Absent, Known},
};

/// The records by the hashes of their secrets.
///
/// `moka` keeps the bound and chooses what stays. In front of it a table holds what was asked
/// for lately, three secrets a shelf, because asking `moka` takes several times as long as
/// `MemoryStore` does: it reads a clock and writes down each question. What is held in either is
/// judged by its own stamps, so neither need be told of any change.
pub(crate) struct Secrets {
    shelves: Box<[Shelf]>,
    all: Cache<Digest, Arc<Known>, Seeded>,
}

/// Some of the secrets, on one cache line with their lock.
#[derive(Default)]
#[repr(align(64))]
struct Shelf(RwLock<Books>);

#[derive(Default)]
struct Books {
    books: [Option<Book>; 3],
    /// Counts those who found no place.
    turned_away: u8,
}

struct Book {
    word: u64,
    known: Arc<Known>,
}

const MAX_SHELVES: u32 = 65_536;
/// Of those who find the shelf full, one in so many takes another's place: so when there are more
/// than three for it, most of them stay and are found at once.
const PATIENCE: u8 = 16;

impl Secrets {
    pub(crate) fn new(max: u32) -> Self {
        let shelves = max.div_ceil(2).min(MAX_SHELVES).next_power_of_two();
        Self { shelves: (0..shelves).map(|_| Shelf::default()).collect(), all: cache(max) }
    }

    /// The record that has this secret, if it can still be answered.
    #[inline]
    pub(crate) fn get<R>(
        &self,
        hash: &KeyHash,
        changes: &Changes,
        now: impl Fn() -> Timestamp,
        then: impl Fn(&Known) -> R,
    ) -> Option<R> {
        let word = word(hash);
        let shelf = self.shelf(word);
        if let Some(books) = shelf.and_then(|shelf| shelf.0.try_read())
            && let Some(book) = books.find(word, hash)
            && book.known.serves(changes, now())
        {
            return Some(then(&book.known));
        }
        // The shelf is taken before `moka` is asked, so that what is put there is never older than
        // what `put` has put meanwhile.
        let mut books = shelf.and_then(|shelf| shelf.0.try_write());
        let known = self.all.get(&Digest(*hash))?;
        if !known.serves(changes, now()) {
            return None;
        }
        let answer = then(&known);
        let replaced = books.as_mut().and_then(|books| books.put(Book { word, known }, PATIENCE));
        // A record is freed here, outside of the lock.
        drop(books);
        drop(replaced);
        Some(answer)
    }

    /// Holds a record under all of its secrets, unless a later revision is there already: of
    /// two queries under way the one that read earlier may end later.
    pub(crate) fn put(&self, known: &Arc<Known>, changes: &Changes, now: Timestamp) {
        let record = known.found().record();
        for hash in record.hashes() {
            let newer = |there: &Known| {
                let held = there.found().record();
                held.id() == record.id()
                    && held.revision() > record.revision()
                    && there.serves(changes, now)
            };
            self.all.entry(Digest(*hash)).and_compute_with(|there| match there {
                Some(there) if newer(there.value()) => Op::Nop,
                _ => Op::Put(Arc::clone(known)),
            });
            let word = word(hash);
            let Some(mut books) = self.shelf(word).map(|shelf| shelf.0.write()) else { continue };
            if books.find(word, hash).is_some_and(|book| newer(&book.known)) {
                continue;
            }
            let replaced = books.put(Book { word, known: Arc::clone(known) }, 1);
            drop(books);
            drop(replaced);
        }
    }

    /// How many secrets are held, once what is pending has been done.
    pub(crate) fn len(&self) -> u64 {
        self.all.run_pending_tasks();
        self.all.entry_count()
    }

    /// Only keys that there are come here, so the digest's own bits can choose.
    #[inline]
    fn shelf(&self, word: u64) -> Option<&Shelf> {
        self.shelves.get((word as usize) & (self.shelves.len() - 1))
    }
}

impl Books {
    #[inline]
    fn find(&self, word: u64, hash: &KeyHash) -> Option<&Book> {
        let is = |book: &&Book| book.word == word && book.known.has(hash);
        self.books.iter().flatten().find(is)
    }

    /// Puts a book where the one of the same secret stands, or where there is room, or, when it is
    /// the last of `patience` who found none, in place of another. What goes is returned.
    fn put(&mut self, book: Book, patience: u8) -> Option<Book> {
        let same = |there: &Option<Book>| there.as_ref().is_some_and(|it| it.word == book.word);
        let at = self.books.iter().position(same);
        let at = at.or_else(|| self.books.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.turned_away = self.turned_away.wrapping_add(1);
            usize::from(self.turned_away / patience) % self.books.len()
        });
        let is_full = self.books.get(at).is_some_and(|it| it.is_some() && !same(it));
        if is_full && !self.turned_away.is_multiple_of(patience) {
            return Some(book);
        }
        self.books.get_mut(at)?.replace(book)
    }
}

/// The hashes that no key has.
pub(crate) struct Unknown(Cache<Digest, Absent, Seeded>);

impl Unknown {
    pub(crate) fn new(max: u32) -> Self {
        Self(cache(max))
    }

    /// Whether none of the hashes asked for has a key. It is held by hash, since another
    /// verifier may ask for one of them together with others.
    pub(crate) fn covers(
        &self,
        lookup: &Lookup,
        changes: &Changes,
        now: impl Fn() -> Timestamp,
    ) -> bool {
        let is_absent = |hash: &KeyHash| {
            self.0.get(&Digest(*hash)).is_some_and(|absent| absent.serves(changes, now()))
        };
        lookup.hashes().all(is_absent)
    }

    pub(crate) fn put(&self, hash: &KeyHash, absent: Absent) {
        self.0.insert(Digest(*hash), absent);
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

fn cache<V: Clone + Send + Sync + 'static>(max: u32) -> Cache<Digest, V, Seeded> {
    Cache::builder().max_capacity(u64::from(max)).build_with_hasher(Seeded::new())
}

/// The first word of a digest, which is as good as random.
#[inline]
pub(crate) fn word(hash: &KeyHash) -> u64 {
    hash.digest().first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Digest(KeyHash);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(word(&self.0));
    }
}

/// Hashes one word with a multiplication under a random key.
///
/// Anybody can look for tokens whose digests agree in a few bits, and have them remembered as
/// unknown. What agrees under a key that is not known cannot be looked for, but for digests
/// whose whole first words agree.
#[derive(Clone, Copy)]
struct Seeded {
    xor: u64,
    factor: u64,
}

impl Seeded {
    fn new() -> Self {
        let random = RandomState::new();
        Self { xor: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    #[inline]
    fn build_hasher(&self) -> Folded {
        Folded { seeded: *self, state: 0 }
    }
}

struct Folded {
    seeded: Seeded,
    state: u64,
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let wide = u128::from(self.state ^ word ^ self.seeded.xor);
        let product = wide * u128::from(self.seeded.factor);
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}
