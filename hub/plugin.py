"""A plugin as the operator sees it: where it comes from, whether it runs, and what went wrong in it."""

from __future__ import annotations

import enum
from typing import Any, Literal

import attrs

#: Failures that a plugin's alarm lists.
MAX_TROUBLES = 10

PluginState = Literal["loaded", "running", "failed", "off", "waiting"]


class FailureKind(enum.Enum):
    """What a failure means for the plugin."""

    #: It is not part of the hub: it cannot be loaded, or one of its contributions is broken.
    UNUSABLE = "unusable"
    #: Its `hub_start` or one of its tasks failed: it is started again after a pause.
    STOPPED = "stopped"
    #: One of the hooks that the hub calls meanwhile failed: the plugin goes on.
    HOOK = "hook"
    #: It blocked the event loop: counted and logged, but no reason for an alarm.
    BLOCKED = "blocked"


@attrs.frozen
class Failure:
    kind: FailureKind
    reason: str


@attrs.define
class Plugin:
    """A plugin and its state. ``problem`` is the reason of the last failure."""

    name: str
    #: The package, or the path of the file.
    origin: str
    version: str = ""
    built_in: bool = False
    module: Any = None
    state: PluginState = "loaded"
    problem: str = ""
    failures: int = 0
    #: The longest time in seconds that it blocked the event loop.
    held: float = 0.0
    #: Names of the hooks that it implements.
    hooks: list[str] = attrs.Factory(list)
    #: Distinct failures that an operator should look at, oldest first; at most `MAX_TROUBLES`.
    troubles: list[Failure] = attrs.Factory(list)
    #: When each reason may be logged again, by the monotonic clock.
    quiet_until: dict[str, float] = attrs.field(factory=dict, repr=False)

    def record(self, failure: Failure) -> None:
        """Count a failure, and derive the plugin's state and troubles from its kind."""
        self.failures += 1
        self.problem = failure.reason
        if failure.kind is not FailureKind.BLOCKED and failure not in self.troubles:
            self.troubles = [*self.troubles, failure][-MAX_TROUBLES:]
        if failure.kind in (FailureKind.UNUSABLE, FailureKind.STOPPED):
            self.state = "failed"

    def set_running(self) -> None:
        """Note that `hub_start` returned: failures that kept the plugin from running are over."""
        self.state = "running"
        self.troubles = [failure for failure in self.troubles if failure.kind is FailureKind.HOOK]

    def owns(self, filename: str) -> bool:
        """Whether a source file is part of this plugin."""
        home = getattr(self.module, "__file__", None)
        if home is None:
            return False
        package = home.removesuffix("__init__.py")
        return filename.startswith(package) if package != home else filename == home
