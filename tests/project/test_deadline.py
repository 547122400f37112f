"""A test over its deadline fails with the place where it waits, and the other tests run on."""

import os
import subprocess
import sys

from support.paths import TESTS

SUITE = """
import subprocess
import time

import conftest
import trio

conftest.DEADLINE = conftest.GRACE = 0.5


async def test_waits():
    await trio.sleep(1000)


async def test_cleans_up():
    try:
        await trio.sleep(1000)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.1)


async def test_spins():
    while True:
        pass


def test_waits_without_trio():
    subprocess.run(["sleep", "1000"])


async def test_is_in_time():
    await trio.sleep(0)


def test_is_in_time_without_trio():
    pass
"""


def test_slow_test_fails_and_the_others_run(tmp_path):
    (tmp_path / "test_slow.py").write_text(SUITE)
    folder = TESTS
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "conftest",
            "-p",
            "no:randomly",
            "-o",
            "trio_mode=true",
            "-q",
            "test_slow.py",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{folder}:{folder.parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    for name in ("waits", "cleans_up", "spins", "waits_without_trio"):
        assert f"test_{name} took more than" in done.stdout
    assert "test_slow.py:12 in test_waits" in done.stdout
    assert "inside a run" not in done.stdout
