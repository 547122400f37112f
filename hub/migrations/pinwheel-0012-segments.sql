-- Segments were a table of the plugin "fleet", which an existing database has; a new one gets it here first. "find" is the
-- JSON of a dynamic segment's query; "chosen" is a JSON array of the ids that it leaves out, or, without a query, of its
-- devices.
CREATE TABLE IF NOT EXISTS fleet_segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    chosen TEXT NOT NULL,
    find TEXT,
    UNIQUE (org, name)
);
ALTER TABLE fleet_segments RENAME TO segments;
