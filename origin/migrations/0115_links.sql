-- A link beside a code in the same message: whichever of the two is used first deletes the row.
-- Keyed hash of the link's token; null where the message has no link.
ALTER TABLE one_time_codes ADD COLUMN link_hash BLOB;
CREATE UNIQUE INDEX one_time_codes_by_link ON one_time_codes (link_hash);
