"""Messages to users: the channel mail with its outbox and its log, and alarms as mails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from hub import hookimpl

# The hooks import the other modules, so that the commands, which are in this package too, start without them.
if TYPE_CHECKING:
    import trio

    from hub import Hub, Migration, Panel, Permission, Route, StampColumns
    from hub.domain import Channel, PersonalData
    from plugins.notify.service import NotifyService


@cache
def _service_class() -> type[NotifyService]:
    from plugins.notify.service import NotifyService

    return NotifyService


@hookimpl
def hub_config() -> type:
    from plugins.notify.service import Settings

    return Settings


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    from hub.storage import shipped_migrations

    return shipped_migrations("notify", "plugins.notify")


@hookimpl
def hub_stamps() -> Sequence[StampColumns]:
    from hub import StampColumns

    return [
        # Before `created` is corrected, since it goes by that column.
        StampColumns("notify_mails", ("due",), stamp="created"),
        StampColumns("notify_mails", ("created", "done")),
        StampColumns("notify_alarms", ("ts",)),
    ]


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    from hub import Permission

    return [
        Permission("mail.view", "View mails", root=True),
        Permission("mail.test", "Send a test mail", root=True),
    ]


@hookimpl
def hub_channels(hub: Hub) -> Sequence[Channel]:
    channel = hub.service(_service_class()).channel()
    return [] if channel is None else [channel]


@hookimpl
def hub_personal_data(hub: Hub) -> PersonalData:
    from plugins.notify.personal_data import MailedUsers

    return MailedUsers(hub.service(_service_class()))


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    from plugins.notify.routes import routes

    return routes(hub, hub.service(_service_class()))


@hookimpl
def hub_panels() -> Sequence[Panel]:
    from hub import Panel, PanelColumn

    columns = (
        PanelColumn("createdAt", "Time", "time"),
        PanelColumn("address", "To"),
        PanelColumn("kind", "Kind"),
        PanelColumn("state", "State", "state"),
        PanelColumn("attempts", "Attempts", "number"),
        PanelColumn("error", "Last error"),
    )
    return [Panel("mails", "Mails", "TABLE", "/api/v1/mails", columns)]


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    service = hub.service(_service_class())
    await service.load()
    nursery.start_soon(service.outbox.run)
    nursery.start_soon(service.prune)
    # A command on a stopped hub only fills the outbox: it would end in the middle of a delivery.
    if hub.listener is not None and service.delivery is not None:
        nursery.start_soon(service.delivery.run)
    if hub.listener is not None and hub.messages.channels:
        nursery.start_soon(service.alarms.run)
        nursery.start_soon(service.alarms.run_saver)
