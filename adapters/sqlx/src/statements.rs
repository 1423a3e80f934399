//! The statements that all databases need.

use crate::columns::{joined_columns, key_fields, key_values, owner_columns, owner_fields};

/// One list of statements for a database. Parameters are `$1`, `$2` and so on, which SQLite
/// understands too.
pub(crate) struct Statements {
    /// Finds a key. Parameter: the id.
    pub(crate) find_by_id: &'static str,
    /// Lists the keys of an owner. Parameters: the owner, the instant and id of the cursor, the
    /// largest number of keys.
    pub(crate) list: &'static str,
    /// Lists all keys. Parameters: those of `list` without the owner.
    pub(crate) list_all: &'static str,
    /// Inserts a key, if there is none with its id. Parameters: [`KeyColumns`].
    ///
    /// [`KeyColumns`]: crate::columns::KeyColumns
    pub(crate) insert_key: &'static str,
    /// Returns the cap on the keys of an owner, if it has one. Parameter: the owner.
    pub(crate) key_cap: &'static str,
    /// Counts the keys of an owner that end after an instant or never, except one. It reads at most
    /// twice a largest number. Parameters: the owner, the instant, the largest number, the id of the
    /// key that does not count.
    pub(crate) count_live_keys: &'static str,
    /// Updates the key whose nonce is the same and whose revision is one lower. Parameters: those of
    /// `insert_key`.
    pub(crate) update_key: &'static str,
    /// Revokes a key that is not revoked. Parameters: the id, the owner or null, the instant, the
    /// reason.
    pub(crate) revoke_key: &'static str,
    /// Suspends a key that is not revoked. Parameters: the id, the owner or null, the instant.
    pub(crate) suspend_key: &'static str,
    /// Returns a row with whether a key is revoked, if there is one. Parameters: the id, the owner
    /// or null.
    pub(crate) is_revoked: &'static str,
    /// Revokes the keys of an owner that are not revoked, and returns their ids. Parameters: the
    /// owner, the instant, the reason.
    pub(crate) revoke_all: &'static str,
    /// Returns a row if there is a key. Parameters: the id, the nonce.
    pub(crate) has_key: &'static str,
    /// Finds an owner. Parameter: the id.
    pub(crate) owner: &'static str,
    /// Inserts an owner, or updates all but its state. Parameters: those of [`bind_owner`].
    ///
    /// [`bind_owner`]: crate::columns::bind_owner
    pub(crate) put_owner: &'static str,
    /// Deletes the earliest buckets of a span. Parameters: the span, the end, the largest number.
    pub(crate) remove_usage: &'static str,
    /// Deletes the earliest events. Parameters: the end, the largest number.
    pub(crate) remove_audit: &'static str,
    /// Lists owners. Parameters: the id of the cursor, 0 to include it and 1 to exclude it, the
    /// largest number of owners.
    pub(crate) list_owners: &'static str,
    /// Deletes an owner that is not suspended. Parameter: the id.
    pub(crate) delete_owner: &'static str,
    /// Returns the state of an owner, if it was put. Parameter: the id.
    pub(crate) state_of_owner: &'static str,
    /// Returns a row if an owner has a key that is not revoked. Parameter: the owner.
    pub(crate) has_live_key: &'static str,
    /// Returns the ids of keys that secrets refer to and that do not exist, each with the hash of one
    /// of its secrets, by hash. Parameters: the hash after which to begin, the largest number.
    pub(crate) orphaned_secrets: &'static str,
    /// Lists saved usage, and the id of the key if there is one. Parameters: the id after which to
    /// begin, the largest number.
    pub(crate) list_usage: &'static str,
    /// Change one field of an owner, which is inserted if it is missing. Parameters: the id, the
    /// value.
    pub(crate) set_tier: &'static str,
    pub(crate) set_overrides: &'static str,
    pub(crate) set_key_cap: &'static str,
    pub(crate) suspend_owner: &'static str,
    /// Resumes an owner, which is inserted if it is missing. Parameter: the id.
    pub(crate) resume_owner: &'static str,
    /// Returns the ids of keys with usage by spans of time that cannot be read or whose key does not
    /// exist, once each. Parameters: the id after which to begin, the largest number.
    pub(crate) damaged_buckets: &'static str,
    /// Returns the newest version of the tables, 0 if there are none. No parameters.
    pub(crate) version: &'static str,
    /// Notes that the tables are of a version. Parameter: the version.
    pub(crate) note_version: &'static str,
}

impl Statements {
    /// The list for databases that have `ON CONFLICT`.
    pub(crate) const STANDARD: Self = Self {
        find_by_id: concat!(
            "SELECT ",
            joined_columns!(),
            " FROM keyward_keys k
              LEFT JOIN keyward_secrets s ON s.key_id = k.id
              LEFT JOIN keyward_owners o ON o.id = k.owner
              WHERE k.id = $1"
        ),
        list: concat!(
            "SELECT ",
            joined_columns!(),
            " FROM (SELECT * FROM keyward_keys
                    WHERE owner = $1 AND (created_at, id) > ($2, $3)
                    ORDER BY created_at, id LIMIT $4) k
              LEFT JOIN keyward_secrets s ON s.key_id = k.id
              LEFT JOIN keyward_owners o ON o.id = k.owner
              ORDER BY k.created_at, k.id"
        ),
        list_all: concat!(
            "SELECT ",
            joined_columns!(),
            " FROM (SELECT * FROM keyward_keys WHERE (created_at, id) > ($1, $2)
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
            ") ON CONFLICT (id) DO NOTHING"
        ),
        key_cap: "SELECT key_cap FROM keyward_owners WHERE id = $1 AND key_cap IS NOT NULL",
        count_live_keys: "SELECT
               (SELECT count(*) FROM (SELECT 1 FROM keyward_keys
                  WHERE owner = $1 AND ends_at IS NULL AND id <> $4 LIMIT $3) endless)
               + (SELECT count(*) FROM (SELECT 1 FROM keyward_keys
                  WHERE owner = $1 AND ends_at > $2 AND id <> $4 LIMIT $3) ending) AS live",
        update_key: concat!(
            "UPDATE keyward_keys SET revision = $2, (",
            key_fields!(),
            ") = (",
            key_values!(),
            ") WHERE id = $1 AND revision = $2 - 1 AND nonce = $11"
        ),
        revoke_key: "UPDATE keyward_keys
             SET state = 'revoked', state_since = $3, revocation_reason = $4, revision = revision +
               CASE WHEN revision < 9223372036854775807 THEN 1 ELSE 0 END
             WHERE id = $1 AND ($2 IS NULL OR owner = $2) AND state <> 'revoked'",
        suspend_key: "UPDATE keyward_keys
             SET state_since = CASE state WHEN 'suspended' THEN state_since ELSE $3 END,
               state = 'suspended', revision = revision +
               CASE WHEN revision < 9223372036854775807 THEN 1 ELSE 0 END
             WHERE id = $1 AND ($2 IS NULL OR owner = $2) AND state <> 'revoked'",
        is_revoked: "SELECT CAST(CASE state WHEN 'revoked' THEN 1 ELSE 0 END AS bigint) AS revoked
             FROM keyward_keys WHERE id = $1 AND ($2 IS NULL OR owner = $2)",
        revoke_all: "UPDATE keyward_keys
             SET state = 'revoked', state_since = $2, revocation_reason = $3, revision = revision +
               CASE WHEN revision < 9223372036854775807 THEN 1 ELSE 0 END
             WHERE owner = $1 AND state <> 'revoked' RETURNING id",
        has_key: "SELECT 1 FROM keyward_keys WHERE id = $1 AND nonce = $2",
        owner: concat!("SELECT ", owner_columns!(), " FROM keyward_owners o WHERE o.id = $1"),
        put_owner: concat!(
            "INSERT INTO keyward_owners (",
            owner_fields!(),
            ") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET
               tier = excluded.tier, overrides = excluded.overrides, key_cap = excluded.key_cap"
        ),
        set_tier: "INSERT INTO keyward_owners (id, tier) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET tier = excluded.tier",
        set_overrides: "INSERT INTO keyward_owners (id, overrides) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET overrides = excluded.overrides",
        set_key_cap: "INSERT INTO keyward_owners (id, key_cap) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET key_cap = excluded.key_cap",
        suspend_owner: "INSERT INTO keyward_owners (id, state, state_since)
             VALUES ($1, 'suspended', $2) ON CONFLICT (id) DO UPDATE SET state = 'suspended',
               state_since = coalesce(keyward_owners.state_since, excluded.state_since)",
        resume_owner: "INSERT INTO keyward_owners (id) VALUES ($1)
             ON CONFLICT (id) DO UPDATE SET state = 'active', state_since = NULL",
        remove_usage: "DELETE FROM keyward_usage_buckets
             WHERE (key_id, span, begins_at) IN (
               SELECT key_id, span, begins_at FROM keyward_usage_buckets
               WHERE span = $1 AND begins_at < $2 ORDER BY begins_at LIMIT $3)",
        remove_audit: "DELETE FROM keyward_audit WHERE number IN (
               SELECT number FROM keyward_audit WHERE at < $1 ORDER BY at, number LIMIT $2)",
        list_owners: concat!(
            "SELECT o.id AS owner_id, ",
            owner_columns!(),
            " FROM keyward_owners o WHERE o.id >= $1 AND ($2 = 0 OR o.id <> $1)
              ORDER BY o.id LIMIT $3"
        ),
        delete_owner: "DELETE FROM keyward_owners WHERE id = $1 AND state = 'active'",
        state_of_owner: "SELECT state FROM keyward_owners WHERE id = $1",
        has_live_key: "SELECT 1 FROM keyward_keys WHERE owner = $1 AND state <> 'revoked' LIMIT 1",
        orphaned_secrets: "SELECT s.hash AS hash, s.key_id AS id FROM keyward_secrets s
             LEFT JOIN keyward_keys k ON k.id = s.key_id
             WHERE k.id IS NULL AND s.hash > $1 ORDER BY s.hash LIMIT $2",
        list_usage: "SELECT u.key_id AS id, u.requests AS requests,
               u.last_used_at AS last_used_at, k.id AS key_id
             FROM keyward_usage u LEFT JOIN keyward_keys k ON k.id = u.key_id
             WHERE u.key_id > $1 ORDER BY u.key_id LIMIT $2",
        damaged_buckets: "SELECT DISTINCT b.key_id AS id FROM keyward_usage_buckets b
             LEFT JOIN keyward_keys k ON k.id = b.key_id
             WHERE b.key_id > $1 AND (k.id IS NULL OR b.requests < 0 OR b.begins_at < 0
               OR b.begins_at > 253402300799999 OR b.span NOT IN ('minute', 'hour', 'day'))
             ORDER BY b.key_id LIMIT $2",
        version: "SELECT coalesce(max(version), 0) AS version FROM keyward_migrations",
        note_version: "INSERT INTO keyward_migrations (version) VALUES ($1)",
    };
}
