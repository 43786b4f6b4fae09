-- The whole of an account: until when its verification holds, when it was used, how it ends; the
-- addresses it is reached by; what it submitted for verification.

-- `users.status` may also be 'deactivated' (by its owner, until they log in) or 'deleting' (by its
-- owner, until they log in or `erase_at` comes). `users.kyc_status` may also be 'expired'.

-- When the verification is over; null: it does not end by itself.
ALTER TABLE users ADD COLUMN kyc_expires_at BIGINT;
ALTER TABLE users ADD COLUMN last_login_at BIGINT;
-- When everything about the person goes.
ALTER TABLE users ADD COLUMN erase_at BIGINT;
-- Sealed JSON: since when the account is not active, and why.
ALTER TABLE users ADD COLUMN status_note BLOB;
CREATE INDEX users_by_erasure ON users (erase_at) WHERE erase_at IS NOT NULL;
CREATE INDEX users_by_kyc_expiry ON users (kyc_expires_at) WHERE kyc_expires_at IS NOT NULL;

-- Of several addresses of one kind, the one that messages go to.
ALTER TABLE identifiers ADD COLUMN is_primary BIGINT NOT NULL DEFAULT 0;

-- What an address was told when the account's addresses changed, with which its holder takes
-- everything back that changed since.
CREATE TABLE contact_undos (
    -- keyed hash of the token in that message
    token_hash BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- sealed JSON: the address that was told
    details BLOB NOT NULL,
    -- since when the account had that address
    told_added_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX contact_undos_by_user ON contact_undos (user_id);
CREATE INDEX contact_undos_by_expiry ON contact_undos (expires_at);

-- What was submitted for verification. References to documents, never documents.
CREATE TABLE kyc_submissions (
    id BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- the level that was asked for, then the one that was given
    level BIGINT NOT NULL,
    -- 'pending', 'approved' or 'rejected'
    state TEXT NOT NULL,
    -- sealed JSON: the documents, and the reason of a refusal
    details BLOB NOT NULL,
    submitted_at BIGINT NOT NULL,
    decided_at BIGINT,
    -- the reviewer; null: by command
    decided_by BLOB
);
CREATE INDEX kyc_submissions_by_user ON kyc_submissions (user_id, submitted_at);
-- One at a time waits, and those that wait are found in their order.
CREATE UNIQUE INDEX kyc_submissions_pending ON kyc_submissions (user_id) WHERE state = 'pending';
CREATE INDEX kyc_submissions_waiting ON kyc_submissions (submitted_at) WHERE state = 'pending';

-- Its row's lock makes those who change roles or status take turns, so that of two administrators
-- who remove each other one remains.
INSERT INTO counters (name, value) VALUES ('administrators', 0);
