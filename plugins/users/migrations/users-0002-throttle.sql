-- The step of the last one-time password that was used (RFC 6238, 5.2: none works twice).
ALTER TABLE users ADD COLUMN otp_step INTEGER NOT NULL DEFAULT 0;
-- Failed attempts, by the hash of what was tried from where; ``age`` is in seconds, of when the row was written.
CREATE TABLE users_failures (
    key BLOB PRIMARY KEY,
    count INTEGER NOT NULL,
    age REAL NOT NULL
) WITHOUT ROWID;
-- Addresses from which an account was logged in to, oldest first; both as hashes.
CREATE TABLE users_addresses (
    id INTEGER PRIMARY KEY,
    account BLOB NOT NULL,
    address BLOB NOT NULL
);
CREATE INDEX users_addresses_of_account ON users_addresses (account);
