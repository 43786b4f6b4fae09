-- Since when a device is trusted: until that is an hour ago its logins count with those of its account.
-- Those of before this column are older.
ALTER TABLE trusted_devices ADD COLUMN trusted_at BIGINT NOT NULL DEFAULT 0;
