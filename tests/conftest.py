from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from times import Time

#: Seconds for one test; the slowest legitimate ones take a few.
DEADLINE = 60


#: Two thousand hubs write some gigabytes: into memory where there is room for them, to spare an SD card, and minutes.
MEMORY, ROOM = Path("/dev/shm"), 2 * 1024**3
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# A suite in a shell's background inherits an ignored SIGINT, and so would the commands that are to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def deadline(request):
    """No test hangs: the alarm interrupts whatever it waits for."""

    def late(*_):
        pytest.fail(f"{request.node.name} took more than {DEADLINE} s", pytrace=True)

    marker = request.node.get_closest_marker("slow")
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(DEADLINE * 4 if marker else DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def time():
    """A clock for a hub, that stands until it is moved."""
    return Time()
