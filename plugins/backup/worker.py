"""The process that reads the hub's files for a backup, one step per run.

POSIX: a process that closes any descriptor of a file loses all its locks on that file, SQLite's included. If the hub
itself closed one of its database files, the next program that opens the database could delete what the hub has not
checkpointed yet.

The command comes as JSON on stdin: ``{"step": "write", "target": …, "data": …, "files": …, "about": …}`` or
``{"step": "prove", "target": …}``. Messages go to stdout, one JSON object per line: ``{"done": …, "total": …}`` in
bytes, and at the end of "prove" ``{"manifest": …}``; or ``{"problem": …}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import attrs

from hub import RequestError
from plugins.backup.archive import blob_files, prove, write

#: Added to the process's niceness, so that everything else comes first.
NICENESS = 10
#: Seconds between two messages of progress.
PROGRESS_INTERVAL = 0.2


def main() -> None:
    os.nice(NICENESS)
    command = json.load(sys.stdin)
    target = Path(command["target"])
    last_message = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last_message
        if time.monotonic() - last_message > PROGRESS_INTERVAL or done == total:
            last_message = time.monotonic()
            _send({"done": done, "total": total})

    try:
        if command["step"] == "write":
            files = {name: Path(path) for name, path in command["files"].items()}
            # Listed now that the databases stand still: every blob that a row names is there, unless it is deleted.
            files |= blob_files(Path(command["data"]))
            write(target, files, command["about"], progress)
        else:
            _send({"manifest": attrs.asdict(prove(target, progress))})
    except (RequestError, OSError) as error:
        _send({"problem": str(error)})


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
