"""The ``pinwheel`` command: parsing, the connection to a hub, output, and arguments that many commands share.

A command is an entry point of the group ``pinwheel.commands``: a function that adds its arguments to the parser that it
receives, and sets the parser's default ``run`` to a function of the parsed arguments. Its docstring's first line is its
help. Only the module of the command that runs is imported.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hub.errors import Forbidden, HubError, NotAuthenticated, NotFound, Rejected, StartupError, Unavailable
from hub.terminal.interrupts import INTERRUPTED, at_once, interruptible
from hub.version import installed

if TYPE_CHECKING:
    import ssl

    from client import Api, Call
    from client.operations import DataStreamValue, DeviceObject, OrganizationObject, UserObject
    from client.remote import Remote

DURATION_HELP = "such as 30s, 10m, 2h or 7d"
#: Options before the command that take a value.
_OPTIONS_WITH_VALUE = ("--url", "--user", "--ca")
#: Entries of a list that one request fetches.
PAGE = 1000
#: Names that are compared with a mistyped one.
MAX_COMPARED = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; see `run`."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code: 0, 1 for a failure, 2 for wrong use or configuration, 130 for Ctrl-C."""
    try:
        parsed = _parse(list(arguments))
        # The key is the first line of stdin; the command may read the rest.
        parsed.hub_key = sys.stdin.readline() if parsed.hub_key_stdin else os.environ.get("PINWHEEL_KEY", "")
        with interruptible():
            code = parsed.run(parsed) or 0
            sys.stdout.flush()
    except HubError as error:
        for line in str(error).splitlines():
            print(f"pinwheel: {line}", file=sys.stderr)
        code = 2 if isinstance(error, StartupError) else 1
    except PermissionError as error:
        print(f"pinwheel: {error.filename}: {error.strerror}; the file belongs to another user", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            # End the line with the terminal's ^C or the prompt.
            print(file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return int(code)


# -- the parser -------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser that suggests a similar command or option for an unknown one."""

    def error(self, message: str) -> NoReturn:
        if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += suggestion(match[1], re.findall(r"[\w-]+", match[2]))
        elif match := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            message += suggestion(match[1], re.findall(r"--[\w-]+", self.format_help()))
        super().error(message)


def suggestion(text: str, names: Sequence[str]) -> str:
    """Return ``; did you mean 'status'?`` with the name that is most similar to ``text``, or "" if none is."""
    matches = [name for name in names if name.lower() == text.lower()] or difflib.get_close_matches(text, names, 1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line. Exits with 2 for wrong arguments, and with 0 for ``--help``."""
    parsed, unknown = _parser(arguments).parse_known_args(arguments)
    if unknown:
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return parsed


def full_parser() -> argparse.ArgumentParser:
    """Return a parser with the arguments of all commands. This imports every command and takes a second."""
    return _parser((), full=True)


def _parser(arguments: Sequence[str], *, full: bool = False) -> argparse.ArgumentParser:
    """Return a parser with all commands, and the arguments of the command in ``arguments`` (``full``: of all)."""
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group="pinwheel.commands")}
    words = _command_words(arguments)
    chosen = next((name for name in (" ".join(words), words[0] if words else "") if name in entries), None)
    top = _Parser(
        prog="pinwheel", description="A self-hosted hub for devices that speak Blynk's protocols.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=installed())
    _add_remote_options(top)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for name in sorted(entries):
        first, _, second = name.partition(" ")
        setup = entries[name].load() if full or name == chosen else None
        help_text = _first_line(setup.__doc__) if setup else "" if chosen else _summary(entries[name])
        if second and first not in groups:
            subcommands = ", ".join(_subcommands(entries, first))
            group = commands.add_parser(first, help=f"{first} commands: {subcommands}")
            groups[first] = group.add_subparsers(metavar="COMMAND", required=True)
        subparsers, word = (groups[first], second) if second else (commands, first)
        parser = subparsers.add_parser(
            word, help=help_text.replace("%", "%%"), description=help_text.replace("%", "%%")
        )
        _add_common_options(parser)
        if setup is not None:
            setup(parser)
    return top


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="the configuration (default: ./hub.toml, else the shipped one)"
    )
    parser.add_argument("--data", metavar="DIR", help="the data directory, instead of the configuration's")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(parser=parser)


def _add_remote_options(top: argparse.ArgumentParser) -> None:
    group = top.add_argument_group("a hub on another machine")
    group.add_argument(
        "--url",
        dest="hub_url",
        default="",
        metavar="URL",
        help="the address of the hub, such as https://pi.local:9443 (or PINWHEEL_URL)",
    )
    group.add_argument(
        "--key-stdin",
        dest="hub_key_stdin",
        action="store_true",
        help="read an API key from the first line of stdin (or PINWHEEL_KEY)",
    )
    group.add_argument(
        "--user", dest="hub_user", default="", metavar="EMAIL", help="log in as a user; asks for the password"
    )
    group.add_argument(
        "--ca",
        dest="hub_ca",
        default="",
        metavar="FILE",
        help="a CA to trust in addition to the system's, such as the hub's ca.pem",
    )


def _command_words(arguments: Sequence[str]) -> list[str]:
    """Return the first two words of a command line that are not options: ``["device", "add"]``."""
    words: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in _OPTIONS_WITH_VALUE and not words:
            next(remaining, None)
        elif not argument.startswith("-"):
            words.append(argument)
    return words[:2]


def _subcommands(entries: dict[str, Any], first: str) -> list[str]:
    return sorted(name.partition(" ")[2] for name in entries if name.startswith(first + " "))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _summary(entry: importlib.metadata.EntryPoint) -> str:
    """Return the first line of a command's docstring. The command is not imported: all together take a second."""
    return _docstrings(entry.module).get(entry.attr, "")


@cache
def _docstrings(module: str) -> dict[str, str]:
    """Return the first line of each function's docstring in a module's source; nothing without the source file."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return {}
    paths = [Path(location, *rest) for location in spec.submodule_search_locations or ()]
    files = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    source = next((file for file in (files or [Path(spec.origin or "")]) if file.is_file()), None)
    if source is None:
        return {}
    functions = (node for node in ast.parse(source.read_bytes()).body if isinstance(node, ast.FunctionDef))
    return {node.name: _first_line(ast.get_docstring(node)) for node in functions}


# -- the hub ----------------------------------------------------------------------------------------------------------


@contextmanager
def api(args: argparse.Namespace) -> Iterator[Api]:
    """Open the hub that a command line refers to: by ``--url`` another machine's, else this data directory's.

    Raises `StartupError`, `RequestError`.
    """
    with at_once():
        from hub.config import config_of, url_of
    if url := url_of(args):
        with _remote(args, url) as remote:
            yield remote
        return
    for option, attribute in (("--key-stdin", "hub_key_stdin"), ("--user", "hub_user"), ("--ca", "hub_ca")):
        if getattr(args, attribute, ""):
            raise StartupError(f"{option} is for a hub on another machine, which --url or PINWHEEL_URL names")
    config = config_of(args)
    with at_once():
        from client.local import open_api
    with open_api(config) as hub:
        yield hub


@contextmanager
def _remote(args: argparse.Namespace, url: str) -> Iterator[Remote]:
    """Connect to a hub on another machine with an API key, or as a user who is logged out after the block."""
    with at_once():
        from client.operations import post_logout
        from client.remote import Remote
    if args.hub_key_stdin and args.hub_user:
        raise StartupError("--key-stdin and --user exclude each other: authenticate with an API key or as a user")
    remote = Remote(url, tls=_tls_context(args.hub_ca) if args.hub_ca else None)
    if args.hub_user:
        with _advising_on_certificates():
            _log_in(remote, args.hub_user)
            try:
                yield remote
            finally:
                remote(post_logout())
        return
    remote.token = args.hub_key.strip()
    if not remote.token:
        raise StartupError(
            "a hub on another machine requires authentication: give --user EMAIL, or an API key"
            " (pinwheel key add, there) with --key-stdin or in PINWHEEL_KEY"
        )
    with _advising_on_certificates():
        yield remote


@contextmanager
def _advising_on_certificates() -> Iterator[None]:
    """Add advice to an `Unavailable` that an untrusted certificate has caused."""
    import ssl

    try:
        yield
    except Unavailable as error:
        if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise
        advice = "name its CA with --ca FILE; a hub's own CA is at /ca.pem, and in its data directory, tls/ca.pem"
        raise Unavailable(f"{error}; {advice}") from error


def _tls_context(path: str) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and those in a PEM file. Raises `StartupError`."""
    import ssl

    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except OSError as error:
        reason = "holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise StartupError(f"--ca {path}: {reason}") from error
    return context


def _log_in(remote: Remote, email: str) -> None:
    """Log in with a password and, if needed, a one-time code from the terminal.

    Raises `StartupError`, `RequestError`.
    """
    if not sys.stdin.isatty():
        raise StartupError(
            "--user asks for the password, and for the one-time code of a second factor, on a terminal; elsewhere use"
            " an API key (pinwheel key add) with --key-stdin or in PINWHEEL_KEY"
        )
    password = _ask_secret(f"Password of {email}")
    try:
        remote.login(email, password)
    except NotAuthenticated as error:
        if "one-time" not in str(error):
            raise
        remote.login(email, password, _ask_secret("One-time code"))


def _ask_secret(name: str) -> str:
    """Ask for a secret on the terminal. Raises `Rejected` if the input ends (Ctrl-D)."""
    import getpass

    try:
        return getpass.getpass(f"{name}: ")
    except EOFError:
        print(file=sys.stderr)
        raise Rejected(f"{name} was not entered.") from None


# -- output -----------------------------------------------------------------------------------------------------------


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    print("\n".join(format_table(columns, rows)))


def format_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a table with aligned columns; a cell that is None is empty."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [
        max(len(column), *(len(row[n]) for row in cells)) if cells else len(column) for n, column in enumerate(columns)
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in ([column.upper() for column in columns], *cells)
    ]


def quantity(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 device``, ``2 devices``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_time(ms: int | None) -> str:
    """Return milliseconds since 1970 as local time, "-" for None."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S") if ms else "-"


@contextmanager
def naming_options(**options: str) -> Iterator[None]:
    """Replace names of API parameters in errors by those of options: ``naming_options(period="--period")``.

    Raises `Rejected`.
    """
    try:
        yield
    except Rejected as error:
        text = str(error)
        for parameter, option in options.items():
            text = re.sub(rf"^{parameter}\b", option, text, flags=re.MULTILINE)
        raise type(error)(text) from error


def show_progress(done: float, total: float, label: str) -> None:
    """Draw a progress bar on stderr, if that is a terminal."""
    if sys.stderr.isatty():
        share = min(1.0, done / total) if total else 1.0
        bar = "#" * int(share * 30)
        print(f"\r{label} [{bar:<30}] {share:4.0%}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)


def add_yes_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def confirm(args: argparse.Namespace, action: str) -> None:
    """Ask for confirmation of an action, such as "delete Greenhouse", unless ``--yes`` was given.

    Raises `Rejected` without it.
    """
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise Rejected(f"Refusing to {action} without confirmation. Run again with --yes.")
    try:
        answer = input(f"{action[0].upper()}{action[1:]}? [y/N] ")
    except EOFError:
        # End the line of the prompt after Ctrl-D.
        print()
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Rejected("Nothing was done.")


# -- devices ----------------------------------------------------------------------------------------------------------


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE", help="an id, or a name if it is unique")


def find_device(hub: Api, text: str) -> DeviceObject:
    """Return the device with an id or a unique name. Raises `NotFound`, and `Rejected` for an ambiguous name."""
    from client.operations import get_organization_device

    if text.isascii() and text.isdecimal() and len(text) < 16:
        try:
            return hub(get_organization_device(device_id=int(text)))
        except NotFound:
            raise NotFound(f"there is no device {text}") from None
    ids = device_ids_named(hub, text)
    if not ids:
        raise NotFound(f"there is no device named {text!r}{suggestion(text, _device_names(hub))}")
    if len(ids) > 1:
        raise Rejected(f"{len(ids)} devices are named {text!r}: use an id ({', '.join(map(str, ids[:10]))})")
    return hub(get_organization_device(device_id=ids[0]))


def device_ids_named(hub: Api, name: str) -> list[int]:
    """Return the ids of the devices with exactly this name."""
    from client.operations import get_organization_search_devices
    from hub.parsing.spellings import nfc

    devices = hub(get_organization_search_devices(query=name, size=PAGE))["content"]
    return [device["id"] for device in devices if device["name"] == nfc(name)]


def find_datastream(device: DeviceObject, text: str) -> DataStreamValue | None:
    """Return a device's datastream by pin (``V1``, ``v1``), else by name, as `hub.model.Device.find` does."""
    from hub.parsing.spellings import nfc

    streams = device["dataStreamValues"] or []
    matches = [stream for stream in streams if stream["pin"] == text.lower()]
    matches += [stream for stream in streams if stream["dataStreamLabel"] == nfc(text)]
    return matches[0] if matches else None


def _device_names(hub: Api) -> list[str]:
    from client.operations import get_organization_devices

    devices = fetch_all(hub, lambda page: get_organization_devices(include_sub_org_devices=True, page=page, size=PAGE))
    return [device["name"] for device in devices[:MAX_COMPARED]]


# -- organizations ----------------------------------------------------------------------------------------------------


def add_organization_option(parser: argparse.ArgumentParser, text: str = "the organization") -> None:
    parser.add_argument("--org", metavar="ORG", help=f"{text}: an id, or a name if it is unique (default: your own)")


def find_organization(hub: Api, text: str, parent: int | None = None) -> OrganizationObject:
    """Return the organization with an id or a unique name.

    ``parent`` is the id of an organization whose direct child is preferred if several have the name. Raises `NotFound`,
    and `Rejected` for an ambiguous name.
    """
    from client.operations import get_organization
    from hub.parsing.spellings import nfc

    if text.isascii() and text.isdecimal():
        return hub(get_organization(org_id=int(text)))
    namesakes = [org for org in list_organizations(hub, text) if org["name"] == nfc(text)]
    matches = [org for org in namesakes if org["parentOrganizationId"] == parent] or namesakes
    if not matches:
        names = [org["name"] for org in list_organizations(hub)[:MAX_COMPARED]]
        raise NotFound(f"there is no organization {text!r}{suggestion(text, names)}")
    if len(matches) > 1:
        ids = ", ".join(str(org["id"]) for org in matches)
        raise Rejected(f"{len(matches)} organizations are named {text!r}: use an id ({ids})")
    return matches[0]


def find_organization_id(hub: Api, text: str | None) -> int | None:
    """Return the id of the organization in ``--org``; None, the API's default, without the option."""
    return None if text is None else find_organization(hub, text)["id"]


def list_organizations(hub: Api, text: str | None = None) -> list[OrganizationObject]:
    """Return the caller's organization, and its descendants with ``text`` in their names, parents before children."""
    from client.operations import get_organization_profile, get_organization_search

    own_organization = hub(get_organization_profile())
    descendants = fetch_all(hub, lambda page: get_organization_search(query=text, page=page, size=PAGE))
    return [own_organization, *descendants]


def organization_names(hub: Api) -> dict[int, str]:
    """Return the names of the organizations by id; nothing if the caller may not list them."""
    try:
        return {org["id"]: org["name"] for org in list_organizations(hub)}
    except (Forbidden, NotFound):
        return {}


# -- users ------------------------------------------------------------------------------------------------------------


def find_user(hub: Api, email: str) -> UserObject:
    """Return the user with an e-mail address. Raises `NotFound`."""
    from client.operations import get_organization_search_users

    users: list[UserObject] = fetch_all(
        hub, lambda page: get_organization_search_users(query=email, page=page, size=PAGE)
    )
    for user in users:
        if user["email"] == email.lower():
            return user
    raise NotFound(f"there is no user {email!r}{suggestion(email, [user['email'] for user in users])}")


# -- lists ------------------------------------------------------------------------------------------------------------


def fetch_all(hub: Api, call_for_page: Callable[[int], Call[Any]]) -> list[Any]:
    """Return all entries of a list that the API returns in pages; ``call_for_page(0)`` is the call for the first."""
    entries: list[Any] = []
    for number in range(sys.maxsize):
        page = hub(call_for_page(number))
        entries += page["content"]
        if len(entries) >= page["totalElements"] or not page["content"]:
            break
    return entries


# -- the live stream --------------------------------------------------------------------------------------------------


def follow(hub: Api, *subscriptions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield messages of the live stream (see `Remote.follow`). Raises `Unavailable` if the hub is not running."""
    from client.remote import Remote

    if not isinstance(hub, Remote):
        raise Unavailable("the hub is not running; start it with: pinwheel run")
    return hub.follow(*subscriptions)
