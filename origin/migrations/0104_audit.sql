-- The audit trail: what happened, in order, and only ever added to. Each row's hash covers the row
-- and the hash before it, so that a row that is changed, removed or put in between shows.

CREATE TABLE audit_events (
    -- 1, 2, 3, … without gaps
    sequence BIGINT NOT NULL PRIMARY KEY,
    id BLOB NOT NULL,
    occurred_at BIGINT NOT NULL,
    -- 'login', 'factor', 'roles', …
    kind TEXT NOT NULL,
    -- 'success', 'failure' or 'skipped'
    outcome TEXT NOT NULL,
    -- why, in a word of the code; empty where there is nothing to say
    reason TEXT NOT NULL,
    -- who did it: 'user <id>', 'operator', 'system' or 'anonymous'
    actor TEXT NOT NULL,
    -- whom it is about; not a foreign key: the trail outlives the account
    user_id BLOB,
    session_id BLOB,
    -- the correlation id; empty for what no request caused
    request_id TEXT NOT NULL,
    -- sealed JSON: address, user agent, method, old and new value. It may be erased, or sealed
    -- again under another key, without breaking the chain, which covers `details_hash`.
    details BLOB,
    -- SHA-256 of the JSON, which holds random bytes, so that nobody guesses its content by this
    details_hash BLOB NOT NULL,
    -- in hexadecimal
    hash TEXT NOT NULL
);
CREATE UNIQUE INDEX audit_events_by_id ON audit_events (id);
CREATE INDEX audit_events_by_user ON audit_events (user_id, sequence);
CREATE INDEX audit_events_by_time ON audit_events (occurred_at);

-- Where the trail ends and where it begins: what retention removed is covered by `start_hash`.
-- The MAC is over both ends under a key that is not in the database: whoever can write here can
-- neither cut the trail nor write another. One row.
CREATE TABLE audit_head (
    id BIGINT NOT NULL PRIMARY KEY,
    start_sequence BIGINT NOT NULL,
    start_hash TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    hash TEXT NOT NULL,
    -- in hexadecimal; empty until the first event
    mac TEXT NOT NULL,
    mac_version BIGINT NOT NULL
);
INSERT INTO audit_head (id, start_sequence, start_hash, sequence, hash, mac, mac_version)
VALUES (1, 0, '', 0, '', '', 0);

DROP TABLE security_events;
