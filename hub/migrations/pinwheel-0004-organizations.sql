-- Organizations below the root: what they are about, how much they may have, and whose device one is.
ALTER TABLE organizations ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE organizations ADD COLUMN quotas TEXT NOT NULL DEFAULT '{}';
ALTER TABLE devices ADD COLUMN owner INTEGER;
-- The templates that devices of an organization below the root may have.
CREATE TABLE enabled_templates (
    org INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    template TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    PRIMARY KEY (org, template)
) WITHOUT ROWID;
