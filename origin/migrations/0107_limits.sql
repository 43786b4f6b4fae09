-- What an account may be asked for in a while, and the devices that a lock does not lock out.

-- Until when the next wrong or right password must wait, and the keyed hash of the network that
-- the last failure came from: whom the wait is for.
ALTER TABLE lockouts ADD COLUMN delayed_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lockouts ADD COLUMN source BLOB;

-- One row for each event that counts against an account within a sliding window. There are few of
-- them in a window, so the log is exact.
CREATE TABLE attempts (
    -- 'login' (wrong passwords), 'forgot', 'reset'
    kind TEXT NOT NULL,
    -- keyed hash of the account, or of the identifier that was typed
    subject BLOB NOT NULL,
    -- keyed hash of the network that it came from
    source BLOB NOT NULL,
    made_at BIGINT NOT NULL
);
CREATE INDEX attempts_by_subject ON attempts (kind, subject, made_at);
CREATE INDEX attempts_by_time ON attempts (made_at);

-- Devices on which somebody logged in. A login that shows the device's token counts its failures
-- here and not at the account, until they are used up.
CREATE TABLE trusted_devices (
    -- keyed hash of the token
    token_hash BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- raised before a password is compared, zero after a right one
    failures BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX trusted_devices_by_user ON trusted_devices (user_id, used_at);
CREATE INDEX trusted_devices_by_expiry ON trusted_devices (expires_at);
