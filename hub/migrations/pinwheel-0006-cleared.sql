-- The stamp of the newest value that counts no more: a device cleared it.
ALTER TABLE series ADD COLUMN cleared INTEGER;
