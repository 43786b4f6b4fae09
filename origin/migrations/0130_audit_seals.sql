-- Trails that were found altered. They stay in `audit_events` as they were found; the trail of today
-- begins behind the last of them. A seal covers all events up to its last one and the seals before it,
-- so that only the latest has to be checked.
CREATE TABLE audit_seals (
    -- 1, 2, 3, …
    number BIGINT NOT NULL PRIMARY KEY,
    -- the number of the last event that it covers
    last_sequence BIGINT NOT NULL,
    -- how many events it covers
    events BIGINT NOT NULL,
    -- SHA-256 in hexadecimal of the events, without their sealed details, and of the seals before
    digest TEXT NOT NULL,
    -- what was wrong with the trail
    found TEXT NOT NULL,
    sealed_at BIGINT NOT NULL,
    -- over all of this, in hexadecimal, under a key that is not in the database
    mac TEXT NOT NULL,
    mac_version BIGINT NOT NULL
);
