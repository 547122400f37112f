-- What a client stores for a user, such as the columns of its lists: JSON, by the client's own name.
CREATE TABLE users_settings (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    app TEXT NOT NULL,
    settings TEXT NOT NULL,
    PRIMARY KEY (user_id, app)
) WITHOUT ROWID;
