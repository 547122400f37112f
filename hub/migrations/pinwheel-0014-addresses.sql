-- The postal address of an organization as a JSON object, and when the organization was changed last, in milliseconds UTC;
-- NULL for those that were not changed since this was recorded.
ALTER TABLE organizations ADD COLUMN address TEXT NOT NULL DEFAULT '{}';
ALTER TABLE organizations ADD COLUMN modified INTEGER;
