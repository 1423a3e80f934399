-- The checks refuse most of what keyward could not read. `check_rows` finds the rest.
--
-- Ids and hashes are compared byte by byte, whatever the database's collation.
CREATE TABLE keyward_owners (
  id text COLLATE "C" PRIMARY KEY CHECK (
    octet_length(id) BETWEEN 1 AND 128 AND id ~ '[^ ]'
      AND id !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]'
  ),
  tier text CHECK (
    octet_length(tier) BETWEEN 1 AND 64 AND tier ~ '[^ ]'
      AND tier !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]'
  ),
  overrides text
);

-- An owner need not be put before its keys, so there is no reference to it.
CREATE TABLE keyward_keys (
  id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
  owner text COLLATE "C" NOT NULL CHECK (
    octet_length(owner) BETWEEN 1 AND 128 AND owner ~ '[^ ]'
      AND owner !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]'
  ),
  name text NOT NULL CHECK (
    octet_length(name) BETWEEN 1 AND 128 AND name ~ '[^ ]'
      AND name !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]'
  ),
  scopes text NOT NULL DEFAULT '' CHECK (scopes ~ '^(([!#-\[]|[\]-~])+( ([!#-\[]|[\]-~])+)*)?$'),
  overrides text,
  created_at bigint NOT NULL CHECK (created_at BETWEEN 0 AND 253402300799999),
  expires_at bigint CHECK (expires_at BETWEEN 0 AND 253402300799999),
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'revoked')),
  state_since bigint CHECK (state_since BETWEEN 0 AND 253402300799999),
  -- Computed, so that a revocation by hand is purged in its time too.
  ends_at bigint GENERATED ALWAYS AS (
    CASE WHEN state = 'revoked' THEN least(state_since, expires_at) ELSE expires_at END
  ) STORED,
  revision bigint NOT NULL DEFAULT 1 CHECK (revision >= 1),
  CHECK ((state = 'active') = (state_since IS NULL))
);

CREATE INDEX keyward_keys_by_owner ON keyward_keys (owner, created_at, id);
CREATE INDEX keyward_keys_by_creation ON keyward_keys (created_at, id);
CREATE INDEX keyward_keys_by_end ON keyward_keys (ends_at, id) WHERE ends_at IS NOT NULL;

CREATE TABLE keyward_secrets (
  -- A scheme and 64 lower-case hexadecimal characters.
  hash text COLLATE "C" PRIMARY KEY CHECK (hash ~ '^[a-z][a-z0-9.-]*:[0-9a-f]{64}$'),
  key_id text COLLATE "C" NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  place bigint NOT NULL DEFAULT 0 CHECK (place BETWEEN 0 AND 3),
  kind text NOT NULL CHECK (kind ~ '^[A-Za-z0-9_-]{1,23}$'),
  hint text CHECK (hint ~ '^[A-Za-z0-9_.*-]{1,35}$'),
  created_at bigint NOT NULL CHECK (created_at BETWEEN 0 AND 253402300799999),
  valid_until bigint CHECK (valid_until BETWEEN 0 AND 253402300799999),
  UNIQUE (key_id, place),
  CHECK ((place = 0) = (valid_until IS NULL))
);

CREATE TABLE keyward_usage (
  key_id text COLLATE "C" PRIMARY KEY REFERENCES keyward_keys (id) ON DELETE CASCADE,
  requests bigint NOT NULL CHECK (requests >= 0),
  last_used_at bigint CHECK (last_used_at BETWEEN 0 AND 253402300799999)
);

-- A change by hand raises the revision of its key. So a change by keyward that was decided before is
-- refused and does not undo it. keyward's own changes raise the revision themselves, and are not
-- raised twice. A damaged revision that cannot be raised hinders no change.
CREATE FUNCTION keyward_raise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.revision := OLD.revision + 1;
  RETURN NEW;
END $$;

CREATE TRIGGER keyward_raised BEFORE UPDATE ON keyward_keys
  FOR EACH ROW WHEN (NEW.revision <= OLD.revision AND OLD.revision < 9223372036854775807)
  EXECUTE FUNCTION keyward_raise();

-- A change of secrets raises each of their keys that this transaction has not written: keyward writes
-- the key first, and whatever else writes it raises it.
CREATE FUNCTION keyward_raise_by_secret() RETURNS trigger LANGUAGE plpgsql
  SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    UPDATE keyward_keys SET revision = revision + 1 WHERE revision < 9223372036854775807;
  ELSE
    UPDATE keyward_keys SET revision = revision + 1
      WHERE revision < 9223372036854775807 AND id IN (SELECT key_id FROM changed)
        AND xmin <> pg_current_xact_id()::xid;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER keyward_raised AFTER INSERT ON keyward_secrets
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_raise_by_secret();
CREATE TRIGGER keyward_raised_from AFTER UPDATE ON keyward_secrets
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_raise_by_secret();
CREATE TRIGGER keyward_raised_to AFTER UPDATE ON keyward_secrets
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_raise_by_secret();
CREATE TRIGGER keyward_raised_removed AFTER DELETE ON keyward_secrets
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_raise_by_secret();
CREATE TRIGGER keyward_raised_truncated AFTER TRUNCATE ON keyward_secrets
  FOR EACH STATEMENT EXECUTE FUNCTION keyward_raise_by_secret();
