"""A general MQTT broker on the hub's codec and session: one topic space for all clients, and no storage.

Test suites for brokers can test the codec with it: ``python tests/support/generic_broker.py 18830``.
"""

from __future__ import annotations

import secrets
import sys
from itertools import count

import trio
from support.patience import patient

from connectors.mqtt.packets import (
    V5,
    Connect,
    Disconnect,
    Property,
    Publish,
    Reason,
    RemoteProtocolError,
    Subscribe,
    Unsubscribe,
    Will,
)
from connectors.mqtt.session import (
    NEVER,
    ConnectionState,
    Delivered,
    Message,
    Repeated,
    ServerLimits,
    ServerProtocol,
    Session,
    matches,
)

LIMITS = ServerLimits(max_qos=2, shared_subscriptions=True, max_expiry=NEVER, max_keep_alive=60)
CONNECT_DEADLINE = 10.0
#: Topic filters that nobody may subscribe to; the suites expect these.
FORBIDDEN = ("test/nosubscribe", "nosubscribe")


class Client:
    """A client identifier: its session, and its connection while there is one."""

    def __init__(self, broker, session):
        self.broker = broker
        self.session = session
        self.connection = None
        self.stream = None
        self.wake = trio.Event()
        self.expiry_scope = None

    def flush(self):
        self.wake.set()

    def deliver(self, message):
        if self.connection is not None:
            self.connection.publish(message, trio.current_time())
            self.flush()
        elif message.qos:
            self.session.enqueue(message)


class Broker:
    def __init__(self, nursery, limits=LIMITS):
        self.limits = limits
        self.nursery = nursery
        self.clients = {}
        self.retained = {}
        self.turns = count()

    # -- connections ----------------------------------------------------------------------------------------------

    async def serve(self, stream):
        connection = ServerProtocol(self.limits, trio.current_time() + CONNECT_DEADLINE)
        client, over = None, trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, connection, over, nursery.cancel_scope)
                while not over.is_set():
                    data = await stream.receive_some(65_536)
                    if not data:
                        break
                    for event in connection.receive(bytes(data), trio.current_time()):
                        if type(event) is Connect:
                            client = await self._connected(connection, stream, event)
                            nursery.start_soon(self._write, client, connection, stream)
                        elif type(event) is Disconnect:
                            over.set()
                        else:
                            self._handle(client, connection, event)
                    if client is not None:
                        client.flush()
                nursery.cancel_scope.cancel()
            if connection.state is ConnectionState.CONNECTED and trio.current_time() >= connection.expires:
                connection.fail(Reason.KEEP_ALIVE_TIMEOUT)
        except* RemoteProtocolError as group:
            error = group.exceptions[0]
            connection.fail(error.reason, str(error))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        with trio.move_on_after(patient(1), shield=True):
            try:
                await stream.send_all(connection.data_to_send())
                # Closing with input unread would reset the connection before the client has read its last packet.
                await stream.send_eof()
                while await stream.receive_some(65_536):
                    pass
                await stream.aclose()
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                # Busy: a newer connection of the same client sends this one its last packet.
                pass
        if client is not None and client.connection is connection:
            self._ended(client, connection)

    async def _watch(self, connection, over, scope):
        while trio.current_time() < connection.expires:
            await trio.sleep(min(0.1, max(0, connection.expires - trio.current_time())))
        over.set()
        scope.cancel()

    async def _write(self, client, connection, stream):
        while True:
            client.wake = trio.Event()
            if data := connection.data_to_send():
                await stream.send_all(data)
            else:
                await client.wake.wait()

    async def _connected(self, connection, stream, connect):
        name = connect.client_id or f"auto-{secrets.token_hex(8)}"
        old = self.clients.get(name)
        if old is not None and old.connection is not None:
            old.connection.fail(Reason.SESSION_TAKEN_OVER)
            ending = old.connection
            with trio.move_on_after(patient(1)):
                try:
                    await old.stream.send_all(ending.data_to_send())
                    await old.stream.aclose()
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    await trio.aclose_forcefully(old.stream)
            if old.connection is ending:
                self._ended(old, ending)
        old = self.clients.get(name)
        present = old is not None and not connect.clean
        client = old if present else Client(self, Session(name))
        if old is not None and not present:
            self._forget(old)
        if client.expiry_scope is not None:
            client.expiry_scope.cancel()
        self.clients[name] = client
        client.connection, client.stream = connection, stream
        connection.accept(connect, client.session, trio.current_time(), present=present)
        return client

    def _ended(self, client, connection):
        client.connection = None
        will, expiry = connection.will, client.session.expiry
        delay = min(will.properties.get(Property.WILL_DELAY, 0), expiry) if will is not None else 0
        client.expiry_scope = trio.CancelScope()
        self.nursery.start_soon(self._leave, client, will, delay, expiry, client.expiry_scope)

    async def _leave(self, client, will, delay, expiry, scope):
        with scope:
            if will is not None:
                await trio.sleep(delay)
                self._will(will)
                will = None
            if expiry != NEVER:
                await trio.sleep(max(0, expiry - delay))
                if self.clients.get(client.session.client_id) is client:
                    del self.clients[client.session.client_id]

    def _forget(self, client):
        if client.expiry_scope is not None:
            client.expiry_scope.cancel()

    def _will(self, will: Will):
        properties = {k: v for k, v in will.properties.items() if k != Property.WILL_DELAY}
        self.publish(Publish(will.topic, will.payload, will.qos, 0, will.retain, False, properties), None)

    # -- messages -------------------------------------------------------------------------------------------------

    def _handle(self, client, connection, event):
        match event:
            case Publish():
                self.publish(event, client)
                connection.acknowledge(event)
            case Repeated(publish):
                connection.acknowledge(publish)
            case Subscribe():
                self._subscribe(client, connection, event)
            case Unsubscribe():
                connection.answer_unsubscribe(event)
            case Delivered():
                pass

    def publish(self, publish, sender):
        if publish.retain:
            self.retained.pop(publish.topic, None)
            if publish.payload:
                self.retained[publish.topic] = publish, self._expires(publish)
        shared = {}
        for client in tuple(self.clients.values()):
            matching = {}
            for name, (sub, number) in client.session.subscriptions.items():
                real = name.split("/", 2)[2] if name.startswith("$share/") else name
                if not matches(real, publish.topic) or (sub.no_local and client is sender):
                    continue
                if real is not name:
                    shared.setdefault(name, []).append((client, sub, number))
                else:
                    matching[name] = sub, number
            if matching:
                self._deliver(client, publish, list(matching.values()))
        for members in shared.values():
            client, sub, number = members[next(self.turns) % len(members)]
            self._deliver(client, publish, [(sub, number)])

    def _deliver(self, client, publish, subs):
        qos = min(publish.qos, max(sub.qos for sub, _ in subs))
        retain = publish.retain and any(sub.retain_as_published for sub, _ in subs)
        self._send(client, publish, qos, retain, [number for _, number in subs if number])

    def _send(self, client, publish, qos, retain, numbers):
        properties = dict(publish.properties)
        if numbers:
            properties[Property.SUBSCRIPTION_ID] = numbers
        expires = self._expires(publish)
        properties.pop(Property.MESSAGE_EXPIRY, None)
        client.deliver(Message(publish.topic, publish.payload, qos, retain, properties, None, expires))

    @staticmethod
    def _expires(publish):
        seconds = publish.properties.get(Property.MESSAGE_EXPIRY)
        return None if seconds is None else trio.current_time() + seconds

    def _subscribe(self, client, connection, subscribe):
        before = set(client.session.subscriptions)
        rejected = Reason.UNSPECIFIED
        reasons = [rejected if sub.filter in FORBIDDEN else sub.qos for sub in subscribe.subscriptions]
        connection.answer_subscribe(subscribe, reasons)
        client.flush()
        [number] = subscribe.properties.get(Property.SUBSCRIPTION_ID, (0,))
        for sub, reason in zip(subscribe.subscriptions, reasons, strict=True):
            new = sub.filter not in before
            quiet = sub.retain_handling == 2 or (sub.retain_handling == 1 and not new)
            if reason >= rejected or sub.filter.startswith("$share/") or (quiet and connection.version == V5):
                continue
            for topic, (publish, expires) in tuple(self.retained.items()):
                if matches(sub.filter, topic) and (expires is None or expires > trio.current_time()):
                    qos = min(publish.qos, sub.qos)
                    self._send(client, publish, qos, True, [number] if number else [])


async def main(port: int) -> None:
    async with trio.open_nursery() as nursery:
        broker = Broker(nursery)
        await trio.serve_tcp(broker.serve, port, host="127.0.0.1")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
