-- Series that are no more, as long as something of them is in the history file.
CREATE TABLE gone (series INTEGER PRIMARY KEY);
CREATE TRIGGER series_gone AFTER DELETE ON series BEGIN
    INSERT OR IGNORE INTO gone VALUES (old.id);
END;
WITH RECURSIVE ever (id) AS (
    SELECT 1 WHERE EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'series')
    UNION ALL SELECT id + 1 FROM ever WHERE id < (SELECT seq FROM sqlite_sequence WHERE name = 'series')
)
INSERT INTO gone SELECT id FROM ever WHERE id NOT IN (SELECT id FROM series);
