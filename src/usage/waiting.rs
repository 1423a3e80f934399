//! The keys of one shard and minute of the ledger. It knows no lock.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::{key::id::KeyId, usage::batch::Usage};

/// The keys of one shard and minute in order of arrival.
///
/// Draining takes the oldest first, so that no key waits for ever. A table alone would be emptied in
/// the order of its hashes, and a key behind busy ones might never leave it.
#[derive(Default)]
pub(super) struct Waiting {
    queue: VecDeque<(KeyId, Usage)>,
    /// The number of the key at the head of the queue. Keys are numbered in order of arrival.
    head: u64,
    /// The numbers of the keys, by their ids' hashes.
    numbers: HashTable<u64>,
}

impl Waiting {
    /// Adds usage to a key that waits. Returns whether it does.
    #[inline]
    pub(super) fn merge(&mut self, hash: u64, id: KeyId, usage: Usage) -> bool {
        if let Some(at) = self.find(hash, id)
            && let Some((_, counted)) = self.queue.get_mut(at)
        {
            *counted = counted.merge(usage);
            return true;
        }
        false
    }

    /// Adds a key that does not wait.
    pub(super) fn push(&mut self, hash: u64, id: KeyId, usage: Usage) {
        let number = self.head.wrapping_add(self.queue.len() as u64);
        self.queue.push_back((id, usage));
        let (queue, head) = (&self.queue, self.head);
        self.numbers.insert_unique(hash, number, |&number| {
            queue.get(position(number, head)).map_or(0, |(id, _)| spread(id))
        });
    }

    /// Returns whether no key waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the number of keys for which there is memory.
    pub(super) fn capacity(&self) -> usize {
        self.queue.capacity().min(self.numbers.capacity())
    }

    /// Returns the number of allocated bytes.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.queue.capacity() * size_of::<(KeyId, Usage)>() + self.numbers.allocation_size()
    }

    /// Returns the usage of a key, if it is here.
    pub(super) fn get(&self, hash: u64, id: KeyId) -> Option<Usage> {
        self.queue.get(self.find(hash, id)?).map(|&(_, usage)| usage)
    }

    /// Takes out the key that arrived first.
    pub(super) fn take_oldest(&mut self) -> Option<(KeyId, Usage)> {
        let oldest = self.queue.pop_front()?;
        let number = self.head;
        if let Ok(entry) = self.numbers.find_entry(spread(&oldest.0), |&held| held == number) {
            entry.remove();
        }
        self.head = number.wrapping_add(1);
        Some(oldest)
    }

    /// Returns the position of a key in the queue.
    #[inline]
    fn find(&self, hash: u64, id: KeyId) -> Option<usize> {
        let is_it = |&number: &u64| {
            self.queue.get(position(number, self.head)).is_some_and(|(held, _)| *held == id)
        };
        self.numbers.find(hash, is_it).map(|&number| position(number, self.head))
    }
}

/// Returns the position in the queue of the key with this number.
#[inline]
const fn position(number: u64, head: u64) -> usize {
    number.wrapping_sub(head) as usize
}

/// Hashes an id to spread ids over shards and slots: multiplies both halves and folds the product.
/// Random ids need no hash, but a host may use the numbers of its rows as ids.
#[inline]
pub(super) fn spread(id: &KeyId) -> u64 {
    let bits = u128::from_le_bytes(*id.as_bytes());
    // The hexadecimal digits of pi, so that no half of an id is likely to become zero.
    let (low, high) = (bits as u64 ^ 0x243f_6a88_85a3_08d3, (bits >> 64) as u64);
    let product = u128::from(low) * u128::from(high ^ 0x1319_8a2e_0370_7344);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_ids_are_spread() {
        let families: [fn(u128) -> u128; 5] =
            [|i| i, |i| i << 64, |i| i << 116, |i| (i << 116).swap_bytes(), |i| i << 20 | i << 84];
        for (family, id) in families.iter().enumerate() {
            for shift in [0, 32, 57] {
                // 4,096 ids in 64 places: 64 each on average, and all in one if a hash is bad.
                let mut places = [0; 64];
                for i in 0..4_096 {
                    let id = KeyId::from_bytes(id(i).to_le_bytes());
                    places[(spread(&id) >> shift) as usize % 64] += 1;
                }
                let most = places.iter().max().unwrap();
                assert!(*most <= 192, "family {family}, shift {shift}: {most} in one place");
            }
        }
    }
}
