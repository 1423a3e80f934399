//! The kinds of keys, and the scopes that each kind can have.

use keyward::{
    ConfigError, KeyFormat, Scope,
    key::{KeyFormats, ScopeCatalog},
};

/// A key in a web page, which anybody can read. It can only send replays.
pub(crate) const PUBLIC: KeyFormat = KeyFormat::hex("luc_pk_");
/// A key for programs of an organization.
pub(crate) const API: KeyFormat = KeyFormat::hex("luc_api_");
/// An access token of an OAuth client, valid for one hour.
pub(crate) const ACCESS_TOKEN: KeyFormat = KeyFormat::hex("luc_oat_");
/// An old API key. It is still accepted and never minted. A rotation replaces it by an [`API`] key.
pub(crate) const LEGACY: KeyFormat = KeyFormat::hex("luc_mcp_").with_successor(API.kind());

pub(crate) const READ_LUCENT: Scope = Scope::from_static("read:lucent");
pub(crate) const WRITE_ISSUES: Scope = Scope::from_static("write:issues");

/// Every kind that is accepted as a bearer token.
pub(crate) fn tokens() -> Result<KeyFormats, ConfigError> {
    KeyFormats::new([API, ACCESS_TOKEN, LEGACY])
}

/// Every kind.
pub(crate) fn all() -> Result<KeyFormats, ConfigError> {
    KeyFormats::new([PUBLIC, API, ACCESS_TOKEN, LEGACY])
}

/// The default scopes and the ceiling of each kind.
pub(crate) fn catalog() -> Result<ScopeCatalog, ConfigError> {
    let both = [READ_LUCENT, WRITE_ISSUES];
    ScopeCatalog::new(both.clone())?
        .allow(PUBLIC.kind(), [], [])?
        .allow(API.kind(), [READ_LUCENT], both.clone())?
        .allow(ACCESS_TOKEN.kind(), [], both.clone())?
        .allow(LEGACY.kind(), [READ_LUCENT], both)
}
