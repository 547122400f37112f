"""Who changed what: the audit of the whole hub, and the log of each device's actions."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from hub.api import MAX_TIME, PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, Permission, Request, Route, Stream, Time
from hub.errors import Rejected, StartupError, StorageError
from hub.facts import ClockRepaired, ValueSet
from hub.hookspecs import hookimpl
from hub.model import REDACTED_NAME, ROOT_ORG, Change, Principal
from hub.stamps import StampColumns
from hub.storage import Migration, shipped_migrations
from hub.structuring import Duration, seconds
from plugins.audit.actions import Action, Actions
from plugins.audit.chain import Chain, Filter, Record, Verdict

if TYPE_CHECKING:
    from hub.app import Hub

ESSENTIAL = True
#: Records a line each.
LINES = "application/x-ndjson"
#: Records, and values written, in the export of a person; the rest is in the export of the audit.
MAX_EXPORT = 10_000
#: Seconds between two looks for what is too old.
PRUNE_EVERY = 600.0


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.audit]``: how long records and actions are kept."""

    keep: Duration = "3650d"
    keep_actions: Duration = "90d"


class _Service:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.chain = Chain(hub.storage)
        self.actions = Actions(hub)
        settings: Settings = hub.settings(Settings)
        try:
            self.keep_ms, self.keep_actions_ms = (
                int(seconds(text) * 1000) for text in (settings.keep, settings.keep_actions)
            )
        except ValueError as error:
            raise StartupError(f"plugins.audit: keep and keep_actions: {error}") from error

    async def prune(self) -> None:
        while True:
            if self.hub.clock.believable:
                now = self.hub.clock.now()
                try:
                    await self.chain.prune(now - self.keep_ms)
                    await self.actions.prune(now - self.keep_actions_ms)
                except StorageError:
                    # The alarm about the storage says it.
                    pass
            await trio.sleep(PRUNE_EVERY)


@attrs.frozen(kw_only=True)
class Asked:
    """Which records: ``who`` did it ("user 3"), ``subject`` ("device 7") is what it was about."""

    org_id: int | None = None
    from_: Time = 0
    to: Time = MAX_TIME
    who: str = ""
    subject: str = ""
    query: str = ""


class NamedRecord(Record):
    """Who changed what; ``ts`` is milliseconds UTC, ``name`` what whoever did it is called."""

    name: str


@attrs.frozen(kw_only=True)
class LoggedAction:
    """A value that somebody wrote, as docs.blynk.io has it (Get actions log); ``created_at`` is in ms UTC."""

    trigger_user_email: str
    value: Any
    pin: int
    pin_type: str = "VIRTUAL"
    created_at: int


class NamedAction(Action):
    """A value that somebody wrote; ``ts`` is milliseconds UTC, ``name`` what they are called."""

    name: str


@hookimpl
def hub_config() -> type:
    return Settings


@hookimpl
def hub_migrations() -> Sequence[Migration]:
    return shipped_migrations("audit", "plugins.audit")


@hookimpl
def hub_stamps() -> Sequence[StampColumns]:
    # Records of the audit keep their stamps: they are part of its hashes.
    return [StampColumns("audit_actions", ("ts",), device="device")]


@hookimpl
def hub_permissions() -> Sequence[Permission]:
    return [
        Permission("users.log", "View user actions log"),
        Permission("audit.verify", "Verify the audit", root=True),
    ]


@hookimpl
async def hub_changed(hub: Hub, change: Change) -> None:
    await hub.service(_Service).chain.add(change)


@hookimpl
async def hub_personal_data(hub: Hub, who: str, asker: Principal) -> dict[str, Any]:
    """The newest records and actions of somebody, and how many there are of each."""
    service = hub.service(_Service)
    top = ROOT_ORG if asker.kind == "local" else asker.org
    wanted = Filter(orgs=None if top == ROOT_ORG else hub.organizations.below(top), about=who)
    records, changes = await service.chain.find(wanted, 0, MAX_EXPORT)
    devices = [device.id for device in hub.access.devices_for(asker, VIEW_DEVICES, top)]
    values, writes = await service.actions.by(who, devices, MAX_EXPORT)
    return {"changes": changes, "records": records, "writes": writes, "values": values}


@hookimpl
async def hub_forget(hub: Hub, who: str) -> None:
    await hub.service(_Service).chain.forget(who)


@hookimpl
async def hub_start(hub: Hub, nursery: trio.Nursery) -> None:
    service = hub.service(_Service)
    hub.subscribe(ValueSet, service.actions.note)
    hub.subscribe(ClockRepaired, lambda fact: service.actions.correct_stamps(fact.correction))
    nursery.start_soon(service.actions.run)
    nursery.start_soon(service.prune)


@hookimpl
def hub_routes(hub: Hub) -> Sequence[Route]:
    service = hub.service(_Service)

    def filtered(request: Request, asked: Asked) -> Filter:
        top = hub.access.organization_for(request, asked.org_id).id
        if asked.from_ >= asked.to:
            raise Rejected("from must be before to")
        allowed = [
            o for o in hub.organizations.below(top) if hub.is_allowed(request.principal, request.permission, org=o)
        ]
        return Filter(
            # In the root also those of organizations that are no more.
            orgs=None if top == ROOT_ORG else allowed,
            start=asked.from_,
            end=asked.to,
            who=asked.who,
            subject=asked.subject,
            text=asked.query,
        )

    async def listed(request: Request, asked: Asked, page: PageNumber = 0, size: PageSize = 100) -> Page[NamedRecord]:
        found, total = await service.chain.find(filtered(request, asked), page, size)
        return Page(content=[_named(hub, request.principal, one) for one in found], total_elements=total)

    async def export(request: Request, asked: Asked) -> Stream[str]:
        found = service.chain.all(filtered(request, asked))
        return Stream(chunks=_lines(hub, request.principal, found), type=LINES)

    async def verify(_request: Request, *, head: str = "") -> Verdict:
        return await service.chain.verify(head)

    async def actions(
        request: Request,
        device_id: int,
        *,
        from_: Time = 0,
        to: Time = MAX_TIME,
        who: str = "",
        page: PageNumber = 0,
        size: PageSize = 100,
    ) -> Page[NamedAction]:
        device = hub.access.device_for(request, device_id)
        found, total = await service.actions.find(device.id, from_, to, who, page, size)
        content: list[NamedAction] = [{**one, "name": hub.name_of(one["who"], request.principal)} for one in found]
        return Page(content=content, total_elements=total)

    async def logs(
        request: Request, device_id: int, *, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[LoggedAction]:
        device = hub.access.device_for(request, device_id)
        found, total = await service.actions.find(device.id, 0, MAX_TIME, "", page, size)
        content = [
            LoggedAction(
                trigger_user_email=hub.name_of(one["who"], request.principal),
                value=one["value"],
                pin=int(one["pin"][1:]),
                created_at=one["ts"],
            )
            for one in found
        ]
        return Page(content=content, total_elements=total)

    return [
        Route(method="GET", path=path, handler=handler, permission=permission, summary=summary, media=media)
        for path, handler, permission, summary, media in (
            ("/api/v1/audit", listed, "users.log", "Who changed what, newest first", ()),
            ("/api/v1/audit/export", export, "users.log", "Who changed what, line by line", (LINES,)),
            ("/api/v1/audit/verify", verify, "audit.verify", "Whether the audit is as it was written", ()),
            ("/api/v1/device/actions", actions, VIEW_DEVICES, "Who wrote which value of a device", ()),
            ("/api/v1/organization/device/logs", logs, VIEW_DEVICES, "A device's actions log", ()),
        )
    ]


def _named(hub: Hub, asker: Principal, record: Record) -> NamedRecord:
    """A record with a name; of somebody above or beside the asker only the number."""
    name = hub.name_of(record["who"], asker)
    return {**record, "address": "" if name == REDACTED_NAME else record["address"], "name": name}


async def _lines(hub: Hub, asker: Principal, pieces: AsyncIterator[list[Record]]) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        lines = (json.dumps(_named(hub, asker, one), ensure_ascii=False) for one in piece)
        yield ("\n".join(lines) + "\n").encode("utf-8", "replace")
