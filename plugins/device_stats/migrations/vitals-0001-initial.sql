-- By device and day of UTC (days since 1970): messages by where they came from, as JSON, and how often it went away.
CREATE TABLE vitals_days (
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    day INTEGER NOT NULL,
    messages TEXT NOT NULL,
    disconnections INTEGER NOT NULL,
    PRIMARY KEY (device, day)
) WITHOUT ROWID;
