-- What the terminals and LCDs of devices display, by the id of their datastream.
CREATE TABLE screens (
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    datastream INTEGER NOT NULL,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (device, datastream)
) WITHOUT ROWID;
