-- Serves the count of an owner's keys that have not ended.
CREATE INDEX keyward_keys_by_owner_and_end ON keyward_keys (owner, ends_at, id);
