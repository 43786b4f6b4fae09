-- Accounts.
--
-- Every instant is microseconds since 1970 in UTC, every id 16 random bytes, every truth value a
-- BIGINT of 0 or 1. BLOB is written BYTEA for PostgreSQL when this file is applied there.

-- Who may log in. Personal data is not here in the clear: `profile` is sealed JSON.
CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY,
    -- 'active' or 'disabled'
    status TEXT NOT NULL,
    -- JSON arrays of strings
    roles TEXT NOT NULL,
    permissions TEXT NOT NULL,
    kyc_level BIGINT NOT NULL,
    -- 'none', 'pending', 'verified' or 'rejected'
    kyc_status TEXT NOT NULL,
    customer_id TEXT,
    profile BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What a person logs in with. The blind index is a keyed hash of the normalised spelling and
-- makes it unique; `spelling` is the sealed original, which is where mail is sent.
-- An address that nobody has proved (`verified_at` null) is here only when the configuration
-- does not ask for proof.
CREATE TABLE identifiers (
    -- 'email', 'phone' or 'username'
    kind TEXT NOT NULL,
    blind BLOB NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    spelling BLOB NOT NULL,
    verified_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (kind, blind)
);
CREATE INDEX identifiers_by_user ON identifiers (user_id);

-- A password as a PHC string of argon2id, taken over a keyed hash of the password: without the
-- master key the table alone cannot be searched.
CREATE TABLE passwords (
    user_id BLOB NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    phc TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
