-- What tells this life of an id from another one. A row that is inserted by hand gets one.
ALTER TABLE keyward_keys
  ADD COLUMN nonce text NOT NULL DEFAULT left(md5(gen_random_uuid()::text), 16)
    CHECK (nonce ~ '^[0-9a-f]{16}$'),
  -- Networks in CIDR notation and origins of web pages, with spaces between them. NULL is all.
  ADD COLUMN networks text CHECK (networks <> ''),
  ADD COLUMN origins text CHECK (origins <> ''),
  ADD COLUMN metadata text CHECK (octet_length(metadata) BETWEEN 1 AND 4096),
  ADD COLUMN created_by text CHECK (octet_length(created_by) BETWEEN 1 AND 128 AND created_by ~ '[^ ]'
    AND created_by !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]'),
  ADD COLUMN revocation_reason text CHECK (octet_length(revocation_reason) BETWEEN 1 AND 256 AND revocation_reason ~ '[^ ]'
    AND revocation_reason !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]')
    CHECK (revocation_reason IS NULL OR state = 'revoked');

ALTER TABLE keyward_owners
  ADD COLUMN state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
  ADD COLUMN state_since bigint CHECK (state_since BETWEEN 0 AND 253402300799999)
    CHECK ((state = 'active') = (state_since IS NULL)),
  ADD COLUMN key_cap bigint CHECK (key_cap BETWEEN 0 AND 4294967295);
