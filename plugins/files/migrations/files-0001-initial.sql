-- Files that devices sent: `key` is the name in the data directory and cannot be guessed; `name` is the device's own.
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    type TEXT NOT NULL,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (device, kind, name)
);
