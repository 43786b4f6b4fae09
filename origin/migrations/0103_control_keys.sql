-- A control key that gates do not pin yet must not sign: it waits, with `activated_at` null, until
-- the operator says that they do.
ALTER TABLE control_keys ADD COLUMN activated_at BIGINT;
UPDATE control_keys SET activated_at = created_at;
