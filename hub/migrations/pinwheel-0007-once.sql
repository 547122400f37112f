-- Requests that are carried out once however often they come, by who asked and their Idempotency-Key: what was asked,
-- and when (ms UTC). The answer is only in memory: it may have a token.
CREATE TABLE once (key BLOB PRIMARY KEY, asked BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX once_at ON once (at);
