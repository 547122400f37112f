"""Ctrl-C at any moment of a command."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from support.command import PINWHEEL

#: Numbers of modules that are loaded before the signal is sent, from the start to the end of a command.
MOMENTS = [0, 1, 5, 20, 60, 120, 220, 350]


@pytest.mark.parametrize("loaded", MOMENTS)
@pytest.mark.parametrize("command", [("device", "list"), ("run",), ("check",)], ids=" ".join)
def test_ctrl_c_at_any_moment_ends_a_command_without_a_traceback(pinwheel, command, loaded):
    """Python prints a line for each loaded module, so that moments are counted and not timed."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    with subprocess.Popen(
        [PINWHEEL, *command],
        cwd=pinwheel.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines, started, sent = [], 0, False
        try:
            for line in process.stderr:
                lines.append(line)
                started += started > 0 or line.rstrip().endswith("hub.terminal.interrupts")
                if started > loaded + 1 and not sent:
                    process.send_signal(signal.SIGINT)
                    sent = True
        finally:
            process.kill()
    messages = [line for line in lines if not line.startswith("import time:")]
    # A hub that has started stops normally; a command may have ended before.
    assert process.returncode in ((130, 0, 1) if loaded > 100 else (130,)), messages
    assert [] == [line for line in messages if "Traceback" in line or "Exception" in line or "Interrupt" in line]
