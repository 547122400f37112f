CREATE TABLE fleet_tags (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    color TEXT NOT NULL,
    icon TEXT NOT NULL,
    UNIQUE (org, name)
);
CREATE TABLE fleet_device_tags (
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    tag INTEGER NOT NULL REFERENCES fleet_tags (id) ON DELETE CASCADE,
    PRIMARY KEY (device, tag)
) WITHOUT ROWID;
CREATE INDEX fleet_device_tags_tag ON fleet_device_tags (tag);
-- "about" is the JSON of a place, "users" a JSON array of ids. The devices at a location are in the devices' metadata.
CREATE TABLE fleet_locations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    owner INTEGER,
    about TEXT NOT NULL,
    users TEXT NOT NULL,
    UNIQUE (org, name)
);
-- Segments are in the core's table: pinwheel-0012-segments.sql.
