//! The index of a book: 4 bytes a slot, at most three quarters full, linear probing.

use crate::limit::{
    key::{KeyedHash, LimitKey},
    table::book::Book,
};

impl Book {
    /// Returns the place of the key's entry.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &LimitKey) -> Option<usize> {
        let hash = KeyedHash::slot(hash);
        let mask = self.index.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            let slot = *self.index.get(at)?;
            if slot == 0 {
                return None;
            }
            if slot >> 24 == tag(hash) {
                let found = entry_of(slot);
                if self.entries.get(found).is_some_and(|entry| entry.key() == *key) {
                    return Some(found);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Enters the entry at `at` into the index, which has room.
    pub(super) fn link(&mut self, hash: u64, at: usize) {
        let hash = KeyedHash::slot(hash);
        let mask = self.index.len().wrapping_sub(1);
        let mut place = hash as usize & mask;
        while let Some(slot) = self.index.get_mut(place) {
            if *slot == 0 {
                *slot = tag(hash) << 24 | (at as u32 + 1);
                return;
            }
            place = (place + 1) & mask;
        }
    }

    /// Returns the slot of the index that leads to the entry at `at`.
    fn place_of(&self, at: usize) -> Option<usize> {
        let slot = KeyedHash::slot(self.hash.place(&self.entries.get(at)?.key()));
        let mask = self.index.len().wrapping_sub(1);
        let mut place = slot as usize & mask;
        loop {
            match *self.index.get(place)? {
                0 => return None,
                slot if entry_of(slot) == at => return Some(place),
                _ => place = (place + 1) & mask,
            }
        }
    }

    /// Removes the entry at `at`: the last entry moves into its place, and the gap in the index
    /// closes.
    pub(super) fn remove(&mut self, at: usize) {
        let mask = self.index.len().wrapping_sub(1);
        let Some(mut gap) = self.place_of(at) else { return };
        // The slots that follow move up, unless that would move them before their home.
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            let slot = self.index.get(place).copied().unwrap_or(0);
            let Some(entry) = self.entries.get(entry_of(slot)).filter(|_| slot != 0) else { break };
            let home = KeyedHash::slot(self.hash.place(&entry.key())) as usize & mask;
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(gap) & mask {
                if let Some(free) = self.index.get_mut(gap) {
                    *free = slot;
                }
                gap = place;
            }
        }
        if let Some(free) = self.index.get_mut(gap) {
            *free = 0;
        }
        let last = self.entries.len() - 1;
        if last != at
            && let Some(place) = self.place_of(last)
            && let Some(slot) = self.index.get_mut(place)
        {
            *slot = *slot >> 24 << 24 | (at as u32 + 1);
        }
        self.entries.swap_remove(at);
    }

    /// Makes room for one more entry in the vector and the index. Each doubles when it is full, the
    /// vector up to the cap.
    pub(super) fn make_room(&mut self) {
        let len = self.entries.len();
        if len == self.entries.capacity() {
            let capacity = (2 * len).clamp(8, self.max_entries.max(8) as usize);
            self.entries.reserve_exact(capacity - len);
        }
        if 4 * (len + 1) > 3 * self.index.len() {
            self.index = vec![0; (2 * self.index.len()).max(16)].into_boxed_slice();
            for at in 0..len {
                if let Some(entry) = self.entries.get(at) {
                    self.link(self.hash.place(&entry.key()), at);
                }
            }
        }
    }
}

#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 40) as u32 & 0xff
}

#[inline(always)]
fn entry_of(slot: u32) -> usize {
    (slot as usize & 0xff_ffff).wrapping_sub(1)
}
