"""The ``pinwheel`` command in a directory with a configuration, run as users and scripts run it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
import os
import pty
import select
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support.patience import patient

from client import cli
from connectors.native.protocol import Cmd, frame

PINWHEEL = Path(sys.executable).with_name("pinwheel")


#: The names of all commands.
COMMANDS = sorted(entry.name for entry in importlib.metadata.entry_points(group="pinwheel.commands"))

#: Device tokens that no hub issued; each needs a last character.
TOKEN = "0123456789abcdef0123456789abcde{}"

#: Seconds that a hub may take to stop.
STOP = patient(5)


CONFIG = '[[listen]]\naddress = "127.0.0.1:0"\n'


TEMPLATE = """
[template]
id = "TMPL0cli"
name = "Weather"
[[datastream]]
id = 1
pin = "V0"
name = "Temperature"
type = "double"
units = "°C"
[[datastream]]
id = 2
pin = "V1"
name = "Mode"
type = "integer"
[[metadata]]
name = "Room"
[lifecycle]
wait = "0s"
"""


class CommandResult(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        assert "" == self.err
        assert 0 == self.code
        return json.loads(self.out)

    @property
    def error(self):
        """The only line on stderr; nothing is on stdout."""
        assert "" == self.out
        [line] = self.err.splitlines()
        assert line.startswith("pinwheel: ")
        return line.removeprefix("pinwheel: ")


def output_of(done):
    """Assert that a command succeeded and return what it printed."""
    assert 0 == done.code, done.err
    return done.out


class CommandLine:
    """A directory with a configuration and the data of one hub."""

    def __init__(self, folder, config=CONFIG):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        (folder / "hub.toml").write_text(config)
        self.process = None
        self._numbers = iter(range(10**6))

    def __call__(self, *arguments, stdin=""):
        """Run a command to its end in this process, which saves half a second."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        log = logging.StreamHandler(err)
        log.setLevel(logging.WARNING)
        logging.getLogger().addHandler(log)
        before, sys.stdin = sys.stdin, io.StringIO(stdin)
        try:
            with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                cli.main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = error.code
        finally:
            sys.stdin = before
            logging.getLogger().removeHandler(log)
        assert "Traceback" not in err.getvalue()
        return CommandResult(code, out.getvalue(), err.getvalue())

    def run_process(self, *arguments):
        """Run a command to its end in its own process."""
        done = subprocess.run(
            [PINWHEEL, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            timeout=patient(50),
        )
        assert "Traceback" not in done.stderr
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def run_on_terminal(self, answers, *arguments):
        """Run a command on a terminal, and answer its prompts in order; ``out`` is the screen.

        ``answers``: prompt to input.
        """
        ours, theirs = pty.openpty()
        screen, at, waiting = "", 0, list(answers.items())
        with subprocess.Popen(
            ["setsid", "--ctty", PINWHEEL, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
        ) as process:
            os.close(theirs)
            # Linux has EIO for the end.
            with contextlib.suppress(OSError):
                answer = ""
                while True:
                    if not select.select([ours], [], [], 0.5)[0]:
                        # Python may have handled the last Ctrl-C just before it waited for input.
                        os.write(ours, answer.encode() if answer == "\x03" else b"")
                        continue
                    screen += os.read(ours, 4096).decode()
                    if waiting and waiting[0][0] in screen[at:]:
                        at = len(screen)
                        _, answer = waiting.pop(0)
                        os.write(ours, answer.encode())
            os.close(ours)
        assert "Traceback" not in screen
        return CommandResult(process.returncode, screen, "")

    @contextmanager
    def started(self, *arguments):
        """A command that runs until it is interrupted, or until the end of the block."""
        with subprocess.Popen(
            [PINWHEEL, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def running(self, *arguments):
        """Run the hub for the block; stop it with SIGTERM at the end, unless it has ended."""
        log = (self.folder / "log").open("w+")
        with (
            log,
            subprocess.Popen(
                [PINWHEEL, "run", *arguments], stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.folder
            ) as process,
        ):
            self.process = process
            try:
                line = process.stdout.readline()
                assert line.startswith("ready "), (self.folder / "log").read_text()
                yield line
                if process.poll() is None:
                    process.terminate()
                    assert 0 == process.wait(STOP)
            finally:
                process.kill()
                self.process = None
            assert "Traceback" not in (self.folder / "log").read_text()

    @property
    def state(self):
        """The content of hub.json, which a running hub writes."""
        return json.loads((self.data / "hub.json").read_text())

    def dial(self, listener=0):
        """Connect to a listener of the running hub."""
        host, _, port = self.state["listen"][listener]["address"].rpartition(":")
        return socket.create_connection((host, int(port)), timeout=patient(20))

    def login_status(self, token):
        """Return the status code of a native login."""
        with self.dial() as sock:
            sock.sendall(frame(Cmd.HW_LOGIN, 1, (token,)))
            return int.from_bytes(sock.recv(5)[3:], "big")

    def import_template(self, text=TEMPLATE, *arguments):
        """Import a template, given as TOML."""
        (self.folder / "weather.toml").write_text(text)
        return self("template", "import", "weather.toml", *arguments)

    def add(self, name=None):
        """Add a device; returns its name, id and token."""
        name = name or f"Station {next(self._numbers)}"
        done = self("device", "add", "--template", "TMPL0cli", "--name", name)
        added = json.loads(done.out)
        return name, added["id"], added["token"]


TLS = '[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'
