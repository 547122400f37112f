"""The audit and the actions logs over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hub import REDACTED_NAME, ROOT_ORG, Principal, Rejected, Request, Route, Stream
from hub.api import MAX_TIME, PAGE, VIEW_DEVICES, Page, PageNumber, PageSize, Time
from plugins.audit.actions_log import Action
from plugins.audit.chain import Record, RecordFilter, Verdict

if TYPE_CHECKING:
    from hub import Hub
    from plugins.audit.service import AuditService

#: Media type of an export: a JSON object on each line.
NDJSON = "application/x-ndjson"


@attrs.frozen(kw_only=True)
class AuditQuery:
    """Parameters that select records of an organization and those below it.

    ``who`` is the actor's id ("user 3"), ``subject`` the id of the changed thing ("device 7"), ``query`` part of the
    action or the subject.
    """

    org_id: int | None = None
    from_: Time = 0
    to: Time = MAX_TIME
    who: str = ""
    subject: str = ""
    query: str = ""


class NamedRecord(Record):
    """Record of a change; ``who`` is the actor's id ("user 3"), ``name`` the actor's name; ``ts`` is in ms UTC."""

    name: str


@attrs.frozen(kw_only=True)
class LoggedAction:
    """Value that a client wrote, as in docs.blynk.io, Get actions log; ``created_at`` is in ms UTC."""

    trigger_user_email: str
    value: Any
    pin: int
    pin_type: str = "VIRTUAL"
    created_at: int


class NamedAction(Action):
    """Value that a client wrote; ``who`` is the id ("user 3") and ``name`` the name of its author; ``ts`` is ms UTC."""

    name: str


class AuditRoutes:
    def __init__(self, hub: Hub, service: AuditService) -> None:
        self._hub = hub
        self._chain = service.chain
        self._actions = service.actions

    async def records(
        self, request: Request, query: AuditQuery, page: PageNumber = 0, size: PageSize = 100
    ) -> Page[NamedRecord]:
        records, total = await self._chain.page(self._filter(request, query), page, size)
        content = [self._with_name(record, request.principal) for record in records]
        return Page(content=content, total_elements=total)

    async def export(self, request: Request, query: AuditQuery) -> Stream[str]:
        return Stream(chunks=self._lines(self._filter(request, query), request.principal), type=NDJSON)

    async def verify(self, _request: Request, *, head: str = "") -> Verdict:
        return await self._chain.verify(head)

    async def device_actions(
        self,
        request: Request,
        device_id: int,
        *,
        from_: Time = 0,
        to: Time = MAX_TIME,
        who: str = "",
        page: PageNumber = 0,
        size: PageSize = 100,
    ) -> Page[NamedAction]:
        device = self._hub.access.device_for(request, device_id)
        actions, total = await self._actions.of_device(device.id, from_, to, who, page, size)
        content: list[NamedAction] = [
            {**action, "name": self._hub.name_of(action["who"], request.principal)} for action in actions
        ]
        return Page(content=content, total_elements=total)

    async def device_logs(
        self, request: Request, device_id: int, *, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[LoggedAction]:
        device = self._hub.access.device_for(request, device_id)
        actions, total = await self._actions.of_device(device.id, 0, MAX_TIME, "", page, size)
        content = [
            LoggedAction(
                trigger_user_email=self._hub.name_of(action["who"], request.principal),
                value=action["value"],
                pin=int(action["pin"][1:]),
                created_at=action["ts"],
            )
            for action in actions
        ]
        return Page(content=content, total_elements=total)

    def _filter(self, request: Request, query: AuditQuery) -> RecordFilter:
        """Return the filter of a query, limited to organizations whose audit the client may read."""
        hub = self._hub
        top = hub.access.organization_for(request, query.org_id).id
        if query.from_ >= query.to:
            raise Rejected("from must be before to")
        orgs = [
            org
            for org in hub.organizations.below(top)
            if hub.is_allowed(request.principal, request.permission, org=org)
        ]
        return RecordFilter(
            # The root's audit also has the records of deleted organizations.
            orgs=None if top == ROOT_ORG else orgs,
            start=query.from_,
            end=query.to,
            who=query.who,
            subject=query.subject,
            text=query.query,
        )

    def _with_name(self, record: Record, principal: Principal) -> NamedRecord:
        """Add the name of who made the change; if the principal may not see it, hide the address too."""
        name = self._hub.name_of(record["who"], principal)
        return {**record, "address": "" if name == REDACTED_NAME else record["address"], "name": name}

    async def _lines(self, record_filter: RecordFilter, principal: Principal) -> AsyncGenerator[bytes, None]:
        async for records in self._chain.batches(record_filter):
            lines = (json.dumps(self._with_name(record, principal), ensure_ascii=False) for record in records)
            yield ("\n".join(lines) + "\n").encode("utf-8", "replace")


def routes(hub: Hub, service: AuditService) -> Sequence[Route]:
    api = AuditRoutes(hub, service)
    audit, lines = "/api/v1/audit", "Records of the audit, a JSON object a line"
    actions, logs = "/api/v1/device/actions", "/api/v1/organization/device/logs"
    return [
        Route("GET", audit, api.records, "users.log", "Records of the audit, newest first"),
        Route("GET", f"{audit}/export", api.export, "users.log", lines, media=(NDJSON,)),
        Route("GET", f"{audit}/verify", api.verify, "audit.verify", "Verify the audit"),
        Route("GET", actions, api.device_actions, VIEW_DEVICES, "Values that clients wrote to a device, newest first"),
        Route("GET", logs, api.device_logs, VIEW_DEVICES, "A device's actions log"),
    ]
