-- Refusals by the hour: of those about nobody only so many stay in the trail.
CREATE TABLE audit_refusals (
    -- hours since 1970
    hour BIGINT NOT NULL PRIMARY KEY,
    refusals BIGINT NOT NULL,
    -- of them, about nobody that there is
    unknown BIGINT NOT NULL,
    -- of those, not kept
    withheld BIGINT NOT NULL
);

-- Devices on which somebody logged in before, so that a new one is noticed.
CREATE TABLE known_devices (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- keyed hash of the account and what the client says of its device
    device BLOB NOT NULL,
    -- the last login
    used_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, device)
);
