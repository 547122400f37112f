"""``pinwheel template …`` and ``pinwheel device …``: clients of the API."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import operations
from client.cli import (
    DURATION_HELP,
    PAGE,
    add_device_argument,
    add_organization_option,
    add_yes_option,
    api,
    confirm,
    device_ids_named,
    fetch_all,
    find_datastream,
    find_device,
    find_organization,
    find_organization_id,
    find_user,
    follow,
    format_time,
    list_organizations,
    organization_names,
    print_table,
)
from hub import Rejected, RequestError
from hub.parsing.spellings import decode_text, read_text
from hub.terminal.printing import report, show, warn

if TYPE_CHECKING:
    from client import Api
    from client.operations import DataStreamValue, DeviceObject, EventObject, OrganizationObject, Refusal

#: Types of events on a timeline, by their names in templates.
EVENT_TYPES = ("info", "warning", "critical", "content", "online", "offline", "status")

# -- templates --------------------------------------------------------------------------------------------------------


def template_import(parser: argparse.ArgumentParser) -> None:
    """Import template files and show what changes; without --prune no values are dropped."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a file, or the name of a template that comes with the hub"
    )
    parser.add_argument(
        "--prune", action="store_true", help="drop datastreams that the file no longer has, with their values"
    )
    parser.add_argument(
        "--enable-below", action="store_true", help="enable the templates in all organizations below your own"
    )

    def run(args: argparse.Namespace) -> int:
        failed, imported = False, []
        with api(args) as hub:
            for path in args.files:
                try:
                    text = _template_text(path)
                    call = operations.post_template_import(toml=text, source=str(path), prune=args.prune)
                    template = hub(call)
                except (OSError, ValueError, RequestError) as error:
                    failed = True
                    reason = error.strerror if isinstance(error, OSError) else error
                    message = str(error) if isinstance(error, RequestError) else f"{path}: {reason}"
                    for line in message.splitlines():
                        warn(line)
                    continue
                imported.append(template)
                enabled = _enable(hub, template["id"], list_organizations(hub)) if args.enable_below else []
                if not args.json:
                    unchanged = "" if template["changes"] or enabled else ": nothing to change"
                    print(f"{template['id']} {template['name']}{unchanged}")
                    for change in [*template["changes"], *_enabled_lines(enabled)]:
                        print(f"  {change}")
        if args.json:
            show(imported)
        return int(failed)

    parser.set_defaults(run=run)


def _enable(hub: Api, template: str, orgs: Sequence[OrganizationObject]) -> list[OrganizationObject]:
    """Enable a template in organizations, parents before their children; return those where it was disabled."""
    disabled = [org for org in orgs if org["templates"] is not None and template not in org["templates"]]
    for org in disabled:
        hub(operations.put_organization(org_id=org["id"], templates=sorted([*(org["templates"] or ()), template])))
    return disabled


def _enabled_lines(orgs: Sequence[OrganizationObject]) -> list[str]:
    return [f"+ enabled in {org['name']} ({org['id']})" for org in orgs]


def template_enable(parser: argparse.ArgumentParser) -> None:
    """Enable a template in organizations, and in those between them and your own."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument("orgs", metavar="ORG", nargs="*", help="an id, or a name if it is unique")
    parser.add_argument("--below", action="store_true", help="instead of ORG, all organizations below your own")

    def run(args: argparse.Namespace) -> None:
        if args.below == bool(args.orgs):
            parser.error("give either ORG or --below")
        with api(args) as hub:
            template = hub(operations.get_organization_template(template_id=args.id))
            all_orgs = list_organizations(hub)
            orgs = (
                all_orgs
                if args.below
                else _with_parents([find_organization(hub, text) for text in args.orgs], all_orgs)
            )
            enabled = _enable(hub, args.id, orgs)
        result = {"template": args.id, "enabled": [{"id": org["id"], "name": org["name"]} for org in enabled]}
        lines = _enabled_lines(enabled) or ["nothing to change"]
        report(args, result, f"{args.id} {template['name']}", *(f"  {line}" for line in lines))

    parser.set_defaults(run=run)


def _with_parents(
    orgs: Sequence[OrganizationObject], all_orgs: Sequence[OrganizationObject]
) -> list[OrganizationObject]:
    """Return organizations and their ancestors, as far as the caller sees them, parents before their children."""
    by_id = {org["id"]: org for org in all_orgs}
    ids = {org["id"] for org in orgs}
    for org in orgs:
        parent = by_id.get(org["parentOrganizationId"] or 0)
        while parent is not None:
            ids.add(parent["id"])
            parent = by_id.get(parent["parentOrganizationId"] or 0)
    return [org for org in all_orgs if org["id"] in ids]


def _template_text(path: Path) -> str:
    """Return a file's text; if there is no such file, that of the template of this name that comes with the hub.

    Raises OSError or ValueError.
    """
    if not path.exists():
        from hub.templates import shipped

        if text := shipped().get(str(path)):
            return text
    return read_text(path)


def template_export(parser: argparse.ArgumentParser) -> None:
    """Print a template as a file."""
    parser.add_argument("id", metavar="ID")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            if args.json:
                show(hub(operations.get_template_document(template_id=args.id)))
            else:
                print(hub(operations.get_template_export(template_id=args.id)), end="")

    parser.set_defaults(run=run)


def template_list(parser: argparse.ArgumentParser) -> None:
    """List the templates, or with --shipped those that come with the hub."""
    parser.add_argument(
        "--shipped", action="store_true", help="list templates that come with the hub, to import by name"
    )

    def run(args: argparse.Namespace) -> None:
        if args.shipped:
            _list_shipped(args.json)
            return
        with api(args) as hub:
            templates = fetch_all(hub, lambda page: operations.get_organization_templates(page=page, size=PAGE))
        if args.json:
            show(templates)
        else:
            print_table(
                ("id", "name", "datastreams", "devices"),
                [(t["id"], t["name"], t["datastreams"], t["devices"]) for t in templates],
            )

    parser.set_defaults(run=run)


def _list_shipped(as_json: bool) -> None:
    from hub.templates import parse, shipped

    templates = {name: parse(text, name) for name, text in shipped().items()}
    columns = ("name", "id", "datastreams", "description")
    rows = [(name, t.id, len(t.datastreams), t.description) for name, t in templates.items()]
    if as_json:
        show([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


# -- devices ----------------------------------------------------------------------------------------------------------


def _token_from_stdin() -> str:
    """Read a token that the board already carries from stdin; warn if it can be guessed."""
    token = sys.stdin.readline().strip()
    from hub.domain import WEAK_WARNING, is_token, is_weak

    if is_token(token) and is_weak(token):
        print(f"pinwheel: warning: {WEAK_WARNING}", file=sys.stderr)
    return token


def device_add(parser: argparse.ArgumentParser) -> None:
    """Add a device, or many from CSV, and print the token, which is shown only now."""
    parser.add_argument("--template", metavar="ID")
    parser.add_argument("--name", metavar="NAME")
    add_organization_option(parser, "the organization that the device belongs to")
    parser.add_argument(
        "--token-stdin", action="store_true", help="read the token that the board already carries from stdin"
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        type=Path,
        help="add devices from a file with columns name,template,token and metadata; all rows or none",
    )

    def run(args: argparse.Namespace) -> None:
        if args.csv is not None:
            if args.template or args.name or args.token_stdin:
                parser.error("--csv cannot be combined with --template, --name or --token-stdin: the file has them")
            _add_from_csv(args)
            return
        if not args.template or not args.name:
            parser.error("give --template and --name, or --csv")
        token = _token_from_stdin() if args.token_stdin else None
        with api(args) as hub:
            namesakes = device_ids_named(hub, args.name)
            call = operations.post_organization_device_create(
                template_id=args.template, name=args.name, org_id=find_organization_id(hub, args.org), token=token
            )
            added = hub(call)
        print(json.dumps({"id": added["id"], "token": added["token"]}))
        if namesakes:
            warn(
                f"there are now {len(namesakes) + 1} devices named {args.name!r};"
                f" select this one by its id, {added['id']}"
            )

    parser.set_defaults(run=run)


def _add_from_csv(args: argparse.Namespace) -> None:
    try:
        text = decode_text(args.csv.read_bytes())
    except (OSError, ValueError) as error:
        raise Rejected(f"{args.csv}: {getattr(error, 'strerror', None) or error}") from error
    with api(args) as hub:
        show(hub(operations.post_device_import(csv=text, org_id=find_organization_id(hub, args.org))))


def device_list(parser: argparse.ArgumentParser) -> None:
    """List the devices of an organization and of those below it."""
    add_organization_option(parser)
    parser.add_argument("--status", metavar="S", help="only devices with this status, such as offline")
    parser.add_argument(
        "--query", metavar="WORDS", help="only devices with these words in their name, metadata or tags"
    )
    parser.add_argument("--tag", metavar="T", help="only devices with this tag")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = find_organization_id(hub, args.org)
            devices: list[DeviceObject] = fetch_all(
                hub,
                lambda page: operations.get_organization_devices(
                    org_id=org, include_sub_org_devices=True, page=page, size=PAGE
                ),
            )
            if args.status or args.query or args.tag:
                ids = _matching_ids(hub, args, org)
                devices = [device for device in devices if device["id"] in ids]
            names = {} if args.json else organization_names(hub)
        if args.json:
            show(devices)
            return
        rows = [
            (
                d["id"],
                d["name"],
                d["templateId"],
                names.get(d["orgId"], d["orgId"]),
                d["lifecycleStatus"]["name"],
                _last_seen(d),
                d["ip"],
            )
            for d in devices
        ]
        print_table(("id", "name", "template", "org", "status", "last seen", "address"), rows)

    parser.set_defaults(run=run)


def _matching_ids(hub: Api, args: argparse.Namespace, org: int | None) -> set[int]:
    """Return the ids of the devices that match the options of ``device list``."""
    filters: list[operations.FilterSent] = []
    if args.status:
        filters.append({"attribute": "status", "values": [args.status]})
    if args.tag:
        filters.append({"attribute": "tag", "values": [args.tag]})
    devices = fetch_all(
        hub,
        lambda page: operations.post_devices_search(
            query=args.query, filters=filters, org_id=org, page=page, size=PAGE
        ),
    )
    return {device["id"] for device in devices}


def _last_seen(device: DeviceObject) -> str:
    """Return "now" for an online device, else the time of its last disconnection or value, whichever is later."""
    if device["lifecycleStatus"]["status"] == "ONLINE":
        return "now"
    return format_time(max(device["disconnectTime"] or 0, device["lastReceivedEventAt"] or 0))


def device_transfer(parser: argparse.ArgumentParser) -> None:
    """Transfer devices to another organization or owner, with their tokens, values and events."""
    parser.add_argument("devices", metavar="DEVICE", nargs="+", help="an id, or a name if it is unique")
    parser.add_argument("--org", metavar="ORG", help="an id, or a name if it is unique")
    parser.add_argument("--owner", metavar="EMAIL", help="a user; the devices move to the user's organization")

    def run(args: argparse.Namespace) -> int:
        if not args.org and not args.owner:
            parser.error("give --org or --owner")
        failed, transferred = False, []
        with api(args) as hub:
            owner = find_user(hub, args.owner) if args.owner else None
            org = find_organization(hub, args.org)["id"] if args.org else None
            if owner is not None and org not in (None, owner["orgId"]):
                raise Rejected(
                    f"{owner['email']} does not belong to organization {args.org};"
                    " a device is in its owner's organization"
                )
            receiver = owner["email"] if owner else find_organization(hub, args.org)["name"]
            for device in [find_device(hub, text) for text in args.devices]:
                to = {"new_user_id": owner["id"]} if owner else {"new_org_id": org}
                try:
                    hub(operations.post_organization_device_transfer(device_id=device["id"], **to))
                except RequestError as error:
                    failed = True
                    warn(f"{device['name']} ({device['id']}): {error}")
                else:
                    transferred.append({"id": device["id"], "name": device["name"]})
        lines = [f"{device['name']} ({device['id']}) was transferred to {receiver}" for device in transferred]
        if args.json or lines:
            report(args, transferred, *lines)
        return int(failed)

    parser.set_defaults(run=run)


def device_show(parser: argparse.ArgumentParser) -> None:
    """Show a device with its values and metadata."""
    add_device_argument(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
        if args.json:
            show(device)
            return
        print(f"{device['name']} ({device['id']}), {device['lifecycleStatus']['name'].lower()}")
        firmware = " ".join(f"{key}={value}" for key, value in device["hardwareInfo"].items())
        for name, value in (
            ("template", device["templateId"]),
            ("firmware", firmware or "-"),
            ("address", device["ip"] or "-"),
            ("activated", format_time(device["activatedAt"])),
            *((field["name"], field["value"]["text"]) for field in device["metaFieldValues"] or ()),
        ):
            print(f"  {name:<14}{value}")
        rows = [
            (
                v["pin"].upper(),
                v["dataStreamLabel"],
                v["display"]["text"],
                format_time(v["updatedAt"]),
            )
            for v in device["dataStreamValues"] or ()
        ]
        print_table(("pin", "name", "value", "updated"), rows)

    parser.set_defaults(run=run)


def device_events(parser: argparse.ArgumentParser) -> None:
    """List the events of a device, newest first; --resolve, --comment and --archive act on one event."""
    add_device_argument(parser)
    parser.add_argument("--type", default="", help=f"{', '.join(EVENT_TYPES)}; several as in info,warning")
    parser.add_argument("--open", action="store_true", help="only events that are not resolved")
    parser.add_argument("--archived", action="store_true", help="archived events instead")
    parser.add_argument("--query", default="", metavar="TEXT", help="only events with this text")
    parser.add_argument("--limit", type=int, default=50, metavar="N")
    parser.add_argument("--resolve", type=int, metavar="EVENT", help="resolve an event; --note says how")
    parser.add_argument("--note", default="")
    parser.add_argument("--comment", nargs=2, metavar=("EVENT", "TEXT"))
    parser.add_argument("--archive", type=int, metavar="EVENT")

    def run(args: argparse.Namespace) -> None:
        types = [name.lower() for name in args.type.split(",") if name]
        if unknown := [name for name in types if name not in EVENT_TYPES]:
            raise Rejected(f"--type must be one of {', '.join(EVENT_TYPES)}, not {', '.join(unknown)}")
        with api(args) as hub:
            device_id = find_device(hub, args.device)["id"]
            if args.resolve is not None:
                call = operations.post_organization_device_event_resolve
                hub(call(device_id=device_id, event_id=args.resolve, note=args.note))
            if args.comment is not None:
                event, text = args.comment
                if not event.isdecimal():
                    parser.error(f"--comment needs the number of an event and a text; {event!r} is not a number")
                comment = operations.post_organization_device_event_comment
                hub(comment(device_id=device_id, event_id=int(event), text=text))
            if args.archive is not None:
                archive = operations.post_organization_device_event_archive
                hub(archive(device_id=device_id, event_id=args.archive))
            timeline = operations.get_organization_device_timeline(
                device_id=device_id,
                event_type=types,
                resolved="false" if args.open else None,
                archived="true" if args.archived else "false",
                query=args.query,
                size=args.limit,
            )
            page = hub(timeline)
        if args.json:
            show(page)
            return
        rows = [
            (event["id"], format_time(event["ts"]), event["eventType"].lower(), event["name"], _full_description(event))
            for event in page["content"]
        ]
        print_table(("event", "time", "type", "name", "description"), rows)

    parser.set_defaults(run=run)


def _full_description(event: EventObject) -> str:
    """Return an event's description with its resolution and comments in brackets."""
    parts = [event["description"]]
    if event["isResolved"]:
        note = f": {event['resolvedComment']}" if event["resolvedComment"] else ""
        parts.append(f"(resolved by {event['resolvedBy']}{note})")
    parts += [f"({comment['by']}: {comment['text']})" for comment in event["comments"]]
    return " ".join(part for part in parts if part)


def device_log(parser: argparse.ArgumentParser) -> None:
    """Print the log of a device: events, connections, and refused values, oldest first."""
    add_device_argument(parser)
    parser.add_argument("--limit", type=int, default=50, metavar="N")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device_id = find_device(hub, args.device)["id"]
            call = operations.get_organization_device_timeline(device_id=device_id, size=args.limit, archived="any")
            events = hub(call)["content"]
            refusals = [refusal for refusal in hub(operations.get_refusals()) if refusal["device"] == device_id]
        entries: list[dict[str, Any]] = [
            {
                "at": event["ts"],
                "kind": event["eventType"].lower(),
                "text": f"{event['name']} {_full_description(event)}".strip(),
            }
            for event in events
        ]
        entries += [{"at": refusal["at"], "kind": "refused", "text": refusal["reason"]} for refusal in refusals]
        entries = sorted(entries, key=lambda entry: entry["at"])[-args.limit :]
        if args.json:
            show(entries)
            return
        for entry in entries:
            print(f"{format_time(entry['at'])}  {entry['kind']:<8}  {entry['text']}")

    parser.set_defaults(run=run)


def device_rename(parser: argparse.ArgumentParser) -> None:
    """Rename a device."""
    add_device_argument(parser)
    parser.add_argument("name", metavar="NAME")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
            renamed = hub(operations.put_organization_device(device_id=device["id"], name=args.name))
        result = {"id": device["id"], "name": renamed["name"]}
        report(args, result, f"{device['name']} ({device['id']}) is named {renamed['name']}")

    parser.set_defaults(run=run)


def device_delete(parser: argparse.ArgumentParser) -> None:
    """Delete a device with all its values and history."""
    add_device_argument(parser)
    add_yes_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
            confirm(args, f"delete {device['name']} ({device['id']}) with all its values and history")
            hub(operations.delete_organization_device(device_id=device["id"]))
        result = {"id": device["id"], "name": device["name"]}
        report(args, result, f"{device['name']} ({device['id']}) is deleted")

    parser.set_defaults(run=run)


def device_token(parser: argparse.ArgumentParser) -> None:
    """Give a device a new token and print it; it is shown only now."""
    add_device_argument(parser)
    parser.add_argument("--new", action="store_true", required=True, help="make a new token")
    parser.add_argument("--overlap", default="", help=f"how long the old token stays valid, {DURATION_HELP}")
    parser.add_argument("--token-stdin", action="store_true", help="read the new token from stdin")

    def run(args: argparse.Namespace) -> None:
        token = _token_from_stdin() if args.token_stdin else None
        with api(args) as hub:
            device = find_device(hub, args.device)
            call = operations.post_device_token(device_id=device["id"], overlap=args.overlap, token=token)
            print(json.dumps({"id": device["id"], "token": hub(call)["token"]}))

    parser.set_defaults(run=run)


def device_write(parser: argparse.ArgumentParser) -> None:
    """Write a value to a pin; several values make an array."""
    add_device_argument(parser)
    parser.add_argument("pin", metavar="PIN", help="such as V1, or a datastream's name")
    parser.add_argument("values", metavar="VALUE", nargs="+")

    def run(args: argparse.Namespace) -> None:
        value = args.values[0] if len(args.values) == 1 else args.values
        with api(args) as hub:
            device_id = find_device(hub, args.device)["id"]
            hub(operations.post_organization_device_datastream(device_id=device_id, pin=args.pin, value=value))
            datastream = find_datastream(hub(operations.get_organization_device(device_id=device_id)), args.pin)
        assert datastream is not None, "the hub has written to it"
        pin, name = datastream["pin"].upper(), datastream["dataStreamLabel"]
        result = {"device": device_id, "pin": pin, "name": name, "value": datastream["value"]}
        report(args, result, f"{pin} {name} = {_stored_value(datastream)}{_adjustment(args.values, datastream)}")

    parser.set_defaults(run=run)


def _stored_value(datastream: DataStreamValue) -> str:
    """Return the value without its unit; for an enum its label."""
    if datastream["type"] == "enum":
        return datastream["display"]["text"]
    value = datastream["value"]
    return ", ".join(map(_number, value if isinstance(value, list) else [value]))


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _adjustment(values: Sequence[str], datastream: DataStreamValue) -> str:
    """Return in brackets why the hub stored another number than the one written; "" if it is the same."""
    stored = datastream["value"]
    try:
        written = float(values[0])
    except ValueError:
        return ""
    if len(values) > 1 or not isinstance(stored, (int, float)) or written == stored:
        return ""
    if datastream["type"] == "enum":
        return f" ({values[0]} is none of its values)"
    return f" ({values[0]} is {'above the maximum' if written > stored else 'below the minimum'})"


def device_watch(parser: argparse.ArgumentParser) -> None:
    """Print what a device does as it happens, until Ctrl-C."""
    parser.add_argument("device", metavar="DEVICE", nargs="?", help="an id, or a name if it is unique")
    parser.add_argument("--wire", action="store_true", help="print decode_text frames, with secrets masked")
    parser.add_argument(
        "--refused", action="store_true", help="print refusals and their reasons: the last 1,000, then live"
    )

    def run(args: argparse.Namespace) -> None:
        if args.refused == bool(args.device):
            parser.error("give either DEVICE or --refused")
        with api(args) as hub:
            if args.refused:
                for refusal in hub(operations.get_refusals()):
                    _print_refusal(refusal, args.json)
                subscription: dict[str, Any] = {"subscribe": "refused"}
            else:
                device = find_device(hub, args.device)
                subscription = {"subscribe": "wire" if args.wire else "device", "device": device["id"], "every": True}
            for message in follow(hub, subscription):
                _print_message(message, args.json)

    parser.set_defaults(run=run)


def _print_refusal(refusal: Refusal, as_json: bool) -> None:
    if as_json:
        print(json.dumps(refusal), flush=True)
    else:
        print(f"{format_time(refusal['at'])}  {refusal['address']:<15}  {refusal['reason']}", flush=True)


def _print_message(message: dict[str, Any], as_json: bool) -> None:
    if "refused" in message:
        _print_refusal(message["refused"], as_json)
    elif as_json:
        print(json.dumps({key: value for key, value in message.items() if key != "id"}), flush=True)
    elif frame := message.get("wire"):
        print(
            f"{format_time(frame['at'])}  {'<-' if frame['direction'] == 'in' else '->'}  {frame['text']}", flush=True
        )
    elif "lagged" in message:
        print(f"({message['lagged']} changes were dropped: they came too quickly)", flush=True)
    else:
        at = format_time(message["ts"]) if "ts" in message else ""
        if "online" in message:
            print(f"{at or '-':<19}  {message['status'].lower()}", flush=True)
        for pin, value in message.get("values", {}).items():
            print(f"{at or '-':<19}  {pin.upper():<5} {value}", flush=True)
