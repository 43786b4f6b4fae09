-- Passkeys (WebAuthn): keys that a person's authenticators hold.

CREATE TABLE passkeys (
    id BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- what the authenticator calls it; it belongs to one account
    credential_id BLOB NOT NULL UNIQUE,
    -- sealed: its name, its public key, its counter and whether it is backed up
    details BLOB NOT NULL,
    added_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX passkeys_by_user ON passkeys (user_id);

-- Challenges that wait for their answer: the row goes with the first.
CREATE TABLE passkey_ceremonies (
    token_hash BLOB NOT NULL PRIMARY KEY,
    -- null: whoever logs in has not said who they are
    user_id BLOB REFERENCES users (id) ON DELETE CASCADE,
    -- a keyed hash of what the answer is for: the login, or the session or the first factor that
    -- it belongs to
    bound_to BLOB NOT NULL,
    -- sealed
    state BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX passkey_ceremonies_by_expiry ON passkey_ceremonies (expires_at);
