-- Where the limits of notifications (`every`, `period`) of a device's event type stand: `count` is the number of events since
-- the last one that notified, `notified` the time of that one.
CREATE TABLE notification_counters (
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    code TEXT NOT NULL,
    count INTEGER NOT NULL,
    notified INTEGER,
    PRIMARY KEY (device, code)
) WITHOUT ROWID;
