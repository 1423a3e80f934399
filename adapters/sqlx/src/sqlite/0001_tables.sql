-- The checks refuse most of what keyward could not read. `check_rows` finds the rest.
CREATE TABLE keyward_owners (
  id TEXT PRIMARY KEY NOT NULL CHECK (
    length(CAST(id AS BLOB)) BETWEEN 1 AND 128
      AND trim(id, ' ') <> '' AND instr(id, char(0)) = 0 AND id NOT GLOB '*[' || char(1) || '-'
      || char(31, 127) || '-' || char(159, 1564, 8203, 8206, 8207, 8232) || '-' || char(8238, 8294)
      || '-' || char(8297, 65279) || ']*'
  ),
  tier TEXT CHECK (
    length(CAST(tier AS BLOB)) BETWEEN 1 AND 64
      AND trim(tier, ' ') <> '' AND instr(tier, char(0)) = 0 AND tier NOT GLOB '*[' || char(1) || '-'
      || char(31, 127) || '-' || char(159, 1564, 8203, 8206, 8207, 8232) || '-' || char(8238, 8294)
      || '-' || char(8297, 65279) || ']*'
  ),
  overrides TEXT
) STRICT, WITHOUT ROWID;

-- An owner need not be put before its keys, so there is no reference to it.
CREATE TABLE keyward_keys (
  id TEXT PRIMARY KEY NOT NULL CHECK (length(id) = 32 AND id NOT GLOB '*[^0-9a-f]*'),
  owner TEXT NOT NULL CHECK (
    length(CAST(owner AS BLOB)) BETWEEN 1 AND 128
      AND trim(owner, ' ') <> '' AND instr(owner, char(0)) = 0 AND owner NOT GLOB '*[' || char(1) || '-'
      || char(31, 127) || '-' || char(159, 1564, 8203, 8206, 8207, 8232) || '-' || char(8238, 8294)
      || '-' || char(8297, 65279) || ']*'
  ),
  name TEXT NOT NULL CHECK (
    length(CAST(name AS BLOB)) BETWEEN 1 AND 128
      AND trim(name, ' ') <> '' AND instr(name, char(0)) = 0 AND name NOT GLOB '*[' || char(1) || '-'
      || char(31, 127) || '-' || char(159, 1564, 8203, 8206, 8207, 8232) || '-' || char(8238, 8294)
      || '-' || char(8297, 65279) || ']*'
  ),
  scopes TEXT NOT NULL DEFAULT '' CHECK (
    instr(scopes, char(0)) = 0 AND scopes NOT GLOB '*[^]!#-[^-~ ]*'
      AND scopes = trim(scopes, ' ') AND scopes NOT GLOB '*  *'
  ),
  overrides TEXT,
  created_at INTEGER NOT NULL CHECK (created_at BETWEEN 0 AND 253402300799999),
  expires_at INTEGER CHECK (expires_at BETWEEN 0 AND 253402300799999),
  state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'revoked')),
  state_since INTEGER CHECK (state_since BETWEEN 0 AND 253402300799999),
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
  -- A scheme and 64 lower-case hexadecimal characters.
  hash TEXT PRIMARY KEY NOT NULL CHECK (
    hash GLOB '[a-z]*:*' AND length(CAST(hash AS BLOB)) = instr(hash, ':') + 64
      AND substr(hash, instr(hash, ':') + 1) NOT GLOB '*[^0-9a-f]*'
      AND substr(hash, 1, instr(hash, ':') - 1) NOT GLOB '*[^a-z0-9.-]*'
  ),
  key_id TEXT NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  place INTEGER NOT NULL DEFAULT 0 CHECK (place BETWEEN 0 AND 3),
  kind TEXT NOT NULL CHECK (
    length(CAST(kind AS BLOB)) BETWEEN 1 AND 23 AND kind NOT GLOB '*[^A-Za-z0-9_-]*'
  ),
  hint TEXT CHECK (
    length(CAST(hint AS BLOB)) BETWEEN 1 AND 35 AND hint NOT GLOB '*[^A-Za-z0-9_.*-]*'
  ),
  created_at INTEGER NOT NULL CHECK (created_at BETWEEN 0 AND 253402300799999),
  valid_until INTEGER CHECK (valid_until BETWEEN 0 AND 253402300799999),
  -- That of the key when keyward wrote this row, 0 while keyward replaces it, NULL by hand.
  revision INTEGER CHECK (revision >= 0),
  UNIQUE (key_id, place),
  CHECK ((place = 0) = (valid_until IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE keyward_usage (
  key_id TEXT PRIMARY KEY NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  requests INTEGER NOT NULL CHECK (requests >= 0),
  last_used_at INTEGER CHECK (last_used_at BETWEEN 0 AND 253402300799999)
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
