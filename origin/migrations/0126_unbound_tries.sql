-- The code of a registration can be given with the token that it is bound to, or with the address alone, as anybody can who knows that. `tries` are those with
-- the token; those without it are counted here, so that strangers cannot use the code up for whoever has it.
ALTER TABLE one_time_codes ADD COLUMN unbound_tries BIGINT NOT NULL DEFAULT 0;
