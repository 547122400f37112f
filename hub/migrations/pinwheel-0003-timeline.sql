-- What people did with an event, and who.
ALTER TABLE timeline ADD COLUMN archived INTEGER;
ALTER TABLE timeline ADD COLUMN resolved_by TEXT NOT NULL DEFAULT '';
ALTER TABLE timeline ADD COLUMN note TEXT NOT NULL DEFAULT '';
CREATE TABLE comments (
    id INTEGER PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES timeline (id) ON DELETE CASCADE,
    ts INTEGER NOT NULL,
    by TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX comments_of_event ON comments (event);
CREATE INDEX timeline_by_time ON timeline (ts);
ALTER TABLE metadata ADD COLUMN by TEXT NOT NULL DEFAULT '';
-- Where a device is in its lifecycle: '' before it was ever online. `away` is when it was last heard of, while it is gone.
ALTER TABLE devices ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN status_at INTEGER;
ALTER TABLE devices ADD COLUMN away INTEGER;
