//! The keys of one shard of the ledger, apart by the minute of their last use. It knows no lock.

use std::collections::VecDeque;

use crate::{
    clock::timestamp::Timestamp,
    key::id::KeyId,
    usage::{batch::Usage, bucket::UsageSpan, waiting::Waiting},
};

/// The keys of one shard, apart by the minute of their last use, so that a bucket of time gets what
/// was counted in it, however late it is saved.
#[derive(Default)]
pub(super) struct Minutes {
    /// In ascending order of the minute. None of them is empty.
    minutes: VecDeque<(Timestamp, Waiting)>,
    /// The memory of a minute that was drained, for the next one.
    spare: Waiting,
}

impl Minutes {
    /// Adds usage to a key in the minute of its last use. A key that does not wait in this minute is
    /// added only if `reserve` returns true. Otherwise its usage is added to another minute in which
    /// it waits, so that a key which waits is always counted. So is usage without an instant.
    #[inline]
    pub(super) fn add(
        &mut self,
        hash: u64,
        id: KeyId,
        usage: Usage,
        reserve: impl FnOnce() -> bool,
    ) -> bool {
        let minute = usage.last_used_at.map(|at| UsageSpan::Minute.begin(at));
        if let Some(minute) = minute {
            let waiting = self.minutes.iter_mut().rev().find(|(begin, _)| *begin <= minute);
            if let Some((begin, waiting)) = waiting
                && *begin == minute
                && waiting.merge(hash, id, usage)
            {
                return true;
            }
            if reserve() {
                self.waiting_of(minute).push(hash, id, usage);
                return true;
            }
            return self.merge_anywhere(hash, id, usage);
        }
        if self.merge_anywhere(hash, id, usage) {
            return true;
        }
        let reserved = reserve();
        if reserved {
            self.waiting_of(Timestamp::ZERO).push(hash, id, usage);
        }
        reserved
    }

    /// Returns the usage of a key in all minutes, if it is here.
    pub(super) fn get(&self, hash: u64, id: KeyId) -> Option<Usage> {
        let usages = self.minutes.iter().filter_map(|(_, waiting)| waiting.get(hash, id));
        usages.reduce(Usage::merge)
    }

    /// Takes out the key that arrived first of those of the earliest minute.
    pub(super) fn take_oldest(&mut self) -> Option<(KeyId, Usage)> {
        let (_, earliest) = self.minutes.front_mut()?;
        let oldest = earliest.take_oldest();
        if earliest.is_empty()
            && let Some((_, emptied)) = self.minutes.pop_front()
            && emptied.capacity() >= self.spare.capacity()
        {
            self.spare = emptied;
        }
        oldest
    }

    /// Adds usage to the latest minute in which a key waits. Returns whether there is one.
    #[cold]
    fn merge_anywhere(&mut self, hash: u64, id: KeyId, usage: Usage) -> bool {
        self.minutes.iter_mut().rev().any(|(_, waiting)| waiting.merge(hash, id, usage))
    }

    fn waiting_of(&mut self, minute: Timestamp) -> &mut Waiting {
        let at = self.minutes.partition_point(|(begin, _)| *begin < minute);
        if self.minutes.get(at).is_none_or(|(begin, _)| *begin != minute) {
            self.minutes.insert(at, (minute, std::mem::take(&mut self.spare)));
        }
        // It was inserted, so it is there. The spare is only for the compiler.
        match self.minutes.get_mut(at) {
            Some((_, waiting)) => waiting,
            None => &mut self.spare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::waiting::spread;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn what_was_drained_leaves_its_memory_to_the_next_minute() {
        let mut minutes = Minutes::default();
        let id = |n: u64| KeyId::from_bytes(u128::from(n).to_le_bytes());
        for minute in 0..3 {
            for n in 0..100 {
                let usage = Usage::new(1, Some(at(60 * minute)));
                assert!(minutes.add(spread(&id(n)), id(n), usage, || true));
            }
            let before = minutes.minutes.front().map(|(_, waiting)| waiting.capacity());
            while minutes.take_oldest().is_some() {}
            assert!(minutes.minutes.is_empty());
            assert_eq!(Some(minutes.spare.capacity()), before);
        }
    }

    /// A clock that is late, and one that runs back, find their minutes.
    #[test]
    fn minutes_are_in_order_whatever_the_order_of_arrival() {
        let mut minutes = Minutes::default();
        let id = KeyId::from_bytes([1; 16]);
        for secs in [130, 10, 70, 199, 59, 0, 61] {
            assert!(minutes.add(spread(&id), id, Usage::new(1, Some(at(secs))), || true));
        }
        assert_eq!(minutes.get(spread(&id), id), Some(Usage::new(7, Some(at(199)))));
        let taken: Vec<_> = std::iter::from_fn(|| minutes.take_oldest()).collect();
        let expected = [(3, 59), (2, 70), (1, 130), (1, 199)];
        assert!(
            taken
                .iter()
                .map(|(_, usage)| *usage)
                .eq(expected.map(|(requests, last)| Usage::new(requests, Some(at(last)))))
        );
    }

    /// The documented memory of an entry holds where a minute has many of them, after many arrivals and
    /// drains. With one entry in each of many minutes it does not.
    #[test]
    fn an_entry_takes_at_most_128_bytes_where_a_minute_has_many() {
        let allocated = |minutes: &Minutes| -> usize {
            let list = minutes.minutes.capacity() * size_of::<(Timestamp, Waiting)>();
            let tables = minutes.minutes.iter().map(|(_, waiting)| waiting.allocated());
            list + tables.sum::<usize>() + minutes.spare.allocated()
        };
        let id = |n: u64| KeyId::from_bytes((u128::from(n) * 0x9e37_79b9).to_le_bytes());
        for entries in [1_025_u64, 1_792, 1_793, 2_049, 3_584, 3_585] {
            for spread_over in [1, 3] {
                let mut minutes = Minutes::default();
                // In each minute so many entries arrive, and those of the minutes before leave.
                for minute in 0..8 {
                    for n in 0..entries {
                        let usage = Usage::new(1, Some(at(60 * minute)));
                        assert!(minutes.add(spread(&id(n)), id(n), usage, || true));
                    }
                    while minutes.minutes.len() > spread_over {
                        minutes.take_oldest();
                    }
                }
                let count = entries * spread_over as u64;
                let bytes = (allocated(&minutes) - minutes.spare.allocated()) as u64;
                assert!(bytes <= 128 * count, "{} for each of {count}", bytes / count);
            }
        }
        let mut minutes = Minutes::default();
        for minute in 0..100 {
            let usage = Usage::new(1, Some(at(60 * minute)));
            assert!(minutes.add(spread(&id(1)), id(1), usage, || true));
        }
        assert!(allocated(&minutes) > 128 * 100, "the condition of the bound is needed");
    }
}
