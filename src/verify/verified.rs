//! A verified key, and the caller that it becomes.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        hash::KeyHash,
        id::KeyId,
        kind::KeyKind,
        name::KeyName,
        owner::{Owner, OwnerId, Tier},
        record::KeyRecord,
        scope::ScopeSet,
        secret::StoredSecret,
    },
    store::stored_key::StoredKey,
    verify::{
        access::{Access, Forbidden},
        error::VerifyError,
        in_force::in_force,
        matching::secret_at,
    },
};

/// A key that is genuine and in force, with its record and owner. It is not yet a caller:
/// [`Verified::authorize`] checks the requirements of a route.
///
/// It is owned and `'static`, so the extensions of a request can contain it. Clones share the record.
#[derive(Clone, Debug)]
pub struct Verified {
    found: StoredKey,
    /// The place of the secret that was presented, as `proved` counts them.
    matched: u8,
    differing: Option<Box<Differing>>,
}

/// In what a verified key differs from its record.
#[derive(Clone, Debug)]
pub(super) struct Differing {
    /// The scopes of the key, if the record has a role, or more than its kind can have.
    pub(super) scopes: Option<ScopeSet>,
    pub(super) rehash: Option<Rehash>,
}

/// The stored hash of the presented secret, which is under an older scheme, and the hash to replace
/// it by. [`KeyRecord::rehash`] and [`Issuer::rehash`](crate::issue::Issuer::rehash) replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rehash {
    /// The stored hash.
    pub old: KeyHash,
    /// The hash of the same secret under the current scheme.
    pub new: KeyHash,
}

/// Which secret of a key was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatchedSecret {
    /// The secret of the last rotation.
    Current,
    /// An earlier secret in its grace.
    Retiring {
        /// The time from which it is refused.
        valid_until: Timestamp,
    },
}

impl Verified {
    pub(super) const fn new(
        found: StoredKey,
        matched: u8,
        differing: Option<Box<Differing>>,
    ) -> Self {
        Self { found, matched, differing }
    }

    /// Checks the requirements of a route.
    ///
    /// # Errors
    ///
    /// Returns [`Forbidden`] if one of them does not hold. The response is a 403.
    #[inline]
    pub fn authorize(self, access: &Access) -> Result<KeyCaller, Forbidden> {
        self.authorized(access).map_err(|(forbidden, _)| forbidden)
    }

    /// Does what [`Verified::authorize`] does, and returns the key with the error.
    #[inline]
    pub(crate) fn authorized(self, access: &Access) -> Result<KeyCaller, (Forbidden, Self)> {
        match access.check(self.kind(), self.scopes(), self.owner()) {
            Ok(()) => Ok(KeyCaller(self)),
            Err(forbidden) => Err((forbidden, self)),
        }
    }

    /// Returns the id of the key, to which limits, usage and audit refer.
    #[inline]
    pub fn key_id(&self) -> KeyId {
        self.found.record().id()
    }

    /// Returns the kind of the secret that was presented. In its grace it can be a legacy kind.
    #[inline]
    pub fn kind(&self) -> KeyKind {
        self.secret().0.kind
    }

    /// Returns the name of the key.
    pub fn name(&self) -> &KeyName {
        self.found.record().name()
    }

    /// Returns the owner of the key, with its tier and overrides.
    #[inline]
    pub fn owner(&self) -> &Owner {
        self.found.owner()
    }

    /// Returns the id of the owner. It comes from the record alone.
    pub fn owner_id(&self) -> &OwnerId {
        self.found.record().owner()
    }

    /// Returns the tier of the owner.
    #[inline]
    pub fn tier(&self) -> Option<&Tier> {
        self.found.owner().tier.as_ref()
    }

    /// Returns the scopes of the key.
    pub fn scopes(&self) -> &ScopeSet {
        let held = self.differing.as_ref().and_then(|differing| differing.scopes.as_ref());
        held.unwrap_or_else(|| self.record().scopes())
    }

    /// Returns which secret was presented, and for a retiring one its deadline.
    pub fn matched(&self) -> MatchedSecret {
        match self.secret().1 {
            None => MatchedSecret::Current,
            Some(valid_until) => MatchedSecret::Retiring { valid_until },
        }
    }

    /// Returns the hash to save so that an older hash scheme can be dropped. `None` if the secret is
    /// stored under the current scheme.
    pub fn rehash(&self) -> Option<&Rehash> {
        self.differing.as_ref()?.rehash.as_ref()
    }

    /// Returns the record of the key as the store found it.
    #[inline]
    pub fn record(&self) -> &KeyRecord {
        self.found.record()
    }

    /// Checks again, by the same record and a later `now`, that neither the key has expired nor the
    /// grace of its secret has ended.
    pub(crate) fn still_in_force(&self, now: Timestamp) -> Result<(), VerifyError> {
        in_force(&self.found, now)?;
        match self.secret().1 {
            Some(deadline) if deadline <= now => Err(VerifyError::PastGrace),
            _ => Ok(()),
        }
    }

    /// Returns the secret that was presented, and for a retiring one its deadline.
    #[inline]
    fn secret(&self) -> (&StoredSecret, Option<Timestamp>) {
        secret_at(self.record(), self.matched)
    }
}

/// A [`Verified`] key that meets the requirements of its route. Only [`Verified::authorize`] returns
/// one.
///
/// ```compile_fail
/// fn caller(verified: keyward::verify::Verified) -> keyward::verify::KeyCaller {
///     keyward::verify::KeyCaller(verified) // A caller without a check does not compile.
/// }
/// ```
#[derive(Clone, Debug)]
pub struct KeyCaller(Verified);

impl std::ops::Deref for KeyCaller {
    type Target = Verified;

    fn deref(&self) -> &Verified {
        &self.0
    }
}
