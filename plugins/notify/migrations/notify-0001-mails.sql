-- Mails: the outbox (state 'waiting') and the log ('sent', 'failed') in one. `data` fills the blanks of the text and may
-- have secrets; it is removed when the mail is sent or has failed. Times are milliseconds UTC; `done` is when.
CREATE TABLE notify_mails (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    address TEXT NOT NULL,
    name TEXT NOT NULL,
    locale TEXT NOT NULL,
    user_id INTEGER,
    data TEXT,
    state TEXT NOT NULL,
    created INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    done INTEGER
);
CREATE INDEX notify_mails_by_state ON notify_mails (state, due);
CREATE INDEX notify_mails_of_user ON notify_mails (user_id);
-- Alarms that were mailed: `ts` is when, `raised` whether their end has not been mailed yet.
CREATE TABLE notify_alarms (alarm TEXT PRIMARY KEY, text TEXT NOT NULL, ts INTEGER NOT NULL, raised INTEGER NOT NULL);
