-- Every accepted value, in the order of acceptance, without an index: appending costs few bytes per value.
-- Bit 1 of `flags`: the value became the latest of its series; bit 2: the hub's clock stamped it.
-- Rows after `covered` are replayed at start, so the newest row is never deleted and ids are never used again.
CREATE TABLE hot (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    v NOT NULL,
    flags INTEGER NOT NULL
);
CREATE TABLE latest (
    series INTEGER PRIMARY KEY,
    ts INTEGER NOT NULL,
    v NOT NULL
);
-- `latest` holds what the log says up to `hot_id`; `stamp` is the newest stamp of the hub up to there.
CREATE TABLE covered (hot_id INTEGER NOT NULL, stamp INTEGER NOT NULL);
INSERT INTO covered VALUES (0, 0);
