//! Checks of listings.

use std::collections::BTreeSet;

use crate::{
    clock::timestamp::Timestamp,
    key::owner::OwnerId,
    store::{KeyRegistry, listing::PageRequest},
    testing::{BlockOn, world::World},
};

/// Listings contain each key once, oldest first, in pages, and no key of another owner.
pub fn listings_are_paged(executor: &impl BlockOn, store: &impl KeyRegistry) {
    executor.block_on(async {
        let mut world = World::new(13);
        let owner = OwnerId::new("owner").unwrap();
        let empty = store.list(&owner, PageRequest::first(10)).await.unwrap();
        assert!(empty.keys.is_empty() && empty.next.is_none());
        let (mut own, mut all) = (BTreeSet::new(), BTreeSet::new());
        for n in 0..23 {
            // Some are created in the same millisecond, and not in the order of their ids.
            world.now = Timestamp::from_unix_millis(1_700_000_000_000 + n / 4);
            let (record, _) = world.issue(if n % 3 == 0 { "other" } else { "owner" });
            let place = (record.created_at(), record.id());
            all.insert(place);
            if record.owner() == &owner {
                own.insert(place);
            }
            store.insert(record).await.unwrap();
        }
        for size in [1, 2, 5, 22, 23, 24, PageRequest::MAX_SIZE] {
            for (expected, of_owner) in [(&own, true), (&all, false)] {
                let (mut page, mut seen) = (PageRequest::first(size), Vec::new());
                loop {
                    let listing = if of_owner {
                        store.list(&owner, page).await.unwrap()
                    } else {
                        store.list_all(page).await.unwrap()
                    };
                    assert!(listing.keys.len() <= page.size(), "a page larger than asked for");
                    let keys = listing.keys.iter().map(|it| it.record());
                    seen.extend(keys.map(|record| (record.created_at(), record.id())));
                    assert!(seen.len() <= expected.len(), "a listing repeats keys");
                    let Some(next) = listing.next else { break };
                    assert_eq!(
                        listing.keys.len(),
                        page.size(),
                        "a short page that is not the last"
                    );
                    page = page.after(next);
                }
                assert_eq!(seen, expected.iter().copied().collect::<Vec<_>>(), "pages of {size}");
            }
        }
    });
}
