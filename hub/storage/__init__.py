"""Storage on SQLite: databases and their transactions, migrations, and the two files of the data directory.

The only package that knows asyncio and SQLite's library.
"""

from hub.storage.databases import HISTORY_PAGE, Storage, open_storage
from hub.storage.migrations import Migration, Migrations, shipped_migrations
from hub.storage.sqlite import POISON, Damaged, Database, Row, Transaction, among, inspect, look_into

__all__ = [
    "HISTORY_PAGE",
    "POISON",
    "Damaged",
    "Database",
    "Migration",
    "Migrations",
    "Row",
    "Storage",
    "Transaction",
    "among",
    "inspect",
    "look_into",
    "open_storage",
    "shipped_migrations",
]
