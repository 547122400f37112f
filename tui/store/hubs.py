"""The hubs that the console remembers, in ``$XDG_STATE_HOME/pinwheel/hubs.toml``.

The file has the refresh tokens of the user's sessions, so nobody else may read it: one with wider permissions is not
used until the user has narrowed them, and one that cannot be read is never overwritten. Changes are made under a lock,
and the file is replaced as a whole: several consoles may run at once, and a power cut leaves the old file or the new.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import tomli_w

#: Hubs that are remembered; the one that was used least recently is forgotten first.
MAX_HUBS = 100
#: Bytes of the file.
MAX_SIZE = 1024 * 1024
#: Seconds to wait for another console that is changing the file.
PATIENCE = 2.0
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class HubFileError(Exception):
    """The file of remembered hubs cannot be used; the message tells the user what to do."""


@attrs.frozen
class KnownHub:
    """A hub that the user has logged in to.

    ``certificate`` is the SHA-256 of the certificate that the user trusts, in hexadecimal; "" for one that a CA vouches
    for. ``refresh_token`` is "" after a logout.
    """

    url: str
    email: str = ""
    refresh_token: str = attrs.field(default="", repr=False)
    certificate: str = ""


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for the console's state. A relative ``XDG_STATE_HOME`` counts as none, as XDG demands."""
    state = Path(environment.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "pinwheel"


class Hubs:
    """The file in ``folder``. Its methods block for some milliseconds; call them from a thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hubs.toml"

    def load(self) -> list[KnownHub]:
        """Return the hubs, the last used first; none if there is no file. Raises `HubFileError`."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(f"cannot be opened: {error.strerror}") from error
        with os.fdopen(fd, "rb") as file:
            self._check_owner(os.fstat(fd))
            content = file.read(MAX_SIZE + 1)
        if len(content) > MAX_SIZE:
            raise self._unusable(f"has more than {MAX_SIZE} bytes")
        try:
            document = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:
            raise self._unusable(f"is not TOML: {error}") from error
        entries = document.get("hub", [])
        if not isinstance(entries, list):
            raise self._unusable("must list hubs as [[hub]]")
        return [self._hub(entry, number) for number, entry in enumerate(entries[:MAX_HUBS], 1)]

    def find(self, url: str) -> KnownHub | None:
        """Return the hub with an address. Raises `HubFileError`."""
        return next((hub for hub in self.load() if hub.url == url), None)

    def remember(self, hub: KnownHub) -> None:
        """Store a hub as the last used one, instead of one with its address. Raises `HubFileError`."""
        with self._locked():
            others = [other for other in self.load() if other.url != hub.url]
            self._store([hub, *others][:MAX_HUBS])

    def replace_token(self, url: str, refresh_token: str) -> bool:
        """Store the next refresh token of a hub; False, and nothing changes, if the hub was forgotten meanwhile.

        Raises `HubFileError`.
        """
        with self._locked():
            hubs = self.load()
            if not any(hub.url == url for hub in hubs):
                return False
            self._store([attrs.evolve(hub, refresh_token=refresh_token) if hub.url == url else hub for hub in hubs])
            return True

    def forget(self, url: str) -> None:
        """Remove a hub, if it is there. Raises `HubFileError`."""
        with self._locked():
            hubs = self.load()
            if any(hub.url == url for hub in hubs):
                self._store([hub for hub in hubs if hub.url != url])

    def _hub(self, entry: Any, number: int) -> KnownHub:
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            raise self._unusable(f"has a hub (number {number}) with a value that is not text")
        names = [field.name for field in attrs.fields(KnownHub)]
        hub = KnownHub(**{name: entry.get(name, "") for name in names})
        if not hub.url.startswith(("http://", "https://")):
            raise self._unusable(f"has a hub (number {number}) without an address that begins with http:// or https://")
        if hub.certificate and not _FINGERPRINT.fullmatch(hub.certificate):
            raise self._unusable(f"has a hub (number {number}) whose certificate is not 64 hexadecimal digits")
        return hub

    def _check_owner(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("is not a regular file")
        if status.st_uid != os.geteuid():
            raise self._unusable("belongs to another user")
        if mode := stat.S_IMODE(status.st_mode) & 0o077:
            raise HubFileError(
                f"{self.path} has tokens of your sessions, and other users may read or write it"
                f" (mode {mode | 0o600:o}). Run: chmod 600 {self.path}"
            )

    def _unusable(self, problem: str) -> HubFileError:
        return HubFileError(f"{self.path} {problem}. Correct it, or delete it and log in again.")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other consoles. Raises `HubFileError`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HubFileError(f"Hubs cannot be remembered in {self.path.parent}: {error.strerror}.") from error
        try:
            self._lock(fd)
            yield
        finally:
            os.close(fd)

    def _lock(self, fd: int) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise HubFileError(
                        f"Another console has been changing {self.path} for {PATIENCE:g} seconds; end it and try again."
                    ) from error
            time.sleep(0.01)

    def _store(self, hubs: list[KnownHub]) -> None:
        content = tomli_w.dumps({"hub": [attrs.asdict(hub) for hub in hubs]}).encode()
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            # One from a crash may have other permissions.
            partial.unlink(missing_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise HubFileError(f"{self.path} cannot be written: {error.strerror}.") from error
