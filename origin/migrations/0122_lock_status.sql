-- Wrong passwords as lock-status tells them. A success takes nothing back from this count, time does:
-- one that fell when its owner logs in would tell that somebody has the identifier, and when they do.
ALTER TABLE lockouts ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
