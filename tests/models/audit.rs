//! The audit store in memory passes the conformance suite, and the suite detects planted bugs.

mod memory {
    keyward::audit_conformance_tests!(
        keyward::testing::Inline,
        keyward::audit::MemoryAuditStore::new()
    );
}

mod behind_a_pointer {
    use std::sync::Arc;

    use keyward::audit::MemoryAuditStore;

    keyward::audit_conformance_tests!(keyward::testing::Inline, Arc::new(MemoryAuditStore::new()));
}

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard},
};

use keyward::{
    Timestamp,
    audit::{AuditCursor, AuditEntry, AuditFilter, AuditPage, AuditStore, DamagedEntry},
    testing::Inline,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    OldestFirst,
    OrderOfArrival,
    ReverseWithinAnInstant,
    CursorByInstantAlone,
    PagesByOffset,
    SinceIsExclusive,
    BeforeIsInclusive,
    OwnersIgnoreCase,
    OwnerIsIgnored,
    KeyIsIgnored,
    LosesTheDetail,
    LosesTheKind,
    LosesTheActor,
    LosesTheRequest,
    SizeIsIgnored,
    NextOnTheLastPage,
    RemovesTheLatestFirst,
    RemovalIsInclusive,
    RemovalIgnoresTheLimit,
    NumbersAreReused,
    ReportsDamage,
}

/// A list that is searched as a whole.
struct Planted {
    fault: Fault,
    entries: Mutex<(u64, Vec<(AuditCursor, AuditEntry)>)>,
}

impl Planted {
    fn new(fault: Fault) -> Self {
        Self { fault, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, (u64, Vec<(AuditCursor, AuditEntry)>)> {
        self.entries.lock().unwrap()
    }

    fn admits(&self, filter: &AuditFilter, entry: &AuditEntry) -> bool {
        let mut filter = filter.clone();
        match self.fault {
            Fault::SinceIsExclusive if filter.since == Some(entry.at) => return false,
            Fault::BeforeIsInclusive if filter.before == Some(entry.at) => filter.before = None,
            Fault::OwnerIsIgnored => filter.owner = None,
            Fault::KeyIsIgnored => filter.key = None,
            Fault::OwnersIgnoreCase => {
                let same = filter.owner.as_ref().zip(entry.owner.as_ref());
                if same.is_some_and(|(a, b)| a.as_str().eq_ignore_ascii_case(b.as_str())) {
                    filter.owner = None;
                }
            }
            _ => {}
        }
        filter.admits(entry)
    }
}

impl AuditStore for Planted {
    type Error = Infallible;

    async fn append(&self, entries: &[AuditEntry]) -> Result<(), Infallible> {
        let mut stored = self.entries();
        if self.fault == Fault::NumbersAreReused {
            stored.0 = 0;
        }
        for entry in entries {
            stored.0 += 1;
            let position = AuditCursor { at: entry.at, number: stored.0 };
            let mut entry = entry.clone();
            match self.fault {
                Fault::LosesTheDetail => entry.detail = None,
                Fault::LosesTheKind => entry.kind = None,
                Fault::LosesTheActor => entry.actor = None,
                Fault::LosesTheRequest => entry.request_id = None,
                _ => {}
            }
            stored.1.push((position, entry));
        }
        Ok(())
    }

    async fn page(
        &self,
        filter: &AuditFilter,
        after: Option<AuditCursor>,
        size: u16,
    ) -> Result<AuditPage, Infallible> {
        let mut entries = self.entries().1.clone();
        match self.fault {
            Fault::OldestFirst => entries.sort_by_key(|(position, _)| *position),
            Fault::OrderOfArrival => entries.reverse(),
            Fault::ReverseWithinAnInstant => {
                entries.sort_by_key(|(position, _)| std::cmp::Reverse(position.at));
            }
            _ => entries.sort_by_key(|(position, _)| std::cmp::Reverse(*position)),
        }
        entries.retain(|(_, entry)| self.admits(filter, entry));
        if let Some(after) = after {
            match self.fault {
                Fault::PagesByOffset => {
                    let read = after.number.min(entries.len() as u64);
                    entries.drain(..read as usize);
                }
                Fault::CursorByInstantAlone => {
                    entries.retain(|(position, _)| position.at < after.at);
                }
                Fault::OldestFirst => entries.retain(|(position, _)| *position > after),
                _ => entries.retain(|(position, _)| *position < after),
            }
        }
        let size = if self.fault == Fault::SizeIsIgnored { u16::MAX } else { size };
        if self.fault == Fault::ReportsDamage && after.is_some() {
            let damaged = vec![DamagedEntry::new(after, "kind")];
            return Ok(AuditPage::from_one_more(entries, size).with_damaged(damaged));
        }
        let last = entries.last().map(|(position, _)| *position);
        let mut page = AuditPage::from_one_more(entries, size);
        if self.fault == Fault::NextOnTheLastPage && page.next.is_none() {
            page.next = last;
        }
        if self.fault == Fault::PagesByOffset
            && let Some(next) = &mut page.next
        {
            let before = after.map_or(0, |after| after.number);
            next.number = before + AuditPage::size(size) as u64;
        }
        Ok(page)
    }

    async fn remove_before(&self, before: Timestamp, limit: u32) -> Result<u64, Infallible> {
        let mut stored = self.entries();
        let entries = &mut stored.1;
        entries.sort_by_key(|(position, _)| *position);
        let is_old = |at| match self.fault {
            Fault::RemovalIsInclusive => at <= before,
            _ => at < before,
        };
        let old = entries.iter().filter(|(position, _)| is_old(position.at)).count();
        let limit = if self.fault == Fault::RemovalIgnoresTheLimit { u32::MAX } else { limit };
        let removed = old.min(limit as usize);
        match self.fault {
            Fault::RemovesTheLatestFirst => drop(entries.drain(old - removed..old)),
            _ => drop(entries.drain(..removed)),
        }
        Ok(removed as u64)
    }
}

macro_rules! failing_checks {
    ($fault:expr, $($check:ident),* $(,)?) => {{
        let mut failing: Vec<&str> = Vec::new();
        $(
            let store = Planted::new($fault);
            let check = || keyward::testing::$check(&Inline, &store);
            if catch_unwind(AssertUnwindSafe(check)).is_err() {
                failing.push(stringify!($check));
            }
        )*
        failing
    }};
}

fn failing(fault: Fault) -> Vec<&'static str> {
    keyward::each_audit_conformance_check!([failing_checks] fault,)
}

#[test]
fn the_suite_detects_planted_bugs() {
    assert_eq!(failing(Fault::None), Vec::<&str>::new(), "a store without a bug passes");
    for fault in [
        Fault::OldestFirst,
        Fault::OrderOfArrival,
        Fault::ReverseWithinAnInstant,
        Fault::CursorByInstantAlone,
        Fault::PagesByOffset,
        Fault::SinceIsExclusive,
        Fault::BeforeIsInclusive,
        Fault::OwnersIgnoreCase,
        Fault::OwnerIsIgnored,
        Fault::KeyIsIgnored,
        Fault::LosesTheDetail,
        Fault::LosesTheKind,
        Fault::LosesTheActor,
        Fault::LosesTheRequest,
        Fault::SizeIsIgnored,
        Fault::NextOnTheLastPage,
        Fault::RemovesTheLatestFirst,
        Fault::RemovalIsInclusive,
        Fault::RemovalIgnoresTheLimit,
        Fault::NumbersAreReused,
        Fault::ReportsDamage,
    ] {
        assert!(!failing(fault).is_empty(), "{fault:?} is not detected");
    }
}
