-- Images of templates: `id` cannot be guessed, `content` is the key of the blob. Those of a deleted template are deleted
-- by the plugin, since copies of the template may use them.
CREATE TABLE files_assets (
    id TEXT PRIMARY KEY,
    template TEXT NOT NULL,
    name TEXT NOT NULL,
    content TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (template, name)
);
