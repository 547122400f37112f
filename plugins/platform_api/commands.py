"""``pinwheel template …`` and ``pinwheel device …``: ordinary clients of the API."""

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
from hub.domain.tokens import WEAK_WARNING, is_token, is_weak
from hub.errors import Rejected, RequestError
from hub.printing import report, show, warn
from hub.spellings import decode_text, read_text

if TYPE_CHECKING:
    from client import Api
    from client.operations import DataStreamValue, DeviceObject, EventObject, OrganizationObject, Refusal

#: Types of events, as templates have them.
EVENT_TYPES = ("info", "warning", "critical", "content", "online", "offline", "status")

# -- templates --------------------------------------------------------------------------------------------------------


def template_import(parser: argparse.ArgumentParser) -> None:
    """Import template files; shows what changes, and drops no values without --prune."""
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
                        warn(line)
                    continue
                enabled = _enabled(hub, done[-1]["id"], list_organizations(hub)) if args.enable_below else []
                if not args.json:
                    unchanged = "" if done[-1]["changes"] or enabled else ": nothing to change"
                    print(f"{done[-1]['id']} {done[-1]['name']}{unchanged}")
                    for change in [*done[-1]["changes"], *_enabling(enabled)]:
                        print(f"  {change}")
        if args.json:
            show(done)
        return int(failed)

    parser.set_defaults(run=run)


def _enabled(hub: Api, template: str, orgs: Sequence[OrganizationObject]) -> list[OrganizationObject]:
    """Enable a template in organizations, parents before their children; returns those where it was not."""
    missing = [org for org in orgs if org["templates"] is not None and template not in org["templates"]]
    for org in missing:
        hub(operations.put_organization(org_id=org["id"], templates=sorted([*(org["templates"] or ()), template])))
    return missing


def _enabling(orgs: Sequence[OrganizationObject]) -> list[str]:
    return [f"+ enabled in {org['name']} ({org['id']})" for org in orgs]


def template_enable(parser: argparse.ArgumentParser) -> None:
    """Let organizations have devices of a template; also those between them and your own."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument("orgs", metavar="ORG", nargs="*", help="an id, or a name if it is unique")
    parser.add_argument("--below", action="store_true", help="instead of ORG, all organizations below your own")

    def run(args: argparse.Namespace) -> None:
        if args.below == bool(args.orgs):
            parser.error("either ORG or --below is needed")
        with api(args) as hub:
            template = hub(operations.get_organization_template(template_id=args.id))
            every_org = list_organizations(hub)
            meant = (
                every_org
                if args.below
                else _with_parents([find_organization(hub, text) for text in args.orgs], every_org)
            )
            enabled = _enabled(hub, args.id, meant)
        found = [{"id": org["id"], "name": org["name"]} for org in enabled]
        lines = _enabling(enabled) or ["nothing to change"]
        report(
            args, {"template": args.id, "enabled": found}, f"{args.id} {template['name']}", *(f"  {x}" for x in lines)
        )

    parser.set_defaults(run=run)


def _with_parents(
    orgs: Sequence[OrganizationObject], every_org: Sequence[OrganizationObject]
) -> list[OrganizationObject]:
    """Organizations and those above them, as far as the asker sees them, parents before their children."""
    by_id = {org["id"]: org for org in every_org}
    meant = {org["id"] for org in orgs}
    for org in orgs:
        above = by_id.get(org["parentOrganizationId"] or 0)
        while above is not None:
            meant.add(above["id"])
            above = by_id.get(above["parentOrganizationId"] or 0)
    return [org for org in every_org if org["id"] in meant]


def _template_text(path: Path) -> str:
    """What is in a file; where there is none, the template of that name that comes with the hub.

    Raises OSError and ValueError.
    """
    if not path.exists():
        from hub.templates.document import shipped

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
    """List the templates, or those that come with the hub."""
    parser.add_argument("--shipped", action="store_true", help="those that come with the hub, to import by name")

    def run(args: argparse.Namespace) -> None:
        if args.shipped:
            _list_shipped(args.json)
            return
        with api(args) as hub:
            found = fetch_all(hub, lambda page: operations.get_organization_templates(page=page, size=PAGE))
        if args.json:
            show(found)
        else:
            print_table(
                ("id", "name", "datastreams", "devices"),
                [(t["id"], t["name"], t["datastreams"], t["devices"]) for t in found],
            )

    parser.set_defaults(run=run)


def _list_shipped(as_json: bool) -> None:
    from hub.templates.document import parse, shipped

    found = {name: parse(text, name) for name, text in shipped().items()}
    rows = [(name, one.id, len(one.datastreams), one.description) for name, one in found.items()]
    if as_json:
        show([dict(zip(("name", "id", "datastreams", "description"), row, strict=True)) for row in rows])
    else:
        print_table(("name", "id", "datastreams", "description"), rows)


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
    add_organization_option(parser, "the organization that it belongs to")
    parser.add_argument(
        "--token-stdin", action="store_true", help="take the token that the board already carries from stdin"
    )
    parser.add_argument(
        "--csv", metavar="FILE", type=Path, help="columns name,template,token and metadata; all rows or none"
    )

    def run(args: argparse.Namespace) -> None:
        if args.csv is not None:
            if args.template or args.name or args.token_stdin:
                parser.error("with --csv, templates, names and tokens stand in the file")
            _add_from_csv(args)
            return
        if not args.template or not args.name:
            parser.error("--template and --name are needed, or --csv")
        token = _token_from_stdin() if args.token_stdin else None
        with api(args) as hub:
            same = device_ids_named(hub, args.name)
            call = operations.post_organization_device_create(
                template_id=args.template, name=args.name, org_id=find_organization_id(hub, args.org), token=token
            )
            added = hub(call)
        print(json.dumps({"id": added["id"], "token": added["token"]}))
        if same:
            warn(f"there are {len(same) + 1} devices named {args.name!r} now: commands need the id, {added['id']}")

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
    parser.add_argument("--status", metavar="S", help="only those with this status, such as offline")
    parser.add_argument("--query", metavar="WORDS", help="only those with these words in their name, metadata or tags")
    parser.add_argument("--tag", metavar="T", help="only those with this tag")

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
                meant = _found(hub, args, org)
                devices = [device for device in devices if device["id"] in meant]
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


def _found(hub: Api, args: argparse.Namespace, org: int | None) -> set[int]:
    """The ids of the devices that the filters of ``device list`` mean."""
    filters: list[operations.Filter] = []
    if args.status:
        filters.append({"attribute": "status", "values": [args.status]})
    if args.tag:
        filters.append({"attribute": "tag", "values": [args.tag]})
    found = fetch_all(
        hub,
        lambda page: operations.post_devices_search(
            query=args.query, filters=filters, org_id=org, page=page, size=PAGE
        ),
    )
    return {device["id"] for device in found}


def _last_seen(device: DeviceObject) -> str:
    """When a device was there: now, or when it disconnected or its newest value came."""
    if device["lifecycleStatus"]["status"] == "ONLINE":
        return "now"
    return format_time(max(device["disconnectTime"] or 0, device["lastReceivedEventAt"] or 0))


def device_transfer(parser: argparse.ArgumentParser) -> None:
    """Give devices to another organization, or to an owner in one; their tokens, values and events go with them."""
    parser.add_argument("devices", metavar="DEVICE", nargs="+", help="an id, or a name if it is unique")
    parser.add_argument("--org", metavar="ORG", help="an id, or a name if it is unique")
    parser.add_argument("--owner", metavar="EMAIL", help="a user; the devices are in their organization then")

    def run(args: argparse.Namespace) -> int:
        if not args.org and not args.owner:
            parser.error("--org or --owner is needed")
        failed, done = False, []
        with api(args) as hub:
            owner = find_user(hub, args.owner) if args.owner else None
            org = find_organization(hub, args.org)["id"] if args.org else None
            if owner is not None and org not in (None, owner["orgId"]):
                raise Rejected(f"{owner['email']} is not in organization {args.org}: a device is where its owner is")
            where = owner["email"] if owner else find_organization(hub, args.org)["name"]
            for device in [find_device(hub, text) for text in args.devices]:
                to = {"new_user_id": owner["id"]} if owner else {"new_org_id": org}
                try:
                    hub(operations.post_organization_device_transfer(device_id=device["id"], **to))
                except RequestError as error:
                    failed = True
                    warn(f"{device['name']} ({device['id']}): {error}")
                else:
                    done.append({"id": device["id"], "name": device["name"]})
        lines = [f"{one['name']} ({one['id']}) is {where}'s now" for one in done]
        if args.json or lines:
            report(args, done, *lines)
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
    """The timeline of a device, newest first; --resolve, --comment and --archive act on one event."""
    add_device_argument(parser)
    parser.add_argument("--type", default="", help=f"{', '.join(EVENT_TYPES)}; or several, as in info,warning")
    parser.add_argument("--open", action="store_true", help="only what is not resolved")
    parser.add_argument("--archived", action="store_true", help="what was archived instead")
    parser.add_argument("--query", default="", metavar="TEXT", help="only with this text in it")
    parser.add_argument("--limit", type=int, default=50, metavar="N")
    parser.add_argument("--resolve", type=int, metavar="EVENT", help="resolve an event; --note says how")
    parser.add_argument("--note", default="")
    parser.add_argument("--comment", nargs=2, metavar=("EVENT", "TEXT"))
    parser.add_argument("--archive", type=int, metavar="EVENT")

    def run(args: argparse.Namespace) -> None:
        types = [one.lower() for one in args.type.split(",") if one]
        if wrong := [one for one in types if one not in EVENT_TYPES]:
            raise Rejected(f"--type must be one of {', '.join(EVENT_TYPES)}, not {', '.join(wrong)}")
        with api(args) as hub:
            number = find_device(hub, args.device)["id"]
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
                event_type=types,
                resolved="false" if args.open else None,
                archived="true" if args.archived else "false",
                query=args.query,
                size=args.limit,
            )
            found = hub(call)
        if args.json:
            show(found)
            return
        rows = [(e["id"], format_time(e["ts"]), e["eventType"].lower(), e["name"], _told(e)) for e in found["content"]]
        print_table(("event", "time", "type", "name", "description"), rows)

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
    add_device_argument(parser)
    parser.add_argument("--limit", type=int, default=50, metavar="N")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            number = find_device(hub, args.device)["id"]
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
            print(f"{format_time(line['at'])}  {line['kind']:<8}  {line['text']}")

    parser.set_defaults(run=run)


def device_rename(parser: argparse.ArgumentParser) -> None:
    """Give a device another name."""
    add_device_argument(parser)
    parser.add_argument("name", metavar="NAME")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            device = find_device(hub, args.device)
            renamed = hub(operations.put_organization_device(device_id=device["id"], name=args.name))
        done = {"id": device["id"], "name": renamed["name"]}
        report(args, done, f"{device['name']} ({device['id']}) is named {renamed['name']}")

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
        done = {"id": device["id"], "name": device["name"]}
        report(args, done, f"{device['name']} ({device['id']}) is deleted")

    parser.set_defaults(run=run)


def device_token(parser: argparse.ArgumentParser) -> None:
    """Give a device a new token; prints it, as it is shown only now."""
    add_device_argument(parser)
    parser.add_argument("--new", action="store_true", required=True, help="make a new token")
    parser.add_argument("--overlap", default="", help=f"how long the old token goes on, {DURATION_HELP}")
    parser.add_argument("--token-stdin", action="store_true", help="take the new token from stdin")

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
            number = find_device(hub, args.device)["id"]
            hub(operations.post_organization_device_datastream(device_id=number, pin=args.pin, value=value))
            stream = find_datastream(hub(operations.get_organization_device(device_id=number)), args.pin)
        assert stream is not None, "the hub has written to it"
        pin, name = stream["pin"].upper(), stream["dataStreamLabel"]
        done = {"device": number, "pin": pin, "name": name, "value": stream["value"]}
        report(args, done, f"{pin} {name} = {_stored(stream)}{_adjusted(args.values, stream)}")

    parser.set_defaults(run=run)


def _stored(stream: DataStreamValue) -> str:
    """A value without its unit; of an enum its label."""
    if stream["type"] == "enum":
        return stream["display"]["text"]
    value = stream["value"]
    return ", ".join(map(_number, value if isinstance(value, list) else [value]))


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _adjusted(given: Sequence[str], stream: DataStreamValue) -> str:
    """Why another number was stored than the one that was given, in brackets; "" when it is the same."""
    value = stream["value"]
    try:
        number = float(given[0])
    except ValueError:
        return ""
    if len(given) > 1 or not isinstance(value, (int, float)) or number == value:
        return ""
    if stream["type"] == "enum":
        return f" ({given[0]} is none of its values)"
    return f" ({given[0]} is {'above the maximum' if number > value else 'below the minimum'})"


def device_watch(parser: argparse.ArgumentParser) -> None:
    """Print what a device does as it happens, until Ctrl-C."""
    parser.add_argument("device", metavar="DEVICE", nargs="?", help="an id, or a name if it is unique")
    parser.add_argument("--wire", action="store_true", help="decoded frames, secrets masked")
    parser.add_argument("--refused", action="store_true", help="who was refused and why: the last 1,000, and live")

    def run(args: argparse.Namespace) -> None:
        if args.refused == bool(args.device):
            parser.error("either DEVICE or --refused is needed")
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
        print(f"({message['lagged']} changes were too quick to show)", flush=True)
    else:
        at = format_time(message["ts"]) if "ts" in message else ""
        if "online" in message:
            print(f"{at or '-':<19}  {message['status'].lower()}", flush=True)
        for pin, value in message.get("values", {}).items():
            print(f"{at or '-':<19}  {pin.upper():<5} {value}", flush=True)
