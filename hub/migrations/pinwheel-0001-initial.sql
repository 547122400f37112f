CREATE TABLE organizations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    parent INTEGER REFERENCES organizations (id),
    timezone TEXT
);
-- The document is the template as JSON; what refers into it (series) holds datastream ids.
CREATE TABLE templates (
    id TEXT PRIMARY KEY,
    org INTEGER NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (org, name)
);
CREATE TABLE devices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org INTEGER NOT NULL REFERENCES organizations (id),
    template TEXT NOT NULL REFERENCES templates (id),
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    activated INTEGER,
    firmware TEXT NOT NULL DEFAULT '{}'
);
-- SHA-256 of the token; `expires` is set on the old token while a new one takes over.
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    expires INTEGER
) WITHOUT ROWID;
CREATE INDEX tokens_of_device ON tokens (device);
-- AUTOINCREMENT: the history of a deleted device must never become another's.
CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    datastream INTEGER NOT NULL,
    UNIQUE (device, datastream)
);
CREATE TABLE metadata (
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (device, name)
) WITHOUT ROWID;
CREATE TABLE properties (
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    datastream INTEGER NOT NULL,
    property TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (device, datastream, property)
) WITHOUT ROWID;
CREATE TABLE timeline (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    ts INTEGER NOT NULL,
    code TEXT NOT NULL,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    resolved INTEGER
);
CREATE INDEX timeline_of_device ON timeline (device, ts);
