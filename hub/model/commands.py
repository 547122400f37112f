"""Commands to devices."""

from __future__ import annotations

import attrs


@attrs.define
class SetDatastream:
    """Set a datastream. ``text`` is the value as on the wire, one string per element."""

    pin: int
    text: tuple[str, ...]


@attrs.define
class SetMetadata:
    """Set a metadata field."""

    name: str
    value: str


@attrs.define
class Redirect:
    """Connect to another server."""

    host: str
    port: int


@attrs.define
class Reboot:
    """Restart."""


@attrs.define
class Reconfigure:
    """Open the provisioning network and wait for new Wi-Fi credentials."""


@attrs.define
class AppConnected:
    """A user started (``present``) or stopped watching the device."""

    present: bool


Command = SetDatastream | SetMetadata | Redirect | Reboot | Reconfigure | AppConnected
