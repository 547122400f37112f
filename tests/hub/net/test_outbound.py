"""HTTP requests out of the hub: which addresses they may reach, TLS, limits, deadlines and retries."""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import trustme
from support.patience import brief, patient

from hub.errors import StartupError
from hub.net import Outbound, OutboundError, OutboundResponse, RetryPolicy, with_retries
from hub.net.outbound import MAX_HEAD, MAX_RESPONSE

LOOPBACK = ["127.0.0.0/8"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A server on a free port of the loopback interface: records each request and answers with ``answer``."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.names = []
        self.connections = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, stream):
        self.connections += 1
        with trio.CancelScope() as scope:
            try:
                await self._serve(stream)
            except (trio.BrokenResourceError, ssl.SSLError):
                scope.cancel()
            finally:
                await trio.aclose_forcefully(stream)

    async def _serve(self, stream):
        request = h11.Connection(h11.SERVER)
        while (event := request.next_event()) is h11.NEED_DATA:
            request.receive_data(await stream.receive_some(4096))
        if not isinstance(event, h11.Request):
            return
        body = b""
        while not isinstance(part := request.next_event(), h11.EndOfMessage):
            if part is h11.NEED_DATA:
                request.receive_data(await stream.receive_some(4096))
            else:
                body += part.data
        headers = {name.decode(): value.decode() for name, value in event.headers}
        self.requests.append((event.method.decode(), event.target.decode(), headers, body))
        if isinstance(self.answer, bytes):
            await stream.send_all(self.answer)
        else:
            await self.answer(stream)


@pytest.fixture
async def serve(nursery):
    """Starts a server that gives some answer, with TLS if it gets a context."""

    async def start(answer=OK, context=None):
        server = Server(answer)
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listener.socket.getsockname()[1]
        if context is not None:
            context.sni_callback = lambda _connection, name, _context: server.names.append(name)
            listener = trio.SSLListener(listener, context, https_compatible=True)
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        return server

    return start


@pytest.fixture
def resolver(monkeypatch):
    """Answers of DNS by name, each a list of addresses for each question; the last is repeated."""
    real, answers, asked = socket.getaddrinfo, {}, []

    def getaddrinfo(name, port, *args, **more):
        if name not in answers:
            return real(name, port, *args, **more)
        asked.append(name)
        addresses = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    answers["asked"] = asked
    return answers


def loopback(**more):
    return Outbound(allowed_networks=LOOPBACK, **more)


async def failure(url, outbound=None, method="GET", headers=None, body=b""):
    with trio.fail_after(patient(10)), pytest.raises(OutboundError) as failed:
        await (outbound or loopback()).request(method, url, headers, body)
    return failed.value


# -- requests and responses ---------------------------------------------------------------------------------------------


async def test_request_arrives_with_its_method_path_headers_and_body(serve):
    server = await serve(b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nX-Id: 8\r\nContent-Length: 4\r\n\r\ndone")

    response = await loopback().request("POST", f"{server.url}hook?key=ä%20b#part", {"X-Event": "alarm"}, b'{"a":1}')

    assert (201, b"done", "7") == (response.status, response.body, response.header("x-id"))
    assert (("x-id", "7"), ("x-id", "8"), ("content-length", "4")) == response.headers
    [(method, target, headers, body)] = server.requests
    assert ("POST", "/hook?key=%C3%A4%20b", b'{"a":1}') == (method, target, body)
    assert f"127.0.0.1:{server.port}" == headers["host"]
    assert ("alarm", "7", "close") == (headers["x-event"], headers["content-length"], headers["connection"])
    assert headers["user-agent"].startswith("Pinwheel/")


async def test_post_without_a_body_has_a_length(serve):
    server = await serve()
    await loopback().request("POST", server.url)
    assert "0" == server.requests[0][2]["content-length"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
    ],
    ids=["chunked", "until the end", "HTTP/1.0", "after informational responses"],
)
async def test_body_is_read_however_its_end_is_marked(serve, answer):
    server = await serve(answer)
    assert b"hello" == (await loopback().request("GET", server.url)).body


async def test_response_to_head_has_no_body(serve):
    server = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n")
    assert b"" == (await loopback().request("HEAD", server.url)).body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_a_response_and_not_followed(serve, status):
    other = await serve()
    server = await serve(
        b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, other.url.encode())
    )

    response = await loopback().request("POST", server.url)

    assert (status, other.url) == (response.status, response.header("location"))
    assert 0 == other.connections


async def test_proxies_of_the_environment_are_ignored(serve, monkeypatch):
    server, proxy = await serve(), await serve()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    await loopback().request("GET", server.url)
    assert (1, 0) == (server.connections, proxy.connections)


async def test_each_request_has_its_own_connection_which_is_closed(serve):
    ended = []

    async def until_closed(stream):
        await stream.send_all(OK)
        ended.append(await stream.receive_some())

    server = await serve(until_closed)
    for _ in range(2):
        assert b"ok" == (await loopback().request("GET", server.url)).body
    with trio.fail_after(patient(5)):
        while len(ended) < 2:
            await trio.sleep(0.005)
    assert [b"", b""] == ended


async def test_early_response_of_a_server_that_does_not_read_the_body_is_returned(nursery):
    async def reject(stream):
        await stream.receive_some(100)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, reject, [listener])
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    try:
        assert 413 == (await loopback().request("POST", url, body=bytes(200_000))).status
    except OutboundError as error:
        # The kernel may drop the response when it resets the connection.
        assert error.temporary


# -- addresses ----------------------------------------------------------------------------------------------------------

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", REFUSED)
async def test_address_that_is_not_public_is_refused(address, monkeypatch, resolver):
    def connect(*_args):
        raise AssertionError("a socket was made")

    monkeypatch.setattr(trio.socket, "socket", connect)
    resolver["hook.example"] = [[address]]
    host = f"[{address}]" if ":" in address else address

    literal = await failure(f"http://{host}/", Outbound())
    name = await failure("http://hook.example/", Outbound())

    for error in (literal, name):
        assert "not public" in str(error)
        assert not error.temporary
    assert "hook.example:80 is refused: its address" in str(name)


@pytest.mark.parametrize("address", ["8.8.8.8", "100.63.255.255", "172.32.0.1", "2a00:1450:4001::1", "2606:4700::1111"])
async def test_public_address_is_connected_to(address, monkeypatch, resolver):
    dialled = []

    class Socket:
        def __init__(self, *_kind):
            pass

        async def connect(self, to):
            dialled.append(to)
            raise OSError(101, "Network is unreachable")

        def close(self):
            pass

    monkeypatch.setattr(trio.socket, "socket", Socket)
    resolver["hook.example"] = [[address]]

    error = await failure("http://hook.example:8080/", Outbound())

    assert [(address, 8080)] == dialled
    assert "cannot connect to hook.example:8080: Network is unreachable" == str(error)
    assert error.temporary


async def test_allowed_network_opens_only_itself(serve):
    server = await serve()
    only = Outbound(allowed_networks=["127.0.0.1/32"])
    assert 200 == (await only.request("GET", server.url)).status
    assert "not public" in str(await failure(f"http://127.0.0.2:{server.port}/", only))
    assert "not public" in str(await failure(f"http://[::ffff:127.0.0.1]:{server.port}/", only))
    assert "not public" in str(await failure(f"http://[::1]:{server.port}/", only))
    assert 1 == server.connections


async def test_ipv6_address_is_connected_to_and_named_in_brackets(nursery):
    server = Server(OK)
    try:
        [listener] = await trio.open_tcp_listeners(0, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    nursery.start_soon(trio.serve_listeners, server.serve, [listener])
    host = f"[::1]:{listener.socket.getsockname()[1]}"
    assert 200 == (await Outbound(allowed_networks=["::1/128"]).request("GET", f"http://{host}/")).status
    assert host == server.requests[0][2]["host"]


@pytest.mark.parametrize("network", ["127.0.0.1/8", "localhost", ""])
def test_network_that_is_not_valid_is_rejected_at_the_start(network):
    with pytest.raises(StartupError, match="is not valid"):
        Outbound(allowed_networks=[network])


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "0x7f.1",
        "0x7f.0x1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.0x1",
        "127.0.0.1.",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "[::1%25lo]",
        "[fe80::1%25eth0]",
        "[::1",
        "[127.0.0.1]x",
        "127.0.0.1%00.example.org",
    ],
)
async def test_address_in_an_unusual_spelling_is_never_connected_to(serve, host):
    server = await serve()
    error = await failure(f"http://{host}:{server.port}/")
    assert not error.temporary
    assert 0 == server.connections


async def test_address_with_a_zone_is_rejected_even_in_an_allowed_network():
    allowed = Outbound(allowed_networks=["fe80::/10", "::1/128"])
    for host in ("fe80::1%25lo", "::1%251"):
        assert "is not valid: write an address as" in str(await failure(f"http://[{host}]/", allowed))


async def test_name_is_resolved_once_so_that_a_second_answer_leads_nowhere(serve, resolver):
    server, other = await serve(), await serve()
    resolver["rebind.example"] = [["127.0.0.1"], ["127.0.0.2"]]

    response = await Outbound(allowed_networks=["127.0.0.1/32"]).request("GET", f"http://rebind.example:{server.port}/")

    assert 200 == response.status
    assert ["rebind.example"] == resolver["asked"]
    assert f"rebind.example:{server.port}" == server.requests[0][2]["host"]
    assert 0 == other.connections


async def test_addresses_of_a_name_that_are_refused_are_left_out(serve, resolver):
    server = await serve()
    resolver["mixed.example"] = [["10.0.0.1", "::1", "127.0.0.2", "127.0.0.1"]]
    only = Outbound(allowed_networks=["127.0.0.1/32"])
    assert 200 == (await only.request("GET", f"http://mixed.example:{server.port}/")).status


async def test_next_address_is_tried_when_one_refuses_the_connection(serve, resolver):
    server = await serve()
    resolver["two.example"] = [["127.0.0.9", "127.0.0.1"]]
    assert 200 == (await loopback().request("GET", f"http://two.example:{server.port}/")).status


async def test_name_that_does_not_exist_is_a_temporary_error(monkeypatch):
    def getaddrinfo(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = await failure("http://nowhere.example/")
    assert "cannot resolve the name nowhere.example: Name or service not known" == str(error)
    assert error.temporary


async def test_closed_port_is_a_temporary_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert "Connection refused" in str(error)
    assert error.temporary


# -- what is not sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/\r\nX-Evil: 1",
        "http://127.0.0.1:{}/a\nb",
        "http://127.0.0.1:{}/a b",
        "http://127.0.0.1:{}/a\tb",
        "http://127.0.0.1\r\n:{}/",
        "\x00http://127.0.0.1:{}/",
        " http://127.0.0.1:{}/",
        "http://127.0.0.1:{}\\@example.org/",
        "http://user:secret@127.0.0.1:{}/",
        "http://user@127.0.0.1:{}/",
        "http://@127.0.0.1:{}/",
        "http://secret:x@[127.0.0.1]:{}/",
        "http://secret℀@127.0.0.1:{}/",
        "http://127.0.0.1:{}/\ud800",
        "http://\ud800:{}/",
        "ftp://127.0.0.1:{}/",
        "file:///etc/passwd",
        "//127.0.0.1:{}/",
        "127.0.0.1:{}",
        "http://:{}/",
        "http:///path",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:8٠/",
        "http://a..b:{}/",
        "",
    ],
)
async def test_url_that_is_not_valid_is_rejected(serve, url):
    server = await serve()
    error = await failure(url.format(server.port))
    assert not error.temporary
    assert "secret" not in str(error)
    assert 0 == server.connections


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-Evil: 1"),
        ("X-A", "1\nX-Evil: 1"),
        ("X-A", "1\rX-Evil: 1"),
        ("X-A", "1\n"),
        ("X-A", "\x00"),
        ("X-A", " 1"),
        ("X-A", "ä"),
        ("X-A\r\nX-Evil", "1"),
        ("X-A\n", "1"),
        ("X A", "1"),
        ("X-A:", "1"),
        ("Ä", "1"),
        ("", "1"),
        ("Host", "example.org"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("Upgrade", "websocket"),
    ],
)
async def test_header_that_could_change_the_message_is_rejected(serve, name, value):
    server = await serve()
    error = await failure(server.url, headers={name: value})
    assert not error.temporary
    assert 0 == server.connections


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET", ""])
async def test_unknown_method_is_rejected(serve, method):
    server = await serve()
    assert "is not one of DELETE, GET" in str(await failure(server.url, method=method))
    assert 0 == server.connections


async def test_request_over_the_limits_is_not_sent(serve):
    server = await serve()
    small = loopback(max_request=10)
    assert "at most 10 are sent" in str(await failure(server.url, small, "POST", body=b"x" * 11))
    assert f"at most {MAX_HEAD} are sent" in str(await failure(server.url + "x" * MAX_HEAD))
    assert f"at most {MAX_HEAD} are sent" in str(await failure(server.url, headers={"X-A": "x" * MAX_HEAD}))
    assert 0 == server.connections
    assert 200 == (await small.request("POST", server.url, body=b"x" * 10)).status


# -- limits of the response ---------------------------------------------------------------------------------------------


def endless(first, again):
    async def answer(stream):
        await stream.send_all(first)
        while True:
            await stream.send_all(again)

    return answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"), "answered badly"),
        (endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 1000), "answered badly"),
        (endless(b"", b"x" * 1000), "answered badly"),
        (endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), "sends more than a response"),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000), "more than 65536 bytes"),
        (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), "more than 65536 bytes"),
        (
            endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 2000 + b"\r\nx\r\n"),
            "sends more than a response",
        ),
        (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-More: 1\r\n"), "answered badly"),
    ],
    ids=["headers", "header", "junk", "informational", "body", "chunks", "extensions", "trailers"],
)
async def test_endless_response_is_cut_off(serve, answer, reason):
    server = await serve(answer)
    error = await failure(server.url)
    assert reason in str(error)
    assert not error.temporary


async def test_body_up_to_the_limit_is_returned(serve):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    fits = await serve(head % MAX_RESPONSE + b"x" * MAX_RESPONSE)
    large = await serve(head % (MAX_RESPONSE + 1) + b"x" * (MAX_RESPONSE + 1))
    assert MAX_RESPONSE == len((await loopback().request("GET", fits.url)).body)
    assert f"has more than {MAX_RESPONSE} bytes" in str(await failure(large.url))
    assert MAX_RESPONSE + 1 == len((await loopback(max_response=MAX_RESPONSE + 1).request("GET", large.url)).body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    ],
)
async def test_connection_that_ends_early_is_a_temporary_error(serve, answer):
    server = await serve(answer)
    error = await failure(server.url)
    assert "closed the connection before its response was complete" in str(error)
    assert error.temporary


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
async def test_response_that_is_not_http_is_an_error(serve, answer):
    async def keep_open(stream):
        await stream.send_all(answer)
        await trio.sleep_forever()

    server = await serve(keep_open)
    error = await failure(server.url)
    assert "answered badly" in str(error)
    assert not error.temporary


# -- deadlines ----------------------------------------------------------------------------------------------------------


async def never(_stream):
    await trio.sleep_forever()


async def drip(stream):
    """A body that would take an hour, though the next byte is never far."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.02)


@pytest.mark.parametrize("answer", [never, drip])
async def test_deadline_ends_a_request_however_the_server_delays_it(serve, answer):
    server = await serve(answer)
    error = await failure(server.url, loopback(deadline=brief(0.3)))
    assert f"127.0.0.1:{server.port} did not answer within 0.3 s" == str(error)
    assert error.temporary


async def test_deadline_ends_a_request_that_the_server_does_not_read(nursery):
    async def ignore(_stream):
        await trio.sleep_forever()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, ignore, [listener])
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    outbound = loopback(deadline=brief(0.3), max_request=50_000_000)
    assert "did not answer" in str(await failure(url, outbound, "POST", body=bytes(50_000_000)))


@asynccontextmanager
async def full_backlog():
    """A port whose queue of connections is full, so that no more are accepted."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for each in waiting:
                each.close()


async def test_connect_deadline_ends_an_attempt_that_nothing_answers():
    async with full_backlog() as port:
        error = await failure(f"http://127.0.0.1:{port}/", loopback(connect_deadline=brief(0.3)))
    assert f"cannot connect to 127.0.0.1:{port} within 0.3 s" == str(error)
    assert error.temporary


async def test_connect_deadline_covers_the_tls_handshake(nursery):
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, never, [listener])
    port = listener.socket.getsockname()[1]
    error = await failure(f"https://127.0.0.1:{port}/", loopback(connect_deadline=brief(0.3)))
    assert f"cannot connect to 127.0.0.1:{port} within 0.3 s" == str(error)


async def test_address_that_does_not_answer_leaves_time_for_the_next(serve, resolver):
    server = await serve()
    async with full_backlog() as port:
        resolver["slow.example"] = [["127.0.0.1", "127.0.0.2"]]
        [listener] = await trio.open_tcp_listeners(port, host="127.0.0.2")
        async with trio.open_nursery() as tasks:
            tasks.start_soon(trio.serve_listeners, server.serve, [listener])
            outbound = loopback(connect_deadline=patient(1))
            assert 200 == (await outbound.request("GET", f"http://slow.example:{port}/")).status
            tasks.cancel_scope.cancel()


async def test_lookups_that_hang_neither_outlive_the_deadline_nor_occupy_other_threads(monkeypatch):
    import threading

    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: release.wait() and [])
    outbound = loopback(connect_deadline=brief(0.2))
    reasons = []

    async def ask():
        reasons.append(str(await failure("http://hang.example/", outbound)))

    try:
        async with trio.open_nursery() as asking:
            for _ in range(60):
                asking.start_soon(ask)
        with trio.fail_after(patient(5)):
            assert 1 == await trio.to_thread.run_sync(lambda: 1)
    finally:
        release.set()
    assert {"cannot connect to hang.example:80 within 0.2 s"} == set(reasons)
    assert 60 == len(reasons)


async def test_cancelled_request_closes_its_connection(serve):
    ended = trio.Event()

    async def until_closed(stream):
        await stream.receive_some()
        ended.set()

    server = await serve(until_closed)
    async with trio.open_nursery() as asking:
        asking.start_soon(loopback().request, "GET", server.url)
        with trio.fail_after(patient(5)):
            while not server.requests:
                await trio.sleep(0.005)
        asking.cancel_scope.cancel()
    with trio.fail_after(patient(5)):
        await ended.wait()


# -- TLS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    authority = trustme.CA()
    authority.path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(authority.path))
    return authority


def certified(authority, *names, **more):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **more).configure_cert(context)
    return context


async def test_https_checks_the_certificate_and_names_the_host(serve, resolver, ca):
    server = await serve(OK, certified(ca, "hook.example"))
    resolver["hook.example"] = [["127.0.0.1"]]

    response = await loopback(ca=ca.path).request("POST", f"https://HOOK.example:{server.port}/in", body=b"x")

    assert (200, b"ok") == (response.status, response.body)
    assert ["hook.example"] == server.names
    assert f"hook.example:{server.port}" == server.requests[0][2]["host"]


async def test_https_checks_a_certificate_of_an_address(serve, ca):
    server = await serve(OK, certified(ca, "127.0.0.1"))
    assert 200 == (await loopback(ca=ca.path).request("GET", f"https://127.0.0.1:{server.port}/")).status


async def test_name_in_another_script_is_sent_in_dns_form(serve, resolver, ca):
    server = await serve(OK, certified(ca, "xn--bcher-kva.example"))
    resolver["xn--bcher-kva.example"] = [["127.0.0.1"]]
    assert 200 == (await loopback(ca=ca.path).request("GET", f"https://Bücher.example:{server.port}/")).status
    assert ["xn--bcher-kva.example"] == server.names


async def test_certificate_of_another_name_is_rejected(serve, resolver, ca):
    server = await serve(OK, certified(ca, "other.example"))
    resolver["hook.example"] = [["127.0.0.1"]]
    error = await failure(f"https://hook.example:{server.port}/", loopback(ca=ca.path))
    assert f"the certificate of hook.example:{server.port} is not valid: Hostname mismatch" in str(error)
    assert not error.temporary
    assert [] == server.requests


async def test_certificate_of_an_unknown_authority_is_rejected(serve, ca):
    server = await serve(OK, certified(ca, "127.0.0.1"))
    error = await failure(f"https://127.0.0.1:{server.port}/")
    assert "is not valid: unable to get local issuer certificate" in str(error)
    assert [] == server.requests


async def test_expired_certificate_is_rejected(serve, ca):
    from datetime import UTC, datetime

    server = await serve(OK, certified(ca, "127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)))
    error = await failure(f"https://127.0.0.1:{server.port}/", loopback(ca=ca.path))
    assert "is not valid: certificate has expired" in str(error)


async def test_server_without_tls_fails_the_handshake(nursery):
    async def plain(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, plain, [listener])
    error = await failure(f"https://127.0.0.1:{listener.socket.getsockname()[1]}/")
    assert "failed the TLS handshake" in str(error)
    assert not error.temporary


async def test_connection_that_ends_in_the_handshake_is_a_temporary_error(nursery):
    async def close(stream):
        await stream.receive_some()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, close, [listener])
    error = await failure(f"https://127.0.0.1:{listener.socket.getsockname()[1]}/")
    assert "closed the connection during the TLS handshake" in str(error)
    assert error.temporary


async def test_tls_below_1_2_is_refused(serve, ca):
    old = certified(ca, "127.0.0.1")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    server = await serve(OK, old)
    await failure(f"https://127.0.0.1:{server.port}/", loopback(ca=ca.path))
    assert [] == server.requests


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_file_of_authorities_that_is_not_valid_is_rejected_at_the_start(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=r"ca\.pem: cannot load certificate authorities"):
        Outbound(ca=path)


# -- retries ------------------------------------------------------------------------------------------------------------


def response(status, **headers):
    return OutboundResponse(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), b"")


TEMPORARY, FINAL = OutboundError("busy", temporary=True), OutboundError("wrong")


class Attempts:
    """A request whose attempts have the given outcomes; records at which times they were made."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.times = []

    async def send(self):
        self.times.append(trio.current_time())
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, OutboundError):
            raise outcome
        return outcome

    @property
    def delays(self):
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


async def test_temporary_failures_are_retried_with_growing_delays(autojump_clock):
    attempts = Attempts(TEMPORARY, response(503), response(429), response(204))
    assert 204 == (await with_retries(attempts.send)).status
    for delay, most in zip(attempts.delays, (1, 2, 4), strict=True):
        assert most / 2 <= delay <= most


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 404, 410, 501])
async def test_status_that_a_retry_would_not_change_is_returned(autojump_clock, status):
    attempts = Attempts(response(status))
    assert status == (await with_retries(attempts.send)).status


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_last_response_is_returned_when_the_attempts_are_used_up(autojump_clock, status):
    attempts = Attempts(*[response(status)] * 5)
    assert status == (await with_retries(attempts.send)).status
    assert [] == attempts.outcomes


async def test_last_error_is_raised_when_the_attempts_are_used_up(autojump_clock):
    attempts = Attempts(response(503), TEMPORARY)
    with pytest.raises(OutboundError, match="busy"):
        await with_retries(attempts.send, RetryPolicy(attempts=2))


async def test_error_that_is_not_temporary_is_raised_at_once(autojump_clock):
    with pytest.raises(OutboundError, match="wrong"):
        await with_retries(Attempts(FINAL).send)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry_after": "120"}, 120, 120),
        ({"retry_after": "100000"}, 300, 300),
        ({"retry_after": "0"}, 0.5, 1),
        ({"retry_after": "soon"}, 0.5, 1),
        ({"retry_after": "-5"}, 0.5, 1),
        ({"retry_after": "9" * 5000}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:58:29 GMT"}, 90, 90),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 -0000", "date": "Fri, 31 Dec 1999 23:58:29 GMT"}, 0.5, 1),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 +99999999999999", "date": "x"}, 0.5, 1),
    ],
)
async def test_retry_after_is_honoured_up_to_its_limit(autojump_clock, headers, least, most):
    attempts = Attempts(response(503, **headers), response(200))
    assert 200 == (await with_retries(attempts.send)).status
    assert least <= attempts.delays[0] <= most


def test_delay_stays_below_its_limit_after_many_attempts():
    policy = RetryPolicy(attempts=10_000)
    assert 30 <= policy.delay(9_999, TEMPORARY) <= 60
    assert policy.delay(10_000, TEMPORARY) is None


async def test_requests_that_a_restarting_server_rejects_are_repeated(serve):
    answers = [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", b"", OK]

    async def answer(stream):
        await stream.send_all(answers.pop(0))

    server, outbound = await serve(answer), loopback()
    policy = RetryPolicy(first_delay=0.01)
    with trio.fail_after(patient(10)):
        result = await with_retries(lambda: outbound.request("POST", server.url, body=b"x"), policy)
    assert (200, 3) == (result.status, server.connections)
