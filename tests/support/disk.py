"""A disk without space."""

from __future__ import annotations

import errno


def raise_disk_full(*_args):
    """Fail as a call of the operating system does on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")
