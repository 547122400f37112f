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
    """Decode packets; each can be encoded, and decodes to an equal packet again."""
    try:
        for packet in Decoder(65_536, version).receive(data):
            decoded = list(
                Decoder(65_536, 0 if isinstance(packet, Connect) else version).receive(encode(packet, version))
            )
            assert [packet] == decoded, (packet, decoded)
    except RemoteProtocolError:
        pass


def connection(data: bytes) -> None:
    """Receive any bytes on a connection whose server accepts every CONNECT, publication and subscription."""
    protocol = ServerProtocol(LIMITS, 10.0)
    try:
        for chunk in (data[:7], data[7:]):
            for event in protocol.receive(chunk, 1.0):
                match event:
                    case Connect():
                        protocol.accept(event, Session("x"), 1.0, present=False)
                        protocol.publish(Message("a", b"b", 1), 1.0)
                    case Publish():
                        protocol.acknowledge(event)
                    case Repeated(publish):
                        protocol.acknowledge(publish, 0x80, "no")
                    case Subscribe():
                        protocol.answer_subscribe(event, [sub.qos for sub in event.subscriptions])
                    case Unsubscribe():
                        protocol.answer_unsubscribe(event)
    except RemoteProtocolError as error:
        protocol.fail(error.reason, str(error))
    for packet in Decoder(65_536, protocol.version or 4).receive(protocol.data_to_send()):
        assert packet


def check_input(data: bytes) -> None:
    for version in (0, 4, 5):
        decoder(version, data)
    connection(data)
    for head in (b"\x10\x0c\0\4MQTT\4\2\0\0\0\0", b"\x10\x0d\0\4MQTT\5\2\0\0\0\0\0"):
        connection(head + data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, check_input)
    atheris.Fuzz()
