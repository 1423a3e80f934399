-- What tells this life of an id from another one. A row that is inserted by hand gets one.
ALTER TABLE keyward_keys ADD COLUMN nonce TEXT
  CHECK (length(nonce) = 16 AND nonce NOT GLOB '*[^0-9a-f]*');
-- Networks in CIDR notation and origins of web pages, with spaces between them. NULL is all.
ALTER TABLE keyward_keys ADD COLUMN networks TEXT CHECK (networks <> '');
ALTER TABLE keyward_keys ADD COLUMN origins TEXT CHECK (origins <> '');
ALTER TABLE keyward_keys ADD COLUMN metadata TEXT
  CHECK (length(CAST(metadata AS BLOB)) BETWEEN 1 AND 4096);
ALTER TABLE keyward_keys ADD COLUMN created_by TEXT
  CHECK (length(CAST(created_by AS BLOB)) BETWEEN 1 AND 128
    AND trim(created_by, ' ') <> '' AND instr(created_by, char(0)) = 0 AND created_by NOT GLOB '*[' || char(1) || '-'
    || char(31, 127) || '-' || char(159, 1564, 8203, 8206, 8207, 8232) || '-' || char(8238, 8294)
    || '-' || char(8297, 65279) || ']*');
ALTER TABLE keyward_keys ADD COLUMN revocation_reason TEXT
  CHECK (length(CAST(revocation_reason AS BLOB)) BETWEEN 1 AND 256
    AND trim(revocation_reason, ' ') <> '' AND instr(revocation_reason, char(0)) = 0 AND revocation_reason NOT GLOB '*[' || char(1) || '-'
    || char(31, 127) || '-' || char(159, 1564, 8203, 8206, 8207, 8232) || '-' || char(8238, 8294)
    || '-' || char(8297, 65279) || ']*')
  CHECK (revocation_reason IS NULL OR state = 'revoked');

ALTER TABLE keyward_owners ADD COLUMN state TEXT NOT NULL DEFAULT 'active'
  CHECK (state IN ('active', 'suspended'));
ALTER TABLE keyward_owners ADD COLUMN state_since INTEGER CHECK (state_since BETWEEN 0 AND 253402300799999)
  CHECK ((state = 'active') = (state_since IS NULL));
ALTER TABLE keyward_owners ADD COLUMN key_cap INTEGER CHECK (key_cap BETWEEN 0 AND 4294967295);

-- A change of the nonce needs no new revision: a change that was decided before has another nonce.
DROP TRIGGER keyward_key_changed;
CREATE TRIGGER keyward_key_changed AFTER UPDATE ON keyward_keys
WHEN new.revision <= old.revision AND old.revision < 9223372036854775807 AND new.nonce IS old.nonce
BEGIN
  UPDATE keyward_keys SET revision = old.revision + 1 WHERE id = new.id;
END;

UPDATE keyward_keys SET nonce = lower(hex(randomblob(8)));

CREATE TRIGGER keyward_key_added AFTER INSERT ON keyward_keys WHEN new.nonce IS NULL
BEGIN
  UPDATE keyward_keys SET nonce = lower(hex(randomblob(8))) WHERE id = new.id;
END;
