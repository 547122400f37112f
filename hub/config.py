"""The configuration: one TOML file, whose mistakes are all reported at once, each with its key."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import attrs

from hub.errors import ConfigError, StartupError
from hub.parsing.spellings import base_url, host, mailbox, read_text
from hub.parsing.structuring import ValidationErrors, duration_problem, seconds, structure
from hub.parsing.timezones import is_known

Tls = Literal["off", "on", "auto"]
MailTls = Literal["starttls", "on", "off"]
Durability = Literal["full", "normal"]
#: Ports of SMTP servers that do not name theirs: submission (RFC 6409), submissions (RFC 8314) and SMTP.
MAIL_PORTS: dict[MailTls, int] = {"starttls": 587, "on": 465, "off": 25}
SERVED = ("native", "http", "mqtt", "device-http")


@attrs.frozen(kw_only=True)
class HubSection:
    name: str = "Pinwheel"
    data: str = "data"
    timezone: str = "UTC"
    url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    heartbeat_factor: float = 1.5


@attrs.frozen(kw_only=True)
class Listen:
    address: str
    tls: Tls = "off"
    serve: tuple[str, ...] = SERVED[:3]

    def serves(self, protocol: str) -> bool:
        """Whether this address serves a protocol; a plugin's protocol where it serves all of the hub's own."""
        if protocol in SERVED:
            return protocol in self.serve or f"device-{protocol}" in self.serve
        return set(SERVED[:3]) <= set(self.serve)

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@attrs.frozen(kw_only=True)
class TlsSection:
    cert: str = ""
    key: str = ""


@attrs.frozen(kw_only=True)
class StorageSection:
    durability: Durability = "full"
    flush: str = "1s"
    retain_raw: str = "90d"
    retain_events: str = "730d"


@attrs.frozen(kw_only=True)
class BackupSection:
    every: str = ""
    keep: int = 7
    directory: str = ""
    after: str = ""


@attrs.frozen(kw_only=True)
class MailSection:
    """The SMTP server that mails leave through; without a ``server`` nothing is mailed."""

    server: str = ""
    tls: MailTls = "starttls"
    ca: str = ""
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    from_: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """The host in DNS form, and the port. Raises ValueError."""
        name, port = self.server, ""
        if name.startswith("["):
            name, _, port = name[1:].partition("]")
        elif name.count(":") == 1:
            name, _, port = name.partition(":")
            port = f":{port}"
        if not port:
            return host(name), MAIL_PORTS[self.tls]
        number = port.removeprefix(":")
        if not port.startswith(":") or not number.isascii() or not number.isdecimal() or not 0 < int(number) < 65536:
            raise ValueError(f"must be host or host:port, such as smtp.example.org:587, not {self.server[:100]!r}")
        return host(name), int(number)


@attrs.frozen(kw_only=True)
class Limits:
    messages_per_second: int = 50
    burst: int = 150
    connections: int = 20_000
    connections_per_address: int = 1_000
    handshakes: int = 16
    events_per_day: int = 1_000
    import_points_per_day: int = 1_000_000
    exports_per_day: int = 1_000
    datastreams_per_template: int = 1_000
    events_per_template: int = 500
    metadata_per_template: int = 500
    templates: int = 10_000
    devices: int = 100_000
    organizations: int = 10_000
    organization_depth: int = 8
    users: int = 100_000
    roles: int = 9
    api_requests_per_minute: int = 10_000


@attrs.frozen(kw_only=True)
class Config:
    hub: HubSection = HubSection()
    listen: tuple[Listen, ...] = (
        Listen(address="0.0.0.0:8080"),
        Listen(address="0.0.0.0:9443", tls="on"),
        Listen(address="0.0.0.0:1883", serve=("mqtt",)),
        Listen(address="0.0.0.0:8883", tls="on", serve=("mqtt",)),
    )
    tls: TlsSection = TlsSection()
    storage: StorageSection = StorageSection()
    backup: BackupSection = BackupSection()
    mail: MailSection = MailSection()
    limits: Limits = Limits()
    plugins: dict[str, dict[str, Any]] = attrs.Factory(dict)
    source: str = "configuration"

    @property
    def data(self) -> Path:
        return Path(self.hub.data)

    def with_data(self, data: str) -> Config:
        return attrs.evolve(self, hub=attrs.evolve(self.hub, data=data))


def load(path: Path | None = None) -> Config:
    """Load the configuration in ``path``, or the shipped default. Raises `ConfigError`."""
    return _valid(*examine(path))


def examine(path: Path | None = None) -> tuple[Config, list[str]]:
    """Return the valid parts of the configuration in ``path``, with defaults for the rest, and every problem in it."""
    if path is None:
        path = Path(str(default()))
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        return Config(source=str(path)), [f"{path}: cannot be read: {error}"]
    return _examined(text, str(path))


def _valid(config: Config, problems: list[str]) -> Config:
    if problems:
        raise ConfigError(*problems)
    return config


def default() -> Path:
    """Return the path of the shipped, annotated default."""
    return Path(__file__).parent.parent / "config" / "hub.toml"


def parse(text: str, source: str = "configuration") -> Config:
    """Parse a configuration. Raises `ConfigError` with every problem."""
    return _valid(*_examined(text, source))


def _examined(text: str, source: str) -> tuple[Config, list[str]]:
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        return Config(source=source), [f"{source}: {error}"]
    problems: list[str] = []
    document = _resolved(document, "", problems)
    if document.pop("source", None) is not None:
        problems.append("unknown key source")
    plugins = document.get("plugins")
    for name in (
        [name for name, table in plugins.items() if not isinstance(table, dict)] if isinstance(plugins, dict) else ()
    ):
        problems.append(f"plugins.{name}: must be a table")
        del plugins[name]
    try:
        config = structure(document, Config)
    except ValidationErrors as error:
        problems += [f"{path}: {problem}" if path else problem for path, problem in error.problems]
        # The rest is still checked, so that its problems are reported too.
        for path, problem in error.problems:
            _drop(document, path, problem)
        try:
            config = structure(document, Config)
        except ValidationErrors:
            config = Config()
    problems += _problems(config)
    if not problems:
        config = attrs.evolve(config, hub=attrs.evolve(config.hub, url=config.hub.url and base_url(config.hub.url)))
    return attrs.evolve(config, source=source), [f"{source}: {problem}" for problem in problems]


def _drop(document: Any, path: str, text: str) -> None:
    """Remove from ``document`` the key that ``path``, or the unknown key that ``text``, names."""
    keys: list[Any] = [int(key) if key.isdecimal() else key for key in re.findall(r"[^.\[\]]+", path)]
    if text.startswith("unknown key "):
        keys.append(re.split("[,;] ", text.removeprefix("unknown key "))[0])
    *parents, last = keys or [""]
    with suppress(KeyError, IndexError, TypeError):
        for key in parents:
            document = document[key]
        del document[last]


def _resolved(table: Any, path: str, problems: list[str]) -> Any:
    """Return ``table`` with every ``{ file = … }`` and ``{ env = … }`` replaced by the secret that it names."""
    if isinstance(table, list):
        return [_resolved(item, f"{path}[{n}]", problems) for n, item in enumerate(table)]
    if not isinstance(table, dict):
        return table
    secret = len(table) == 1 and re.fullmatch(r"(plugins\.)?[^.]*", path) is None
    if secret and isinstance(file := table.get("file"), str):
        try:
            return read_text(Path(file)).strip()
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot read {file}: {error}")
            return ""
    if secret and isinstance(env := table.get("env"), str):
        if env not in os.environ:
            problems.append(f"{path}: the environment variable {env} is not set")
        return os.environ.get(env, "")
    return {key: _resolved(value, f"{path}.{key}".strip("."), problems) for key, value in table.items()}


def _problems(config: Config) -> list[str]:
    problems = []
    if not is_known(config.hub.timezone):
        problems.append(f"hub.timezone: there is no time zone {config.hub.timezone!r}")
    try:
        base_url(config.hub.url or "http://localhost")
    except ValueError as error:
        problems.append(f"hub.url: {error}")
    if not 1 <= config.hub.heartbeat_factor <= 10:
        problems.append("hub.heartbeat_factor: must be between 1 and 10")
    for proxy in config.hub.trusted_proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            problems.append(f"hub.trusted_proxies: {proxy!r} is not an address or network")
    for number, listen in enumerate(config.listen):
        problems += [f"listen[{number}].{problem}" for problem in _listen_problems(listen)]
    if not config.listen:
        problems.append("listen: at least one [[listen]] is needed")
    if bool(config.tls.cert) != bool(config.tls.key):
        problems.append("tls: cert and key are given together, or neither")
    for key in ("flush", "retain_raw", "retain_events"):
        try:
            value = seconds(getattr(config.storage, key))
        except ValueError as error:
            problems.append(f"storage.{key}: {error}")
        else:
            if key == "flush" and not 0 < value <= 60:
                problems.append("storage.flush: must be at most 60s, and more than none")
    if problem := duration_problem(config.backup.every, 60):
        problems.append(f"backup.every: {problem}")
    if config.backup.keep < 1:
        problems.append("backup.keep: must be at least 1")
    problems += [f"mail.{problem}" for problem in _mail_problems(config.mail)]
    problems += [
        f"limits.{f.name}: must be at least 1" for f in attrs.fields(Limits) if getattr(config.limits, f.name) < 1
    ]
    return problems


def _mail_problems(mail: MailSection) -> list[str]:
    if not mail.server:
        given = [key for key in ("ca", "user", "password", "from") if getattr(mail, "from_" if key == "from" else key)]
        return [f"server: is missing, but {', '.join(given)} is set"] if given else []
    problems = []
    try:
        name, _ = mail.address
        if mail.tls == "off" and not _is_loopback(name):
            problems.append(
                f'tls: "off" sends passwords and links that anybody can read, and is for a server on this machine only,'
                f' such as 127.0.0.1:25; for {name} it must be "starttls" or "on"'
            )
    except ValueError as error:
        problems.append(f"server: {error}")
    try:
        mailbox(mail.from_)
    except ValueError as error:
        problems.append(f"from: {error}" if mail.from_ else "from: is missing, such as Pinwheel <hub@example.org>")
    if bool(mail.user) != bool(mail.password):
        problems.append("user: user and password are given together, or neither")
    problems += [
        f"{key}: must have printable ASCII characters only"
        for key, value in (("user", mail.user), ("password", mail.password))
        if not (value.isascii() and value.isprintable())
    ]
    if mail.ca and not Path(mail.ca).is_file():
        problems.append(f"ca: there is no file {mail.ca}")
    return problems


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _listen_problems(listen: Listen) -> list[str]:
    problems = []
    host, _, port = listen.address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535 or (":" in host) != host.startswith("["):
        problems.append(f"address: must be host:port or [IPv6]:port, not {listen.address!r}")
    if not listen.serve:
        problems.append("serve: names nothing to serve")
    problems += [f"serve: {name!r} is not one of {', '.join(SERVED)}" for name in listen.serve if name not in SERVED]
    return problems


# -- a command's configuration -----------------------------------------------------------------------------------------


def config_of(args: argparse.Namespace) -> Config:
    """Load the configuration that the arguments name. Raises `ConfigError`, and `StartupError` as `examined`."""
    config, problems = examined(args)
    if problems:
        raise ConfigError(*problems)
    return config


def examined(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """`examine` the configuration that the arguments name.

    Raises `StartupError` when they name a hub on another machine.
    """
    on_this_machine(args)
    path = args.config
    if path is None and Path("hub.toml").is_file():
        path = Path("hub.toml")
    config, problems = examine(path)
    return config.with_data(args.data) if args.data else config, problems


def on_this_machine(args: argparse.Namespace) -> None:
    """Raise `StartupError` when the arguments name a hub on another machine."""
    if url_of(args):
        command = args.parser.prog if hasattr(args, "parser") else "this command"
        raise StartupError(
            f"{command} runs on the hub's own machine: leave out --url, and PINWHEEL_URL from the environment"
        )


def url_of(args: argparse.Namespace) -> str:
    """Return the URL of the hub on another machine that the arguments name, or "". Raises `StartupError`."""
    url = str(getattr(args, "hub_url", ""))
    is_local = bool(args.data or args.config)
    if url and is_local:
        raise StartupError(
            "--url names a hub on another machine, --data and --config one on this machine: they exclude each other"
        )
    return url or ("" if is_local else os.environ.get("PINWHEEL_URL", ""))
