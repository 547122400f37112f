"""The console's store with a real hub: logins, the live link, writes, lists and charts."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import attrs
import pytest
from support.patience import patient
from support.raw_http import local_key
from support.relay import open_relay

from client import aio
from client.errors import Forbidden, NotAuthenticated, Rejected, RequestError, Unavailable
from client.operations import get_profile, post_devices_search
from hub.model import SYSTEM
from hub.run import running
from hub.testing import add_device, address_of
from hub.writes import Write
from plugins.users.passwords import blynk_hash
from plugins.users.service import UsersService
from tui.store import session as session_module
from tui.store import stream as stream_module
from tui.store import write_states
from tui.store.certificates import fetch_fingerprint
from tui.store.devices import DeviceQuery
from tui.store.history import LineKey
from tui.store.hubs import Hubs, KnownHub
from tui.store.session import Session, canonical_url
from tui.store.stream import Interest
from tui.store.values import State
from tui.store.write_states import Phase

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"
TEMPLATE = """
[template]
id = "TMPL0console"
name = "Console"
[[datastream]]
pin = "V0"
name = "Value"
type = "double"
min = 0
max = 100
[[datastream]]
pin = "V3"
name = "Mode"
type = "integer"
min = 0
max = 9
confirm = "1s"
"""


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(aio, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(aio, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(stream_module, "DEBOUNCE", 0.01)
    monkeypatch.setattr(session_module, "PROFILE_PAUSE", 0.0)
    monkeypatch.setattr(write_states, "FLASH", patient(10))


@pytest.fixture
def hubs(tmp_path):
    return Hubs(tmp_path / "console")


class Console:
    """Runs a session in the asyncio loop."""

    def __init__(self, loop):
        self.loop = loop
        self.sessions = []

    async def open(self, make, *args, interest=None):
        """A session that runs; ``make`` is one of its constructors."""

        async def start():
            session = await make(*args)
            if interest is not None:
                session.feed.show(interest)
            self.sessions.append((session, asyncio.create_task(session.run())))
            return session

        return await self.loop.run(start)

    async def until(self, condition):
        async def wait():
            while not condition():
                await asyncio.sleep(0.005)

        await self.loop.run(wait)

    async def call(self, function, *args):
        """Call a plain function in the loop."""

        async def call():
            return function(*args)

        return await self.loop.run(call)

    async def aclose(self):
        async def close():
            for session, task in self.sessions:
                await session.aclose()
                with suppress(RequestError):
                    await task

        await self.loop.run(close)


@pytest.fixture
async def console(loop, relay):
    console = Console(loop)
    yield console
    await console.aclose()


@pytest.fixture
async def device(hub):
    device, _ = await add_device(hub, TEMPLATE, "Boiler 3")
    return device


@pytest.fixture
async def ada(hub):
    await hub.service(UsersService).add_first_administrator(EMAIL, "Ada", blynk_hash(EMAIL, PASSWORD))


async def write(hub, device, pin, value):
    await hub.write(Write(device, pin, value, "test", SYSTEM)).durable()


def shown(session, device, pin):
    value = session.values.get((device.id, pin))
    return value and (value.raw, value.state)


async def test_values_are_live_stale_and_live_again(hub, device, relay, console):
    await write(hub, device, 0, 1.5)
    session = await console.open(Session.with_key, relay.url, local_key(hub), interest=Interest(device=device.id))
    assert session.profile is None
    assert session.may("anything")
    await console.until(lambda: shown(session, device, 0) == (1.5, State.LIVE))
    relay.lead_to(None)
    relay.cut()
    await console.until(lambda: shown(session, device, 0) == (1.5, State.STALE))
    assert "connection to the hub" in session.feed.link.reason or "does not answer" in session.feed.link.reason
    await write(hub, device, 0, 2.5)
    relay.lead_to(hub)
    await console.until(lambda: shown(session, device, 0) == (2.5, State.LIVE))


async def test_draws_have_the_changed_values(hub, device, relay, console):
    session = await console.open(Session.with_key, relay.url, local_key(hub), interest=Interest(device=device.id))
    drawn = []
    session.on_draw = drawn.append
    await console.until(lambda: session.feed.link.is_live)
    await write(hub, device, 0, 2.5)
    await console.until(lambda: any((device.id, 0) in keys for keys in drawn))


async def test_write_is_done_by_the_echo_and_taken_back_without_the_board(hub, device, relay, console):
    await hub.write(Write(device, 3, 1, "native", device.as_principal())).durable()
    session = await console.open(Session.with_key, relay.url, local_key(hub), interest=Interest(device=device.id))
    await console.until(lambda: shown(session, device, 0) or session.values.get((device.id, 3)))
    await console.call(session.writes.write, (device.id, 0), 21)
    await console.until(lambda: session.writes.get((device.id, 0)) is None)
    assert (21, State.LIVE) == shown(session, device, 0)
    await console.call(session.writes.write, (device.id, 3), 2)
    await console.until(lambda: session.writes.get((device.id, 3)).phase is Phase.WAITING)
    assert (2, State.PENDING) == shown(session, device, 3)
    await console.until(lambda: session.writes.get((device.id, 3)).phase is Phase.TAKEN_BACK)
    assert (1, State.LIVE) == shown(session, device, 3)
    # Without a value from before, the hub keeps the new one.
    other, _ = await add_device(hub, TEMPLATE, "Boiler 4")
    await console.call(session.feed.show, Interest(device=other.id))
    await console.call(session.writes.write, (other.id, 3), 2)
    await console.until(lambda: session.writes.get((other.id, 3)).phase is Phase.UNCONFIRMED)
    assert (2, State.LIVE) == shown(session, other, 3)
    await console.call(session.writes.write, (device.id, 9), 2)
    await console.until(lambda: session.writes.get((device.id, 9)).phase is Phase.REFUSED)
    assert "V9" in session.writes.get((device.id, 9)).sentence


async def test_list_has_rows_with_values_and_follows_the_hub(hub, device, relay, console, loop):
    await write(hub, device, 0, 1.5)
    query = DeviceQuery(sort_by="name", values=("V0",))
    session = await console.open(Session.with_key, relay.url, local_key(hub))
    page = await loop.run(session.devices.load, query, 0)
    assert (device.id,) == page.ids
    row = session.devices.row(device.id)
    assert ("Boiler 3", False, "1.5") == (row.name, row.is_online, row.values["V0"])
    assert (1.5, State.STALE) == shown(session, device, 0)
    await console.call(session.feed.show, Interest(pages=(page.ids,), lists=True))
    await console.until(lambda: shown(session, device, 0) == (1.5, State.LIVE))
    # A device that another client adds outdates the list.
    other, _ = await add_device(hub, TEMPLATE, "Attic")
    await console.until(lambda: session.devices.missing(query, 0, 50) == [0])
    assert (other.id, device.id) == (await loop.run(session.devices.load, query, 0)).ids
    await hub.devices.delete(other, SYSTEM)
    await console.until(lambda: session.devices.row(other.id).is_gone)


async def test_chart_is_fetched_and_continued(hub, device, relay, console, loop):
    line = LineKey(device.id, 0, "1h")
    await write(hub, device, 0, 1.5)
    session = await console.open(Session.with_key, relay.url, local_key(hub), interest=Interest(device=device.id))
    await console.until(lambda: shown(session, device, 0) == (1.5, State.LIVE))
    assert [1.5] == (await loop.run(session.history.load, line)).values
    await write(hub, device, 0, 2.5)
    await console.until(lambda: session.history.line(line).values == [1.5, 2.5])
    await console.call(session.history.outdate)
    assert [1.5, 2.5] == (await loop.run(session.history.load, line)).values
    for name in ("6h", "1w", "3y"):
        assert 1 == len((await loop.run(session.history.load, LineKey(device.id, 0, name))).values)


async def test_login_is_remembered_resumed_and_shared_by_two_consoles(hub, ada, relay, console, hubs, loop):
    with pytest.raises(NotAuthenticated):
        await loop.run(Session.log_in, hubs, relay.url, EMAIL, "wrong password")
    assert [] == hubs.load()
    first = await console.open(Session.log_in, hubs, relay.url + "/", EMAIL, PASSWORD)
    assert EMAIL == first.profile["email"]
    assert "" == first.problem
    [known] = hubs.load()
    assert (relay.url, EMAIL) == (known.url, known.email)
    second = await console.open(Session.resume, hubs, known)
    assert EMAIL == second.profile["email"]
    [exchanged] = hubs.load()
    assert known.refresh_token != exchanged.refresh_token
    # The first console refreshes with the token that the second one has stored.
    assert await loop.run(first.remote.refresh, first.remote.token)
    assert EMAIL == (await loop.run(first, get_profile()))["email"]
    await loop.run(first.log_out, hubs)
    assert "" == hubs.load()[0].refresh_token
    with pytest.raises(NotAuthenticated):
        await loop.run(second, get_profile())
    await console.until(lambda: not second.is_logged_in)
    with pytest.raises(NotAuthenticated):
        await loop.run(Session.resume, hubs, hubs.load()[0])


async def test_logout_forgets_the_token_when_the_hub_is_gone(hub, ada, relay, console, hubs, loop):
    session = await console.open(Session.log_in, hubs, relay.url, EMAIL, PASSWORD)
    relay.lead_to(None)
    relay.cut()
    await loop.run(session.log_out, hubs)
    assert "" == hubs.load()[0].refresh_token


async def test_file_that_cannot_be_used_does_not_prevent_a_login(hub, ada, relay, console, hubs, loop):
    hubs.path.parent.mkdir()
    hubs.path.write_text("garbage")
    hubs.path.chmod(0o600)
    session = await console.open(Session.log_in, hubs, relay.url, EMAIL, PASSWORD)
    assert "is not TOML" in session.problem
    assert await loop.run(session.remote.refresh, session.remote.token)
    assert "garbage" == hubs.path.read_text()


async def test_lost_right_has_the_profile_fetched_again(hub, ada, relay, console, hubs, loop, monkeypatch):
    session = await console.open(Session.log_in, hubs, relay.url, EMAIL, PASSWORD)
    assert session.may("org_devices.control")
    told = []
    session.on_profile = lambda: told.append(session.profile["name"])
    remote = session.remote
    session.profile = {**session.profile, "name": "before"}

    async def forbid(call):
        raise Forbidden("not allowed")

    monkeypatch.setattr(session, "remote", forbid)

    async def refused():
        with pytest.raises(Forbidden):
            await session(post_devices_search())
        session.remote = remote

    await loop.run(refused)
    await console.until(lambda: told == ["Ada"])


async def test_restored_hub_has_the_store_dropped(hub, device, relay, console, loop):
    await write(hub, device, 0, 1.5)
    session = await console.open(Session.with_key, relay.url, local_key(hub), interest=Interest(device=device.id))
    query = DeviceQuery()
    await loop.run(session.devices.load, query, 0)
    await console.until(lambda: shown(session, device, 0) == (1.5, State.LIVE))

    def pretend_another_device():
        # As if the id had been another device's before.
        session.devices.outdate()
        row = session.devices.row(device.id)
        session.devices._rows[device.id] = attrs.evolve(row, created=row.created - 1)
        session.values.apply_state({"device": device.id, "values": {"v0": 9, "v1": "from before"}})

    await console.call(pretend_another_device)
    await loop.run(session.devices.load, query, 0)
    await console.until(lambda: shown(session, device, 0) == (1.5, State.LIVE))
    assert session.values.get((device.id, 1)) is None


async def test_hub_that_does_not_answer_and_nonsense_are_reported(loop, hubs, hub, relay):
    relay.lead_to(None)
    with pytest.raises(Unavailable):
        await loop.run(Session.log_in, hubs, relay.url, EMAIL, PASSWORD)
    with pytest.raises(Rejected, match="not the address of a hub"):
        await loop.run(Session.log_in, hubs, "garage", EMAIL, PASSWORD)
    assert [] == hubs.load()
    assert "https://garage.lan:9443" == canonical_url("https://Garage.lan:9443/")


@pytest.mark.parametrize("hub_toml", ['[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n'])
async def test_pinned_certificate_is_the_only_one_that_is_trusted(hub, loop):
    host, port = address_of(hub)
    url = f"https://{host}:{port}"
    with pytest.raises(Unavailable, match="certificate"):
        await loop.run(Session.with_key, url, local_key(hub))
    fingerprint = await loop.run(fetch_fingerprint, url)
    assert 64 == len(fingerprint)
    console = Console(loop)
    session = await console.open(Session.with_key, url, local_key(hub), fingerprint)
    await console.until(lambda: session.feed.link.is_live)
    await console.aclose()
    with pytest.raises(Unavailable, match="not the one that you trust"):
        await loop.run(Session.with_key, url, local_key(hub), "00" * 32)


async def test_restarted_hub_is_right_again(hub_config, loop):
    async with open_relay() as relay:
        console = Console(loop)
        async with running(hub_config) as hub:
            relay.lead_to(hub)
            device, _ = await add_device(hub, TEMPLATE)
            await write(hub, device, 0, 1.5)
            key = local_key(hub)
            session = await console.open(Session.with_key, relay.url, key, interest=Interest(device=device.id))
            await console.until(lambda: shown(session, device, 0) == (1.5, State.LIVE))
            relay.lead_to(None)
        await console.until(lambda: shown(session, device, 0) == (1.5, State.STALE))
        async with running(hub_config) as hub:
            relay.lead_to(hub)
            await write(hub, hub.devices.by_id[device.id], 0, 2.5)
            await console.until(lambda: shown(session, device, 0) == (2.5, State.LIVE))
            await console.aclose()


def test_known_hub_has_no_token_in_its_representation():
    assert "secret" not in repr(KnownHub("http://a", "ada", "secret"))
