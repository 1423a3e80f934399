CREATE TABLE keyward_owners (
  id TEXT PRIMARY KEY NOT NULL CHECK (length(CAST(id AS BLOB)) BETWEEN 1 AND 128),
  tier TEXT CHECK (length(CAST(tier AS BLOB)) BETWEEN 1 AND 64),
  overrides TEXT
) STRICT, WITHOUT ROWID;

-- An owner need not be put before its keys, so there is no reference to it.
CREATE TABLE keyward_keys (
  id TEXT PRIMARY KEY NOT NULL CHECK (length(id) = 32 AND id NOT GLOB '*[^0-9a-f]*'),
  owner TEXT NOT NULL CHECK (length(CAST(owner AS BLOB)) BETWEEN 1 AND 128),
  name TEXT NOT NULL CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 128),
  scopes TEXT NOT NULL DEFAULT '',
  overrides TEXT,
  created_at INTEGER NOT NULL CHECK (created_at >= 0),
  expires_at INTEGER CHECK (expires_at >= 0),
  state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'revoked')),
  state_since INTEGER CHECK (state_since >= 0),
  -- Computed, so that a revocation by hand is purged in its time too.
  ends_at INTEGER GENERATED ALWAYS AS (
    CASE WHEN state = 'revoked' THEN min(state_since, coalesce(expires_at, state_since))
      ELSE expires_at END
  ) VIRTUAL,
  revision INTEGER NOT NULL DEFAULT 1 CHECK (revision >= 1),
  CHECK ((state = 'active') = (state_since IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX keyward_keys_by_owner ON keyward_keys (owner, created_at, id);
CREATE INDEX keyward_keys_by_creation ON keyward_keys (created_at, id);
CREATE INDEX keyward_keys_by_end ON keyward_keys (ends_at, id) WHERE ends_at IS NOT NULL;

CREATE TABLE keyward_secrets (
  hash TEXT PRIMARY KEY NOT NULL,
  key_id TEXT NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  place INTEGER NOT NULL DEFAULT 0 CHECK (place BETWEEN 0 AND 3),
  kind TEXT NOT NULL,
  hint TEXT,
  created_at INTEGER NOT NULL CHECK (created_at >= 0),
  valid_until INTEGER CHECK (valid_until >= 0),
  UNIQUE (key_id, place),
  CHECK ((place = 0) = (valid_until IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE keyward_usage (
  key_id TEXT PRIMARY KEY NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  requests INTEGER NOT NULL CHECK (requests >= 0),
  last_used_at INTEGER CHECK (last_used_at >= 0)
) STRICT, WITHOUT ROWID;
