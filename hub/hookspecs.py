"""All hooks: the whole contract between the hub and its plugins.

A plugin is a module with functions marked ``@hookimpl`` and a line ``PINWHEEL_HOOKS = 1``, the version of this
contract that it was written for. A function may take any of the arguments below, by name. Most hooks are called
rarely; `hub_filter_write` and `hub_event` are compiled into plain calls when a plugin is registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

# Not at run time: a plugin's commands import ``hookimpl`` with its module, and must start quickly.
if TYPE_CHECKING:
    import trio

    from hub.api.panels import Panel
    from hub.api.routes import Permission, Route, SocketRoute
    from hub.app import Hub
    from hub.domain.directory import PersonalData, UserDirectory
    from hub.domain.messages import Channel
    from hub.facts import Fact
    from hub.model import Change, Credentials, Datastream, Device, Hello, Owned, Principal, Value
    from hub.net.wire import WireProtocol
    from hub.storage import Migration
    from hub.storage.stamp_correction import StampColumns

#: The version of this contract. It increases when a hook changes its meaning, not when a hook is added.
HOOK_VERSION = 1

hookspec = pluggy.HookspecMarker("pinwheel")
hookimpl = pluggy.HookimplMarker("pinwheel")


@hookspec
def hub_config() -> type:
    """Return the attrs class of the plugin's table ``[plugins.NAME]``.

    Called once, before any other hook. The hub validates the table against the class (unknown keys are errors) and
    returns the instance as ``hub.settings(Class)``.
    """
    raise AssertionError


@hookspec
def hub_migrations() -> Sequence[Migration]:
    """Return the schema of the plugin's tables in the configuration database, as numbered migrations.

    Called once, before the databases are opened. The migrations run in order, in one transaction, after a backup
    copy. A released migration is never edited. Begin the names of tables with the plugin's name.
    """
    raise AssertionError


@hookspec
def hub_stamps(hub: Hub) -> Sequence[StampColumns]:
    """Return the columns of the plugin's tables that hold times, in milliseconds UTC.

    ``pinwheel clock --repair`` corrects them, in one transaction with those of the hub and of all other plugins. A
    plugin that has times in memory subscribes to ``ClockRepaired`` to correct them.
    """
    raise AssertionError


@hookspec
def hub_permissions() -> Sequence[Permission]:
    """Return the permissions that the plugin's routes require and that do not exist yet."""
    raise AssertionError


@hookspec
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    """Return wire protocols, each with a function that recognizes its first bytes and one that serves a connection.

    A listener serves them if its ``serve`` contains native, http and mqtt, which is the default.
    """
    raise AssertionError


@hookspec
def hub_directory(hub: Hub) -> UserDirectory:
    """Return the directory of users: by id, e-mail address and organization, with names, roles and systems of units.

    Called once, at the start. Other parts of the hub ask it through ``hub.directory``. Only one plugin may have it: two
    are a StartupError.
    """
    raise AssertionError


@hookspec
def hub_routes(hub: Hub) -> Sequence[Route | SocketRoute]:
    """Return HTTP and WebSocket routes. Two plugins with the same method and path are a StartupError.

    A route with ``streaming=True`` takes a body of up to ``max_body`` bytes that never is in memory as a whole: its
    handler reads ``async for chunk in request.stream``. Authentication, permission and rate limit are checked before
    the first byte is read, and the client is not read faster than the handler. When the client disconnects, stalls or
    sends too much, ``request.stream`` raises ``Rejected``; let it pass, and the hub answers 400, 408 or 413. If the
    handler returns earlier, the rest of the body is discarded, and the connection closed unless all of it has arrived.
    """
    raise AssertionError


@hookspec
def hub_panels(hub: Hub) -> Sequence[Panel]:
    """Return screens that the console and the web page draw: tables, forms, logs and charts of the plugin's routes.

    Called once, after `hub_routes` of all plugins. ``GET /api/v1/panels`` returns to each principal the panels that it
    may see, with the actions that it may use. Two panels with the same id, and a source or an action that is no route,
    are a StartupError; a third party's plugin with such a panel is left out, and its routes with it.
    """
    raise AssertionError


@hookspec
def hub_channels(hub: Hub) -> Sequence[Channel]:
    """Return channels that bring messages to users, if they are set up; ``hub.messages`` sends through them.

    Called once, at the start. A message goes to the first channel that accepts it: those of Pinwheel first, then by the
    plugins' names. Two channels with the same name are a StartupError.
    """
    raise AssertionError


@hookspec
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    """Start the plugin's background tasks in its own nursery, and return within 5 seconds.

    Called when the hub is ready, before it accepts devices. There is no stop hook: the nursery is cancelled. When a
    task dies, the nursery of this plugin is cancelled, the failure is reported, and the plugin is started again after
    a while.
    """
    raise AssertionError


@hookspec
async def hub_changed(hub: Hub, change: Change) -> None:
    """Record a change that was made through a route. The response is sent after all implementations return.

    An exception is reported, and the caller is told that the change was made but could not be recorded.
    """
    raise AssertionError


@hookspec
def hub_personal_data(hub: Hub) -> PersonalData:
    """Return the object by which personal data that the plugin stores about users is exported and erased.

    Called once, at the start. An exception of the object's ``export`` fails the export; after one of ``erase`` the
    caller is told that some data is left.
    """
    raise AssertionError


@hookspec
async def hub_authenticate(hub: Hub, credentials: Credentials) -> Principal | None:
    """Return the principal that these credentials belong to, or None if they are unknown. The first result counts.

    Raise ``NotAuthenticated`` to reject the login with a reason, such as an expired token. Any other exception, or no
    result within 5 seconds, counts as None.
    """
    raise AssertionError


@hookspec
async def hub_login(hub: Hub, token: str, hello: Hello) -> Device | None:
    """Return the device that logs in with a token that no device has yet, or None. The first result counts.

    Such a plugin creates the device at its first login, with that token:
    ``hub.devices.add([NewDevice(name=…, template=…, token=token)], SYSTEM)``. A result that does not have the token, an
    exception, or no result within 5 seconds is reported and counts as None. Called only for texts that could be a
    token; a device that tries again meanwhile may cause several calls with the same token at once.
    """
    raise AssertionError


@hookspec
def hub_authorize(
    hub: Hub, principal: Principal, permission: str, device: Owned | None, org: int | None
) -> bool | None:
    """Return whether ``principal`` has ``permission`` for ``device`` or in ``org``, or None for no opinion.

    With neither, return whether the principal has the permission anywhere. An object of a plugin that has an owner,
    such as a location, is passed as ``device``. For a list, the hub asks once for all devices that have the same
    owner and organization.

    One False denies, otherwise one True allows, otherwise access is denied; an exception counts as False. Must not
    block.
    """
    raise AssertionError


@hookspec
def hub_filter_write(device: Device, datastream: Datastream, value: Value) -> Value:
    """Return the value to use instead of ``value``. Called for every write, so it must be fast.

    Raise ``Rejected`` to reject the write; any other exception rejects it too. Filters run in the order of their
    plugins' names. The returned value must fit the datastream.
    """
    raise AssertionError


@hookspec
def hub_event(event: Fact) -> None:
    """Handle a fact. Annotate ``event`` with the class of the fact, such as ``ValueWritten``.

    Several functions are possible with ``@hookimpl(specname="hub_event")``. Must not block; start a task in the
    plugin's nursery for longer work. An exception is reported and does not affect other subscribers.
    """
    raise AssertionError


#: All hook specifications by name.
HOOKS: dict[str, Any] = {name: fn for name, fn in list(globals().items()) if name.startswith("hub_")}
