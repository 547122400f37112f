-- Every accepted value, in the order of acceptance, without an index: appending costs few bytes per value.
-- `latest` is 1 when the value became the latest of its series. Rows after `covered` are replayed at start,
-- so the newest row is never deleted and ids are never used again.
CREATE TABLE hot (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    v NOT NULL,
    latest INTEGER NOT NULL
);
CREATE TABLE latest (
    series INTEGER PRIMARY KEY,
    ts INTEGER NOT NULL,
    v NOT NULL
);
CREATE TABLE covered (hot_id INTEGER NOT NULL);
INSERT INTO covered VALUES (0);
