-- Names are unique beside each other only: the unique column becomes "<parent>/<name>".
ALTER TABLE organizations RENAME COLUMN name TO place;
ALTER TABLE organizations ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE organizations SET name = place;
UPDATE organizations SET place = ifnull(parent, '') || '/' || place;
