-- The checks refuse most of what keyward could not read. `check_rows` finds the rest.
--
-- Texts are compared byte by byte, and trailing spaces count: the name of such a collation differs
-- between MySQL and MariaDB. DDL commits by itself here, so each statement can be run again after a
-- crash.
CREATE TABLE keyward_owners (
  id VARCHAR(255) NOT NULL PRIMARY KEY CHECK (
    OCTET_LENGTH(id) BETWEEN 1 AND 128 AND id REGEXP '[^ ]' AND NOT id REGEXP '{CONTROL}'
  ),
  tier VARCHAR(255) CHECK (
    OCTET_LENGTH(tier) BETWEEN 1 AND 64 AND tier REGEXP '[^ ]' AND NOT tier REGEXP '{CONTROL}'
  ),
  overrides TEXT,
  state VARCHAR(16) NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
  state_since BIGINT CHECK (state_since BETWEEN 0 AND 253402300799999),
  key_cap BIGINT CHECK (key_cap BETWEEN 0 AND 4294967295),
  CHECK ((state = 'active') = (state_since IS NULL))
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = {COLLATION};

-- An owner need not be put before its keys, so there is no reference to it.
CREATE TABLE keyward_keys (
  id VARCHAR(64) NOT NULL PRIMARY KEY CHECK (id REGEXP '^[0-9a-f]{32}$' AND OCTET_LENGTH(id) = 32),
  owner VARCHAR(255) NOT NULL CHECK (
    OCTET_LENGTH(owner) BETWEEN 1 AND 128 AND owner REGEXP '[^ ]' AND NOT owner REGEXP '{CONTROL}'
  ),
  name VARCHAR(255) NOT NULL CHECK (
    OCTET_LENGTH(name) BETWEEN 1 AND 128 AND name REGEXP '[^ ]' AND NOT name REGEXP '{CONTROL}'
  ),
  scopes TEXT NOT NULL DEFAULT ('') CHECK (
    scopes REGEXP '^(([!#-Z^-~]|\\[|\\])+( ([!#-Z^-~]|\\[|\\])+)*)?$' AND NOT scopes REGEXP '[\\r\\n]'
  ),
  overrides TEXT,
  created_at BIGINT NOT NULL CHECK (created_at BETWEEN 0 AND 253402300799999),
  expires_at BIGINT CHECK (expires_at BETWEEN 0 AND 253402300799999),
  state VARCHAR(16) NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'revoked')),
  state_since BIGINT CHECK (state_since BETWEEN 0 AND 253402300799999),
  -- Computed, so that a revocation by hand is purged in its time too.
  ends_at BIGINT GENERATED ALWAYS AS (
    CASE WHEN state = 'revoked' THEN LEAST(state_since, COALESCE(expires_at, state_since))
      ELSE expires_at END
  ) STORED,
  revision BIGINT NOT NULL DEFAULT 1 CHECK (revision >= 1),
  -- What tells this life of an id from another one. A row that is inserted by hand gets one.
  nonce VARCHAR(64) NOT NULL DEFAULT (LEFT(MD5(UUID()), 16)) CHECK (
    nonce REGEXP '^[0-9a-f]{16}$' AND OCTET_LENGTH(nonce) = 16
  ),
  -- Networks in CIDR notation and origins of web pages, with spaces between them. NULL is all.
  networks TEXT CHECK (networks <> ''),
  origins TEXT CHECK (origins <> ''),
  metadata TEXT CHECK (OCTET_LENGTH(metadata) BETWEEN 1 AND 4096),
  created_by VARCHAR(255) CHECK (
    OCTET_LENGTH(created_by) BETWEEN 1 AND 128 AND created_by REGEXP '[^ ]'
      AND NOT created_by REGEXP '{CONTROL}'
  ),
  revocation_reason VARCHAR(512) CHECK (
    OCTET_LENGTH(revocation_reason) BETWEEN 1 AND 256 AND revocation_reason REGEXP '[^ ]'
      AND NOT revocation_reason REGEXP '{CONTROL}'
  ),
  CHECK (revocation_reason IS NULL OR state = 'revoked'),
  CHECK ((state = 'active') = (state_since IS NULL)),
  INDEX keyward_keys_by_owner (owner, created_at, id),
  INDEX keyward_keys_by_creation (created_at, id),
  INDEX keyward_keys_by_end (ends_at, id)
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = {COLLATION};

-- No cascade: its deletions would fire no triggers.
CREATE TABLE keyward_secrets (
  -- A scheme and 64 lower-case hexadecimal characters.
  hash VARCHAR(128) NOT NULL PRIMARY KEY CHECK (
    hash REGEXP '^[a-z][a-z0-9.-]*:[0-9a-f]{64}$' AND NOT hash REGEXP '[\\r\\n]'
  ),
  key_id VARCHAR(64) NOT NULL,
  place BIGINT NOT NULL DEFAULT 0 CHECK (place BETWEEN 0 AND 3),
  kind VARCHAR(64) NOT NULL CHECK (kind REGEXP '^[A-Za-z0-9_-]{1,23}$' AND NOT kind REGEXP '[\\r\\n]'),
  hint VARCHAR(64) CHECK (hint REGEXP '^[A-Za-z0-9_.*-]{1,35}$' AND NOT hint REGEXP '[\\r\\n]'),
  created_at BIGINT NOT NULL CHECK (created_at BETWEEN 0 AND 253402300799999),
  valid_until BIGINT CHECK (valid_until BETWEEN 0 AND 253402300799999),
  -- That of the key when keyward wrote this row, 0 while keyward replaces it, NULL by hand.
  revision BIGINT CHECK (revision >= 0),
  UNIQUE INDEX keyward_secrets_by_key (key_id, place),
  CHECK ((place = 0) = (valid_until IS NULL)),
  FOREIGN KEY (key_id) REFERENCES keyward_keys (id)
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = {COLLATION};

CREATE TABLE keyward_usage (
  key_id VARCHAR(64) NOT NULL PRIMARY KEY,
  requests BIGINT NOT NULL CHECK (requests >= 0),
  last_used_at BIGINT CHECK (last_used_at BETWEEN 0 AND 253402300799999),
  FOREIGN KEY (key_id) REFERENCES keyward_keys (id)
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = {COLLATION};

-- How often a key was used in a minute, an hour or a day. Only what the host chose is kept.
CREATE TABLE keyward_usage_buckets (
  key_id VARCHAR(64) NOT NULL,
  span VARCHAR(16) NOT NULL CHECK (span IN ('minute', 'hour', 'day')),
  begins_at BIGINT NOT NULL CHECK (begins_at >= 0),
  requests BIGINT NOT NULL CHECK (requests >= 0),
  PRIMARY KEY (key_id, span, begins_at),
  INDEX keyward_usage_buckets_by_time (span, begins_at),
  FOREIGN KEY (key_id) REFERENCES keyward_keys (id)
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = {COLLATION};

-- Events outlive their keys, so there is no reference to them.
CREATE TABLE keyward_audit (
  number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  at BIGINT NOT NULL CHECK (at >= 0),
  action VARCHAR(255) NOT NULL,
  key_id VARCHAR(64) CHECK (key_id REGEXP '^[0-9a-f]{32}$' AND OCTET_LENGTH(key_id) = 32),
  owner VARCHAR(255),
  kind VARCHAR(64),
  actor VARCHAR(255),
  request_id TEXT,
  detail MEDIUMTEXT,
  INDEX keyward_audit_by_time (at, number),
  INDEX keyward_audit_by_owner (owner, at, number),
  INDEX keyward_audit_by_key (key_id, at, number)
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = {COLLATION};

-- The rows are locked in place of owners, which need not have a row of their own. Owners that share
-- one wait for each other.
CREATE TABLE keyward_locks (slot BIGINT NOT NULL PRIMARY KEY) ENGINE = InnoDB;

INSERT INTO keyward_locks (slot)
WITH RECURSIVE slots AS (SELECT 0 AS slot UNION ALL SELECT slot + 1 FROM slots WHERE slot < 255)
SELECT slot FROM slots;

-- A change by hand raises the revision of its key. So a change by keyward that was decided before is
-- refused and does not undo it. keyward's own changes raise the revision themselves. They are
-- recognised by what they do to a revision column, and are not raised twice. A damaged revision that
-- cannot be raised hinders no change.
CREATE TRIGGER keyward_key_changed BEFORE UPDATE ON keyward_keys FOR EACH ROW
SET NEW.revision = CASE
  WHEN NEW.revision <= OLD.revision AND OLD.revision < 9223372036854775807 THEN OLD.revision + 1
  ELSE NEW.revision END;

CREATE TRIGGER keyward_secret_added AFTER INSERT ON keyward_secrets FOR EACH ROW
UPDATE keyward_keys SET revision = revision + 1
  WHERE id = NEW.key_id AND revision < 9223372036854775807 AND NOT (revision <=> NEW.revision);

CREATE TRIGGER keyward_secret_changed AFTER UPDATE ON keyward_secrets FOR EACH ROW
UPDATE keyward_keys SET revision = revision + 1
  WHERE id IN (OLD.key_id, NEW.key_id) AND revision < 9223372036854775807
    AND (NEW.revision <=> OLD.revision);

CREATE TRIGGER keyward_secret_removed AFTER DELETE ON keyward_secrets FOR EACH ROW
UPDATE keyward_keys SET revision = revision + 1
  WHERE id = OLD.key_id AND revision < 9223372036854775807 AND NOT (OLD.revision <=> 0);
