-- Each change is announced by the transaction that makes it, be it ours or made by hand: the
-- words are 'key <id>', 'key <id> <hash>', 'owner <id>' and 'all'. A statement that touches many
-- rows, such as an import, is announced as one.
CREATE FUNCTION keyward_announce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  several CONSTANT integer := 100;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify('keyward', 'all');
  ELSIF (SELECT count(*) FROM (SELECT 1 FROM changed LIMIT several + 1) AS few) > several THEN
    PERFORM pg_notify('keyward', 'all');
  ELSIF TG_TABLE_NAME = 'keyward_owners' THEN
    PERFORM pg_notify('keyward', 'owner ' || (to_jsonb(changed) ->> 'id')) FROM changed;
  ELSIF TG_TABLE_NAME = 'keyward_keys' THEN
    PERFORM pg_notify('keyward', 'key ' || (to_jsonb(changed) ->> 'id')) FROM changed;
  ELSE
    PERFORM pg_notify('keyward',
      'key ' || (to_jsonb(changed) ->> 'key_id') || ' ' || (to_jsonb(changed) ->> 'hash'))
      FROM changed;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER keyward_inserted AFTER INSERT ON keyward_owners
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_updated AFTER UPDATE ON keyward_owners
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_updated_to AFTER UPDATE ON keyward_owners
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_deleted AFTER DELETE ON keyward_owners
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_truncated AFTER TRUNCATE ON keyward_owners
  FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();

CREATE TRIGGER keyward_inserted AFTER INSERT ON keyward_keys
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_updated AFTER UPDATE ON keyward_keys
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_deleted AFTER DELETE ON keyward_keys
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_truncated AFTER TRUNCATE ON keyward_keys
  FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();

CREATE TRIGGER keyward_inserted AFTER INSERT ON keyward_secrets
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_updated AFTER UPDATE ON keyward_secrets
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_updated_to AFTER UPDATE ON keyward_secrets
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_deleted AFTER DELETE ON keyward_secrets
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
CREATE TRIGGER keyward_truncated AFTER TRUNCATE ON keyward_secrets
  FOR EACH STATEMENT EXECUTE FUNCTION keyward_announce();
