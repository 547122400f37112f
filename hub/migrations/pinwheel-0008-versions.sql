-- Every version of a template that was saved; "at" in ms UTC, "by" is who ("user 3"). Devices that do not follow the
-- newest one say which they have.
ALTER TABLE templates ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
-- The highest number that a datastream of it ever had: none is given twice.
ALTER TABLE templates ADD COLUMN highest INTEGER NOT NULL DEFAULT 0;
CREATE TABLE template_versions (
    template TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (template, version)
) WITHOUT ROWID;
INSERT INTO template_versions SELECT id, 1, 0, '', document FROM templates;
ALTER TABLE devices ADD COLUMN pinned INTEGER;
