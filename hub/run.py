"""Starting and stopping a hub: the one module above the hub and its plugins."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from hub.app import Hub
from hub.bus import Bus
from hub.clock import Clock
from hub.config import Config
from hub.datadir import write_whole
from hub.errors import StartupError, StorageError
from hub.hooks import Hooks, HookTimeouts
from hub.parsing.structuring import seconds
from hub.plugin import Plugin
from hub.storage import open_storage
from hub.timeouts import Timeouts
from hub.watchdog import Watchdog


@attrs.frozen
class RunTimeouts:
    """Seconds of the hub's own work."""

    #: Between two rounds of housekeeping.
    housekeeping: float = 10.0
    #: For connections at a stop, to finish what they are answering.
    drain: float = 2.0


@asynccontextmanager
async def running(
    config: Config,
    *,
    listen: bool = True,
    safe: bool = False,
    clock: Clock | None = None,
    plugins: tuple[Any, ...] = (),
    timeouts: tuple[Any, ...] = (),
) -> AsyncIterator[Hub]:
    """Run a hub for the length of the block, with its listeners unless ``listen`` is False.

    ``safe`` leaves out plugins of third parties; ``plugins`` are modules to load as plugins besides;
    ``timeouts`` are those that are not the defaults (`hub.timeouts`). Raises `StartupError`. Leaving the block finishes
    answers, commits values that were accepted, and closes the files.
    """
    bus, clock, given = Bus(), clock or Clock(), Timeouts(timeouts)
    hooks = Hooks(bus, clock, given.of(HookTimeouts))
    hooks.discover(config, safe)
    for module in plugins:
        if all(plugin.module is not module for plugin in hooks.plugins.values()):
            hooks.register(Plugin(module.__name__.rpartition(".")[2], "test", module=module))
    async with open_storage(config.data, hooks.migrations(), config.storage.durability) as storage:
        hub = Hub(config, storage, hooks, bus, clock, given, _local_key(config.data / "local.key"))
        await _load(hub, hooks)
        if listen:
            hooks.contribute_protocols(hub)
            hub.open_listener()
        listener = hub.listener
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hub.history.run)
                nursery.start_soon(_housekeeping, hub)
                nursery.start_soon(hub.value_timeouts.run)
                nursery.start_soon(hub.clock_repairs.run)
                nursery.start_soon(Watchdog(hooks).run)
                await nursery.start(hooks.run, hub)
                if listener is not None:
                    # Without a listener no device can come back.
                    hub.lifecycle.start()
                    nursery.start_soon(hub.lifecycle.run)
                    nursery.start_soon(listener.run)
                    nursery.start_soon(hub.history.check)
                if hub.certificates is not None:
                    nursery.start_soon(hub.certificates.watch)
                try:
                    yield hub
                finally:
                    hub.lifecycle.stop()
                    if listener is not None:
                        with trio.CancelScope(shield=True):
                            await listener.drain(given.of(RunTimeouts).drain)
                    nursery.cancel_scope.cancel()
        finally:
            if listener is not None:
                listener.close()
            with trio.CancelScope(shield=True):
                await hub.lifecycle.close()
                await hub.history.close()


async def _load(hub: Hub, hooks: Hooks) -> None:
    """Load what the services keep in memory, in the order in which they need each other."""
    await hub.blobs.remove_partial()
    await hub.organizations.load(hub.config.hub.name)
    await hub.templates.load()
    await hub.devices.load(hub.templates.for_device)
    # Before the first stamp is given.
    hub.clock.not_before(max((device.created for device in hub.devices.by_id.values()), default=0))
    await hub.metadata.load(hub.devices.by_id)
    await hub.properties.load()
    await hub.segments.load()
    await hub.clock_repairs.resume()
    hub.clock.not_before(await hub.history.load(hub.devices.by_series))
    hub.devices.drop_cleared()
    hub.clock.now()
    hub.value_timeouts.start(hub.history.latest)
    hooks.contribute(hub)


async def _housekeeping(hub: Hub) -> None:
    """Check the clock and the health, expire tokens, prune the timeline, and begin history's new hours."""
    retain_events_ms = int(seconds(hub.config.storage.retain_events) * 1000)
    while True:
        hub.clock.check()
        with suppress(StorageError):
            await hub.clock_doubts.persist()
        hub.tokens.close_expired_sessions()
        hub.rejections.summarize()
        hub.evaluate_health()
        hub.history.roll_hour(hub.clock.now())
        if hub.clock.believable:
            with suppress(StorageError):
                await hub.timeline.prune(hub.clock.now() - retain_events_ms)
        await trio.sleep(hub.timeouts.of(RunTimeouts).housekeeping)


@asynccontextmanager
async def announced(hub: Hub) -> AsyncIterator[dict[str, Any]]:
    """Keep ``<data>/hub.json``, which tells commands and scripts where the hub listens, for the length of the block.

    Yields the object in the file. On a full disk the file is written as soon as there is room; devices do not wait for
    it.
    """
    assert hub.listener is not None
    path = hub.config.data / "hub.json"
    state = {"pid": os.getpid(), "version": hub.version, "listen": hub.listener.described()}
    content = json.dumps(state).encode()

    def is_written() -> bool:
        try:
            write_whole(path, content)
        except OSError as error:
            # The file of an earlier run would lead commands astray.
            path.unlink(missing_ok=True)
            hub.alarms.set("hub.json", f"{path} cannot be written, and commands need it: {error.strerror}")
            return False
        hub.alarms.set("hub.json", None)
        return True

    async def write_later() -> None:
        while True:
            await trio.sleep(hub.timeouts.of(RunTimeouts).housekeeping)
            if is_written():
                return

    try:
        async with trio.open_nursery() as nursery:
            if not is_written():
                nursery.start_soon(write_later)
            yield state
            nursery.cancel_scope.cancel()
    finally:
        path.unlink(missing_ok=True)


def _local_key(path: Path) -> str:
    """Read the key of the commands on this machine; make it at the first start. Raises `StartupError`."""
    try:
        if not path.exists() or not path.stat().st_size:
            write_whole(path, secrets.token_urlsafe(32).encode())
        return path.read_text().strip()
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from error
