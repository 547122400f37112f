"""What the worst requests do to everybody else: the cases are made from the hub's own table of routes.

Each route gets the largest body that it takes, in every shape that costs a parser most, from nobody, from a device,
from its owner with the role User, and from an Admin. A plugin in the hub measures how long the event loop was held.
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
from hub.run import running

from bench.hubprocess import CONFIG, HubProcess
from client import operations
from hub.api import Route, json_name
from hub.config import load
from plugins.users.model import ADMIN, USER

UNLIMITED = CONFIG + "api_requests_per_minute = 1000000000\nimport_points_per_day = 1000000000\n"
#: Seconds between two looks of the ticker, and after the last request until memory is measured.
TICK, REST = 0.005, 10.0
#: How often each case is sent before memory is measured.
REPEATED = 40
#: Bytes of a query that still fit a request's header.
MAX_QUERY = 15_000
PASSWORD = "correct horse battery"
#: A stamp that the hub takes, in milliseconds UTC.
NOW = int(time.time() * 1000)

#: Measures the longest time between two ticks, less the tick itself.
TICKER = f"""
import time
import trio
from hub import PUBLIC, Response, Route, hookimpl

PINWHEEL_HOOKS = 1
longest = 0.0


async def tick():
    global longest
    before = time.perf_counter()
    while True:
        await trio.sleep({TICK})
        now = time.perf_counter()
        longest = max(longest, now - before - {TICK})
        before = now


@hookimpl
async def hub_start(hub, nursery):
    nursery.start_soon(tick)


@hookimpl
def hub_routes(hub):
    async def ticker(request):
        global longest
        answer, longest = Response(body=str(longest * 1000)), 0.0
        return answer

    return [Route("GET", "/bench/ticker", ticker, PUBLIC, quiet=True)]
"""

Body = tuple[str, bytes]


@attrs.frozen
class Case:
    """One request: ``shape`` is what is wrong with it."""

    route: Route
    shape: str
    query: str = ""
    body: bytes = b""
    type: str = "application/json"


def hostile(repeat: int, *, verbose: bool) -> dict[str, Any]:
    """Every case once, for the longest gap; then each ``repeat`` times, for what stays in memory."""
    with HubProcess(verbose=verbose, config=UNLIMITED) as hub:
        plugins = hub.data / "plugins"
        plugins.mkdir()
        (plugins / "ticker.py").write_text(TICKER)
        [token] = hub.devices(1)
        hub.stop()
        hub.start()
        senders, ticker = _senders(hub, token), _Ticker(hub)
        routes = _routes()
        cases = [case for route in routes for case in _cases(route)]
        if missing := {route.path for route in routes} - {case.route.path for case in cases}:
            raise SystemExit(f"no case for {', '.join(sorted(missing))}")
        gaps, before = [], hub.rss()
        for number, case in enumerate(cases):
            print(f"\r{number + 1}/{len(cases)}", end="", file=sys.stderr)
            for sender in senders:
                status = sender.send(case)
                gaps.append((ticker.gap(), f"{case.route.method} {case.route.path}", case.shape, sender.name, status))
        for case in cases:
            for sender in senders:
                for _ in range(repeat):
                    sender.send(case)
        time.sleep(REST)
        print(file=sys.stderr)
        gaps.sort(reverse=True)
        return {
            "routes": len(routes),
            "requests": len(gaps) * (repeat + 1),
            "longest_gap_ms": round(gaps[0][0], 1),
            "rss_mb": round(before, 1),
            "grown_mb": round(hub.rss() - before, 1),
            "worst": [
                {"ms": round(ms, 1), "route": route, "shape": shape, "as": who, "status": status}
                for ms, route, shape, who, status in gaps[:10]
            ],
        }


def _routes() -> list[Route]:
    """All routes of a hub with the plugins that are installed."""

    async def found() -> list[Route]:
        with TemporaryDirectory(prefix="pinwheel-bench-") as data:
            async with running(load().with_data(data), listen=False, safe=True) as hub:
                return [route for route in hub.routes if isinstance(route, Route)]

    return trio.run(found)


class _Ticker:
    def __init__(self, hub: HubProcess) -> None:
        self._connection = http.client.HTTPConnection(*hub.address, timeout=120)

    def gap(self) -> float:
        """Milliseconds that the loop was held at most since this was asked last."""
        self._connection.request("GET", "/bench/ticker")
        return float(self._connection.getresponse().read())


# -- who sends --------------------------------------------------------------------------------------------------------


class _Sender:
    """One connection, that is made anew when the hub has ended it."""

    def __init__(self, hub: HubProcess, name: str, *, bearer: str = "", token: str = "") -> None:
        self.name = name
        self._connection = http.client.HTTPConnection(*hub.address, timeout=120)
        self._headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self._token = f"token={token}&" if token else ""

    def send(self, case: Case) -> int:
        """Send a case; its status, 0 when the hub ended the connection while it was being sent."""
        headers = self._headers | ({"Content-Type": case.type} if case.route.method != "GET" else {})
        path = case.route.path.replace("{", "").replace("}", "")
        try:
            self._connection.request(case.route.method, f"{path}?{self._token}{case.query}", case.body, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0
        return answer.status


def _senders(hub: HubProcess, token: str) -> list[_Sender]:
    """Nobody, the device, an Admin, and a User who owns the device."""
    api = hub.api()
    senders = [_Sender(hub, "nobody"), _Sender(hub, "device", token=token)]
    for name, role in (("Admin", ADMIN), ("User", USER)):
        email = f"{name}@example.org"
        user = api(operations.post_organization_users_create_in_org(email=email, role_id=role, password=PASSWORD))
        api(operations.post_organization_device_transfer(device_id=1, new_user_id=user["id"]))
        login = api(operations.post_login(email=email, password=PASSWORD))
        senders.append(_Sender(hub, name, bearer=login["access_token"]))
    return senders


# -- what is sent -----------------------------------------------------------------------------------------------------


def _cases(route: Route) -> Iterator[Case]:
    """Everything that a route is sent."""
    required = "&".join(f"{one.name}={_plausible(one.name, one.type)}" for one in route.parameters if one.required)
    yield Case(route, "many parameters", _repeated("x{}=&", MAX_QUERY).decode())
    yield Case(route, "a long parameter", f"{required}&x=" + "%E2%82%AC" * (MAX_QUERY // 9))
    if route.method == "GET":
        return
    size = route.max_body
    if route.takes == "application/json":
        shapes: Iterator[Body] = _json(route, size)
    elif route.takes == "multipart/form-data":
        shapes = _multipart(size)
    else:
        shapes = _form(size)
    kind = "multipart/form-data; boundary=b" if route.takes == "multipart/form-data" else route.takes
    for shape, body in shapes:
        yield Case(route, shape, "pin=v0" if route.raw_query else required, body[:size], kind)


def _json(route: Route, size: int) -> Iterator[Body]:
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
    base = {json_name(f): _plausible(f.name, f.type) for f in fields if f.default is attrs.NOTHING}
    for field in fields:
        for shape, value in _values(field.type, size - len(json.dumps(base)) - 200):
            whole = json.dumps(base | {json_name(field): None}).encode()
            yield f"{json_name(field)}: {shape}", whole.replace(b": null", b": " + value)


def _values(kind: Any, size: int) -> Iterator[Body]:
    """The largest values of a field, as JSON."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if str in kinds:
        yield "multi-byte text", b'"' + "\N{EURO SIGN}".encode() * (size // 3 - 1) + b'"'
        yield "lines", b'"' + b"x\\n" * (size // 3 - 1) + b'"'
        yield "rows of devices", b'"name,template\\n' + b"a,TMPL0bench\\n" * ((size - 20) // 14) + b'"'
        yield "rows of unknown devices", b'"name,template\\n' + b"a,b\\n" * ((size - 20) // 5) + b'"'
        for table in ("datastream", "event", "metadata", "x"):
            yield f"tables [[{table}]]", b'"' + f"[[{table}]]\\n".encode() * ((size - 20) // (len(table) + 6)) + b'"'
        yield "lines of TOML", b'"' + _repeated("k{}=1\\n", size - 20) + b'"'
    if any(get_origin(one) in (list, tuple, dict) for one in kinds) or Any in kinds:
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


def _form(size: int) -> Iterator[Body]:
    yield "many fields", _repeated("x{}=&", size)
    yield "the same field", b"code=&" * (size // 6)
    yield "multi-byte text", b"code=" + b"%E2%82%AC" * (size // 9 - 1)


def _multipart(size: int) -> Iterator[Body]:
    part = b'--b\r\nContent-Disposition: form-data; name="upfile"; filename="x"\r\n\r\n'
    yield "many parts", b"--b\r\n\r\n\r\n" * (size // 10)
    yield "many files", (part + b"x\r\n") * (size // (len(part) + 3))
    yield "a long header", b"--b\r\nx: " + b"y" * (size - 10)
    yield "many headers", b"--b\r\n" + b"x: y\r\n" * (size // 6 - 1)
    yield "almost boundaries", part + b"\r\n--" * ((size - 200) // 4) + b"\r\n--b--\r\n"
    yield "carriage returns", part + b"\r" * (size - 200) + b"\r\n--b--\r\n"
    yield "a file", part + b"x" * (5 * 1024 * 1024 - 1) + b"\r\n--b--\r\n"


def _plausible(name: str, kind: Any) -> Any:
    """A value that a required field or parameter may have."""
    names = {"template_id": "TMPL0bench", "templateId": "TMPL0bench", "pin": "v0", "email": "x@example.org"}
    if name in names:
        return names[name]
    makers: dict[Any, Callable[[], Any]] = {str: lambda: "x", bool: lambda: False, list: list, dict: dict}
    return makers.get(get_origin(kind) or kind, lambda: 1)()


def _batch(entry: bytes, size: int) -> bytes:
    """An array of as many as fit."""
    return b"[" + (entry + b",") * ((size - 2 - len(entry)) // (len(entry) + 1)) + entry + b"]"


def _repeated(text: str, size: int) -> bytes:
    """A text with a number in it, again and again, up to a size."""
    pieces: list[str] = []
    left, number = size, 0
    while left > len(text) + 8:
        pieces.append(text.format(number))
        left -= len(pieces[-1])
        number += 1
    return "".join(pieces).encode()
