"""Who wants to hear what. Emitting is sync and calls a precomputed tuple: no pluggy, no task, no channel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from hub.facts import Fact, ValueWritten

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Fact)
Subscriber = Callable[[Any], None]


class Bus:
    def __init__(self) -> None:
        self._subscribers: dict[type[Fact], tuple[Subscriber, ...]] = {}
        self._of_device: dict[int, tuple[Subscriber, ...]] = {}
        #: Called with (subscriber, exception) when a subscriber raises.
        self.on_failure: Callable[[Subscriber, Exception], None] = _log_failure

    def subscribe(self, fact: type[F], fn: Callable[[F], None], device: int | None = None) -> Callable[[], None]:
        """Call ``fn`` with every such fact from now on; with ``device``, only values of that device.

        ``fn`` is sync and must not block. Returns what ends the subscription.
        """
        if device is not None and fact is not ValueWritten:
            raise ValueError("only values are told by device")
        table: dict[Any, tuple[Subscriber, ...]] = self._subscribers if device is None else self._of_device
        key = fact if device is None else device
        table[key] = (*table.get(key, ()), fn)

        def unsubscribe() -> None:
            left = tuple(s for s in table.get(key, ()) if s is not fn)
            if left:
                table[key] = left
            else:
                table.pop(key, None)

        return unsubscribe

    def emit(self, fact: Fact) -> None:
        for fn in self._subscribers.get(type(fact), ()):
            try:
                fn(fact)
            except Exception as error:  # noqa: BLE001 - a subscriber's fault is the subscriber's
                self.on_failure(fn, error)

    def wants(self, fact: type[Fact]) -> bool:
        """Whether anybody would hear of such a fact; spares making one."""
        return fact in self._subscribers

    def wants_value(self, device: int) -> bool:
        """Whether anybody would hear of a value of this device; spares making the fact."""
        return ValueWritten in self._subscribers or device in self._of_device

    def emit_value(self, fact: ValueWritten) -> None:
        """`emit` for values: also to those who asked for this device alone."""
        self.emit(fact)
        for fn in self._of_device.get(fact.device.id, ()):
            try:
                fn(fact)
            except Exception as error:  # noqa: BLE001
                self.on_failure(fn, error)


def _log_failure(fn: Subscriber, error: Exception) -> None:
    log.error("subscriber %s failed: %r", getattr(fn, "__qualname__", fn), error)
