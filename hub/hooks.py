"""Typed facade over pluggy: registration and validation of plugins, calls of their hooks, containment of failures.

No other module calls pluggy. Since pluggy is sync and does not await, this module calls implementations one by one. A
failure of a third party's plugin never stops the hub: it is recorded in its `Plugin`, logged, and emitted.
"""

from __future__ import annotations

import logging
import traceback
import types
import typing
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pluggy
import trio

from hub import hookspecs
from hub.api.panels import Panel, problem_of
from hub.api.routes import Permission, Route, SocketRoute
from hub.app import Hub
from hub.bus import Bus
from hub.clock import Clock
from hub.config import Config
from hub.domain.directory import PersonalData, UserDirectory
from hub.domain.messages import Channel, Message
from hub.errors import ConfigError, HubError, NotAuthenticated, PluginError, Unavailable, first_of
from hub.facts import ChangeMade, Fact, PluginFailed
from hub.hookspecs import HOOK_VERSION
from hub.model import Change, Credentials, Device, Hello, Owned, Principal
from hub.net.wire import WireProtocol
from hub.parsing.structuring import ValidationErrors, structure
from hub.plugin import Failure, FailureKind, Plugin
from hub.plugin_discovery import discover
from hub.storage import Migration
from hub.storage.stamp_correction import StampColumns
from hub.writes import Filter

log = logging.getLogger(__name__)

#: Seconds in which the same failure of a plugin is logged once, and reasons that are remembered of each plugin.
QUIET, MAX_REASONS = 3600.0, 100

T = TypeVar("T")
#: A hook's implementation: its plugin, the function, and the names of its arguments.
Implementation = tuple[Plugin, Callable[..., Any], tuple[str, ...]]


@attrs.frozen
class HookTimeouts:
    """Seconds that plugins may take."""

    #: For an async hook, and for `hub_start`.
    hook: float = 5.0
    start: float = 5.0
    #: Before a plugin that stopped is started again: doubled each time, up to the second number.
    restart: tuple[float, float] = 1.0, 60.0


class _PluginManager(pluggy.PluginManager):
    """pluggy's manager, which looks in a module for marked functions only: not at everything that it imports."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(plugin, types.ModuleType) and not isinstance(vars(plugin).get(name), types.FunctionType):
            return None
        return super().parse_hookimpl_opts(plugin, name)


class Hooks:
    """The plugins of a hub and their hooks."""

    def __init__(self, bus: Bus, clock: Clock, timeouts: HookTimeouts) -> None:
        self._bus = bus
        self._clock = clock
        self._timeouts = timeouts
        self._manager = _PluginManager("pinwheel")
        self._manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, Plugin] = {}
        #: The plugins of subscribers and write filters.
        self._owners: dict[Callable[..., Any], Plugin] = {}
        self._settings: dict[type, Any] = {}
        self._authorizers: tuple[Implementation, ...] = ()
        self._personal_data: tuple[tuple[Plugin, PersonalData], ...] = ()
        #: What plugins contribute, from `contribute` on.
        self.permissions: list[Permission] = []
        self.routes: list[Route | SocketRoute] = []
        self.panels: list[Panel] = []
        self.protocols: list[WireProtocol] = []
        bus.report_failures_to(self._subscriber_failed)

    # -- registration ---------------------------------------------------------------------------------------------

    def discover(self, config: Config, safe: bool = False) -> None:
        """Load the built-in plugins and, unless ``safe``, those of other packages and of ``<data>/plugins``.

        A third party's plugin that cannot be loaded is left out, and its failure recorded. Raises `ConfigError`,
        `PluginError`.
        """
        for plugin, load in discover(config.data):
            if plugin.built_in or not safe:
                self._load(plugin, load, config)
        self._structure_settings(config, safe)

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
            is_ours = isinstance(error, PluginError)
            reason = str(error) if is_ours else f"could not be loaded: {_describe_error(error)}"
            self._record(plugin, FailureKind.UNUSABLE, reason, error)

    def _leave_out(self, other: Plugin, plugin: Plugin) -> None:
        """Leave out both of two plugins with one name, since neither is more right; built-in plugins stay."""
        reason = f"is left out: two plugins are named {plugin.name}: {other.origin} and {plugin.origin}"
        self.plugins[plugin.origin] = plugin
        self._record(plugin, FailureKind.UNUSABLE, reason)
        if not other.built_in and other.state != "failed":
            if self._manager.has_plugin(other.name):
                self._manager.unregister(name=other.name)
            self._record(other, FailureKind.UNUSABLE, reason)

    def register(self, plugin: Plugin) -> None:
        """Add a plugin's hooks. Raises `PluginError` when they break the contract."""
        module = plugin.module
        self.plugins[plugin.name] = plugin
        version = HOOK_VERSION if plugin.built_in else getattr(module, "PINWHEEL_HOOKS", None)
        if version != HOOK_VERSION:
            mismatch = (
                "does not say which hooks it was written for" if version is None else f"was written for hooks {version}"
            )
            raise PluginError(f"plugin {plugin.name} {mismatch}; this hub has PINWHEEL_HOOKS = {HOOK_VERSION}")
        try:
            self._manager.register(module, plugin.name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            reason = str(error).splitlines()[-1].strip().partition(" in plugin <")[0]
            raise PluginError(f"plugin {plugin.name}: {reason}") from error
        callers = self._manager.get_hookcallers(self._manager.get_plugin(plugin.name)) or []
        plugin.hooks = sorted({caller.name for caller in callers})
        for _, fn, _ in self._implementations("hub_event"):
            _facts_of(plugin, fn)

    def _structure_settings(self, config: Config, safe: bool) -> None:
        """Structure the plugins' tables of the configuration. Raises `ConfigError`."""
        problems = []
        for name, table in config.plugins.items():
            plugin = self.plugins.get(name)
            if plugin is None:
                if not safe:
                    problems.append(f"{config.source}: plugins.{name}: there is no such plugin")
            elif plugin.state == "loaded" and "hub_config" not in plugin.hooks and set(table) - {"enabled"}:
                problems.append(f"{config.source}: plugins.{name}: this plugin has no settings")
        for plugin, cls in self._contributions("hub_config", _settings_class):
            table = {key: value for key, value in config.plugins.get(plugin.name, {}).items() if key != "enabled"}
            try:
                self._settings[cls] = structure(table, cls)
            except ValidationErrors as error:
                problems += [
                    f"{config.source}: plugins.{plugin.name}{'.' if path else ''}{path}: {text}"
                    for path, text in error.problems
                ]
        if problems:
            raise ConfigError(*problems)

    def settings(self, cls: type[Any]) -> Any:
        """Return the table of the plugin whose `hub_config` returned ``cls``."""
        return self._settings[cls]

    # -- contributions --------------------------------------------------------------------------------------------

    def _implementations(self, hook: str) -> Iterator[Implementation]:
        """Yield a hook's implementations: those of built-in plugins first, then by the plugins' names."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for impl in sorted(implementations, key=lambda i: (not self.plugins[i.plugin_name].built_in, i.plugin_name)):
            plugin = self.plugins[impl.plugin_name]
            if plugin.state != "failed":
                yield plugin, impl.function, impl.argnames

    def _contributions(self, hook: str, check: Callable[[Any], T], **arguments: Any) -> Iterator[tuple[Plugin, T]]:
        """Yield each plugin with ``check`` of what its hook returned; a third party's plugin that fails is left out."""
        for plugin, fn, names in self._implementations(hook):
            try:
                result = check(fn(*(arguments[name] for name in names)))
            except Exception as error:
                if plugin.built_in:
                    raise
                self._record(plugin, FailureKind.UNUSABLE, f"{hook} failed: {error!r}", error)
            else:
                yield plugin, result

    def _items(self, hook: str, kinds: tuple[type[T], ...], **arguments: Any) -> Iterator[tuple[Plugin, T]]:
        """Yield the items of all plugins; a third party's plugin that fails is left out."""

        def check(items: Any) -> list[T]:
            listed = list(items)
            for item in listed:
                if not isinstance(item, kinds):
                    raise TypeError(f"{item!r} is no {kinds[0].__name__}")
            return listed

        for plugin, items in self._contributions(hook, check, **arguments):
            for item in items:
                yield plugin, item

    def _unique(
        self, hook: str, kinds: tuple[type[T], ...], key: Callable[[T], str], **arguments: Any
    ) -> list[tuple[Plugin, T]]:
        """Return the items of all plugins. Raises `PluginError` when two plugins contribute the same key."""
        owners: dict[str, Plugin] = {}
        contributed = []
        for plugin, item in self._items(hook, kinds, **arguments):
            name = key(item)
            if other := owners.get(name):
                raise PluginError(f"{name} comes from two plugins: {other.name} and {plugin.name}")
            owners[name] = plugin
            contributed.append((plugin, item))
        return contributed

    def migrations(self) -> dict[str, Sequence[Migration]]:
        def check(items: Any) -> tuple[Migration, ...]:
            listed = tuple(items)
            if not all(isinstance(item, Migration) for item in listed):
                raise TypeError("not all of it are migrations")
            return listed

        return {plugin.name: listed for plugin, listed in self._contributions("hub_migrations", check)}

    def stamps(self, hub: Hub) -> list[StampColumns]:
        return _items_of(self._unique("hub_stamps", (StampColumns,), str, hub=hub))

    def contribute(self, hub: Hub) -> None:
        """Get what plugins contribute to a hub. Raises `PluginError`."""
        self.permissions = _items_of(self._unique("hub_permissions", (Permission,), lambda permission: permission.id))
        hub.directory.install(self._directory(hub))
        self._personal_data = tuple(self._contributions("hub_personal_data", lambda data: data, hub=hub))
        channels = self._unique("hub_channels", (Channel,), lambda channel: channel.name, hub=hub)
        hub.messages.install([_ContainedChannel(self._hook_failed, *item) for item in channels])
        self.routes, self.panels = self._routes_and_panels(hub)
        hub.writes.install_filters(self._compile(), self._filter_failed)

    def contribute_protocols(self, hub: Hub) -> None:
        """Get the protocols, if the hub listens. Raises `PluginError`."""
        self.protocols = _items_of(self._unique("hub_protocols", (WireProtocol,), lambda wire: wire.name, hub=hub))

    def _directory(self, hub: Hub) -> UserDirectory | None:
        """Return the directory of users, or None. Raises `PluginError` when two plugins have one."""
        [*directories] = self._contributions("hub_directory", lambda directory: directory, hub=hub)
        if len(directories) > 1:
            names = " and ".join(plugin.name for plugin, _ in directories)
            raise PluginError(f"the directory of users comes from two plugins: {names}")
        return directories[0][1] if directories else None

    def _routes_and_panels(self, hub: Hub) -> tuple[list[Route | SocketRoute], list[Panel]]:
        """Return the routes and panels of all plugins. Raises `PluginError`.

        A third party's plugin with a broken panel is left out, and so are those whose panels name its routes.
        """

        def key(route: Route | SocketRoute) -> str:
            return f"{getattr(route, 'method', 'WebSocket')} {route.path}"

        contributed: list[tuple[Plugin, Route | SocketRoute]]
        contributed = self._unique("hub_routes", (Route, SocketRoute), key, hub=hub)
        panels = list(self._items("hub_panels", (Panel,), hub=hub))
        permissions = {permission.id for permission in self.permissions}
        while True:
            routes = _items_of(contributed)
            by_path = {(route.method, route.path): route for route in routes if isinstance(route, Route)}
            broken = _broken_panel(panels, by_path, permissions)
            if broken is None:
                return routes, _items_of(panels)
            plugin, problem = broken
            if plugin.built_in:
                raise PluginError(problem)
            self._record(plugin, FailureKind.UNUSABLE, problem)

    def _compile(self) -> tuple[Filter, ...]:
        """Compile what is called per value into plain calls: subscribe `hub_event`, return the write filters."""
        for plugin, fn, _ in self._implementations("hub_event"):
            self._owners[fn] = plugin
            for fact in _facts_of(plugin, fn):
                self._bus.subscribe(fact, fn)
        self._authorizers = tuple(self._implementations("hub_authorize"))
        filters = []
        for plugin, fn, names in self._implementations("hub_filter_write"):
            compiled = fn if names == ("device", "datastream", "value") else _by_name(fn, names)
            self._owners[compiled] = plugin
            filters.append(compiled)
        return tuple(filters)

    # -- questions and records ------------------------------------------------------------------------------------

    async def authenticate(self, hub: Hub, credentials: Credentials) -> Principal | None:
        """Return the first principal that a plugin knows, or None. Raises `NotAuthenticated` when a plugin says why."""
        arguments = {"hub": hub, "credentials": credentials}
        principal: Principal | None = await self._first_result("hub_authenticate", arguments, NotAuthenticated)
        return principal

    async def login(self, hub: Hub, token: str, hello: Hello) -> Device | None:
        """Return the device that a plugin has created for a token, or None."""

        def check(device: Any) -> None:
            if hub.tokens.device_for(token) is not device:
                raise ValueError(f"{device!r} is no device with this token")

        arguments = {"hub": hub, "token": token, "hello": hello}
        device: Device | None = await self._first_result("hub_login", arguments, check=check)
        return device

    async def _first_result(
        self,
        hook: str,
        arguments: dict[str, Any],
        passed_on: type[Exception] | tuple[()] = (),
        check: Callable[[Any], None] = lambda _result: None,
    ) -> Any:
        """Return the first result that is not None, or None.

        The failure of an implementation, also in ``check(result)``, counts as None, but for errors of ``passed_on``.
        """
        for plugin, fn, names in self._implementations(hook):
            try:
                # Every request comes through here, and `fail_after` takes longer.
                with trio.move_on_after(self._timeouts.hook) as deadline:
                    result = await fn(*(arguments[name] for name in names))
                if deadline.cancelled_caught:
                    raise trio.TooSlowError
                if result is not None:
                    check(result)
                    return result
            except passed_on:
                raise
            except Exception as error:  # noqa: BLE001 - contained
                self._hook_failed(plugin, hook, error)
        return None

    def authorize(self, hub: Hub, principal: Principal, permission: str, device: Owned | None, org: int | None) -> bool:
        """Whether at least one plugin allows it and none denies it; a plugin that fails denies."""
        arguments = {"hub": hub, "principal": principal, "permission": permission, "device": device, "org": org}
        allowed = False
        for plugin, fn, names in self._authorizers:
            try:
                answer = fn(*(arguments[name] for name in names))
            except Exception as error:  # noqa: BLE001 - contained
                self._hook_failed(plugin, "hub_authorize", error)
                return False
            if answer is False:
                return False
            allowed = allowed or answer is True
        return allowed

    async def changed(self, hub: Hub, change: Change) -> None:
        """Have every plugin record a change. Raises `Unavailable` when one could not."""
        arguments = {"hub": hub, "change": change}
        for plugin, fn, names in self._implementations("hub_changed"):
            call = fn(*(arguments[name] for name in names))
            await self._contained(plugin, "hub_changed", call, "The change was made, but could not be recorded.")
        self._bus.emit(ChangeMade(change))

    async def export_personal_data(self, user: str, asker: Principal) -> dict[str, Any]:
        """Return what each plugin stores about a user ("user 3"). Raises `Unavailable` when one could not answer."""
        answers = {}
        for plugin, data in self._personal_data:
            problem = "Not everything could be read."
            answers[plugin.name] = await self._contained(plugin, "hub_personal_data", data.export(user, asker), problem)
        return {name: answer for name, answer in answers.items() if answer is not None}

    async def erase_personal_data(self, user: str) -> None:
        """Have every plugin erase a user ("user 3"). Raises `Unavailable` when one could not."""
        for plugin, data in self._personal_data:
            problem = "They were deleted, but something of them is left."
            await self._contained(plugin, "hub_personal_data", data.erase(user), problem)

    async def _contained(self, plugin: Plugin, hook: str, call: Awaitable[T], problem: str) -> T:
        """Await a plugin's call. A failure of it is recorded, and raises `Unavailable` with ``problem``."""
        try:
            return await call
        except Exception as error:
            self._hook_failed(plugin, hook, error)
            raise Unavailable(problem) from error

    # -- running --------------------------------------------------------------------------------------------------

    async def run(self, hub: Hub, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run every plugin's `hub_start` in its own nursery; started when each has returned or failed once."""
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
        """Run a plugin until it has no tasks left, and again after a pause when it fails."""
        wait, longest = self._timeouts.restart
        reported = False
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    arguments = {"hub": hub, "nursery": nursery}
                    with trio.fail_after(self._timeouts.start):
                        await fn(*(arguments[name] for name in names))
                    plugin.set_running()
                    if not reported:
                        reported = True
                        task_status.started()
                return
            except Exception as error:
                if getattr(plugin.module, "ESSENTIAL", False):
                    raise
                cause = first_of(error)
                slow = isinstance(cause, trio.TooSlowError)
                reason = f"hub_start took more than {self._timeouts.start:.0f} s" if slow else f"died: {cause!r}"
                self._record(plugin, FailureKind.STOPPED, reason, None if slow else cause)
            if not reported:
                reported = True
                task_status.started()
            await trio.sleep(wait)
            wait = min(2 * wait, longest)

    # -- containment ----------------------------------------------------------------------------------------------

    def _hook_failed(self, plugin: Plugin, hook: str, error: BaseException) -> None:
        """Record the failure of a hook that the hub calls while the plugin runs: the plugin goes on."""
        self._record(plugin, FailureKind.HOOK, f"{hook} failed: {error!r}", error)

    def _record(self, plugin: Plugin, kind: FailureKind, reason: str, error: BaseException | None = None) -> None:
        """Record a failure, and emit `PluginFailed`.

        Each reason is logged and emitted once in `QUIET` seconds; with the traceback of an ``error`` that comes from a
        third party's code.
        """
        plugin.record(Failure(kind, reason))
        now = self._clock.monotonic()
        if now < plugin.quiet_until.get(reason, 0.0):
            return
        plugin.quiet_until = {other: until for other, until in plugin.quiet_until.items() if until > now}
        if len(plugin.quiet_until) >= MAX_REASONS:
            del plugin.quiet_until[next(iter(plugin.quiet_until))]
        plugin.quiet_until[reason] = now + QUIET
        place = _place(plugin, error)
        log.error("plugin %s (%s) %s%s", plugin.name, plugin.origin, reason, place, exc_info=error if place else None)
        self._bus.emit(PluginFailed(plugin.name, reason))

    def _filter_failed(self, fn: Filter, error: Exception) -> None:
        """Record that a write filter raised an error other than a `RequestError`."""
        self._hook_failed(self._owners[fn], "hub_filter_write", error)

    def _subscriber_failed(self, fn: Callable[..., Any], error: Exception) -> None:
        plugin = self._owners.get(fn)
        if plugin is None:
            log.error("%s failed: %r", getattr(fn, "__qualname__", fn), error, exc_info=error)
        else:
            self._hook_failed(plugin, "hub_event", error)

    def plugin_of(self, frame: types.FrameType | None) -> Plugin | None:
        """Return the third party's plugin whose code a stack is in, or None."""
        while frame is not None:
            for plugin in self.plugins.values():
                if plugin.owns(frame.f_code.co_filename) and not plugin.built_in:
                    return plugin
            frame = frame.f_back
        return None

    def blame_for_blocking(self, plugin: Plugin, reason: str) -> None:
        """Record that a plugin blocks the event loop."""
        self._record(plugin, FailureKind.BLOCKED, reason)


class _ContainedChannel:
    """A plugin's channel, whose failures are recorded: to the sender of a message they are `Unavailable`."""

    def __init__(
        self, hook_failed: Callable[[Plugin, str, BaseException], None], plugin: Plugin, channel: Channel
    ) -> None:
        self._hook_failed = hook_failed
        self._plugin = plugin
        self._channel = channel
        self.name = channel.name

    def accepts(self, message: Message) -> bool:
        try:
            return self._channel.accepts(message)
        except Exception as error:  # noqa: BLE001 - contained
            self._hook_failed(self._plugin, "hub_channels", error)
            return False

    async def send(self, message: Message) -> None:
        try:
            await self._channel.send(message)
        except HubError:
            raise
        except Exception as error:
            self._hook_failed(self._plugin, "hub_channels", error)
            raise Unavailable(f"The channel {self.name} has failed; the message was not sent.") from error


def _describe_error(error: Exception) -> str:
    """An error on one line; a syntax error with its file and line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name} line {error.lineno}: {error.msg}"
    return repr(error)


def _items_of(contributed: Iterable[tuple[Plugin, T]]) -> list[T]:
    """Return the contributions of plugins that have not failed meanwhile."""
    return [item for plugin, item in contributed if plugin.state != "failed"]


def _broken_panel(
    panels: Iterable[tuple[Plugin, Panel]], routes: Mapping[tuple[str, str], Route], permissions: Container[str]
) -> tuple[Plugin, str] | None:
    """Return the first plugin with a broken panel, and what is wrong; None when all panels can be drawn."""
    owners: dict[str, Plugin] = {}
    for plugin, panel in panels:
        if plugin.state == "failed":
            continue
        problem: str | None
        if other := owners.get(panel.id):
            problem = f"there is another panel with this id, of plugin {other.name}"
        else:
            problem = problem_of(panel, routes, permissions)
        if problem is not None:
            return plugin, f"plugin {plugin.name}: panel {panel.id}: {problem}"
        owners[panel.id] = plugin
    return None


def _place(plugin: Plugin, error: BaseException | None) -> str:
    """The file and line of a third party's plugin that an error comes from, as the end of a sentence, or ""."""
    if error is None or plugin.built_in:
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if plugin.owns(frame.filename)]
    return f" ({Path(frames[-1].filename).name} line {frames[-1].lineno})" if frames else ""


def _settings_class(cls: Any) -> type:
    if not attrs.has(cls):
        raise TypeError(f"{cls!r} is no attrs class")
    return cls


def _by_name(fn: Callable[..., Any], names: tuple[str, ...]) -> Filter:
    def call(device: Any, datastream: Any, value: Any) -> Any:
        arguments = {"device": device, "datastream": datastream, "value": value}
        return fn(*(arguments[name] for name in names))

    return call


def _facts_of(plugin: Plugin, fn: Callable[..., Any]) -> Sequence[type[Fact]]:
    """The facts that an implementation of `hub_event` subscribes to, from its annotation. Raises `PluginError`."""
    try:
        annotation = typing.get_type_hints(fn).get("event")
    except Exception as error:
        raise PluginError(f"plugin {plugin.name}: hub_event: {error}") from error
    kinds = typing.get_args(annotation) or (annotation,)
    if not all(isinstance(kind, type) and issubclass(kind, Fact) and kind is not Fact for kind in kinds):
        raise PluginError(f"plugin {plugin.name}: hub_event: annotate event with a fact, such as ValueWritten")
    return kinds
