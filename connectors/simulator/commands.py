"""The command ``pinwheel device simulate``."""

from __future__ import annotations

import argparse
import json
import sys

import trio

from client import Api, operations
from client.cli import api
from client.operations import DeviceObject
from client.remote import Remote
from connectors.native.client import LoginFailed
from connectors.simulator.devices import SimulatedDevice, SimulatedHttpDevice, SimulatedMqttDevice, datastreams_of
from hub import Rejected, RequestError, Unavailable, first_of

#: Seconds between two lines of progress when the output is no terminal.
PROGRESS_EVERY = 10.0

DEVICE_CLASSES: dict[str, type[SimulatedDevice]] = {
    "native": SimulatedDevice,
    "mqtt": SimulatedMqttDevice,
    "http": SimulatedHttpDevice,
}


def device_simulate(parser: argparse.ArgumentParser) -> None:
    """Run simulated devices of a template; they are deleted at the end unless --keep is given."""
    parser.add_argument("--template", metavar="ID", required=True)
    parser.add_argument("--count", metavar="N", type=int, default=1)
    parser.add_argument("--rate", metavar="R", type=float, default=1.0, help="values per second of each device")
    parser.add_argument("--token", metavar="T", nargs="+", default=[], help="simulate these devices, not new ones")
    parser.add_argument("--url", metavar="HOST:PORT", help="connect to another hub (needs --token)")
    parser.add_argument("--transport", choices=["native", "mqtt", "http"], default="native")
    parser.add_argument("--seconds", metavar="S", type=float, default=float("inf"), help="stop after S seconds")
    parser.add_argument("--keep", action="store_true", help="do not delete the devices")
    parser.set_defaults(run=_simulate)


def _simulate(args: argparse.Namespace) -> None:
    if args.count < 1 or not 0 < args.rate <= 1000:
        raise Rejected("--count must be at least 1, --rate more than 0 and at most 1000")
    with api(args) as hub:
        if not isinstance(hub, Remote):
            raise Unavailable("the hub is not running; start it with: pinwheel run")
        template = hub(operations.get_organization_template(template_id=args.template))
        host, port = _parse_address(args.url) if args.url else (hub.host, hub.port)
        tokens = list(args.token)
        created: list[DeviceObject] = []
        try:
            if not tokens:
                for number in range(1, args.count + 1):
                    created.append(_create_device(hub, args.template, number))
                    if args.json:
                        _print_event("created", id=created[-1]["id"], name=created[-1]["name"])
                tokens = [device["token"] for device in created]
            device_class = DEVICE_CLASSES[args.transport]
            devices = [
                device_class(
                    host=host,
                    port=port,
                    token=token,
                    template=args.template,
                    datastreams=datastreams_of(template),
                    rate=args.rate,
                    tls=None if args.url else hub.tls,
                )
                for token in tokens
            ]
            trio.run(_run_devices, devices, args.seconds, args.json)
        except BaseExceptionGroup as group:
            error = first_of(group)
            if isinstance(error, LoginFailed):
                raise RequestError(str(error)) from error
            raise error from None
        finally:
            if created and not args.keep:
                for device in created:
                    hub(operations.delete_organization_device(device_id=device["id"]))


def _create_device(hub: Api, template: str, number: int) -> DeviceObject:
    return hub(operations.post_organization_device_create(template_id=template, name=f"Simulated {number}"))


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise Rejected(f"--url must be HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)


async def _run_devices(devices: list[SimulatedDevice], seconds: float, as_json: bool) -> None:
    """Run the devices for some seconds. Raises `LoginFailed`, and `Unavailable` if none of them was ever online."""
    errors: list[str] = []
    #: A device has been online.
    connected = False

    def report(text: str) -> None:
        """Print an error, once for all devices."""
        nonlocal connected
        if text == "online":
            connected = True
        elif text not in errors:
            errors.append(text)
            print(f"pinwheel: {text}", file=sys.stderr)

    on_terminal = sys.stderr.isatty() and not as_json
    pause = 1.0
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for device in devices:
                nursery.start_soon(device.run, report)
            while True:
                await trio.sleep(pause)
                # On a terminal one line that is overwritten; in a file or a pipe a new line, but seldom.
                if as_json:
                    _print_event("progress", **_totals(devices))
                else:
                    _print_totals(devices, end="" if on_terminal else "\n")
                pause = 1.0 if on_terminal else PROGRESS_EVERY
    if as_json:
        _print_event("ended", **_totals(devices))
    else:
        _print_totals(devices, end="\n")
    if not connected:
        address = f"{devices[0].host}:{devices[0].port}"
        reason = f" ({errors[-1]})" if errors else ""
        raise Unavailable(f"no device could log in at {address} within {seconds:g} s{reason}; check the address")


def _totals(devices: list[SimulatedDevice]) -> dict[str, int]:
    return {
        "devices": len(devices),
        "online": sum(device.online for device in devices),
        "sent": sum(device.sent for device in devices),
        "received": sum(device.received for device in devices),
    }


def _print_event(event: str, **fields: object) -> None:
    """Print an event as a line of JSON."""
    print(json.dumps({"event": event, **fields}), flush=True)


def _print_totals(devices: list[SimulatedDevice], end: str) -> None:
    """Print the totals; on a terminal, over the line before."""
    totals = _totals(devices)
    start = "\r" if sys.stderr.isatty() else ""
    line = "{online}/{devices} online, {sent} values sent, {received} received".format(**totals)
    print(start + line, end=end, file=sys.stderr, flush=True)
