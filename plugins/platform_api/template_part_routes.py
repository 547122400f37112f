"""Routes of Blynk's Platform API that add, edit and delete one datastream or event type of a template.

See docs.blynk.io, Platform API: Template DataStreams, and Template Events. Each saves the template as its next version,
as an edit of the whole document does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hub import Conflict, Created, Datastream, DataType, EventType, NotFound, Rejected, Request, Route, Template
from hub.templates import dropped_names, to_document
from plugins.platform_api.template_schemas import DatastreamInfo, EventInfo, datastream_infos, event_infos

if TYPE_CHECKING:
    from hub import Hub

BlynkDataType = Literal["INT", "DOUBLE", "STRING", "ENUM", "LOCATION"]
_DATA_TYPES: dict[BlynkDataType, DataType] = {
    "INT": "integer",
    "DOUBLE": "double",
    "STRING": "string",
    "ENUM": "enum",
    "LOCATION": "location",
}
BlynkEventType = Literal["INFORMATION", "WARNING", "CRITICAL", "CONTENT"]
_EVENT_TYPES: dict[BlynkEventType, str] = {
    "INFORMATION": "info",
    "WARNING": "warning",
    "CRITICAL": "critical",
    "CONTENT": "content",
}
#: Keys of a template file by the names of fields, where they differ.
_KEYS = {"label": "name", "default_value": "default", "is_sync": "sync", "event_code": "code"}


@attrs.frozen(kw_only=True)
class NewDatastream:
    """A datastream on the virtual ``pin``; ``values`` are the labels of an ENUM, by number."""

    template_id: str
    label: str
    type: BlynkDataType
    pin: int
    alias: str | None = None
    units: str | None = None
    default_value: Any = None
    min: float | None = None
    max: float | None = None
    is_sync: bool | None = None
    values: dict[str, str] | None = None


@attrs.frozen(kw_only=True)
class EditDatastream:
    """Fields that are left out stay as they are."""

    label: str | None = None
    type: BlynkDataType | None = None
    pin: int | None = None
    alias: str | None = None
    units: str | None = None
    default_value: Any = None
    min: float | None = None
    max: float | None = None
    is_sync: bool | None = None
    values: dict[str, str] | None = None


@attrs.frozen(kw_only=True)
class NewEventType:
    template_id: str
    name: str
    event_code: str
    type: BlynkEventType = "INFORMATION"
    description: str | None = None


@attrs.frozen(kw_only=True)
class EditEventType:
    """Fields that are left out stay as they are."""

    name: str | None = None
    event_code: str | None = None
    type: BlynkEventType | None = None
    description: str | None = None


class TemplatePartRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # -- datastreams ----------------------------------------------------------------------------------------------

    async def create_datastream(self, request: Request) -> Created[DatastreamInfo]:
        body: NewDatastream = request.body
        template = self._template(request, body.template_id)
        saved = await self._save(
            request, template, lambda document: document.setdefault("datastream", []).append(_table(body))
        )
        known = {datastream.id for datastream in template.datastreams}
        return Created(value=next(info for info in datastream_infos(saved) if info.id not in known))

    async def edit_datastream(
        self, request: Request, template_id: str, data_stream_id: int, *, prune: bool = False
    ) -> DatastreamInfo:
        """With ``prune`` an edit may drop the values of devices, such as a change of the type."""
        template = self._template(request, template_id)
        self._datastream(template, data_stream_id)

        def change(document: dict[str, Any]) -> None:
            table = next(table for table in document["datastream"] if table["id"] == data_stream_id)
            table |= _table(request.body)

        saved = await self._save(request, template, change, prune=prune)
        return next(info for info in datastream_infos(saved) if info.id == data_stream_id)

    async def delete_datastream(
        self, request: Request, template_id: str, data_stream_id: int, *, prune: bool = False
    ) -> None:
        """Without ``prune`` a datastream is deleted only from a template without devices."""
        template = self._template(request, template_id)
        self._datastream(template, data_stream_id)

        def change(document: dict[str, Any]) -> None:
            document["datastream"] = [table for table in document["datastream"] if table["id"] != data_stream_id]

        await self._save(request, template, change, prune=prune)

    @staticmethod
    def _datastream(template: Template, data_stream_id: int) -> Datastream:
        for datastream in template.datastreams:
            if datastream.id == data_stream_id:
                return datastream
        raise NotFound(f"Data stream with identifier {data_stream_id} is not found!")

    # -- event types ----------------------------------------------------------------------------------------------

    async def create_event(self, request: Request) -> Created[EventInfo]:
        body: NewEventType = request.body
        template = self._template(request, body.template_id)
        saved = await self._save(
            request, template, lambda document: document.setdefault("event", []).append(_table(body))
        )
        return Created(value=event_infos(saved)[-1])

    async def edit_event(self, request: Request, template_id: str, event_id: int) -> EventInfo:
        template = self._template(request, template_id)
        code = self._event_type(template, event_id, None).code

        def change(document: dict[str, Any]) -> None:
            table = next(table for table in document["event"] if table["code"] == code)
            table |= _table(request.body)

        saved = await self._save(request, template, change)
        edited = request.body.event_code or code
        return next(info for info in event_infos(saved) if info.event_code == edited)

    async def delete_event(
        self, request: Request, template_id: str, *, event_id: int | None = None, event_code: str | None = None
    ) -> None:
        """The event type is selected by its id, or by its code, which does not change when others are deleted."""
        template = self._template(request, template_id)
        code = self._event_type(template, event_id, event_code).code

        def change(document: dict[str, Any]) -> None:
            document["event"] = [table for table in document["event"] if table["code"] != code]

        await self._save(request, template, change)

    @staticmethod
    def _event_type(template: Template, event_id: int | None, event_code: str | None) -> EventType:
        """Return an event type by its number in the template, from 1, or by its code. Raises `NotFound`, `Rejected`."""
        if (event_id is None) == (event_code is None):
            raise Rejected("either eventId or eventCode is needed, and not both")
        for number, event in enumerate(template.events, 1):
            if event_id == number or event_code == event.code:
                return event
        raise NotFound(
            "Event with provided code is not found." if event_id is None else f"Event {event_id} is not found."
        )

    # -- templates ------------------------------------------------------------------------------------------------

    def _template(self, request: Request, template_id: str) -> Template:
        """Return the template that a request edits. Raises `NotFound`, `Outdated`."""
        template = self._hub.templates.for_org(self._hub.access.organization_for(request), template_id)
        request.subject = f"template {template.id}"
        request.expect(template)
        return template

    async def _save(
        self, request: Request, template: Template, change: Callable[[dict[str, Any]], None], *, prune: bool = False
    ) -> Template:
        """Save a template with a change of its document, and give it to its devices. Raises `Rejected`, `Conflict`."""
        templates, devices = self._hub.templates, self._hub.devices.by_id

        def make() -> Template:
            if templates.get(template.id) is not template:
                raise Conflict("The template has changed meanwhile; try again.")
            document = to_document(template)
            change(document)
            new = templates.read(document)
            dropped = templates.changes(new)[1]
            if dropped and not prune and any(device.template.id == template.id for device in devices.values()):
                names = ", ".join(dropped_names(dropped))
                raise Conflict(
                    f"This would drop the values of {names} of all devices; add prune=true if that is meant."
                )
            return new

        saved, _ = await templates.put(make, request.principal, prune=True)
        request.version(saved)
        return saved


def _table(body: Any) -> dict[str, Any]:
    """Return the fields that a body sets, by their keys in a template file."""
    table = {
        _KEYS.get(name, name): value
        for name, value in attrs.asdict(body).items()
        if value is not None and name != "template_id"
    }
    if "pin" in table:
        table["pin"] = f"V{table['pin']}"
    if "type" in table:
        table["type"] = _DATA_TYPES.get(table["type"]) or _EVENT_TYPES[table["type"]]
    return table


def routes(hub: Hub) -> Sequence[Route]:
    api, path, permission = TemplatePartRoutes(hub), "/api/v1/organization/template", "templates.edit"
    lock: Any = {"lock": "template"}
    stream, event = f"{path}/datastream", f"{path}/event"
    return [
        Route("POST", f"{stream}/create", api.create_datastream, permission, "Add a datastream", NewDatastream, **lock),
        Route("PUT", stream, api.edit_datastream, permission, "Edit a datastream", EditDatastream, **lock),
        Route("DELETE", stream, api.delete_datastream, permission, "Delete a datastream", **lock),
        Route("POST", f"{event}/create", api.create_event, permission, "Add an event type", NewEventType, **lock),
        Route("PUT", event, api.edit_event, permission, "Edit an event type", EditEventType, **lock),
        Route("DELETE", event, api.delete_event, permission, "Delete an event type", **lock),
    ]
