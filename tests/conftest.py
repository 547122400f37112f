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

#: Seconds for one test on a quiet machine, and until a test that continues is interrupted again.
DEADLINE, GRACE = 60, 15


#: Thousands of hubs write some gigabytes: into memory if it has the space, which spares an SD card and saves minutes.
MEMORY, SPACE = Path("/dev/shm"), 2 * 1024**3
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > SPACE:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

fixed_ports.install()

# A busy machine must not fail a test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# In the background of a shell, SIGINT is ignored, and commands that the tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--update-screens", action="store_true", help="write the console's screens to their text files")


class _Deadline:
    """The deadline of one phase of a test.

    After it, a test that waits in trio is interrupted like by Ctrl-C, which trio delivers to its main task: an exception
    in trio's own code would leave its run active, and no later test could start one. Any other test is interrupted where
    it is.
    """

    def __init__(self, seconds, folder):
        self._seconds = seconds
        self._folder = folder
        self.where = None

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, self._interrupt)
        # Repeatedly, since the clean-up may hang too.
        signal.setitimer(signal.ITIMER_REAL, self._seconds, GRACE)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _interrupt(self, _number, frame):
        self.where = self.where or _stacks_of_tasks(self._folder) or "".join(traceback.format_stack(frame, limit=12))
        if trio.lowlevel.in_trio_run():
            signal.raise_signal(signal.SIGINT)
        else:
            raise TimeoutError


def _stacks_of_tasks(folder):
    """The stacks of the tasks of trio that run code of a folder; "" without trio."""
    if not trio.lowlevel.in_trio_run():
        return ""
    stacks, pending = [], [trio.lowlevel.current_root_task()]
    while pending:
        task = pending.pop()
        pending += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        frames = [f"  {f.f_code.co_filename}:{line} in {f.f_code.co_name}" for f, line in task.iter_await_frames()]
        if any(folder in frame for frame in frames):
            stacks.append("\n".join([f"task {task.name}", *frames]))
    return "\n".join(stacks)


def _timed(item):
    marker = item.get_closest_marker("slow")
    seconds = patient(DEADLINE * 4 if marker else DEADLINE)
    with _Deadline(seconds, str(item.path.parent)) as deadline:
        try:
            return (yield)
        except BaseException:
            if deadline.where is None:
                raise
    pytest.fail(f"{item.name} took more than {seconds:.0f} s; it was at:\n{deadline.where}", pytrace=False)


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
    """A clock for a hub that stands still until the test advances it."""
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


@pytest.fixture
async def world(hub):
    """Organizations, users and their tokens in a running hub (tests/support/tenants.py)."""
    from support.tenants import tenants

    return await tenants(hub)
