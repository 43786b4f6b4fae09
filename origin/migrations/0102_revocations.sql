-- What was turned away before its time; each row is written with the change that causes it.
CREATE TABLE revocations (
    -- 'jti', 'sid', 'sub' or 'kid'
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    -- for 'sub': tokens issued at or before this second; otherwise 0
    not_before BIGINT NOT NULL,
    -- when no token that it names can be accepted any more; null: never
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    -- counter 'revocations' as of this row
    change BIGINT NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX revocations_by_change ON revocations (change);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);
