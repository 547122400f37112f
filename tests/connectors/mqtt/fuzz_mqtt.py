"""Random bytes into the MQTT decoder and the rules of a connection: ``make fuzz``. Needs Atheris."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from connectors.mqtt.packets import Connect, Publish, RemoteProtocolError, Subscribe, Unsubscribe
    from connectors.mqtt.protocol import Decoder, encode
    from connectors.mqtt.session import Message, Repeated, ServerLimits, ServerProtocol, Session

LIMITS = ServerLimits(max_packet=4096)


def decoder(version: int, data: bytes) -> None:
    """Whatever is read can be written, and is then read the same."""
    try:
        for packet in Decoder(65_536, version).receive(data):
            again = list(
                Decoder(65_536, 0 if isinstance(packet, Connect) else version).receive(encode(packet, version))
            )
            assert [packet] == again, (packet, again)
    except RemoteProtocolError:
        pass


def connection(data: bytes) -> None:
    """A client that says anything after a good or bad CONNECT, to a server that grants everything."""
    one = ServerProtocol(LIMITS, 10.0)
    try:
        for chunk in (data[:7], data[7:]):
            for event in one.receive(chunk, 1.0):
                match event:
                    case Connect():
                        one.accept(event, Session("x"), 1.0, present=False)
                        one.publish(Message("a", b"b", 1), 1.0)
                    case Publish():
                        one.acknowledge(event)
                    case Repeated(publish):
                        one.acknowledge(publish, 0x80, "no")
                    case Subscribe():
                        one.answer_subscribe(event, [sub.qos for sub in event.subscriptions])
                    case Unsubscribe():
                        one.answer_unsubscribe(event)
    except RemoteProtocolError as error:
        one.fail(error.reason, str(error))
    for packet in Decoder(65_536, one.version or 4).receive(one.data_to_send()):
        assert packet


def one_input(data: bytes) -> None:
    for version in (0, 4, 5):
        decoder(version, data)
    connection(data)
    for head in (b"\x10\x0c\0\4MQTT\4\2\0\0\0\0", b"\x10\x0d\0\4MQTT\5\2\0\0\0\0\0"):
        connection(head + data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
