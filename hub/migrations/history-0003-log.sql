-- A row for each commit instead of one for each value; hub/history/log.py says what is in it, and packs what `hot` holds.
-- `since` and `upto` in `sealed` are numbers of batches.
CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    data BLOB NOT NULL
);
