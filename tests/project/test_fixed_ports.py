"""A test fails if it binds a fixed port, or if a program that it starts does."""

import os
import subprocess
import sys

from support.paths import TESTS
from support.patience import patient

SUITE = """
import contextlib
import socket
import subprocess
import sys

import fixed_ports
import trio

from hub.run import running
from hub.config import parse

PROGRAM = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))).close()"


def test_free_port_and_again():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    socket.create_server(("127.0.0.1", port)).close()
    subprocess.run([sys.executable, "-c", PROGRAM, str(port)], check=True)


async def test_free_port_of_trio():
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    socket.create_server(("127.0.0.1", port)).close()


def test_fixed_port():
    socket.create_server(("127.0.0.1", 47808))


def test_fixed_port_that_is_caught():
    with contextlib.suppress(Exception):
        socket.create_server(("127.0.0.1", 47808))


def test_fixed_port_of_a_program():
    subprocess.run([sys.executable, "-c", PROGRAM, "47808"], check=True)


async def test_hub_with_the_default_configuration(tmp_path):
    async with running(parse("").with_data(str(tmp_path / "data"))):
        pass


def test_no_port():
    pass
"""


def test_tests_that_bind_fixed_ports_fail(tmp_path):
    (tmp_path / "test_ports.py").write_text(SUITE)
    folder = TESTS
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:randomly", "-o", "trio_mode=true"]
    done = subprocess.run(
        [*command, "-q", "-rfEp", "test_ports.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{folder}:{folder.parent}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(50),
    )
    lines = done.stdout.splitlines()
    failed = {line.split("::")[1].split()[0] for line in lines if line.startswith(("FAILED", "ERROR"))}
    passed = {line.split("::")[1].split()[0] for line in lines if line.startswith("PASSED")} - failed
    assert passed == {"test_free_port_and_again", "test_free_port_of_trio", "test_no_port"}, done.stdout
    assert failed == {
        "test_fixed_port",
        "test_fixed_port_that_is_caught",
        "test_fixed_port_of_a_program",
        "test_hub_with_the_default_configuration",
    }
    assert "test_fixed_port_that_is_caught binds fixed ports: 127.0.0.1:47808" in done.stdout
