-- What stands for an address in a record's hash; without its salt nobody can tell any more which address that was.
ALTER TABLE audit ADD COLUMN seal BLOB;
ALTER TABLE audit ADD COLUMN salt BLOB;
