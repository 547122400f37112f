CREATE TABLE users_roles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO users_roles VALUES (1, 'Admin'), (2, 'Staff'), (3, 'User');
-- What a role may in an organization, as JSON; where there is no row, as in the organization above.
CREATE TABLE users_grants (
    org INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    role INTEGER NOT NULL REFERENCES users_roles (id) ON DELETE CASCADE,
    permissions TEXT NOT NULL,
    PRIMARY KEY (org, role)
) WITHOUT ROWID;
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org INTEGER NOT NULL REFERENCES organizations (id),
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role INTEGER NOT NULL REFERENCES users_roles (id),
    password TEXT,
    created INTEGER NOT NULL,
    last_login INTEGER,
    suspended INTEGER NOT NULL DEFAULT 0,
    developer INTEGER NOT NULL DEFAULT 0,
    otp TEXT,
    profile TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX users_of_org ON users (org);
-- Tokens are kept as SHA-256. A session ends as a whole when one of its spent refresh tokens is used again.
CREATE TABLE users_clients (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    org INTEGER NOT NULL REFERENCES organizations (id),
    role INTEGER NOT NULL REFERENCES users_roles (id),
    hash BLOB NOT NULL,
    created INTEGER NOT NULL,
    redirects TEXT NOT NULL
) WITHOUT ROWID;
-- Of a user, of a program, or of a user by way of a program.
CREATE TABLE users_sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user INTEGER REFERENCES users (id) ON DELETE CASCADE,
    client TEXT REFERENCES users_clients (id) ON DELETE CASCADE,
    access BLOB NOT NULL,
    access_ends INTEGER NOT NULL,
    refresh BLOB NOT NULL,
    refresh_ends INTEGER NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL
);
CREATE TABLE users_spent (
    hash BLOB PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES users_sessions (id) ON DELETE CASCADE,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX users_spent_of_session ON users_spent (session);
CREATE TABLE users_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    scopes TEXT,
    expires INTEGER,
    created INTEGER NOT NULL,
    used INTEGER
);
-- Codes of links: an invitation, a new password, or the first administrator (without a user).
CREATE TABLE users_links (
    hash BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    user INTEGER REFERENCES users (id) ON DELETE CASCADE,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
-- Codes that stand in for a one-time password when the telephone is lost.
CREATE TABLE users_recovery (
    user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    PRIMARY KEY (user, hash)
) WITHOUT ROWID;
