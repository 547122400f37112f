"""Streaming routes of plugins in a data directory: on a stopped hub, the memory of large uploads, the documented example."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import trio
from support.command import CommandLine
from support.paths import ROOT
from support.raw_http import HttpConnection, ask, local_key
from support.uploads import MAX_BODY, UPLOAD, head, upload_call

from client import Call, local
from hub.errors import Rejected
from hub.run import running

PLUGIN = f"""
import hashlib
from hub import Route, hookimpl

PINWHEEL_HOOKS = 1

@hookimpl
def hub_routes(hub):
    async def upload(request, name: str = "") -> str:
        digest = hashlib.sha256()
        async for chunk in request.stream:
            digest.update(chunk)
        return digest.hexdigest()
    return [Route("POST", "{UPLOAD}", upload, "hub.view", "Upload", streaming=True, max_body=300_000_000)]
"""


@pytest.fixture
def cli(tmp_path):
    cli = CommandLine(tmp_path / "hub")
    (cli.data / "plugins").mkdir()
    (cli.data / "plugins" / "uploads.py").write_text(PLUGIN)
    yield cli
    sys.modules.pop("pinwheel_plugins.uploads", None)


def test_stopped_hub_accepts_a_streamed_body(hub_config):
    folder = hub_config.data / "plugins"
    folder.mkdir()
    (folder / "uploads.py").write_text(PLUGIN.replace("300_000_000", "300_000"))
    try:
        with local.open_api(hub_config) as stopped:
            body = bytes(range(256)) * 1000
            assert hashlib.sha256(body).hexdigest() == stopped(upload_call(body))
            assert hashlib.sha256(b"").hexdigest() == stopped(Call("POST", UPLOAD))
            with pytest.raises(Rejected, match="exceeds the limit of 300000 bytes"):
                stopped(upload_call(b"x" * 300_001))
    finally:
        sys.modules.pop("pinwheel_plugins.uploads")


UPLOAD_SIZE, MAX_GROWTH = 200 * 1024 * 1024, 5 * 1024 * 1024


def peak_memory(pid):
    """The largest resident memory that a process has had, in bytes (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")
async def test_upload_of_200_mb_takes_little_memory_and_does_not_delay_other_requests(cli):
    with cli.running():
        key, state = (cli.data / "local.key").read_text(), cli.state
        host, _, port = state["listen"][0]["address"].rpartition(":")

        async def open_http():
            return HttpConnection(await trio.open_tcp_stream(host, int(port)))

        uploading, other = await open_http(), await open_http()
        async with uploading.stream, other.stream:
            assert 200 == (await uploading.ask("POST", UPLOAD, b"x" * MAX_BODY, key)).status
            assert 200 == (await other.get("/health")).status
            before, block, digest = peak_memory(state["pid"]), bytes(range(256)) * 256, hashlib.sha256()
            await uploading.send(head(UPLOAD, key, content_length=UPLOAD_SIZE))
            for number in range(UPLOAD_SIZE // len(block)):
                digest.update(block)
                await uploading.send(block)
                if number % 16 == 0:
                    assert 200 == (await other.get("/health")).status
            assert digest.hexdigest() == (await uploading.read_response()).json
            assert peak_memory(state["pid"]) - before < MAX_GROWTH


async def test_documented_upload_works(hub_config):
    text = (ROOT / "docs" / "plugins.md").read_text()
    example = text.partition("## Example: an upload\n")[2].partition("```python\n")[2].partition("```")[0]
    folder = hub_config.data / "plugins"
    folder.mkdir()
    (folder / "images.py").write_text(example)
    try:
        async with running(hub_config) as hub:
            response = await ask(hub, "POST", "/api/v1/image?name=valve", b"x" * 100_000, local_key(hub))
            assert (200, 100_000) == (response.status, response.json)
            response = await ask(hub, "GET", "/api/v1/image", key=local_key(hub))
            assert (200, b"x" * 100_000) == (response.status, response.body)
    finally:
        sys.modules.pop("pinwheel_plugins.images")
