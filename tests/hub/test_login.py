"""First logins: a plugin creates the device of a token that no device has, over each of the hub's transports."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support import raw_mqtt, raw_native
from support.patience import patient
from support.raw_http import ask
from support.raw_mqtt import until

from connectors.mqtt.packets import V5, V311, Connack, Connect, Kind, Ping
from connectors.native.protocol import Cmd, Status
from hub import SYSTEM, Hello, Principal, hookimpl
from hub.domain import NewDevice
from hub.hooks import HookTimeouts
from hub.testing import add_device

TEMPLATE = """
[template]
id = "TMPL0meter"
name = "Meter"
gateway = true
[[datastream]]
pin = "V0"
name = "Power"
"""
TOKEN, OTHER = "claimed-token-of-a-new-device-01", "another-token-of-a-new-device-02"


class Claims:
    """A plugin that creates a device at its first login, for tokens that were claimed."""

    PINWHEEL_HOOKS = 1

    def __init__(self, name="claims"):
        self.__name__ = name
        self.calls = []
        #: Called with the hub; returns the device.
        self.find_device = self.create
        self.finished = 0

    async def create(self, hub):
        template = hub.templates.by_id["TMPL0meter"]
        [(device, _)] = await hub.devices.add([NewDevice(name="New", template=template, token=TOKEN)], SYSTEM)
        return device

    @hookimpl
    async def hub_login(self, hub, token, hello):
        self.calls.append((token, hello))
        try:
            return await self.find_device(hub) if token == TOKEN else None
        finally:
            self.finished += 1


@pytest.fixture
def claims():
    return Claims()


@pytest.fixture
def hub_plugins(claims):
    return (claims,)


@pytest.fixture
async def known_device(hub):
    """A device that has a token, of the template that new devices get."""
    return await add_device(hub, TEMPLATE)


# -- a login over each transport, with a token ------------------------------------------------------------------------


async def native(hub, token):
    """Whether a native login is accepted."""
    async with raw_native.open_connection(hub) as client:
        return Status.OK == await client.login(token)


async def mqtt(hub, token, username="device"):
    async with raw_mqtt.open_connection(hub) as client:
        return Connack(False, 0) == await client.login(token, username=username)


async def mqtt_gateway(hub, token):
    return await mqtt(hub, token, "mgmt_device")


async def http(hub, token):
    response = await ask(hub, "GET", f"/external/api/update?token={token}&V0=7")
    assert response.status == 200 or response.message == "Invalid token."
    return response.status == 200


TRANSPORTS = pytest.mark.parametrize("login", [native, mqtt, mqtt_gateway, http])


def via(login):
    return login.__name__.partition("_")[0]


def rejections(hub):
    return [rejection.reason for rejection in hub.rejections.recent if "unknown token" in rejection.reason]


@TRANSPORTS
async def test_device_is_created_at_its_first_login_and_known_at_the_next(hub, known_device, claims, login):
    assert await login(hub, TOKEN)
    assert await login(hub, TOKEN)
    assert "New" == hub.tokens.device_for(TOKEN).name
    [(token, hello)] = claims.calls
    assert (TOKEN, Hello(via=via(login), address="127.0.0.1")) == (token, hello)
    assert [] == rejections(hub)


@TRANSPORTS
async def test_known_token_is_not_passed_to_plugins(hub, known_device, claims, login):
    assert await login(hub, known_device[1])
    assert [] == claims.calls


@TRANSPORTS
async def test_token_that_no_plugin_knows_is_rejected_and_recorded(hub, known_device, claims, login):
    assert not await login(hub, OTHER)
    assert [OTHER] == [token for token, _ in claims.calls]
    [reason] = rejections(hub)
    assert "unknown token ending …02" in reason


@TRANSPORTS
@pytest.mark.parametrize("token", ["short", TOKEN + "x", TOKEN[:-1] + "ä"])
async def test_text_that_cannot_be_a_token_is_not_passed_to_plugins(hub, known_device, claims, login, token):
    if login is http:
        token = token.replace("ä", "%C3%A4")
    assert not await login(hub, token)
    assert [] == claims.calls
    assert 1 == len(rejections(hub))


async def test_expired_token_is_not_passed_to_plugins(hub, known_device, claims):
    device, token = known_device
    await hub.tokens.rotate(device, SYSTEM, overlap_ms=1)
    await until(lambda: hub.tokens.device_for(token) is None)
    assert not await native(hub, token)
    assert [] == claims.calls


# -- plugins that fail ------------------------------------------------------------------------------------------------


async def fail(_hub):
    raise RuntimeError("no claims today")


async def hang(_hub):
    await trio.sleep_forever()


async def return_a_principal(_hub):
    return Principal("device", 1)


@pytest.mark.parametrize("find_device", [fail, hang, return_a_principal])
@TRANSPORTS
@pytest.mark.timeouts(HookTimeouts(hook=0.05))
async def test_token_is_rejected_and_an_alarm_is_active_when_the_plugin_fails(
    hub, known_device, claims, login, find_device
):
    claims.find_device = find_device
    assert not await login(hub, TOKEN)
    assert 1 == len(rejections(hub))
    [alarm] = [alarm.text for alarm in hub.active_alarms() if "hub_login" in alarm.text]
    assert "hub_login failed" in alarm
    claims.find_device = claims.create
    assert await login(hub, TOKEN)


async def test_token_is_rejected_when_the_plugin_returns_a_device_with_another_token(hub, known_device, claims):
    async def find_device(_hub):
        return known_device[0]

    claims.find_device = find_device
    assert not await mqtt(hub, TOKEN)
    assert not await native(hub, TOKEN)


class TestSeveralPlugins:
    @pytest.fixture
    def others(self):
        return [Claims(name) for name in ("a_claims", "z_claims")]

    @pytest.fixture
    def hub_plugins(self, claims, others):
        return (claims, *others)

    async def test_first_device_is_used_and_later_plugins_are_not_called(self, hub, known_device, claims, others):
        async def find_none(_hub):
            return None

        others[0].find_device = find_none
        assert await native(hub, TOKEN)
        assert [1, 1, 0] == [len(plugin.calls) for plugin in (others[0], claims, others[1])]


@TRANSPORTS
async def test_second_login_with_a_token_while_its_device_is_being_created_is_accepted(
    hub, known_device, claims, login
):
    """The plugin fails at the second login, because the token is in use by then."""
    both, results = trio.Event(), []

    async def find_device(hub):
        if len(claims.calls) == 2:
            both.set()
        await both.wait()
        return await claims.create(hub)

    claims.find_device = find_device

    async def log_in():
        results.append(await login(hub, TOKEN))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_in)
        nursery.start_soon(log_in)
    assert 2 == len(claims.calls)
    assert [True, True] == results
    assert [] == rejections(hub)


# -- connections that end while the plugin searches -------------------------------------------------------------------


class Gate:
    """Have the plugin create the device at once, and return it when the gate is opened."""

    def __init__(self, claims):
        self.created, self.opened = trio.Event(), trio.Event()
        claims.find_device = self._find_device
        self._claims = claims

    async def _find_device(self, hub):
        device = await self._claims.create(hub)
        self.created.set()
        await self.opened.wait()
        return device


@pytest.fixture
def clock():
    """Trio's and the hub's clock, which a test may put forward."""
    return trio.testing.MockClock(rate=1.0)


@pytest.fixture
def gate(claims):
    return Gate(claims)


async def begin_native_login(hub, client):
    await client.send(Cmd.HW_LOGIN, TOKEN)


async def begin_mqtt_login(hub, client):
    await client.stream.send_all(raw_mqtt.encode(Connect(username="device", password=TOKEN.encode()), V311))


@pytest.mark.parametrize("unread", [b"", b"unread"])
@pytest.mark.parametrize(("raw", "begin"), [(raw_native, begin_native_login), (raw_mqtt, begin_mqtt_login)])
async def test_login_of_a_disconnected_client_does_not_take_over_the_live_connection(
    hub, known_device, claims, gate, raw, begin, unread
):
    async with raw.open_connection(hub) as disconnected:
        await begin(hub, disconnected)
        with trio.fail_after(patient(10)):
            await gate.created.wait()
        if unread:
            await disconnected.stream.send_all(unread)
    async with raw.online(hub, TOKEN) as live:
        session = hub.sessions.get(hub.tokens.device_for(TOKEN).id)
        gate.opened.set()
        await until(lambda: claims.finished)
        await trio.testing.wait_all_tasks_blocked()
        assert [] == await live.received()
        assert session is hub.sessions.get(session.device.id)


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.timeouts(HookTimeouts(hook=3600))
async def test_mqtt_login_after_the_deadline_does_not_take_over_the_live_connection(
    clock, hub, known_device, claims, gate, version
):
    async with raw_mqtt.open_connection(hub, version) as late:
        await late.send(Connect(username="device", password=TOKEN.encode(), version=version))
        with trio.fail_after(patient(10)):
            await gate.created.wait()
        clock.jump(20)
        await late.read_to_end()
        async with raw_mqtt.online(hub, TOKEN) as live:
            session = hub.sessions.get(hub.tokens.device_for(TOKEN).id)
            gate.opened.set()
            await until(lambda: claims.finished)
            await trio.testing.wait_all_tasks_blocked()
            assert [] == await live.received()
            assert session is hub.sessions.get(session.device.id)


@pytest.mark.timeouts(HookTimeouts(hook=3600))
async def test_native_login_after_the_deadline_does_not_take_over_the_live_connection(
    clock, hub, known_device, claims, gate
):
    async with raw_native.open_connection(hub) as late:
        await late.send(Cmd.HW_LOGIN, TOKEN)
        with trio.fail_after(patient(10)):
            await gate.created.wait()
        clock.jump(20)
        await late.read_to_end()
        async with raw_native.online(hub, TOKEN) as live:
            session = hub.sessions.get(hub.tokens.device_for(TOKEN).id)
            gate.opened.set()
            await until(lambda: claims.finished)
            await trio.testing.wait_all_tasks_blocked()
            assert [] == await live.received()
            assert session is hub.sessions.get(session.device.id)


class OAuthClients:
    """A plugin that authenticates OAuth2 clients, the first of them only when ``opened``."""

    PINWHEEL_HOOKS = 1
    __name__ = "oauth_clients"

    def __init__(self):
        self.calls, self.opened, self.finished = 0, trio.Event(), 0

    @hookimpl
    async def hub_authenticate(self, credentials):
        if credentials.kind != "client":
            return None
        self.calls += 1
        if self.calls == 1:
            await self.opened.wait()
            self.finished += 1
        return Principal("program", 7)

    @hookimpl
    def hub_authorize(self, principal):
        return True if principal.kind == "program" else None


class TestOAuthClients:
    @pytest.fixture
    def oauth_clients(self):
        return OAuthClients()

    @pytest.fixture
    def hub_plugins(self, oauth_clients):
        return (oauth_clients,)

    @pytest.mark.timeouts(HookTimeouts(hook=3600))
    async def test_mqtt_login_of_an_oauth_client_after_the_deadline_does_not_take_over_the_live_connection(
        self, clock, hub, oauth_clients
    ):
        connect = {"username": "program", "password": b"secret", "client_id": "gateway", "version": V5}
        async with raw_mqtt.open_connection(hub, V5) as late:
            await late.send(Connect(**connect))
            await until(lambda: oauth_clients.calls)
            clock.jump(20)
            await late.read_to_end()
            async with raw_mqtt.open_connection(hub, V5) as live:
                await live.send(Connect(**connect))
                assert 0 == (await live.next()).reason
                oauth_clients.opened.set()
                await until(lambda: oauth_clients.finished)
                await trio.testing.wait_all_tasks_blocked()
                await live.send(Ping(Kind.PINGREQ))
                assert Ping(Kind.PINGRESP) == await live.next()
