-- Master keys, and what lets one take another's place while the database is in use.

-- Versions of the master key that this database knows. The highest seals. The keys themselves are
-- never here.
CREATE TABLE master_keys (
    version BIGINT NOT NULL PRIMARY KEY,
    -- keyed hash of a fixed text: tells the key from another one of the same version
    check_value BLOB NOT NULL,
    -- since when values are sealed under it
    began_at BIGINT NOT NULL,
    -- since when identifiers are looked up by its index
    indexed_at BIGINT,
    -- when nothing was sealed or indexed under an older one any more
    completed_at BIGINT,
    -- since when nothing needs it and it is not configured
    retired_at BIGINT
);

-- Keys that were derived from a master key and must outlive it, sealed: the pepper of passwords,
-- which cannot be made anew without the password, and the keys of what is found by a keyed hash
-- that nobody can compute again.
CREATE TABLE kept_keys (
    name TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
);

-- How an identifier is found: its blind index under every version of the master key that is in use.
-- One row for each, so that two accounts cannot have one identifier even while some servers know
-- another version than others. `holder` is the identifier's own row, whose `blind` is no more than
-- its name.
CREATE TABLE identifier_blinds (
    kind TEXT NOT NULL,
    blind BLOB NOT NULL,
    -- 0: the version that the database was begun under, which the next start writes here
    version BIGINT NOT NULL,
    holder BLOB NOT NULL,
    PRIMARY KEY (kind, blind),
    FOREIGN KEY (kind, holder) REFERENCES identifiers (kind, blind)
        ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE INDEX identifier_blinds_by_holder ON identifier_blinds (kind, holder);

INSERT INTO identifier_blinds (kind, blind, version, holder)
SELECT kind, blind, 0, blind FROM identifiers;
