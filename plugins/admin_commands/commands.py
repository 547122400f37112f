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
import time
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import operations
from client.cli import api, confirmed, counted, device_of, local_time, progress, show_table, with_yes
from hub.config import config_of
from hub.errors import RequestError, StartupError
from hub.printing import megabytes_a_month, report, show

if TYPE_CHECKING:
    from client import Api
    from client.operations import ClockObject, Cost, DeviceValues, RepairJob, RepairPlan
    from hub.config import Config

#: The dearest datastreams, on the screen of the status.
COSTS = 5
#: Seconds between two looks at how far a repair is.
LOOK_EVERY = 0.2


def status(parser: argparse.ArgumentParser) -> None:
    """Print the state of the hub; exits with 0 (ok), 1 (warning) or 2 (critical)."""
    parser.set_defaults(run=_status)


def _status(args: argparse.Namespace) -> int:
    from client.remote import Remote

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
            ("devices", f"{state['devices']}, {state['online']} online, of {counted(state['templates'], 'template')}"),
            ("connections", state["connections"]),
            ("values stored", state["valuesStored"]),
            ("refused", state["refused"]),
            ("disk free", "?" if state["diskFree"] is None else f"{state['diskFree']:.0%}"),
        ):
            print(f"  {name:<14}{value}")
        for line in cost_lines(costs[:COSTS]):
            print(line)
    return {"ok": 0, "warning": 1, "critical": 2}[state["status"]]


def clock(parser: argparse.ArgumentParser) -> None:
    """Print what time it is for the hub, and which values are of the future; --repair corrects their stamps."""
    parser.add_argument("--repair", action="store_true", help="correct everything that is stamped after now")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--shift", metavar="SECONDS", type=_milliseconds, help="the clock was so many seconds ahead: subtract them"
    )
    how.add_argument("--drop", action="store_true", help="delete the values and events instead")
    parser.add_argument("--device", metavar="DEVICE", help="only of this device: an id, or a name if it is unique")
    with_yes(parser)

    def run(args: argparse.Namespace) -> None:
        if not args.repair:
            if args.shift is not None or args.drop or args.device is not None or args.yes:
                parser.error("--shift, --drop, --device and --yes go with --repair")
            with api(args) as hub:
                _show_clock(args, hub(operations.get_clock()))
            return
        if args.shift is None and not args.drop:
            parser.error("--repair needs --shift SECONDS or --drop")
        with api(args) as hub:
            _repair_clock(args, hub)

    parser.set_defaults(run=run)


def _milliseconds(text: str) -> int:
    """A positive number of seconds. Raises ArgumentTypeError."""
    if re.fullmatch(r"\d{1,12}(\.\d{1,3})?", text, re.ASCII) is None or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, more than 0")
    return round(float(text) * 1000)


def _show_clock(args: argparse.Namespace, clock: ClockObject) -> None:
    machine = "" if clock["synchronized"] else " (not synchronized)"
    report(
        args,
        clock,
        f"stamps         {local_time(clock['now'])}",
        f"machine        {local_time(clock['wall'])}{machine}",
        f"state          {clock['state']}{'' if clock['problem'] is None else ': ' + clock['problem']}",
        f"deletes        {'what is old' if clock['believable'] else 'nothing, until the clock has proved itself'}",
        *(
            f"doubted        from {local_time(doubt['began'])} to {local_time(doubt['ended'])}: {doubt['state']},"
            f" the machine said {local_time(doubt['wall'])}"
            for doubt in clock["doubts"]
        ),
        *(f"in the future  {_described_values(values)}" for values in clock["future"]),
    )


def _described_values(values: DeviceValues) -> str:
    return (
        f"{values['name']} ({values['deviceId']}): {counted(values['values'], 'value')} of"
        f" {counted(values['datastreams'], 'datastream')}, from {local_time(values['oldest'])}"
        f" to {local_time(values['newest'])}"
    )


def _repair_clock(args: argparse.Namespace, hub: Api) -> None:
    device = None if args.device is None else device_of(hub, args.device)
    repair = partial(
        operations.post_clock_repair,
        shift_ms=args.shift,
        drop=args.drop,
        device_id=None if device is None else device["id"],
    )
    plan = hub(repair(dry_run=True))
    if not (plan["values"] or plan["events"] or plan["otherTimes"]):
        report(
            args, _result(plan, None), f"nothing is stamped after {local_time(plan['now'])}: there is nothing to repair"
        )
        return
    events, times = counted(plan["events"], "event"), counted(plan["otherTimes"], "other time")
    what = f"{counted(plan['values'], 'value')}, {events} and {times} after {local_time(plan['now'])}"
    if not args.json:
        print(f"stamped after {local_time(plan['now'])}, which is what the machine's clock says:")
        for values in plan["devices"]:
            print(f"  {_described_values(values)}")
        print(f"  {events}, {times}")
    if args.drop:
        confirmed(args, f"delete {counted(plan['values'], 'value')} and {events}, and set {times} to now")
    else:
        confirmed(args, f"shift {what} back by {args.shift / 1000:g} seconds")
    hub(repair())
    while (job := hub(operations.get_clock_repair()))["running"]:
        progress(job["done"], job["total"] or 1, job["step"])
        time.sleep(LOOK_EVERY)
    if job["problem"]:
        raise RequestError(job["problem"])
    progress(1, 1, job["step"])
    done = "deleted" if args.drop else f"shifted back by {args.shift / 1000:g} seconds"
    report(
        args,
        _result(plan, job),
        f"{counted(job['values'], 'value')} and {events} {done}, {times} corrected",
        f"the data from before is in {job['backup']}, which pinwheel restore brings back",
    )


def _result(plan: RepairPlan, job: RepairJob | None) -> dict[str, Any]:
    """What a repair did, for ``--json``."""
    return {
        "shiftMs": plan["shiftMs"],
        "deviceId": plan["deviceId"],
        "values": 0 if job is None else job["values"],
        "events": plan["events"],
        "otherTimes": plan["otherTimes"],
        "backup": None if job is None else job["backup"],
    }


def cost_lines(costs: Sequence[Cost]) -> list[str]:
    """The estimated size on disk of datastreams' history, going by the newest day."""
    lines = []
    for number, cost in enumerate(costs):
        what = f"{cost['template']} {cost['pin'].upper()} {cost['name']}"
        size = megabytes_a_month(cost["bytesPerMonth"])
        lines.append(f"  {'' if number else 'history':<14}{'' if number else 'estimated '}{size}: {what}")
    return lines


def _span(seconds: int) -> str:
    if seconds < 60:
        return "less than a minute"
    days, rest = divmod(seconds, 86_400)
    return f"{days} d {rest // 3600} h" if days else f"{rest // 3600} h {rest % 3600 // 60} min"


def plugins(parser: argparse.ArgumentParser) -> None:
    """List the plugins with version, hooks and state; `new NAME` makes a skeleton, `add` installs one."""
    parser.add_argument("action", nargs="?", choices=["new", "add"])
    parser.add_argument("name", nargs="?", metavar="NAME", help="the new plugin, or the package or .py file to add")
    parser.set_defaults(run=_plugins)


def _plugins(args: argparse.Namespace) -> int:
    if args.action == "new":
        if not args.name or re.fullmatch(r"[a-z][a-z0-9_]{0,40}", args.name) is None:
            raise StartupError(
                "the name of a plugin must have small letters, digits and _ only, such as:"
                " pinwheel plugins new rain_alarm"
            )
        return _new_plugin(args)
    if args.action == "add":
        if not args.name:
            raise StartupError("name the package or file to add, such as: pinwheel plugins add frost.py")
        return _add_plugin(args, config_of(args).data / "plugins")
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
                p["problem"] or (f"held the loop for {p['longestHoldMs']} ms" if p["longestHoldMs"] else "-"),
                " ".join(p["hooks"]),
            )
            for p in found
        ]
        show_table(("name", "version", "state", "problem", "hooks"), rows)
    return 0


def _add_plugin(args: argparse.Namespace, folder: Path) -> int:
    """Install a package into the hub's environment, or copy a file to where the hub looks for it."""
    name = args.name
    if not name.endswith(".py"):
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", name]
        # Its output is no part of this command's JSON.
        if subprocess.run(pip, check=False, stdout=sys.stderr).returncode:  # noqa: S603
            raise RequestError(f"{name} could not be installed")
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder)
        except OSError as error:
            raise RequestError(f"{name}: {error.strerror}") from error
    report(args, {"added": name}, "Added. Restart the hub to load it.")
    return 0


def _new_plugin(args: argparse.Namespace) -> int:
    """Copy the skeleton of a plugin: a package with its module, its entry point and its test."""
    name, target = args.name, Path(args.name)
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
    said = f"Created {target}/. Try it with: cd {target} && pip install -e '.[test]' && pytest"
    report(args, {"created": str(target)}, said)
    return 0


def service(parser: argparse.ArgumentParser) -> None:
    """Install the hub as a systemd service, or remove it."""
    parser.add_argument("action", choices=["install", "uninstall"])
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the unit and change nothing")
    parser.add_argument("--user", metavar="NAME", help="the user that it runs as; by default the one who called sudo")
    parser.set_defaults(run=_service)


#: Where systemd looks for units of the machine's administrator.
UNIT = Path("/etc/systemd/system/pinwheel.service")


def _service(args: argparse.Namespace) -> int:
    filled = ""
    if args.action == "install":
        config = config_of(args)
        if not config.data.is_dir():
            raise StartupError(
                f"there is no hub in {config.data.absolute()}: run this where the hub runs, or name its directory with"
                " --data (a new hub: start it once with pinwheel run)"
            )
        user = _service_user(args.user)
        filled = _unit(args, config, user.pw_name)
    if args.only_print:
        done = {"unit": str(UNIT), "text": filled} if filled else {"unit": str(UNIT)}
        report(args, done, filled.rstrip("\n") or f"would stop and remove {UNIT}")
        return 0
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise StartupError("there is no systemd on this machine (systemctl was not found)")
    if args.action == "uninstall" and not UNIT.exists():
        raise RequestError(f"there is no service to uninstall: {UNIT} does not exist")
    steps = [["daemon-reload"], ["enable", "--now", "pinwheel"]]
    try:
        if args.action == "install":
            _check_owner(config.data.resolve(), user)
            UNIT.write_text(filled)
        else:
            steps = [["disable", "--now", "pinwheel"], ["daemon-reload"]]
        for step in steps:
            if args.action == "uninstall" and step == ["daemon-reload"]:
                UNIT.unlink(missing_ok=True)
            done_step = subprocess.run([systemctl, *step], check=False, capture_output=True, text=True)  # noqa: S603
            if done_step.returncode:
                raise RequestError(f"systemctl {' '.join(step)}: {' '.join(done_step.stderr.split())}")
    except OSError as error:
        raise RequestError(f"{UNIT}: {error.strerror}; run this with sudo") from error
    if args.action == "install":
        said = f"installed and running as {user.pw_name}, with the data in {config.data.resolve()}"
    else:
        said = "uninstalled; its data stays"
    report(args, {"unit": str(UNIT), "action": args.action}, f"pinwheel is {said}")
    return 0


def _unit(args: argparse.Namespace, config: Config, user: str) -> str:
    """The systemd unit for a hub with this configuration; ``args.config`` is the file, if one is named."""
    found = Path("hub.toml") if args.config is None and Path("hub.toml").is_file() else args.config
    command = [sys.argv[0] if Path(sys.argv[0]).is_absolute() else str(Path(sys.argv[0]).resolve()), "run"]
    command += ["--config", str(found.resolve())] if found else []
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


def _check_owner(data: Path, user: pwd.struct_passwd) -> None:
    """Whether the service's user can write its data. Raises `StartupError`."""
    if user.pw_uid not in (0, data.stat().st_uid):
        owner = shlex.quote(f"{user.pw_name}:")
        raise StartupError(
            f"{data} is not {user.pw_name}'s: sudo chown -R {owner} {shlex.quote(str(data))}, or --user NAME"
        )
