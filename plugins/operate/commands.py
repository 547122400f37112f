"""``pinwheel status``, ``plugins`` and ``service``: looking after a hub on this machine."""

from __future__ import annotations

import argparse
import getpass
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from hub.cli import api, config_of, show, show_table, with_json
from hub.client import operations
from hub.client.operations import Cost
from hub.client.remote import Remote
from hub.config import Config
from hub.errors import RequestError, StartupError

#: The dearest datastreams, on the screen of the status.
COSTS = 5


def status(parser: argparse.ArgumentParser) -> None:
    """How the hub does; exits with 0 (ok), 1 (warning) or 2 (critical)."""
    with_json(parser)
    parser.set_defaults(run=_status)


def _status(args: argparse.Namespace) -> int:
    with api(args) as hub:
        state, costs = hub(operations.get_status()), hub(operations.get_history_costs())
        running = isinstance(hub, Remote)
    if not running:
        state["status"] = "critical"
        state["problems"].append({"id": "stopped", "text": "the hub is not running", "critical": True, "since": 0})
    if args.json:
        show({**state, "costs": costs})
    else:
        print(f"{state['name']} {state['version']}: {state['status']}")
        for problem in state["problems"]:
            print(f"  {'!!' if problem['critical'] else ' !'} {problem['text']}")
        listen = ", ".join(entry["address"] + (" (TLS)" if entry["tls"] else "") for entry in state["listen"])
        for name, value in (
            ("listening on", listen or "-"),
            ("up for", _span(state["uptime"])),
            ("devices", f"{state['devices']}, {state['online']} online, of {state['templates']} templates"),
            ("connections", state["connections"]),
            ("values stored", state["valuesStored"]),
            ("turned away", state["refused"]),
            ("disk free", "?" if state["diskFree"] is None else f"{state['diskFree']:.0%}"),
        ):
            print(f"  {name:<14}{value}")
        for line in cost_lines(costs[:COSTS]):
            print(line)
    return {"ok": 0, "warning": 1, "critical": 2}[state["status"]]


def cost_lines(costs: Sequence[Cost]) -> list[str]:
    """What datastreams take on disk, going by the newest day."""
    lines = []
    for number, cost in enumerate(costs):
        what = f"{cost['template']} {cost['pin'].upper()} {cost['name']}"
        lines.append(f"  {'' if number else 'costs':<14}{cost['bytesPerMonth'] / 1e6:.2f} MB a month: {what}")
    return lines


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    return f"{days} d {rest // 3600} h" if days else f"{rest // 3600} h {rest % 3600 // 60} min"


def plugins(parser: argparse.ArgumentParser) -> None:
    """List the plugins with version, hooks and state; `new NAME` makes a skeleton, `add` installs one."""
    with_json(parser)
    parser.add_argument("action", nargs="?", choices=["new", "add"])
    parser.add_argument("name", nargs="?", metavar="NAME", help="the new plugin, or the package or .py file to add")
    parser.set_defaults(run=_plugins)


def _plugins(args: argparse.Namespace) -> int:
    if args.action == "new":
        if not args.name or re.fullmatch(r"[a-z][a-z0-9_]{0,40}", args.name) is None:
            raise StartupError(
                "a plugin's name has small letters, digits and _, such as: pinwheel plugins new rain_alarm"
            )
        return _new_plugin(args.name)
    if args.action == "add":
        if not args.name:
            raise StartupError("which? such as: pinwheel plugins add frost.py")
        return _add_plugin(args.name, config_of(args).data / "plugins")
    with api(args) as hub:
        found = hub(operations.get_plugins())
    if args.json:
        show(found)
    else:
        rows = [
            (
                p["name"],
                p["version"],
                p["state"],
                " ".join(p["hooks"]),
                p["problem"] or (f"held the loop for {p['longestHoldMs']} ms" if p["longestHoldMs"] else ""),
            )
            for p in found
        ]
        show_table(("name", "version", "state", "hooks", "problem"), rows)
    return 0


def _add_plugin(name: str, folder: Path) -> int:
    """Install a package into the hub's environment, or copy a file to where the hub looks for it."""
    if not name.endswith(".py"):
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", name]
        if subprocess.run(pip, check=False).returncode:  # noqa: S603
            raise RequestError(f"{name} could not be installed")
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder)
        except OSError as error:
            raise RequestError(f"{name}: {error.strerror}") from error
    print("added; it is loaded at the next start of the hub")
    return 0


def _new_plugin(name: str) -> int:
    """Copy the skeleton of a plugin: a package with its module, its entry point and its test."""
    target = Path(name)
    if target.exists():
        raise StartupError(f"{target} exists already")
    skeleton = resources.files("config") / "plugin"
    for source, path in (
        ("pyproject.toml", "pyproject.toml"),
        ("README.md", "README.md"),
        ("plugin.py", f"pinwheel_{name}.py"),
        ("test_plugin.py", f"tests/test_{name}.py"),
    ):
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((skeleton / f"{source}.in").read_text("utf-8").replace("@name@", name))
    print(f"{target}/ made. Try it with: cd {target} && pip install -e '.[test]' && pytest")
    return 0


def service(parser: argparse.ArgumentParser) -> None:
    """Install the hub as a systemd service, or remove it."""
    parser.add_argument("action", choices=["install", "uninstall"])
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the unit and change nothing")
    parser.add_argument("--user", metavar="NAME", help="the user that it runs as; by default the one who called sudo")
    parser.set_defaults(run=_service)


def _service(args: argparse.Namespace) -> int:
    unit, filled = Path("/etc/systemd/system/pinwheel.service"), ""
    if args.action == "install":
        user, config = _service_user(args.user), config_of(args)
        filled = _unit(args, config, user.pw_name)
    if args.only_print:
        print(filled if args.action == "install" else f"would stop and remove {unit}", end="" if filled else "\n")
        return 0
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise StartupError("there is no systemd here (systemctl was not found)")
    steps = [["daemon-reload"], ["enable", "--now", "pinwheel"]]
    try:
        if args.action == "install":
            _own_data(config.data.resolve(), user)
            unit.write_text(filled)
        else:
            steps = [["disable", "--now", "pinwheel"], ["daemon-reload"]]
        for step in steps:
            if args.action == "uninstall" and step == ["daemon-reload"]:
                unit.unlink(missing_ok=True)
            done = subprocess.run([systemctl, *step], check=False, capture_output=True, text=True)  # noqa: S603
            if done.returncode:
                raise RequestError(f"systemctl {' '.join(step)}: {done.stderr.strip()}")
    except OSError as error:
        raise RequestError(f"{unit}: {error.strerror}; run this with sudo") from error
    if args.action == "install":
        print(f"pinwheel is installed and running as {user.pw_name}, with the data in {config.data.resolve()}")
    else:
        print("pinwheel is uninstalled")
    return 0


def _unit(args: argparse.Namespace, config: Config, user: str) -> str:
    """The systemd unit for a hub with this configuration; ``args.config`` is the file, if one is named."""
    command = [sys.argv[0] if Path(sys.argv[0]).is_absolute() else str(Path(sys.argv[0]).resolve()), "run"]
    command += ["--config", str(Path(args.config).resolve())] if args.config else []
    command += ["--data", str(config.data.resolve())]
    # Without the backups' directory, which may be on a disk that is not there yet, the hub starts all the same.
    writable = [str(config.data.resolve())]
    writable += [f"-{Path(config.backup.directory).resolve()}"] if config.backup.directory else []
    return (
        (resources.files("config") / "pinwheel.service")
        .read_text("utf-8")
        .format(
            command=" ".join(_quoted(word.replace("$", "$$")) for word in command),
            directory=str(Path.cwd()).replace("%", "%%"),
            user=user,
            writable=" ".join(map(_quoted, writable)),
        )
    )


def _quoted(word: str) -> str:
    """A word of a unit file (systemd.syntax(7), Quoting; systemd.unit(5), Specifiers)."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w./:@%$+,=-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _service_user(name: str | None) -> pwd.struct_passwd:
    """The user that the service runs as: who is named, else who called sudo or is logged in, but not root by default.

    Raises `StartupError`.
    """
    chosen = name or os.environ.get("SUDO_USER") or getpass.getuser()
    if name is None and chosen == "root":
        raise StartupError("the service should not run as root: name its user with --user NAME (root, if it must be)")
    try:
        return pwd.getpwnam(chosen)
    except KeyError:
        raise StartupError(f"there is no user {chosen!r} on this machine") from None


def _own_data(data: Path, user: pwd.struct_passwd) -> None:
    """Make the data directory if it is missing, since the service cannot. Raises `StartupError`."""
    if not data.exists():
        data.mkdir(parents=True, mode=0o700)
        os.chown(data, user.pw_uid, user.pw_gid)
    elif user.pw_uid not in (0, data.stat().st_uid):
        owner = shlex.quote(f"{user.pw_name}:")
        raise StartupError(
            f"{data} is not {user.pw_name}'s: sudo chown -R {owner} {shlex.quote(str(data))}, or --user NAME"
        )
