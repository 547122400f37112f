-- What the log held goes to chunks, an hour of a series each, in the order of hours: so they are appended, and few pages
-- change. Bits of the keys: hours since 1970 (20), series (32), part of the chunk (11); docs/architecture.md.
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
-- Statistics of an hour, kept when its chunk goes. `at` is the newest point's age in milliseconds since the hour began.
CREATE TABLE hours (
    id INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    low,
    high,
    total,
    last NOT NULL,
    at INTEGER NOT NULL
);
-- Statistics of a day as the device's time zone has it: `span` hours from the hour in the key on, series by series.
CREATE TABLE days (
    id INTEGER PRIMARY KEY,
    span INTEGER NOT NULL,
    n INTEGER NOT NULL,
    low,
    high,
    total,
    last NOT NULL,
    at INTEGER NOT NULL
);
-- Chunks whose checksum did not fit.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    found INTEGER NOT NULL
);
-- Rows of the log after `since` up to `upto` are a run; it is in the chunks for all series up to `series`, and the runs
-- before it are whole. `latest` holds what the log says as far. `stamp` is the newest stamp of the hub up to there.
CREATE TABLE sealed (run INTEGER NOT NULL, since INTEGER NOT NULL, upto INTEGER NOT NULL, series INTEGER NOT NULL, stamp INTEGER NOT NULL);
INSERT INTO sealed SELECT 0, 0, 0, 9223372036854775807, stamp FROM covered;
DROP TABLE covered;
