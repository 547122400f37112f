-- Repairs of what a wrong clock has stamped; see hub/domain/clock_repair.py. Times are milliseconds UTC, `shift` is NULL when
-- values were dropped. Batches of the log up to `upto` were there when it began; `reset` is 1 when stamps went on from the
-- wall clock. `finished` is NULL as long as the history is being corrected: the next start goes on with it.
CREATE TABLE clock_repairs (
    id INTEGER PRIMARY KEY,
    cutoff INTEGER NOT NULL,
    shift INTEGER,
    device INTEGER,
    upto INTEGER NOT NULL,
    reset INTEGER NOT NULL,
    finished INTEGER
);
-- When an old token got its end, in milliseconds UTC; NULL for those that got it before this column was there.
ALTER TABLE tokens ADD COLUMN replaced INTEGER;
