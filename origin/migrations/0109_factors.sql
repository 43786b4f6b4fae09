-- Second factors: what is asked for once the first is proved.

-- Authenticator apps (RFC 6238), one for an account.
CREATE TABLE totp_factors (
    user_id BLOB NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- sealed, 160 bits
    secret BLOB NOT NULL,
    -- the last step of which a code was accepted: one of it or of an earlier one is refused
    last_step BIGINT NOT NULL,
    added_at BIGINT NOT NULL,
    last_used_at BIGINT
);

-- Secrets that were shown and of which no code came back yet.
CREATE TABLE totp_pending (
    user_id BLOB NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- the session that it was shown to, which alone may confirm it
    session_id BLOB NOT NULL,
    secret BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX totp_pending_by_expiry ON totp_pending (expires_at);

-- Recovery codes that were not used: the row goes with the use.
CREATE TABLE recovery_codes (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- version of the master key, then a keyed hash of the code with its account
    code_mac BLOB NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, code_mac)
);

-- Codes by mail or SMS, which wait in one_time_codes with purpose 'mfa', where a person chose them as second factor. They go to the proved address
-- of that kind.
CREATE TABLE code_factors (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- 'email' or 'phone'
    kind TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    last_used_at BIGINT,
    -- 1 once the password was set by a link to an address of this kind, until another second
    -- factor is proved: whoever reads such an address would otherwise have both factors
    withheld BIGINT NOT NULL,
    PRIMARY KEY (user_id, kind)
);

-- Logins that proved their first factor and wait for the second. Used once: the row goes with the
-- use. `tries` is raised before a factor is looked at.
CREATE TABLE mfa_tokens (
    -- keyed hash
    token_hash BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- sealed JSON: the first factor, and what the session is to know
    payload BLOB NOT NULL,
    tries BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX mfa_tokens_by_user ON mfa_tokens (user_id);
CREATE INDEX mfa_tokens_by_expiry ON mfa_tokens (expires_at);

-- When a session last proved a second factor. `amr` does not tell: two proofs of possession (a code
-- by mail, then an app) are two factors of one kind, and `auth_time` is of any proof.
ALTER TABLE sessions ADD COLUMN second_factor_at BIGINT;
