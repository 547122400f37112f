from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings
from support.command import CommandLine
from support.patience import patient
from support.times import Time

sys.path.append(str(Path(__file__).parent / "guard"))
import fixed_ports  # noqa: E402

#: Seconds for one test on a quiet machine, where the slowest legitimate ones take a few; and until one that goes on is
#: interrupted again.
DEADLINE, GRACE = 60, 15


#: Two thousand hubs write some gigabytes: into memory where there is room for them, to spare an SD card, and minutes.
MEMORY, ROOM = Path("/dev/shm"), 2 * 1024**3
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

fixed_ports.install()

# A busy machine is no reason for a failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A suite in a shell's background inherits an ignored SIGINT, and so would the commands that are to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


class _Deadline:
    """The time of one phase of a test.

    When it is over, a test that waits in trio is interrupted as by Ctrl-C, which trio hands to its main task: raising
    in the middle of trio's own code would leave it running, and every test after it could not begin. Any other test is
    interrupted where it is.
    """

    def __init__(self, seconds, folder):
        self._seconds = seconds
        self._folder = folder
        self.where = None

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, self._over)
        # Again and again, for what holds on to its cleaning up.
        signal.setitimer(signal.ITIMER_REAL, self._seconds, GRACE)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _over(self, _number, frame):
        self.where = self.where or _awaiting(self._folder) or "".join(traceback.format_stack(frame, limit=12))
        if trio.lowlevel.in_trio_run():
            signal.raise_signal(signal.SIGINT)
        else:
            raise TimeoutError


def _awaiting(folder):
    """Where the tasks of trio are that have something of a folder in their stack; "" without trio."""
    if not trio.lowlevel.in_trio_run():
        return ""
    found, pending = [], [trio.lowlevel.current_root_task()]
    while pending:
        task = pending.pop()
        pending += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        frames = [f"  {f.f_code.co_filename}:{line} in {f.f_code.co_name}" for f, line in task.iter_await_frames()]
        if any(folder in frame for frame in frames):
            found.append("\n".join([f"task {task.name}", *frames]))
    return "\n".join(found)


def _timed(item):
    marker = item.get_closest_marker("slow")
    seconds = patient(DEADLINE * 4 if marker else DEADLINE)
    with _Deadline(seconds, str(item.path.parent)) as deadline:
        try:
            return (yield)
        except BaseException:
            if deadline.where is None:
                raise
    pytest.fail(f"{item.name} took more than {seconds:.0f} s; it was here:\n{deadline.where}", pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    return (yield from _timed(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    return (yield from _timed(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    try:
        return (yield from _timed(item))
    finally:
        rejected = [f"{host}:{port}" for host, port, *_ in fixed_ports.rejected]
        fixed_ports.rejected.clear()
        if rejected:
            pytest.fail(f"{item.name} binds fixed ports: {', '.join(rejected)}", pytrace=False)


@pytest.fixture
def time():
    """A clock for a hub, that stands until it is moved."""
    return Time()


@pytest.fixture
def pinwheel(tmp_path):
    """The ``pinwheel`` command in a directory with a configuration and empty data."""
    return CommandLine(tmp_path / "pinwheel")


@pytest.fixture(autouse=True)
def log_level():
    """Restore the level of the log, which commands that run in this process set."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)
