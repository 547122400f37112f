-- Records of changes, each with a hash over itself and the hash before it. `who` is a kind and an id ("user 3"), no name.
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
-- The first record that is not pruned, with the hash before it, and the last record, with its hash.
CREATE TABLE audit_ends (first INTEGER NOT NULL, before BLOB NOT NULL, last INTEGER NOT NULL, hash BLOB NOT NULL);
INSERT INTO audit_ends VALUES (1, x'', 0, x'');
-- Actions logs of devices: the values that clients wrote, and `who` wrote them.
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
