-- Sessions. A refresh raises `counter`; there is no table of refresh tokens.
CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    -- counter of the one refresh token that is good, and when it became so
    counter BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    -- restore epoch of that token, and of the one before
    epoch BIGINT NOT NULL,
    previous_epoch BIGINT NOT NULL,
    -- JSON array of RFC 8176 methods
    amr TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    -- sealed JSON: device, address, user agent
    details BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    idle_expires_at BIGINT NOT NULL,
    absolute_expires_at BIGINT NOT NULL,
    -- when the last access token of the session expires
    access_expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    -- 'logout', 'limit', 'reuse', 'user', 'operator', …
    ended_reason TEXT
);
CREATE INDEX sessions_by_user ON sessions (user_id, ended_at);
CREATE INDEX sessions_by_absolute_expiry ON sessions (absolute_expires_at);

-- What happened that its owner or an operator should know of.
CREATE TABLE security_events (
    id BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- 'refresh_reused', …
    kind TEXT NOT NULL,
    session_id BLOB,
    occurred_at BIGINT NOT NULL
);
CREATE INDEX security_events_by_user ON security_events (user_id, occurred_at);
