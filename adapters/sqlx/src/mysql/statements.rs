//! The statements for MySQL and MariaDB.
//!
//! Both lack `RETURNING` for updates, `ON CONFLICT DO NOTHING` and ranges over rows of values in an
//! index. A parameter with a number can occur twice; see `numbered`.

use crate::{
    columns::{find_statement, joined_columns, key_fields, key_values, owner_fields},
    statements::Statements,
};

/// MariaDB checks all columns of a row that is updated, and would not let a damaged one be revoked. MySQL
/// takes this for a comment.
macro_rules! unchecked {
    ($statement:literal) => {
        concat!("/*M!100203 SET STATEMENT check_constraint_checks = 0 FOR */ ", $statement)
    };
}

/// The lists of statements that the other databases share are valid here too, except these.
pub(super) const STATEMENTS: Statements = Statements {
    list: concat!(
        "SELECT ",
        joined_columns!(),
        " FROM (SELECT * FROM keyward_keys
                WHERE owner = $1 AND created_at >= $2 AND (created_at > $2 OR id > $3)
                ORDER BY created_at, id LIMIT $4) k
          LEFT JOIN keyward_secrets s ON s.key_id = k.id
          LEFT JOIN keyward_owners o ON o.id = k.owner
          ORDER BY k.created_at, k.id"
    ),
    list_all: concat!(
        "SELECT ",
        joined_columns!(),
        " FROM (SELECT * FROM keyward_keys WHERE created_at >= $1 AND (created_at > $1 OR id > $2)
                ORDER BY created_at, id LIMIT $3) k
          LEFT JOIN keyward_secrets s ON s.key_id = k.id
          LEFT JOIN keyward_owners o ON o.id = k.owner
          ORDER BY k.created_at, k.id"
    ),
    insert_key: concat!(
        "INSERT INTO keyward_keys (id, revision, ",
        key_fields!(),
        ") VALUES ($1, $2, ",
        key_values!(),
        ")"
    ),
    update_key: "UPDATE keyward_keys SET revision = $2, owner = $3, name = $4, scopes = $5,
           overrides = $6, created_at = $7, expires_at = $8, state = $9, state_since = $10,
           networks = $12, origins = $13, metadata = $14, created_by = $15, revocation_reason = $16
         WHERE id = $1 AND revision = $2 - 1 AND nonce = $11",
    is_revoked: "SELECT CAST(state = 'revoked' AS SIGNED) AS revoked
         FROM keyward_keys WHERE id = $1 AND ($2 IS NULL OR owner = $2)",
    revoke_key: unchecked!(
        "UPDATE keyward_keys
         SET state = 'revoked', state_since = $3, revocation_reason = $4, revision = revision +
           CASE WHEN revision < 9223372036854775807 THEN 1 ELSE 0 END
         WHERE id = $1 AND ($2 IS NULL OR owner = $2) AND state <> 'revoked'"
    ),
    suspend_key: unchecked!(
        "UPDATE keyward_keys
         SET state_since = CASE state WHEN 'suspended' THEN state_since ELSE $3 END,
           state = 'suspended', revision = revision +
           CASE WHEN revision < 9223372036854775807 THEN 1 ELSE 0 END
         WHERE id = $1 AND ($2 IS NULL OR owner = $2) AND state <> 'revoked'"
    ),
    revoke_all: unchecked!(
        "UPDATE keyward_keys
         SET state = 'revoked', state_since = $2, revocation_reason = $3, revision = revision +
           CASE WHEN revision < 9223372036854775807 THEN 1 ELSE 0 END
         WHERE owner = $1 AND state <> 'revoked'"
    ),
    put_owner: concat!(
        "INSERT INTO keyward_owners (",
        owner_fields!(),
        ") VALUES ($1, $2, $3, $4, $5, $6) ON DUPLICATE KEY UPDATE
           tier = VALUES(tier), overrides = VALUES(overrides), key_cap = VALUES(key_cap)"
    ),
    set_tier: "INSERT INTO keyward_owners (id, tier) VALUES ($1, $2)
         ON DUPLICATE KEY UPDATE tier = VALUES(tier)",
    set_overrides: "INSERT INTO keyward_owners (id, overrides) VALUES ($1, $2)
         ON DUPLICATE KEY UPDATE overrides = VALUES(overrides)",
    set_key_cap: "INSERT INTO keyward_owners (id, key_cap) VALUES ($1, $2)
         ON DUPLICATE KEY UPDATE key_cap = VALUES(key_cap)",
    suspend_owner: "INSERT INTO keyward_owners (id, state, state_since)
         VALUES ($1, 'suspended', $2) ON DUPLICATE KEY UPDATE
           state = 'suspended', state_since = COALESCE(state_since, VALUES(state_since))",
    resume_owner: "INSERT INTO keyward_owners (id) VALUES ($1)
         ON DUPLICATE KEY UPDATE state = 'active', state_since = NULL",
    remove_usage: "DELETE FROM keyward_usage_buckets
         WHERE span = $1 AND begins_at < $2 ORDER BY begins_at LIMIT $3",
    remove_audit: "DELETE FROM keyward_audit WHERE at < $1 ORDER BY at, number LIMIT $2",
    ..Statements::STANDARD
};

/// Finds the key of up to four hashes. A parameter without a hash is null, which equals nothing.
pub(super) const FIND: &str = find_statement!("?, ?, ?, ?");

/// Locks the row that stands for an owner.
pub(super) const LOCK_OWNER: &str =
    "SELECT slot FROM keyward_locks WHERE slot = CRC32(?) % 256 FOR UPDATE";

/// Locks the keys of an owner that are not revoked.
pub(super) const LOCK_LIVE_KEYS: &str =
    "SELECT id FROM keyward_keys WHERE owner = ? AND state <> 'revoked' ORDER BY id FOR UPDATE";

/// Inserts a secret, unless a key has its hash.
pub(super) const INSERT_SECRET: &str = "INSERT INTO keyward_secrets
       (key_id, hash, place, kind, hint, created_at, valid_until, revision)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

/// Deletes the secrets of a key whose revision was raised. The trigger takes a deletion of a row that
/// is not marked for one by hand, and raises the revision again.
pub(super) const DELETE_SECRETS: [&str; 2] = [
    "UPDATE keyward_secrets SET revision = 0 WHERE key_id = ?",
    "DELETE FROM keyward_secrets WHERE key_id = ?",
];

/// Adds usage. The parameter is a JSON array of rows, so that one value holds a batch of any size.
pub(super) const SAVE_USAGE: &str = "INSERT INTO keyward_usage (key_id, requests, last_used_at)
     SELECT used.key_id, used.requests, used.last_used_at
     FROM JSON_TABLE(?, '$[*]' COLUMNS (key_id VARCHAR(64) PATH '$[0]',
       requests BIGINT PATH '$[1]', last_used_at BIGINT PATH '$[2]')) AS used
     JOIN keyward_keys k ON k.id = used.key_id ORDER BY k.id
     ON DUPLICATE KEY UPDATE
       requests = CASE WHEN keyward_usage.requests > 9223372036854775807 - VALUES(requests)
         THEN 9223372036854775807 ELSE keyward_usage.requests + VALUES(requests) END,
       last_used_at = COALESCE(GREATEST(keyward_usage.last_used_at, VALUES(last_used_at)),
         keyward_usage.last_used_at, VALUES(last_used_at))";

/// Adds usage by spans of time. The parameter is a JSON array of rows.
pub(super) const SAVE_BUCKETS: &str =
    "INSERT INTO keyward_usage_buckets (key_id, span, begins_at, requests)
     SELECT used.key_id, used.span, used.begins_at, used.requests
     FROM JSON_TABLE(?, '$[*]' COLUMNS (key_id VARCHAR(64) PATH '$[0]', span VARCHAR(16) PATH '$[1]',
       begins_at BIGINT PATH '$[2]', requests BIGINT PATH '$[3]')) AS used
     JOIN keyward_keys k ON k.id = used.key_id ORDER BY k.id, used.span, used.begins_at
     ON DUPLICATE KEY UPDATE requests =
       CASE WHEN keyward_usage_buckets.requests > 9223372036854775807 - VALUES(requests)
         THEN 9223372036854775807 ELSE keyward_usage_buckets.requests + VALUES(requests) END";

/// Returns the usage of the keys whose ids are in a JSON array.
pub(super) const USAGE: &str = "SELECT u.key_id AS id, u.requests AS requests,
       u.last_used_at AS last_used_at
     FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) PATH '$')) AS wanted
     JOIN keyward_usage u ON u.key_id = wanted.id ORDER BY u.key_id";

/// Returns the keys that ended before an instant, at most a number of them. A row without a
/// valid id is left, so that it does not prevent the purge of others.
pub(super) const ENDED: &str = "SELECT id FROM keyward_keys
     WHERE ends_at < ? AND id REGEXP '^[0-9a-f]{32}$' AND OCTET_LENGTH(id) = 32
     ORDER BY ends_at, id LIMIT ?";

/// Locks the keys that still ended before an instant, in the order of the JSON array of their ids, which
/// is ascending. [`SAVE_USAGE`] locks keys in the same order, so the two do not deadlock.
pub(super) const LOCK_ENDED: &str = "SELECT k.id AS id
     FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) PATH '$')) AS wanted
     STRAIGHT_JOIN keyward_keys k ON k.id = wanted.id WHERE k.ends_at < ? FOR UPDATE";

/// Delete the keys whose ids are in a JSON array, with what refers to them, which comes first. The
/// trigger takes the deletion of a secret that is not marked for one by hand.
pub(super) const DELETE_KEYS: [&str; 5] = [
    unchecked!(
        "UPDATE keyward_secrets t
         JOIN JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) PATH '$')) AS ended
           ON t.key_id = ended.id
         SET t.revision = 0"
    ),
    "DELETE t FROM keyward_secrets t
     JOIN JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) PATH '$')) AS ended ON t.key_id = ended.id",
    "DELETE t FROM keyward_usage t
     JOIN JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) PATH '$')) AS ended ON t.key_id = ended.id",
    "DELETE t FROM keyward_usage_buckets t
     JOIN JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) PATH '$')) AS ended ON t.key_id = ended.id",
    "DELETE t FROM keyward_keys t
     JOIN JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) PATH '$')) AS ended ON t.id = ended.id",
];
