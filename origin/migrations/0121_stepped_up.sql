-- The counter of the refresh token that a proof within the session has made, if one ever did: the
-- token before it is not given that one again, since its holder may not be who proved anything.
ALTER TABLE sessions ADD COLUMN stepped_up_to BIGINT;
