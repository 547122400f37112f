"""The hub: its services, who may use them, and how it is doing. Plugins and connectors get a `Hub` as an argument.

`hub.run` makes, starts and stops it.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hub.api.access import Access
from hub.api.bodies import Bodies
from hub.api.execution import RouteExecutor
from hub.api.links import link
from hub.api.messages import Request
from hub.api.panels import Panel
from hub.api.routes import OPEN, Permission, Route, SocketRoute
from hub.bus import Bus
from hub.clock import Clock
from hub.config import Config
from hub.datadir.blobs import Blobs
from hub.domain.alarms import Alarm, Alarms
from hub.domain.clock_doubts import ClockDoubts
from hub.domain.clock_repair import BackupMaker, ClockRepairs
from hub.domain.connection_lifecycle import Lifecycles
from hub.domain.device_query import DeviceAttributes, QueryCompiler
from hub.domain.devices import Devices
from hub.domain.directory import Directory
from hub.domain.display import Display
from hub.domain.messages import Messages
from hub.domain.metadata import Metadata
from hub.domain.organizations import Organizations
from hub.domain.properties import Properties
from hub.domain.rejections import Rejections
from hub.domain.segments import Segments
from hub.domain.timeline import Timeline
from hub.domain.tokens import Tokens, is_token
from hub.domain.value_timeouts import ValueTimeouts
from hub.errors import Forbidden, NotAuthenticated, TooMany, Unavailable
from hub.facts import ClockRepaired, Fact, StorageTrouble
from hub.history import History, Receipt
from hub.history.timeouts import HistoryTimeouts
from hub.model import LOCAL, REDACTED_NAME, SYSTEM, Change, Command, Credentials, Device, Hello, Owned, Principal
from hub.net.certificates import Certificates, local_names
from hub.net.listener import Listener
from hub.net.timeouts import NetTimeouts
from hub.net.wire import WireProtocol
from hub.parsing.spellings import strip_padding
from hub.parsing.structuring import seconds
from hub.plugin import Plugin
from hub.rate_limits import DailyQuota, TokenBucket
from hub.sessions import Sessions
from hub.slices import SliceRunner
from hub.storage import Storage
from hub.storage.stamp_correction import StampColumns
from hub.templates.store import Templates
from hub.timeouts import Timeouts
from hub.uplinks import Uplinks
from hub.writes import Write, Writes

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Fact)
R = TypeVar("R")

#: The free share of the disk below which there is an alarm.
LOW_DISK = 0.10
#: Days before a certificate expires in which there is an alarm.
CERTIFICATE_DAYS = 30
#: Seconds in which a device's write to the same unknown pin is not logged again.
UNKNOWN_PIN_QUIET = 3600.0


class Hooks(Protocol):
    """The plugins' hooks, as far as the hub calls them itself; `hub.hooks` implements it."""

    plugins: dict[str, Plugin]
    permissions: list[Permission]
    routes: list[Route | SocketRoute]
    panels: list[Panel]
    protocols: list[WireProtocol]

    def settings(self, cls: type[Any]) -> Any: ...

    async def authenticate(self, hub: Hub, credentials: Credentials) -> Principal | None: ...

    async def login(self, hub: Hub, token: str, hello: Hello) -> Device | None: ...

    def authorize(
        self, hub: Hub, principal: Principal, permission: str, device: Owned | None, org: int | None
    ) -> bool: ...

    async def changed(self, hub: Hub, change: Change) -> None: ...

    async def export_personal_data(self, user: str, asker: Principal) -> dict[str, Any]: ...

    async def erase_personal_data(self, user: str) -> None: ...

    def stamps(self, hub: Hub) -> list[StampColumns]: ...


class Hub:
    """The services of a running hub. Every public attribute and method is there for plugins and connectors."""

    def __init__(
        self,
        config: Config,
        storage: Storage,
        hooks: Hooks,
        bus: Bus,
        clock: Clock,
        timeouts: Timeouts,
        local_key: str,
    ) -> None:
        self.config = config
        self.version = version("pinwheel-hub")
        self.clock = clock
        self.timeouts = timeouts
        #: When the hub started, by the monotonic clock.
        self.started = clock.monotonic()
        self.bus = bus
        self.storage = storage
        self.blobs = Blobs(config.data)
        self.plugins = hooks.plugins
        self._hooks = hooks
        self._local_key = local_key.encode()
        self.alarms = Alarms(bus, clock)
        self.rejections = Rejections(bus, clock)
        self.reject = self.rejections.record
        self.certificates: Certificates | None = None
        self.listener: Listener | None = None
        self.history = History(
            storage,
            clock,
            # The devices need the history first.
            policies=lambda series: self.devices.policy(series),  # noqa: PLW0108
            flush=seconds(config.storage.flush),
            timeouts=timeouts.of(HistoryTimeouts),
            on_fault=self._storage_trouble,
            on_erased=lambda series: self.devices.forget_series(series),  # noqa: PLW0108
        )
        self.directory = Directory()
        self.messages = Messages()
        self.organizations = Organizations(storage, bus, clock, config.limits)
        self.organizations.add_usage_counter("users", self.directory.count_by_organization)
        self.sessions = Sessions(bus, clock)
        self.tokens = Tokens(storage, bus, clock, self.sessions)
        self.devices = Devices(
            storage,
            bus,
            clock,
            self.history,
            self.sessions,
            self.tokens,
            int(seconds(config.storage.retain_raw) * 1000),
            self.timezone_of,
            self.organizations,
            self.directory,
            # The templates need the devices first.
            newest_template=lambda template_id: self.templates.get(template_id),  # noqa: PLW0108
            limit=config.limits.devices,
        )
        self.bodies = Bodies()
        self.templates = Templates(storage, bus, clock, self.devices, config.limits, self.bodies.decode)
        self.value_timeouts = ValueTimeouts(
            bus,
            clock,
            self.devices.by_series,
            # The writes need the timeouts first.
            restore=lambda point, value: self.writes.restore(point, value),  # noqa: PLW0108
        )
        self.writes = Writes(clock, self.history, self.sessions, bus, self.devices.retention, self.value_timeouts)
        self.timeline = Timeline(storage, bus, clock, config.limits.events_per_day)
        self.lifecycle = Lifecycles(storage, bus, clock, self.devices, self.timeline, config.limits.events_per_day)
        self.metadata = Metadata(storage, bus, self.sessions, clock, self.directory)
        self.properties = Properties(storage, bus)
        self.imports = DailyQuota(config.limits.import_points_per_day)
        self.uplinks = Uplinks(
            clock,
            self.writes,
            self.sessions,
            self.devices,
            self.lifecycle,
            self.metadata,
            self.properties,
            self.timeline,
            self.imports,
            self.take_quota,
            self.reject,
            self.reject_unknown_pin,
        )
        #: For computations that would block the event loop for milliseconds.
        self.slices = SliceRunner()
        self.display = Display(self.organizations, self.metadata, self.directory, self.slices)
        self.clock_doubts = ClockDoubts(storage, clock)
        self.clock_repairs = ClockRepairs(self)
        self.access = Access(
            self.is_allowed,
            self.organizations,
            self.devices,
            self.templates,
            self.login,
            self.reject,
            self.take_message,
        )
        self.device_queries = QueryCompiler(
            storage,
            bus,
            self.devices,
            self.organizations,
            self.tokens,
            self.lifecycle,
            DeviceAttributes(self.directory, self.is_allowed, self.name_of, self.writes.current),
            self.writes.last_reported,
            self.metadata.hidden_from,
            self.slices,
        )
        self.segments = Segments(
            storage,
            bus,
            self.organizations,
            self.device_queries,
            self.is_allowed,
        )
        self.executor = RouteExecutor(
            storage, clock, config.limits.api_requests_per_minute, self.authorize, self.reject, self.record_change
        )
        self.exports = DailyQuota(config.limits.exports_per_day)
        self._services: dict[Any, Any] = {}
        self._budgets: dict[int, TokenBucket] = {}
        self.subscribe(ClockRepaired, self._clock_repaired)

    # -- plugins --------------------------------------------------------------------------------------------------

    def subscribe(self, fact: type[F], fn: Callable[[F], None], device: int | None = None) -> Callable[[], None]:
        """See `Bus.subscribe`."""
        return self.bus.subscribe(fact, fn, device)

    def emit(self, fact: Fact) -> None:
        """Call every subscriber of the fact."""
        self.bus.emit(fact)

    def write(self, write: Write) -> Receipt:
        """See `Writes.write`."""
        return self.writes.write(write)

    def command(self, device: Device, command: Command) -> None:
        """See `Sessions.command`."""
        self.sessions.command(device, command)

    def service(self, cls: Callable[[Hub], R]) -> R:
        """Return the hub's only instance of a plugin's class, made at the first call."""
        if cls not in self._services:
            self._services[cls] = cls(self)
        instance: R = self._services[cls]
        return instance

    def provide(self, cls: Any, instance: Any) -> None:
        """Provide ``instance`` as the hub's service of a class that the core declares: `BackupMaker`."""
        self._services[cls] = instance

    async def make_backup(self, path: Path, progress: Callable[[int, int], None]) -> None:
        """Make a backup with the plugin that provides a `BackupMaker`. Raises `Unavailable` without one."""
        maker = self._services.get(BackupMaker)
        if maker is None:
            raise Unavailable("no plugin makes backups ([plugins.backup] enabled)")
        await maker.make(path, progress)

    @property
    def last_backup(self) -> int | None:
        """When the last complete backup was made, in ms UTC; None without one, or without a plugin that makes any."""
        maker: BackupMaker | None = self._services.get(BackupMaker)
        return None if maker is None else maker.last_backup

    @property
    def permissions(self) -> list[Permission]:
        """The permissions of all plugins."""
        return self._hooks.permissions

    @property
    def routes(self) -> list[Route | SocketRoute]:
        """The routes of all plugins."""
        return self._hooks.routes

    @property
    def panels(self) -> list[Panel]:
        """The panels of all plugins."""
        return self._hooks.panels

    @property
    def protocols(self) -> list[WireProtocol]:
        """The protocols of all plugins, if the hub listens."""
        return self._hooks.protocols

    def settings(self, cls: type[Any]) -> Any:
        """Return the plugin's table of the configuration as ``cls``, the class that its `hub_config` returned."""
        return self._hooks.settings(cls)

    async def record_change(self, change: Change) -> None:
        """Have every plugin record a change. Raises `Unavailable` when one could not."""
        await self._hooks.changed(self, change)

    async def export_personal_data(self, user: str, asker: Principal) -> dict[str, Any]:
        """Return what each plugin stores about a user ("user 3"). Raises `Unavailable` when one could not answer."""
        return await self._hooks.export_personal_data(user, asker)

    async def erase_personal_data(self, user: str) -> None:
        """Have every plugin erase a user ("user 3"). Raises `Unavailable` when one could not."""
        await self._hooks.erase_personal_data(user)

    def stamp_columns(self) -> Sequence[StampColumns]:
        """Return the columns of the plugins' tables that hold times."""
        return self._hooks.stamps(self)

    # -- rights ---------------------------------------------------------------------------------------------------

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Return the principal whose credentials these are. Raises `NotAuthenticated`."""
        secret = credentials.secret.encode("utf-8", "surrogatepass")
        if credentials.kind == "bearer" and self._local_key and hmac.compare_digest(secret, self._local_key):
            return LOCAL
        principal = await self.find_principal(credentials)
        if principal is None:
            raise NotAuthenticated("The bearer token is not known.")
        return principal

    async def find_principal(self, credentials: Credentials) -> Principal | None:
        """Return the principal that a plugin has for credentials, or None. Raises `NotAuthenticated` with a reason."""
        return await self._hooks.authenticate(self, credentials)

    async def login(self, token: str, hello: Hello) -> Device | None:
        """Return the device that logs in with a token, or None.

        A token that no device has is passed to the plugins' `hub_login`, which may create the device. That takes time
        only then, and the connection may end meanwhile.
        """
        device = self.tokens.device_for(token)
        if device is None and is_token(token := strip_padding(token)) and not self.tokens.is_taken(token):
            device = await self._hooks.login(self, token, hello)
            # Another login with the same token may have created it.
            device = device or self.tokens.device_for(token)
        return device

    def is_allowed(
        self, principal: Principal, permission: str, device: Owned | None = None, org: int | None = None
    ) -> bool:
        """Whether a principal has a permission: on a device, in an organization, or with neither of them anywhere."""
        if permission in OPEN or principal.kind in ("local", "system"):
            return True
        return self._hooks.authorize(self, principal, permission, device, org if device is None else device.org)

    def authorize(
        self, principal: Principal, permission: str, device: Device | None = None, org: int | None = None
    ) -> None:
        """Raise `Forbidden` unless `is_allowed`."""
        if not self.is_allowed(principal, permission, device, org):
            entry = next((entry for entry in self.permissions if entry.id == permission), None)
            hint = ""
            if entry is not None and entry.developer:
                users = "users of the root organization" if entry.root else "users"
                hint = f" Only {users} in developer mode (isDev) have it."
            raise Forbidden(f"This needs the permission {permission}.{hint}")

    async def execute(self, route: Route, request: Request) -> Any:
        """See `RouteExecutor.execute`."""
        return await self.executor.execute(route, request)

    # -- limits ---------------------------------------------------------------------------------------------------

    def message_budget(self, device: Device, now: float) -> TokenBucket:
        """Return what a device may still send over all its connections, refilled to ``now`` (monotonic seconds)."""
        budget = self._budgets.get(device.id)
        if budget is None:
            limits = self.config.limits
            budget = self._budgets[device.id] = TokenBucket(limits.messages_per_second, limits.burst, now)
        budget.refill(now)
        return budget

    def take_message(self, device: Device, address: str) -> None:
        """Take one request from a device's message budget. Raises `TooMany`."""
        budget = self.message_budget(device, self.clock.monotonic())
        if not budget.take():
            rate = self.config.limits.messages_per_second
            self.reject(address, f"device {device.name} sends more than {rate} requests/s", device.id)
            raise TooMany("Too many requests for this device.", budget.wait)

    def take_quota(self, quota: DailyQuota, device: Device, count: int, unit: str) -> None:
        """Take ``count`` from a device's daily quota of a ``unit`` ("imported values"). Raises `TooMany`."""
        if (wait := quota.take(device.id, count, self.clock.now())) is not None:
            message = f"at most {quota.limit} {unit} a day"
            self.reject("hub", f"device {device.name}: {message}", device.id)
            raise TooMany(f"A device has {message}.", wait)

    def reject_unknown_pin(self, device: Device, pin: int, address: str) -> None:
        """Record that a device wrote to a pin that its template does not have, with the lines that would add it."""
        reason = (
            f"device {device.name}: template {device.template.id} has no V{pin}; to add it:"
            f' [[datastream]] / pin = "V{pin}" / name = "V{pin}" / type = "double"'
        )
        self.reject(address, reason, device.id, quiet=UNKNOWN_PIN_QUIET)

    # -- the network ----------------------------------------------------------------------------------------------

    def open_listener(self) -> None:
        """Bind the ports, and load the certificates. Raises `StartupError`."""
        config, timeouts = self.config, self.timeouts.of(NetTimeouts)
        if any(listen.tls != "off" for listen in config.listen):
            names = local_names(config.hub.url)
            self.certificates = Certificates(config.tls, config.data, names, self.clock, timeouts)
        self.listener = Listener(config, self.certificates, self.protocols, self.reject, timeouts)
        # First, so that a hub whose port is taken leaves no certificate authority behind.
        self.listener.bind()
        try:
            if self.certificates is not None:
                self.certificates.load()
        except BaseException:
            self.listener.close()
            raise

    # -- names and places -----------------------------------------------------------------------------------------

    def link(self, path: str, request: Request | None) -> str:
        """See `hub.api.links.link`."""
        return link(path, request, self.config, self.listener)

    def timezone_of(self, device: Device) -> str:
        """Return a device's time zone: its Location's, else its own, else its organization's, else the hub's."""
        own = device.place_timezone or device.own_timezone
        return own or self.organizations.timezone(device.org) or self.config.hub.timezone

    def name_of(self, actor_id: str, asker: Principal) -> str:
        """Return the name of an actor ("user 3") for a principal who asks.

        `REDACTED_NAME` when the actor's organization is not visible to the asker, ``actor_id`` when the actor is gone.
        """
        for principal in (LOCAL, SYSTEM):
            if actor_id == principal.actor_id:
                return principal.label
        entry = self.directory.principal_name(actor_id)
        if entry is None:
            return actor_id
        name, org = entry
        is_visible = asker.kind in ("local", "system") or self.organizations.contains(asker.org, org)
        return name if is_visible else REDACTED_NAME

    async def storage_costs(self) -> list[tuple[str, int, str, int]]:
        """Return (template, pin, name, bytes a month of all its devices) of every datastream, the largest first."""
        total: dict[tuple[str, int, str], float] = {}
        for series, size in (await self.history.retention.costs()).items():
            if point := self.devices.by_series.get(series):
                stream = point.datastream
                key = (point.device.template.id, stream.pin, stream.name)
                total[key] = total.get(key, 0.0) + size
        return [(*key, round(size)) for key, size in sorted(total.items(), key=lambda item: -item[1])]

    # -- health ---------------------------------------------------------------------------------------------------

    def active_alarms(self) -> list[Alarm]:
        """Evaluate the hub's health now; return the alarms that are raised."""
        self.evaluate_health()
        return list(self.alarms)

    def evaluate_health(self) -> None:
        """Raise and clear alarms by the present state of storage, clock, certificate and plugins."""
        set_alarm, storage = self.alarms.set, self.storage
        fault = self.history.fault
        set_alarm("writes", None if fault is None else f"values cannot be written: {fault}", critical=True)
        free = storage.free_share()
        set_alarm("disk", f"the disk is low: {free:.0%} free" if free is not None and free < LOW_DISK else None)
        aside = storage.set_aside
        set_alarm("history", None if aside is None else f"a damaged history file was put aside as {aside}")
        chunks = self.history.retention.damaged
        set_alarm("chunks", f"{chunks} damaged chunks of history were put aside" if chunks else None)
        set_alarm("clock", self.clock.problem, logged=True)
        if (certificates := self.certificates) is not None:
            days = certificates.days_left()
            text = f"the TLS certificate {certificates.validity()}" if days < CERTIFICATE_DAYS else None
            set_alarm("certificate", text, critical=days < 1)
        for name, plugin in self.plugins.items():
            reasons = "; ".join(failure.reason for failure in plugin.troubles)
            set_alarm(f"plugin {name}", f"plugin {name}: {reasons}" if reasons else None, logged=True)

    def _storage_trouble(self, problem: str | None) -> None:
        self.evaluate_health()
        self.bus.emit(StorageTrouble(problem))

    def _clock_repaired(self, fact: ClockRepaired) -> None:
        correction = fact.correction
        self.devices.correct_stamps(correction)
        self.tokens.correct_stamps(correction)
        self.timeline.correct_stamps(correction)
        if correction.is_about(None):
            self.organizations.correct_stamps(correction)
            self.executor.correct_stamps(correction)
            self.rejections.correct_stamps(correction)
