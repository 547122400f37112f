-- In which units the people of an organization see values: "metric", "imperial" or NULL, and by group which instead.
ALTER TABLE organizations ADD COLUMN units TEXT;
ALTER TABLE organizations ADD COLUMN unit_overrides TEXT NOT NULL DEFAULT '{}';
