"""Hooks: the whole contract between the hub and its plugins.

A plugin is a module with functions marked ``@hookimpl`` and a line ``PINWHEEL_HOOKS = 1``, the version of this
contract that it was written for. Functions take any of the arguments below, by name. Hooks are called rarely; what
happens per value is compiled once into plain calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

# Not at run time: a plugin's commands import ``hookimpl`` with its module, and must start quickly.
if TYPE_CHECKING:
    import trio

    from hub.api.routes import Permission, Route, SocketRoute
    from hub.app import Hub
    from hub.facts import Fact
    from hub.model import Change, Credentials, Datastream, Device, Owned, Principal, Value
    from hub.net.wire import WireProtocol
    from hub.stamps import StampColumns
    from hub.storage import Migration

#: The version of this contract. It changes when a hook changes its meaning, not when a hook is added.
HOOK_VERSION = 1

hookspec = pluggy.HookspecMarker("pinwheel")
hookimpl = pluggy.HookimplMarker("pinwheel")


@hookspec
def hub_config() -> type:
    """Return the attrs class of the plugin's table ``[plugins.NAME]``.

    Called once, before anything else. The hub checks the table against it (unknown keys are errors) and returns
    the instance from ``hub.settings(Class)``.
    """
    raise AssertionError


@hookspec
def hub_migrations() -> Sequence[Migration]:
    """Return the plugin's tables in the configuration file, as numbered migrations that are never edited afterwards.

    Called once, before the databases open. They run in order, in one transaction, after a backup copy. Names of tables
    begin with the plugin's name.
    """
    raise AssertionError


@hookspec
def hub_stamps(hub: Hub) -> Sequence[StampColumns]:
    """Return the columns of the plugin's tables that hold times, in milliseconds UTC.

    ``pinwheel clock --repair`` corrects them, in one transaction for all plugins. The plugin subscribes to
    ``ClockRepaired`` to correct the times that it has in memory.
    """
    raise AssertionError


@hookspec
def hub_permissions() -> Sequence[Permission]:
    """Return the permissions that the plugin's routes need and that the hub does not have yet."""
    raise AssertionError


@hookspec
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    """Return wire protocols, each with a test of a connection's first bytes and a function that serves it.

    A listener serves them if it serves native, http and mqtt, as it does by default.
    """
    raise AssertionError


@hookspec
def hub_routes(hub: Hub) -> Sequence[Route | SocketRoute]:
    """Return HTTP routes. Two plugins with the same method and path are a StartupError."""
    raise AssertionError


@hookspec
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    """Start the plugin's background tasks in its own nursery, and return within 5 seconds.

    Called when the hub is ready, before devices are accepted. There is no stop hook: the nursery is cancelled. When a
    task fails, the plugin's nursery is cancelled, the failure is recorded, and the plugin is started again after a
    pause.
    """
    raise AssertionError


@hookspec
async def hub_changed(hub: Hub, change: Change) -> None:
    """Record a change that a request made; its answer waits for this.

    An exception is recorded as the plugin's failure, and the client gets 503: the change was made but not recorded.
    """
    raise AssertionError


@hookspec
async def hub_personal_data(hub: Hub, who: str, asker: Principal) -> Any:
    """Return what the plugin stores about a user (``who`` is "user 3"), as JSON's types; None for nothing.

    Only what ``asker``, who exports it, may see. An exception fails the export.
    """
    raise AssertionError


@hookspec
async def hub_forget(hub: Hub, who: str) -> None:
    """Erase what identifies a deleted user (``who`` is "user 3").

    An exception is recorded, and the client that deleted the user gets 503: something is left.
    """
    raise AssertionError


@hookspec
async def hub_authenticate(hub: Hub, credentials: Credentials) -> Principal | None:
    """Return the principal of these credentials; None when the plugin does not know them. The first answer counts.

    Raise ``NotAuthenticated`` with a reason, such as an expired token. Another exception, or no answer within 5
    seconds, counts as None.
    """
    raise AssertionError


@hookspec
def hub_authorize(
    hub: Hub, principal: Principal, permission: str, device: Owned | None, org: int | None
) -> bool | None:
    """Whether ``principal`` has ``permission`` on ``device``, in ``org``, or with neither of them anywhere.

    A plugin's own things that users can own, such as locations, take the place of ``device``. For a list of devices,
    those with the same owner in the same organization are asked for once.

    Any False denies, else any True allows, else it is denied; an exception counts as False. Must not block.
    """
    raise AssertionError


@hookspec
def hub_filter_write(device: Device, datastream: Datastream, value: Value) -> Value:
    """Return the value to write instead of ``value``; called for every write, so be quick.

    Raise ``Rejected`` to reject the write; any other exception rejects it too. Filters run in the order of their
    plugins' names, and the values that they return must fit the datastream.
    """
    raise AssertionError


@hookspec
def hub_event(event: Fact) -> None:
    """Subscribe to a fact: annotate ``event`` with its class, such as ``ValueWritten``.

    Several functions are possible with ``@hookimpl(specname="hub_event")``. Sync, must not block; start a task in the
    plugin's nursery for work. An exception is recorded and does not keep the fact from other subscribers.
    """
    raise AssertionError


#: All hooks by name.
HOOKS: dict[str, Any] = {name: fn for name, fn in list(globals().items()) if name.startswith("hub_")}
