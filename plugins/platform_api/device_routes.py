"""Routes of devices: add, list, rename and delete them; read and write values; send commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import trio

from hub import (
    LARGE_BODY,
    ONLINE,
    Conflict,
    Created,
    Datastream,
    Device,
    NotFound,
    Organization,
    Reboot,
    Reconfigure,
    Redirect,
    Rejected,
    Request,
    Route,
    Write,
    WrongType,
    first_problems,
    secret,
)
from hub.api import PAGE, VIEW_DEVICES, Between, Page, PageNumber, PageSize, page_of
from hub.domain import NewDevice
from hub.parsing import spellings
from hub.parsing.structuring import seconds
from hub.values import describe_choices, from_label, to_json
from plugins.platform_api.device_lists import convert_devices, visible_devices
from plugins.platform_api.device_schemas import (
    ActivatedDevice,
    DeviceObject,
    activated_device,
    device_details,
    device_object,
)

if TYPE_CHECKING:
    from hub import Hub

#: Largest number of rows in a CSV file of devices.
MAX_ROWS = 5_000
#: Rows read before other tasks get their turn.
ROWS_PER_CHECKPOINT = 200
#: Columns of a CSV file of devices, in any case; other columns are names of metadata fields.
COLUMNS = ("name", "template", "token")


@attrs.frozen(kw_only=True)
class CreateDevice:
    """``token`` is the token that a board in the field already carries; without it the hub makes one."""

    template_id: str
    name: str
    org_id: int | None = None
    owner_id: int | None = None
    token: str | None = secret(default=None)


@attrs.frozen(kw_only=True)
class DevicesCsv:
    """Devices as CSV, with the columns ``name,template,token`` and metadata fields; all rows are added, or none.

    ``org_id`` is the organization of all these devices, by default the one that the caller acts in.
    """

    csv: str = secret()
    org_id: int | None = None


@attrs.frozen(kw_only=True)
class AddedDevice:
    """A device that was added; ``token`` is shown only here."""

    id: int
    name: str
    token: str


@attrs.frozen(kw_only=True)
class Rename:
    name: str


@attrs.frozen(kw_only=True)
class NewToken:
    """``overlap`` (such as "7d") is how long the old token stays valid; without ``token`` the hub makes one."""

    device_id: int
    overlap: str = ""
    token: str | None = secret(default=None)


@attrs.frozen(kw_only=True)
class WriteValue:
    """Either ``data_stream_id`` or ``pin`` ("v1") selects the datastream."""

    device_id: int
    value: Any
    data_stream_id: int | None = None
    pin: str | None = None


@attrs.frozen(kw_only=True)
class WriteValues:
    """``values`` are keyed by datastream id."""

    device_id: int
    values: dict[str, Any]


@attrs.frozen(kw_only=True)
class RedirectDevice:
    device_id: int
    host: str
    port: int = 80


@attrs.frozen(kw_only=True)
class DeviceId:
    device_id: int


@attrs.frozen(kw_only=True)
class Connected:
    connected: bool


@attrs.frozen(kw_only=True)
class Token:
    """A device's new token; it is shown only here."""

    token: str


@attrs.frozen(kw_only=True)
class Answered:
    """Milliseconds until the device answered; null if it did not."""

    ms: float | None


class DeviceRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _object(self, device: Device) -> DeviceObject:
        return device_object(self._hub, device)

    async def create(self, request: Request) -> Created[DeviceObject]:
        body: CreateDevice = request.body
        org = self._hub.access.organization_for(request, body.org_id)
        template = self._hub.access.template_for(request, org, body.template_id)
        if body.owner_id is not None and self._hub.directory.organization_of(body.owner_id) != org.id:
            raise NotFound(f"User with identifier {body.owner_id} is not found or belong to another organization.")
        new = NewDevice(name=body.name, template=template, token=body.token, org=org.id, owner=body.owner_id)
        [(device, token)] = await self._hub.devices.add([new], request.principal)
        request.subject = f"device {device.id}"
        return Created(value=attrs.evolve(self._object(device), token=token))

    async def import_csv(self, request: Request) -> Created[Sequence[AddedDevice]]:
        org = self._hub.access.organization_for(request, request.body.org_id)
        problems, new_devices = await self._read_csv(request, org)
        if problems:
            problems += self._hub.devices.problems(new_devices, request.principal)
            problems.sort(key=_line_number)
            raise Rejected("\n".join(first_problems(problems)))
        added = await self._hub.devices.add(new_devices, request.principal)
        if added:
            request.subject = f"devices {added[0][0].id} to {added[-1][0].id}"
        return Created(value=[AddedDevice(id=device.id, name=device.name, token=token) for device, token in added])

    async def _read_csv(self, request: Request, org: Organization) -> tuple[list[str], list[NewDevice]]:
        """Return problems with rows as such ("line 3: …"), and the devices of the other rows.

        Other tasks get their turn meanwhile. Raises `Rejected` when a required column is missing, or when there are
        more than `MAX_ROWS` rows.
        """
        problems: list[str] = []
        new_devices: list[NewDevice] = []
        try:
            table = spellings.table(request.body.csv)
            # Names of metadata fields keep their case.
            columns = [name.lower() if name.lower() in COLUMNS else name for name in table.header]
            if missing := [name for name in ("name", "template") if name not in columns]:
                raise Rejected(f"The header has no column {', '.join(missing)}.")
            for number, (line, cells) in enumerate(table.rows, 1):
                if number > MAX_ROWS:
                    raise Rejected(f"The file has more than {MAX_ROWS} rows; split it.")
                if number % ROWS_PER_CHECKPOINT == 0:
                    await trio.lowlevel.checkpoint()
                if not cells:
                    continue
                row = dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))
                if len(cells) > len(columns):
                    problems.append(f"line {line}: has more columns than the header")
                    continue
                try:
                    new_devices.append(self._device_of_row(request, org, line, row))
                except NotFound:
                    problems.append(f"line {line}: there is no template {row['template']!r}")
                except Conflict as error:
                    problems.append(f"line {line}: {error}")
        except ValueError as error:
            problems.append(str(error))
        return problems, new_devices

    def _device_of_row(self, request: Request, org: Organization, line: int, row: dict[str, str]) -> NewDevice:
        """Return the device that a row of CSV describes. Raises as `Access.template_for`."""
        return NewDevice(
            name=row["name"],
            template=self._hub.access.template_for(request, org, row["template"].strip()),
            token=row.get("token", "").strip() or None,
            org=org.id,
            metadata={name: value for name, value in row.items() if name not in COLUMNS and value},
            where=f"line {line}",
        )

    async def list(
        self,
        request: Request,
        *,
        org_id: int | None = None,
        include_sub_org_devices: bool = False,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[DeviceObject]:
        devices = await visible_devices(self._hub, request, org_id, include_sub_organizations=include_sub_org_devices)
        content = await convert_devices(self._hub, devices[page * size : (page + 1) * size], self._object)
        return Page(content=content, total_elements=len(devices))

    async def info(self, request: Request, device_id: int) -> DeviceObject:
        device = self._hub.access.device_for(request, device_id)
        request.version(device.name)
        return await device_details(self._hub, device, request.principal)

    async def base_info(self, request: Request, device_id: int) -> DeviceObject:
        return self._object(self._hub.access.device_for(request, device_id))

    async def by_owner(
        self,
        request: Request,
        owner_email: str,
        *,
        org_id: int | None = None,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[DeviceObject]:
        owner = self._hub.directory.user_by_email(owner_email)
        visible = self._hub.access.devices_for(
            request.principal, VIEW_DEVICES, self._hub.access.organization_for(request, org_id).id
        )
        owned = [device for device in visible if owner is not None and device.owner == owner.id]
        return page_of(owned, page, size, self._object)

    async def by_user_organization(
        self, request: Request, user_email: str, *, page: PageNumber = 0, size: PageSize = PAGE
    ) -> Page[DeviceObject]:
        """The devices of the organization that the user belongs to."""
        user = self._hub.directory.user_by_email(user_email)
        principal = request.principal
        # A caller without users.view learns only about itself: the answer must not tell which addresses are users.
        is_self = user is not None and (principal.kind, principal.id) == ("user", user.id)
        if user is None or not (is_self or self._hub.is_allowed(principal, "users.view", org=user.org)):
            return Page(content=[], total_elements=0)
        devices = self._hub.devices.by_org.get(user.org, {}).values()
        return page_of(self._hub.access.allowed_devices(principal, VIEW_DEVICES, devices), page, size, self._object)

    async def last_activated(
        self,
        request: Request,
        *,
        org_id: int | None = None,
        minutes: Annotated[int, Between(1, 60)] = 5,
        page: PageNumber = 0,
        size: PageSize = PAGE,
    ) -> Page[ActivatedDevice]:
        """Devices that connected for the first time in the last ``minutes``, newest first."""
        org = self._hub.access.organization_for(request, org_id)
        since = self._hub.clock.now() - minutes * 60_000
        devices = self._hub.access.devices_for(request.principal, VIEW_DEVICES, org.id)
        activated = [
            device
            for device in devices
            if device.org == org.id and device.activated is not None and device.activated >= since
        ]
        activated.sort(key=lambda device: -(device.activated or 0))
        return page_of(activated, page, size, activated_device)

    async def rename(self, request: Request, device_id: int) -> DeviceObject:
        device = self._hub.access.device_for(request, device_id)
        request.expect(device.name)
        await self._hub.devices.rename(device, request.body.name, request.principal)
        request.version(device.name)
        return self._object(device)

    async def delete(self, request: Request, device_id: int) -> None:
        await self._hub.devices.delete(self._hub.access.device_for(request, device_id), request.principal)

    async def online(self, request: Request, device_id: int) -> Connected:
        return Connected(connected=self._hub.access.device_for(request, device_id).status == ONLINE)

    async def datastreams(self, request: Request, device_id: int, pins: tuple[str, ...] = ()) -> dict[str, Any]:
        device = self._hub.access.device_for(request, device_id)
        selected = {pin.lower() for pin in pins}
        values = ((f"v{d.pin}", self._hub.writes.current(device, d)) for d in device.template.datastreams)
        return {pin: to_json(value) for pin, value in values if value is not None and (not selected or pin in selected)}

    async def write(self, request: Request) -> None:
        body: WriteValue = request.body
        device = self._hub.access.device_for(request, body.device_id)
        datastream = device.find(body.pin, body.data_stream_id).datastream
        await self._write(request, device, {datastream.id: body.value})

    async def write_several(self, request: Request) -> None:
        body: WriteValues = request.body
        if not body.values or not all(re.fullmatch(r"[0-9]{1,10}", key) for key in body.values):
            raise Rejected("values: must have at least one value, by datastream id")
        device = self._hub.access.device_for(request, body.device_id)
        await self._write(request, device, {int(number): value for number, value in body.values.items()})

    async def _write(self, request: Request, device: Device, values: dict[int, Any]) -> None:
        """Write values by datastream id; return after their commit."""
        datastreams: list[Datastream] = []
        for number in values:
            if (point := device.point(number)) is None:
                raise NotFound(f"Data stream with identifier {number} is not found!")
            datastreams.append(point.datastream)
        writes = [
            Write(device, datastream.pin, from_label(datastream, values[datastream.id]), "api", request.principal)
            for datastream in datastreams
        ]
        try:
            receipt = self._hub.writes.write_all(writes)
        except WrongType as error:
            raise Rejected(_wrong_type(error, datastreams)) from error
        await receipt.durable()

    async def token(self, request: Request) -> Token:
        body: NewToken = request.body
        try:
            overlap = seconds(body.overlap) if body.overlap else 0
        except ValueError as error:
            raise Rejected(f"overlap: {error}") from error
        device = self._hub.access.device_for(request, body.device_id)
        token = await self._hub.tokens.rotate(device, request.principal, int(overlap * 1000), body.token)
        return Token(token=token)

    async def redirect(self, request: Request) -> None:
        body: RedirectDevice = request.body
        if not 0 < body.port < 65536 or not 0 < len(body.host) <= 63 or not body.host.isprintable():
            raise Rejected("host must have 1 to 63 characters, port must be 1 to 65535")
        self._hub.command(self._hub.access.device_for(request, body.device_id), Redirect(body.host, body.port))

    async def reboot(self, request: Request) -> None:
        self._hub.command(self._hub.access.device_for(request, request.body.device_id), Reboot())

    async def reconfigure(self, request: Request) -> None:
        self._hub.command(self._hub.access.device_for(request, request.body.device_id), Reconfigure())

    async def ping(self, request: Request) -> Answered:
        took = await self._hub.sessions.ping(self._hub.access.device_for(request, request.body.device_id))
        return Answered(ms=None if took is None else round(took, 1))


def _line_number(problem: str) -> int:
    """Return 3 for "line 3: …", and 0 for a problem of the file as a whole."""
    return int("0" + problem.partition(":")[0].rpartition(" ")[2])


def _wrong_type(error: WrongType, datastreams: Sequence[Datastream]) -> str:
    """Describe the expected values: the choices of a single enum, else the type of each datastream."""
    if len(datastreams) == 1 and datastreams[0].type == "enum":
        return f"V{datastreams[0].pin} {datastreams[0].name} is {describe_choices(datastreams[0])}."
    expected = ", ".join(f"V{datastream.pin} {datastream.name}: {datastream.type}" for datastream in datastreams)
    return f"{error} ({expected})"


def routes(hub: Hub) -> Sequence[Route]:
    api = DeviceRoutes(hub)
    org, ours = "/api/v1/organization", "/api/v1/device"
    view, control, edit, add = VIEW_DEVICES, "org_devices.control", "org_devices.edit", "org_devices.add"
    delete, tokens = "org_devices.delete", "auth_tokens.edit"
    several, redirect = "Write several values", "Send a device to another server"
    reconfigure, ping = "Ask a device to join another network", "How long a device takes to answer"
    return [
        Route("POST", f"{org}/device/create", api.create, add, "Add a device", CreateDevice),
        Route("POST", f"{ours}/import", api.import_csv, add, "Add devices from CSV", DevicesCsv, max_body=LARGE_BODY),
        Route("GET", f"{org}/devices", api.list, view, "Devices, a page at a time"),
        Route("GET", f"{org}/device", api.info, view, "One device with its values and metadata"),
        Route("GET", f"{org}/device/baseInfo", api.base_info, view, "One device without its values"),
        Route("GET", f"{org}/device/by-owner", api.by_owner, view, "The devices of a user"),
        Route(
            "GET", f"{org}/device/by-user-org", api.by_user_organization, view, "The devices of a user's organization"
        ),
        Route("GET", f"{org}/device/last-activated", api.last_activated, view, "Newly activated devices"),
        Route("PUT", f"{org}/device", api.rename, edit, "Rename a device", Rename, lock="device"),
        Route("DELETE", f"{org}/device", api.delete, delete, "Delete a device and its data"),
        Route("GET", f"{org}/device/online", api.online, view, "Whether a device is connected"),
        Route("GET", f"{org}/device/datastreams", api.datastreams, view, "A device's values by pin"),
        # Quiet: the log of the device's actions records each value with its writer.
        Route("POST", f"{org}/device/datastream", api.write, control, "Write a value", WriteValue, audited=False),
        Route("POST", f"{org}/device/datastreams", api.write_several, control, several, WriteValues, audited=False),
        Route("POST", f"{ours}/token", api.token, tokens, "Give a device a new token", NewToken),
        Route("POST", f"{ours}/redirect", api.redirect, control, redirect, RedirectDevice),
        Route("POST", f"{ours}/reboot", api.reboot, control, "Ask a device to reboot", DeviceId),
        Route("POST", f"{ours}/reconfigure", api.reconfigure, control, reconfigure, DeviceId),
        Route("POST", f"{ours}/ping", api.ping, control, ping, DeviceId, audited=False),
    ]
