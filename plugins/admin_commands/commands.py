"""The commands ``pinwheel status``, ``clock``, ``plugins`` and ``service``."""

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import operations
from client.cli import add_yes_option, api, confirm, find_device, format_time, print_table, quantity, show_progress
from hub import RequestError, StartupError, config_of
from hub.terminal.printing import megabytes_a_month, report, show

if TYPE_CHECKING:
    from client import Api
    from client.operations import ClockObject, Cost, DeviceValues, HubStatus, PluginState, RepairJob, RepairPlan
    from hub import Config

#: Datastreams with the largest history that ``pinwheel status`` lists.
MAX_COSTS = 5
#: Seconds between two polls of a running repair.
POLL_INTERVAL = 0.2
#: The unit file, in the directory for units of the machine's administrator (systemd.unit(5)).
UNIT = Path("/etc/systemd/system/pinwheel.service")
#: Exit codes of ``pinwheel status``.
STATUS_EXIT_CODES = {"ok": 0, "warning": 1, "critical": 2}


def status(parser: argparse.ArgumentParser) -> None:
    """Print the status of the hub; exit with 0 (ok), 1 (warning) or 2 (critical)."""
    parser.set_defaults(run=_status)


def _status(args: argparse.Namespace) -> int:
    from client.remote import Remote

    with api(args) as hub:
        status, costs = hub(operations.get_status()), hub(operations.get_history_costs())
        running = isinstance(hub, Remote)
    if not running:
        status["status"] = "critical"
        status["problems"].append({"id": "stopped", "text": "the hub is not running", "critical": True, "since": 0})
    if args.json:
        show({**status, "costs": costs})
    else:
        print("\n".join([*_status_lines(status), *_cost_lines(costs[:MAX_COSTS])]))
    return STATUS_EXIT_CODES[status["status"]]


def _status_lines(status: HubStatus) -> list[str]:
    listeners = ", ".join(entry["address"] + (" (TLS)" if entry["tls"] else "") for entry in status["listen"])
    templates = quantity(status["templates"], "template")
    fields = {
        "listening on": listeners or "-",
        "up for": _format_uptime(status["uptime"]),
        "devices": f"{status['devices']}, {status['online']} online, of {templates}",
        "connections": status["connections"],
        "values stored": status["valuesStored"],
        "refused": status["refused"],
        "values now": f"{status['valuesPerSecond']:g}/s in the last hour, {status['valuesWaiting']} not committed yet",
        "disk free": "?" if status["diskFree"] is None else f"{status['diskFree']:.0%}",
        "memory": f"{status['memoryBytes'] / 1e6:.0f} MB, {status['cpuPercent']:g} % of a core",
        "last backup": format_time(status["lastBackup"]),
    }
    return [
        f"{status['name']} {status['version']}: {status['status']}",
        *(f"  {'!!' if problem['critical'] else ' !'} {problem['text']}" for problem in status["problems"]),
        *(f"  {name:<14}{value}" for name, value in fields.items()),
    ]


def _cost_lines(costs: Sequence[Cost]) -> list[str]:
    """Return a line for each datastream with the estimated size of its history on disk."""
    lines = []
    for number, cost in enumerate(costs):
        label, prefix = ("", "") if number else ("history", "estimated ")
        size = megabytes_a_month(cost["bytesPerMonth"])
        lines.append(f"  {label:<14}{prefix}{size}: {cost['template']} {cost['pin'].upper()} {cost['name']}")
    return lines


def _format_uptime(seconds: int) -> str:
    if seconds < 60:
        return "less than a minute"
    days, rest = divmod(seconds, 86_400)
    return f"{days} d {rest // 3600} h" if days else f"{rest // 3600} h {rest % 3600 // 60} min"


def clock(parser: argparse.ArgumentParser) -> None:
    """Print the hub's clock and the values with timestamps in the future; --repair corrects these timestamps."""
    parser.add_argument("--repair", action="store_true", help="correct everything with a timestamp in the future")
    method = parser.add_mutually_exclusive_group()
    method.add_argument(
        "--shift",
        metavar="SECONDS",
        type=_parse_seconds,
        help="subtract these seconds, by which the clock was ahead, from the timestamps",
    )
    method.add_argument("--drop", action="store_true", help="delete the values and events")
    parser.add_argument("--device", metavar="DEVICE", help="repair only this device: an id, or a name if it is unique")
    add_yes_option(parser)

    def run(args: argparse.Namespace) -> None:
        if not args.repair:
            if args.shift is not None or args.drop or args.device is not None or args.yes:
                parser.error("--shift, --drop, --device and --yes go with --repair")
            with api(args) as hub:
                _print_clock(args, hub(operations.get_clock()))
            return
        if args.shift is None and not args.drop:
            parser.error("--repair needs --shift SECONDS or --drop")
        with api(args) as hub:
            _repair_clock(args, hub)

    parser.set_defaults(run=run)


def _parse_seconds(text: str) -> int:
    """Return a positive number of seconds in milliseconds. Raises ArgumentTypeError."""
    if re.fullmatch(r"\d{1,12}(\.\d{1,3})?", text, re.ASCII) is None or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, more than 0")
    return round(float(text) * 1000)


def _print_clock(args: argparse.Namespace, clock: ClockObject) -> None:
    unsynchronized = "" if clock["synchronized"] else " (not synchronized)"
    reason = "" if clock["problem"] is None else f": {clock['problem']}"
    expiry = "expired data" if clock["believable"] else "nothing, until the clock is confirmed"
    report(
        args,
        clock,
        f"stamps         {format_time(clock['now'])}",
        f"machine        {format_time(clock['wall'])}{unsynchronized}",
        f"state          {clock['state']}{reason}",
        f"deletes        {expiry}",
        *(
            f"doubted        from {format_time(doubt['began'])} to {format_time(doubt['ended'])}: {doubt['state']},"
            f" the machine's clock said {format_time(doubt['wall'])}"
            for doubt in clock["doubts"]
        ),
        *(f"in the future  {_describe_values(values)}" for values in clock["future"]),
    )


def _describe_values(values: DeviceValues) -> str:
    return (
        f"{values['name']} ({values['deviceId']}): {quantity(values['values'], 'value')} of"
        f" {quantity(values['datastreams'], 'datastream')}, from {format_time(values['oldest'])}"
        f" to {format_time(values['newest'])}"
    )


def _repair_clock(args: argparse.Namespace, hub: Api) -> None:
    """Show what a repair would change, ask for confirmation, then start the repair and wait for its end."""
    device = None if args.device is None else find_device(hub, args.device)
    repair = partial(
        operations.post_clock_repair,
        shift_ms=args.shift,
        drop=args.drop,
        device_id=None if device is None else device["id"],
    )
    plan = hub(repair(dry_run=True))
    now = format_time(plan["now"])
    if not (plan["values"] or plan["events"] or plan["otherTimes"]):
        report(args, _repair_result(plan, None), f"no timestamp is after {now}: there is nothing to repair")
        return
    values, events = quantity(plan["values"], "value"), quantity(plan["events"], "event")
    times = quantity(plan["otherTimes"], "other time")
    if not args.json:
        print(f"with timestamps after {now}, the time of the machine's clock:")
        for device_values in plan["devices"]:
            print(f"  {_describe_values(device_values)}")
        print(f"  {events}, {times}")
    if args.drop:
        confirm(args, f"delete {values} and {events}, and set {times} to now")
    else:
        confirm(args, f"shift {values}, {events} and {times} after {now} back by {args.shift / 1000:g} seconds")
    hub(repair())
    job = _wait_for_repair(hub)
    outcome = "deleted" if args.drop else f"shifted back by {args.shift / 1000:g} seconds"
    report(
        args,
        _repair_result(plan, job),
        f"{quantity(job['values'], 'value')} and {events} {outcome}, {times} corrected",
        f"the data before the repair is in {job['backup']}; pinwheel restore brings it back",
    )


def _wait_for_repair(hub: Api) -> RepairJob:
    """Show the progress of a repair until it has ended. Raises `RequestError` if it has failed."""
    while (job := hub(operations.get_clock_repair()))["running"]:
        show_progress(job["done"], job["total"] or 1, job["step"])
        time.sleep(POLL_INTERVAL)
    if job["problem"]:
        raise RequestError(job["problem"])
    show_progress(1, 1, job["step"])
    return job


def _repair_result(plan: RepairPlan, job: RepairJob | None) -> dict[str, Any]:
    """Return the result of a repair for ``--json``; ``job`` is None if there was nothing to repair."""
    return {
        "shiftMs": plan["shiftMs"],
        "deviceId": plan["deviceId"],
        "values": 0 if job is None else job["values"],
        "events": plan["events"],
        "otherTimes": plan["otherTimes"],
        "backup": None if job is None else job["backup"],
    }


def plugins(parser: argparse.ArgumentParser) -> None:
    """List the plugins with version, hooks and state; `new NAME` creates a skeleton, `add NAME` installs a plugin."""
    parser.add_argument("action", nargs="?", choices=["new", "add"])
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the name of the new plugin, or the package or .py file to add"
    )
    parser.set_defaults(run=_plugins)


def _plugins(args: argparse.Namespace) -> int:
    if args.action == "new":
        if not args.name or re.fullmatch(r"[a-z][a-z0-9_]{0,40}", args.name) is None:
            raise StartupError(
                "the name of a plugin must begin with a small letter, and have only small letters, digits and _,"
                " such as: pinwheel plugins new rain_alarm"
            )
        return _new_plugin(args)
    if args.action == "add":
        if not args.name:
            raise StartupError("name the package or file to add, such as: pinwheel plugins add frost.py")
        return _add_plugin(args, config_of(args).data / "plugins")
    with api(args) as hub:
        listed = hub(operations.get_plugins())
    if args.json:
        show(listed)
    else:
        rows = [
            (plugin["name"], plugin["version"], plugin["state"], _plugin_problem(plugin), " ".join(plugin["hooks"]))
            for plugin in listed
        ]
        print_table(("name", "version", "state", "problem", "hooks"), rows)
    return 0


def _plugin_problem(plugin: PluginState) -> str:
    if plugin["problem"]:
        return plugin["problem"]
    return f"blocked the event loop for {plugin['longestHoldMs']} ms" if plugin["longestHoldMs"] else "-"


def _add_plugin(args: argparse.Namespace, folder: Path) -> int:
    """Install a package into the hub's environment, or copy a ``.py`` file to ``folder``. Raises `RequestError`."""
    name = args.name
    if not name.endswith(".py"):
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", name]
        # pip's output must not mix with this command's JSON on stdout.
        if subprocess.run(pip, check=False, stdout=sys.stderr).returncode:  # noqa: S603
            raise RequestError(f"pip could not install {name}; its output is above")
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder)
        except OSError as error:
            raise RequestError(f"{name} could not be copied to {folder}: {error.strerror}") from error
    report(args, {"added": name}, f"Added {name}. Restart the hub to load it.")
    return 0


def _new_plugin(args: argparse.Namespace) -> int:
    """Create a plugin's package from the skeleton: module, entry point and test."""
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
    text = f"Created {target}/. Try it with: cd {target} && pip install -e '.[test]' && pytest"
    report(args, {"created": str(target)}, text)
    return 0


def service(parser: argparse.ArgumentParser) -> None:
    """Install the hub as a systemd service, or remove it."""
    parser.add_argument("action", choices=["install", "uninstall"])
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the unit and change nothing")
    parser.add_argument(
        "--user", metavar="NAME", help="the user that the service runs as (default: the user who called sudo)"
    )
    parser.set_defaults(run=_service)


def _service(args: argparse.Namespace) -> int:
    if args.action == "install":
        return _install_service(args)
    return _uninstall_service(args)


def _install_service(args: argparse.Namespace) -> int:
    config = config_of(args)
    if not config.data.is_dir():
        raise StartupError(
            f"there is no hub in {config.data.absolute()}: run this where the hub runs, or name its directory with"
            " --data (a new hub: start it once with pinwheel run)"
        )
    user = _service_user(args.user)
    unit = _unit_text(args, config, user.pw_name)
    if args.only_print:
        report(args, {"unit": str(UNIT), "text": unit}, unit.rstrip("\n"))
        return 0
    systemctl = _find_systemctl()
    with _advising_sudo():
        _check_owner(config.data.resolve(), user)
        UNIT.write_text(unit)
        _run_systemctl(systemctl, "daemon-reload")
        _run_systemctl(systemctl, "enable", "--now", "pinwheel")
    text = f"pinwheel is installed and running as {user.pw_name}, with the data in {config.data.resolve()}"
    report(args, {"unit": str(UNIT), "action": args.action}, text)
    return 0


def _uninstall_service(args: argparse.Namespace) -> int:
    if args.only_print:
        report(args, {"unit": str(UNIT)}, f"would stop and remove {UNIT}")
        return 0
    systemctl = _find_systemctl()
    if not UNIT.exists():
        raise RequestError(f"there is no service to uninstall: {UNIT} does not exist")
    with _advising_sudo():
        _run_systemctl(systemctl, "disable", "--now", "pinwheel")
        UNIT.unlink(missing_ok=True)
        _run_systemctl(systemctl, "daemon-reload")
    report(args, {"unit": str(UNIT), "action": args.action}, "pinwheel is uninstalled; its data stays")
    return 0


@contextmanager
def _advising_sudo() -> Iterator[None]:
    """Turn an OSError in the block into a `RequestError` that names sudo."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"{UNIT}: {error.strerror}; run this with sudo") from error


def _find_systemctl() -> str:
    """Return the path of systemctl. Raises `StartupError` on a machine without systemd."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise StartupError("there is no systemd on this machine (systemctl was not found)")
    return systemctl


def _run_systemctl(systemctl: str, *arguments: str) -> None:
    """Run systemctl. Raises `RequestError` with its output if it fails."""
    finished = subprocess.run([systemctl, *arguments], check=False, capture_output=True, text=True)  # noqa: S603
    if finished.returncode:
        raise RequestError(f"systemctl {' '.join(arguments)}: {' '.join(finished.stderr.split())}")


def _unit_text(args: argparse.Namespace, config: Config, user: str) -> str:
    """Return the systemd unit of a hub with this configuration. ``args.config`` is the value of ``--config``."""
    config_file = Path("hub.toml") if args.config is None and Path("hub.toml").is_file() else args.config
    command = [sys.argv[0] if Path(sys.argv[0]).is_absolute() else str(Path(sys.argv[0]).resolve()), "run"]
    command += ["--config", str(config_file.resolve())] if config_file else []
    command += ["--data", str(config.data.resolve())]
    # "-": the hub starts also while the disk with the backup directory is not mounted (systemd.exec(5)).
    writable = [str(config.data.resolve())]
    writable += [f"-{Path(config.backup.directory).resolve()}"] if config.backup.directory else []
    return (
        (resources.files("config") / "pinwheel.service")
        .read_text("utf-8")
        .format(
            command=" ".join(_quote(word.replace("$", "$$")) for word in command),
            directory=str(Path.cwd()).replace("%", "%%"),
            user=user,
            writable=" ".join(map(_quote, writable)),
        )
    )


def _quote(word: str) -> str:
    """Escape a word for a unit file (systemd.syntax(7), Quoting; systemd.unit(5), Specifiers)."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w./:@%$+,=-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _service_user(name: str | None) -> pwd.struct_passwd:
    """Return the user that the service runs as: ``name``, else the user who called sudo or is logged in.

    Raises `StartupError` for a missing user, and for root unless it is named.
    """
    chosen = name or os.environ.get("SUDO_USER") or getpass.getuser()
    if name is None and chosen == "root":
        raise StartupError("the service should not run as root: name its user with --user NAME (root, if it must be)")
    try:
        return pwd.getpwnam(chosen)
    except KeyError:
        raise StartupError(f"there is no user {chosen!r} on this machine") from None


def _check_owner(data: Path, user: pwd.struct_passwd) -> None:
    """Raise `StartupError` unless the data directory belongs to the service's user."""
    if user.pw_uid not in (0, data.stat().st_uid):
        owner = shlex.quote(f"{user.pw_name}:")
        raise StartupError(
            f"{data} does not belong to {user.pw_name}: run sudo chown -R {owner} {shlex.quote(str(data))}, or name its"
            " owner with --user NAME"
        )
