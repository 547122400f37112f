"""``pinwheel template …`` and ``pinwheel device …``: ordinary clients of the API."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from hub.cli import (
    DURATION_HELP,
    api,
    device_of,
    follow,
    local_time,
    show,
    show_table,
    with_device,
    with_json,
)
from hub.client import operations
from hub.client.operations import DeviceObject, EventObject, Refusal
from hub.errors import Rejected, RequestError
from hub.spellings import decoded, read_text
from hub.tokens import WEAK_WARNING, is_token, is_weak

# -- templates --------------------------------------------------------------------------------------------------------


def template_import(parser: argparse.ArgumentParser) -> None:
    """Import template files; shows what changes, and drops no values without --prune."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a file, or the name of a template that comes with the hub"
    )
    parser.add_argument(
        "--prune", action="store_true", help="drop datastreams that the file no longer has, with their values"
    )
    with_json(parser)

    def run(args: argparse.Namespace) -> int:
        failed, done = False, []
        with api(args) as hub:
            for path in args.files:
                try:
                    text = _template_text(path)
                    call = operations.post_template_import(toml=text, source=str(path), prune=args.prune)
                    done.append(hub(call))
                except (OSError, ValueError, RequestError) as error:
                    failed = True
                    why = error.strerror if isinstance(error, OSError) else error
                    said = str(error) if isinstance(error, RequestError) else f"{path}: {why}"
                    for line in said.splitlines():
                        print(f"pinwheel: {line}", file=sys.stderr)
                    continue
                if not args.json:
                    print(
                        f"{done[-1]['id']} {done[-1]['name']}" + ("" if done[-1]["changes"] else ": nothing to change")
                    )
                    for change in done[-1]["changes"]:
                        print(f"  {change}")
        if args.json:
            show(done)
        return int(failed)

    parser.set_defaults(run=run)


def _template_text(path: Path) -> str:
    """What is in a file; where there is none, the template of that name that comes with the hub.

    Raises OSError and ValueError.
    """
    if not path.exists():
        from hub.documents import shipped

        if text := shipped().get(str(path)):
            return text
    return read_text(path)


def template_export(parser: argparse.ArgumentParser) -> None:
    """Print a template as a file."""
    parser.add_argument("id", metavar="ID")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            print(hub(operations.get_template_export(template_id=args.id)), end="")

    parser.set_defaults(run=run)


def template_list(parser: argparse.ArgumentParser) -> None:
    """List the templates, or those that come with the hub."""
    parser.add_argument("--shipped", action="store_true", help="those that come with the hub, to import by name")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        if args.shipped:
            _list_shipped(args.json)
            return
        with api(args) as hub:
            found = hub(operations.get_organization_templates(size=1000))["content"]
        if args.json:
            show(found)
        else:
            show_table(
                ("id", "name", "datastreams", "devices"),
                [(t["id"], t["name"], t["datastreams"], t["devices"]) for t in found],
            )

    parser.set_defaults(run=run)


def _list_shipped(as_json: bool) -> None:
    from hub.documents import parse, shipped

    found = {name: parse(text, name) for name, text in shipped().items()}
    rows = [(name, one.id, len(one.datastreams), one.description) for name, one in found.items()]
    if as_json:
        show([dict(zip(("name", "id", "datastreams", "description"), row, strict=True)) for row in rows])
    else:
        show_table(("name", "id", "datastreams", "description"), rows)


# -- devices ----------------------------------------------------------------------------------------------------------


def _token_from_stdin() -> str:
    """A token that the board already carries; one that can be guessed is taken with a warning."""
    token = sys.stdin.readline().strip()
    if is_token(token) and is_weak(token):
        print(f"pinwheel: warning: {WEAK_WARNING}", file=sys.stderr)
    return token


def device_add(parser: argparse.ArgumentParser) -> None:
    """Add a device, or many from CSV; prints its token, which is shown only now."""
    parser.add_argument("--template", metavar="ID")
    parser.add_argument("--name", metavar="NAME")
    parser.add_argument("--org", metavar="ID", type=int, default=1)
    parser.add_argument(
        "--token-stdin", action="store_true", help="take the token that the board already carries from stdin"
    )
    parser.add_argument(
        "--csv", metavar="FILE", type=Path, help="columns name,template,token and metadata; all rows or none"
    )

    def run(args: argparse.Namespace) -> None:
        if args.csv is not None:
            try:
                text = decoded(args.csv.read_bytes())
            except (OSError, ValueError) as error:
                raise Rejected(f"{args.csv}: {getattr(error, 'strerror', None) or error}") from error
            with api(args) as hub:
                show(hub(operations.post_device_import(csv=text)))
            return
        if not args.template or not args.name:
            parser.error("--template and --name are needed, or --csv")
        token = _token_from_stdin() if args.token_stdin else None
        call = operations.post_organization_device_create(
            template_id=args.template, name=args.name, org_id=args.org, token=token
        )
        with api(args) as hub:
            added = hub(call)
        print(json.dumps({"id": added["id"], "token": added["token"]}))

    parser.set_defaults(run=run)


def device_list(parser: argparse.ArgumentParser) -> None:
    """List the devices."""
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        devices: list[DeviceObject] = []
        with api(args) as hub:
            while True:
                page = hub(
                    operations.get_organization_devices(
                        include_sub_org_devices=True, page=len(devices) // 1000, size=1000
                    )
                )
                devices += page["content"]
                if len(devices) >= page["totalElements"] or not page["content"]:
                    break
        if args.json:
            show(devices)
        else:
            rows = [(d["id"], d["name"], d["templateId"], d["lifecycleStatus"]["name"], d["ip"]) for d in devices]
            show_table(("id", "name", "template", "status", "address"), rows)

    parser.set_defaults(run=run)


def device_show(parser: argparse.ArgumentParser) -> None:
    """Show a device with its values and metadata."""
    with_device(parser)
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = device_of(hub, args.device)
        if args.json:
            show(device)
            return
        print(f"{device['name']} ({device['id']}), {device['lifecycleStatus']['name'].lower()}")
        firmware = " ".join(f"{key}={value}" for key, value in device["hardwareInfo"].items())
        for name, value in (
            ("template", device["templateId"]),
            ("firmware", firmware or "-"),
            ("address", device["ip"] or "-"),
            ("activated", local_time(device["activatedAt"])),
            *((field["name"], field["value"]["text"]) for field in device["metaFieldValues"] or ()),
        ):
            print(f"  {name:<14}{value}")
        rows = [
            (
                v["pin"].upper(),
                v["dataStreamLabel"],
                v["display"]["text"],
                local_time(v["updatedAt"]),
            )
            for v in device["dataStreamValues"] or ()
        ]
        show_table(("pin", "name", "value", "updated"), rows)

    parser.set_defaults(run=run)


def device_events(parser: argparse.ArgumentParser) -> None:
    """The timeline of a device, newest first; --resolve, --comment and --archive act on one event."""
    with_device(parser)
    parser.add_argument(
        "--type", default="", help="info, warning, critical, content, online, offline, status; or several"
    )
    parser.add_argument("--open", action="store_true", help="only what is not resolved")
    parser.add_argument("--archived", action="store_true", help="what was archived instead")
    parser.add_argument("--query", default="", metavar="TEXT", help="only with this text in it")
    parser.add_argument("--limit", type=int, default=50, metavar="N")
    parser.add_argument("--resolve", type=int, metavar="EVENT", help="resolve an event; --note says how")
    parser.add_argument("--note", default="")
    parser.add_argument("--comment", nargs=2, metavar=("EVENT", "TEXT"))
    parser.add_argument("--archive", type=int, metavar="EVENT")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            number = device_of(hub, args.device)["id"]
            if args.resolve is not None:
                hub(
                    operations.post_organization_device_event_resolve(
                        device_id=number, event_id=args.resolve, note=args.note
                    )
                )
            if args.comment is not None:
                event, text = args.comment
                if not event.isdecimal():
                    parser.error("--comment takes the number of an event and a text")
                hub(operations.post_organization_device_event_comment(device_id=number, event_id=int(event), text=text))
            if args.archive is not None:
                hub(operations.post_organization_device_event_archive(device_id=number, event_id=args.archive))
            call = operations.get_organization_device_timeline(
                device_id=number,
                event_type=[one for one in args.type.split(",") if one],
                resolved="false" if args.open else None,
                archived="true" if args.archived else "false",
                query=args.query,
                size=args.limit,
            )
            found = hub(call)
        if args.json:
            show(found)
            return
        rows = [(e["id"], local_time(e["ts"]), e["eventType"].lower(), e["name"], _told(e)) for e in found["content"]]
        show_table(("event", "time", "type", "name", "description"), rows)

    parser.set_defaults(run=run)


def _told(event: EventObject) -> str:
    """What was said of an event, and done about it."""
    parts = [event["description"]]
    if event["isResolved"]:
        note = f": {event['resolvedComment']}" if event["resolvedComment"] else ""
        parts.append(f"(resolved by {event['resolvedBy']}{note})")
    parts += [f"({comment['by']}: {comment['text']})" for comment in event["comments"]]
    return " ".join(part for part in parts if part)


def device_log(parser: argparse.ArgumentParser) -> None:
    """What the hub noted about a device: events, coming and going, and what it refused, oldest first."""
    with_device(parser)
    parser.add_argument("--limit", type=int, default=50, metavar="N")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            number = device_of(hub, args.device)["id"]
            call = operations.get_organization_device_timeline(device_id=number, size=args.limit, archived="any")
            events = hub(call)["content"]
            refusals = [r for r in hub(operations.get_refusals()) if r["device"] == number]
        lines: list[dict[str, Any]] = [
            {"at": e["ts"], "kind": e["eventType"].lower(), "text": f"{e['name']} {_told(e)}".strip()} for e in events
        ]
        lines += [{"at": r["at"], "kind": "refused", "text": r["reason"]} for r in refusals]
        lines = sorted(lines, key=lambda line: line["at"])[-args.limit :]
        if args.json:
            show(lines)
        for line in () if args.json else lines:
            print(f"{local_time(line['at'])}  {line['kind']:<8}  {line['text']}")

    parser.set_defaults(run=run)


def device_rename(parser: argparse.ArgumentParser) -> None:
    """Give a device another name."""
    with_device(parser)
    parser.add_argument("name", metavar="NAME")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = device_of(hub, args.device)
            hub(operations.put_organization_device(device_id=device["id"], name=args.name))

    parser.set_defaults(run=run)


def device_delete(parser: argparse.ArgumentParser) -> None:
    """Delete a device with all its data."""
    with_device(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = device_of(hub, args.device)
            hub(operations.delete_organization_device(device_id=device["id"]))
        print(f"{device['name']} ({device['id']}) is deleted")

    parser.set_defaults(run=run)


def device_token(parser: argparse.ArgumentParser) -> None:
    """Give a device a new token; prints it, as it is shown only now."""
    with_device(parser)
    parser.add_argument("--new", action="store_true", required=True, help="make a new token")
    parser.add_argument("--overlap", default="", help=f"how long the old token goes on, {DURATION_HELP}")
    parser.add_argument("--token-stdin", action="store_true", help="take the new token from stdin")

    def run(args: argparse.Namespace) -> None:
        token = _token_from_stdin() if args.token_stdin else None
        with api(args) as hub:
            device = device_of(hub, args.device)
            call = operations.post_device_token(device_id=device["id"], overlap=args.overlap, token=token)
            print(json.dumps({"id": device["id"], "token": hub(call)["token"]}))

    parser.set_defaults(run=run)


def device_write(parser: argparse.ArgumentParser) -> None:
    """Write a value to a pin; several values make an array."""
    with_device(parser)
    parser.add_argument("pin", metavar="PIN", help="such as V1, or a datastream's name")
    parser.add_argument("values", metavar="VALUE", nargs="+")

    def run(args: argparse.Namespace) -> None:
        value = args.values[0] if len(args.values) == 1 else args.values
        with api(args) as hub:
            device = device_of(hub, args.device)
            hub(operations.post_organization_device_datastream(device_id=device["id"], pin=args.pin, value=value))

    parser.set_defaults(run=run)


def device_watch(parser: argparse.ArgumentParser) -> None:
    """Print what a device does as it happens, until Ctrl-C."""
    parser.add_argument("device", metavar="DEVICE", nargs="?", help="an id, or a name if it is unique")
    parser.add_argument("--wire", action="store_true", help="decoded frames, secrets masked")
    parser.add_argument("--refused", action="store_true", help="who was turned away and why: the last 1,000, and live")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        if args.refused == bool(args.device):
            parser.error("either DEVICE or --refused is needed")
        with api(args) as hub:
            if args.refused:
                for refusal in hub(operations.get_refusals()):
                    _print_refusal(refusal, args.json)
                subscription: dict[str, Any] = {"subscribe": "refused"}
            else:
                device = device_of(hub, args.device)
                subscription = {"subscribe": "wire" if args.wire else "device", "device": device["id"], "every": True}
            for message in follow(hub, subscription):
                _print_message(message, args.json)

    parser.set_defaults(run=run)


def _print_refusal(refusal: Refusal, as_json: bool) -> None:
    if as_json:
        print(json.dumps(refusal), flush=True)
    else:
        print(f"{local_time(refusal['at'])}  {refusal['address']:<15}  {refusal['reason']}", flush=True)


def _print_message(message: dict[str, Any], as_json: bool) -> None:
    if "refused" in message:
        _print_refusal(message["refused"], as_json)
    elif as_json:
        print(json.dumps({key: value for key, value in message.items() if key != "id"}), flush=True)
    elif frame := message.get("wire"):
        print(f"{local_time(frame['at'])}  {'<-' if frame['direction'] == 'in' else '->'}  {frame['text']}", flush=True)
    elif "lagged" in message:
        print(f"({message['lagged']} changes were too quick to show)", flush=True)
    else:
        at = local_time(message["ts"]) if "ts" in message else ""
        if "online" in message:
            print(f"{at or '-':<19}  {message['status'].lower()}", flush=True)
        for pin, value in message.get("values", {}).items():
            print(f"{at or '-':<19}  {pin.upper():<5} {value}", flush=True)
