"""The way to the plugins: finding them, holding them to the contract, and containing what goes wrong in them.

Nobody else touches pluggy. It is sync and knows nothing of awaiting, so implementations are called one by one here.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import sys
import time
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs
import pluggy
import trio

from hub import hookspecs
from hub.api.routes import Change, Permission, Route, SocketRoute
from hub.errors import ConfigError, NotAuthenticated, PluginError, Unavailable, first_of
from hub.facts import ChangeMade, Fact, PluginFailed
from hub.hookspecs import HOOK_VERSION
from hub.net.wire import WireProtocol
from hub.stamps import StampColumns
from hub.storage import Migration
from hub.structuring import ValidationErrors, structure

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.bus import Bus
    from hub.config import Config
    from hub.model import Credentials, Owned, Principal
    from hub.writes import Filter

log = logging.getLogger(__name__)

#: Seconds an awaited hook may take.
HOOK_DEADLINE = 5.0
#: Seconds before a plugin that died is started again: doubled each time up to the second.
BACKOFF = 1.0, 60.0

#: Seconds in which the same failure of a plugin is not logged again, and failures that are remembered of each.
QUIET, MAX_REASONS = 3600.0, 100
#: Reasons of a plugin's trouble that its alarm lists.
MAX_TROUBLES = 10

OURS = "pinwheel-hub"
#: Hooks whose failure does not end what else the plugin does.
IN_PASSING = (
    "hub_event",
    "hub_filter_write",
    "hub_authenticate",
    "hub_authorize",
    "hub_changed",
    "hub_personal_data",
    "hub_forget",
)
T = TypeVar("T")
State = Literal["loaded", "running", "failed", "off", "waiting"]


@attrs.define
class Plugin:
    """A plugin as the operator sees it. ``problem`` is the last thing that went wrong."""

    name: str
    origin: str
    version: str = ""
    built_in: bool = False
    module: Any = None
    state: State = "loaded"
    problem: str = ""
    failures: int = 0
    #: Longest time in seconds that it held the loop.
    held: float = 0.0
    hooks: list[str] = attrs.Factory(list)
    #: Every reason why an operator should look at it, oldest first.
    troubles: list[str] = attrs.Factory(list)
    #: Until when a reason to fail is not logged again, by the monotonic clock.
    quiet_until: dict[str, float] = attrs.field(factory=dict, repr=False)

    def record_trouble(self, reason: str) -> None:
        """Add a reason to `troubles`; of more than `MAX_TROUBLES` the oldest goes."""
        if reason not in self.troubles:
            self.troubles = [*self.troubles, reason][-MAX_TROUBLES:]

    def set_running(self) -> None:
        """Its `hub_start` returned: reasons why the plugin was not running are over."""
        self.state = "running"
        self.troubles = [reason for reason in self.troubles if reason.startswith(IN_PASSING)]

    def owns(self, filename: str) -> bool:
        """Whether a source file is part of this plugin."""
        home = getattr(self.module, "__file__", None)
        if home is None:
            return False
        return (
            filename.startswith(home.removesuffix("__init__.py")) if home.endswith("__init__.py") else filename == home
        )


class Hooks:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._manager = pluggy.PluginManager("pinwheel")
        self._manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, Plugin] = {}
        self._owners: dict[Callable[..., Any], Plugin] = {}
        self._settings: dict[type, Any] = {}
        self._authorizers: tuple[tuple[Plugin, Callable[..., Any], tuple[str, ...]], ...] = ()
        bus.on_failure = self._subscriber_failed

    # -- discovery ------------------------------------------------------------------------------------------------

    def discover(self, config: Config, safe: bool = False) -> None:
        """Load our own plugins, then (unless ``safe``) those of other packages and of ``<data>/plugins``.

        A third party's plugin that cannot be loaded is kept out and reported. Raises `ConfigError`, `PluginError`.
        """
        for entry, package, number in _installed():
            plugin = Plugin(entry.name, package, number, built_in=package == OURS)
            if plugin.built_in or not safe:
                self._load(plugin, entry.load, config)
        folder = config.data / "plugins"
        for path in sorted(folder.glob("*.py")) if folder.is_dir() and not safe else ():
            self._load(Plugin(path.stem, str(path)), functools.partial(_load_file, path), config)
        self._check_tables(config, safe)

    def _load(self, plugin: Plugin, load: Callable[[], Any], config: Config) -> None:
        if other := self.plugins.get(plugin.name):
            self._leave_out(other, plugin)
            return
        self.plugins[plugin.name] = plugin
        if config.plugins.get(plugin.name, {}).get("enabled") is False:
            plugin.state = "off"
            return
        try:
            plugin.module = load()
            self.register(plugin)
        except Exception as error:
            if plugin.built_in:
                raise
            loaded = isinstance(error, PluginError)
            self.failed(plugin, str(error) if loaded else f"could not be loaded: {_described_error(error)}", error)

    def _leave_out(self, other: Plugin, plugin: Plugin) -> None:
        """Of two plugins with one name neither is meant more than the other; but our own stay."""
        reason = f"is left out: two plugins are named {plugin.name}: {other.origin} and {plugin.origin}"
        self.plugins[plugin.origin] = plugin
        self.failed(plugin, reason)
        if not other.built_in and other.state != "failed":
            if self._manager.has_plugin(other.name):
                self._manager.unregister(name=other.name)
            self.failed(other, reason)

    def register(self, plugin: Plugin) -> None:
        """Take a plugin's hooks in. Raises `PluginError` when it breaks the contract."""
        module = plugin.module
        self.plugins[plugin.name] = plugin
        version = HOOK_VERSION if plugin.built_in else getattr(module, "PINWHEEL_HOOKS", None)
        if version != HOOK_VERSION:
            said = (
                "does not say which hooks it was written for" if version is None else f"was written for hooks {version}"
            )
            raise PluginError(f"plugin {plugin.name} {said}; this hub has PINWHEEL_HOOKS = {HOOK_VERSION}")
        try:
            self._manager.register(module, plugin.name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            raise PluginError(f"plugin {plugin.name}: {str(error).splitlines()[-1].strip()}") from error
        callers = self._manager.get_hookcallers(self._manager.get_plugin(plugin.name)) or []
        plugin.hooks = sorted({caller.name for caller in callers})
        for _, fn, _ in self._implementations("hub_event"):
            _facts(plugin, fn)

    def _check_tables(self, config: Config, safe: bool) -> None:
        problems = []
        for name, table in config.plugins.items():
            plugin = self.plugins.get(name)
            if plugin is None:
                if not safe:
                    problems.append(f"{config.source}: plugins.{name}: there is no such plugin")
            elif plugin.state == "loaded" and "hub_config" not in plugin.hooks and set(table) - {"enabled"}:
                problems.append(f"{config.source}: plugins.{name}: this plugin has no settings")
        for plugin, cls in self._each("hub_config", _settings_class):
            table = {k: v for k, v in config.plugins.get(plugin.name, {}).items() if k != "enabled"}
            try:
                self._settings[cls] = structure(table, cls)
            except ValidationErrors as error:
                problems += [
                    f"{config.source}: plugins.{plugin.name}{'.' if p else ''}{p}: {text}" for p, text in error.problems
                ]
        if problems:
            raise ConfigError(*problems)

    def settings(self, cls: type[Any]) -> Any:
        """The table of the plugin whose `hub_config` returned ``cls``."""
        return self._settings[cls]

    # -- contributions --------------------------------------------------------------------------------------------

    def _implementations(self, hook: str) -> Iterator[tuple[Plugin, Callable[..., Any], tuple[str, ...]]]:
        """In the order of the plugins' names, ours first."""
        found = getattr(self._manager.hook, hook).get_hookimpls()
        for impl in sorted(found, key=lambda i: (not self.plugins[i.plugin_name].built_in, i.plugin_name)):
            plugin = self.plugins[impl.plugin_name]
            if plugin.state != "failed":
                yield plugin, impl.function, impl.argnames

    def _each(self, hook: str, read: Callable[[Any], T], **arguments: Any) -> Iterator[tuple[Plugin, T]]:
        """Each plugin with what its hook returned, as ``read`` makes of it; a third party's failure keeps it out."""
        for plugin, fn, names in self._implementations(hook):
            try:
                result = read(fn(*(arguments[name] for name in names)))
            except Exception as error:
                if plugin.built_in:
                    raise
                self.failed(plugin, f"{hook} failed: {error!r}", error)
            else:
                yield plugin, result

    def _all(self, hook: str, kinds: tuple[type[T], ...], key: Callable[[T], str], **arguments: Any) -> list[T]:
        def read(items: Any) -> list[tuple[str, T]]:
            listed = list(items)
            for item in listed:
                if not isinstance(item, kinds):
                    raise TypeError(f"{item!r} is no {kinds[0].__name__}")
            return [(key(item), item) for item in listed]

        owners: dict[str, Plugin] = {}
        found = []
        for plugin, items in self._each(hook, read, **arguments):
            for name, item in items:
                if other := owners.get(name):
                    raise PluginError(f"{name} comes from two plugins: {other.name} and {plugin.name}")
                owners[name] = plugin
                found.append(item)
        return found

    def migrations(self) -> dict[str, Sequence[Migration]]:
        def read(items: Any) -> tuple[Migration, ...]:
            listed = tuple(items)
            if not all(isinstance(item, Migration) for item in listed):
                raise TypeError("not all of it are migrations")
            return listed

        return {plugin.name: found for plugin, found in self._each("hub_migrations", read)}

    def stamps(self, hub: Hub) -> list[StampColumns]:
        return self._all("hub_stamps", (StampColumns,), str, hub=hub)

    def permissions(self) -> list[Permission]:
        return self._all("hub_permissions", (Permission,), lambda p: p.id)

    def protocols(self, hub: Hub) -> list[WireProtocol]:
        return self._all("hub_protocols", (WireProtocol,), lambda p: p.name, hub=hub)

    def routes(self, hub: Hub) -> list[Route | SocketRoute]:
        def key(route: Route | SocketRoute) -> str:
            return f"{getattr(route, 'method', 'WebSocket')} {route.path}"

        return self._all("hub_routes", (Route, SocketRoute), key, hub=hub)

    def compile(self) -> tuple[Filter, ...]:
        """Turn what is called per value into plain calls: subscribes `hub_event`, returns the write filters."""
        for plugin, fn, _ in self._implementations("hub_event"):
            self._owners[fn] = plugin
            for fact in _facts(plugin, fn):
                self._bus.subscribe(fact, fn)
        self._authorizers = tuple(self._implementations("hub_authorize"))
        filters = []
        for plugin, fn, names in self._implementations("hub_filter_write"):
            called = fn if names == ("device", "datastream", "value") else _by_name(fn, names)
            self._owners[called] = plugin
            filters.append(called)
        return tuple(filters)

    # -- asking ---------------------------------------------------------------------------------------------------

    async def authenticate(self, hub: Hub, credentials: Credentials) -> Principal | None:
        arguments = {"hub": hub, "credentials": credentials}
        for plugin, fn, names in self._implementations("hub_authenticate"):
            try:
                # Every request comes by here: `fail_after` takes longer.
                with trio.move_on_after(HOOK_DEADLINE) as deadline:
                    principal: Principal | None = await fn(*(arguments[name] for name in names))
                if deadline.cancelled_caught:
                    raise trio.TooSlowError
            except NotAuthenticated:
                raise
            except Exception as error:  # noqa: BLE001 - contained
                self.failed(plugin, f"hub_authenticate failed: {error!r}", error)
                continue
            if principal is not None:
                return principal
        return None

    async def changed(self, hub: Hub, change: Change) -> None:
        """Raises `Unavailable` when a plugin could not put it down."""
        arguments = {"hub": hub, "change": change}
        await self._every("hub_changed", arguments, "The change was made, but could not be recorded.")
        hub.emit(ChangeMade(change))

    async def personal_data(self, hub: Hub, who: str, asker: Principal) -> dict[str, Any]:
        """What each plugin keeps about somebody. Raises `Unavailable` when one could not say."""
        arguments = {"hub": hub, "who": who, "asker": asker}
        found = await self._every("hub_personal_data", arguments, "Not everything could be read.")
        return {name: kept for name, kept in found.items() if kept is not None}

    async def forget(self, hub: Hub, who: str) -> None:
        """Raises `Unavailable` when a plugin still has something of them."""
        await self._every("hub_forget", {"hub": hub, "who": who}, "They were deleted, but something of them is left.")

    async def _every(self, hook: str, arguments: dict[str, Any], failed: str) -> dict[str, Any]:
        """What every plugin's implementation returned, by the plugin's name; the first failure is `Unavailable`."""
        found = {}
        for plugin, fn, names in self._implementations(hook):
            try:
                found[plugin.name] = await fn(*(arguments[name] for name in names))
            except Exception as error:
                self.failed(plugin, f"{hook} failed: {error!r}", error)
                raise Unavailable(failed) from error
        return found

    def authorize(self, hub: Hub, principal: Principal, permission: str, device: Owned | None, org: int | None) -> bool:
        arguments = {"hub": hub, "principal": principal, "permission": permission, "device": device, "org": org}
        allowed = False
        for plugin, fn, names in self._authorizers:
            try:
                answer = fn(*(arguments[name] for name in names))
            except Exception as error:  # noqa: BLE001 - contained
                self.failed(plugin, f"hub_authorize failed: {error!r}", error)
                return False
            if answer is False:
                return False
            allowed = allowed or answer is True
        return allowed

    # -- running --------------------------------------------------------------------------------------------------

    async def run(self, hub: Hub, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run every plugin's `hub_start` in a nursery of its own; started when each has returned or failed once."""
        async with trio.open_nursery() as nursery:
            for plugin, fn, names in self._implementations("hub_start"):
                await nursery.start(self._run_plugin, plugin, fn, names, hub)
            task_status.started()

    async def _run_plugin(
        self,
        plugin: Plugin,
        fn: Callable[..., Any],
        names: tuple[str, ...],
        hub: Hub,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        wait, longest = BACKOFF
        told = False
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    arguments = {"hub": hub, "nursery": nursery}
                    with trio.fail_after(HOOK_DEADLINE):
                        await fn(*(arguments[name] for name in names))
                    plugin.set_running()
                    if not told:
                        told = True
                        task_status.started()
                return
            except Exception as error:
                if getattr(plugin.module, "ESSENTIAL", False):
                    raise
                cause = first_of(error)
                slow = isinstance(cause, trio.TooSlowError)
                reason = f"hub_start took more than {HOOK_DEADLINE:.0f} s" if slow else f"died: {cause!r}"
                self.failed(plugin, reason, None if slow else cause)
            if not told:
                told = True
                task_status.started()
            await trio.sleep(wait)
            wait = min(2 * wait, longest)

    # -- containing -----------------------------------------------------------------------------------------------

    def failed(self, plugin: Plugin, reason: str, error: BaseException | None = None) -> None:
        """Record and report that a plugin failed.

        The log has each reason once in `QUIET` seconds, with the traceback of an ``error`` in a third party's code.
        """
        plugin.failures += 1
        plugin.problem = reason
        if not reason.startswith("held"):
            plugin.record_trouble(reason)
        now = time.monotonic()
        new = now >= plugin.quiet_until.get(reason, 0.0)
        if new:
            plugin.quiet_until = {old: until for old, until in plugin.quiet_until.items() if until > now}
            if len(plugin.quiet_until) >= MAX_REASONS:
                del plugin.quiet_until[next(iter(plugin.quiet_until))]
            plugin.quiet_until[reason] = now + QUIET
        # What happens in passing does not end the plugin.
        if not reason.startswith((*IN_PASSING, "held")):
            plugin.state = "failed"
        if new:
            place = _place(plugin, error)
            log.error(
                "plugin %s (%s) %s%s", plugin.name, plugin.origin, reason, place, exc_info=error if place else None
            )
            self._bus.emit(PluginFailed(plugin.name, reason))

    def filter_failed(self, fn: Filter, error: Exception) -> None:
        """A write filter raised what it should not."""
        self.failed(self._owners[fn], f"hub_filter_write failed: {error!r}", error)

    def _subscriber_failed(self, fn: Callable[..., Any], error: Exception) -> None:
        plugin = self._owners.get(fn)
        if plugin is None:
            log.error("%s failed: %r", getattr(fn, "__qualname__", fn), error, exc_info=error)
        else:
            self.failed(plugin, f"hub_event failed: {error!r}", error)

    def holding(self, frame: types.FrameType | None, seconds: float) -> Plugin | None:
        """Blame the plugin in whose code the loop hangs for holding it; None when it is nobody's."""
        while frame is not None:
            for plugin in self.plugins.values():
                if plugin.owns(frame.f_code.co_filename) and not plugin.built_in:
                    plugin.held = max(plugin.held, seconds)
                    return plugin
            frame = frame.f_back
        return None


def _described_error(error: Exception) -> str:
    """An error on one line; of a file that is no Python, its line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name} line {error.lineno}: {error.msg}"
    return repr(error)


def _place(plugin: Plugin, error: BaseException | None) -> str:
    """Where in a third party's plugin an error comes from, as the end of a sentence; "" where it does not."""
    if error is None or plugin.built_in:
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if plugin.owns(frame.filename)]
    return f" ({Path(frames[-1].filename).name} line {frames[-1].lineno})" if frames else ""


@functools.cache
def _installed() -> list[tuple[importlib.metadata.EntryPoint, str, str]]:
    """Plugins of installed packages, by name, with their package and its version; looked up once: it takes a while."""
    described = functools.cache(_described)
    entries = sorted(importlib.metadata.entry_points(group="pinwheel"), key=lambda entry: entry.name)
    return [(entry, *described(entry.dist)) for entry in entries]


def _described(dist: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """Name and version of a package; looked up in its metadata, which takes a millisecond."""
    return ("?", "") if dist is None else (dist.name, dist.version)


def _settings_class(cls: Any) -> type:
    if not attrs.has(cls):
        raise TypeError(f"{cls!r} is no attrs class")
    return cls


def _by_name(fn: Callable[..., Any], names: tuple[str, ...]) -> Filter:
    def call(device: Any, datastream: Any, value: Any) -> Any:
        arguments = {"device": device, "datastream": datastream, "value": value}
        return fn(*(arguments[name] for name in names))

    return call


def _facts(plugin: Plugin, fn: Callable[..., Any]) -> Sequence[type[Fact]]:
    """The facts that an implementation of `hub_event` asks for, from its annotation."""
    try:
        wanted = typing.get_type_hints(fn).get("event")
    except Exception as error:
        raise PluginError(f"plugin {plugin.name}: hub_event: {error}") from error
    kinds = typing.get_args(wanted) or (wanted,)
    if not all(isinstance(kind, type) and issubclass(kind, Fact) and kind is not Fact for kind in kinds):
        raise PluginError(f"plugin {plugin.name}: hub_event: annotate event with a fact, such as ValueWritten")
    return kinds


def _load_file(path: Path) -> types.ModuleType:
    name = f"pinwheel_plugins.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
