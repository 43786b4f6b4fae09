-- Keys, and the counters by which several processes tell that something changed.

-- Raised in the transaction of the change; the row's lock orders writers, so that a reader who
-- has seen value n has everything up to n. 'keyring' and 'revocations' count changes,
-- 'control_sequence' is the highest sequence number signed, 'restore_epoch' how often the
-- database was restored from a copy.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES
    ('keyring', 0),
    ('revocations', 0),
    ('control_sequence', 0),
    ('restore_epoch', 0);

-- Keys of access tokens. The private half is sealed, and gone once the key signs nothing more.
CREATE TABLE signing_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    -- 'ES256' or 'EdDSA'
    algorithm TEXT NOT NULL,
    -- 'pending', 'active', 'retiring', 'retired' or 'revoked'
    state TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    private_key BLOB,
    created_at BIGINT NOT NULL,
    published_at BIGINT NOT NULL,
    activate_not_before BIGINT NOT NULL,
    activated_at BIGINT,
    retiring_at BIGINT,
    -- when the last token that it signed has expired everywhere
    retire_after BIGINT,
    retired_at BIGINT,
    revoked_at BIGINT,
    -- the longest life of a token that it signed, in seconds
    token_seconds BIGINT NOT NULL
);
-- At most one key signs, and at most one waits.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (state) WHERE state = 'active';
CREATE UNIQUE INDEX signing_keys_pending ON signing_keys (state) WHERE state = 'pending';

-- Keys that sign what the gates are told; never in the JWK Set.
CREATE TABLE control_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    private_key BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
