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
  -- That of the key when keyward wrote this row, 0 while keyward replaces it, NULL by hand.
  revision INTEGER CHECK (revision >= 0),
  UNIQUE (key_id, place),
  CHECK ((place = 0) = (valid_until IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE keyward_usage (
  key_id TEXT PRIMARY KEY NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  requests INTEGER NOT NULL CHECK (requests >= 0),
  last_used_at INTEGER CHECK (last_used_at >= 0)
) STRICT, WITHOUT ROWID;

-- A change by hand raises the revision of its key. So a change by keyward that was decided before is
-- refused and does not undo it. keyward's own changes raise the revision themselves. They are
-- recognised by what they do to a revision column, and are not raised twice. A damaged revision that
-- cannot be raised hinders no change.
CREATE TRIGGER keyward_key_changed AFTER UPDATE ON keyward_keys
WHEN new.revision <= old.revision AND old.revision < 9223372036854775807
BEGIN
  UPDATE keyward_keys SET revision = old.revision + 1 WHERE id = new.id;
END;

CREATE TRIGGER keyward_secret_added AFTER INSERT ON keyward_secrets
WHEN new.revision IS NOT (SELECT revision FROM keyward_keys WHERE id = new.key_id)
BEGIN
  UPDATE keyward_keys SET revision = revision + 1
    WHERE revision < 9223372036854775807 AND id = new.key_id;
END;

CREATE TRIGGER keyward_secret_changed AFTER UPDATE ON keyward_secrets
WHEN new.revision IS old.revision
BEGIN
  UPDATE keyward_keys SET revision = revision + 1
    WHERE revision < 9223372036854775807 AND id IN (old.key_id, new.key_id);
END;

CREATE TRIGGER keyward_secret_removed AFTER DELETE ON keyward_secrets
WHEN old.revision IS NOT 0
BEGIN
  UPDATE keyward_keys SET revision = revision + 1
    WHERE revision < 9223372036854775807 AND id = old.key_id;
END;
