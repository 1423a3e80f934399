//! The conformance suite for authors of stores (feature `testing`).
//!
//! [`conformance_tests!`](crate::conformance_tests) makes a `#[test]` of each check. The checks
//! are also plain functions. Each takes an executor and a fresh, empty store, and panics where the
//! store breaks a promise of [`KeyStore`](crate::store::KeyStore) or
//! [`KeyRegistry`](crate::store::KeyRegistry). A store that only finds, such as a replica, is
//! tested through a registry over the same data, because the checks must insert keys.
//!
//! ```
//! # mod suite {
//! keyward::conformance_tests!(keyward::testing::Inline, keyward::MemoryStore::new());
//! # }
//! ```

mod audit;
mod concurrent;
mod find;
mod insert;
mod listing;
mod owner;
mod owner_listing;
mod purge;
mod replace;
mod withdraw;
mod world;

pub use self::{
    audit::{
        concurrent_appends_lose_no_entry, entries_are_filtered, entries_are_paged_latest_first,
        entries_of_one_instant_keep_their_order, every_field_of_an_entry_survives,
        old_entries_are_removed, paging_is_stable_while_entries_are_appended,
    },
    concurrent::{concurrent_inserts_have_one_winner, concurrent_replaces_have_one_winner},
    find::{
        dropped_secrets_are_not_found, find_by_id_sees_every_change, retiring_secrets_are_found,
        revoked_keys_are_still_found, schemes_are_told_apart, several_candidates_are_looked_up,
        try_find_agrees_with_find,
    },
    insert::{insert_never_replaces, insert_refuses_duplicate_secrets, insert_then_find},
    listing::listings_are_paged,
    owner::{
        a_cap_on_keys_is_kept, no_writer_of_a_tier_resumes_an_owner, owners_are_joined,
        owners_change_by_field,
    },
    owner_listing::{owners_are_listed, owners_are_removed},
    purge::{ended_keys_are_purged, purging_and_changing_exclude_each_other},
    replace::{
        a_stale_change_reaches_no_second_life, every_field_survives,
        replace_needs_the_next_revision, replace_refuses_duplicate_secrets,
    },
    withdraw::{
        all_keys_of_an_owner_are_revoked, no_number_of_writers_outruns_a_revocation,
        other_owners_keys_are_out_of_reach, revoking_needs_no_revision,
        suspending_needs_no_revision,
    },
};

use std::future::Future;

/// Runs the futures of a store.
///
/// Implement it for the runtime that a store needs. The checks call it from several threads at
/// once.
///
/// ```
/// use keyward::testing::BlockOn;
///
/// struct OnMyRuntime; // holding, say, a tokio::runtime::Runtime
///
/// impl BlockOn for OnMyRuntime {
///     fn block_on<F: Future>(&self, future: F) -> F::Output {
///         // self.0.block_on(future)
/// #       keyward::testing::Inline.block_on(future)
///     }
/// }
/// ```
pub trait BlockOn: Sync {
    /// Runs a future to completion on the calling thread.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

/// Runs futures on the calling thread, for stores that need no runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl BlockOn for Inline {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        pollster::block_on(future)
    }
}

/// Makes a `#[test]` of each check of a [`KeyRegistry`](crate::store::KeyRegistry).
///
/// The first expression is a [`BlockOn`]. The second one makes a fresh, empty store and is
/// evaluated once for each check.
#[macro_export]
macro_rules! conformance_tests {
    (@each $executor:expr, $store:expr, $($check:ident),* $(,)?) => {$(
        #[test]
        fn $check() {
            $crate::testing::$check(&$executor, &$store);
        }
    )*};
    ($executor:expr, $store:expr) => {
        $crate::each_conformance_check!([$crate::conformance_tests] @each $executor, $store,);
    };
}

/// Makes a `#[test]` of each check of an [`AuditStore`](crate::audit::AuditStore).
///
/// The first expression is a [`BlockOn`]. The second one makes a fresh, empty store and is
/// evaluated once for each check.
///
/// ```
/// # mod suite {
/// keyward::audit_conformance_tests!(
///     keyward::testing::Inline, keyward::audit::MemoryAuditStore::new()
/// );
/// # }
/// ```
#[macro_export]
macro_rules! audit_conformance_tests {
    ($executor:expr, $store:expr) => {
        $crate::each_audit_conformance_check!(
            [$crate::conformance_tests] @each $executor, $store,
        );
    };
}

/// Calls a macro with the names of all checks of an [`AuditStore`](crate::audit::AuditStore), after
/// any other arguments, as [`each_conformance_check!`](crate::each_conformance_check) does.
#[macro_export]
macro_rules! each_audit_conformance_check {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)*! {
            $($arguments)*
            entries_are_paged_latest_first,
            entries_of_one_instant_keep_their_order,
            paging_is_stable_while_entries_are_appended,
            entries_are_filtered,
            every_field_of_an_entry_survives,
            old_entries_are_removed,
            concurrent_appends_lose_no_entry,
        }
    };
}

/// Calls a macro with the names of all checks of a [`KeyRegistry`](crate::store::KeyRegistry), after
/// any other arguments. [`conformance_tests!`](crate::conformance_tests) uses it; so can tests that need
/// another attribute or another shape.
///
/// ```
/// macro_rules! count {
///     ($($check:ident),* $(,)?) => { [$(stringify!($check)),*].len() };
/// }
/// assert!(keyward::each_conformance_check!([count]) >= 30);
/// ```
#[macro_export]
macro_rules! each_conformance_check {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)*! {
            $($arguments)*
            insert_then_find,
            insert_never_replaces,
            insert_refuses_duplicate_secrets,
            replace_needs_the_next_revision,
            replace_refuses_duplicate_secrets,
            every_field_survives,
            retiring_secrets_are_found,
            dropped_secrets_are_not_found,
            several_candidates_are_looked_up,
            schemes_are_told_apart,
            revoked_keys_are_still_found,
            find_by_id_sees_every_change,
            try_find_agrees_with_find,
            ended_keys_are_purged,
            owners_are_joined,
            owners_are_listed,
            owners_are_removed,
            owners_change_by_field,
            no_writer_of_a_tier_resumes_an_owner,
            a_cap_on_keys_is_kept,
            a_stale_change_reaches_no_second_life,
            listings_are_paged,
            concurrent_replaces_have_one_winner,
            concurrent_inserts_have_one_winner,
            purging_and_changing_exclude_each_other,
            revoking_needs_no_revision,
            suspending_needs_no_revision,
            other_owners_keys_are_out_of_reach,
            all_keys_of_an_owner_are_revoked,
            no_number_of_writers_outruns_a_revocation,
        }
    };
}
