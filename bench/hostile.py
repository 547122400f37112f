"""Bench ``hostile``: the requests that block the event loop longest, generated from the hub's routes.

Each route gets bodies of its maximum size, in the shapes that are most expensive to parse. They come from a client
without a token, a device, the device's owner with the role User, and an Admin. A plugin in the hub measures how long
the event loop was blocked.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Any, Union, get_args, get_origin

import attrs
import trio

from bench.hub_process import CONFIG, HubProcess
from bench.ticker import Ticker, install_ticker
from client import operations
from hub.api import Route, json_name
from hub.config import load
from hub.run import running
from plugins.users.model import ADMIN, USER

UNLIMITED = CONFIG + "api_requests_per_minute = 1000000000\nimport_points_per_day = 1000000000\n"
#: Seconds between the last request and the measurement of memory.
SETTLE_SECONDS = 10.0
#: Gaps that the result lists.
MAX_WORST = 10
#: Bytes of a query that fits into the header of a request.
MAX_QUERY = 15_000
PASSWORD = "correct horse battery"
#: A timestamp that the hub accepts, in milliseconds since 1970.
NOW = int(time.time() * 1000)

Body = tuple[str, bytes]


@attrs.frozen
class Case:
    """A request. ``shape`` describes what makes it expensive; ``type`` is its Content-Type."""

    route: Route
    shape: str
    query: str = ""
    body: bytes = b""
    type: str = "application/json"


@attrs.frozen(order=True)
class Gap:
    """The longest time, in milliseconds, for which the event loop was blocked while a request was handled."""

    ms: float
    route: str
    shape: str
    sender: str
    status: int


def hostile(*, repeat: int, verbose: bool) -> dict[str, Any]:
    """The most expensive requests on every route: how long they block the event loop, and how much memory stays."""
    with HubProcess(verbose=verbose, config=UNLIMITED) as hub:
        [token] = hub.add_devices(1)
        hub.stop()
        install_ticker(hub)
        hub.start()
        senders, routes = _senders(hub, token), _routes()
        cases = [case for route in routes for case in _cases(route)]
        if missing := {route.path for route in routes} - {case.route.path for case in cases}:
            raise SystemExit(f"There is no case for the routes {', '.join(sorted(missing))}.")
        rss_before = hub.rss_mb()
        gaps = _measure_gaps(hub, cases, senders)
        for case in cases:
            for sender in senders:
                for _ in range(repeat):
                    sender.send(case)
        time.sleep(SETTLE_SECONDS)
        return {
            "routes": len(routes),
            "requests": len(gaps) * (repeat + 1),
            "longest_gap_ms": round(gaps[0].ms, 1),
            "rss_mb": round(rss_before, 1),
            "grown_mb": round(hub.rss_mb() - rss_before, 1),
            "worst": [
                {
                    "ms": round(gap.ms, 1),
                    "route": gap.route,
                    "shape": gap.shape,
                    "as": gap.sender,
                    "status": gap.status,
                }
                for gap in gaps[:MAX_WORST]
            ],
        }


def _measure_gaps(hub: HubProcess, cases: list[Case], senders: list[_Sender]) -> list[Gap]:
    """Send every case once from each sender; return the gaps, longest first."""
    ticker, gaps = Ticker(hub), []
    for number, case in enumerate(cases):
        print(f"\r{number + 1}/{len(cases)}", end="", file=sys.stderr)
        route = f"{case.route.method} {case.route.path}"
        for sender in senders:
            status = sender.send(case)
            gaps.append(Gap(ticker.longest_gap_ms(), route, case.shape, sender.name, status))
    print(file=sys.stderr)
    return sorted(gaps, reverse=True)


def _routes() -> list[Route]:
    """Return all routes of a hub with the installed plugins."""

    async def collect() -> list[Route]:
        with TemporaryDirectory(prefix="pinwheel-bench-") as data:
            async with running(load().with_data(data), listen=False, safe=True) as hub:
                return [route for route in hub.routes if isinstance(route, Route)]

    return trio.run(collect)


# -- senders ----------------------------------------------------------------------------------------------------------


class _Sender:
    """A client with one connection, which it opens again when the hub has closed it."""

    def __init__(self, hub: HubProcess, name: str, *, bearer: str = "", token: str = "") -> None:
        self.name = name
        self._connection = http.client.HTTPConnection(*hub.address, timeout=120)
        self._headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self._token = f"token={token}&" if token else ""

    def send(self, case: Case) -> int:
        """Send a case; return the status of the response, 0 if the hub closed the connection instead."""
        headers = self._headers | ({"Content-Type": case.type} if case.route.method != "GET" else {})
        path = case.route.path.replace("{", "").replace("}", "")
        try:
            self._connection.request(case.route.method, f"{path}?{self._token}{case.query}", case.body, headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0
        return response.status


def _senders(hub: HubProcess, token: str) -> list[_Sender]:
    """Return a client without a token, the device, an Admin, and a User who owns the device."""
    api = hub.api()
    senders = [_Sender(hub, "nobody"), _Sender(hub, "device", token=token)]
    for name, role in (("Admin", ADMIN), ("User", USER)):
        email = f"{name}@example.org"
        user = api(operations.post_organization_users_create_in_org(email=email, role_id=role, password=PASSWORD))
        api(operations.post_organization_device_transfer(device_id=1, new_user_id=user["id"]))
        login = api(operations.post_login(email=email, password=PASSWORD))
        senders.append(_Sender(hub, name, bearer=login["access_token"]))
    return senders


# -- cases -----------------------------------------------------------------------------------------------------------


def _cases(route: Route) -> Iterator[Case]:
    """Yield the requests for a route."""
    required = "&".join(
        f"{parameter.name}={_plausible(parameter.name, parameter.type)}"
        for parameter in route.parameters
        if parameter.required
    )
    yield Case(route, "many parameters", _repeated("x{}=&", MAX_QUERY).decode())
    yield Case(route, "a long parameter", f"{required}&x=" + "%E2%82%AC" * (MAX_QUERY // 9))
    if route.method == "GET":
        return
    size = route.max_body
    if route.takes == "application/json":
        bodies: Iterator[Body] = _json_bodies(route, size)
    elif route.takes == "multipart/form-data":
        bodies = _multipart_bodies(size)
    else:
        bodies = _form_bodies(size)
    content_type = "multipart/form-data; boundary=b" if route.takes == "multipart/form-data" else route.takes
    for shape, body in bodies:
        yield Case(route, shape, "pin=v0" if route.raw_query else required, body[:size], content_type)


def _json_bodies(route: Route, size: int) -> Iterator[Body]:
    yield "many keys", b"{" + _repeated('"{}":0,', size - 12) + b'"last":0}'
    yield "a long array", b"[" + b"0," * (size // 2 - 2) + b"0]"
    yield "deep nesting", b"[" * size
    yield "deep objects", b'{"a":' * (size // 5)
    yield "quotes", b'"' + b'\\"' * (size // 2 - 1)
    for entry in (b"1", b'"x"'):
        point = b"[%d,%s]" % (NOW, entry)
        yield f"points with {entry.decode()}", _batch(point, size)
        yield f"10,000 points with {entry.decode()}", _batch(point, min(size, 10_000 * (len(point) + 1)))
    if route.body is None:
        return
    fields = attrs.fields(attrs.resolve_types(route.body))
    base = {json_name(field): _plausible(field.name, field.type) for field in fields if field.default is attrs.NOTHING}
    for field in fields:
        for shape, value in _values(field.type, size - len(json.dumps(base)) - 200):
            body = json.dumps(base | {json_name(field): None}).encode()
            yield f"{json_name(field)}: {shape}", body.replace(b": null", b": " + value)


def _values(kind: Any, size: int) -> Iterator[Body]:
    """Yield expensive values of a field with this type, encoded as JSON."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if str in kinds:
        yield "multi-byte text", b'"' + "\N{EURO SIGN}".encode() * (size // 3 - 1) + b'"'
        yield "lines", b'"' + b"x\\n" * (size // 3 - 1) + b'"'
        yield "rows of devices", b'"name,template\\n' + b"a,TMPL0bench\\n" * ((size - 20) // 14) + b'"'
        yield "rows of unknown devices", b'"name,template\\n' + b"a,b\\n" * ((size - 20) // 5) + b'"'
        for table in ("datastream", "event", "metadata", "x"):
            yield f"tables [[{table}]]", b'"' + f"[[{table}]]\\n".encode() * ((size - 20) // (len(table) + 6)) + b'"'
        yield "lines of TOML", b'"' + _repeated("k{}=1\\n", size - 20) + b'"'
    if any(get_origin(alternative) in (list, tuple, dict) for alternative in kinds) or Any in kinds:
        yield "text for a list", b'"' + b"x" * (size - 2) + b'"'
        yield "bad entries", _batch(b"{}", size)
        yield "other bad entries", _batch(b"[[]]", size)
        for entry in (b'[%d,"v0",1]' % NOW, b'[%d,"v0","x"]' % NOW, b'{"ts":%d,"value":1}' % NOW):
            yield f"entries like {entry.decode()}", _batch(entry, size)
            yield f"10,000 entries like {entry.decode()}", _batch(entry, min(size, 10_000 * (len(entry) + 1)))
        yield "whole numbers", _batch(b"1", size)
        yield "many keys", b"{" + _repeated('"{}":0,', size - 12) + b'"last":0}'
        for table in ("datastream", "event", "metadata"):
            inner = _batch(b"{}", size - 60)
            yield f"a document of {table}", b'{"template":{"name":"x"},"%s":%s}' % (table.encode(), inner)
        yield (
            "a document of widgets",
            b'{"template":{"name":"x"},"web":{"tab":[{"name":"x","widget":%s}]}}'
            % _batch(b'{"type":"label"}', size - 80),
        )


def _form_bodies(size: int) -> Iterator[Body]:
    yield "many fields", _repeated("x{}=&", size)
    yield "the same field", b"code=&" * (size // 6)
    yield "multi-byte text", b"code=" + b"%E2%82%AC" * (size // 9 - 1)


def _multipart_bodies(size: int) -> Iterator[Body]:
    part = b'--b\r\nContent-Disposition: form-data; name="upfile"; filename="x"\r\n\r\n'
    yield "many parts", b"--b\r\n\r\n\r\n" * (size // 10)
    yield "many files", (part + b"x\r\n") * (size // (len(part) + 3))
    yield "a long header", b"--b\r\nx: " + b"y" * (size - 10)
    yield "many headers", b"--b\r\n" + b"x: y\r\n" * (size // 6 - 1)
    yield "almost boundaries", part + b"\r\n--" * ((size - 200) // 4) + b"\r\n--b--\r\n"
    yield "carriage returns", part + b"\r" * (size - 200) + b"\r\n--b--\r\n"
    yield "a file", part + b"x" * (5 * 1024 * 1024 - 1) + b"\r\n--b--\r\n"


def _plausible(name: str, kind: Any) -> Any:
    """Return a valid value of a required field or parameter."""
    by_name = {"template_id": "TMPL0bench", "templateId": "TMPL0bench", "pin": "v0", "email": "x@example.org"}
    if name in by_name:
        return by_name[name]
    factories: dict[Any, Callable[[], Any]] = {str: lambda: "x", bool: lambda: False, list: list, dict: dict}
    return factories.get(get_origin(kind) or kind, lambda: 1)()


def _batch(entry: bytes, size: int) -> bytes:
    """Return a JSON array with as many copies of an entry as fit."""
    return b"[" + (entry + b",") * ((size - 2 - len(entry)) // (len(entry) + 1)) + entry + b"]"


def _repeated(text: str, size: int) -> bytes:
    """Return copies of a text, each formatted with its number, up to a size."""
    copies: list[str] = []
    remaining = size
    while remaining > len(text) + 8:
        copies.append(text.format(len(copies)))
        remaining -= len(copies[-1])
    return "".join(copies).encode()
