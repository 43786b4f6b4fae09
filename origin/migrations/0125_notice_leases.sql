-- Until when somebody is sending a notice. Who takes it up may find it waiting long for its turn, and
-- others take it up meanwhile: of those whose turn it is, one sends it, and the others do not.
ALTER TABLE notices ADD COLUMN sending_until BIGINT NOT NULL DEFAULT 0;
