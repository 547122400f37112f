-- "user" is a reserved word of SQL.
ALTER TABLE users_sessions RENAME COLUMN user TO user_id;
ALTER TABLE users_keys RENAME COLUMN user TO user_id;
ALTER TABLE users_links RENAME COLUMN user TO user_id;
ALTER TABLE users_recovery RENAME COLUMN user TO user_id;
