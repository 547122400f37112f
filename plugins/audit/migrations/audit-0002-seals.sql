-- A seal is the salted hash that stands for the address in a record's hash; without the salt the address is unknowable.
ALTER TABLE audit ADD COLUMN seal BLOB;
ALTER TABLE audit ADD COLUMN salt BLOB;
