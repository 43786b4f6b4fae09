-- Logging in at other identity providers.

-- Who somebody is there. `blind` is a keyed hash of provider, issuer and subject, and makes an
-- identity one account's; `details` is sealed JSON: those three, and what the identity is called,
-- for its owner to tell one from another.
CREATE TABLE social_identities (
    id BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    blind BLOB NOT NULL,
    details BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX social_identities_by_blind ON social_identities (blind);
CREATE INDEX social_identities_by_user ON social_identities (user_id);

-- A login that is under way, from the click on a button to the tokens. A row goes one way:
-- begun, returned (the provider's answer came, once), finished (a code of ours waits to be
-- exchanged), gone. Each step is one conditional statement.
CREATE TABLE social_flows (
    -- keyed hash of `state`
    state_hash BLOB NOT NULL PRIMARY KEY,
    provider TEXT NOT NULL,
    -- 'login' or 'link'
    purpose TEXT NOT NULL,
    -- keyed hash of the cookie or the flow token that whoever began it holds
    binding BLOB NOT NULL,
    -- 1: bound by a flow token, which a browser does not have; 0: by a cookie
    by_token BIGINT NOT NULL,
    -- whose account a 'link' is for, and the session that asked
    user_id BLOB REFERENCES users (id) ON DELETE CASCADE,
    session_id BLOB,
    -- sealed JSON: PKCE verifier, nonce, where to return, the device
    kept BLOB NOT NULL,
    begun_at BIGINT NOT NULL,
    returned_at BIGINT,
    -- keyed hash of the code that is exchanged, and sealed JSON: what the provider said
    code_hash BLOB,
    facts BLOB,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX social_flows_by_code ON social_flows (code_hash);
CREATE INDEX social_flows_by_user ON social_flows (user_id);
CREATE INDEX social_flows_by_expiry ON social_flows (expires_at);
