-- Events about a person are found by the person. Those about nobody used to stand together at the
-- beginning of that index, where adding one touches a page that is always at hand, while adding
-- one about a person touches any page: so the time of a refusal told whether there is an account.
-- Now they are left out of it, and have an index by their own random ids, which costs the same and
-- is there for that alone.
DROP INDEX audit_events_by_user;
CREATE INDEX audit_events_by_user ON audit_events (user_id, sequence) WHERE user_id IS NOT NULL;
CREATE INDEX audit_events_by_nobody ON audit_events (id, sequence) WHERE user_id IS NULL;
