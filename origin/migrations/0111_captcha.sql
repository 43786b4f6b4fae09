-- Captchas: questions that wait for their answer, what a right answer was exchanged for, and what
-- must not count twice. Everything here is void after minutes, numbers that were proved after
-- months; what has expired is removed when the next captcha is made.

-- A question. `tries` is raised before an answer is compared; the row goes with the right one.
CREATE TABLE captcha_challenges (
    -- captcha_id, 16 random bytes
    id BLOB NOT NULL PRIMARY KEY,
    -- 'image', 'pow', 'code', 'turnstile', 'hcaptcha' or 'recaptcha'
    kind TEXT NOT NULL,
    -- 'register', 'login', 'otp' or 'password'
    purpose TEXT NOT NULL,
    -- keyed hash of the purpose and the identifier that it may be used for
    target BLOB NOT NULL,
    -- keyed hash of the answer with all of the above; for 'pow' that of the parameters; random
    -- bytes where nothing answers it, and where a provider judges
    answer_mac BLOB NOT NULL,
    tries BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX captcha_challenges_by_expiry ON captcha_challenges (expires_at);

-- A question that was answered by POST /captcha/verify. Used once: the row goes with the use.
CREATE TABLE captcha_passes (
    -- keyed hash of the captcha_token
    token_hash BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    purpose TEXT NOT NULL,
    target BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX captcha_passes_by_expiry ON captcha_passes (expires_at);

-- Tokens of providers that were taken, for longer than any of them calls a token good.
CREATE TABLE captcha_spent (
    -- keyed hash of the token
    token_hash BLOB NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX captcha_spent_by_expiry ON captcha_spent (expires_at);

-- Numbers that were proved from a network: the next message to one from there needs no captcha.
-- One keyed hash of both, so that the table says nothing about either.
CREATE TABLE captcha_proofs (
    number_and_network BLOB NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX captcha_proofs_by_expiry ON captcha_proofs (expires_at);
