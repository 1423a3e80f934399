//! What keys there are, and what each kind of them can ever do.

use keyward::{
    ConfigError, KeyFormat, Scope,
    key::{KeyFormats, ScopeCatalog},
};

/// In web pages, for anybody to see: it can send replays and nothing else.
pub(crate) const PUBLIC: KeyFormat = KeyFormat::hex("luc_pk_");
/// For programs of an organization.
pub(crate) const API: KeyFormat = KeyFormat::hex("luc_api_");
/// For an OAuth client, for one hour.
pub(crate) const ACCESS_TOKEN: KeyFormat = KeyFormat::hex("luc_oat_");
/// What API keys were called once. Still accepted, never minted; rotated, it becomes one.
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

/// Per kind: what it gets if nothing is asked for, and what it can have.
pub(crate) fn catalog() -> Result<ScopeCatalog, ConfigError> {
    let both = [READ_LUCENT, WRITE_ISSUES];
    ScopeCatalog::new(both.clone())?
        .allow(PUBLIC.kind(), [], [])?
        .allow(API.kind(), [READ_LUCENT], both.clone())?
        .allow(ACCESS_TOKEN.kind(), [], both.clone())?
        .allow(LEGACY.kind(), [READ_LUCENT], both)
}
