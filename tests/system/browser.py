"""Chromium as a phone: driven over its debugging socket, with scripts in pages disabled."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import trio
from support.patience import patient
from websockets.trio.client import connect

PROGRAM = shutil.which("chromium")
PATIENCE = patient(30)
WIDTH, HEIGHT = 360, 640


class Page:
    """One page, 360 by 640."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self._loads = 0

    async def call(self, method, **params):
        """Call a command of the DevTools protocol; returns its result."""
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        with trio.fail_after(PATIENCE):
            while True:
                message = json.loads(await self._socket.recv())
                self._loads += message.get("method") == "Page.loadEventFired"
                if message.get("id") == number:
                    return message["result"]

    async def _loaded(self, before):
        with trio.fail_after(PATIENCE):
            while self._loads == before:
                message = json.loads(await self._socket.recv())
                self._loads += message.get("method") == "Page.loadEventFired"

    async def open(self, url):
        before = self._loads
        await self.call("Page.navigate", url=url)
        await self._loaded(before)

    async def js(self, expression):
        response = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return response["result"].get("value")

    async def text(self):
        return await self.js("document.body.innerText")

    async def fill_in(self, **fields):
        """Type into fields by their ids."""
        for name, text in fields.items():
            await self.js(f"document.getElementById({json.dumps(name)}).focus()")
            await self.call("Input.insertText", text=text)

    async def tap(self, selector):
        """Click the centre of an element, and wait for the page that it opens."""
        before = self._loads
        await self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = await self.js(
            f"(b => [b.x + b.width / 2, b.y + b.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
        await self._loaded(before)

    async def screenshot(self, path):
        shot = await self.call("Page.captureScreenshot")
        Path(path).write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def phone():
    """A browser with one page."""
    with tempfile.TemporaryDirectory(prefix="pinwheel-browser-", ignore_cleanup_errors=True) as folder:
        command = [
            PROGRAM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = await _port(Path(folder) / "DevToolsActivePort")
            target = await _target(port)
            async with connect(target, proxy=None, max_size=None) as socket:
                page = Page(socket)
                await page.call("Page.enable")
                await page.call("Emulation.setScriptExecutionDisabled", value=True)
                await page.call(
                    "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=2, mobile=True
                )
                yield page
        finally:
            process.terminate()
            await trio.to_thread.run_sync(process.wait)


async def _port(path):
    with trio.fail_after(PATIENCE):
        while not path.exists() or not path.read_text().strip():
            await trio.sleep(0.02)
    return int(path.read_text().splitlines()[0])


async def _target(port):
    """The URL of the debugging socket of the first page."""
    with trio.fail_after(PATIENCE):
        while True:
            listed = await trio.to_thread.run_sync(_get, f"http://127.0.0.1:{port}/json/list")
            pages = [target for target in json.loads(listed) if target["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
            await trio.sleep(0.02)


def _get(url):
    with urlopen(url, timeout=PATIENCE) as response:
        return response.read()
