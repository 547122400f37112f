"""The examples of the README, from top to bottom."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT
from support.patience import patient

BIN = Path(sys.executable).parent


def blocks(language):
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def command(block):
    """The lines of a block, except commands that run until they are interrupted."""
    return "\n".join(line for line in block.splitlines() if not line.startswith("pinwheel device watch"))


@pytest.fixture
def hub(tmp_path):
    """A hub as the README starts it, but on free ports and in a temporary directory."""
    (tmp_path / "hub.toml").write_text(
        '[[listen]]\naddress = "127.0.0.1:0"\n[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'
    )
    process = subprocess.Popen([BIN / "pinwheel", "run"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("ready")
        listen = json.loads((tmp_path / "data" / "hub.json").read_text())["listen"]
        yield tmp_path, listen[0]["address"]
    finally:
        process.terminate()
        assert 0 == process.wait(patient(5))
        process.stdout.close()


def test_commands_of_the_readme_work_in_order(hub):
    folder, address = hub
    [template, *_] = blocks("toml")
    (folder / "greenhouse.toml").write_text(template)
    shell = blocks("sh")
    [imports] = [block for block in shell if "template import" in block]
    [usage] = [block for block in shell if "device list" in block]
    [curls] = [block for block in shell if "curl" in block and "TOKEN" in block]
    [users] = [block for block in shell if "user add" in block]
    script = "\n".join(command(block) for block in (imports, curls, usage, users)).replace("localhost:8080", address)
    environment = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)}

    done = subprocess.run(
        ["sh", "-e", "-x"], input=script, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr
    assert "TMPL0greenhouse Greenhouse" in done.stdout
    assert '21.5{"v0":21.5}false' in done.stdout
    assert "Offline" in done.stdout
    assert "bob@example.org, Staff" in done.stdout
    assert "Invite a user" in done.stdout


def test_hub_serves_the_certificate_of_its_authority(hub):
    folder, address = hub

    done = subprocess.run(["curl", "-sS", f"http://{address}/ca.pem"], capture_output=True, text=True, check=True)

    assert done.stdout == (folder / "data" / "tls" / "ca.pem").read_text()


def test_readme_names_make_run_and_make_test():
    assert ["run", "test"] == [re.match(r"make (\w+)", block)[1] for block in blocks("sh") if block.startswith("make")]
