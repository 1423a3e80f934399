//! Between records and rows: what stands in the columns, and whether it makes a record.

use std::sync::Arc;

use keyward::{
    Quotas, Timestamp,
    key::{
        KeyHash, KeyId, KeyKind, KeyRecord, KeyRecordParts, KeyState, Owner, OwnerId,
        RetiringSecret, ScopeSet, StoredSecret,
    },
    store::{Cursor, StoredKey},
};
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::{SqlStoreError, quota_text};

/// The columns of a key joined with one of its secrets and its owner, in the order in which
/// [`gather`] reads them. In a query `k` is the key, `s` the secret and `o` the owner.
macro_rules! joined_columns {
    () => {
        "k.id, k.owner, k.name, k.scopes, k.quotas, k.created_at, k.expires_at, k.state, \
         k.state_since, k.revision, o.tier, o.quotas, s.place, s.hash, s.kind, s.hint, \
         s.created_at, s.valid_until"
    };
}
pub(crate) use joined_columns;

/// What is written of a key, but for its secrets.
pub(crate) struct KeyColumns {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) scopes: String,
    pub(crate) quotas: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) state: &'static str,
    pub(crate) state_since: Option<i64>,
    pub(crate) revision: i64,
}

impl KeyColumns {
    pub(crate) fn of(record: &KeyRecord) -> Result<Self, SqlStoreError> {
        let (state, since) = match record.state() {
            KeyState::Active => (ACTIVE, None),
            KeyState::Suspended { since } => (SUSPENDED, Some(since)),
            KeyState::Revoked { since } => (REVOKED, Some(since)),
            _ => return Err(SqlStoreError::Unsupported { column: "keyward_keys.state" }),
        };
        let quotas = record.quotas().map(|quotas| {
            let column = "keyward_keys.quotas";
            quota_text::write(quotas).ok_or(SqlStoreError::Unsupported { column })
        });
        let column = "keyward_keys.revision";
        Ok(Self {
            id: record.id().to_string(),
            owner: record.owner().as_str().to_owned(),
            name: record.name().as_str().to_owned(),
            scopes: record.scopes().to_string(),
            quotas: quotas.transpose()?,
            created_at: millis(record.created_at()),
            expires_at: record.expires_at().map(millis),
            state,
            state_since: since.map(millis),
            revision: i64::try_from(record.revision())
                .map_err(|_| SqlStoreError::Unsupported { column })?,
        })
    }
}

const ACTIVE: &str = "active";
const SUSPENDED: &str = "suspended";
const REVOKED: &str = "revoked";

/// What is written of one secret.
pub(crate) struct SecretColumns {
    pub(crate) hash: String,
    pub(crate) place: i64,
    pub(crate) kind: String,
    pub(crate) hint: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) valid_until: Option<i64>,
}

impl SecretColumns {
    /// All secrets of a record in the order of their hashes, so that two writers of the same
    /// hashes wait for each other in the same order and never in a circle.
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

/// What is written of an owner: id, tier, quotas.
pub(crate) fn owner_columns(
    owner: &Owner,
) -> Result<(&str, Option<&str>, Option<String>), SqlStoreError> {
    let quotas = owner.quotas.as_ref().map(|quotas| {
        let column = "keyward_owners.quotas";
        quota_text::write(quotas).ok_or(SqlStoreError::Unsupported { column })
    });
    Ok((owner.id.as_str(), owner.tier.as_ref().map(|tier| tier.as_str()), quotas.transpose()?))
}

/// A place in a listing as what its query compares with; without a cursor, what lies before all.
pub(crate) fn cursor_columns(cursor: Option<Cursor>) -> (i64, String) {
    match cursor {
        Some(cursor) => (millis(cursor.created_at), cursor.id.to_string()),
        None => (-1, String::new()),
    }
}

/// An instant as a column holds it. [`Timestamp::MAX`] is far below `i64::MAX`.
pub(crate) const fn millis(at: Timestamp) -> i64 {
    at.as_unix_millis() as i64
}

/// The instant that a column holds, if it is one.
pub(crate) fn instant(millis: i64) -> Option<Timestamp> {
    let millis = u64::try_from(millis).ok()?;
    (millis <= Timestamp::MAX.as_unix_millis()).then(|| Timestamp::from_unix_millis(millis))
}

/// A row of either database from which `i64` and text can be read.
pub(crate) trait ReadRow: Row {
    /// A whole number in the column at `index`, if it is not null.
    fn integer(&self, index: usize) -> Result<Option<i64>, sqlx::Error>;
    /// A text in the column at `index`, if it is not null.
    fn text(&self, index: usize) -> Result<Option<&str>, sqlx::Error>;
}

impl<R: Row> ReadRow for R
where
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r str: Decode<'r, R::Database> + Type<R::Database>,
{
    fn integer(&self, index: usize) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(index)
    }

    fn text(&self, index: usize) -> Result<Option<&str>, sqlx::Error> {
        self.try_get(index)
    }
}

/// The one key of the rows of a lookup, in any order.
pub(crate) fn gather_one(rows: &[impl ReadRow]) -> Result<Option<StoredKey>, SqlStoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let id = JoinedRow::key_id(first)?;
    for row in rows {
        if JoinedRow::key_id(row)? != id {
            return Err(SqlStoreError::TwoKeys);
        }
    }
    found(id, rows, &mut None).map(Some)
}

/// The keys of joined rows, of which those of one key stand together.
pub(crate) fn gather(rows: &[impl ReadRow]) -> Result<Vec<StoredKey>, SqlStoreError> {
    let (mut keys, mut last_owner, mut rest) = (Vec::new(), None, rows);
    while let Some(first) = rest.first() {
        let id = JoinedRow::key_id(first)?;
        let mut of_this_key = 0;
        for row in rest {
            if JoinedRow::key_id(row)? != id {
                break;
            }
            of_this_key += 1;
        }
        let (these, others) = rest.split_at_checked(of_this_key).unwrap_or((rest, &[]));
        keys.push(found(id, these, &mut last_owner)?);
        rest = others;
    }
    Ok(keys)
}

/// The owner of a row of id, tier and quotas.
pub(crate) fn read_owner(id: &OwnerId, row: &impl ReadRow) -> Result<Owner, SqlStoreError> {
    let corrupt = |column| move || SqlStoreError::CorruptOwner { owner: id.clone(), column };
    let mut owner = Owner::new(id.clone());
    let column = corrupt("keyward_owners.tier");
    if let Some(tier) = row.text(0).map_err(|_| column())? {
        owner = owner.with_tier(tier.parse().map_err(|_| column())?);
    }
    let column = corrupt("keyward_owners.quotas");
    if let Some(quotas) = row.text(1).map_err(|_| column())? {
        owner = owner.with_quotas(quota_text::read(quotas).ok_or_else(column)?);
    }
    Ok(owner)
}

/// An id that a query returned in its first column.
pub(crate) fn read_id(row: &impl ReadRow) -> Result<KeyId, SqlStoreError> {
    JoinedRow::key_id(row)
}

/// The key whose rows these are, one for each of its secrets. Keys of one owner that follow one
/// another share it.
fn found<R: ReadRow>(
    id: KeyId,
    rows: &[R],
    last_owner: &mut Option<Arc<Owner>>,
) -> Result<StoredKey, SqlStoreError> {
    let corrupt = |column| SqlStoreError::Corrupt { key: Some(id), column };
    let mut secrets = Vec::with_capacity(rows.len());
    for row in rows {
        let row = JoinedRow { id, row };
        let place = row.needed(row.row.integer(12), "keyward_secrets.place")?;
        secrets.push((place, row.valid_until()?, row.secret()?));
    }
    secrets.sort_by_key(|(place, ..)| *place);
    // A lookup of two candidates that are secrets of one key finds all its secrets twice.
    secrets.dedup();
    let mut secrets = secrets.into_iter();
    let (Some((0, None, current)), Some(first)) = (secrets.next(), rows.first()) else {
        return Err(corrupt("keyward_secrets.place"));
    };
    let row = JoinedRow { id, row: first };
    let mut parts = row.parts(current)?;
    for (_, valid_until, secret) in secrets {
        let valid_until = valid_until.ok_or_else(|| corrupt("keyward_secrets.valid_until"))?;
        parts.retiring.push(RetiringSecret::new(secret, valid_until));
    }
    let owner = row.owner(parts.owner.clone())?;
    let owner = match last_owner.take() {
        Some(last) if *last == owner => last,
        _ => Arc::new(owner),
    };
    *last_owner = Some(Arc::clone(&owner));
    // Which column is at fault is not known here: they contradict each other.
    let record = parts.build().map_err(|_| corrupt("keyward_secrets.*"))?;
    StoredKey::join(record, owner).map_err(|_| corrupt("keyward_keys.owner"))
}

/// A row of [`joined_columns`], with the key that its errors name.
struct JoinedRow<'r, R> {
    id: KeyId,
    row: &'r R,
}

impl<R: ReadRow> JoinedRow<'_, R> {
    fn key_id(row: &R) -> Result<KeyId, SqlStoreError> {
        let corrupt = || SqlStoreError::Corrupt { key: None, column: "keyward_keys.id" };
        let text = row.text(0).map_err(|_| corrupt())?.ok_or_else(corrupt)?;
        text.parse().map_err(|_| corrupt())
    }

    fn parts(&self, current: StoredSecret) -> Result<KeyRecordParts, SqlStoreError> {
        let row = self.row;
        let owner = self.parsed(row.text(1), "keyward_keys.owner")?;
        let name = self.parsed(row.text(2), "keyward_keys.name")?;
        let mut parts = KeyRecordParts::new(self.id, owner, name, current);
        parts.scopes = self.parsed::<ScopeSet>(row.text(3), "keyward_keys.scopes")?;
        parts.quotas = self.quotas(row.text(4), "keyward_keys.quotas")?;
        parts.created_at = self.needed_instant(row.integer(5), "keyward_keys.created_at")?;
        parts.expires_at = self.instant(row.integer(6), "keyward_keys.expires_at")?;
        let state = self.needed(row.text(7), "keyward_keys.state")?;
        let since = self.instant(row.integer(8), "keyward_keys.state_since")?;
        parts.state = match (state, since) {
            (ACTIVE, None) => KeyState::Active,
            (SUSPENDED, Some(since)) => KeyState::Suspended { since },
            (REVOKED, Some(since)) => KeyState::Revoked { since },
            (ACTIVE | SUSPENDED | REVOKED, _) => {
                return Err(self.corrupt("keyward_keys.state_since"));
            }
            _ => return Err(self.corrupt("keyward_keys.state")),
        };
        let revision = self.needed(row.integer(9), "keyward_keys.revision")?;
        parts.revision = u64::try_from(revision)
            .ok()
            .filter(|revision| (1..=KeyRecord::MAX_REVISION).contains(revision))
            .ok_or_else(|| self.corrupt("keyward_keys.revision"))?;
        Ok(parts)
    }

    fn owner(&self, id: OwnerId) -> Result<Owner, SqlStoreError> {
        let mut owner = Owner::new(id);
        if let Some(tier) = self.column(self.row.text(10), "keyward_owners.tier")? {
            let tier = tier.parse().map_err(|_| self.corrupt("keyward_owners.tier"))?;
            owner = owner.with_tier(tier);
        }
        owner.quotas = self.quotas(self.row.text(11), "keyward_owners.quotas")?;
        Ok(owner)
    }

    fn secret(&self) -> Result<StoredSecret, SqlStoreError> {
        let row = self.row;
        let hash = self.parsed::<KeyHash>(row.text(13), "keyward_secrets.hash")?;
        let kind = self.needed(row.text(14), "keyward_secrets.kind")?;
        let kind = KeyKind::new(kind).map_err(|_| self.corrupt("keyward_secrets.kind"))?;
        let created_at = self.needed_instant(row.integer(16), "keyward_secrets.created_at")?;
        let secret = StoredSecret::new(hash, kind, created_at);
        match self.column(row.text(15), "keyward_secrets.hint")? {
            Some(hint) => {
                let hint = hint.parse().map_err(|_| self.corrupt("keyward_secrets.hint"))?;
                Ok(secret.with_hint(hint))
            }
            None => Ok(secret),
        }
    }

    fn valid_until(&self) -> Result<Option<Timestamp>, SqlStoreError> {
        self.instant(self.row.integer(17), "keyward_secrets.valid_until")
    }

    fn quotas(
        &self,
        column: Result<Option<&str>, sqlx::Error>,
        name: &'static str,
    ) -> Result<Option<Quotas>, SqlStoreError> {
        let text = self.column(column, name)?;
        text.map(|text| quota_text::read(text).ok_or_else(|| self.corrupt(name))).transpose()
    }

    fn needed_instant(
        &self,
        column: Result<Option<i64>, sqlx::Error>,
        name: &'static str,
    ) -> Result<Timestamp, SqlStoreError> {
        self.instant(column, name)?.ok_or_else(|| self.corrupt(name))
    }

    fn instant(
        &self,
        column: Result<Option<i64>, sqlx::Error>,
        name: &'static str,
    ) -> Result<Option<Timestamp>, SqlStoreError> {
        let millis = self.column(column, name)?;
        millis.map(|millis| instant(millis).ok_or_else(|| self.corrupt(name))).transpose()
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        column: Result<Option<&str>, sqlx::Error>,
        name: &'static str,
    ) -> Result<T, SqlStoreError> {
        self.needed(column, name)?.parse().map_err(|_| self.corrupt(name))
    }

    fn needed<T>(
        &self,
        column: Result<Option<T>, sqlx::Error>,
        name: &'static str,
    ) -> Result<T, SqlStoreError> {
        self.column(column, name)?.ok_or_else(|| self.corrupt(name))
    }

    /// What a column holds. It not being of its type is an error of the row and not of the
    /// connection.
    fn column<T>(
        &self,
        column: Result<Option<T>, sqlx::Error>,
        name: &'static str,
    ) -> Result<Option<T>, SqlStoreError> {
        column.map_err(|_| self.corrupt(name))
    }

    fn corrupt(&self, column: &'static str) -> SqlStoreError {
        SqlStoreError::Corrupt { key: Some(self.id), column }
    }
}
