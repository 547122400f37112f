-- In which units the people of an organization see values: "metric", "imperial" or NULL, and by group which instead.
ALTER TABLE organizations ADD COLUMN units TEXT;
ALTER TABLE organizations ADD COLUMN unit_overrides TEXT NOT NULL DEFAULT '{}';
-- What kind it is, in Blynk's words.
ALTER TABLE organizations ADD COLUMN type TEXT NOT NULL DEFAULT 'BUSINESS';
ALTER TABLE organizations ADD COLUMN phone TEXT NOT NULL DEFAULT '';
-- Who added a device ("user 3"); "" for those from before anybody noted it.
ALTER TABLE devices ADD COLUMN added_by TEXT NOT NULL DEFAULT '';
