"""The data directory: who owns it, durable files, and blobs.

`hub.datadir.blobs` is imported by hubs only: commands that only ask whether a hub runs start without trio.
"""

from hub.datadir.durable_files import partial_of, publish, sync, write_together, write_whole
from hub.datadir.ownership import is_running, locked

__all__ = [
    "is_running",
    "locked",
    "partial_of",
    "publish",
    "sync",
    "write_together",
    "write_whole",
]
