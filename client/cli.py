"""The ``pinwheel`` command: its parser, how it prints, and its way to a hub (see `client`).

Commands are found through the entry-point group ``pinwheel.commands`` without loading what does not run. Each is a
function that receives its parser and returns nothing; it sets ``run``, a function of the parsed arguments.
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
from hub.interrupts import INTERRUPTED, at_once, interruptible
from hub.version import installed

if TYPE_CHECKING:
    import ssl

    from client import Api, Call
    from client.operations import DataStreamValue, DeviceObject, OrganizationObject, UserObject
    from client.remote import Remote

DURATION_HELP = "such as 30s, 10m, 2h or 7d"
#: Options before the command that have a value.
_VALUED = ("--url", "--user", "--ca")
#: Entries of a list that are asked for in one request.
PAGE = 1000
#: Names of things that are compared with a mistyped one.
MAX_COMPARED = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; see `run`."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code: 0, 1 for a failure, 2 for wrong use or configuration, 130 for Ctrl-C."""
    try:
        parsed = _parsed(list(arguments))
        # Before whatever the command itself takes from stdin.
        parsed.hub_key = sys.stdin.readline() if parsed.hub_key_stdin else os.environ.get("PINWHEEL_KEY", "")
        with interruptible():
            code = parsed.run(parsed) or 0
            sys.stdout.flush()
    except HubError as error:
        for line in str(error).splitlines():
            print(f"pinwheel: {line}", file=sys.stderr)
        code = 2 if isinstance(error, StartupError) else 1
    except PermissionError as error:
        print(f"pinwheel: {error.filename}: {error.strerror}; it belongs to another user", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            # After the ^C, or the prompt where the terminal echoes nothing.
            print(file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return int(code)


# -- the parser -------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what may have been meant by a word or an option that there is not."""

    def error(self, message: str) -> NoReturn:
        if wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += suggestion(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        elif wrong := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            message += suggestion(wrong[1], re.findall(r"--[\w-]+", self.format_help()))
        super().error(message)


def suggestion(text: str, names: Sequence[str]) -> str:
    """``; did you mean 'status'?`` for what is close to ``text``, else nothing."""
    if same := [name for name in names if name.lower() == text.lower()]:
        return f"; did you mean {same[0]!r}?"
    close = difflib.get_close_matches(text, names, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """The arguments of the command that is asked for; exits with 2 for wrong ones, and with 0 for ``--help``."""
    parsed, unknown = _parser(arguments).parse_known_args(arguments)
    if unknown:
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return parsed


def whole_parser() -> argparse.ArgumentParser:
    """A parser that knows all commands with their arguments; making it takes a second."""
    return _parser((), whole=True)


def _parser(arguments: Sequence[str], *, whole: bool = False) -> argparse.ArgumentParser:
    """A parser that knows all commands, and the arguments of the one that is asked for, or of the ``whole``."""
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group="pinwheel.commands")}
    words = _words(arguments)
    asked = next((name for name in (" ".join(words), words[0] if words else "") if name in entries), None)
    top = _Parser(
        prog="pinwheel", description="A self-hosted hub for devices that speak Blynk's protocols.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=installed())
    _with_elsewhere(top)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for name in sorted(entries):
        first, _, second = name.partition(" ")
        setup = entries[name].load() if whole or name == asked else None
        text = _first_line(setup.__doc__) if setup else "" if asked else _summary(entries[name])
        if second and first not in groups:
            group = commands.add_parser(first, help=f"{first} commands: {', '.join(_seconds(entries, first))}")
            groups[first] = group.add_subparsers(metavar="COMMAND", required=True)
        into, word = (groups[first], second) if second else (commands, first)
        parser = into.add_parser(word, help=text.replace("%", "%%"), description=text.replace("%", "%%"))
        parser.add_argument(
            "--config", metavar="FILE", type=Path, help="the configuration (default: ./hub.toml, else the shipped one)"
        )
        parser.add_argument("--data", metavar="DIR", help="the data directory, instead of the configuration's")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(parser=parser)
        if setup is not None:
            setup(parser)
    return top


def _with_elsewhere(top: argparse.ArgumentParser) -> None:
    elsewhere = top.add_argument_group("a hub on another machine")
    elsewhere.add_argument(
        "--url",
        dest="hub_url",
        default="",
        metavar="URL",
        help="its address, such as https://pi.local:9443 (or PINWHEEL_URL)",
    )
    elsewhere.add_argument(
        "--key-stdin",
        dest="hub_key_stdin",
        action="store_true",
        help="take an API key from the first line of stdin (or PINWHEEL_KEY)",
    )
    elsewhere.add_argument(
        "--user", dest="hub_user", default="", metavar="EMAIL", help="log in; the password is asked for"
    )
    elsewhere.add_argument(
        "--ca", dest="hub_ca", default="", metavar="FILE", help="a CA to trust besides the system's, such as its ca.pem"
    )


def _words(arguments: Sequence[str]) -> list[str]:
    """The words of the command that is asked for."""
    words: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in _VALUED and not words:
            next(rest, None)
        elif not argument.startswith("-"):
            words.append(argument)
    return words[:2]


def _seconds(entries: dict[str, Any], first: str) -> list[str]:
    return sorted(name.partition(" ")[2] for name in entries if name.startswith(first + " "))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _summary(entry: importlib.metadata.EntryPoint) -> str:
    """The first line of a command's docstring, without importing it: all of them together take a second."""
    return _docstrings(entry.module).get(entry.attr, "")


@cache
def _docstrings(module: str) -> dict[str, str]:
    """The first lines of the docstrings of a module's functions, from its source; none when that is not found."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return {}
    places = [Path(place, *rest) for place in spec.submodule_search_locations or ()]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    source = next((file for file in (files or [Path(spec.origin or "")]) if file.is_file()), None)
    if source is None:
        return {}
    functions = (node for node in ast.parse(source.read_bytes()).body if isinstance(node, ast.FunctionDef))
    return {node.name: _first_line(ast.get_docstring(node)) for node in functions}


# -- which hub --------------------------------------------------------------------------------------------------------


@contextmanager
def api(args: argparse.Namespace) -> Iterator[Api]:
    """The hub that the arguments mean. Raises `StartupError`, `RequestError`."""
    with at_once():
        from hub.config import config_of, url_of
    if url := url_of(args):
        with _remote(args, url) as remote:
            yield remote
        return
    for option, given in (("--key-stdin", "hub_key_stdin"), ("--user", "hub_user"), ("--ca", "hub_ca")):
        if getattr(args, given, ""):
            raise StartupError(f"{option} is for a hub on another machine, which --url or PINWHEEL_URL names")
    config = config_of(args)
    with at_once():
        from client.local import opened
    with opened(config) as hub:
        yield hub


@contextmanager
def _remote(args: argparse.Namespace, url: str) -> Iterator[Remote]:
    """A hub on another machine, asked with a key or as a user, whose session ends with the block."""
    with at_once():
        from client.operations import post_logout
        from client.remote import Remote
    if args.hub_key_stdin and args.hub_user:
        raise StartupError("--key-stdin and --user are two ways to be known; give only one")
    remote = Remote(url, tls=_trusting(args.hub_ca) if args.hub_ca else None)
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
            "a hub on another machine wants to know who asks: give --user EMAIL, or an API key"
            " (pinwheel key add, there) with --key-stdin or in PINWHEEL_KEY"
        )
    with _advising_on_certificates():
        yield remote


@contextmanager
def _advising_on_certificates() -> Iterator[None]:
    """Say what to do about a certificate that is not trusted. Raises `Unavailable`."""
    import ssl

    try:
        yield
    except Unavailable as error:
        if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise
        advice = "name the CA that signed it with --ca FILE; a hub's own is at /ca.pem and in its data, tls/ca.pem"
        raise Unavailable(f"{error}; {advice}") from error


def _trusting(path: str) -> ssl.SSLContext:
    """What this machine trusts, and the certificates in a file. Raises `StartupError`."""
    import ssl

    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except OSError as error:
        why = "holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise StartupError(f"--ca {path}: {why}") from error
    return context


def _log_in(remote: Remote, email: str) -> None:
    """Log in with what the terminal is asked for. Raises `StartupError`, `RequestError`."""
    if not sys.stdin.isatty():
        raise StartupError(
            "--user asks for the password, and for the one-time code of a second factor, on a terminal; elsewhere use"
            " an API key (pinwheel key add) with --key-stdin or in PINWHEEL_KEY"
        )
    password = _secret(f"Password of {email}")
    try:
        remote.login(email, password)
    except NotAuthenticated as error:
        if "one-time" not in str(error):
            raise
        remote.login(email, password, _secret("One-time code"))


def _secret(name: str) -> str:
    """Ask for a secret on the terminal. Raises `Rejected` when its input ends (Ctrl-D)."""
    import getpass

    try:
        return getpass.getpass(f"{name}: ")
    except EOFError:
        print(file=sys.stderr)
        raise Rejected(f"{name} was not entered.") from None


# -- printing ---------------------------------------------------------------------------------------------------------


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns."""
    print("\n".join(table(columns, rows)))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of aligned columns."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [
        max(len(column), *(len(row[n]) for row in cells)) if cells else len(column) for n, column in enumerate(columns)
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in ([column.upper() for column in columns], *cells)
    ]


def counted(number: int, what: str) -> str:
    """``1 device``, ``2 devices``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def local_time(ms: int | None) -> str:
    """A stamp as this machine's clocks have it."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S") if ms else "-"


@contextmanager
def naming(**options: str) -> Iterator[None]:
    """Where the API refuses one of its parameters, name the option by which it was given. Raises `Rejected`."""
    try:
        yield
    except Rejected as error:
        text = str(error)
        for parameter, option in options.items():
            text = re.sub(rf"^{parameter}\b", option, text, flags=re.MULTILINE)
        raise type(error)(text) from error


def progress(done: float, total: float, what: str) -> None:
    """Show on a terminal how far something is."""
    if sys.stderr.isatty():
        share = min(1.0, done / total) if total else 1.0
        bar = "#" * int(share * 30)
        print(f"\r{what} [{bar:<30}] {share:4.0%}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)


def with_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def confirmed(args: argparse.Namespace, action: str) -> None:
    """Return when ``--yes`` was given, or the question about an action ("delete Greenhouse") is answered with yes.

    Raises `Rejected`.
    """
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise Rejected(f"Refusing to {action} without confirmation. Run again with --yes.")
    try:
        answer = input(f"{action[0].upper()}{action[1:]}? [y/N] ")
    except EOFError:
        # Ctrl-D.
        print()
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Rejected("Nothing was done.")


# -- devices ----------------------------------------------------------------------------------------------------------


def with_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE", help="an id, or a name if it is unique")


def device_of(hub: Api, text: str) -> DeviceObject:
    """The device that an id, or a name that only one has, means. Raises `NotFound`, `Rejected`."""
    from client.operations import get_organization_device

    if text.isascii() and text.isdecimal() and len(text) < 16:
        try:
            return hub(get_organization_device(device_id=int(text)))
        except NotFound:
            raise NotFound(f"there is no device {text}") from None
    ids = devices_named(hub, text)
    if not ids:
        raise NotFound(f"there is no device named {text!r}{suggestion(text, _names_of_devices(hub))}")
    if len(ids) > 1:
        raise Rejected(f"{len(ids)} devices are named {text!r}: use an id ({', '.join(map(str, ids[:10]))})")
    return hub(get_organization_device(device_id=ids[0]))


def devices_named(hub: Api, name: str) -> list[int]:
    """The ids of the devices that have a name."""
    from client.operations import get_organization_search_devices
    from hub.spellings import nfc

    found = hub(get_organization_search_devices(query=name, size=PAGE))["content"]
    return [device["id"] for device in found if device["name"] == nfc(name)]


def datastream_of(device: DeviceObject, text: str) -> DataStreamValue | None:
    """The datastream on a pin (``V1``, ``v1``), or with a name, as `hub.model.Device.find` has it."""
    from hub.spellings import nfc

    streams = device["dataStreamValues"] or []
    found = [one for one in streams if one["pin"] == text.lower()]
    found += [one for one in streams if one["dataStreamLabel"] == nfc(text)]
    return found[0] if found else None


def _names_of_devices(hub: Api) -> list[str]:
    from client.operations import get_organization_devices

    found = every(hub, lambda page: get_organization_devices(include_sub_org_devices=True, page=page, size=PAGE))
    return [device["name"] for device in found[:MAX_COMPARED]]


# -- organizations ----------------------------------------------------------------------------------------------------


def with_org(parser: argparse.ArgumentParser, text: str = "the organization") -> None:
    parser.add_argument("--org", metavar="ORG", help=f"{text}: an id, or a name if it is unique (default: your own)")


def org_of(hub: Api, text: str, below: int | None = None) -> OrganizationObject:
    """The organization that an id or a name means; of several with that name the one right ``below`` another.

    Raises `NotFound`, `Rejected` when several have that name.
    """
    from client.operations import get_organization
    from hub.spellings import nfc

    if text.isascii() and text.isdecimal():
        return hub(get_organization(org_id=int(text)))
    named = [org for org in organizations(hub, text) if org["name"] == nfc(text)]
    found = [org for org in named if org["parentOrganizationId"] == below] or named
    if not found:
        names = [org["name"] for org in organizations(hub)[:MAX_COMPARED]]
        raise NotFound(f"there is no organization {text!r}{suggestion(text, names)}")
    if len(found) > 1:
        ids = ", ".join(str(org["id"]) for org in found)
        raise Rejected(f"{len(found)} organizations are named {text!r}: use an id ({ids})")
    return found[0]


def org_id_of(hub: Api, text: str | None) -> int | None:
    """The id of the organization that ``--org`` means; None, which the API takes for one's own, without it."""
    return None if text is None else org_of(hub, text)["id"]


def organizations(hub: Api, text: str | None = None) -> list[OrganizationObject]:
    """One's own organization, and those below it that have a text in their name, parents before children."""
    from client.operations import get_organization_profile, get_organization_search

    own = hub(get_organization_profile())
    return [own, *every(hub, lambda page: get_organization_search(query=text, page=page, size=PAGE))]


def names_of_organizations(hub: Api) -> dict[int, str]:
    """Names by id, as far as the asker may list them."""
    try:
        return {org["id"]: org["name"] for org in organizations(hub)}
    except (Forbidden, NotFound):
        return {}


# -- users ------------------------------------------------------------------------------------------------------------


def user_of(hub: Api, email: str) -> UserObject:
    """The user with an e-mail address. Raises `NotFound`."""
    from client.operations import get_organization_search_users

    found: list[UserObject] = every(hub, lambda page: get_organization_search_users(query=email, page=page, size=PAGE))
    for user in found:
        if user["email"] == email.lower():
            return user
    raise NotFound(f"there is no user {email!r}{suggestion(email, [user['email'] for user in found])}")


# -- lists ------------------------------------------------------------------------------------------------------------


def every(hub: Api, page_of: Callable[[int], Call[Any]]) -> list[Any]:
    """All entries of a list that the API has in pages; ``page_of`` makes the call for page 0, 1 and so on."""
    found: list[Any] = []
    for page in range(sys.maxsize):
        answer = hub(page_of(page))
        found += answer["content"]
        if len(found) >= answer["totalElements"] or not answer["content"]:
            break
    return found


# -- streams ----------------------------------------------------------------------------------------------------------


def follow(hub: Api, *subscriptions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """See `Remote.follow`. Raises `Unavailable` when the hub does not run."""
    from client.remote import Remote

    if not isinstance(hub, Remote):
        raise Unavailable("the hub is not running; start it with: pinwheel run")
    return hub.follow(*subscriptions)


Command = Callable[[argparse.ArgumentParser], None]
