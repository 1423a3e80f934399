//! Reading records from rows. Each column is read by its name.

use std::{str::FromStr, sync::Arc};

use keyward::{
    Timestamp,
    audit::{AuditCursor, AuditDetail, AuditEntry, DamagedEntry},
    key::{
        CreationNonce, KeyHash, KeyId, KeyKind, KeyRecord, KeyState, Owner, OwnerId, OwnerState,
        RetiringSecret, ScopeSet, StoredRecord, StoredSecret,
    },
    quota::Overrides,
    store::StoredKey,
    usage::{Usage, UsageBucket},
};
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::{
    SqlStoreError,
    columns::{ACTIVE, REVOKED, SUSPENDED, instant},
};

/// A row of any database from which integers and text can be read.
pub(crate) trait ReadRow: Row {
    /// Returns the integer in a column, if it is not null.
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    /// Returns the text in a column, if it is not null.
    fn text(&self, column: &str) -> Result<Option<&str>, sqlx::Error>;
}

impl<R: Row> ReadRow for R
where
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r str: Decode<'r, R::Database> + Type<R::Database>,
{
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn text(&self, column: &str) -> Result<Option<&str>, sqlx::Error> {
        self.try_get(column)
    }
}

/// A column: its name in the rows of a query, and its name in errors.
#[derive(Clone, Copy)]
struct Column {
    alias: &'static str,
    name: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        Column { alias: $name, name: concat!("keyward_keys.", $name) }
    };
}
macro_rules! owner {
    ($name:literal) => {
        Column { alias: concat!("owner_", $name), name: concat!("keyward_owners.", $name) }
    };
}
macro_rules! secret {
    ($name:literal) => {
        Column { alias: concat!("secret_", $name), name: concat!("keyward_secrets.", $name) }
    };
}
macro_rules! usage {
    ($name:literal) => {
        Column { alias: $name, name: concat!("keyward_usage.", $name) }
    };
}

macro_rules! bucket {
    ($name:literal) => {
        Column { alias: $name, name: concat!("keyward_usage_buckets.", $name) }
    };
}

macro_rules! audit {
    ($name:literal) => {
        Column { alias: $name, name: concat!("keyward_audit.", $name) }
    };
}

/// Reads the one key of the rows of a lookup, in any order.
pub(crate) fn gather_one(rows: &[impl ReadRow]) -> Result<Option<StoredKey>, SqlStoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let id = read_id(first)?;
    for row in rows {
        if read_id(row)? != id {
            return Err(SqlStoreError::TwoKeys);
        }
    }
    found(id, rows, &mut None).map(Some)
}

/// Splits joined rows into those of each key, which follow one another.
pub(crate) fn by_key<R: ReadRow>(rows: &[R]) -> impl Iterator<Item = &[R]> {
    rows.chunk_by(|a, b| match (a.text("id"), b.text("id")) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    })
}

/// Reads the key of these rows, one for each of its secrets. Consecutive keys of one owner share it.
pub(crate) fn read_key<R: ReadRow>(
    rows: &[R],
    last_owner: &mut Option<Arc<Owner>>,
) -> Result<StoredKey, SqlStoreError> {
    let Some(first) = rows.first() else {
        return Err(SqlStoreError::Corrupt { key: None, column: key!("id").name });
    };
    found(read_id(first)?, rows, last_owner)
}

/// Reads the id of an owner in a listing of owners.
pub(crate) fn read_owner_id(row: &impl ReadRow) -> Option<OwnerId> {
    row.text(owner!("id").alias).ok().flatten().and_then(|id| id.parse().ok())
}

/// Reads the id of a row.
pub(crate) fn read_id(row: &impl ReadRow) -> Result<KeyId, SqlStoreError> {
    let corrupt = |column| SqlStoreError::Corrupt { key: None, column };
    Fields { row, corrupt: &corrupt }.parsed(key!("id"))
}

/// Reads the owner of a row of tier and overrides.
pub(crate) fn read_owner(id: &OwnerId, row: &impl ReadRow) -> Result<Owner, SqlStoreError> {
    let corrupt = |column| SqlStoreError::CorruptOwner { owner: id.clone(), column };
    Fields { row, corrupt: &corrupt }.owner(id.clone())
}

/// Reads the usage of a row of id, requests and last use.
pub(crate) fn read_usage(row: &impl ReadRow) -> Result<(KeyId, Usage), SqlStoreError> {
    let id = read_id(row)?;
    let corrupt = |column| SqlStoreError::Corrupt { key: Some(id), column };
    let fields = Fields { row, corrupt: &corrupt };
    let requests = usage!("requests");
    let count = fields.integer(requests)?.and_then(|requests| requests.try_into().ok());
    let count = count.ok_or_else(|| corrupt(requests.name))?;
    Ok((id, Usage::new(count, fields.instant(usage!("last_used_at"))?)))
}

/// Reads the requests of a key in one span of time.
pub(crate) fn read_bucket(id: KeyId, row: &impl ReadRow) -> Result<UsageBucket, SqlStoreError> {
    let corrupt = |column| SqlStoreError::Corrupt { key: Some(id), column };
    let fields = Fields { row, corrupt: &corrupt };
    let requests = bucket!("requests");
    let count = fields.integer(requests)?.and_then(|requests| requests.try_into().ok());
    let count = count.ok_or_else(|| corrupt(requests.name))?;
    Ok(UsageBucket::new(fields.needed_instant(bucket!("begins_at"))?, count))
}

/// Reads an entry of the audit log.
pub(crate) fn read_entry(row: &impl ReadRow) -> Result<AuditEntry, DamagedEntry> {
    let corrupt = |column| SqlStoreError::Corrupt { key: None, column };
    let fields = Fields { row, corrupt: &corrupt };
    fields.entry().map_err(|error| {
        let column = match error {
            SqlStoreError::Corrupt { column, .. } => column,
            // The fields make no other error.
            _ => audit!("*").name,
        };
        DamagedEntry::new(read_entry_cursor(row), column)
    })
}

/// Reads the position of an entry of the audit log.
pub(crate) fn read_entry_cursor(row: &impl ReadRow) -> Option<AuditCursor> {
    let at = row.integer(audit!("at").alias).ok().flatten().and_then(instant)?;
    let number = row.integer(audit!("number").alias).ok().flatten()?;
    Some(AuditCursor { at, number: number.try_into().ok()? })
}

/// Reads the key with these rows, one for each of its secrets. Consecutive keys of one owner share
/// it.
fn found<R: ReadRow>(
    id: KeyId,
    rows: &[R],
    last_owner: &mut Option<Arc<Owner>>,
) -> Result<StoredKey, SqlStoreError> {
    let corrupt = |column| SqlStoreError::Corrupt { key: Some(id), column };
    let fields = |row| Fields { row, corrupt: &corrupt };
    let mut secrets = Vec::with_capacity(rows.len());
    for row in rows {
        let row = fields(row);
        let place = row.needed(row.integer(secret!("place"))?, secret!("place"))?;
        secrets.push((place, row.instant(secret!("valid_until"))?, row.secret()?));
    }
    secrets.sort_by_key(|(place, ..)| *place);
    // A lookup of two candidates that are secrets of one key finds all its secrets twice.
    secrets.dedup();
    let mut secrets = secrets.into_iter();
    let (Some((0, None, current)), Some(first)) = (secrets.next(), rows.first()) else {
        return Err(corrupt(secret!("place").name));
    };
    let row = fields(first);
    let mut parts = row.parts(id, current)?;
    for (_, valid_until, secret) in secrets {
        let valid_until = valid_until.ok_or_else(|| corrupt(secret!("valid_until").name))?;
        parts.retiring.push(RetiringSecret::new(secret, valid_until));
    }
    let owner = row.owner(parts.owner.clone())?;
    let owner = match last_owner.take() {
        Some(last) if *last == owner => last,
        _ => Arc::new(owner),
    };
    *last_owner = Some(Arc::clone(&owner));
    // The columns contradict each other, so it is not known which one is wrong.
    let record = parts.build().map_err(|_| corrupt(secret!("*").name))?;
    StoredKey::join(record, owner).map_err(|_| corrupt(key!("owner").name))
}

/// The fields of a row. A column that does not make a value is an error of the row and not of the
/// connection; `corrupt` makes that error.
struct Fields<'r, R, C> {
    row: &'r R,
    corrupt: &'r C,
}

impl<'r, R: ReadRow, C: Fn(&'static str) -> SqlStoreError> Fields<'r, R, C> {
    fn parts(&self, id: KeyId, current: StoredSecret) -> Result<StoredRecord, SqlStoreError> {
        let (owner, name) = (self.parsed(key!("owner"))?, self.parsed(key!("name"))?);
        let mut parts = StoredRecord::new(id, owner, name, current);
        parts.scopes = self.parsed::<ScopeSet>(key!("scopes"))?;
        parts.overrides = self.overrides(key!("overrides"))?;
        parts.created_at = self.needed_instant(key!("created_at"))?;
        parts.expires_at = self.instant(key!("expires_at"))?;
        parts.state = self.state()?;
        parts.revision = self.revision()?;
        parts.nonce = self.parsed::<CreationNonce>(key!("nonce"))?;
        parts.networks = self.optional(key!("networks"))?;
        parts.origins = self.optional(key!("origins"))?;
        parts.metadata = self.optional(key!("metadata"))?;
        parts.created_by = self.optional(key!("created_by"))?;
        parts.revocation_reason = self.optional(key!("revocation_reason"))?;
        Ok(parts)
    }

    fn entry(&self) -> Result<AuditEntry, SqlStoreError> {
        let at = self.needed_instant(audit!("at"))?;
        let mut entry = AuditEntry::new(at, self.parsed(audit!("action"))?);
        entry.key = self.optional(audit!("key_id"))?;
        entry.owner = self.optional(audit!("owner"))?;
        entry.kind = self.optional(audit!("kind"))?;
        entry.actor = self.optional(audit!("actor"))?;
        entry.request_id = self.optional(audit!("request_id"))?;
        entry.detail = self.text(audit!("detail"))?.map(AuditDetail::from);
        Ok(entry)
    }

    fn state(&self) -> Result<KeyState, SqlStoreError> {
        let since = self.instant(key!("state_since"))?;
        match (self.needed(self.text(key!("state"))?, key!("state"))?, since) {
            (ACTIVE, None) => Ok(KeyState::Active),
            (SUSPENDED, Some(since)) => Ok(KeyState::Suspended { since }),
            (REVOKED, Some(since)) => Ok(KeyState::Revoked { since }),
            (ACTIVE | SUSPENDED | REVOKED, _) => Err(self.corrupt(key!("state_since"))),
            _ => Err(self.corrupt(key!("state"))),
        }
    }

    fn revision(&self) -> Result<u64, SqlStoreError> {
        let column = key!("revision");
        let revision = self.needed(self.integer(column)?, column)?;
        u64::try_from(revision)
            .ok()
            .filter(|revision| (1..=KeyRecord::MAX_REVISION).contains(revision))
            .ok_or_else(|| self.corrupt(column))
    }

    /// Reads the owner of a joined row. All columns of an owner that was never put are NULL.
    fn owner(&self, id: OwnerId) -> Result<Owner, SqlStoreError> {
        let mut owner = Owner::new(id);
        owner.tier = self.optional(owner!("tier"))?;
        owner.overrides = self.overrides(owner!("overrides"))?;
        owner.state = self.owner_state()?;
        if let Some(cap) = self.integer(owner!("key_cap"))? {
            let cap = cap.try_into().map_err(|_| self.corrupt(owner!("key_cap")))?;
            owner.key_cap = Some(cap);
        }
        Ok(owner)
    }

    fn owner_state(&self) -> Result<OwnerState, SqlStoreError> {
        match (self.text(owner!("state"))?, self.instant(owner!("state_since"))?) {
            (None | Some(ACTIVE), None) => Ok(OwnerState::Active),
            (Some(SUSPENDED), Some(since)) => Ok(OwnerState::Suspended { since }),
            (Some(ACTIVE | SUSPENDED), _) => Err(self.corrupt(owner!("state_since"))),
            _ => Err(self.corrupt(owner!("state"))),
        }
    }

    fn secret(&self) -> Result<StoredSecret, SqlStoreError> {
        let hash = self.parsed::<KeyHash>(secret!("hash"))?;
        let kind = self.needed(self.text(secret!("kind"))?, secret!("kind"))?;
        let kind = KeyKind::new(kind).map_err(|_| self.corrupt(secret!("kind")))?;
        let secret = StoredSecret::new(hash, kind, self.needed_instant(secret!("created_at"))?);
        match self.text(secret!("hint"))? {
            Some(hint) => {
                Ok(secret.with_hint(hint.parse().map_err(|_| self.corrupt(secret!("hint")))?))
            }
            None => Ok(secret),
        }
    }

    /// Reads overrides. None of them are NULL; a text without any is a mistake.
    fn overrides(&self, column: Column) -> Result<Overrides, SqlStoreError> {
        let Some(text) = self.text(column)? else { return Ok(Overrides::none()) };
        let overrides = text.parse().ok().filter(|overrides: &Overrides| !overrides.is_empty());
        overrides.ok_or_else(|| self.corrupt(column))
    }

    fn needed_instant(&self, column: Column) -> Result<Timestamp, SqlStoreError> {
        self.needed(self.instant(column)?, column)
    }

    fn instant(&self, column: Column) -> Result<Option<Timestamp>, SqlStoreError> {
        let millis = self.integer(column)?;
        millis.map(|millis| instant(millis).ok_or_else(|| self.corrupt(column))).transpose()
    }

    fn parsed<T: FromStr>(&self, column: Column) -> Result<T, SqlStoreError> {
        let text = self.needed(self.text(column)?, column)?;
        text.parse().map_err(|_| self.corrupt(column))
    }

    fn optional<T: FromStr>(&self, column: Column) -> Result<Option<T>, SqlStoreError> {
        let text = self.text(column)?;
        text.map(|text| text.parse().map_err(|_| self.corrupt(column))).transpose()
    }

    fn needed<T>(&self, value: Option<T>, column: Column) -> Result<T, SqlStoreError> {
        value.ok_or_else(|| self.corrupt(column))
    }

    fn text(&self, column: Column) -> Result<Option<&'r str>, SqlStoreError> {
        self.row.text(column.alias).map_err(|_| self.corrupt(column))
    }

    fn integer(&self, column: Column) -> Result<Option<i64>, SqlStoreError> {
        self.row.integer(column.alias).map_err(|_| self.corrupt(column))
    }

    fn corrupt(&self, column: Column) -> SqlStoreError {
        (self.corrupt)(column.name)
    }
}
