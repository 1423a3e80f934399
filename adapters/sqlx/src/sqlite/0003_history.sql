-- How often a key was used in a minute, an hour or a day. Only what the host chose is kept.
CREATE TABLE keyward_usage_buckets (
  key_id TEXT NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  span TEXT NOT NULL CHECK (span IN ('minute', 'hour', 'day')),
  begins_at INTEGER NOT NULL CHECK (begins_at >= 0),
  requests INTEGER NOT NULL CHECK (requests >= 0),
  PRIMARY KEY (key_id, span, begins_at)
) STRICT, WITHOUT ROWID;

CREATE INDEX keyward_usage_buckets_by_time ON keyward_usage_buckets (span, begins_at);

-- Events outlive their keys, so there is no reference to them.
CREATE TABLE keyward_audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL CHECK (at >= 0),
  action TEXT NOT NULL,
  key_id TEXT CHECK (length(key_id) = 32 AND key_id NOT GLOB '*[^0-9a-f]*'),
  owner TEXT,
  kind TEXT,
  actor TEXT,
  request_id TEXT,
  detail TEXT
) STRICT;

CREATE INDEX keyward_audit_by_time ON keyward_audit (at, number);
CREATE INDEX keyward_audit_by_owner ON keyward_audit (owner, at, number) WHERE owner IS NOT NULL;
CREATE INDEX keyward_audit_by_key ON keyward_audit (key_id, at, number) WHERE key_id IS NOT NULL;
