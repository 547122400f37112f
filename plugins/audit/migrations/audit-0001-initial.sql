-- Who changed what, each record with a hash over itself and the one before. `who` is a kind and a number, no name.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    ts INTEGER NOT NULL,
    org INTEGER NOT NULL,
    who TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL,
    hash BLOB NOT NULL
);
CREATE INDEX audit_of_org ON audit (org, ts);
-- Where the chain begins (after what was pruned) and ends.
CREATE TABLE audit_ends (first INTEGER NOT NULL, before BLOB NOT NULL, last INTEGER NOT NULL, hash BLOB NOT NULL);
INSERT INTO audit_ends VALUES (1, x'', 0, x'');
-- Who wrote which value of a device, if it was not the device.
CREATE TABLE audit_actions (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    ts INTEGER NOT NULL,
    who TEXT NOT NULL,
    via TEXT NOT NULL,
    pin INTEGER NOT NULL,
    value TEXT NOT NULL
);
CREATE INDEX audit_actions_of_device ON audit_actions (device, ts);
