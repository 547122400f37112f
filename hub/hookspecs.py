"""Every hook: the whole contract between the hub and its plugins.

A plugin is a module with functions marked ``@hookimpl`` and a line ``PINWHEEL_HOOKS = 1``, the version of this
contract it was written for. Functions take any of the arguments below, by name. Hooks that contribute and ask are
called seldom; what happens per value is compiled once into plain calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import trio

    from hub.api.routes import Change, Permission, Route, SocketRoute
    from hub.app import Hub
    from hub.facts import Fact
    from hub.model import Credentials, Datastream, Device, Owned, Principal, Value
    from hub.net.wire import WireProtocol
    from hub.stamps import StampColumns
    from hub.storage import Migration

#: The version of this contract. It grows when a hook changes its meaning; new hooks do not count.
HOOK_VERSION = 1

hookspec = pluggy.HookspecMarker("pinwheel")
hookimpl = pluggy.HookimplMarker("pinwheel")


@hookspec
def hub_config() -> type:
    """The attrs class of the plugin's table ``[plugins.NAME]``.

    Called once, before anything else. The hub checks the table against it (unknown keys are errors) and hands out
    the instance as ``hub.settings(Class)``.
    """
    raise AssertionError


@hookspec
def hub_migrations() -> Sequence[Migration]:
    """The plugin's tables in the configuration file, as numbered changes that are never edited afterwards.

    Called once, before the databases open. They run in order, in one transaction, after a backup copy. Name tables
    with the plugin's name in front.
    """
    raise AssertionError


@hookspec
def hub_stamps(hub: Hub) -> Sequence[StampColumns]:
    """The columns of the plugin's tables that hold times, in milliseconds UTC.

    ``pinwheel clock --repair`` corrects them, in one transaction with those of all others. The plugin subscribes to
    ``ClockRepaired`` to correct what it has in memory.
    """
    raise AssertionError


@hookspec
def hub_permissions() -> Sequence[Permission]:
    """The permissions that the plugin's routes ask for and that are not there yet."""
    raise AssertionError


@hookspec
def hub_protocols(hub: Hub) -> Sequence[WireProtocol]:
    """Wire protocols for the front door, each with how its first bytes look and who serves it.

    A listener serves them if it serves native, http and mqtt, as it does by default.
    """
    raise AssertionError


@hookspec
def hub_routes(hub: Hub) -> Sequence[Route | SocketRoute]:
    """HTTP routes. Two plugins with the same method and path are a StartupError."""
    raise AssertionError


@hookspec
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    """Start what the plugin runs in the background, in its own nursery, and return within 5 seconds.

    Called when the hub is ready to work, before devices are accepted. There is no stop hook: the nursery is
    cancelled. When a task dies, this plugin's nursery goes down, is reported, and started again after a while.
    """
    raise AssertionError


@hookspec
async def hub_changed(hub: Hub, change: Change) -> None:
    """Put down that somebody changed something through a route; the answer waits for it.

    An exception is reported, and the asker hears that the change was made but could not be recorded.
    """
    raise AssertionError


@hookspec
async def hub_personal_data(hub: Hub, who: str, asker: Principal) -> Any:
    """What the plugin keeps about somebody ("user 3"), as JSON's types; None for nothing.

    Only what ``asker``, who exports it, may see. An exception fails the export.
    """
    raise AssertionError


@hookspec
async def hub_forget(hub: Hub, who: str) -> None:
    """Somebody ("user 3") was erased: take away what tells who they were.

    An exception is reported, and whoever erased them hears that something is left.
    """
    raise AssertionError


@hookspec
async def hub_authenticate(hub: Hub, credentials: Credentials) -> Principal | None:
    """Who presents these credentials; None when it is nobody known here. The first answer counts.

    Raise ``NotAuthenticated`` to say why not, such as that a token has expired. Another exception, or no answer
    within 5 seconds, counts as None.
    """
    raise AssertionError


@hookspec
def hub_authorize(
    hub: Hub, principal: Principal, permission: str, device: Owned | None, org: int | None
) -> bool | None:
    """Whether ``principal`` may do what ``permission`` names, on ``device`` or in ``org`` where it is about one.

    What a plugin has that is somebody's own, such as a location, is asked for like a device. Of the devices of a list
    those with the same owner in the same organization are asked for once.

    With neither, whether they may anywhere.

    Any False denies, else any True allows, else it is denied; an exception counts as False. Must not block.
    """
    raise AssertionError


@hookspec
def hub_filter_write(device: Device, datastream: Datastream, value: Value) -> Value:
    """The value to use instead of ``value``; called for every write, so be quick.

    Raise ``Rejected`` to refuse the write; any other exception refuses it too. Filters run in the order of their
    plugins' names, and what they return must fit the datastream.
    """
    raise AssertionError


@hookspec
def hub_event(event: Fact) -> None:
    """Hear of what happened: annotate ``event`` with the fact's class, such as ``ValueWritten``.

    Several functions are possible with ``@hookimpl(specname="hub_event")``. Sync, must not block; start a task in
    the plugin's nursery for work. An exception is reported and does not disturb anybody else.
    """
    raise AssertionError


#: Names of all hooks, and what each may return for the documentation's sake.
HOOKS: dict[str, Any] = {name: fn for name, fn in list(globals().items()) if name.startswith("hub_")}
