-- "document" is the JSON of a dashboard without what the other columns have. The homepage of an organization may be a
-- dashboard that an organization above shares with it.
CREATE TABLE dashboards (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (org, name)
);
CREATE TABLE dashboards_homepages (
    org INTEGER PRIMARY KEY REFERENCES organizations (id) ON DELETE CASCADE,
    dashboard INTEGER NOT NULL REFERENCES dashboards (id) ON DELETE CASCADE
);
