//! The statements that only PostgreSQL needs.

use keyward::KeyHasher;

use crate::columns::find_statement;

/// Find the key of one to four hashes.
///
/// There is a statement for each number, and none with an array of any length. The server
/// estimates that such an array has ten elements, considers the plan that it could cache too
/// expensive, and plans each lookup again, which takes longer than the lookup.
pub(super) const FIND: [&str; KeyHasher::MAX_SCHEMES] = [
    find_statement!("$1"),
    find_statement!("$1, $2"),
    find_statement!("$1, $2, $3"),
    find_statement!("$1, $2, $3, $4"),
];

/// Makes each commit of a session wait for the disk, unless it waits for more than that already.
pub(super) const COMMIT_DURABLY: &str = "SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') = 'off'";

/// Locks an owner. The seed keeps these locks apart from those of other users of advisory locks.
pub(super) const LOCK_OWNER: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended($1, 7739827398401))";

/// Locks the keys of an owner, in the order of their ids.
pub(super) const LOCK_KEYS_OF_OWNER: &str =
    "SELECT 1 FROM keyward_keys WHERE owner = $1 ORDER BY id FOR NO KEY UPDATE";

/// Inserts the secrets of a key, except those whose hashes another key has.
pub(super) const INSERT_SECRETS: &str =
    "INSERT INTO keyward_secrets (key_id, hash, place, kind, hint, created_at, valid_until)
     SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
       $7::bigint[])
     ON CONFLICT (hash) DO NOTHING";

/// Deletes the secrets of a key.
pub(super) const DELETE_SECRETS: &str = "DELETE FROM keyward_secrets WHERE key_id = $1";

/// Adds usage, in total and by spans of time. The locks on the keys prevent a purge between the check that a key exists and the
/// insertion of a row that refers to it; they do not hinder changes of the keys.
pub(super) const SAVE_USAGE: &str = "WITH known AS (
       SELECT id FROM keyward_keys WHERE id = ANY($1) ORDER BY id FOR KEY SHARE
     ), bucketed AS (
       INSERT INTO keyward_usage_buckets AS saved (key_id, span, begins_at, requests)
       SELECT used.key_id, used.span, used.begins_at, used.requests
       FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[])
         AS used (key_id, span, begins_at, requests)
       JOIN known ON known.id = used.key_id ORDER BY used.key_id, used.span, used.begins_at
       ON CONFLICT (key_id, span, begins_at) DO UPDATE SET
         requests = CASE WHEN saved.requests > 9223372036854775807 - excluded.requests
           THEN 9223372036854775807 ELSE saved.requests + excluded.requests END
     )
     INSERT INTO keyward_usage AS saved (key_id, requests, last_used_at)
     SELECT used.key_id, used.requests, used.last_used_at
     FROM unnest($1, $2::bigint[], $3::bigint[]) AS used (key_id, requests, last_used_at)
     JOIN known ON known.id = used.key_id ORDER BY used.key_id
     ON CONFLICT (key_id) DO UPDATE SET
       requests = CASE WHEN saved.requests > 9223372036854775807 - excluded.requests
         THEN 9223372036854775807 ELSE saved.requests + excluded.requests END,
       last_used_at = greatest(saved.last_used_at, excluded.last_used_at)";

/// Returns the usage of keys.
pub(super) const USAGE: &str =
    "SELECT key_id AS id, requests, last_used_at FROM keyward_usage WHERE key_id = ANY($1)";

/// Returns the keys that ended before an instant, at most a number of them. A row without a valid id is
/// left, so that it does not prevent the purge of others.
pub(super) const ENDED: &str = "SELECT id FROM keyward_keys
     WHERE ends_at < $1 AND id ~ '^[0-9a-f]{32}$' ORDER BY ends_at, id LIMIT $2";

/// Locks the keys that still ended before an instant, in the order of their ids. [`SAVE_USAGE`]
/// uses the same order, so the two cannot deadlock.
pub(super) const LOCK_ENDED: &str =
    "SELECT id FROM keyward_keys WHERE id = ANY($1) AND ends_at < $2
     ORDER BY id FOR UPDATE";

/// Deletes keys. Their secrets and usage are deleted by cascading.
pub(super) const DELETE_KEYS: &str = "DELETE FROM keyward_keys WHERE id = ANY($1)";
