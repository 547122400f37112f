"""class Hub: wires the rooms together, starts and stops them, and is what plugins and connectors get in hand."""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from hub.alarms import Alarm, Alarms
from hub.api.bodies import Bodies
from hub.api.execution import Requests
from hub.api.routes import OPEN, VIEW_DEVICES, Permission, Request, Route, SocketRoute
from hub.bus import Bus
from hub.clock import Clock
from hub.config import Config
from hub.datadir import write_whole
from hub.domain.clock_repair import ClockRepairs
from hub.domain.devices import Devices
from hub.domain.display import Display
from hub.domain.lifecycle import Lifecycles
from hub.domain.metadata import Metadata
from hub.domain.organizations import Organizations, template_not_enabled
from hub.domain.properties import Properties
from hub.domain.timeline import Timeline
from hub.domain.tokens import Tokens
from hub.domain.value_timeouts import ValueTimeouts
from hub.errors import Forbidden, NotAuthenticated, NotFound, Rejected, StartupError, StorageError, TooMany, Unavailable
from hub.facts import ClockRepaired, Fact, Refused, StorageTrouble
from hub.history import History, Receipt
from hub.hooks import Hooks, Plugin
from hub.logs import ThrottledLog
from hub.model import LOCAL, SOMEBODY, SYSTEM, Command, Device, Organization, Owned, Principal, Template
from hub.net.links import link
from hub.net.listener import Listener
from hub.net.tls import Certificates, local_names
from hub.net.wire import WireProtocol
from hub.rate_limits import DailyQuota, TokenBucket
from hub.sessions import Sessions
from hub.spellings import shown
from hub.storage import Storage, Transaction, open_storage
from hub.structuring import seconds
from hub.templates.store import Templates
from hub.watchdog import Watchdog
from hub.writes import Write, Writes

log = logging.getLogger(__name__)

#: A query in order; a key without ``=`` has None.
Pairs = list[tuple[str, str | None]]
F = TypeVar("F", bound=Fact)
R = TypeVar("R")

#: Seconds between two looks at the clock and the disk.
LOOK_EVERY = 10.0
#: Below this share of free space the disk is low.
LOW_DISK = 0.10
#: Seconds that connections get at a stop to finish what they are answering.
DRAIN = 2.0
#: Refusals kept for `pinwheel device watch --refused`, and seconds in which the same one is not logged again; also how
#: many different ones are logged in that time.
REFUSALS = 1_000
REFUSAL_QUIET = 60.0
UNKNOWN_PIN_QUIET = 3600.0
#: Characters of a reason: part of it may come from outside.
MAX_REASON = 300


@attrs.frozen
class Credentials:
    """What somebody presents: ``kind`` is "bearer", "client" for a program's id and secret, or a plugin's own word."""

    kind: str
    secret: str = attrs.field(repr=False)
    address: str = ""
    #: The name that goes with the secret, where there is one.
    name: str = ""


class Hub:
    """Made by `running`; everything a plugin may use is a public attribute or method."""

    def __init__(self, config: Config, storage: Storage, hooks: Hooks, bus: Bus, clock: Clock) -> None:
        self.config = config
        self.version = version("pinwheel-hub")
        self.started = time.monotonic()
        self.clock = clock
        self.bus = bus
        self.hooks = hooks
        self.storage = storage
        self.alarms = Alarms(bus, clock)
        self.certificates: Certificates | None = None
        self.listener: Listener | None = None
        retain_ms = int(seconds(config.storage.retain_raw) * 1000)
        self.history = History(
            storage,
            clock,
            # The devices need the history first.
            policies=lambda series: self.devices.policy(series),  # noqa: PLW0108
            flush=seconds(config.storage.flush),
            on_fault=self._storage_trouble,
        )
        self.organizations = Organizations(storage, bus, config.limits)
        self.sessions = Sessions(bus, clock)
        self.tokens = Tokens(storage, bus, clock, self.sessions)
        self.devices = Devices(
            storage,
            bus,
            clock,
            self.history,
            self.sessions,
            self.tokens,
            retain_ms,
            self.timezone_of,
            self.organizations,
            config.limits.devices,
        )
        self.bodies = Bodies()
        self.templates = Templates(storage, bus, clock, self.devices, config.limits, self.bodies)
        self.devices.newest_template = self.templates.get
        self.value_timeouts = ValueTimeouts(bus, clock, self.devices.by_series)
        self.writes = Writes(clock, self.history, self.sessions, bus, self.devices.retention, self.value_timeouts)
        self.timeline = Timeline(storage, bus, clock, config.limits.events_per_day)
        self.lifecycle = Lifecycles(storage, bus, clock, self.devices, self.timeline, config.limits.events_per_day)
        self.metadata = Metadata(storage, bus, self.sessions, clock)
        self.properties = Properties(storage, bus)
        self.display = Display(self.organizations, self.metadata)
        self.permissions: list[Permission] = []
        self.routes: list[Route | SocketRoute] = []
        self.protocols: list[WireProtocol] = []
        #: What "user 3" is called and in which organization, by kind: set by the plugin that knows.
        self.names: dict[str, Callable[[str], tuple[str, int] | None]] = {}
        #: The id and the organization of the user with an address: set by the plugin that knows.
        self.user_of: Callable[[str], tuple[int, int] | None] = lambda _: None
        #: Writes a backup into a file, and says how far it is: set by the plugin that makes backups.
        self.make_backup: Callable[[Path, Callable[[int, int], None]], Awaitable[None]] = _no_backup
        self.clock_repairs = ClockRepairs(self)
        self.refusals: deque[Refused] = deque(maxlen=REFUSALS)
        self.refused = 0
        self._refusal_log = ThrottledLog(log, REFUSALS, REFUSAL_QUIET)
        self._doubts_kept = 0
        self._local_key = ""
        self._services: dict[Any, Any] = {}
        self._budgets: dict[int, TokenBucket] = {}
        self.requests = Requests(self)
        self.subscribe(ClockRepaired, self._clock_repaired)
        self.imports = DailyQuota(config.limits.import_points_per_day)
        self.exports = DailyQuota(config.limits.exports_per_day)

    # -- what plugins and connectors use --------------------------------------------------------------------------

    def subscribe(self, fact: type[F], fn: Callable[[F], None], device: int | None = None) -> Callable[[], None]:
        """See `Bus.subscribe`."""
        return self.bus.subscribe(fact, fn, device)

    def emit(self, fact: Fact) -> None:
        """Tell everybody who subscribed."""
        self.bus.emit(fact)

    def write(self, write: Write) -> Receipt:
        """See `Writes.write`."""
        return self.writes.write(write)

    def command(self, device: Device, command: Command) -> None:
        """See `Sessions.command`."""
        self.sessions.command(device, command)

    def service(self, cls: Callable[[Hub], R]) -> R:
        """What a plugin keeps for this hub, made when it is first asked for."""
        if cls not in self._services:
            self._services[cls] = cls(self)
        found: R = self._services[cls]
        return found

    def settings(self, cls: type[Any]) -> Any:
        """The calling plugin's table from the configuration, given the class it returned from `hub_config`."""
        return self.hooks.settings(cls)

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Who it is. Raises `NotAuthenticated`."""
        key, secret = self._local_key, credentials.secret.encode("utf-8", "surrogatepass")
        if credentials.kind == "bearer" and key and hmac.compare_digest(secret, key.encode()):
            return LOCAL
        principal = await self.hooks.authenticate(self, credentials)
        if principal is None:
            raise NotAuthenticated("The bearer token is not known.")
        return principal

    def may(self, principal: Principal, permission: str, device: Owned | None = None, org: int | None = None) -> bool:
        """Whether somebody may do what a permission names, on a device or in an organization."""
        if permission in OPEN or principal.kind in ("local", "system"):
            return True
        return self.hooks.authorize(self, principal, permission, device, org if device is None else device.org)

    def authorize(
        self, principal: Principal, permission: str, device: Device | None = None, org: int | None = None
    ) -> None:
        """Return when ``principal`` may. Raises `Forbidden`."""
        if not self.may(principal, permission, device, org):
            raise Forbidden(f"This needs the permission {permission}.")

    def device_for(self, request: Request, number: int) -> Device:
        """The device that a request is about, on which it may do what its route does.

        Raises `Forbidden`; `NotFound` also for one that whoever asks may not see.
        """
        device = self.devices.get(number)
        if not self.may(request.principal, request.permission, device):
            if not self.may(request.principal, VIEW_DEVICES, device):
                raise self.devices.not_found(number)
            raise Forbidden(f"This needs the permission {request.permission}.")
        request.subject, request.org = f"device {device.id}", device.org
        return device

    def organization_for(self, request: Request, number: int | None = None) -> Organization:
        """The organization that a request is about, by default the one its asker acts in. Raises as `device_for`."""
        org = self.organizations.get(request.principal.org if number is None else number)
        if not self.may(request.principal, request.permission, org=org.id):
            raise self.organizations.not_found(org.id)
        request.org = org.id
        return org

    def template_for(self, request: Request, org: Organization, template: str) -> Template:
        """A template for a new device of an organization.

        Raises `Conflict` for one that is not enabled there when the asker may see it in the organization that they act
        in, else `NotFound`: nobody learns of templates that are not theirs.
        """
        try:
            return self.templates.for_org(org, template)
        except NotFound:
            found, own = self.templates.by_id.get(template), self.organizations.get(request.principal.org)
            if found is None or not own.has(found) or not self.may(request.principal, "templates.view", org=own.id):
                raise
        raise template_not_enabled(found, org)

    def devices_for(self, principal: Principal, permission: str, top: int | None = None) -> list[Device]:
        """All devices on which somebody may do what a permission names, of an organization and those below it."""
        orgs = self.organizations.below(principal.org if top is None else top)
        found = (device for org in orgs for device in self.devices.by_org.get(org, {}).values())
        return self.allowed(principal, permission, found)

    def allowed(self, principal: Principal, permission: str, devices: Iterable[Device]) -> list[Device]:
        """Those of some devices on which somebody may do what a permission names."""
        known: dict[tuple[int, int | None], bool] = {}
        found = []
        for device in devices:
            key = (device.org, device.owner)
            may = known.get(key)
            if may is None:
                may = known[key] = self.may(principal, permission, device)
            if may:
                found.append(device)
        return found

    def link(self, path: str, request: Request | None) -> str:
        """See `hub.net.links.link`."""
        return link(path, request, self.config, self.listener)

    async def execute(self, route: Route, request: Request) -> Any:
        """See `Requests.execute`."""
        return await self.requests.execute(route, request)

    def timezone_of(self, device: Device) -> str:
        """Where a device is: what its Location says, else its Time Zone, else where its organization is."""
        own = device.place_timezone or device.own_timezone
        return own or self.organizations.timezone(device.org) or self.config.hub.timezone

    def name_of(self, who: str, asker: Principal) -> str:
        """What somebody ("user 3") is called, as far as it is the asker's business; they may be gone by now."""
        for one in (LOCAL, SYSTEM):
            if who == one.who:
                return one.label
        kind, _, number = who.partition(" ")
        found = self.names[kind](number) if kind in self.names else None
        if found is None:
            return who
        name, org = found
        known = asker.kind in ("local", "system") or self.organizations.contains(asker.org, org)
        return name if known else SOMEBODY

    def refuse(self, address: str, reason: str, device: int | None = None, quiet: float = REFUSAL_QUIET) -> None:
        """Put down that somebody was turned away, or something of theirs.

        The log has a line for it, once in ``quiet`` seconds for the same address and reason. Of too many at once it has
        how many they were.
        """
        reason = shown(reason[:MAX_REASON])
        fact = Refused(self.clock.now(), address, reason, device)
        self.refused += 1
        is_new = self._refusal_log.emit(f"refused: {address} {reason}", quiet)
        if quiet <= REFUSAL_QUIET or is_new:
            # What a device does again and again must not push everybody else out of the list.
            self.refusals.append(fact)
        self.bus.emit(fact)

    def device_of(self, request: Request) -> tuple[Device, Pairs]:
        """Whose token a request has as ``token``, and its other parameters; it is taken from the device's budget.

        Raises `Rejected` in the words of docs.blynk.io, `TooMany`.
        """
        pairs = request.pairs
        if request.device is None:
            request.device = self._admit_device(request, pairs)
        return request.device, [(key, value) for key, value in pairs if key != "token"]

    def _admit_device(self, request: Request, pairs: Pairs) -> Device:
        token = next((value for key, value in pairs if key == "token"), None)
        if not token:
            raise Rejected("No token provided.")
        device = self.tokens.device_for(token)
        if device is None:
            self.refuse(request.address, f"unknown token ending …{ascii(token[-2:])[1:-1]} over HTTP")
            raise Rejected("Invalid token.")
        budget = self.budget(device, time.monotonic())
        if not budget.take():
            message = f"device {device.name} sends more than {self.config.limits.messages_per_second} requests/s"
            self.refuse(request.address, message, device.id)
            raise TooMany("Too many requests for this device.", budget.wait)
        return device

    def take(self, limit: DailyQuota, device: Device, count: int, what: str) -> None:
        """Count against what a device may do in a day. Raises `TooMany`, and puts it down."""
        if (wait := limit.take(device.id, count, self.clock.now())) is not None:
            message = f"at most {limit.limit} {what} a day"
            self.refuse("hub", f"device {device.name}: {message}", device.id)
            raise TooMany(f"A device has {message}.", wait)

    def budget(self, device: Device, now: float) -> TokenBucket:
        """What a device may still send, over whatever connections; refilled to ``now``, by the monotonic clock."""
        limits = self.config.limits
        budget = self._budgets.get(device.id)
        if budget is None:
            budget = self._budgets[device.id] = TokenBucket(limits.messages_per_second, limits.burst, now)
        budget.refill(now)
        return budget

    def unknown_pin(self, device: Device, pin: int, address: str) -> None:
        """Put down that a device wrote to a pin that its template does not have, and what would add it."""
        reason = (
            f"device {device.name}: template {device.template.id} has no V{pin}; to add it:"
            f' [[datastream]] / pin = "V{pin}" / name = "V{pin}" / type = "double"'
        )
        self.refuse(address, reason, device.id, quiet=UNKNOWN_PIN_QUIET)

    async def storage_costs(self) -> list[tuple[str, int, str, int]]:
        """(template, pin, name, bytes a month over all its devices) of every datastream, the dearest first."""
        total: dict[tuple[str, int, str], float] = {}
        for series, size in (await self.history.retention.costs()).items():
            if point := self.devices.by_series.get(series):
                stream = point.datastream
                key = (point.device.template.id, stream.pin, stream.name)
                total[key] = total.get(key, 0.0) + size
        return [(*key, round(size)) for key, size in sorted(total.items(), key=lambda item: -item[1])]

    def problems(self) -> list[Alarm]:
        """What is wrong at the moment; whatever began or ended since the last look is said."""
        self._look_around()
        return list(self.alarms)

    def _look_around(self) -> None:
        alarm, storage, clock = self.alarms.set, self.storage, self.clock
        trouble = self.history.fault
        alarm("writes", None if trouble is None else f"values cannot be written: {trouble}", critical=True)
        free = storage.free_share()
        alarm("disk", f"the disk is low: {free:.0%} free" if free is not None and free < LOW_DISK else None)
        aside = storage.set_aside
        alarm("history", None if aside is None else f"a damaged history file was put aside as {aside}")
        chunks = self.history.retention.damaged
        alarm("chunks", f"{chunks} damaged chunks of history were put aside" if chunks else None)
        alarm("clock", clock.problem, said=True)
        if (certificates := self.certificates) is not None:
            days = certificates.days_left()
            text = f"the TLS certificate {certificates.validity()}" if days < 30 else None
            alarm("certificate", text, critical=days < 1)
        for name, plugin in self.hooks.plugins.items():
            troubles = "; ".join(plugin.troubles)
            alarm(f"plugin {name}", f"plugin {name}: {troubles}" if troubles else None, said=True)

    # -- starting and stopping ------------------------------------------------------------------------------------

    async def _load(self) -> None:
        await self.organizations.load(self.config.hub.name)
        await self.templates.load()
        await self.devices.load(self.templates.for_device)
        # Before anybody asks what time it is.
        self.clock.not_before(max((device.created for device in self.devices.by_id.values()), default=0))
        await self.metadata.load(self.devices.by_id)
        await self.properties.load()
        await self.clock_repairs.resume()
        self.clock.not_before(await self.history.load(self.devices.by_series))
        self.devices.drop_cleared()
        self.clock.now()
        self.value_timeouts.start(self.history.latest)
        self._local_key = _local_key(self.config.data / "local.key")
        self.permissions = self.hooks.permissions()
        self.routes = self.hooks.routes(self)
        self.writes.filters = self.hooks.compile()
        self.writes.on_filter_failure = self.hooks.filter_failed

    def _open_door(self) -> Listener:
        if any(listen.tls != "off" for listen in self.config.listen):
            self.certificates = Certificates(self.config.tls, self.config.data, local_names(self.config.hub.url))
        self.protocols = self.hooks.protocols(self)
        door = self.listener = Listener(self.config, self.certificates, self.protocols, self.refuse)
        # First, so that a hub whose port is taken leaves no certificate authority behind.
        door.bind()
        try:
            if self.certificates is not None:
                self.certificates.load()
        except BaseException:
            door.close()
            raise
        return door

    async def _look(self) -> None:
        while True:
            self.clock.check()
            with suppress(StorageError):
                await self.keep_doubts()
            self.tokens.close_expired_sessions()
            self._refusal_log.summarize("refused")
            self._look_around()
            self.history.roll_hour(self.clock.now())
            if self.clock.believable:
                with suppress(StorageError):
                    await self.timeline.prune(self.clock.now() - int(seconds(self.config.storage.retain_events) * 1000))
            await trio.sleep(LOOK_EVERY)

    async def keep_doubts(self) -> None:
        """Write down which stamps were given while the wall clock was not believed. Raises `StorageError`."""
        rows = [(one.began, one.state.value, one.wall, one.ended) for one in self.clock.doubts[self._doubts_kept :]]
        if not rows:
            return

        async def write(tx: Transaction) -> None:
            await tx.insert_many("clock_doubts", ("began", "state", "wall", "ended"), rows, replace=True)

        await self.storage.transaction(write)
        # The last one is written again when it has ended.
        self._doubts_kept = len(self.clock.doubts) - (rows[-1][-1] is None)

    def _clock_repaired(self, fact: ClockRepaired) -> None:
        corrected = fact.correction.corrected
        for number, device in self.devices.by_id.items():
            if fact.correction.is_about(number):
                for name in ("created", "activated", "status_at", "away", "connected", "disconnected"):
                    if (at := getattr(device, name)) is not None:
                        setattr(device, name, corrected(at))
        self.tokens.correct_stamps(fact.correction)
        self.timeline.correct_stamps(fact.correction)
        if fact.correction.is_about(None):
            self.requests.correct_stamps(fact.correction)
            refusals = [attrs.evolve(refusal, at=corrected(refusal.at)) for refusal in self.refusals]
            self.refusals = deque(refusals, maxlen=REFUSALS)

    def _storage_trouble(self, problem: str | None) -> None:
        self._look_around()
        self.bus.emit(StorageTrouble(problem))


@asynccontextmanager
async def running(
    config: Config,
    *,
    listen: bool = True,
    safe: bool = False,
    clock: Clock | None = None,
    plugins: tuple[Any, ...] = (),
) -> AsyncIterator[Hub]:
    """A hub for the length of the block: with its listeners, or without. ``plugins`` are modules to load besides.

    Raises `StartupError`. Leaving the block answers what is owed, writes what was put, and closes the files.
    """
    bus = Bus()
    hooks = Hooks(bus)
    hooks.discover(config, safe)
    for module in plugins:
        if all(plugin.module is not module for plugin in hooks.plugins.values()):
            hooks.register(Plugin(module.__name__.rpartition(".")[2], "test", module=module))
    async with open_storage(config.data, hooks.migrations(), config.storage.durability) as storage:
        hub = Hub(config, storage, hooks, bus, clock or Clock())
        await hub._load()  # noqa: SLF001
        door = hub._open_door() if listen else None  # noqa: SLF001
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hub.history.run)
                nursery.start_soon(hub._look)  # noqa: SLF001
                nursery.start_soon(hub.value_timeouts.run)
                nursery.start_soon(hub.clock_repairs.run)
                nursery.start_soon(Watchdog(hooks).run)
                await nursery.start(hooks.run, hub)
                if door is not None:
                    # Without a door no device can come back.
                    hub.lifecycle.start()
                    nursery.start_soon(hub.lifecycle.run)
                    nursery.start_soon(door.run)
                    nursery.start_soon(hub.history.check)
                if hub.certificates is not None:
                    nursery.start_soon(hub.certificates.watch)
                try:
                    yield hub
                finally:
                    hub.lifecycle.stop()
                    if door is not None:
                        with trio.CancelScope(shield=True):
                            await door.drain(DRAIN)
                    nursery.cancel_scope.cancel()
        finally:
            if door is not None:
                door.close()
            with trio.CancelScope(shield=True):
                await hub.lifecycle.close()
                await hub.history.close()


@asynccontextmanager
async def announced(hub: Hub) -> AsyncIterator[dict[str, Any]]:
    """Keep ``<data>/hub.json``, which tells commands and scripts where the hub listens, for the length of the block.

    Yields the object in the file.

    On a full disk it is written as soon as there is room; devices do not wait for that.
    """
    assert hub.listener is not None
    path = hub.config.data / "hub.json"
    state = {"pid": os.getpid(), "version": hub.version, "listen": hub.listener.described()}
    content = json.dumps(state).encode()

    def is_written() -> bool:
        try:
            write_whole(path, content)
        except OSError as error:
            # One of an earlier run would lead astray.
            path.unlink(missing_ok=True)
            hub.alarms.set("hub.json", f"{path} cannot be written, and commands need it: {error.strerror}")
            return False
        hub.alarms.set("hub.json", None)
        return True

    async def write_later() -> None:
        while True:
            await trio.sleep(LOOK_EVERY)
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


async def _no_backup(_path: Path, _progress: Callable[[int, int], None]) -> None:
    raise Unavailable("no plugin makes backups ([plugins.backup] enabled)")


def _local_key(path: Path) -> str:
    """The key of the command on this machine; made at the first start. Raises `StartupError`."""
    try:
        if not path.exists() or not path.stat().st_size:
            write_whole(path, secrets.token_urlsafe(32).encode())
        return path.read_text().strip()
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from error
