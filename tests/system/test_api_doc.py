"""The examples of docs/api.md: its commands in a shell, its programs with a running hub."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest
import trio
from support.patience import brief, patient

from hub.domain.devices import NewDevice
from hub.model import ROOT_ORG, SYSTEM
from hub.testing import address_of
from hub.writes import Write
from plugins.users.passwords import blynk_hash
from plugins.users.service import UsersService

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
TEMPLATE = """
[template]
id = "TMPL0room"
name = "Room"
[[datastream]]
pin = "V0"
name = "Temperature"
[[datastream]]
pin = "V1"
name = "Humidity"
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
async def kitchen(hub):
    """A device, and an administrator who can log in."""
    await hub.service(UsersService).add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))
    template, _ = await hub.templates.save(TEMPLATE, SYSTEM)
    [(device, _)] = await hub.devices.add([NewDevice(name="Kitchen", template=template, org=ROOT_ORG)], SYSTEM)
    await hub.write(Write(device, 0, 20.5, "test", SYSTEM)).durable()
    return device


def with_address(hub, text):
    """An example with the address of the hub."""
    host, port = address_of(hub)
    return text.replace("localhost:8080", f"{host}:{port}")


async def test_documented_commands_work_in_order(hub, kitchen, tmp_path):
    script = "set -euo pipefail\n" + with_address(hub, "\n".join(blocks("sh")))
    done = await trio.run_process(
        ["bash", "-c", script], cwd=tmp_path, check=False, capture_stdout=True, capture_stderr=True
    )
    output = done.stdout.decode()
    assert 0 == done.returncode, output + done.stderr.decode()
    assert '"name": "Kitchen"' in output
    assert "time,value" in output
    assert 21.5 == hub.writes.current(kitchen, kitchen.points[0].datastream)
    assert 60 == hub.templates.get("TMPL0room").datastreams[0].max
    assert '"~ V0 Temperature: max None -> 60"' in output


async def output_of_running(hub, kitchen, path, program, begins_with, ends_with):
    """Return what a program prints until it has both texts; values of 22.… are written after the first."""
    path.write_text(with_address(hub, program))
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                [sys.executable, "-u", path.name],
                cwd=path.parent,
                check=False,
                stdout=subprocess.PIPE,
                task_status=task_status,
            )
        )
        lines = b""
        with trio.fail_after(patient(30)):
            while begins_with not in lines:
                lines += await process.stdout.receive_some()
            value = 22.0
            while ends_with not in lines:
                # The program may not have subscribed yet.
                hub.write(Write(kitchen, 0, value, "test", SYSTEM))
                value += 0.01
                with trio.move_on_after(brief(0.2)):
                    lines += await process.stdout.receive_some()
        process.terminate()
    return lines.decode()


async def test_documented_chart_draws_past_and_new_values(hub, kitchen, tmp_path):
    program, *_ = blocks("python")
    output = await output_of_running(hub, kitchen, tmp_path / "chart.py", program, b"20.50 ", b"22.")
    assert "  20.50 ██████████████████████████\n" in output


async def test_documented_gathering_begins_with_the_present_value(hub, kitchen, tmp_path):
    chart, gathering, *_ = blocks("python")
    connection, _, _ = chart.partition("    stream.send(")
    program = connection + indent(gathering.replace("[1, 2, 3]", f"[{kitchen.id}]"), "    ")
    output = await output_of_running(hub, kitchen, tmp_path / "gather.py", program, b"1 v0 20.5 ", b"1 v0 22.")
    assert "1 v0 20.5  False\n" in output


async def test_documented_asyncio_program_follows_the_stream(hub, kitchen, tmp_path):
    *_, program = blocks("python")
    output = await output_of_running(hub, kitchen, tmp_path / "follow.py", program, b"connected\n", b"}\n")
    assert "Kitchen {'v0': 22." in output


async def test_documented_python_program_works(hub, kitchen, tmp_path):
    *_, program, _ = blocks("python")
    (tmp_path / "program.py").write_text(with_address(hub, program))
    done = await trio.run_process(
        [sys.executable, "program.py"], cwd=tmp_path, check=False, capture_stdout=True, capture_stderr=True
    )
    assert ("Kitchen Offline\n", "") == (done.stdout.decode(), done.stderr.decode())
    assert 47 == hub.writes.current(kitchen, kitchen.points[1].datastream)
