-- What proves who someone is, and what bounds guessing.

-- One-time codes: at most one live code for a purpose and a recipient, so that a new one ends
-- the old. `tries` is raised before a guess is compared.
CREATE TABLE one_time_codes (
    -- 'register' or 'login'
    purpose TEXT NOT NULL,
    -- blind index of the address
    recipient BLOB NOT NULL,
    -- keyed hash of the otp_token that the code is bound to
    token_hash BLOB NOT NULL,
    -- keyed hash of the code with its token; random bytes when no code was sent
    code_mac BLOB NOT NULL,
    -- sealed JSON: the address, and for 'register' what the account will be made of
    payload BLOB NOT NULL,
    tries BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (purpose, recipient)
);
CREATE UNIQUE INDEX one_time_codes_by_token ON one_time_codes (token_hash);
CREATE INDEX one_time_codes_by_expiry ON one_time_codes (expires_at);

-- Messages sent to a recipient: bounds what one address can be made to receive.
CREATE TABLE message_sends (
    purpose TEXT NOT NULL,
    recipient BLOB NOT NULL,
    sent_at BIGINT NOT NULL
);
CREATE INDEX message_sends_by_recipient ON message_sends (purpose, recipient, sent_at);
CREATE INDEX message_sends_by_time ON message_sends (sent_at);

-- Guesses of codes, by account. A right guess takes its row back.
CREATE TABLE code_failures (
    id BLOB NOT NULL PRIMARY KEY,
    subject BLOB NOT NULL,
    failed_at BIGINT NOT NULL
);
CREATE INDEX code_failures_by_subject ON code_failures (subject, failed_at);
CREATE INDEX code_failures_by_time ON code_failures (failed_at);

-- Accounts that used up their guesses: codes are off until another proof. The proof begins a new
-- day for them (`lifted_at`), not a new month, so that the bound on a year's guesses holds.
CREATE TABLE code_suspensions (
    subject BLOB NOT NULL PRIMARY KEY,
    suspended BIGINT NOT NULL,
    lifted_at BIGINT NOT NULL
);

-- Consecutive failures of a password, by account and by the identifier that was tried.
CREATE TABLE lockouts (
    subject BLOB NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX lockouts_by_time ON lockouts (updated_at);

-- Links that set a new password. Used once: the row goes with the use.
CREATE TABLE password_resets (
    token_hash BLOB NOT NULL PRIMARY KEY,
    -- not a foreign key: an unknown identifier gets a row as well, so that both take the same time
    user_id BLOB NOT NULL,
    -- the address that the link was sent to, which using it proves
    kind TEXT NOT NULL,
    recipient BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX password_resets_by_user ON password_resets (user_id);
