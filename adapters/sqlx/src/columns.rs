//! The columns of the tables, and what is written to them.

use keyward::{
    Timestamp,
    key::{KeyRecord, KeyState, Owner, OwnerState},
    quota::Overrides,
};

use crate::{
    SqlStoreError,
    dialect::{Dialect, Statement},
};

/// The columns of a key that [`KeyColumns::bind`] writes after `id` and `revision`, in this order.
macro_rules! key_fields {
    () => {
        "owner, name, scopes, overrides, created_at, expires_at, state, state_since, nonce, networks, \
         origins, metadata, created_by, revocation_reason"
    };
}
pub(crate) use key_fields;

/// The values of [`key_fields`]; `$1` is the id, `$2` the revision and `$11` the nonce.
macro_rules! key_values {
    () => {
        "$3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16"
    };
}
pub(crate) use key_values;

/// The columns of an owner that [`bind_owner`] writes, in this order.
macro_rules! owner_fields {
    () => {
        "id, tier, overrides, state, state_since, key_cap"
    };
}
pub(crate) use owner_fields;

/// The columns of an owner, whose table is called `o`, without its id.
macro_rules! owner_columns {
    () => {
        "o.tier AS owner_tier, o.overrides AS owner_overrides, o.state AS owner_state, \
         o.state_since AS owner_state_since, o.key_cap AS owner_key_cap"
    };
}
pub(crate) use owner_columns;

/// The columns of a key joined with one of its secrets and its owner. In a query `k` is the key,
/// `s` the secret and `o` the owner. A name is given to each column, so that it is read by it.
macro_rules! joined_columns {
    () => {
        concat!(
            "k.id AS id, k.owner AS owner, k.name AS name, k.scopes AS scopes, \
             k.overrides AS overrides, k.created_at AS created_at, k.expires_at AS expires_at, \
             k.state AS state, k.state_since AS state_since, k.revision AS revision, \
             k.nonce AS nonce, k.networks AS networks, k.origins AS origins, \
             k.metadata AS metadata, k.created_by AS created_by, \
             k.revocation_reason AS revocation_reason, ",
            $crate::columns::owner_columns!(),
            ", s.place AS secret_place, s.hash AS secret_hash, s.kind AS secret_kind, \
             s.hint AS secret_hint, s.created_at AS secret_created_at, \
             s.valid_until AS secret_valid_until"
        )
    };
}
pub(crate) use joined_columns;

/// The statement that finds the key of these hashes, which are parameters.
macro_rules! find_statement {
    ($hashes:literal) => {
        concat!(
            "SELECT ",
            $crate::columns::joined_columns!(),
            " FROM keyward_secrets f
              JOIN keyward_keys k ON k.id = f.key_id
              JOIN keyward_secrets s ON s.key_id = k.id
              LEFT JOIN keyward_owners o ON o.id = k.owner
              WHERE f.hash IN (",
            $hashes,
            ")"
        )
    };
}
pub(crate) use find_statement;

/// The columns of a key, without those of its secrets.
pub(crate) struct KeyColumns {
    id: String,
    revision: i64,
    owner: String,
    name: String,
    scopes: String,
    overrides: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
    state: &'static str,
    state_since: Option<i64>,
    nonce: String,
    networks: Option<String>,
    origins: Option<String>,
    metadata: Option<String>,
    created_by: Option<String>,
    revocation_reason: Option<String>,
}

pub(crate) const ACTIVE: &str = "active";
pub(crate) const SUSPENDED: &str = "suspended";
pub(crate) const REVOKED: &str = "revoked";

impl KeyColumns {
    pub(crate) fn of(record: &KeyRecord) -> Result<Self, SqlStoreError> {
        let (state, since) = match record.state() {
            KeyState::Active => (ACTIVE, None),
            KeyState::Suspended { since } => (SUSPENDED, Some(since)),
            KeyState::Revoked { since } => (REVOKED, Some(since)),
            _ => return Err(SqlStoreError::Unsupported { column: "keyward_keys.state" }),
        };
        let column = "keyward_keys.revision";
        Ok(Self {
            id: record.id().to_string(),
            revision: i64::try_from(record.revision())
                .map_err(|_| SqlStoreError::Unsupported { column })?,
            owner: record.owner().as_str().to_owned(),
            name: record.name().as_str().to_owned(),
            scopes: record.scopes().to_string(),
            overrides: overrides(record.overrides()),
            created_at: millis(record.created_at()),
            expires_at: record.expires_at().map(millis),
            state,
            state_since: since.map(millis),
            nonce: record.nonce().to_string(),
            networks: record.networks().map(ToString::to_string),
            origins: record.origins().map(ToString::to_string),
            metadata: record.metadata().map(ToString::to_string),
            created_by: record.created_by().map(ToString::to_string),
            revocation_reason: record.revocation_reason().map(ToString::to_string),
        })
    }

    /// Binds the id, the revision and the [`key_values`].
    pub(crate) fn bind<D: Dialect>(self, statement: Statement<D>) -> Statement<D> {
        let statement = D::text(statement, Some(self.id));
        let statement = D::integer(statement, Some(self.revision));
        let statement = D::text(statement, Some(self.owner));
        let statement = D::text(statement, Some(self.name));
        let statement = D::text(statement, Some(self.scopes));
        let statement = D::text(statement, self.overrides);
        let statement = D::integer(statement, Some(self.created_at));
        let statement = D::integer(statement, self.expires_at);
        let statement = D::text(statement, Some(self.state.to_owned()));
        let statement = D::integer(statement, self.state_since);
        let statement = D::text(statement, Some(self.nonce));
        let statement = D::text(statement, self.networks);
        let statement = D::text(statement, self.origins);
        let statement = D::text(statement, self.metadata);
        let statement = D::text(statement, self.created_by);
        D::text(statement, self.revocation_reason)
    }
}

/// The columns of one secret.
pub(crate) struct SecretColumns {
    pub(crate) hash: String,
    pub(crate) place: i64,
    pub(crate) kind: String,
    pub(crate) hint: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) valid_until: Option<i64>,
}

impl SecretColumns {
    /// Returns all secrets of a record, sorted by hash. So two writers of the same hashes lock
    /// them in the same order and cannot deadlock.
    pub(crate) fn of(record: &KeyRecord) -> Vec<Self> {
        let current = (record.current(), None);
        let retiring =
            record.retiring().iter().map(|retiring| (&retiring.secret, Some(retiring.valid_until)));
        let mut columns: Vec<Self> = (0..)
            .zip(std::iter::once(current).chain(retiring))
            .map(|(place, (secret, valid_until))| Self {
                hash: secret.hash.to_string(),
                place,
                kind: secret.kind.as_str().to_owned(),
                hint: secret.hint.as_ref().map(|hint| hint.as_str().to_owned()),
                created_at: millis(secret.created_at),
                valid_until: valid_until.map(millis),
            })
            .collect();
        columns.sort_unstable_by(|a, b| a.hash.cmp(&b.hash));
        columns
    }
}

/// Binds the [`owner_fields`].
pub(crate) fn bind_owner<D: Dialect>(
    owner: &Owner,
    statement: Statement<D>,
) -> Result<Statement<D>, SqlStoreError> {
    let (state, since) = match owner.state {
        OwnerState::Active => (ACTIVE, None),
        OwnerState::Suspended { since } => (SUSPENDED, Some(since)),
        _ => return Err(SqlStoreError::Unsupported { column: "keyward_owners.state" }),
    };
    let statement = D::text(statement, Some(owner.id.as_str().to_owned()));
    let statement = D::text(statement, owner.tier.as_ref().map(|tier| tier.as_str().to_owned()));
    let statement = D::text(statement, overrides(&owner.overrides));
    let statement = D::text(statement, Some(state.to_owned()));
    let statement = D::integer(statement, since.map(millis));
    Ok(D::integer(statement, owner.key_cap.map(i64::from)))
}

/// Writes overrides as text, and none of them as NULL.
pub(crate) fn overrides(overrides: &Overrides) -> Option<String> {
    (!overrides.is_empty()).then(|| overrides.to_string())
}

/// Converts an instant to the value of a column. [`Timestamp::MAX`] is far below `i64::MAX`.
pub(crate) const fn millis(at: Timestamp) -> i64 {
    at.as_unix_millis() as i64
}

/// Converts the value of a column to an instant, if it is in range.
pub(crate) fn instant(millis: i64) -> Option<Timestamp> {
    let millis = u64::try_from(millis).ok()?;
    (millis <= Timestamp::MAX.as_unix_millis()).then(|| Timestamp::from_unix_millis(millis))
}
