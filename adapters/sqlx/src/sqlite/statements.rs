//! The statements that only SQLite needs.

use crate::columns::find_statement;

/// Finds the key of up to four hashes. A parameter without a hash is null, which equals nothing.
pub(super) const FIND: &str = find_statement!("$1, $2, $3, $4");

/// Inserts a secret, if no key has its hash.
pub(super) const INSERT_SECRET: &str = "INSERT INTO keyward_secrets
       (key_id, hash, place, kind, hint, created_at, valid_until, revision)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (hash) DO NOTHING";

/// Deletes the secrets of a key whose revision was raised. The trigger takes a deletion of a row that
/// is not marked for one by hand, and raises the revision again.
pub(super) const DELETE_SECRETS: [&str; 2] = [
    "UPDATE keyward_secrets SET revision = 0 WHERE key_id = $1",
    "DELETE FROM keyward_secrets WHERE key_id = $1",
];

/// Adds usage. The parameter is a JSON array of rows, so that one value holds a batch of any size.
pub(super) const SAVE_USAGE: &str = "INSERT INTO keyward_usage (key_id, requests, last_used_at)
     SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)
     WHERE EXISTS (SELECT 1 FROM keyward_keys k WHERE k.id = value ->> 0)
     ON CONFLICT (key_id) DO UPDATE SET
       requests = CASE WHEN requests > 9223372036854775807 - excluded.requests
         THEN 9223372036854775807 ELSE requests + excluded.requests END,
       last_used_at = coalesce(max(last_used_at, excluded.last_used_at),
         last_used_at, excluded.last_used_at)";

/// Adds usage by spans of time. The parameter is a JSON array of rows.
pub(super) const SAVE_BUCKETS: &str =
    "INSERT INTO keyward_usage_buckets (key_id, span, begins_at, requests)
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($1)
     WHERE EXISTS (SELECT 1 FROM keyward_keys k WHERE k.id = value ->> 0)
     ON CONFLICT (key_id, span, begins_at) DO UPDATE SET
       requests = CASE WHEN requests > 9223372036854775807 - excluded.requests
         THEN 9223372036854775807 ELSE requests + excluded.requests END";

/// Returns the usage of the keys whose ids are in a JSON array.
pub(super) const USAGE: &str = "SELECT key_id AS id, requests, last_used_at FROM keyward_usage
     WHERE key_id IN (SELECT value FROM json_each($1))";

/// Returns the keys that ended before an instant, at most a number of them. A row without a valid id is
/// left, so that it does not prevent the purge of others.
pub(super) const ENDED: &str = "SELECT id FROM keyward_keys
     WHERE ends_at < $1 AND length(id) = 32 AND id NOT GLOB '*[^0-9a-f]*' ORDER BY ends_at, id LIMIT $2";

/// Delete the keys whose ids are in a JSON array, with what refers to them. A connection may have
/// switched cascading off. The keys come first, so that no trigger changes one.
pub(super) const DELETE_KEYS: [&str; 4] = [
    "DELETE FROM keyward_keys WHERE id IN (SELECT value FROM json_each($1))",
    "DELETE FROM keyward_secrets WHERE key_id IN (SELECT value FROM json_each($1))",
    "DELETE FROM keyward_usage WHERE key_id IN (SELECT value FROM json_each($1))",
    "DELETE FROM keyward_usage_buckets WHERE key_id IN (SELECT value FROM json_each($1))",
];
