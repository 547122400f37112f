"""Addresses and ports of listeners."""

from __future__ import annotations

import os
import socket

import pytest
from fixed_ports import remember
from support.listener import TEXT_TEMPLATE, answers_login, listen, startup_error
from support.raw_native import online

from hub.errors import StartupError
from hub.facts import DeviceConnected
from hub.testing import add_device


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_device_connects_over_ipv6(start):
    addresses = []
    async with start(listen("[::1]:0")) as hub:
        hub.subscribe(DeviceConnected, lambda fact: addresses.append(fact.address))
        [(address, tls)] = hub.listener.addresses
        _, token = await add_device(hub, TEXT_TEMPLATE)
        async with online(hub, token):
            pass

    assert (True, False) == (address.startswith("[::1]:"), tls)
    assert ["::1"] == addresses


async def test_listener_with_a_name_listens_on_all_its_addresses(start):
    async with start(listen("localhost:0")) as hub:
        assert hub.listener.addresses
        for listener, (address, _) in enumerate(hub.listener.addresses):
            assert address.rpartition(":")[0] in ("127.0.0.1", "[::1]")
            assert await answers_login(hub, listener=listener)


async def test_addresses_have_the_assigned_ports_in_the_order_of_the_configuration(start):
    async with start(listen() + listen(tls="on") + listen()) as hub:
        hosts, ports = zip(*(address.split(":") for address, _ in hub.listener.addresses), strict=True)

        assert ("127.0.0.1",) * 3 == hosts
        assert [False, True, False] == [tls for _, tls in hub.listener.addresses]
        assert 3 == len(set(ports) - {"0"})
        assert [True, False, True] == [await answers_login(hub, listener=n) for n in range(3)]


async def test_error_names_every_port_in_use_with_its_key(start):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        first, second = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (server, other))
        error = await startup_error(start, listen(first) + listen() + listen(second))

    assert [
        f"configuration: listen[0].address: {first} is taken by another program",
        f"configuration: listen[2].address: {second} is taken by another program",
    ] == list(error.problems)


async def test_hub_whose_port_is_in_use_creates_no_certificates(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        error = await startup_error(start, listen(tls="on") + listen(address))
    assert [f"configuration: listen[1].address: {address} is taken by another program"] == list(error.problems)
    assert not (tmp_path / "data" / "tls").exists()


async def test_ports_are_closed_when_certificates_cannot_be_loaded(start, certificate):
    certificate.key.write_bytes(b"")
    before = len(os.listdir("/proc/self/fd"))
    await startup_error(start, certificate.toml)
    assert before == len(os.listdir("/proc/self/fd"))


async def test_error_about_an_mqtt_port_in_use_names_a_broker_and_suggests_another_port(start):
    with socket.create_server(("127.0.0.1", 0)) as broker:
        host, port = broker.getsockname()
        error = await startup_error(start, listen(f"{host}:{port}") + 'serve = ["mqtt"]\n')
    problem = f"configuration: listen[0].address: {host}:{port} is taken by another program (Mosquitto?);"
    assert [f'{problem} give it another port, such as address = "{host}:{port + 1}"'] == list(error.problems)


async def test_suggested_port_is_not_used_by_the_same_configuration(start):
    with socket.create_server(("127.0.0.1", 0)) as broker:
        host, port = broker.getsockname()
        # It may also be in use by another program.
        remember(port + 1)
        next_port = listen(f"{host}:{port + 1}") + 'serve = ["mqtt"]\n'
        error = await startup_error(start, listen(f"{host}:{port}") + 'serve = ["mqtt"]\n' + next_port)
    assert f'such as address = "{host}:{port + 2}"' in error.problems[0]


async def test_startup_error_is_not_wrapped_in_an_exception_group(start):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(StartupError):
        async with start(listen(f"127.0.0.1:{other.getsockname()[1]}")):
            pass


async def test_error_names_an_address_of_another_machine_with_its_key(start):
    error = await startup_error(start, listen("192.0.2.1:0"))

    assert "listen[0].address: 192.0.2.1:0 " in str(error)
