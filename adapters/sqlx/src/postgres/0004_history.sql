-- How often a key was used in a minute, an hour or a day. Only what the host chose is kept.
CREATE TABLE keyward_usage_buckets (
  key_id text COLLATE "C" NOT NULL REFERENCES keyward_keys (id) ON DELETE CASCADE,
  span text COLLATE "C" NOT NULL CHECK (span IN ('minute', 'hour', 'day')),
  begins_at bigint NOT NULL CHECK (begins_at >= 0),
  requests bigint NOT NULL CHECK (requests >= 0),
  PRIMARY KEY (key_id, span, begins_at)
);

CREATE INDEX keyward_usage_buckets_by_time ON keyward_usage_buckets (span, begins_at);

-- Events outlive their keys, so there is no reference to them.
CREATE TABLE keyward_audit (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at bigint NOT NULL CHECK (at >= 0),
  action text NOT NULL,
  key_id text COLLATE "C" CHECK (key_id ~ '^[0-9a-f]{32}$'),
  owner text COLLATE "C",
  kind text,
  actor text,
  request_id text,
  detail text
);

CREATE INDEX keyward_audit_by_time ON keyward_audit (at, number);
CREATE INDEX keyward_audit_by_owner ON keyward_audit (owner, at, number) WHERE owner IS NOT NULL;
CREATE INDEX keyward_audit_by_key ON keyward_audit (key_id, at, number) WHERE key_id IS NOT NULL;
