-- Recovery codes that were replaced are kept for as long as a change of addresses can be taken back: with
-- it they come back, since whoever made the change may have made the new ones.
ALTER TABLE recovery_codes ADD COLUMN replaced_at BIGINT;
