-- What leaves by mail and SMS, so that nobody can make it cost what they like.

-- Messages that were let through: what the caps count and the breaker looks at. Written before the
-- message is sent. Mail is kept for an hour, SMS for a week.
CREATE TABLE sent_messages (
    id BLOB NOT NULL PRIMARY KEY,
    -- 'email' or 'sms'
    channel TEXT NOT NULL,
    -- 1: it has a code or a link, or a stranger asked for it; 0: it tells what was done
    solicited BIGINT NOT NULL,
    -- keyed hash of the network that asked; null when nobody known did
    network BLOB,
    -- of SMS only: blind index of the number, keyed hash of the number without its last digits,
    -- the country (ISO 3166, '001' for none), the price
    recipient BLOB,
    prefix BLOB,
    region TEXT,
    price BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    -- when a code of the number came back
    answered_at BIGINT,
    -- 1 when it has a code and went out: what conversion is measured by
    measured BIGINT NOT NULL
);
CREATE INDEX sent_messages_by_time ON sent_messages (channel, sent_at);
CREATE INDEX sent_messages_by_network ON sent_messages (network, channel, sent_at);
CREATE INDEX sent_messages_by_recipient ON sent_messages (recipient, sent_at);
CREATE INDEX sent_messages_by_prefix ON sent_messages (prefix, sent_at);
CREATE INDEX sent_messages_by_region ON sent_messages (region, sent_at);

-- The breaker: a country, or '*' for all of them. While `trips` is 0 it is closed.
CREATE TABLE sms_breakers (
    scope TEXT NOT NULL PRIMARY KEY,
    -- how often in a row it opened
    trips BIGINT NOT NULL,
    -- until when nothing is sent; after that, as long as `trips` is above 0, a few are, as a trial
    open_until BIGINT NOT NULL,
    -- messages before this are not looked at
    since BIGINT NOT NULL
);

-- Those who count take this row's lock first: so no two of them, in whatever process, both find
-- the last place free.
INSERT INTO sms_breakers (scope, trips, open_until, since) VALUES ('*', 0, 0, 0);

-- A number's delay grows with the messages that nobody answered.
ALTER TABLE message_sends ADD COLUMN answered BIGINT NOT NULL DEFAULT 0;
CREATE INDEX message_sends_by_any_purpose ON message_sends (recipient, sent_at);
