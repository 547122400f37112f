-- The stamp of the value that was the latest when a device cleared it: it is the latest no more, others with other
-- stamps are.
ALTER TABLE series ADD COLUMN cleared INTEGER;
