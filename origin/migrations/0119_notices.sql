-- What people must be told of their accounts. A notice is written in the transaction of the change
-- that it tells of, and goes when it was delivered, cannot be, or is no use any more. So it outlives
-- the process, and a mail server that is away.

CREATE TABLE notices (
    id BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- sealed JSON: recipient, subject, text
    message BLOB NOT NULL,
    -- how often it was taken up again after the first time
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- when it is taken up next; whoever takes it up moves this on in the same statement, so that of
    -- several processes one does
    due_at BIGINT NOT NULL
);
CREATE INDEX notices_by_due ON notices (due_at);
CREATE INDEX notices_by_user ON notices (user_id);
